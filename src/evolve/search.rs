//! The search itself: ask, score, journal, tell; then the finalists, then the test.

use std::time::Instant;

use super::cmaes::{CmaEs, CmaOptions, StopReason};
use super::{Config, Entry, EvolveError, Genome, Journal, Questions, Scorer, Trial, Window};
use crate::disk;
use crate::recipe::Recipe;
use crate::score::ScoreError;

/// What happens, for whoever watches.
#[derive(Debug)]
pub enum Event<'a> {
    /// A candidate has its score.
    Candidate {
        /// Candidates so far, this one included.
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
}

/// How a search ended.
#[derive(Debug)]
pub struct Outcome {
    /// The best recipe; `None` if not even one candidate was scored.
    pub best: Option<Best>,
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

/// Names in the journal and the report.
pub(super) const UNIFORM: &str = "uniform merge";
/// Names in the journal and the report.
pub(super) const BEST: &str = "best recipe";

/// Runs or resumes the search that `config` describes; `budget` candidates in all.
///
/// # Errors
/// [`EvolveError`]. The journal then holds everything that was scored; a call with the same journal goes on from there.
pub fn evolve(
    config: &Config,
    genome: &Genome,
    budget: usize,
    seed: u64,
    scorer: &mut dyn Scorer,
    journal: &mut Journal,
    watch: &mut dyn FnMut(Event),
) -> Result<Outcome, EvolveError> {
    let start = Instant::now();
    let mut run = Run { genome, scorer, journal, watch, replayed_seconds: 0.0, disk: disk::written_bytes().map(|_| 0) };
    // A smaller budget than before takes no candidate back: the mean of the finalists is the one after all of them.
    let budget = budget.max(run.journal.candidates().count());
    let (cma, stopped, mut interrupted) = run.generations(config, budget, seed)?;
    let candidates: Vec<Candidate> = run
        .journal
        .candidates()
        .map(|(evaluation, genes, trial)| (evaluation, genes.to_vec(), trial.clone()))
        .collect();
    let mut best = None;
    let mut tested = Vec::new();
    if !interrupted {
        match run.final_phases(config, &candidates, cma.mean()) {
            Ok((b, t)) => (best, tested) = (Some(b), t),
            Err(EvolveError::Score(ScoreError::Cancelled)) => interrupted = true,
            Err(error) => return Err(error),
        }
    }
    if best.is_none()
        && let Some((evaluation, genes, trial)) = ranked(&candidates).first()
    {
        best = Some(Best { recipe: genome.decode(genes)?, evaluation: Some(*evaluation), search: trial.clone() });
    }
    let trials = || {
        run.journal.entries().iter().filter_map(|entry| match entry {
            Entry::Start(_) => None,
            Entry::Candidate { trial, .. } | Entry::Finalist { trial, .. } | Entry::Test { trial, .. } => Some(trial),
        })
    };
    Ok(Outcome {
        best,
        tested,
        evaluations: candidates.len(),
        items_scored: trials().map(Trial::items).sum(),
        seconds: start.elapsed().as_secs_f64() + run.replayed_seconds,
        swap_seconds_total: trials().map(|t| t.swap_seconds).sum(),
        disk_write_bytes: run.disk,
        stopped,
        interrupted,
    })
}

/// A scored candidate: its number, genes and score.
type Candidate = (usize, Vec<f64>, Trial);

/// Best first; candidates without a score last, equals in the order found.
fn ranked(candidates: &[Candidate]) -> Vec<&Candidate> {
    let key = |c: &Candidate| if c.2.fitness.is_nan() { f64::NEG_INFINITY } else { c.2.fitness };
    let mut ranked: Vec<&Candidate> = candidates.iter().collect();
    ranked.sort_by(|a, b| key(b).total_cmp(&key(a)));
    ranked
}

struct Run<'a> {
    genome: &'a Genome,
    scorer: &'a mut dyn Scorer,
    journal: &'a mut Journal,
    watch: &'a mut dyn FnMut(Event),
    replayed_seconds: f64,
    disk: Option<u64>,
}

impl Run<'_> {
    /// Generations until the budget is spent, the optimiser gives up (which it says), or somebody asks to stop (true).
    fn generations(
        &mut self,
        config: &Config,
        budget: usize,
        seed: u64,
    ) -> Result<(CmaEs, Option<StopReason>, bool), EvolveError> {
        let search = &config.search;
        let options = CmaOptions { population: search.population, seed };
        let mut cma = CmaEs::new(self.genome.start(search.start), search.sigma, options)?;
        let mut evaluations = 0;
        let mut best = f64::NEG_INFINITY;
        loop {
            if let Some(reason) = cma.stop() {
                return Ok((cma, Some(reason), false));
            }
            let generation = usize::try_from(cma.generation()).unwrap_or(usize::MAX);
            let window = search.minibatch.map(|length| Window { first: generation.saturating_mul(length), length });
            let mut told = Vec::new();
            for genes in cma.ask() {
                if evaluations == budget {
                    return Ok((cma, None, false));
                }
                let (trial, replayed) = match self.candidate(evaluations, &genes, Questions::Search(window)) {
                    Ok(scored) => scored,
                    Err(EvolveError::Score(ScoreError::Cancelled)) => return Ok((cma, None, true)),
                    Err(error) => return Err(error),
                };
                evaluations += 1;
                best = best.max(trial.fitness);
                (self.watch)(Event::Candidate { evaluations, fitness: trial.fitness, best, replayed });
                told.push((genes, -trial.fitness));
            }
            cma.tell(&told)?;
        }
    }

    /// Scores candidate `evaluation`, or takes its score from the journal (true).
    fn candidate(
        &mut self,
        evaluation: usize,
        genes: &[f64],
        questions: Questions,
    ) -> Result<(Trial, bool), EvolveError> {
        let known = self.journal.candidates().find(|(e, ..)| *e == evaluation);
        if known.is_some_and(|(_, then, _)| then != genes) {
            let what = "what the search proposes (with ggraft's version or the platform)".to_owned();
            return Err(EvolveError::OtherSearch { path: self.journal.path().to_owned(), what });
        }
        let known = known.map(|(.., trial)| trial.clone());
        let replayed = known.is_some();
        let recipe = self.genome.decode(genes)?;
        let entry = |trial| Entry::Candidate { evaluation, genes: genes.to_vec(), trial };
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

    /// What the journal says of the last mean and the best recipe: a search that went on with a larger budget has others now.
    fn since_last_candidate(&self) -> &[Entry] {
        let entries = self.journal.entries();
        let last = entries.iter().rposition(|entry| matches!(entry, Entry::Candidate { .. }));
        &entries[last.map_or(0, |last| last + 1)..]
    }

    /// Finalists on all search questions, then everybody on the test.
    fn final_phases(
        &mut self,
        config: &Config,
        candidates: &[Candidate],
        mean: &[f64],
    ) -> Result<(Best, Vec<Tested>), EvolveError> {
        (self.watch)(Event::Phase("finalists"));
        // The mean first: of equals it is to be trusted more, since it was not chosen for a lucky score.
        let mut finalists: Vec<(Option<usize>, &[f64], Option<&Trial>)> = vec![(None, mean, None)];
        let whole = config.search.minibatch.is_none();
        for (evaluation, genes, trial) in ranked(candidates).into_iter().take(config.search.finalists) {
            finalists.push((Some(*evaluation), genes, whole.then_some(trial)));
        }
        let mut best: Option<Best> = None;
        for (evaluation, genes, known) in finalists {
            let recipe = self.genome.decode(genes)?;
            let search = match known {
                Some(trial) => trial.clone(),
                None => self.finalist(evaluation, &recipe)?,
            };
            if best.as_ref().is_none_or(|b| search.fitness > b.search.fitness || b.search.fitness.is_nan()) {
                best = Some(Best { recipe, evaluation, search });
            }
        }
        let best = best.expect("the mean is always a finalist");

        let mut tested = Vec::new();
        for (model, name) in self.genome.models().iter().map(|m| m.written.clone()).enumerate() {
            tested.push(self.test(name, |scorer| scorer.parent(model))?);
        }
        let uniform = self.genome.uniform()?;
        tested.push(self.test(UNIFORM.to_owned(), |scorer| scorer.recipe(&uniform, Questions::Test))?);
        tested.push(self.test(BEST.to_owned(), |scorer| scorer.recipe(&best.recipe, Questions::Test))?);
        Ok((best, tested))
    }

    fn finalist(&mut self, evaluation: Option<usize>, recipe: &Recipe) -> Result<Trial, EvolveError> {
        let entries = if evaluation.is_none() { self.since_last_candidate() } else { self.journal.entries() };
        let known = entries.iter().find_map(|entry| match entry {
            Entry::Finalist { evaluation: e, trial } if *e == evaluation => Some(trial.clone()),
            _ => None,
        });
        let work = |scorer: &mut dyn Scorer| scorer.recipe(recipe, Questions::Search(None));
        self.recall(known, work, |trial| Entry::Finalist { evaluation, trial })
    }

    fn test(
        &mut self,
        name: String,
        work: impl FnOnce(&mut dyn Scorer) -> Result<Trial, EvolveError>,
    ) -> Result<Tested, EvolveError> {
        (self.watch)(Event::Phase(&name));
        let entries = if name == BEST { self.since_last_candidate() } else { self.journal.entries() };
        let known = entries.iter().find_map(|entry| match entry {
            Entry::Test { name: n, trial } if *n == name => Some(trial.clone()),
            _ => None,
        });
        let trial = self.recall(known, work, |trial| Entry::Test { name: name.clone(), trial })?;
        Ok(Tested { name, trial })
    }
}
