//! The search itself: ask, score, journal, tell; then the finalists, then the test.

use std::time::Instant;

use super::belief::{Belief, Chosen, belief};
use super::cmaes::StopReason;
use super::space::{Space, Stages};
use super::{Candidate, Config, Entry, EvolveError, Front, Journal, Questions, Scorer, Search, Strata, Trial};
use crate::disk;
use crate::recipe::Recipe;
use crate::score::ScoreError;

/// What happens, for whoever watches.
pub enum Event<'a> {
    /// A candidate has its score.
    Candidate {
        /// Which of the search's spaces it is from.
        stage: usize,
        /// Candidates of this stage so far, this one included.
        evaluations: usize,
        /// Its score.
        fitness: f64,
        /// The best one so far.
        best: f64,
        /// Whether it came from the journal.
        replayed: bool,
    },
    /// Something else is being scored.
    Phase(&'a str),
    /// A score has been written down.
    Journalled(&'a Journal),
}

/// How a search ended.
#[derive(Debug)]
pub struct Outcome {
    /// The best recipe; `None` if not even one candidate was scored.
    pub best: Option<Best>,
    /// The best recipe of a first stage, which the paths of a second go through.
    pub weights: Option<Recipe>,
    /// Every model on the test questions: the parents, the uniform merge, the best recipe last. Empty if the search was stopped early.
    pub tested: Vec<Tested>,
    /// How far that may be believed; `None` where `tested` is empty.
    pub belief: Option<Belief>,
    /// With several objectives, the recipes that none other beats in all of them.
    pub front: Option<Front>,
    /// Candidates scored.
    pub evaluations: usize,
    /// Questions answered, in all phases.
    pub items_scored: usize,
    /// Wall time of scoring and of this process's own work, replayed scores counted as they were.
    pub seconds: f64,
    /// Time spent on making recipes the running model.
    pub swap_seconds_total: f64,
    /// Bytes written to disk while models were swapped and scored, as the kernel counts them; `None` where it does not.
    pub disk_write_bytes: Option<u64>,
    /// Why the optimiser gave up before the budget was spent, if it did.
    pub stopped: Option<StopReason>,
    /// Whether somebody asked to stop.
    pub interrupted: bool,
}

/// The best recipe.
#[derive(Debug)]
pub struct Best {
    /// Ready to be used.
    pub recipe: Recipe,
    /// Where it was found: a candidate's number, or `None` for the last mean.
    pub evaluation: Option<usize>,
    /// On all search questions; of a search that was stopped early, on those that it was scored on.
    pub search: Trial,
}

/// A model on the test questions.
#[derive(Debug)]
pub struct Tested {
    /// A model's path as written, or what it is.
    pub name: String,
    /// What it did.
    pub trial: Trial,
}

/// What the average of the models is called in the journal and the report.
pub const UNIFORM: &str = "uniform merge";
/// What the best recipe is called there.
pub const BEST: &str = "best recipe";

/// What the best merge is called there, where a search of paths comes after that of weights.
pub const WEIGHTS: &str = "best weights";

/// Runs or resumes the search that `config` describes; `budget` candidates in all.
///
/// # Errors
/// [`EvolveError`]. The journal then holds everything that was scored; a call with the same journal goes on from there.
pub fn evolve(
    config: &Config,
    stages: &Stages,
    budget: usize,
    seed: u64,
    scorer: &mut dyn Scorer,
    journal: &mut Journal,
    watch: &mut dyn FnMut(Event),
) -> Result<Outcome, EvolveError> {
    let start = Instant::now();
    // A smaller budget than before takes no candidate back: the mean of the finalists is the one after all of them.
    let budget = budget.max(journal.candidates().count());
    let disk = disk::written_bytes().map(|_| 0);
    let (finalists, seen, replayed_seconds) = (0, (0, f64::NEG_INFINITY), 0.0);
    let (strata, stopped, best, weights, front) = (Strata::default(), None, None, None, None);
    let mut run = Run {
        config,
        scorer,
        journal,
        watch,
        seed,
        finalists,
        seen,
        replayed_seconds,
        disk,
        strata,
        stopped,
        best,
        weights,
        front,
    };
    let tested = match run.stages(stages, budget) {
        Ok(tested) => Some(tested),
        Err(EvolveError::Score(ScoreError::Cancelled)) => None,
        Err(error) => return Err(error),
    };
    let trials = || run.journal.trials();
    let weights = config.weights();
    let of = tested.as_deref().unwrap_or_default();
    let best = run.best.as_ref();
    let belief = best.and_then(|best| {
        let chosen = Chosen { search: &best.search, finalists: run.finalists, weights: &weights };
        belief(of, config.models.len(), &chosen, run.journal)
    });
    Ok(Outcome {
        belief,
        front: run.front,
        evaluations: run.journal.candidates().count(),
        items_scored: trials().map(Trial::items).sum(),
        seconds: start.elapsed().as_secs_f64() + run.replayed_seconds,
        swap_seconds_total: trials().map(|t| t.swap_seconds).sum(),
        disk_write_bytes: run.disk,
        stopped: run.stopped,
        interrupted: tested.is_none(),
        tested: tested.unwrap_or_default(),
        best: run.best,
        weights: run.weights,
    })
}

/// The fitness that orders recipes: without a score last.
pub(super) fn rank(fitness: f64) -> f64 {
    if fitness.is_nan() { f64::NEG_INFINITY } else { fitness }
}

/// A search under way.
pub(super) struct Run<'a> {
    pub config: &'a Config,
    pub scorer: &'a mut dyn Scorer,
    pub journal: &'a mut Journal,
    pub watch: &'a mut dyn FnMut(Event),
    pub seed: u64,
    /// Finalists of all stages.
    pub finalists: usize,
    /// Candidates of this stage so far, and their best score.
    pub seen: (usize, f64),
    pub replayed_seconds: f64,
    pub disk: Option<u64>,
    /// What every minibatch and every part of a race has its share of.
    pub strata: Strata,
    pub stopped: Option<StopReason>,
    pub best: Option<Best>,
    pub weights: Option<Recipe>,
    pub front: Option<Front>,
}

impl Run<'_> {
    /// All stages, then the test of everybody.
    fn stages(&mut self, stages: &Stages, budget: usize) -> Result<Vec<Tested>, EvolveError> {
        let config = self.config;
        if config.search.stratify {
            self.strata = self.strata()?;
        }
        let mut left = budget;
        if let Some(genome) = &stages.genome {
            let own = if stages.path.is_some() { left.min(config.search.budget) } else { left };
            // Nor are paths taken back that were scored when the budget was larger.
            let paths = self.journal.candidates().filter(|c| c.stage == 1).count();
            left = (left - own).max(paths);
            self.stage(0, genome, &config.search, own)?;
        }
        if stages.path.is_some() {
            self.weights = self.best.as_ref().map(|best| best.recipe.clone());
        }
        if let Some(path) = stages.path.as_ref().filter(|_| left > 0) {
            let (stage, path) = match &self.weights {
                Some(merge) => (1, path.clone().over(merge.clone())),
                None => (0, path.clone()),
            };
            self.stage(stage, &path, config.path_search.as_ref().unwrap_or(&config.search), left)?;
        }
        self.tests()
    }

    /// The search questions by which of the models get them right.
    fn strata(&mut self) -> Result<Strata, EvolveError> {
        let mut trials = Vec::new();
        for (model, name) in self.config.models.iter().map(|model| model.written.clone()).enumerate() {
            (self.watch)(Event::Phase(&format!("{name} on the search questions")));
            let known = self.journal.since_start().iter().find_map(|entry| match entry {
                Entry::Parent { name: n, trial } if *n == name => Some(trial.clone()),
                _ => None,
            });
            let work = |scorer: &mut dyn Scorer| scorer.parent(model, &Questions::all());
            trials.push(self.recall(known, work, |trial| Entry::Parent { name, trial })?);
        }
        Ok(Strata::new(&trials, self.seed))
    }

    /// One space: generations until the budget is spent or the optimiser gives up, then the finalists. The best of all stages so far is
    /// kept at each step, for who stops the search.
    fn stage(&mut self, stage: usize, space: &dyn Space, search: &Search, budget: usize) -> Result<(), EvolveError> {
        let before = self.best.take();
        (self.stopped, self.seen) = (None, (0, f64::NEG_INFINITY));
        let searched = self.generations(stage, space, search, budget);
        let mut candidates: Vec<Candidate> = self.journal.candidates().filter(|c| c.stage == stage).collect();
        // Who lost a race has few answers, good as they may be.
        let value = |c: &Candidate| rank(c.trial.fitness - space.cost(c.genes));
        candidates.sort_by(|a, b| a.dropped.cmp(&b.dropped).then(value(b).total_cmp(&value(a))));
        let candidates: Vec<(usize, Vec<f64>, Trial)> =
            candidates.into_iter().map(|c| (c.evaluation, c.genes.to_vec(), c.trial.clone())).collect();
        let done = searched.and_then(|mean| match &self.config.objectives {
            Some(objectives) => self.front(stage, space, search, objectives),
            None => self.finalists(stage, space, search, &mean, &candidates),
        });
        let (found, interrupted) = match (done, candidates.into_iter().next()) {
            (Ok(best), _) => (Some(best), None),
            (Err(error), None) => (None, Some(error)),
            // Stopped early: the luckiest candidate is all there is.
            (Err(error), Some((evaluation, genes, trial))) => {
                let recipe = space.decode(&genes)?;
                (Some(Best { recipe, evaluation: Some(evaluation), search: trial }), Some(error))
            }
        };
        // What came before stays unless it is beaten.
        self.best = match (before, found) {
            (Some(before), Some(found)) if rank(found.search.fitness) < rank(before.search.fitness) => Some(before),
            (before, found) => found.or(before),
        };
        interrupted.map_or(Ok(()), Err)
    }

    /// The trial that the journal knows, or else what `work` comes to, journalled as `entry` before anything goes on.
    pub(super) fn recall(
        &mut self,
        known: Option<Trial>,
        work: impl FnOnce(&mut dyn Scorer) -> Result<Trial, EvolveError>,
        entry: impl FnOnce(Trial) -> Entry,
    ) -> Result<Trial, EvolveError> {
        if let Some(trial) = known {
            self.replayed_seconds += trial.swap_seconds + trial.score_seconds;
            return Ok(trial);
        }
        let trial = disk::counted(&mut self.disk, || work(self.scorer))?;
        self.journal.append(entry(trial.clone()))?;
        (self.watch)(Event::Journalled(self.journal));
        Ok(trial)
    }
}
