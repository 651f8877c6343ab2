//! What a search asks of a model: a recipe or a parent in, a [`Trial`] out. The real one swaps recipes in one live model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Deserializer, Serialize};

use super::{EvolveError, Questions};
use crate::model::{Live, ModelError, Settings, Vocabulary};
use crate::plan::{PlanError, Siblings};
use crate::recipe::Recipe;
use crate::score::stats::{self, Estimate, Paired, paired};
use crate::score::{
    BITS_PER_BYTE, PERPLEXITY, Prepared, Progress, Room, Score, ScoreError, accuracy, fitness_of, largest_size,
};
use crate::tasks::Task;

/// What a model did on all tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Weighted sum of the tasks' scores, higher is better; NaN if it could not be computed.
    #[serde(deserialize_with = "null_is_nan")]
    pub fitness: f64,
    /// Task by task.
    pub tasks: Vec<TaskScore>,
    /// Time to make the recipe the running model.
    pub swap_seconds: f64,
    /// Time to ask the questions.
    pub score_seconds: f64,
    /// Of that, the time to read prompts; the rest went into answers.
    #[serde(default)]
    pub prompt_seconds: f64,
    /// Bytes of weights that the running model read, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_bytes: Option<u64>,
}

/// What a model did on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// The task's name.
    pub task: String,
    /// What was measured.
    pub metric: String,
    /// The value.
    #[serde(deserialize_with = "null_is_nan")]
    pub value: f64,
    /// Its standard error; NaN for a single question.
    #[serde(deserialize_with = "null_is_nan")]
    pub stderr: f64,
    /// Its 95 % interval.
    #[serde(deserialize_with = "nulls_are_nan")]
    pub ci95: [f64; 2],
    /// One value per question, higher is better.
    #[serde(deserialize_with = "nulls_are_nan_vec")]
    pub items: Vec<f64>,
}

impl TaskScore {
    /// The same task and metric with other results.
    fn of_items(&self, items: Vec<f64>) -> Self {
        let right_or_wrong = items.iter().all(|item| *item == 0.0 || *item == 1.0);
        // Items are higher where that is better, and each counts as one.
        let negated = || items.iter().map(|item| (-item, 1)).collect::<Vec<_>>();
        let estimate = match self.metric.as_str() {
            PERPLEXITY => stats::perplexity(&negated()),
            BITS_PER_BYTE => stats::ratio(&negated()),
            _ if right_or_wrong => accuracy(&items),
            _ => stats::mean(&items),
        };
        let Estimate { value, stderr, ci95, .. } = estimate;
        Self { task: self.task.clone(), metric: self.metric.clone(), value, stderr, ci95, items }
    }

    /// How far down and up the 95 % interval goes from what the weight multiplies in the fitness.
    fn fitness_reach(&self) -> [f64; 2] {
        let [fitness, a, b] = [self.value, self.ci95[0], self.ci95[1]].map(|value| fitness_of(&self.metric, value));
        [fitness - a.min(b), a.max(b) - fitness]
    }
}

// JSON has no NaN: serde_json writes it as null.
fn null_is_nan<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(f64::NAN))
}

fn nulls_are_nan<'de, D: Deserializer<'de>>(d: D) -> Result<[f64; 2], D::Error> {
    Ok(<[Option<f64>; 2]>::deserialize(d)?.map(|v| v.unwrap_or(f64::NAN)))
}

fn nulls_are_nan_vec<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<f64>, D::Error> {
    Ok(Vec::<Option<f64>>::deserialize(d)?.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect())
}

impl Trial {
    /// What a recipe did that could not be run.
    pub(super) fn nothing() -> Self {
        let (swap_seconds, score_seconds, prompt_seconds) = (0.0, 0.0, 0.0);
        Self { fitness: f64::NAN, tasks: Vec::new(), swap_seconds, score_seconds, prompt_seconds, weight_bytes: None }
    }

    /// Questions answered.
    pub fn items(&self) -> usize {
        self.tasks.iter().map(|t| t.items.len()).sum()
    }

    /// This and then `next`, on other questions of the same tasks, as one. Questions of a perplexity count alike then, however long.
    pub(super) fn followed_by(&self, next: &Self, weights: &[f64]) -> Self {
        let task = |(task, more): (&TaskScore, &TaskScore)| task.of_items([&task.items[..], &more.items].concat());
        let tasks: Vec<TaskScore> = self.tasks.iter().zip(&next.tasks).map(task).collect();
        let fitness = tasks.iter().zip(weights).map(|(task, weight)| weight * stats::mean(&task.items).value).sum();
        Self {
            fitness: if self.fitness.is_nan() || next.fitness.is_nan() { f64::NAN } else { fitness },
            tasks,
            swap_seconds: self.swap_seconds + next.swap_seconds,
            score_seconds: self.score_seconds + next.score_seconds,
            prompt_seconds: self.prompt_seconds + next.prompt_seconds,
            weight_bytes: self.weight_bytes.or(next.weight_bytes),
        }
    }

    /// What this did in one of equal parts of its questions, in no time.
    pub(super) fn part(&self, index: usize, of: usize, weights: &[f64]) -> Self {
        let nothing = |task: &TaskScore| TaskScore { items: Vec::new(), ..task.clone() };
        let part = |task: &TaskScore| {
            let n = task.items.len();
            task.of_items(task.items[n * index / of..n * (index + 1) / of].to_vec())
        };
        let before = Self { tasks: self.tasks.iter().map(nothing).collect(), ..Self::nothing() };
        let fitness = if self.fitness.is_nan() { f64::NAN } else { 0.0 };
        let part = Self { tasks: self.tasks.iter().map(part).collect(), fitness, ..Self::nothing() };
        Self { fitness, ..before }.followed_by(&part, weights)
    }

    /// This against `other` on the same questions of all tasks; `None` if they were not asked the same number.
    pub fn compare(&self, other: &Self) -> Option<Paired> {
        let items = |trial: &Self| trial.tasks.iter().flat_map(|t| t.items.iter().copied()).collect::<Vec<f64>>();
        paired(&items(self), &items(other))
    }

    /// The value to report with its 95 % interval: the task's own if there is one task, else the weighted sum.
    pub fn summary(&self, weights: &[f64]) -> (f64, [f64; 2]) {
        match &self.tasks[..] {
            [only] => (only.value, only.ci95),
            _ => (self.fitness, self.fitness_ci95(weights)),
        }
    }

    /// The 95 % interval of the fitness, from those of the tasks by the method of variance estimates recovery (Zou and Donner 2008): as
    /// lopsided as they are, and no narrower where every answer is right or none.
    pub fn fitness_ci95(&self, weights: &[f64]) -> [f64; 2] {
        let (mut down, mut up) = (0.0, 0.0);
        for (task, weight) in self.tasks.iter().zip(weights) {
            let [low, high] = task.fitness_reach().map(|reach| weight * reach);
            // What is good for a task with a negative weight is bad for the sum.
            let (low, high) = if *weight < 0.0 { (high, low) } else { (low, high) };
            down += low * low;
            up += high * high;
        }
        [self.fitness - f64::sqrt(down), self.fitness + f64::sqrt(up)]
    }
}

/// Asks models questions. Two implementors: llama.cpp, and the landscapes that tests search.
pub trait Scorer {
    /// Scores a recipe.
    ///
    /// # Errors
    /// [`EvolveError`]; [`ScoreError::Cancelled`] inside it ends the search in good order.
    fn recipe(&mut self, recipe: &Recipe, questions: &Questions) -> Result<Trial, EvolveError>;

    /// Scores one of the recipes' models as it is.
    ///
    /// # Errors
    /// As [`Scorer::recipe`].
    fn parent(&mut self, model: usize, questions: &Questions) -> Result<Trial, EvolveError>;
}

/// One task's questions for the search and for the test.
struct Exam {
    /// Share in the fitness.
    weight: f64,
    search: Prepared,
    test: Prepared,
}

impl Exam {
    fn part(&self, questions: &Questions) -> &Prepared {
        match questions {
            Questions::Search(_) => &self.search,
            Questions::Test => &self.test,
        }
    }
}

/// Scores in llama.cpp, swapping recipes in place.
pub struct LiveScorer<'a> {
    siblings: &'a Siblings,
    vocabulary: Arc<Vocabulary>,
    exams: Vec<Exam>,
    settings: Settings,
    room: Room,
    stop: &'a AtomicBool,
    live: Option<Live>,
}

impl<'a> LiveScorer<'a> {
    /// A scorer over `siblings` of recipes that have the vocabulary `vocabulary`. Each goal is a weight, search questions
    /// and test questions. Setting `stop` ends the score in flight with [`ScoreError::Cancelled`].
    ///
    /// # Errors
    /// [`ScoreError`] for prompts that cannot be asked.
    pub fn new(
        siblings: &'a Siblings,
        vocabulary: Vocabulary,
        goals: Vec<(f64, Arc<Task>, Arc<Task>)>,
        settings: Settings,
        room: Room,
        stop: &'a AtomicBool,
    ) -> Result<Self, EvolveError> {
        let vocabulary = Arc::new(vocabulary);
        let exam = |(weight, search, test)| {
            Ok(Exam { weight, search: Prepared::new(search, &vocabulary)?, test: Prepared::new(test, &vocabulary)? })
        };
        let exams = goals.into_iter().map(exam).collect::<Result<_, ScoreError>>()?;
        Ok(Self { siblings, vocabulary, exams, settings, room, stop, live: None })
    }

    /// Makes `recipe` the running model; returns the seconds it took, and the bytes of its weights.
    fn swap(&mut self, recipe: &Recipe) -> Result<(f64, u64), EvolveError> {
        let plan = self.siblings.plan(recipe)?;
        let parents = self.siblings.parents();
        let swap = match &mut self.live {
            Some(live) => live.swap(&plan, parents).map_err(ScoreError::from)?,
            None => {
                let (live, swap) =
                    Live::of_plan(&plan, parents, Arc::clone(&self.vocabulary), self.settings, self.size())
                        .map_err(ScoreError::from)?;
                self.live = Some(live);
                swap
            }
        };
        Ok((swap.elapsed.as_secs_f64(), plan.weight_bytes()))
    }

    fn size(&self) -> crate::model::ContextSize {
        largest_size(self.exams.iter().flat_map(|e| [&e.search, &e.test]).map(|p| p.context_size(self.room)))
    }
}

/// Asks all tasks of a running model.
fn examine(
    live: &mut Live,
    exams: &[(f64, &Prepared)],
    questions: &Questions,
    stop: &AtomicBool,
) -> Result<Trial, ScoreError> {
    let mut trial = Trial { fitness: 0.0, ..Trial::nothing() };
    for (number, (weight, prepared)) in exams.iter().enumerate() {
        let chosen = questions.indices(number, prepared.task().questions.len());
        let mut go_on = |_, _| !stop.load(Ordering::Relaxed);
        let score = prepared.score(live, &chosen, &mut Progress::new(&mut go_on))?;
        trial.fitness += weight * score.fitness();
        trial.score_seconds += score.elapsed.as_secs_f64();
        trial.prompt_seconds += score.work.prompt_time.as_secs_f64();
        let Score { metric, estimate, items, .. } = score;
        trial.tasks.push(TaskScore {
            task: prepared.task().name.clone(),
            metric: metric.to_owned(),
            value: estimate.value,
            stderr: estimate.stderr,
            ci95: estimate.ci95,
            items,
        });
    }
    Ok(trial)
}

impl Scorer for LiveScorer<'_> {
    fn recipe(&mut self, recipe: &Recipe, questions: &Questions) -> Result<Trial, EvolveError> {
        let (swap_seconds, bytes) = match self.swap(recipe) {
            // A path that the architecture cannot take is one without a score, not the end of the search.
            Err(EvolveError::Plan(PlanError::Schedule { .. })) if !recipe.path.is_empty() => {
                return Ok(Trial::nothing());
            }
            other => other?,
        };
        let exams: Vec<(f64, &Prepared)> = self.exams.iter().map(|e| (e.weight, e.part(questions))).collect();
        let live = self.live.as_mut().expect("the swap has started it");
        Ok(Trial { swap_seconds, weight_bytes: Some(bytes), ..examine(live, &exams, questions, self.stop)? })
    }

    /// With the parent's own vocabulary and chat template, which may differ from the merged model's.
    fn parent(&mut self, model: usize, questions: &Questions) -> Result<Trial, EvolveError> {
        let failed = |e: ModelError| ScoreError::from(e);
        let parents = self.siblings.parents();
        let path = parents[model].path();
        let vocabulary = Arc::new(Vocabulary::load(path, None).map_err(failed)?);
        let own = |e: &Exam| Ok((e.weight, Prepared::new(e.part(questions).shared_task(), &vocabulary)?));
        let exams = self.exams.iter().map(own).collect::<Result<Vec<_>, ScoreError>>()?;
        let size = largest_size(exams.iter().map(|(_, p)| p.context_size(self.room)));
        let shared = Arc::clone(&vocabulary);
        let mut live = if parents[model].is_adapted() {
            let plan = self.siblings.plan_alone(model)?;
            Live::of_plan(&plan, parents, shared, self.settings, size).map_err(failed)?.0
        } else {
            Live::of_file(path, shared, self.settings, size).map_err(failed)?
        };
        let exams: Vec<(f64, &Prepared)> = exams.iter().map(|(w, p)| (*w, p)).collect();
        Ok(examine(&mut live, &exams, questions, self.stop)?)
    }
}
