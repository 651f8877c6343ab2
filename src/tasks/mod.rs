//! Tasks: a task file (YAML) and its data in, questions ready to be asked and a judge of their answers out.
//!
//! `schema` reads the task file, `data` the rows, `forms` makes questions of them with `template`, `answer` judges what is generated
//! with the help of `language` and `rouge`, `choice` what is chosen. Nothing here runs a model: the scoring stage asks [`Task::questions`] and has
//! the answers judged by [`Generate::judge`] and [`Choice::judge`].

mod answer;
mod choice;
mod data;
mod error;
mod forms;
mod language;
mod load;
mod rouge;
mod schema;
mod template;

#[cfg(test)]
mod tests;

use serde::Deserialize;

pub use answer::last_number;
pub use data::{MAX_DATA_BYTES, MAX_ROW_BYTES, MAX_ROWS};
pub use error::TaskError;
pub use language::{Language, LanguageGate};

/// Something to ask a model and how to score it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// `name`, or the task file's name without its extension.
    pub name: String,
    /// What is measured.
    pub kind: Kind,
    /// Whether each prompt is a user's message to be wrapped in the model's chat template, rather than plain text.
    pub chat: bool,
    /// The questions in the order they are asked; never empty.
    pub questions: Vec<Question>,
}

/// What a task measures.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The share of generated answers that are right.
    Generate(Generate),
    /// The share of questions of whose choices the right one is the most likely.
    Choice(Choice),
    /// How well every token of each prompt after its first is predicted.
    Perplexity(TextMetric),
}

impl Kind {
    /// The name of its metric.
    pub fn metric(&self) -> &'static str {
        match self {
            Self::Generate(generate) => generate.metric.name(),
            Self::Choice(choice) => choice.metric.name(),
            Self::Perplexity(metric) => metric.name(),
        }
    }
}

impl Task {
    /// Takes every `one_in`-th question out into a task of its own.
    pub fn hold_back(&mut self, one_in: usize) -> Self {
        let (mut left, mut held) = (Vec::new(), Vec::new());
        for (number, question) in (1..).zip(std::mem::take(&mut self.questions)) {
            if number % one_in.max(1) == 0 { held.push(question) } else { left.push(question) }
        }
        self.questions = left;
        Self { questions: held, name: self.name.clone(), kind: self.kind.clone(), chat: self.chat }
    }
}

/// How the likelihood of texts is told; lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextMetric {
    /// exp(mean negative log-likelihood of a token).
    Perplexity,
    /// Negative log2-likelihood per byte of text: lm-evaluation-harness's `bits_per_byte`, which compares vocabularies.
    BitsPerByte,
}

impl TextMetric {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Perplexity => "perplexity",
            Self::BitsPerByte => "bits_per_byte",
        }
    }
}

/// How answers are generated and judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Generate {
    /// Strings that end an answer and do not belong to it; none is empty. End of text always ends it.
    pub stop: Vec<String>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// What makes an answer right.
    pub metric: Metric,
    /// The marker after which the answer stands, for example GSM8K's `####`; what stands before it is reasoning.
    pub answer_after: Option<String>,
    /// The language that the output (with `answer_after`: the reasoning) must be in.
    pub language: Option<LanguageGate>,
}

/// How choices are put to a model and weighed: as lm-evaluation-harness's `multiple_choice` does.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// By what the choices are compared.
    pub metric: ChoiceMetric,
    /// What stands between the prompt and each choice. It is computed with the choice, but no part of its length.
    pub delimiter: String,
}

/// By what choices are compared: the largest is the model's, of equals the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChoiceMetric {
    /// The log-likelihood, summed over a choice's tokens: the harness's `acc`.
    Accuracy,
    /// The same divided by the number of characters (not bytes, not tokens) of the choice's text: the harness's `acc_norm`.
    AccuracyNorm,
}

impl ChoiceMetric {
    /// Its name in a task file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::AccuracyNorm => "accuracy_norm",
        }
    }
}

/// What makes an answer right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Its number equals the right one.
    Number(Extract),
    /// It is the right one, white space around it aside.
    Exact,
    /// The right one occurs in it.
    Contains,
    /// The right one is a pattern that matches somewhere in it (syntax of the `regex` crate).
    Regex,
    /// How much of the right one stands in it, word by word in the same order: the F-measure of ROUGE-L, from 0 to 1.
    RougeL,
}

impl Metric {
    /// Its name in a task file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Exact => "exact",
            Self::Contains => "contains",
            Self::Regex => "regex",
            Self::RougeL => "rouge_l",
        }
    }
}

/// How numbers are read from an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extract {
    /// As the paper's evaluation does, its mistakes included, for figures to stand beside the paper's (arXiv 2403.13187):
    /// the pattern `\d*\.?\d+`, which reads `2,125` as 125 and drops minus signs.
    Paper,
    /// Thousands separators, minus signs, full-width digits and punctuation are understood.
    #[default]
    Robust,
}

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The rendered prompt, after the examples if there are any.
    pub prompt: String,
    /// The right answer as it is compared; the text of the right choice; empty in a perplexity task.
    pub answer: String,
    /// In a choice task, what there is to choose from.
    pub choices: Option<Choices>,
    /// Line of the data file on which its row begins, from 1: names the question in reports and across runs.
    pub line: u64,
}

/// What there is to choose from.
#[derive(Debug, Clone, PartialEq)]
pub struct Choices {
    /// The choices, at least two, none of them empty.
    pub texts: Vec<String>,
    /// Index of the right one.
    pub right: usize,
}
