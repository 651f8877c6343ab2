//! Generations: asked of the optimiser, scored or raced, journalled, and told it again.

use std::cmp::Ordering;

use super::cmaes::MAX_POPULATION;
use super::race::{Race, Runner, losers};
use super::search::{Run, rank};
use super::space::{Optimiser, Space};
use super::{Entry, Event, EvolveError, Part, Questions, Sample, Search, Strata, Trial, Window};

/// What sets the seeds of runs after a restart apart: 2^64 over the golden ratio.
const SEEDS: u64 = 0x9e37_79b9_7f4a_7c15;

/// A candidate of the generation under way.
struct Runs {
    evaluation: usize,
    genes: Vec<f64>,
    /// What it has done so far.
    trial: Trial,
    /// The rung after which it was dropped.
    out: Option<usize>,
}

/// Which space is searched, how, and what its candidates are asked now.
#[derive(Clone, Copy)]
struct Course<'a> {
    stage: usize,
    space: &'a dyn Space,
    search: &'a Search,
    strata: &'a Strata,
    generation: u64,
    seed: u64,
}

impl Course<'_> {
    /// All questions of the generation.
    fn questions(&self) -> Questions {
        self.sample(None)
    }

    /// Some of them, in random order.
    fn rung(&self, index: usize, of: usize) -> Questions {
        self.sample(Some(Part { order: (self.seed, self.generation), index, of }))
    }

    fn sample(&self, part: Option<Part>) -> Questions {
        let generation = usize::try_from(self.generation).unwrap_or(usize::MAX);
        let window = |length: usize| Window { first: generation.saturating_mul(length), length };
        Questions::Search(Sample { strata: self.strata.clone(), window: self.search.minibatch.map(window), part })
    }
}

impl Run<'_> {
    /// Returns the centre of the distribution at the end.
    pub(super) fn generations(
        &mut self,
        stage: usize,
        space: &dyn Space,
        search: &Search,
        budget: usize,
    ) -> Result<Vec<f64>, EvolveError> {
        let mut optimiser = space.optimiser(search, self.seed)?;
        let (mut left, mut restarts, mut generation) = (budget, 0, 0);
        // Of several runs the one that got furthest has the centre to trust.
        let (mut best, mut furthest): (_, Option<(f64, Vec<f64>)>) = (f64::NEG_INFINITY, None);
        loop {
            if let Some(reason) = optimiser.stop() {
                if restarts == search.restarts {
                    self.stopped = Some(reason);
                    return Ok(furthest.map_or(optimiser.centre(), |(_, centre)| centre));
                }
                // IPOP (Auger and Hansen 2005): a larger population looks at the landscape from further away.
                (restarts, best) = (restarts + 1, f64::NEG_INFINITY);
                let population = optimiser.population().saturating_mul(2).min(MAX_POPULATION);
                let seed = self.seed.wrapping_add(SEEDS.wrapping_mul(restarts as u64));
                optimiser = space.optimiser(&Search { population: Some(population), ..*search }, seed)?;
            }
            let strata = &self.strata.clone();
            let course = Course { stage, space, search, strata, generation, seed: self.seed };
            let proposals = optimiser.ask();
            let whole = proposals.len() <= left;
            let first = budget - left;
            let genes: Vec<Vec<f64>> = proposals.into_iter().take(left).map(|genes| space.repaired(genes)).collect();
            left -= genes.len();
            // What the optimiser never learns of is asked everything: it can only be a finalist.
            let runs = match search.race.filter(|_| whole) {
                Some(race) => self.race(course, &race, first, genes)?,
                None => self.all(course, first, genes)?,
            };
            if !whole {
                return Ok(furthest.map_or(optimiser.centre(), |(_, centre)| centre));
            }
            generation += 1;
            if let (Optimiser::Nsga2(nsga), Some(objectives)) = (&mut optimiser, &self.config.objectives) {
                let told = |run: Runs| (objectives.of_trial(&run.trial, space, &run.genes), run.genes);
                let told: Vec<_> = runs.into_iter().map(told).map(|(values, genes)| (genes, values)).collect();
                nsga.tell(&told)?;
                continue;
            }
            let told = ranked(runs, space);
            best = told.iter().map(|(_, fitness)| -fitness).fold(best, f64::max);
            optimiser.tell(&told, space)?;
            if search.restarts > 0 && furthest.as_ref().is_none_or(|(before, _)| best >= *before) {
                furthest = Some((best, optimiser.centre()));
            }
        }
    }

    /// Every candidate on every question.
    fn all(&mut self, course: Course, first: usize, genes: Vec<Vec<f64>>) -> Result<Vec<Runs>, EvolveError> {
        // A race that takes this generation up again, with a larger budget, finds its questions in its order.
        let questions = match course.search.race {
            Some(_) => course.rung(0, 1),
            None => course.questions(),
        };
        let mut runs = Vec::new();
        for (evaluation, genes) in (first..).zip(genes) {
            let known = self.known(course.stage, evaluation, &genes)?.map(|(trial, _)| trial);
            let replayed = known.is_some();
            let recipe = course.space.decode(&genes)?;
            let entry = |trial| Entry::Candidate {
                stage: course.stage,
                evaluation,
                genes: genes.clone(),
                trial,
                dropped: false,
            };
            let trial = self.recall(known, |scorer| scorer.recipe(&recipe, &questions), entry)?;
            self.told(course.stage, &trial, replayed);
            runs.push(Runs { evaluation, genes, trial, out: None });
        }
        Ok(runs)
    }

    /// Every candidate on as many questions as it takes to see that it is not among the better half.
    fn race(
        &mut self,
        course: Course,
        race: &Race,
        first: usize,
        genes: Vec<Vec<f64>>,
    ) -> Result<Vec<Runs>, EvolveError> {
        let weights = self.config.weights();
        let start = |(evaluation, genes)| Runs { evaluation, genes, trial: Trial::nothing(), out: None };
        let mut runs: Vec<Runs> = (first..).zip(genes).map(start).collect();
        let better_half = runs.len() / 2;
        for rung in 0..race.rungs {
            let last = rung + 1 == race.rungs;
            let left = runs.iter().filter(|run| run.out.is_none()).count();
            (self.watch)(Event::Phase(&format!("part {} of {} with {left} candidates", rung + 1, race.rungs)));
            for run in runs.iter_mut().filter(|run| run.out.is_none()) {
                let part = self.rung(course, race, rung, run, &weights)?;
                run.trial = if rung == 0 { part } else { run.trial.followed_by(&part, &weights) };
                if last {
                    self.finish(course.stage, run)?;
                }
            }
            if last {
                break;
            }
            let runners: Vec<Runner> = runs
                .iter()
                .filter(|run| run.out.is_none())
                .map(|run| Runner { trial: &run.trial, cost: course.space.cost(&run.genes) })
                .collect();
            let lost = losers(race, &runners, better_half, rung + 1, &weights);
            let settled = lost.iter().filter(|lost| !**lost).count() <= better_half;
            for (run, lost) in runs.iter_mut().filter(|run| run.out.is_none()).zip(lost) {
                run.out = lost.then_some(rung);
                if lost || settled {
                    self.finish(course.stage, run)?;
                }
            }
            if settled {
                break;
            }
        }
        Ok(runs)
    }

    /// What a candidate does in one part of a race.
    fn rung(
        &mut self,
        course: Course,
        race: &Race,
        rung: usize,
        run: &Runs,
        weights: &[f64],
    ) -> Result<Trial, EvolveError> {
        let (stage, evaluation, genes) = (course.stage, run.evaluation, &run.genes);
        let known = match self.journal.rung(stage, evaluation, rung) {
            Some((then, _)) if then != genes => return Err(self.other_genes()),
            Some((_, trial)) => Some(trial.clone()),
            // Scored without a race, in a generation that was cut short by a smaller budget.
            None => self
                .known(stage, evaluation, genes)?
                .filter(|(_, dropped)| !dropped)
                .map(|(trial, _)| trial.part(rung, race.rungs, weights)),
        };
        let recipe = course.space.decode(genes)?;
        let questions = course.rung(rung, race.rungs);
        let entry = |trial| Entry::Rung { stage, evaluation, rung, genes: genes.clone(), trial };
        self.recall(known, |scorer| scorer.recipe(&recipe, &questions), entry)
    }

    /// A candidate has ended its race.
    fn finish(&mut self, stage: usize, run: &Runs) -> Result<(), EvolveError> {
        let replayed = self.known(stage, run.evaluation, &run.genes)?.is_some();
        if !replayed {
            let Runs { evaluation, genes, trial, out } = run;
            let (genes, trial) = (genes.clone(), trial.clone());
            self.journal.append(Entry::Candidate {
                stage,
                evaluation: *evaluation,
                genes,
                trial,
                dropped: out.is_some(),
            })?;
            (self.watch)(Event::Journalled(self.journal));
        }
        self.told(stage, &run.trial, replayed);
        Ok(())
    }

    /// A candidate's score is known.
    fn told(&mut self, stage: usize, trial: &Trial, replayed: bool) {
        let (evaluations, best) = &mut self.seen;
        *evaluations += 1;
        *best = best.max(trial.fitness);
        let (evaluations, best) = self.seen;
        (self.watch)(Event::Candidate { stage, evaluations, fitness: trial.fitness, best, replayed });
    }

    /// What the journal knows of candidate `evaluation`, and whether a race went on without it.
    fn known(&self, stage: usize, evaluation: usize, genes: &[f64]) -> Result<Option<(Trial, bool)>, EvolveError> {
        match self.journal.candidate(stage, evaluation) {
            Some(then) if then.genes != genes => Err(self.other_genes()),
            other => Ok(other.map(|then| (then.trial.clone(), then.dropped))),
        }
    }

    fn other_genes(&self) -> EvolveError {
        let what = "what the search proposes (with ggraft's version or the platform)".to_owned();
        EvolveError::OtherSearch { path: self.journal.path().to_owned(), what, allowable: false }
    }
}

/// The generation as the optimiser learns it: genes, and what orders them, lower being better. Who was dropped is told as having no score,
/// behind all others and in order: who was dropped first last. Optimisers rank what ties as it is told.
fn ranked(mut runs: Vec<Runs>, space: &dyn Space) -> Vec<(Vec<f64>, f64)> {
    let value = |run: &Runs| space.cost(&run.genes) - run.trial.fitness;
    runs.sort_by(|a, b| match (a.out, b.out) {
        (None, None) => Ordering::Equal,
        (Some(a_out), Some(b_out)) => b_out.cmp(&a_out).then(rank(-value(b)).total_cmp(&rank(-value(a)))),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    let told = |run: Runs| (if run.out.is_some() { f64::INFINITY } else { value(&run) }, run.genes);
    runs.into_iter().map(told).map(|(fitness, genes)| (genes, fitness)).collect()
}
