//! What a task file must say and must not, kind by kind.

use std::path::Path;

use serde_saphyr::{Location, Spanned};

use super::{ChoiceForm, KindName, MetricName, Shots, TaskFile};
use crate::tasks::choice::MAX_CHOICES;
use crate::tasks::data::Format;
use crate::tasks::language::{Language, LanguageGate};
use crate::tasks::{Choice, ChoiceMetric, Extract, Generate, Kind, Metric, TaskError, TextMetric};
use crate::yaml::OneOrMore;

/// `max_tokens` where a task does not say, as in lm-evaluation-harness.
const DEFAULT_MAX_TOKENS: usize = 256;
/// Most tokens that one answer may take.
pub const MAX_MAX_TOKENS: usize = 1 << 16;
/// What lm-evaluation-harness puts between a prompt and an answer.
const DEFAULT_DELIMITER: &str = " ";
/// What it puts after each example.
const DEFAULT_SEPARATOR: &str = "\n\n";
/// Most stop strings, columns and examples.
const MAX_LIST: usize = 1024;

/// Refuses with the task file's name.
pub(super) struct Check<'a> {
    pub file: &'a Path,
}

impl Check<'_> {
    pub fn generate(&self, task: &TaskFile) -> Result<Kind, TaskError> {
        if let Some(choices) = &task.choices {
            return self.invalid(choices.referenced, "`choices` belong to kind `choice`, this is `generate`");
        }
        let Some(metric) = &task.metric else {
            return self.invalid(
                task.kind.referenced,
                "kind `generate` needs a `metric`: `number`, `exact`, `contains`, `regex` or `rouge_l`",
            );
        };
        if task.answer.is_none() {
            return self
                .invalid(task.kind.referenced, "kind `generate` needs an `answer`, for example `\"{{ answer }}\"`");
        }
        let stop = task.stop.as_ref().map_or(Ok(Vec::new()), |stop| {
            let OneOrMore(strings) = &stop.value;
            if strings.len() > MAX_LIST || strings.iter().any(String::is_empty) {
                return self
                    .invalid(stop.referenced, format!("`stop` takes up to `{MAX_LIST}` strings, none of them empty"));
            }
            Ok(strings.clone())
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

    pub fn perplexity(&self, task: &TaskFile) -> Result<Kind, TaskError> {
        let metric = match &task.metric {
            None => TextMetric::Perplexity,
            Some(metric) if matches!(metric.value, MetricName::BitsPerByte) => TextMetric::BitsPerByte,
            Some(metric) => {
                let name = name_of(metric.value);
                let message = format!(
                    "`metric: {name}` judges answers: kind `perplexity` has `bits_per_byte`, or the perplexity itself without `metric`"
                );
                return self.invalid(metric.referenced, message);
            }
        };
        self.foreign(
            "perplexity",
            &[
                ("answer", task.answer.as_ref().map(|v| v.referenced)),
                ("choices", task.choices.as_ref().map(|v| v.referenced)),
                ("chat", task.chat.as_ref().filter(|chat| chat.value).map(|v| v.referenced)),
                ("shots", task.shots.as_ref().filter(|shots| shots.value > 0).map(|v| v.referenced)),
            ],
        )?;
        self.foreign("perplexity", &generation_keys(task))?;
        Ok(Kind::Perplexity(metric))
    }

    pub fn choice(&self, task: &TaskFile) -> Result<Kind, TaskError> {
        self.foreign("choice", &generation_keys(task))?;
        let metric = match &task.metric {
            None => ChoiceMetric::Accuracy,
            Some(metric) => match metric.value {
                MetricName::Accuracy => ChoiceMetric::Accuracy,
                MetricName::AccuracyNorm => ChoiceMetric::AccuracyNorm,
                other => {
                    let name = name_of(other);
                    let message =
                        format!("`metric: {name}` judges text: kind `choice` has `accuracy` and `accuracy_norm`");
                    return self.invalid(metric.referenced, message);
                }
            },
        };
        match &task.choices {
            None => {
                let message = "kind `choice` needs `choices`: a list of templates, or one template such as `\"{{ options }}\"` \
                               for a column that holds a list";
                return self.invalid(task.kind.referenced, message);
            }
            Some(choices) => match &choices.value {
                ChoiceForm::Templates(list) if !(2..=MAX_CHOICES).contains(&list.len()) => {
                    let message = format!("`choices` has `{}` entries, it needs 2 to `{MAX_CHOICES}`", list.len());
                    return self.invalid(choices.referenced, message);
                }
                _ => {}
            },
        }
        if task.answer.is_none() {
            let message = "kind `choice` needs an `answer`: the index of the right choice, from 0, or its text";
            return self.invalid(task.kind.referenced, message);
        }
        // As in the harness: what a chat template ends with is delimiter enough.
        let delimiter = if is_chat(task) { "" } else { delimiter(task) };
        Ok(Kind::Choice(Choice { metric, delimiter: delimiter.to_owned() }))
    }

    pub fn shots(&self, task: &TaskFile) -> Result<Option<Shots>, TaskError> {
        let given = task.shots.as_ref().filter(|shots| shots.value > 0);
        let delimits_choices = matches!(task.kind.value, KindName::Choice) && !is_chat(task);
        let Some(shots) = given else {
            let alone = [
                ("shots_data", task.shots_data.as_ref().map(|v| v.referenced)),
                ("shots_separator", task.shots_separator.as_ref().map(|v| v.referenced)),
                ("delimiter", task.delimiter.as_ref().filter(|_| !delimits_choices).map(|v| v.referenced)),
            ];
            return match alone.into_iter().find_map(|(key, at)| Some((key, at?))) {
                Some(("delimiter", at)) if is_chat(task) => self.invalid(
                    at,
                    "`delimiter` means nothing with `chat: true`, where choices follow the chat template: remove it",
                ),
                Some(("delimiter", at)) => {
                    self.invalid(at, "`delimiter` stands before choices and the answers of `shots`: there are none")
                }
                Some((key, at)) => self.invalid(at, format!("`{key}` needs `shots`, the number of examples")),
                None => Ok(None),
            };
        };
        if shots.value > MAX_LIST {
            return self.invalid(shots.referenced, format!("`shots` is `{}`, the limit is `{MAX_LIST}`", shots.value));
        }
        Ok(Some(Shots {
            count: shots.value,
            at: shots.referenced,
            data: task.shots_data.as_ref().map(|data| data.value.clone()),
            delimiter: delimiter(task).to_owned(),
            separator: task.shots_separator.as_ref().map_or(DEFAULT_SEPARATOR, |s| &s.value).to_owned(),
        }))
    }

    /// Refuses the first of `keys` that is there.
    fn foreign(&self, kind: &str, keys: &[(&str, Option<Location>)]) -> Result<(), TaskError> {
        match keys.iter().find_map(|(key, at)| Some((key, (*at)?))) {
            Some((key, at)) => self.invalid(at, format!("`{key}` means nothing to kind `{kind}`: remove it")),
            None => Ok(()),
        }
    }

    fn metric(&self, metric: &Spanned<MetricName>, extract: Option<&Spanned<Extract>>) -> Result<Metric, TaskError> {
        let metric = match metric.value {
            MetricName::Number => return Ok(Metric::Number(extract.map(|e| e.value).unwrap_or_default())),
            MetricName::Exact => Metric::Exact,
            MetricName::Contains => Metric::Contains,
            MetricName::Regex => Metric::Regex,
            MetricName::Accuracy | MetricName::AccuracyNorm => {
                let name = name_of(metric.value);
                let message = format!("`metric: {name}` belongs to kind `choice`, this is `generate`");
                return self.invalid(metric.referenced, message);
            }
            MetricName::RougeL => Metric::RougeL,
            MetricName::BitsPerByte => {
                let message = "`metric: bits_per_byte` belongs to kind `perplexity`, this is `generate`";
                return self.invalid(metric.referenced, message);
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
            let message =
                format!("`language: {}` is none that can be told; there are {}", code.value, Language::codes());
            return self.invalid(code.referenced, message);
        };
        match share {
            Some(share) if !language.by_script() => self.invalid(
                share.referenced,
                "`language_share` is the share of a script's letters: it goes with `language: ja` and `en`",
            ),
            Some(share) if !(share.value > 0.0 && share.value <= 1.0) => self
                .invalid(share.referenced, format!("`language_share` is `{}`, it must be above 0 to 1", share.value)),
            _ => Ok(Some(LanguageGate { language, share: share.map_or(1.0, |share| share.value) })),
        }
    }

    pub fn columns(&self, columns: &Spanned<Vec<String>>, data: &str) -> Result<(), TaskError> {
        if columns.value.is_empty() || columns.value.len() > MAX_LIST {
            return self.invalid(columns.referenced, format!("`columns` takes 1 to `{MAX_LIST}` names"));
        }
        if Format::of(Path::new(data))? == Format::JsonLines {
            return self
                .invalid(columns.referenced, "`columns` name the fields of TSV and CSV; JSON lines name their own");
        }
        Ok(())
    }

    pub fn invalid<T>(&self, at: Location, message: impl Into<String>) -> Result<T, TaskError> {
        let (file, message) = (self.file.to_owned(), message.into());
        Err(TaskError::Invalid { file, line: at.line(), column: at.column(), message })
    }
}

/// The keys that say how to generate and judge text, with where they stand.
fn generation_keys(task: &TaskFile) -> [(&'static str, Option<Location>); 6] {
    [
        ("stop", task.stop.as_ref().map(|v| v.referenced)),
        ("max_tokens", task.max_tokens.as_ref().map(|v| v.referenced)),
        ("extract", task.extract.as_ref().map(|v| v.referenced)),
        ("answer_after", task.answer_after.as_ref().map(|v| v.referenced)),
        ("language", task.language.as_ref().map(|v| v.referenced)),
        ("language_share", task.language_share.as_ref().map(|v| v.referenced)),
    ]
}

pub(super) fn is_chat(task: &TaskFile) -> bool {
    task.chat.as_ref().is_some_and(|chat| chat.value)
}

fn delimiter(task: &TaskFile) -> &str {
    task.delimiter.as_ref().map_or(DEFAULT_DELIMITER, |delimiter| &delimiter.value)
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
