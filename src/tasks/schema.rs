//! The task file: YAML text in, a checked [`Spec`] out. Opens nothing.
//!
//! Keys that mean nothing are errors, so that a typing mistake cannot silently change what is measured; those of
//! lm-evaluation-harness are met with the name they have here.

use std::path::Path;

use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use super::data::Format;
use super::language::{Language, LanguageGate};
use super::{Extract, Generate, Kind, Metric, TaskError};
use crate::yaml;

/// `max_tokens` where a task does not say, as in lm-evaluation-harness.
const DEFAULT_MAX_TOKENS: usize = 256;
/// Most tokens that one answer may take.
pub const MAX_MAX_TOKENS: usize = 1 << 16;
/// Most stop strings and most columns.
const MAX_LIST: usize = 1024;

/// What lm-evaluation-harness calls a key, and what it is called here.
const HARNESS_NAMES: [(&str, &str); 10] = [
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
    pub kind: Kind,
    pub chat: bool,
    pub limit: Option<usize>,
    pub seed: Option<u64>,
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
    choices: Option<Spanned<serde::de::IgnoredAny>>,
    stop: Option<Spanned<Vec<String>>>,
    max_tokens: Option<Spanned<usize>>,
    metric: Option<Spanned<MetricName>>,
    extract: Option<Spanned<Extract>>,
    answer_after: Option<Spanned<String>>,
    language: Option<Spanned<String>>,
    language_share: Option<Spanned<f64>>,
    limit: Option<Spanned<usize>>,
    shots: Option<Spanned<usize>>,
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
    let task: TaskFile = yaml::read_knowing(text, &HARNESS_NAMES).map_err(|e| TaskError::Invalid {
        file: file.to_owned(),
        line: e.place.line,
        column: e.place.column,
        message: e.message,
    })?;
    let check = Check { file };
    if let Some(shots) = task.shots.as_ref().filter(|shots| shots.value > 0) {
        return check.unsupported(shots.referenced, "shots", shots.value, "write the examples into `prompt`");
    }
    if let Some(limit) = task.limit.as_ref().filter(|limit| limit.value == 0) {
        return check.invalid(limit.referenced, "`limit: 0` leaves no question: leave `limit` out to ask all");
    }
    if let Some(columns) = &task.columns {
        check.columns(columns, &task.data.value)?;
    }
    let kind = match task.kind.value {
        KindName::Generate => check.generate(&task)?,
        KindName::Perplexity => check.perplexity(&task)?,
        KindName::Choice => {
            return check.unsupported(task.kind.referenced, "kind", "choice", "`generate` and `perplexity` are");
        }
    };
    Ok(Spec {
        name: task.name,
        data: task.data.value,
        columns: task.columns.map(|columns| columns.value),
        prompt: task.prompt,
        answer: task.answer,
        kind,
        chat: task.chat.is_some_and(|chat| chat.value),
        limit: task.limit.map(|limit| limit.value),
        seed: task.seed,
    })
}

/// Refuses with the task file's name.
struct Check<'a> {
    file: &'a Path,
}

impl Check<'_> {
    fn generate(&self, task: &TaskFile) -> Result<Kind, TaskError> {
        if let Some(choices) = &task.choices {
            return self.invalid(choices.referenced, "`choices` belong to kind `choice`, this is `generate`");
        }
        let Some(metric) = &task.metric else {
            return self.invalid(
                task.kind.referenced,
                "kind `generate` needs a `metric`: `number`, `exact`, `contains` or `regex`",
            );
        };
        if task.answer.is_none() {
            return self
                .invalid(task.kind.referenced, "kind `generate` needs an `answer`, for example `\"{{ answer }}\"`");
        }
        let stop = task.stop.as_ref().map_or(Ok(Vec::new()), |stop| {
            if stop.value.len() > MAX_LIST || stop.value.iter().any(String::is_empty) {
                return self
                    .invalid(stop.referenced, format!("`stop` takes up to `{MAX_LIST}` strings, none of them empty"));
            }
            Ok(stop.value.clone())
        })?;
        let max_tokens = task.max_tokens.as_ref().map_or(Ok(DEFAULT_MAX_TOKENS), |max| {
            if !(1..=MAX_MAX_TOKENS).contains(&max.value) {
                let message = format!("`max_tokens` is `{}`, it must be 1 to `{MAX_MAX_TOKENS}`", max.value);
                return self.invalid(max.referenced, message);
            }
            Ok(max.value)
        })?;
        if let Some(marker) = task.answer_after.as_ref().filter(|marker| marker.value.is_empty()) {
            return self.invalid(marker.referenced, "`answer_after` is empty: name the marker, for example `\"####\"`");
        }
        let metric = self.metric(metric, task.extract.as_ref())?;
        let answer_after = task.answer_after.as_ref().map(|marker| marker.value.clone());
        Ok(Kind::Generate(Generate { stop, max_tokens, metric, answer_after, language: self.language(task)? }))
    }

    fn perplexity(&self, task: &TaskFile) -> Result<Kind, TaskError> {
        if let Some(metric) = &task.metric {
            let names = "leave `metric` out: a perplexity task gives exp(mean negative log-likelihood)";
            return self.unsupported(metric.referenced, "metric", name_of(metric.value), names);
        }
        let foreign = [
            ("answer", task.answer.as_ref().map(|v| v.referenced)),
            ("choices", task.choices.as_ref().map(|v| v.referenced)),
            ("stop", task.stop.as_ref().map(|v| v.referenced)),
            ("max_tokens", task.max_tokens.as_ref().map(|v| v.referenced)),
            ("extract", task.extract.as_ref().map(|v| v.referenced)),
            ("answer_after", task.answer_after.as_ref().map(|v| v.referenced)),
            ("language", task.language.as_ref().map(|v| v.referenced)),
            ("language_share", task.language_share.as_ref().map(|v| v.referenced)),
            ("chat", task.chat.as_ref().filter(|chat| chat.value).map(|v| v.referenced)),
        ];
        match foreign.into_iter().find_map(|(key, at)| Some((key, at?))) {
            Some((key, at)) => self.invalid(at, format!("`{key}` means nothing to kind `perplexity`: remove it")),
            None => Ok(Kind::Perplexity),
        }
    }

    fn metric(&self, metric: &Spanned<MetricName>, extract: Option<&Spanned<Extract>>) -> Result<Metric, TaskError> {
        let metric = match metric.value {
            MetricName::Number => return Ok(Metric::Number(extract.map(|e| e.value).unwrap_or_default())),
            MetricName::Exact => Metric::Exact,
            MetricName::Contains => Metric::Contains,
            MetricName::Regex => Metric::Regex,
            MetricName::RougeL | MetricName::Accuracy | MetricName::AccuracyNorm | MetricName::BitsPerByte => {
                let supported = "`number`, `exact`, `contains` and `regex` are";
                return self.unsupported(metric.referenced, "metric", name_of(metric.value), supported);
            }
        };
        match extract {
            Some(extract) => self.invalid(extract.referenced, "`extract` reads numbers: it goes with `metric: number`"),
            None => Ok(metric),
        }
    }

    fn language(&self, task: &TaskFile) -> Result<Option<LanguageGate>, TaskError> {
        let share = task.language_share.as_ref();
        let Some(code) = &task.language else {
            return match share {
                Some(share) => self.invalid(share.referenced, "`language_share` needs a `language`"),
                None => Ok(None),
            };
        };
        let Some(language) = Language::from_code(&code.value) else {
            return self.unsupported(code.referenced, "language", &code.value, "`ja` and `en` are");
        };
        match share {
            Some(share) if !(share.value > 0.0 && share.value <= 1.0) => self
                .invalid(share.referenced, format!("`language_share` is `{}`, it must be above 0 to 1", share.value)),
            _ => Ok(Some(LanguageGate { language, share: share.map_or(1.0, |share| share.value) })),
        }
    }

    fn columns(&self, columns: &Spanned<Vec<String>>, data: &str) -> Result<(), TaskError> {
        if columns.value.is_empty() || columns.value.len() > MAX_LIST {
            return self.invalid(columns.referenced, format!("`columns` takes 1 to `{MAX_LIST}` names"));
        }
        if Format::of(Path::new(data))? == Format::JsonLines {
            return self
                .invalid(columns.referenced, "`columns` name the fields of TSV and CSV; JSON lines name their own");
        }
        Ok(())
    }

    fn invalid<T>(&self, at: Location, message: impl Into<String>) -> Result<T, TaskError> {
        let (file, message) = (self.file.to_owned(), message.into());
        Err(TaskError::Invalid { file, line: at.line(), column: at.column(), message })
    }

    fn unsupported<T>(
        &self,
        at: Location,
        key: &'static str,
        value: impl ToString,
        instead: &'static str,
    ) -> Result<T, TaskError> {
        let (file, value) = (self.file.to_owned(), value.to_string());
        Err(TaskError::Unsupported { file, line: at.line(), column: at.column(), key, value, instead })
    }
}

fn name_of(metric: MetricName) -> &'static str {
    match metric {
        MetricName::Number => "number",
        MetricName::Exact => "exact",
        MetricName::Contains => "contains",
        MetricName::Regex => "regex",
        MetricName::RougeL => "rouge_l",
        MetricName::Accuracy => "accuracy",
        MetricName::AccuracyNorm => "accuracy_norm",
        MetricName::BitsPerByte => "bits_per_byte",
    }
}
