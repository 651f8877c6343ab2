//! Why a search cannot start or go on.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::cmaes::CmaError;
use crate::plan::PlanError;
use crate::recipe::RecipeError;
use crate::score::ScoreError;
use crate::tasks::TaskError;
use crate::yaml::Place;

/// Errors of this stage.
#[derive(Debug, Error)]
pub enum EvolveError {
    /// The evolve file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The evolve file is absurdly long.
    #[error("`{}` is longer than {limit} bytes; this is not an evolve file", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        limit: u64,
    },
    /// Something in the evolve file is wrong.
    #[error("{}:{place}: {message}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Line and column.
        place: Place,
        /// What is wrong and what to do.
        message: String,
    },
    /// Groups of layers do not come out even.
    #[error(
        "`layer_granularity: {granularity}` does not divide the models' {layers} layers; use one of {divisors}, or 0"
    )]
    Granularity {
        /// As asked for.
        granularity: u32,
        /// Layers of the models.
        layers: u32,
        /// What would do.
        divisors: String,
    },
    /// Paths cannot be searched over these models.
    #[error("no search of paths is possible: {0}")]
    Path(String),
    /// A folder that already holds a search.
    #[error("`{}` already holds a search; continue it with `--resume`, or name another folder with `--out`", path.display())]
    Occupied {
        /// The journal in it.
        path: PathBuf,
    },
    /// Nothing to resume.
    #[error("`{}` does not exist, so there is nothing to resume; leave out `--resume`", path.display())]
    NothingToResume {
        /// The journal that would be.
        path: PathBuf,
    },
    /// The journal belongs to another search.
    #[error(
        "`{}` is the journal of another search: {what} changed; restore it, {}or start anew with another `--out`",
        path.display(),
        if *allowable { "go on all the same with `--allow-changed`, " } else { "" }
    )]
    OtherSearch {
        /// The journal.
        path: PathBuf,
        /// What changed.
        what: String,
        /// Whether the search could go on if it were told to.
        allowable: bool,
    },
    /// A journal that is damaged or no journal.
    #[error("`{}` is not a journal that can be read: {problem}; restore the file, or start anew with another `--out`", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A journal of a later version.
    #[error(
        "`{}` was written by a newer ggraft: its format is {found} and this version knows {known}; use that version, or start anew with another `--out`",
        path.display()
    )]
    NewerJournal {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The latest format known.
        known: i32,
    },
    /// A journal of the time when they were lines of JSON.
    #[error(
        "`{}` is a journal of an earlier ggraft, which this version does not read: journals are SQLite files now; start anew with another `--out`",
        path.display()
    )]
    OldJournal {
        /// The journal.
        path: PathBuf,
    },
    /// Two searches in one folder.
    #[error("a search is at work in `{}`; wait until it ends, or name another folder with `--out`", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// A study that this search cannot start from.
    #[error("no warm start from `{folder}`: {problem}")]
    WarmStart {
        /// The other study's folder, as written.
        folder: String,
        /// Why not, and what to do.
        problem: String,
    },
    /// A file in the out folder cannot be written.
    #[error("cannot write `{}`: {source}; free space or fix permissions, then go on with `--resume`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The optimiser refuses the settings.
    #[error(transparent)]
    Optimiser(#[from] CmaError),
    /// A task cannot be used.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A recipe of the genome is impossible.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A recipe of the genome does not fit the models.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A candidate cannot be scored.
    #[error(transparent)]
    Score(#[from] ScoreError),
}

impl EvolveError {
    /// Whether the fault lies in what the user gave, not in the work.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Score(error) => error.is_bad_input(),
            other => !matches!(other, Self::Write { .. }),
        }
    }
}
