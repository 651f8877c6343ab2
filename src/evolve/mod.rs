//! A genome and a `Scorer` in, a journal and the best recipe found out. Never touches llama.cpp.
//!
//! The paper's search in parameter space (Akiba et al. 2403.13187, section 3.1): CMA-ES over merge parameters, the fitness of a candidate
//! being its score on search questions. Because the best of many noisy scores is too good to be true, the best few and the last mean are
//! scored again on all search questions, and the result is reported on test questions that the search never saw.

pub mod cmaes;
mod config;
mod error;
mod genome;
mod journal;
mod linalg;
mod report;
mod scorer;
mod search;
#[cfg(test)]
mod tests;

pub use config::{Config, Goal, Search};
pub use error::EvolveError;
pub use genome::{Genome, GenomeSpec, Start};
pub use journal::{Entry, Identity, Journal};
pub use report::write_report;
pub use scorer::{LiveScorer, Questions, Scorer, TaskScore, Trial, Window};
pub use search::{Best, Event, Outcome, Tested, evolve};
