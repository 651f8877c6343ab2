//! The task file: YAML text in, a checked [`Spec`] out. Opens nothing.
//!
//! Keys that mean nothing are errors, so that a typing mistake cannot silently change what is measured; those of
//! lm-evaluation-harness are met with the name they have here.

mod check;

use std::fmt;
use std::path::Path;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

use self::check::{Check, is_chat};
use super::{Extract, Kind, TaskError};
use crate::yaml::{self, OneOrMore};

/// What lm-evaluation-harness calls a key, and what it is called here.
const HARNESS_NAMES: [(&str, &str); 12] = [
    ("task", "name"),
    ("dataset_path", "data"),
    ("output_type", "kind"),
    ("doc_to_text", "prompt"),
    ("doc_to_target", "answer"),
    ("doc_to_choice", "choices"),
    ("until", "stop"),
    ("max_gen_toks", "max_tokens"),
    ("metric_list", "metric"),
    ("num_fewshot", "shots"),
    ("target_delimiter", "delimiter"),
    ("fewshot_delimiter", "shots_separator"),
];

/// A task file, resolved and checked, its templates still text.
#[derive(Debug)]
pub(super) struct Spec {
    pub name: Option<String>,
    /// As written: relative to the task file.
    pub data: String,
    pub columns: Option<Vec<String>>,
    pub prompt: Spanned<String>,
    pub answer: Option<Spanned<String>>,
    pub choices: Option<Spanned<ChoiceForm>>,
    /// Whether the space before choices is only the default.
    pub default_delimiter: bool,
    pub kind: Kind,
    pub chat: bool,
    pub limit: Option<usize>,
    /// Examples before every prompt, at least one.
    pub shots: Option<Shots>,
    pub seed: Option<u64>,
}

/// Examples with their answers.
#[derive(Debug)]
pub(super) struct Shots {
    pub count: usize,
    /// Where their number stands in the task file.
    pub at: Location,
    /// Whose first rows they are, relative to the task file; by default of the task's own data.
    pub data: Option<String>,
    /// Between an example's prompt and its answer.
    pub delimiter: String,
    /// After each.
    pub separator: String,
}

/// How `choices` are written.
#[derive(Debug)]
pub(super) enum ChoiceForm {
    /// A template for each.
    Templates(Vec<String>),
    /// One `{{ expression }}` for a list.
    List(String),
}

impl<'de> Deserialize<'de> for ChoiceForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = ChoiceForm;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of templates, or one `{{ expression }}` for a list")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ChoiceForm, E> {
                Ok(ChoiceForm::List(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ChoiceForm, A::Error> {
                let mut templates = Vec::new();
                while let Some(template) = items.next_element::<String>()? {
                    templates.push(template);
                }
                Ok(ChoiceForm::Templates(templates))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskFile {
    name: Option<String>,
    data: Spanned<String>,
    columns: Option<Spanned<Vec<String>>>,
    kind: Spanned<KindName>,
    prompt: Spanned<String>,
    answer: Option<Spanned<String>>,
    choices: Option<Spanned<ChoiceForm>>,
    delimiter: Option<Spanned<String>>,
    stop: Option<Spanned<OneOrMore>>,
    max_tokens: Option<Spanned<usize>>,
    metric: Option<Spanned<MetricName>>,
    extract: Option<Spanned<Extract>>,
    answer_after: Option<Spanned<String>>,
    language: Option<Spanned<String>>,
    language_share: Option<Spanned<f64>>,
    limit: Option<Spanned<usize>>,
    shots: Option<Spanned<usize>>,
    shots_data: Option<Spanned<String>>,
    shots_separator: Option<Spanned<String>>,
    seed: Option<u64>,
    chat: Option<Spanned<bool>>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Generate,
    Choice,
    Perplexity,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum MetricName {
    Number,
    Exact,
    Contains,
    Regex,
    RougeL,
    Accuracy,
    AccuracyNorm,
    BitsPerByte,
}

/// Reads the text of the task file `file`, which is only used to name it in errors.
pub(super) fn parse(file: &Path, text: &str) -> Result<Spec, TaskError> {
    let task: TaskFile = yaml::read(text, yaml::Kind::Task, &HARNESS_NAMES).map_err(|e| TaskError::Invalid {
        file: file.to_owned(),
        line: e.place.line,
        column: e.place.column,
        message: e.message,
    })?;
    let check = Check { file };
    if let Some(limit) = task.limit.as_ref().filter(|limit| limit.value == 0) {
        return check.invalid(limit.referenced, "`limit: 0` leaves no question: leave `limit` out to ask all");
    }
    if let Some(columns) = &task.columns {
        check.columns(columns, &task.data.value)?;
    }
    let kind = match task.kind.value {
        KindName::Generate => check.generate(&task)?,
        KindName::Perplexity => check.perplexity(&task)?,
        KindName::Choice => check.choice(&task)?,
    };
    let (shots, chat) = (check.shots(&task)?, is_chat(&task));
    Ok(Spec {
        name: task.name,
        data: task.data.value,
        columns: task.columns.map(|columns| columns.value),
        prompt: task.prompt,
        answer: task.answer,
        choices: task.choices,
        default_delimiter: task.delimiter.is_none() && !chat,
        kind,
        chat,
        limit: task.limit.map(|limit| limit.value),
        shots,
        seed: task.seed,
    })
}
