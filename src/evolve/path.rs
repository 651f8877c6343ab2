//! Switches and gains to recipe: the paper's data flow space. A vector of numbers in, a [`Recipe`] with a path out.
//!
//! All blocks of model A, then all of B and so on, M together, are laid out `repeats` times: `T = M * repeats` slots in a row (Akiba et al.
//! 2403.13187, section 3.2). A switch for each slot says whether the path passes through its block. A's first and last block stand before
//! and behind them, A gives embeddings, head and vocabulary, and the search starts at A's own path. What enters a block is scaled by one
//! of [`Gains`]. Genes are the T switches (on above 0.5), then the gains' logarithms.

use super::catcma::{self, CatCma};
use super::cmaes::CmaOptions;
use super::genome::labels;
use super::nsga2::Nsga2;
use super::space::{Optimiser, Space};
use super::warm::WarmStart;
use super::{Algorithm, EvolveError, Search};
use crate::recipe::{Hop, MAX_GAIN, MethodSpec, ModelRef, PathScale, Place, Recipe};

/// How the names of switches begin.
pub(super) const SWITCH: &str = "block ";
/// Hidden units of the network behind [`Gains::Network`].
const HIDDEN: usize = 8;
/// Its inputs: the block left, the block entered, and how far along the path that is.
const INPUTS: usize = 3;
/// A switch that starts off stays more likely to be off.
const MAX_FLIP: f64 = 0.45;
/// The largest logarithm of a gain, and the negative of the smallest: beyond it a hop drowns all others.
const MAX_LOG_GAIN: f64 = 3.0;

/// The `path` block of an evolve file.
#[derive(Clone, Debug)]
pub struct PathSpec {
    /// Every model of the recipes.
    pub models: Vec<ModelRef>,
    /// A, B, ...: indices into `models`; `None` is the merge that a hybrid search has found.
    pub pool: Vec<Option<usize>>,
    /// How often the blocks are laid out.
    pub repeats: usize,
    /// Most blocks on a path.
    pub max_hops: usize,
    /// Score that every block on the path costs.
    pub length_penalty: f64,
    /// What scales are searched.
    pub gains: Gains,
    /// What they multiply.
    pub scale: PathScale,
    /// Expected number of switches in which the first candidates differ from A's own path.
    pub flips: f64,
}

/// How the scale of a hop depends on genes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gains {
    /// Not at all: it is 1.
    None,
    /// One gene for each slot.
    #[default]
    Slot,
    /// The paper's W: one gene for each pair of blocks, the one left and the one entered.
    Matrix,
    /// The paper's cheaper alternative: a small network of the two blocks and of the position on the path.
    Network,
}

impl Gains {
    /// Every form, the default first.
    pub const ALL: [Self; 4] = [Self::Slot, Self::Matrix, Self::Network, Self::None];

    /// Its name in `gains`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Slot => "slot",
            Self::Matrix => "matrix",
            Self::Network => "network",
        }
    }
}

/// The space of paths over models with a known number of blocks.
#[derive(Clone, Debug)]
pub struct PathGenome {
    spec: PathSpec,
    /// Every block of the pool: position in the pool and layer.
    blocks: Vec<(usize, u32)>,
    /// Blocks of A, which are the first of `blocks`.
    first_model: usize,
    merge: Option<Recipe>,
    warm: Option<WarmStart>,
}

/// One block on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// Which of the pool's blocks.
    block: usize,
    /// The slot that brought it, if it is not one of the two fixed ones.
    slot: Option<usize>,
}

impl PathGenome {
    /// The space of `spec`, given how many blocks each model of the pool has. A pool with a merge needs [`PathGenome::over`] before it
    /// decodes.
    ///
    /// # Errors
    /// [`EvolveError::Path`] if A has fewer than three blocks or there are too many slots.
    pub fn new(spec: PathSpec, layers: &[u32]) -> Result<Self, EvolveError> {
        let blocks =
            layers.iter().enumerate().flat_map(|(i, count)| (0..*count).map(move |layer| (i, layer))).collect();
        let first_model = layers.first().map_or(0, |count| *count as usize);
        let genome = Self { spec, blocks, first_model, merge: None, warm: None };
        let (slots, genes) = (genome.slots(), genome.gain_genes());
        if genome.first_model < 3 {
            return Err(EvolveError::Path(format!(
                "the first model has {} blocks; a path search needs 3",
                genome.first_model
            )));
        }
        if slots.saturating_add(genes) > catcma::MAX_COORDINATES {
            let problem = format!(
                "{slots} switches and {genes} gains; the most are {} together: use fewer `repeats` or other `gains`",
                catcma::MAX_COORDINATES
            );
            return Err(EvolveError::Path(problem));
        }
        Ok(genome)
    }

    /// The same with `merge` as the pool's merged model.
    pub fn over(self, merge: Recipe) -> Self {
        Self { merge: Some(merge), ..self }
    }

    /// The same, starting from what another study found.
    pub(super) fn warmed(self, warm: WarmStart) -> Self {
        Self { warm: Some(warm), ..self }
    }

    /// Number of switches.
    pub fn slots(&self) -> usize {
        self.blocks.len().saturating_mul(self.spec.repeats)
    }

    /// Genes of a path through a block of every model, with every gain at work.
    pub(super) fn sample(&self) -> Vec<f64> {
        let first = |slot: usize| self.blocks.get(slot).is_some_and(|(_, layer)| *layer == 0);
        let switches = (0..self.slots()).map(|slot| if first(slot) { 1.0 } else { 0.0 });
        switches.chain(std::iter::repeat_n(0.1, self.gain_genes())).collect()
    }

    /// Number of genes that scales depend on.
    fn gain_genes(&self) -> usize {
        match self.spec.gains {
            Gains::None => 0,
            Gains::Slot => self.slots(),
            Gains::Matrix => self.blocks.len().saturating_mul(self.blocks.len()),
            Gains::Network => HIDDEN * (INPUTS + 1) + HIDDEN + 1,
        }
    }

    /// The slots that `genes` switch on.
    fn on(&self, genes: &[f64]) -> impl Iterator<Item = usize> {
        (0..self.slots()).filter(|slot| genes[*slot] > 0.5)
    }

    /// The path that `genes` switch on. What is beyond the longest path is left out.
    fn steps(&self, genes: &[f64]) -> Vec<Step> {
        let between = self.on(genes).map(|slot| Step { block: slot % self.blocks.len(), slot: Some(slot) });
        let fixed = |block| std::iter::once(Step { block, slot: None });
        let between = between.take(self.spec.max_hops.saturating_sub(2));
        fixed(0).chain(between).chain(fixed(self.first_model - 1)).collect()
    }

    /// The scale of every step.
    fn scales(&self, genes: &[f64], steps: &[Step]) -> Vec<f64> {
        let mut product = 0.0;
        let scale = |t: usize| {
            let log = self.log_scale(genes, steps, t).clamp(-MAX_LOG_GAIN, MAX_LOG_GAIN);
            if self.spec.scale == PathScale::MlpOutput {
                return log.exp();
            }
            // Scales of the whole stream multiply; a path may come as far from 1 as a recipe can.
            let most = 0.9 * MAX_GAIN.ln();
            let log = (product + log).clamp(-most, most) - product;
            product += log;
            log.exp()
        };
        (0..steps.len()).map(scale).collect()
    }

    fn log_scale(&self, genes: &[f64], steps: &[Step], t: usize) -> f64 {
        let gains = &genes[self.slots()..];
        // Nothing is left before the first block.
        let Some(left) = t.checked_sub(1).map(|before| steps[before].block) else { return 0.0 };
        let entered = steps[t].block;
        match self.spec.gains {
            Gains::None => 0.0,
            Gains::Slot => steps[t].slot.map_or(0.0, |slot| gains[slot]),
            Gains::Matrix => gains[left * self.blocks.len() + entered],
            Gains::Network => {
                let unit = |block: usize| 2.0 * block as f64 / (self.blocks.len() - 1) as f64 - 1.0;
                network(gains, [unit(left), unit(entered), 2.0 * t as f64 / (steps.len() - 1) as f64 - 1.0])
            }
        }
    }
}

/// A layer of tanh units over `inputs`, then a weighted sum; all weights 0 give 0.
fn network(weights: &[f64], inputs: [f64; INPUTS]) -> f64 {
    let (hidden, output) = weights.split_at(HIDDEN * (INPUTS + 1));
    let unit = |w: &[f64]| (w[INPUTS] + w.iter().zip(inputs).map(|(w, x)| w * x).sum::<f64>()).tanh();
    let sum: f64 = hidden.chunks_exact(INPUTS + 1).zip(output).map(|(w, out)| unit(w) * out).sum();
    sum + output[HIDDEN]
}

impl Space for PathGenome {
    fn optimiser(&self, search: &Search, seed: u64) -> Result<Optimiser, EvolveError> {
        let options = CmaOptions { population: search.population, seed, ..CmaOptions::default() };
        let slots = self.slots();
        if let Some(warm) = &self.warm {
            let algorithm = search.algorithm.unwrap_or(Algorithm::CatCma);
            return warm.optimiser(algorithm, [slots, self.genes()], options);
        }
        let flip = (self.spec.flips / slots as f64).min(MAX_FLIP);
        // A's own path: its inner blocks, the first of them the first time round and the last the last. Between two times round there is
        // room for others' blocks; all of A the first time round (the paper's start) would have to move for them.
        let own = |slot: usize| {
            let (round, block) = (slot / self.blocks.len(), slot % self.blocks.len());
            (1..self.first_model - 1).contains(&block) && round == block * self.spec.repeats / self.first_model
        };
        if let Some(algorithm) = search.algorithm.filter(|a| !matches!(a, Algorithm::CatCma | Algorithm::Nsga2)) {
            // The paper's way: one normal number for each switch, and a threshold.
            let reach = search.sigma * upper_quantile(flip);
            let switches = (0..slots).map(|slot| if own(slot) { 0.5 + reach } else { 0.5 - reach });
            let mean = switches.chain(std::iter::repeat_n(0.0, self.gain_genes())).collect();
            return Ok(algorithm.over_numbers(mean, search.sigma, options)?);
        }
        let switches = (0..slots).map(|slot| if own(slot) { 1.0 - flip } else { flip }).collect();
        let start = catcma::Start { switches, genes: vec![0.0; self.gain_genes()], sigma: search.sigma };
        Ok(match search.algorithm {
            Some(Algorithm::Nsga2) => Optimiser::Nsga2(Nsga2::new(start, options)?.into()),
            _ => Optimiser::CatCma(CatCma::new(start, options)?.into()),
        })
    }

    fn decode(&self, genes: &[f64]) -> Result<Recipe, EvolveError> {
        assert_eq!(genes.len(), self.genes(), "genes of this genome");
        let steps = self.steps(genes);
        let scales = self.scales(genes, &steps);
        let hop = |t: usize| {
            let (model, layer) = self.blocks[steps[t].block];
            let (model, layers) = (self.spec.pool[model], Some((layer, layer + 1)));
            Hop { model, layers, scale: scales[t], place: Place::default() }
        };
        let mut recipe = match &self.merge {
            Some(merge) => merge.clone(),
            None => {
                let passthrough = MethodSpec::find("passthrough").expect("a method of the table");
                let mut recipe = Recipe::new(passthrough, self.spec.models.clone(), Vec::new());
                recipe.base_model = self.spec.pool[0];
                recipe
            }
        };
        recipe.path = joined((0..steps.len()).map(hop));
        recipe.path_scale = self.spec.scale;
        Ok(recipe.checked()?)
    }

    fn genes(&self) -> usize {
        self.slots() + self.gain_genes()
    }

    fn names(&self) -> Vec<String> {
        let labels = labels(&self.spec.models);
        let block = |block: usize| {
            let (model, layer) = self.blocks[block];
            let model = self.spec.pool[model].map_or("the merge", |model| labels[model].as_str());
            format!("{model} {layer}")
        };
        let at = |slot: usize| match self.spec.repeats {
            1 => block(slot),
            _ => format!("{}, round {}", block(slot % self.blocks.len()), slot / self.blocks.len() + 1),
        };
        let switches = (0..self.slots()).map(|slot| format!("{SWITCH}{}", at(slot)));
        let gains: Vec<String> = match self.spec.gains {
            Gains::None => Vec::new(),
            Gains::Slot => (0..self.slots()).map(|slot| format!("log scale of {}", at(slot))).collect(),
            Gains::Matrix => {
                let pairs = (0..self.blocks.len()).flat_map(|a| (0..self.blocks.len()).map(move |b| (a, b)));
                pairs.map(|(a, b)| format!("log scale from {} to {}", block(a), block(b))).collect()
            }
            Gains::Network => (0..self.gain_genes()).map(|i| format!("network weight {i}")).collect(),
        };
        switches.chain(gains).collect()
    }

    fn active(&self, genes: &[f64]) -> Vec<bool> {
        let steps = self.steps(genes);
        let mut active = vec![self.spec.gains == Gains::Network; self.gain_genes()];
        for pair in steps.windows(2) {
            match (self.spec.gains, pair[1].slot) {
                (Gains::Slot, Some(slot)) => active[slot] = true,
                (Gains::Matrix, _) => active[pair[0].block * self.blocks.len() + pair[1].block] = true,
                _ => {}
            }
        }
        active
    }

    /// Switches off what is beyond the longest path, so that the optimiser learns from the path that was taken.
    fn repaired(&self, mut genes: Vec<f64>) -> Vec<f64> {
        let on: Vec<usize> = self.on(&genes).collect();
        for slot in on.into_iter().skip(self.spec.max_hops.saturating_sub(2)) {
            genes[slot] = 0.0;
        }
        genes
    }

    fn length(&self, genes: &[f64]) -> usize {
        self.steps(genes).len()
    }

    fn cost(&self, genes: &[f64]) -> f64 {
        self.spec.length_penalty * self.steps(genes).len() as f64
    }
}

/// Neighbouring hops through neighbouring blocks at one scale, made one.
fn joined(hops: impl Iterator<Item = Hop>) -> Vec<Hop> {
    let mut path: Vec<Hop> = Vec::new();
    for hop in hops {
        match (path.last_mut(), hop.layers) {
            (Some(Hop { model, layers: Some((_, end)), scale, .. }), Some((start, next)))
                if *model == hop.model && *end == start && *scale == hop.scale =>
            {
                *end = next;
            }
            _ => path.push(hop),
        }
    }
    path
}

/// The number that a standard normal deviate exceeds with probability `p`, `0 < p <= 0.5`, to three digits (Abramowitz and Stegun
/// 26.2.23).
fn upper_quantile(p: f64) -> f64 {
    let t = (-2.0 * p.ln()).sqrt();
    t - (2.515_517 + t * (0.802_853 + t * 0.010_328)) / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
}
