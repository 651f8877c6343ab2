//! A fitness in, what people read out: it is always higher where that is better, and the metric it stands for may not be.

use super::{Journal, Trial};
use crate::score::{BITS_PER_BYTE, PERPLEXITY, is_likelihood, value_of};

/// What the scores of a search are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measure {
    /// The metric of the only task and the task's weight; `None` where the score is a weighted sum.
    only: Option<(String, f64)>,
}

impl Measure {
    /// What those of the search of `journal` are, whose tasks have these weights.
    pub fn of(journal: &Journal, weights: &[f64]) -> Self {
        let asked = |trial: &&Trial| !trial.tasks.is_empty();
        let only = match (journal.trials().find(asked).map(|trial| &trial.tasks[..]), weights) {
            (Some([task]), [weight]) if *weight != 0.0 => Some((task.metric.clone(), *weight)),
            _ => None,
        };
        Self { only }
    }

    /// A fitness as the value that [`Trial::summary`] reports.
    pub fn value(&self, fitness: f64) -> f64 {
        self.only.as_ref().map_or(fitness, |(metric, weight)| value_of(metric, fitness / weight))
    }

    /// What a value is called that is no score.
    pub fn unit(&self) -> Option<&'static str> {
        match self.only.as_ref()?.0.as_str() {
            PERPLEXITY => Some("perplexity"),
            BITS_PER_BYTE => Some("bits per byte"),
            _ => None,
        }
    }

    /// What a value is called.
    pub fn name(&self) -> &'static str {
        self.unit().unwrap_or("score")
    }

    /// What has to be said of it: ` (lower is better)`, or nothing.
    pub fn remark(&self) -> &'static str {
        if self.lower_is_better() { " (lower is better)" } else { "" }
    }

    /// Whether its values are the better the lower they are.
    pub fn lower_is_better(&self) -> bool {
        self.only.as_ref().is_some_and(|(metric, weight)| is_likelihood(metric) != (*weight < 0.0))
    }

    /// Whether it is the score of a single task.
    pub fn is_of_one_task(&self) -> bool {
        self.only.is_some()
    }
}
