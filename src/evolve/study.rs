//! A search read back from its folder, finished or not: its journal in, every candidate as a recipe out. Scores nothing and writes nothing.

use std::path::Path;

use super::space::{Space, Stages};
use super::{Candidate, Config, Entry, EvolveError, Identity, Journal, Outcome, Questions, Scorer, Trial, evolve};
use crate::recipe::{MAX_BLOCKS, Recipe};
use crate::score::ScoreError;

/// What a folder tells of a search.
pub struct Study {
    /// What was searched.
    pub config: Config,
    /// Which models and tasks these were, by content.
    pub identity: Identity,
    /// How it ended, or would if it were stopped now.
    pub outcome: Outcome,
    stages: Stages,
    journal: Journal,
}

/// Whoever asks for a score ends the search: only what the journal knows counts.
struct Nobody;

impl Scorer for Nobody {
    fn recipe(&mut self, _recipe: &Recipe, _questions: &Questions) -> Result<Trial, EvolveError> {
        Err(ScoreError::Cancelled.into())
    }

    fn parent(&mut self, _model: usize, _questions: &Questions) -> Result<Trial, EvolveError> {
        Err(ScoreError::Cancelled.into())
    }
}

impl Study {
    /// Reads the search in `folder`, also while it runs.
    ///
    /// # Errors
    /// [`EvolveError`] for a journal that is missing or damaged, or one of another version whose recipes would be others now.
    pub fn read(folder: &Path) -> Result<Self, EvolveError> {
        Self::of(Journal::read(folder)?)
    }

    /// The search that `journal` tells of.
    ///
    /// # Errors
    /// As [`Study::read`].
    pub fn of(mut journal: Journal) -> Result<Self, EvolveError> {
        let Some(identity) = journal.identity().cloned() else {
            let problem = "it does not say what is searched".to_owned();
            return Err(EvolveError::Journal { path: journal.path().to_owned(), problem });
        };
        let config = Config::parse(identity.evolve.clone(), &identity.file)?;
        if identity.blocks.len() != config.models.len() {
            let problem = format!("it knows {} models and names {}", identity.blocks.len(), config.models.len());
            return Err(EvolveError::Journal { path: journal.path().to_owned(), problem });
        }
        if let Some(blocks) = identity.blocks.iter().find(|blocks| **blocks as usize > MAX_BLOCKS) {
            let problem = format!("it knows a model of {blocks} blocks; the most are {MAX_BLOCKS}");
            return Err(EvolveError::Journal { path: journal.path().to_owned(), problem });
        }
        let stages = Stages::new(&config, &identity.blocks)?.warmed(identity.warm_start.as_ref());
        // One that came to its end had this budget, whatever was wanted.
        let ended = journal.entries().iter().any(|entry| matches!(entry, Entry::Test { .. }));
        let budget = if ended { journal.candidates().count() } else { identity.budget };
        let outcome = evolve(&config, &stages, budget, identity.seed, &mut Nobody, &mut journal, &mut |_| {})?;
        Ok(Self { config, identity, outcome, stages, journal })
    }

    /// Everything that was written down.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The candidates in the order scored.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.journal.candidates()
    }

    /// A candidate as a recipe, with what it did; `None` if there is no such candidate.
    ///
    /// # Errors
    /// [`EvolveError::Recipe`] for genes that this version makes no recipe of.
    pub fn recipe(&self, stage: usize, evaluation: usize) -> Result<Option<(Recipe, &Trial)>, EvolveError> {
        let found = self.journal.candidate(stage, evaluation);
        let Some(candidate) = found else { return Ok(None) };
        let recipe = match (stage, &self.stages.genome, &self.stages.path) {
            (0, Some(genome), _) => self.decode(genome, &candidate)?,
            (0, None, Some(path)) => self.decode(path, &candidate)?,
            (1, Some(_), Some(path)) => match &self.outcome.weights {
                Some(merge) => self.decode(&path.clone().over(merge.clone()), &candidate)?,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some((recipe, candidate.trial)))
    }

    fn decode(&self, space: &dyn Space, candidate: &Candidate) -> Result<Recipe, EvolveError> {
        if candidate.genes.len() != space.genes() {
            let what = "the number of genes".to_owned();
            return Err(EvolveError::OtherSearch { path: self.journal.path().to_owned(), what, allowable: false });
        }
        space.decode(candidate.genes)
    }
}
