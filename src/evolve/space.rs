//! What every space of recipes has in common: where its search starts, and what a vector of genes means.

use serde::{Deserialize, Serialize};

use super::catcma::{CatCma, Told};
use super::cmaes::{CmaError, CmaEs, CmaOptions, StopReason};
use super::nsga2::Nsga2;
use super::sepcma::SepCmaEs;
use super::warm::WarmStart;
use super::{Algorithm, Config, EvolveError, Genome, PathGenome, Search};
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

    /// Blocks on this recipe's path; 0 where that is always the same.
    fn length(&self, _genes: &[f64]) -> usize {
        0
    }

    /// What is taken off the score of this recipe.
    fn cost(&self, _genes: &[f64]) -> f64 {
        0.0
    }
}

/// An optimiser of any kind. Its state is plain data, which any format of serde keeps: read back, it goes on as if nothing had been.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Optimiser {
    /// Every gene is a number.
    CmaEs(Box<CmaEs>),
    /// Every gene is a number, and independent of the others.
    SepCmaEs(Box<SepCmaEs>),
    /// The first genes are switches.
    CatCma(Box<CatCma>),
    /// The same, for several objectives.
    Nsga2(Box<Nsga2>),
}

impl Algorithm {
    /// This algorithm's search over numbers alone.
    pub(super) fn over_numbers(self, mean: Vec<f64>, sigma: f64, options: CmaOptions) -> Result<Optimiser, CmaError> {
        Ok(match self {
            Self::SepCmaEs => Optimiser::SepCmaEs(SepCmaEs::new(mean, sigma, options)?.into()),
            Self::LraCmaEs => {
                Optimiser::CmaEs(CmaEs::new(mean, sigma, CmaOptions { adapt_rates: true, ..options })?.into())
            }
            Self::CmaEs | Self::CatCma | Self::Nsga2 => Optimiser::CmaEs(CmaEs::new(mean, sigma, options)?.into()),
        })
    }
}

impl Optimiser {
    /// The candidates of the generation under way.
    pub fn ask(&self) -> Vec<Vec<f64>> {
        match self {
            Self::CmaEs(cma) => cma.ask(),
            Self::SepCmaEs(cma) => cma.ask(),
            Self::CatCma(cma) => cma.ask(),
            Self::Nsga2(nsga) => nsga.ask(),
        }
    }

    /// Learns from a generation: genes and fitness, lower is better.
    ///
    /// # Errors
    /// [`CmaError`], as the optimisers'.
    pub fn tell(&mut self, told: &[(Vec<f64>, f64)], space: &dyn Space) -> Result<(), CmaError> {
        match self {
            Self::CmaEs(cma) => cma.tell(told),
            Self::SepCmaEs(cma) => cma.tell(told),
            Self::CatCma(cma) => {
                let active: Vec<Vec<bool>> = told.iter().map(|(genes, _)| space.active(genes)).collect();
                let told: Vec<Told> = told
                    .iter()
                    .zip(&active)
                    .map(|((genes, fitness), active)| Told { point: genes, active, fitness: *fitness })
                    .collect();
                cma.tell(&told)
            }
            // One objective is a front of one.
            Self::Nsga2(nsga) => {
                nsga.tell(&told.iter().map(|(genes, fitness)| (genes.clone(), vec![*fitness])).collect::<Vec<_>>())
            }
        }
    }

    /// The centre of the distribution, as genes.
    pub fn centre(&self) -> Vec<f64> {
        match self {
            Self::CmaEs(cma) => cma.mean().to_vec(),
            Self::SepCmaEs(cma) => cma.mean().to_vec(),
            Self::CatCma(cma) => cma.mode(),
            // A front has none.
            Self::Nsga2(_) => Vec::new(),
        }
    }

    /// A reason to stop, if there is one.
    pub fn stop(&self) -> Option<StopReason> {
        match self {
            Self::CmaEs(cma) => cma.stop(),
            Self::SepCmaEs(cma) => cma.stop(),
            Self::CatCma(cma) => cma.stop(),
            Self::Nsga2(_) => None,
        }
    }

    /// Candidates of a generation.
    pub fn population(&self) -> usize {
        match self {
            Self::CmaEs(cma) => cma.population(),
            Self::SepCmaEs(cma) => cma.population(),
            Self::CatCma(cma) => cma.population(),
            Self::Nsga2(nsga) => nsga.population(),
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

    /// The same, of which the first starts from what another study found.
    pub fn warmed(self, warm: Option<&WarmStart>) -> Self {
        let Some(warm) = warm.cloned() else { return self };
        match self.genome {
            Some(genome) => Self { genome: Some(genome.warmed(warm)), ..self },
            None => Self { path: self.path.map(|path| path.warmed(warm)), ..self },
        }
    }

    /// One recipe of each space, to see that such recipes fit the models before a search begins.
    ///
    /// # Errors
    /// [`EvolveError`], as [`Space::decode`].
    pub fn samples(&self, config: &Config) -> Result<Vec<Recipe>, EvolveError> {
        let mut samples = Vec::new();
        if let Some(genome) = &self.genome {
            samples.extend(genome.samples(config.search.start)?);
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
