//! What every space of recipes has in common: where its search starts, and what a vector of genes means.

use super::catcma::{CatCma, Told};
use super::cmaes::{CmaError, CmaEs, StopReason};
use super::warm::WarmStart;
use super::{Config, EvolveError, Genome, PathGenome, Search};
use crate::recipe::Recipe;

/// A space of recipes: parameter space or data flow space.
pub trait Space {
    /// The optimiser at the start of a search.
    ///
    /// # Errors
    /// [`EvolveError::Optimiser`] for settings it cannot have.
    fn optimiser(&self, search: &Search, seed: u64) -> Result<Optimiser, EvolveError>;

    /// The recipe that `genes` describe.
    ///
    /// # Errors
    /// [`EvolveError::Recipe`] if no such recipe can be, which a space of ours does not produce.
    ///
    /// # Panics
    /// If there are not [`Space::genes`] genes.
    fn decode(&self, genes: &[f64]) -> Result<Recipe, EvolveError>;

    /// Number of genes.
    fn genes(&self) -> usize;

    /// What each gene is called.
    fn names(&self) -> Vec<String>;

    /// Which of the genes behind the switches matter to this recipe.
    fn active(&self, _genes: &[f64]) -> Vec<bool> {
        Vec::new()
    }

    /// The nearest genes that the space allows.
    fn repaired(&self, genes: Vec<f64>) -> Vec<f64> {
        genes
    }

    /// What is taken off the score of this recipe.
    fn cost(&self, _genes: &[f64]) -> f64 {
        0.0
    }
}

/// An optimiser of any kind.
#[derive(Clone, Debug)]
pub enum Optimiser {
    /// Every gene is a number.
    CmaEs(Box<CmaEs>),
    /// The first genes are switches.
    CatCma(Box<CatCma>),
}

impl Optimiser {
    /// The candidates of the generation under way.
    pub fn ask(&self) -> Vec<Vec<f64>> {
        match self {
            Self::CmaEs(cma) => cma.ask(),
            Self::CatCma(cma) => cma.ask(),
        }
    }

    /// Learns from a generation: genes and fitness, lower is better.
    ///
    /// # Errors
    /// [`CmaError`], as the optimisers'.
    pub fn tell(&mut self, told: &[(Vec<f64>, f64)], space: &dyn Space) -> Result<(), CmaError> {
        match self {
            Self::CmaEs(cma) => cma.tell(told),
            Self::CatCma(cma) => {
                let active: Vec<Vec<bool>> = told.iter().map(|(genes, _)| space.active(genes)).collect();
                let told: Vec<Told> = told
                    .iter()
                    .zip(&active)
                    .map(|((genes, fitness), active)| Told { point: genes, active, fitness: *fitness })
                    .collect();
                cma.tell(&told)
            }
        }
    }

    /// The centre of the distribution, as genes.
    pub fn centre(&self) -> Vec<f64> {
        match self {
            Self::CmaEs(cma) => cma.mean().to_vec(),
            Self::CatCma(cma) => cma.mode(),
        }
    }

    /// A reason to stop, if there is one.
    pub fn stop(&self) -> Option<StopReason> {
        match self {
            Self::CmaEs(cma) => cma.stop(),
            Self::CatCma(cma) => cma.stop(),
        }
    }

    /// Generations told so far.
    pub fn generation(&self) -> u64 {
        match self {
            Self::CmaEs(cma) => cma.generation(),
            Self::CatCma(cma) => cma.generation(),
        }
    }
}

/// The spaces of a search, which it goes through one after the other.
pub struct Stages {
    /// First, weights.
    pub(super) genome: Option<Genome>,
    /// Then paths.
    pub(super) path: Option<PathGenome>,
}

impl Stages {
    /// The spaces that `config` names, given how many blocks each of its models has.
    ///
    /// # Errors
    /// [`EvolveError`] if the models' blocks do not suit.
    pub fn new(config: &Config, layers: &[u32]) -> Result<Self, EvolveError> {
        let genome = config.genome.clone().map(|spec| Genome::new(spec, layers[0])).transpose()?;
        let of = |model: &Option<usize>| model.map_or(layers[0], |model| layers[model]);
        let path = config.path.clone().map(|spec| {
            let layers: Vec<u32> = spec.pool.iter().map(of).collect();
            PathGenome::new(spec, &layers)
        });
        Ok(Self { genome, path: path.transpose()? })
    }

    /// Number of genes of each space.
    pub fn genes(&self) -> Vec<usize> {
        let weights = self.genome.iter().map(|genome| genome.genes());
        weights.chain(self.path.iter().map(|path| path.genes())).collect()
    }

    /// What the genes of each space are called.
    pub fn gene_names(&self) -> Vec<Vec<String>> {
        let weights = self.genome.iter().map(|genome| genome.names());
        weights.chain(self.path.iter().map(|path| path.names())).collect()
    }

    /// The same, of which the weights start from what another study found.
    pub fn warmed(self, warm: Option<&WarmStart>) -> Self {
        let warmed = |genome: Genome| match warm {
            Some(warm) => genome.warmed(warm.clone()),
            None => genome,
        };
        Self { genome: self.genome.map(warmed), ..self }
    }

    /// One recipe of each space, to see that such recipes fit the models before a search begins.
    ///
    /// # Errors
    /// [`EvolveError`], as [`Space::decode`].
    pub fn samples(&self, config: &Config) -> Result<Vec<Recipe>, EvolveError> {
        let mut samples = Vec::new();
        if let Some(genome) = &self.genome {
            samples.push(genome.decode(&genome.start(config.search.start))?);
        }
        if let Some(path) = &self.path {
            let genes = path.sample();
            samples.push(match samples.first() {
                Some(merge) => path.clone().over(merge.clone()).decode(&genes)?,
                None => path.decode(&genes)?,
            });
        }
        Ok(samples)
    }
}
