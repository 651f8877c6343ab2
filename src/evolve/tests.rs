//! Searches over landscapes with a planted optimum, and what surrounds them: configuration, genome, journal, report.

mod choices;
mod compare;
mod config;
mod genome;
mod journal;
mod measure;
mod objectives;
mod path;
mod race;
mod report;
mod resume;
mod search;
mod state;
mod studies;
mod warm;

use std::path::Path;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::plan::PlanError;
use crate::recipe::Recipe;
use crate::score::ScoreError;

/// Layers of the models that exist in these tests by name only.
const LAYERS: u32 = 8;
/// Search questions of a landscape.
const QUESTIONS: usize = 40;

const TASKS: &str = "tasks: [{task: t.yaml, test: t.jsonl}]";

/// A linear merge of two models whose layers share genes by fours (4 genes), with `search` as YAML flow.
fn config(search: &str) -> Config {
    let genome = "genome: {models: [a.gguf, b.gguf], merge_method: linear, layer_granularity: 4}";
    Config::parse(format!("{genome}\n{TASKS}\nsearch: {{{search}}}\n"), Path::new("dir/evolve.yaml")).unwrap()
}

/// The optimum of [`Landscape`] in the genes of [`config`].
const OPTIMUM: [f64; 4] = [0.2, 0.9, 0.75, 0.4];

/// The weights that a recipe gives, slice by slice and source by source.
fn weights(recipe: &Recipe) -> Vec<f64> {
    let sources = recipe.slices.iter().flat_map(|slice| &slice.sources);
    sources.filter_map(|source| source.parameters.get("weight")?.at(0.0, |_| true)).collect()
}

/// Minus the squared distance to the optimum.
fn height(recipe: &Recipe) -> f64 {
    -weights(recipe).iter().zip(OPTIMUM).map(|(w, o)| (w - o).powi(2)).sum::<f64>()
}

/// A trial of one task with `items` right answers of as many questions.
fn trial(fitness: f64, items: Vec<f64>) -> Trial {
    let (task, metric) = ("t".to_owned(), "number".to_owned());
    let score = TaskScore { task, metric, value: fitness, stderr: 0.1, ci95: [fitness - 0.2, fitness + 0.2], items };
    let times = (0.25, 1.5, 0.5);
    let (swap_seconds, score_seconds, prompt_seconds) = times;
    Trial { fitness, tasks: vec![score], swap_seconds, score_seconds, prompt_seconds, weight_bytes: None }
}

/// Scores recipes by [`height`], with noise that shrinks with the number of questions but is the same for the same questions.
#[derive(Default)]
struct Landscape {
    /// Standard deviation on all search questions.
    noise: f64,
    /// The call, counted from 0, that is stopped.
    cancel_at: Option<usize>,
    /// Recipes that have no score.
    hole: Option<fn(&[f64]) -> bool>,
    /// What a recipe does on a second task; it then does its height on the first.
    second: Option<fn(&Recipe) -> f64>,
    /// What a recipe's path adds to the score.
    path: Option<fn(&Recipe) -> f64>,
    /// Whether merges without a path cannot be planned.
    no_merge: bool,
    /// What was asked so far.
    asked: Vec<(Vec<f64>, Questions)>,
    /// Parents asked so far, and what.
    parents: Vec<(usize, Questions)>,
}

impl Landscape {
    fn calls(&self) -> usize {
        self.asked.len() + self.parents.len()
    }

    fn check(&self) -> Result<(), EvolveError> {
        if self.cancel_at == Some(self.calls()) { Err(ScoreError::Cancelled.into()) } else { Ok(()) }
    }
}

/// A normal deviate that depends on `key` alone: the sum of twelve uniform ones.
fn deviate(key: &str) -> f64 {
    let mut rng = ChaCha12Rng::from_seed(Sha256::digest(key).into());
    (0..12).map(|_| f64::from(rng.next_u32()) / f64::from(u32::MAX)).sum::<f64>() - 6.0
}

/// Whether these are a part of a race's.
fn is_rung(questions: &Questions) -> bool {
    matches!(questions, Questions::Search(Sample { part: Some(_), .. }))
}

impl Scorer for Landscape {
    fn recipe(&mut self, recipe: &Recipe, questions: &Questions) -> Result<Trial, EvolveError> {
        self.check()?;
        if self.no_merge && recipe.path.is_empty() {
            return Err(EvolveError::Plan(PlanError::Different(Vec::new())));
        }
        let genes = weights(recipe);
        let indices = questions.indices(0, QUESTIONS);
        let count = indices.len();
        if let Some(second) = self.second {
            let [first, second] = [height(recipe), second(recipe)].map(|value| trial(value, vec![value; count]));
            let tasks = [first.tasks, second.tasks].concat();
            self.asked.push((genes, questions.clone()));
            return Ok(Trial { fitness: first.fitness + second.fitness, tasks, ..first });
        }
        let noise =
            self.noise * (QUESTIONS as f64 / count as f64).sqrt() * deviate(&format!("{genes:?} {questions:?}"));
        let rung = is_rung(questions).then_some(indices);
        let hole = self.hole.is_some_and(|hole| hole(&genes));
        self.asked.push((genes, questions.clone()));
        let height = height(recipe) + self.path.map_or(0.0, |path| path(recipe));
        if let Some(rung) = rung.filter(|_| !hole) {
            // Every question has noise of its own, for every recipe another.
            let genes = weights(recipe);
            let noise = |q: usize| self.noise * (QUESTIONS as f64).sqrt() * deviate(&format!("{genes:?} {q}"));
            let items: Vec<f64> = rung.into_iter().map(|q| height + noise(q)).collect();
            return Ok(trial(items.iter().sum::<f64>() / items.len() as f64, items));
        }
        Ok(trial(if hole { f64::NAN } else { height + noise }, vec![1.0; count]))
    }

    fn parent(&mut self, model: usize, questions: &Questions) -> Result<Trial, EvolveError> {
        self.check()?;
        self.parents.push((model, questions.clone()));
        Ok(trial(-10.0 - model as f64, vec![0.0; QUESTIONS]))
    }
}

fn identity() -> Identity {
    let pair = |a: &str, b: &str| vec![(a.to_owned(), b.to_owned())];
    let (version, evolve) = ("1".to_owned(), "genome:".to_owned());
    let (tasks, models) = (pair("t", "ab"), pair("a.gguf", "cd"));
    Identity { version, seed: 3, evolve, tasks, models, ..Identity::default() }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn stages(config: &Config) -> Stages {
    Stages::new(config, &vec![LAYERS; config.models.len()]).unwrap()
}

/// A search in `folder`, new or resumed.
fn run_in(folder: &Path, resume: bool, config: &Config, budget: usize, seed: u64, scorer: &mut Landscape) -> Outcome {
    let mut journal = Journal::open(folder, resume, identity()).unwrap();
    evolve(config, &stages(config), budget, seed, scorer, &mut journal, &mut |_| ()).unwrap()
}

/// A search with a journal that nobody keeps.
fn run(config: &Config, budget: usize, seed: u64, scorer: &mut Landscape) -> Outcome {
    run_in(folder().path(), false, config, budget, seed, scorer)
}

/// The best recipe's weights and score, in bits that compare.
fn best_of(outcome: &Outcome) -> (Vec<u64>, u64, Option<usize>) {
    let best = outcome.best.as_ref().unwrap();
    let bits = weights(&best.recipe).iter().map(|w| w.to_bits()).collect();
    (bits, best.search.fitness.to_bits(), best.evaluation)
}
