//! Several objectives: what each is for a candidate, the front of those that nobody beats in all of them, and the one to pick.

use std::cmp::Ordering;

use super::nsga2::{crowding, fronts};
use super::search::{Best, Event, Run};
use super::space::Space;
use super::{Candidate, EvolveError, Search, Trial};
use crate::score::stats;

/// Something that a recipe should be good at, or cheap in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// The score on a task, by its place among the tasks.
    Task(usize),
    /// Blocks on the path: the fewer the better.
    Length,
    /// Bytes of weights that the running model reads: the fewer the better.
    Bytes,
}

/// Which recipe of the front is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The one that gives up least: the sum of all objectives, each scaled to what the front spans, is largest (Das 1999).
    Knee,
    /// The one with the largest weighted sum of the tasks' scores.
    Weighted,
    /// The one that is best at one objective, by its place among the objectives.
    Of(usize),
}

/// What is searched for at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Objectives {
    /// Each with its name.
    pub of: Vec<(String, Objective)>,
    /// Which recipe of the front becomes the best.
    pub pick: Pick,
}

/// The recipes that none other beats in every objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// What the objectives are called.
    pub objectives: Vec<String>,
    /// The recipes, the best in the first objective first.
    pub points: Vec<Point>,
}

/// A recipe of the front.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The candidate's number.
    pub evaluation: usize,
    /// What it came to on all search questions: scores, blocks, bytes.
    pub values: Vec<f64>,
    /// Whether it was picked as the best.
    pub picked: bool,
}

impl Objective {
    /// Its value for a recipe.
    fn value(self, trial: &Trial, space: &dyn Space, genes: &[f64]) -> f64 {
        match self {
            Self::Task(task) => trial.tasks.get(task).map_or(f64::NAN, |task| stats::mean(&task.items).value),
            Self::Length => space.length(genes) as f64,
            Self::Bytes => trial.weight_bytes.map_or(f64::NAN, |bytes| bytes as f64),
        }
    }

    /// 1 if less is better, or -1.
    fn sign(self) -> f64 {
        if matches!(self, Self::Task(_)) { -1.0 } else { 1.0 }
    }
}

impl Objectives {
    fn values(&self, trial: &Trial, space: &dyn Space, genes: &[f64]) -> Vec<f64> {
        self.of.iter().map(|(_, objective)| objective.value(trial, space, genes)).collect()
    }

    /// Lower is better; where a value is missing, all are the worst: what could not be scored is not good for being cheap.
    fn minimized(&self, values: &[f64]) -> Vec<f64> {
        if values.iter().any(|value| value.is_nan()) {
            return vec![f64::INFINITY; values.len()];
        }
        self.of.iter().zip(values).map(|((_, objective), value)| objective.sign() * value).collect()
    }

    /// What a candidate is to the optimiser.
    pub(super) fn of_trial(&self, trial: &Trial, space: &dyn Space, genes: &[f64]) -> Vec<f64> {
        self.minimized(&self.values(trial, space, genes))
    }

    /// The one of `points`, minimized, to call the best; `weighted` are their weighted scores.
    fn picked(&self, points: &[Vec<f64>], weighted: &[f64]) -> usize {
        let spans: Vec<(f64, f64)> = (0..self.of.len())
            .map(|i| points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p[i]), h.max(p[i]))))
            .collect();
        let share = |value: f64, (low, high): (f64, f64)| if high > low { (high - value) / (high - low) } else { 0.0 };
        let worth = |i: usize| match self.pick {
            Pick::Knee => points[i].iter().zip(&spans).map(|(value, span)| share(*value, *span)).sum(),
            Pick::Weighted => weighted[i],
            Pick::Of(objective) => -points[i][objective],
        };
        let order = |a: &usize, b: &usize| worth(*a).total_cmp(&worth(*b)).then(weighted[*a].total_cmp(&weighted[*b]));
        // Of equals the first.
        (0..points.len()).rev().max_by(order).unwrap_or(0)
    }
}

impl Run<'_> {
    /// The front of all candidates on all search questions, and the best of it.
    pub(super) fn front(
        &mut self,
        stage: usize,
        space: &dyn Space,
        search: &Search,
        objectives: &Objectives,
    ) -> Result<Best, EvolveError> {
        (self.watch)(Event::Phase("finalists"));
        let candidates: Vec<Candidate> = self.journal.candidates().filter(|c| c.stage == stage).collect();
        let points: Vec<Vec<f64>> = candidates.iter().map(|c| objectives.of_trial(c.trial, space, c.genes)).collect();
        let mut first = fronts(&points).into_iter().next().unwrap_or_default();
        if search.minibatch.is_some() {
            // Each to be asked again: those that have the most room, so that the front keeps its breadth.
            let room = crowding(&first.iter().map(|i| points[*i].as_slice()).collect::<Vec<_>>());
            let mut order: Vec<(usize, f64)> = first.into_iter().zip(room).collect();
            order.sort_by(|a, b| b.1.total_cmp(&a.1));
            first = order.into_iter().take(search.finalists).map(|(i, _)| i).collect();
            first.sort_unstable();
        }
        let finalists: Vec<(usize, Vec<f64>, Trial)> = first
            .into_iter()
            .map(|i| (candidates[i].evaluation, candidates[i].genes.to_vec(), candidates[i].trial.clone()))
            .collect();
        self.finalists += finalists.len();
        let mut known = Vec::new();
        for (evaluation, genes, trial) in finalists {
            let recipe = space.decode(&genes)?;
            let trial = match search.minibatch {
                None => trial,
                Some(_) => self.finalist(stage, Some(evaluation), &recipe)?,
            };
            let values = objectives.values(&trial, space, &genes);
            known.push((Point { evaluation, values, picked: false }, recipe, trial));
        }
        let points: Vec<Vec<f64>> = known.iter().map(|(point, ..)| objectives.minimized(&point.values)).collect();
        let on_front = fronts(&points).into_iter().next().unwrap_or_default();
        let known = points.into_iter().zip(known).enumerate().filter(|(i, _)| on_front.contains(i));
        let mut all: Vec<(Vec<f64>, _)> = known.map(|(_, point)| point).collect();
        all.sort_by(|(a, _), (b, _)| {
            a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        });
        // Of equals the first is enough.
        all.dedup_by(|(a, _), (b, _)| a == b);
        let weighted: Vec<f64> = all.iter().map(|(_, (_, _, trial))| trial.fitness).collect();
        let picked = objectives.picked(&all.iter().map(|(p, _)| p.clone()).collect::<Vec<_>>(), &weighted);
        let mut best = None;
        let mut points = Vec::new();
        for (i, (_, (mut point, recipe, trial))) in all.into_iter().enumerate() {
            point.picked = i == picked;
            if point.picked {
                best = Some(Best { recipe, evaluation: Some(point.evaluation), search: trial });
            }
            points.push(point);
        }
        let names = objectives.of.iter().map(|(name, _)| name.clone()).collect();
        self.front = Some(Front { objectives: names, points });
        // A budget of nothing.
        best.ok_or_else(|| crate::score::ScoreError::Cancelled.into())
    }
}
