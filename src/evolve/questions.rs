//! Which questions a model is asked: all of a task's, a minibatch of them in turn, or one part of a race's.
//!
//! With [`Strata`] both are stratified samples (Cochran 1977, *Sampling Techniques*, chapter 5): questions that the same models get right
//! are a stratum, and every minibatch and part has its share of each, as far as whole questions go. So none of them is easier than the
//! others by chance; and since every question still has its turn, the scores of all of them together are what they would be anyway.

use std::collections::HashMap;
use std::sync::Arc;

use super::Trial;
use super::cmaes::{stream, uniform};

/// The streams of random numbers that order questions, apart from those that propose candidates.
const ORDERS: u64 = 1 << 62;
/// Of these, the one that orders minibatches: no search has as many generations.
const MINIBATCHES: u64 = ORDERS - 1;

/// Which questions to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Questions {
    /// Those of the search, or some of them.
    Search(Sample),
    /// Those that the search never sees.
    Test,
}

/// Some of the search questions; by default all, in the order of the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// What every minibatch and every part has its share of.
    pub strata: Strata,
    /// The minibatch; all questions if `None`.
    pub window: Option<Window>,
    /// The part of it, in a race.
    pub part: Option<Part>,
}

/// Some of a task's questions: `length` of them from `first` on, beginning again after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Position of the first, taken modulo their number.
    pub first: usize,
    /// How many; at most all.
    pub length: usize,
}

/// A part of a generation's questions, which are drawn in random order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What decides the order: a seed and the generation.
    pub order: (u64, u64),
    /// Which of the parts.
    pub index: usize,
    /// How many parts there are.
    pub of: usize,
}

/// Search questions by the models that get them right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strata {
    /// Decides which of a stratum's questions come when.
    seed: u64,
    /// The stratum of every question, task by task; of tasks that are not there, one for all.
    tasks: Arc<[Vec<usize>]>,
}

impl Questions {
    /// All questions of the search.
    pub fn all() -> Self {
        Self::Search(Sample::default())
    }

    /// The indices among the `total` questions of task number `task`.
    pub fn indices(&self, task: usize, total: usize) -> Vec<usize> {
        match self {
            Self::Search(sample) => sample.indices(task, total),
            Self::Test => (0..total).collect(),
        }
    }
}

impl Sample {
    fn indices(&self, task: usize, total: usize) -> Vec<usize> {
        let strata = self.strata.tasks.get(task);
        let all: Vec<usize> = (0..total).collect();
        let window = match (self.window, strata) {
            (None, _) => all,
            (Some(window), None) => window.of(&all),
            (Some(window), Some(_)) => window.of(&dealt(all, strata, (self.strata.seed, MINIBATCHES))),
        };
        let Some(Part { order: (seed, generation), index, of }) = self.part else { return window };
        let order = dealt(window, strata, (seed, ORDERS | generation));
        order[order.len() * index / of..order.len() * (index + 1) / of].to_vec()
    }
}

impl Window {
    fn of(self, order: &[usize]) -> Vec<usize> {
        let first = self.first.checked_rem(order.len()).unwrap_or(0);
        order.iter().cycle().skip(first).take(self.length.min(order.len())).copied().collect()
    }
}

impl Strata {
    /// The strata of questions that all of `models` have answered. A hit is what is above the model's own average, so that it is a right
    /// answer where answers are right or wrong, and a question easier than others where they are not.
    pub fn new(models: &[Trial], seed: u64) -> Self {
        let tasks = models.iter().map(|trial| trial.tasks.len()).min().unwrap_or(0);
        Self { seed, tasks: (0..tasks).map(|task| strata(models, task)).collect() }
    }
}

/// A number for each question of one task, the same for the same pattern of hits.
fn strata(models: &[Trial], task: usize) -> Vec<usize> {
    let mut patterns: Vec<Vec<bool>> = Vec::new();
    for items in models.iter().map(|trial| &trial.tasks[task].items) {
        let average = items.iter().sum::<f64>() / items.len() as f64;
        patterns.resize(patterns.len().max(items.len()), Vec::new());
        patterns.iter_mut().zip(items).for_each(|(pattern, item)| pattern.push(*item > average));
    }
    let mut numbers = HashMap::new();
    let mut number = |pattern| {
        let next = numbers.len();
        *numbers.entry(pattern).or_insert(next)
    };
    patterns.into_iter().map(&mut number).collect()
}

/// `questions` in random order (Fisher and Yates's shuffle), then so that those of a stratum come at even distances.
fn dealt(mut questions: Vec<usize>, strata: Option<&Vec<usize>>, (seed, which): (u64, u64)) -> Vec<usize> {
    let mut rng = stream(seed, which);
    for last in (1..questions.len()).rev() {
        questions.swap(last, (uniform(&mut rng) * (last + 1) as f64) as usize);
    }
    let Some(strata) = strata else { return questions };
    let stratum = |question: usize| strata.get(question).copied().unwrap_or(0);
    let mut sizes = vec![0usize; strata.iter().max().map_or(1, |last| last + 1)];
    questions.iter().for_each(|question| sizes[stratum(*question)] += 1);
    // Where the next of each stratum belongs, from 0 to 1: every stratum begins somewhere within its own distance.
    let mut next: Vec<f64> = sizes.iter().map(|size| uniform(&mut rng) / *size as f64).collect();
    let place = |question: usize| {
        let stratum = stratum(question);
        let place = next[stratum];
        next[stratum] += 1.0 / sizes[stratum] as f64;
        (place, question)
    };
    let mut placed: Vec<(f64, usize)> = questions.into_iter().map(place).collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    placed.into_iter().map(|(_, question)| question).collect()
}

#[cfg(test)]
#[path = "questions_tests.rs"]
mod tests;
