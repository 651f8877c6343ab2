//! The end of a search: the finalists on all search questions, then everybody on the test questions.

use super::genome::uniform;
use super::search::{BEST, Best, Event, Run, Tested, UNIFORM, WEIGHTS};
use super::space::Space;
use super::{Entry, EvolveError, Questions, Scorer, Search, Trial};
use crate::recipe::Recipe;

impl Run<'_> {
    /// The mean and the best candidates on all search questions; returns the best of them.
    pub(super) fn finalists(
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
        for (evaluation, genes, trial) in candidates.iter().take(search.finalists) {
            let known = search.minibatch.is_none() && self.journal.is_current(stage, *evaluation);
            finalists.push((Some(*evaluation), genes, known.then_some(trial)));
        }
        self.finalists += finalists.len();
        let mut best: Option<(f64, Best)> = None;
        let mut all = None;
        for (evaluation, genes, known) in finalists {
            let recipe = space.decode(genes)?;
            // A race that ended early has asked fewer questions than the mean was.
            let whole = |trial: &&Trial| search.race.is_none() || Some(trial.items()) == all;
            let search = match known.filter(whole) {
                Some(trial) => trial.clone(),
                None => self.finalist(stage, evaluation, &recipe)?,
            };
            all = all.or(Some(search.items()));
            let value = search.fitness - space.cost(genes);
            if best.as_ref().is_none_or(|(highest, _)| value > *highest || highest.is_nan()) {
                best = Some((value, Best { recipe, evaluation, search }));
            }
        }
        let (_, best) = best.expect("the mean is always a finalist");
        Ok(best)
    }

    pub(super) fn finalist(
        &mut self,
        stage: usize,
        evaluation: Option<usize>,
        recipe: &Recipe,
    ) -> Result<Trial, EvolveError> {
        let mean = evaluation.is_none();
        let entries = if mean { self.journal.since_last_candidate(Some(stage)) } else { self.journal.since_start() };
        let known = entries.iter().find_map(|entry| match entry {
            Entry::Finalist { stage: s, evaluation: e, trial } if (*s, *e) == (stage, evaluation) => {
                Some(trial.clone())
            }
            _ => None,
        });
        let work = |scorer: &mut dyn Scorer| scorer.recipe(recipe, &Questions::all());
        self.recall(known, work, |trial| Entry::Finalist { stage, evaluation, trial })
    }

    /// Everybody on the test questions: the models, their average where there are several that have one, the recipes to compare with, the best
    /// weights of a first stage, the best recipe.
    pub(super) fn tests(&mut self) -> Result<Vec<Tested>, EvolveError> {
        let mut tested = Vec::new();
        for (model, name) in self.config.models.iter().map(|m| m.written.clone()).enumerate() {
            tested.push(self.test(name, |scorer| scorer.parent(model, &Questions::Test))?);
        }
        let best = self.best.as_ref().map(|best| best.recipe.clone());
        let best = best.expect("every stage that ends has a best recipe");
        if self.config.searched() > 1 {
            let uniform = uniform(&self.config.models, self.config.searched(), &best)?;
            match self.test(UNIFORM.to_owned(), |scorer| scorer.recipe(&uniform, &Questions::Test)) {
                // Whose blocks can follow one another need not be siblings that blend.
                Err(EvolveError::Plan(_)) if self.config.genome.is_none() => {}
                other => tested.push(other?),
            }
        }
        for compared in self.journal.identity().map_or_else(Vec::new, |identity| identity.compared.clone()) {
            let recipe = self.config.compared(&compared, &best)?;
            tested.push(self.test(compared.0, |scorer| scorer.recipe(&recipe, &Questions::Test))?);
        }
        if let Some(weights) = self.weights.clone() {
            tested.push(self.test(WEIGHTS.to_owned(), |scorer| scorer.recipe(&weights, &Questions::Test))?);
        }
        tested.push(self.test(BEST.to_owned(), |scorer| scorer.recipe(&best, &Questions::Test))?);
        Ok(tested)
    }

    fn test(
        &mut self,
        name: String,
        work: impl FnOnce(&mut dyn Scorer) -> Result<Trial, EvolveError>,
    ) -> Result<Tested, EvolveError> {
        (self.watch)(Event::Phase(&name));
        let entries = match name.as_str() {
            BEST => self.journal.since_last_candidate(None),
            WEIGHTS => self.journal.since_last_candidate(Some(0)),
            _ => self.journal.since_start(),
        };
        let known = entries.iter().find_map(|entry| match entry {
            Entry::Test { name: n, trial } if *n == name => Some(trial.clone()),
            _ => None,
        });
        let trial = self.recall(known, work, |trial| Entry::Test { name: name.clone(), trial })?;
        Ok(Tested { name, trial })
    }
}
