//! Why a model could not be scored.

use thiserror::Error;

use crate::model::ModelError;

/// Errors of this stage.
#[derive(Debug, Error)]
pub enum ScoreError {
    /// llama.cpp failed, or a prompt does not fit.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A question that the context has no room for.
    #[error("task `{task}`: the question of line {line}: {problem}")]
    TooLong {
        /// The task's name.
        task: String,
        /// Line of the data file.
        line: u64,
        /// Its tokens, and the limit.
        problem: Box<ModelError>,
    },
    /// There is nothing to continue, or nothing to predict.
    #[error(
        "task `{task}`: the question of line {line} has fewer than {least} tokens; remove it or fix the `prompt` template"
    )]
    EmptyPrompt {
        /// The task's name.
        task: String,
        /// Line of the data file.
        line: u64,
        /// Tokens needed.
        least: usize,
    },
    /// There is nothing to weigh.
    #[error(
        "task `{task}`: choice {choice} (from 0) of line {line} adds no tokens to the prompt; remove it or fix the `choices` template"
    )]
    EmptyChoice {
        /// The task's name.
        task: String,
        /// Line of the data file.
        line: u64,
        /// Its index.
        choice: usize,
    },
    /// Somebody asked to stop.
    #[error("stopped before the score was complete")]
    Cancelled,
}

impl ScoreError {
    /// Whether the fault lies in what the user gave, not in the work.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Model(error) => error.is_bad_input(),
            Self::TooLong { .. } | Self::EmptyPrompt { .. } | Self::EmptyChoice { .. } => true,
            Self::Cancelled => false,
        }
    }
}
