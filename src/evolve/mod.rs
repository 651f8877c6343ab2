//! A genome and a `Scorer` in, a journal and the best recipe found out. Never touches llama.cpp.
//!
//! The paper's searches (Akiba et al. 2403.13187, section 3): CMA-ES over merge parameters, CatCMA over paths through blocks, or the one
//! and then the other; the fitness of a candidate is its score on search questions. Because the best of many noisy scores is too good to
//! be true, the best few and the last mean are scored again on all search questions, and the result is reported on test questions that
//! the search never saw.

mod belief;
pub mod catcma;
pub mod cmaes;
mod config;
mod error;
mod finale;
mod front;
mod generation;
mod genome;
mod journal;
mod linalg;
mod measure;
pub mod nsga2;
mod path;
mod progress;
mod questions;
mod race;
mod report;
mod scorer;
mod search;
pub mod sepcma;
mod space;
mod studies;
mod study;
#[cfg(test)]
mod tests;
mod warm;

pub use belief::{Belief, Comparison};
pub use config::{Algorithm, Compared, Config, Goal, Search};
pub use error::EvolveError;
pub use front::{Front, Objective, Objectives, Pick, Point};
pub use genome::{Genome, GenomeSpec, Start};
pub use journal::{Candidate, Entry, Identity, JOURNAL_FILE, Journal, Stamp};
pub use measure::Measure;
pub use path::{Gains, PathGenome, PathSpec};
pub use progress::Progress;
pub use questions::{Part, Questions, Sample, Strata, Window};
pub use race::Race;
pub use report::{REPORT_FILE, refresh_report, write_report};
pub use scorer::{LiveScorer, Scorer, TaskScore, Trial};
pub use search::{BEST, Best, Event, Outcome, Tested, UNIFORM, WEIGHTS, evolve};
pub use space::{Optimiser, Space, Stages};
pub use studies::{Candidates, Glance, State, candidates, out_folders};
pub use study::Study;
pub use warm::WarmStart;
