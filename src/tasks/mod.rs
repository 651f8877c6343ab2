//! Tasks: a task file (YAML) and its data in, questions ready to be asked and a judge of their answers out.
//!
//! `schema` reads the task file, `data` the rows, `template` makes prompts of them, `answer` judges with the help of
//! `language`. Nothing here runs a model: the scoring stage asks [`Task::questions`] and has the answers judged by
//! [`Generate::judge`].

mod answer;
mod data;
mod error;
mod language;
mod load;
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
    /// exp(mean negative log-likelihood) of every token of each prompt after its first.
    Perplexity,
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
}

impl Metric {
    /// Its name in a task file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number(_) => "number",
            Self::Exact => "exact",
            Self::Contains => "contains",
            Self::Regex => "regex",
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
    /// The rendered prompt.
    pub prompt: String,
    /// The right answer as it is compared; empty in a perplexity task.
    pub answer: String,
    /// Line of the data file on which its row begins, from 1: names the question in reports and across runs.
    pub line: u64,
}
