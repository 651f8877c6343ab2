//! Renders the `prompt` and `answer` templates of a task: a row of data in, text out.
//!
//! Templates are Jinja as in lm-evaluation-harness. Undefined values are errors: a prompt with a hole in it would be
//! scored like any other.

use std::path::Path;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};

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
        environment.set_fuel(Some(MAX_FUEL));
        Self { environment }
    }

    /// Compiles `source` under the name `key`; the error says what is wrong with it.
    pub(super) fn add(&mut self, key: &'static str, source: &str) -> Result<(), String> {
        self.environment.add_template_owned(key, source.to_owned()).map_err(|e| format!("template `{key}`: {e}"))
    }

    /// The text that the template `key` makes of `row`, a row of `file`.
    pub(super) fn render(&self, key: &'static str, file: &Path, row: &Row) -> Result<String, TaskError> {
        let failed = |e: minijinja::Error| row_error(file, row.line, format!("template `{key}`: {e}"));
        let template = self.environment.get_template(key).map_err(failed)?;
        match template.render(&row.values) {
            Ok(text) if text.len() > MAX_RENDERED_BYTES => {
                let message = format!("`{key}` renders to `{}` bytes, the limit is `{MAX_RENDERED_BYTES}`", text.len());
                Err(row_error(file, row.line, message))
            }
            Ok(text) => Ok(text),
            Err(e) if e.kind() == ErrorKind::UndefinedError => {
                let has =
                    |name: &str| row.values.contains_key(name) || self.environment.globals().any(|(g, _)| g == name);
                match template.undeclared_variables(false).into_iter().filter(|name| !has(name)).min() {
                    Some(column) => Err(missing(file, row, key, column)),
                    None => Err(failed(e)),
                }
            }
            Err(e) => Err(failed(e)),
        }
    }
}

fn missing(file: &Path, row: &Row, template: &'static str, column: String) -> TaskError {
    let names: Vec<String> = row.values.keys().map(|name| format!("`{name}`")).collect();
    let present = if names.is_empty() { "no values at all".to_owned() } else { names.join(", ") };
    TaskError::MissingColumn { file: file.to_owned(), line: row.line, template, column, present }
}
