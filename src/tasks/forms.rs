//! The templates of a task file and rows of data in, questions out.

use std::path::Path;

use minijinja::Value;
use minijinja::value::ValueKind;
use serde_saphyr::Location;

use super::data::{Row, row_error};
use super::schema::{ChoiceForm, Shots, Spec};
use super::template::{MAX_RENDERED_BYTES, Templates, inside_braces};
use super::{Choices, Kind, Question, TaskError, choice};

/// The templates of a task, compiled, and what a row becomes in them.
pub(super) struct Forms<'a> {
    spec: &'a Spec,
    templates: Templates,
    choices: ChoiceSource,
    /// The answer as an expression, if it is one and nothing else: a number stays one.
    answer: Option<String>,
}

/// Where the choices come from.
enum ChoiceSource {
    /// Templates of these names.
    Templates(Vec<String>),
    /// An expression for a list.
    Expression(String),
}

impl<'a> Forms<'a> {
    /// The error says where in the task file something is wrong.
    pub(super) fn new(spec: &'a Spec) -> Result<Self, (Location, String)> {
        let mut templates = Templates::new();
        templates.add("prompt", &spec.prompt.value).map_err(|message| (spec.prompt.referenced, message))?;
        let mut answer = None;
        if let Some(written) = &spec.answer {
            templates.add("answer", &written.value).map_err(|message| (written.referenced, message))?;
            let expression = inside_braces(&written.value).filter(|inside| templates.check("answer", inside).is_ok());
            answer = expression.map(str::to_owned);
        }
        let mut choices = ChoiceSource::Templates(Vec::new());
        if let Some(written) = &spec.choices {
            let at = |message| (written.referenced, message);
            choices = match &written.value {
                ChoiceForm::Templates(sources) => {
                    let names: Vec<String> = (0..sources.len()).map(|i| format!("choices[{i}]")).collect();
                    for (name, source) in names.iter().zip(sources) {
                        templates.add(name, source).map_err(at)?;
                    }
                    ChoiceSource::Templates(names)
                }
                ChoiceForm::List(source) => {
                    let no_list = || {
                        at("`choices` is a list of templates, or one `{{ expression }}` for a list, such as a column that holds one"
                            .to_owned())
                    };
                    // A bare name means nothing else here.
                    let bare = || Some(source.trim()).filter(|name| !name.is_empty() && !name.contains(['{', '}']));
                    let expression = inside_braces(source).or_else(bare).ok_or_else(no_list)?;
                    templates.check("choices", expression).map_err(at)?;
                    ChoiceSource::Expression(expression.to_owned())
                }
            };
        }
        Ok(Self { spec, templates, choices, answer })
    }

    /// The question that `row`, a row of `file`, asks after `examples`.
    pub(super) fn question(&self, examples: &str, file: &Path, row: &Row) -> Result<Question, TaskError> {
        let prompt = format!("{examples}{}", self.prompt(file, row)?);
        let at = |message| row_error(file, row.line, message);
        let (answer, choices) = match &self.spec.kind {
            Kind::Perplexity(_) => (String::new(), None),
            Kind::Generate(generate) => {
                let rendered = self.templates.render("answer", file, row)?;
                (generate.prepare_answer(&rendered).map_err(at)?, None)
            }
            Kind::Choice(_) => {
                let choices = self.choices(file, row)?;
                (choices.texts[choices.right].clone(), Some(choices))
            }
        };
        Ok(Question { prompt, answer, choices, line: row.line })
    }

    /// What stands before every prompt: the examples `rows` of `file` with their answers.
    pub(super) fn examples(&self, shots: &Shots, file: &Path, rows: &[Row]) -> Result<String, TaskError> {
        let mut text = String::new();
        for row in rows {
            let answer = match &self.spec.kind {
                Kind::Choice(_) => {
                    let mut choices = self.choices(file, row)?;
                    choices.texts.swap_remove(choices.right)
                }
                _ => self.templates.render("answer", file, row)?,
            };
            text += &[&*self.prompt(file, row)?, &shots.delimiter, &answer, &shots.separator].concat();
            if text.len() > MAX_RENDERED_BYTES {
                let message =
                    format!("the examples take more than `{MAX_RENDERED_BYTES}` bytes up to here: lower `shots`");
                return Err(row_error(file, row.line, message));
            }
        }
        Ok(text)
    }

    fn prompt(&self, file: &Path, row: &Row) -> Result<String, TaskError> {
        let prompt = self.templates.render("prompt", file, row)?;
        if prompt.is_empty() {
            return Err(row_error(file, row.line, "`prompt` renders to nothing".to_owned()));
        }
        Ok(prompt)
    }

    fn choices(&self, file: &Path, row: &Row) -> Result<Choices, TaskError> {
        let at = |message| row_error(file, row.line, message);
        let texts = match &self.choices {
            ChoiceSource::Templates(names) => {
                names.iter().map(|name| self.templates.render(name, file, row)).collect::<Result<Vec<_>, _>>()?
            }
            ChoiceSource::Expression(expression) => {
                texts(&self.templates.value("choices", expression, file, row)?).map_err(at)?
            }
        };
        let bytes: usize = texts.iter().map(String::len).sum();
        if bytes > MAX_RENDERED_BYTES {
            return Err(at(format!("`choices` come to `{bytes}` bytes, the limit is `{MAX_RENDERED_BYTES}`")));
        }
        if self.spec.default_delimiter && texts.iter().any(|text| text.starts_with(char::is_whitespace)) {
            let message = "a choice begins with white space, and a space goes before it already: set `delimiter`, to `\"\"` for none";
            return Err(at(message.to_owned()));
        }
        let answer = match &self.answer {
            Some(expression) => self.templates.value("answer", expression, file, row)?,
            None => Value::from(self.templates.render("answer", file, row)?),
        };
        choice::prepare(texts, &answer).map_err(at)
    }
}

/// The items of a list as texts.
fn texts(list: &Value) -> Result<Vec<String>, String> {
    if !matches!(list.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(format!("`choices` gives a {}, a list belongs here", list.kind()));
    }
    let text = |item: Value| match item.kind() {
        ValueKind::String | ValueKind::Number | ValueKind::Bool => Ok(item.to_string()),
        other => Err(format!("a choice is a {other}, text belongs here")),
    };
    let items = list.try_iter().map_err(|e| e.to_string())?;
    // One more than may be, for the error to come.
    items.take(choice::MAX_CHOICES + 1).map(text).collect()
}
