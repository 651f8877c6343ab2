//! A journal in, how far its search is and what it spent its time on out.

use super::search::BEST;
use super::{Entry, Journal, Trial};

/// So many of the last candidates tell how fast the search is now.
const RECENT: usize = 20;

/// How far a search is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Candidates scored.
    pub candidates: usize,
    /// Candidates wanted in all.
    pub budget: usize,
    /// The best search score so far.
    pub best: Option<f64>,
    /// Questions answered, by whatever model.
    pub questions: usize,
    /// Time spent on making recipes the running model.
    pub swap_seconds: f64,
    /// Time spent on asking questions.
    pub score_seconds: f64,
    /// Of that, the time to read prompts.
    pub prompt_seconds: f64,
    /// Candidates in an hour, at the pace of the last ones.
    pub per_hour: Option<f64>,
    /// Time that the candidates still wanted will take at that pace.
    pub seconds_left: Option<f64>,
    /// Whether the best recipe has been tested.
    pub finished: bool,
}

impl Progress {
    /// How far the search of `journal` is.
    pub fn of(journal: &Journal) -> Self {
        let trials = || journal.trials();
        let scores = journal.candidates().map(|c| c.trial.fitness).filter(|fitness| fitness.is_finite());
        let candidates = journal.candidates().count();
        let budget = journal.identity().map_or(0, |identity| identity.budget).max(candidates);
        let recent = journal.candidates().skip(candidates.saturating_sub(RECENT));
        let recent: Vec<f64> = recent.map(|c| c.trial.swap_seconds + c.trial.score_seconds).collect();
        let each = Some(recent.iter().sum::<f64>() / recent.len() as f64).filter(|seconds| *seconds > 0.0);
        let tested = |entry: &Entry| matches!(entry, Entry::Test { name, .. } if name == BEST);
        Self {
            candidates,
            budget,
            best: scores.reduce(f64::max),
            questions: trials().map(Trial::items).sum(),
            swap_seconds: trials().map(|trial| trial.swap_seconds).sum(),
            score_seconds: trials().map(|trial| trial.score_seconds).sum(),
            prompt_seconds: trials().map(|trial| trial.prompt_seconds).sum(),
            per_hour: each.map(|seconds| 3600.0 / seconds),
            seconds_left: each.map(|seconds| seconds * (budget - candidates) as f64),
            finished: journal.since_last_candidate(None).iter().any(tested),
        }
    }

    /// Shares of the time that went into making recipes the running model, into prompts and into answers.
    pub fn shares(&self) -> [f64; 3] {
        let all = (self.swap_seconds + self.score_seconds).max(1e-9);
        [self.swap_seconds, self.prompt_seconds, self.score_seconds - self.prompt_seconds].map(|part| part / all)
    }
}
