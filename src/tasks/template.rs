//! Renders the templates of a task: a row of data in, text or a value out.
//!
//! Templates are Jinja as in lm-evaluation-harness. Undefined values are errors: a prompt with a hole in it would be
//! scored like any other.

use std::path::Path;

use minijinja::value::{ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::TaskError;
use super::data::{Row, row_error};

/// Longest text that a template may render to.
pub const MAX_RENDERED_BYTES: usize = 1 << 20;
/// Instructions that one rendering may take, so that a template with nested loops ends.
const MAX_FUEL: u64 = 1_000_000;

/// The compiled templates of one task.
#[derive(Debug)]
pub(super) struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // A prompt is exactly what was written: no HTML escapes, no newline lost.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_keep_trailing_newline(true);
        environment.set_unknown_method_callback(method);
        environment.set_fuel(Some(MAX_FUEL));
        Self { environment }
    }

    /// Compiles `source` under the name `key`; the error says what is wrong with it.
    pub(super) fn add(&mut self, key: &str, source: &str) -> Result<(), String> {
        let added = self.environment.add_template_owned(key.to_owned(), source.to_owned());
        added.map_err(|e| format!("template `{key}`: {e}"))
    }

    /// The text that the template `key` makes of `row`, a row of `file`.
    pub(super) fn render(&self, key: &str, file: &Path, row: &Row) -> Result<String, TaskError> {
        let failed = |e| failed(key, file, row, &e);
        let template = self.environment.get_template(key).map_err(failed)?;
        match template.render(&row.values) {
            Ok(text) if text.len() > MAX_RENDERED_BYTES => {
                let message = format!("`{key}` renders to `{}` bytes, the limit is `{MAX_RENDERED_BYTES}`", text.len());
                Err(row_error(file, row.line, message))
            }
            Ok(text) => Ok(text),
            Err(e) if e.kind() == ErrorKind::UndefinedError => {
                let needed = template.undeclared_variables(false);
                Err(self.missing(needed, key, file, row).unwrap_or_else(|| failed(e)))
            }
            Err(e) => Err(failed(e)),
        }
    }

    /// Whether `expression`, which stands under `key`, is one; the error says what is wrong with it.
    pub(super) fn check(&self, key: &str, expression: &str) -> Result<(), String> {
        let compiled = self.environment.compile_expression_owned(expression.to_owned());
        compiled.map(|_| ()).map_err(|e| format!("template `{key}`: {e}"))
    }

    /// The value of `expression`, which stands under `key`, for `row`, a row of `file`; lists have no undefined items.
    pub(super) fn value(&self, key: &str, expression: &str, file: &Path, row: &Row) -> Result<Value, TaskError> {
        let failed = |e| failed(key, file, row, &e);
        let compiled = self.environment.compile_expression_owned(expression).map_err(failed)?;
        let undefined = |e| {
            let needed = compiled.undeclared_variables(false);
            Err(self.missing(needed, key, file, row).unwrap_or_else(|| failed(e)))
        };
        match compiled.eval(&row.values) {
            Ok(value) => {
                let hole = |v: &Value| v.is_undefined();
                let inside = || {
                    value.kind() == ValueKind::Seq && value.try_iter().is_ok_and(|mut items| items.any(|v| hole(&v)))
                };
                if hole(&value) || inside() { undefined(ErrorKind::UndefinedError.into()) } else { Ok(value) }
            }
            Err(e) if e.kind() == ErrorKind::UndefinedError => undefined(e),
            Err(e) => Err(failed(e)),
        }
    }

    /// The error for the first column of `needed` that `row` lacks.
    fn missing(
        &self,
        needed: impl IntoIterator<Item = String>,
        key: &str,
        file: &Path,
        row: &Row,
    ) -> Option<TaskError> {
        let has = |name: &str| row.values.contains_key(name) || self.environment.globals().any(|(g, _)| g == name);
        let column = needed.into_iter().filter(|name| !has(name)).min()?;
        let names: Vec<String> = row.values.keys().map(|name| format!("`{name}`")).collect();
        let present = if names.is_empty() { "no values at all".to_owned() } else { names.join(", ") };
        let (file, template) = (file.to_owned(), key.to_owned());
        Some(TaskError::MissingColumn { file, line: row.line, template, column, present })
    }
}

/// What stands inside `{{ }}` if `source` is that and nothing else; whether it is one expression remains to be seen.
pub(super) fn inside_braces(source: &str) -> Option<&str> {
    // minijinja panics where an expression by itself has what ends one in a template.
    source.trim().strip_prefix("{{")?.strip_suffix("}}").filter(|inside| !inside.contains("}}"))
}

fn failed(key: &str, file: &Path, row: &Row, error: &Error) -> TaskError {
    row_error(file, row.line, format!("template `{key}`: {error}"))
}

/// Python's methods, which the harness's tasks use: `choices.label.index(answerKey)`.
fn method(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if (method, value.kind()) != ("index", ValueKind::Seq) {
        return unknown_method_callback(state, value, method, args);
    }
    let (wanted,): (&Value,) = from_args(args)?;
    let found = value.try_iter()?.position(|item| item == *wanted);
    let none = || Error::new(ErrorKind::InvalidOperation, format!("`{wanted}` is not in the list {value}"));
    found.map(Value::from).ok_or_else(none)
}
