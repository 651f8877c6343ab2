//! The search itself: ask, score, journal, tell; then the finalists, then the test.

use std::time::Instant;

use super::cmaes::StopReason;
use super::genome::uniform;
use super::space::{Space, Stages};
use super::{Config, Entry, EvolveError, Journal, Questions, Scorer, Search, Trial, Window};
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
    let (stopped, best, weights) = (None, None, None);
    let mut run = Run { config, scorer, journal, watch, seed, replayed_seconds: 0.0, disk, stopped, best, weights };
    let tested = match run.stages(stages, budget) {
        Ok(tested) => Some(tested),
        Err(EvolveError::Score(ScoreError::Cancelled)) => None,
        Err(error) => return Err(error),
    };
    let trials = || run.journal.entries().iter().filter_map(Entry::trial);
    Ok(Outcome {
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
fn rank(fitness: f64) -> f64 {
    if fitness.is_nan() { f64::NEG_INFINITY } else { fitness }
}

struct Run<'a> {
    config: &'a Config,
    scorer: &'a mut dyn Scorer,
    journal: &'a mut Journal,
    watch: &'a mut dyn FnMut(Event),
    seed: u64,
    replayed_seconds: f64,
    disk: Option<u64>,
    stopped: Option<StopReason>,
    best: Option<Best>,
    weights: Option<Recipe>,
}

impl Run<'_> {
    /// All stages, then the test of everybody.
    fn stages(&mut self, stages: &Stages, budget: usize) -> Result<Vec<Tested>, EvolveError> {
        let config = self.config;
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

    /// One space: generations until the budget is spent or the optimiser gives up, then the finalists. The best of all stages so far is
    /// kept at each step, for who stops the search.
    fn stage(&mut self, stage: usize, space: &dyn Space, search: &Search, budget: usize) -> Result<(), EvolveError> {
        let before = self.best.take();
        self.stopped = None;
        let searched = self.generations(stage, space, search, budget);
        let mut candidates: Vec<(usize, Vec<f64>, Trial)> = self
            .journal
            .candidates()
            .filter(|c| c.stage == stage)
            .map(|c| (c.evaluation, c.genes.to_vec(), c.trial.clone()))
            .collect();
        let value = |(_, genes, trial): &(usize, Vec<f64>, Trial)| rank(trial.fitness - space.cost(genes));
        candidates.sort_by(|a, b| value(b).total_cmp(&value(a)));
        let done = searched.and_then(|mean| self.finalists(stage, space, search, &mean, &candidates));
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

    /// Returns the centre of the distribution at the end.
    fn generations(
        &mut self,
        stage: usize,
        space: &dyn Space,
        search: &Search,
        budget: usize,
    ) -> Result<Vec<f64>, EvolveError> {
        let mut optimiser = space.optimiser(search, self.seed)?;
        let mut evaluations = 0;
        let mut best = f64::NEG_INFINITY;
        loop {
            if let Some(reason) = optimiser.stop() {
                self.stopped = Some(reason);
                return Ok(optimiser.centre());
            }
            let generation = usize::try_from(optimiser.generation()).unwrap_or(usize::MAX);
            let window = search.minibatch.map(|length| Window { first: generation.saturating_mul(length), length });
            let mut told = Vec::new();
            for genes in optimiser.ask() {
                if evaluations == budget {
                    return Ok(optimiser.centre());
                }
                let genes = space.repaired(genes);
                let (trial, replayed) = self.candidate(stage, space, evaluations, &genes, Questions::Search(window))?;
                evaluations += 1;
                best = best.max(trial.fitness);
                (self.watch)(Event::Candidate { stage, evaluations, fitness: trial.fitness, best, replayed });
                let fitness = space.cost(&genes) - trial.fitness;
                told.push((genes, fitness));
            }
            optimiser.tell(&told, space)?;
        }
    }

    /// Scores candidate `evaluation`, or takes its score from the journal (true).
    fn candidate(
        &mut self,
        stage: usize,
        space: &dyn Space,
        evaluation: usize,
        genes: &[f64],
        questions: Questions,
    ) -> Result<(Trial, bool), EvolveError> {
        let known = self.journal.candidate(stage, evaluation);
        if known.is_some_and(|then| then.genes != genes) {
            let what = "what the search proposes (with ggraft's version or the platform)".to_owned();
            return Err(EvolveError::OtherSearch { path: self.journal.path().to_owned(), what, allowable: false });
        }
        let known = known.map(|then| then.trial.clone());
        let replayed = known.is_some();
        let recipe = space.decode(genes)?;
        let entry = |trial| Entry::Candidate { stage, evaluation, genes: genes.to_vec(), trial };
        let trial = self.recall(known, |scorer| scorer.recipe(&recipe, questions), entry)?;
        Ok((trial, replayed))
    }

    /// The trial that the journal knows, or else what `work` comes to, journalled as `entry` before anything goes on.
    fn recall(
        &mut self,
        known: Option<Trial>,
        work: impl FnOnce(&mut dyn Scorer) -> Result<Trial, EvolveError>,
        entry: impl FnOnce(Trial) -> Entry,
    ) -> Result<Trial, EvolveError> {
        if let Some(trial) = known {
            self.replayed_seconds += trial.swap_seconds + trial.score_seconds;
            return Ok(trial);
        }
        let trial = self.measured(work)?;
        self.journal.append(entry(trial.clone()))?;
        (self.watch)(Event::Journalled(self.journal));
        Ok(trial)
    }

    /// Lets the scorer work, and counts what is written to disk meanwhile.
    fn measured(
        &mut self,
        work: impl FnOnce(&mut dyn Scorer) -> Result<Trial, EvolveError>,
    ) -> Result<Trial, EvolveError> {
        let before = disk::written_bytes();
        let trial = work(self.scorer)?;
        if let (Some(total), Some(before), Some(after)) = (&mut self.disk, before, disk::written_bytes()) {
            *total += after.saturating_sub(before);
        }
        Ok(trial)
    }

    /// What the journal says since the last candidate, of `stage` if given: a search that went on with a larger budget has another mean and
    /// another best recipe now. Nor does anything hold that was scored before models or tasks changed.
    fn since_last_candidate(&self, stage: Option<usize>) -> &[Entry] {
        let entries = self.journal.entries();
        let outdates = |entry: &Entry| match entry {
            Entry::Start(_) => true,
            Entry::Candidate { stage: s, .. } => stage.is_none_or(|stage| *s == stage),
            _ => false,
        };
        &entries[entries.iter().rposition(outdates).map_or(0, |last| last + 1)..]
    }

    /// What the journal says about the models and tasks that are now in force.
    fn since_start(&self) -> &[Entry] {
        let entries = self.journal.entries();
        &entries[entries.iter().rposition(|entry| matches!(entry, Entry::Start(_))).map_or(0, |last| last + 1)..]
    }

    /// The mean and the best candidates on all search questions; returns the best of them.
    fn finalists(
        &mut self,
        stage: usize,
        space: &dyn Space,
        search: &Search,
        mean: &[f64],
        candidates: &[(usize, Vec<f64>, Trial)],
    ) -> Result<Best, EvolveError> {
        (self.watch)(Event::Phase("finalists"));
        // The mean first: of equals it is to be trusted more, since it was not chosen for a lucky score.
        let mut finalists: Vec<(Option<usize>, &[f64], Option<&Trial>)> = vec![(None, mean, None)];
        let whole = search.minibatch.is_none();
        for (evaluation, genes, trial) in candidates.iter().take(search.finalists) {
            let known = whole && self.journal.is_current(stage, *evaluation);
            finalists.push((Some(*evaluation), genes, known.then_some(trial)));
        }
        let mut best: Option<(f64, Best)> = None;
        for (evaluation, genes, known) in finalists {
            let recipe = space.decode(genes)?;
            let search = match known {
                Some(trial) => trial.clone(),
                None => self.finalist(stage, evaluation, &recipe)?,
            };
            let value = search.fitness - space.cost(genes);
            if best.as_ref().is_none_or(|(highest, _)| value > *highest || highest.is_nan()) {
                best = Some((value, Best { recipe, evaluation, search }));
            }
        }
        let (_, best) = best.expect("the mean is always a finalist");
        Ok(best)
    }

    fn finalist(&mut self, stage: usize, evaluation: Option<usize>, recipe: &Recipe) -> Result<Trial, EvolveError> {
        let mean = evaluation.is_none();
        let entries = if mean { self.since_last_candidate(Some(stage)) } else { self.since_start() };
        let known = entries.iter().find_map(|entry| match entry {
            Entry::Finalist { stage: s, evaluation: e, trial } if (*s, *e) == (stage, evaluation) => {
                Some(trial.clone())
            }
            _ => None,
        });
        let work = |scorer: &mut dyn Scorer| scorer.recipe(recipe, Questions::Search(None));
        self.recall(known, work, |trial| Entry::Finalist { stage, evaluation, trial })
    }

    /// Everybody on the test questions: the models, their average where they have one, the best weights of a first stage, the best recipe.
    fn tests(&mut self) -> Result<Vec<Tested>, EvolveError> {
        let mut tested = Vec::new();
        for (model, name) in self.config.models.iter().map(|m| m.written.clone()).enumerate() {
            tested.push(self.test(name, |scorer| scorer.parent(model))?);
        }
        let best = self.best.as_ref().map(|best| best.recipe.clone());
        let best = best.expect("every stage that ends has a best recipe");
        let uniform = uniform(&self.config.models, self.config.searched(), &best)?;
        match self.test(UNIFORM.to_owned(), |scorer| scorer.recipe(&uniform, Questions::Test)) {
            // Whose blocks can follow one another need not be siblings that blend.
            Err(EvolveError::Plan(_)) if self.config.genome.is_none() => {}
            other => tested.push(other?),
        }
        if let Some(weights) = self.weights.clone() {
            tested.push(self.test(WEIGHTS.to_owned(), |scorer| scorer.recipe(&weights, Questions::Test))?);
        }
        tested.push(self.test(BEST.to_owned(), |scorer| scorer.recipe(&best, Questions::Test))?);
        Ok(tested)
    }

    fn test(
        &mut self,
        name: String,
        work: impl FnOnce(&mut dyn Scorer) -> Result<Trial, EvolveError>,
    ) -> Result<Tested, EvolveError> {
        (self.watch)(Event::Phase(&name));
        let entries = match name.as_str() {
            BEST => self.since_last_candidate(None),
            WEIGHTS => self.since_last_candidate(Some(0)),
            _ => self.since_start(),
        };
        let known = entries.iter().find_map(|entry| match entry {
            Entry::Test { name: n, trial } if *n == name => Some(trial.clone()),
            _ => None,
        });
        let trial = self.recall(known, work, |trial| Entry::Test { name: name.clone(), trial })?;
        Ok(Tested { name, trial })
    }
}
