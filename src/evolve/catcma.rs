//! CatCMA, ask and tell: proposes switch settings together with genes that matter only while a switch is on, and learns
//! from their fitness. Lower fitness is better.
//!
//! In: for every switch the probability to start with, for every gene a mean, one step size and, generation by
//! generation, the fitness of every proposal and which of its genes were active. Out: the next proposals. This is the
//! search of data flow space (Akiba et al. 2403.13187, section 3.2): is slot `t` on the path, and at what gain?
//!
//! From CatCMA (Hamano et al. 2405.09962): one ranking and one set of positive recombination weights update a product
//! of a normal and a categorical distribution; the latter takes natural gradient steps whose size follows their
//! signal-to-noise ratio (ASNG, Akimoto et al. 1905.08537) and keeps a margin from certainty. Its categories are two
//! here. The margin is that of CMA-ES with margin (Hamano et al. 2205.13482), about one switch flipped per generation.
//!
//! Chosen here, each because it reached the optimum of the tests' functions more often or sooner:
//! - The covariance is diagonal with the learning rates of sep-CMA-ES (Ros and Hansen 2008), and one whitened path
//!   serves the step size and the rank-one update (Beyer and Sendhoff 2017). A gene that is inactive can then be left
//!   out exactly: a candidate takes no part in the update of its inactive genes (see arXiv 2605.12326), and a
//!   gene's learning rates are scaled by the weight of the candidates in which it was active. Variances are not
//!   pulled by that: under random selection the expected change is nil, even of a gene active in one candidate only.
//! - The learning rates are those for as many genes as are active, not for all.
//! - The gradient's baseline is the generation's mean, not the probability: sampling noise common to all candidates
//!   cancels, and equal fitness moves nothing. Tied candidates share their ranks' weights.
//! - The step of the probabilities is bounded: CatCMA's unbounded one fixed switches too early.
//!
//! As in [`super::cmaes`] the state holds no random generator: the deviates of generation `g` are stream `g` of ChaCha12.

use serde::{Deserialize, Serialize};

use super::cmaes::{
    CmaError, CmaOptions, MAX_POPULATION, StopReason, default_population, flat_window, normals, remember, stream,
    uniform, worst_if_odd,
};
use super::linalg::{dot, extremes, norm};

/// Most switches and genes together: memory and time are linear in them.
pub const MAX_COORDINATES: usize = 20_000;

/// Signal-to-noise ratio above which the probabilities' step grows (ASNG's alpha).
const SIGNAL: f64 = 1.5;
/// The probabilities' step, a length in the Fisher metric. It starts at the upper bound; from the lower one it still
/// recovers within some hundreds of generations.
const STEPS: (f64, f64) = (0.01, 0.25);
/// A whitened gradient shorter than this is rounding.
const NO_GRADIENT: f64 = 1e-9;
/// A gene told further from its mean, in deviations, counts as this far: rare for a proposal, usual for a foreign point.
const LONGEST: f64 = 4.0;
/// The genes have collapsed, or exploded, once deviations are this much below or above the first step size.
const TOL_X: (f64, f64) = (1e-12, 1e4);
/// However long a caller goes on after that, deviations stay within these multiples of the first step size.
const DEVIATIONS: (f64, f64) = (1e-15, 1e8);

/// Where a search starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// For every switch the probability that it is on, above 0 and below 1.
    pub switches: Vec<f64>,
    /// For every gene its mean. There may be none.
    pub genes: Vec<f64>,
    /// Standard deviation of every gene.
    pub sigma: f64,
}

/// One candidate as evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told<'a> {
    /// The switches, each 0 or 1, then the genes. Need not be a proposal of [`CatCma::ask`], but may be repaired.
    pub point: &'a [f64],
    /// For every gene whether the fitness could depend on it.
    pub active: &'a [bool],
    /// Lower is better; counts as worst if it is not finite.
    pub fitness: f64,
}

/// The search distribution, Bernoulli(p) × N(mean, diag(deviation²)), with its paths: plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatCma {
    /// One recombination weight per rank: not negative, sum one.
    weights: Vec<f64>,
    seed: u64,
    generation: u64,
    probabilities: Vec<f64>,
    /// ASNG's delta, s and gamma.
    step: f64,
    signal: Vec<f64>,
    gamma: f64,
    mean: Vec<f64>,
    deviations: Vec<f64>,
    first_sigma: f64,
    /// For every gene the path of its whitened steps, and the path's variance under random selection.
    path: Vec<f64>,
    path_variance: Vec<f64>,
    /// Largest deviation among the genes that took part in the last update.
    widest: f64,
    /// Best fitness of recent generations.
    recent_best: Vec<f64>,
}

/// What one generation says of one gene, in deviations.
struct Evidence {
    gene: usize,
    /// Weight of the candidates in which the gene was active.
    share: f64,
    /// Their weighted mean step.
    mean: f64,
    /// The same, scaled to variance one under random selection.
    whitened: f64,
    /// Excess of their weighted variance over one.
    excess: f64,
}

impl CatCma {
    /// A search from `start`. Scale the genes so that one `sigma` suits all. The default population is
    /// [`default_population`] of switches and genes together.
    ///
    /// # Errors
    /// No switch, more than [`MAX_COORDINATES`], a population outside 2 to [`MAX_POPULATION`], a probability that is
    /// not strictly between 0 and 1, genes or a step size that are not usable numbers.
    pub fn new(start: Start, options: CmaOptions) -> Result<Self, CmaError> {
        let (switches, genes, sigma) = (start.switches.len(), start.genes.len(), start.sigma);
        if switches == 0 || switches.saturating_add(genes) > MAX_COORDINATES {
            return Err(CmaError::Size { switches, genes, max: MAX_COORDINATES });
        }
        let population = options.population.unwrap_or_else(|| default_population(switches + genes));
        if !(2..=MAX_POPULATION).contains(&population) {
            return Err(CmaError::Population(population));
        }
        if let Some(p) = start.switches.iter().find(|p| !(**p > 0.0 && **p < 1.0)) {
            return Err(CmaError::Probability(*p));
        }
        let mut state = Self {
            weights: recombination_weights(population),
            seed: options.seed,
            generation: 0,
            probabilities: start.switches,
            step: STEPS.1,
            signal: vec![0.0; switches],
            gamma: 0.0,
            mean: start.genes,
            deviations: vec![sigma; genes],
            first_sigma: sigma,
            path: vec![0.0; genes],
            path_variance: vec![0.0; genes],
            widest: sigma,
            recent_best: Vec::new(),
        };
        let margin = state.margin();
        state.probabilities.iter_mut().for_each(|p| *p = p.clamp(margin, 1.0 - margin));
        if sigma.is_finite() && sigma > 0.0 && state.is_sound() { Ok(state) } else { Err(CmaError::Start(sigma)) }
    }

    /// The proposals of the current generation, the same at every call until [`CatCma::tell`] moves on: the switches as
    /// 0 or 1, then the genes, those of switches that are off included.
    pub fn ask(&self) -> Vec<Vec<f64>> {
        let mut rng = stream(self.seed, self.generation);
        (0..self.population())
            .map(|_| {
                let drawn = self.probabilities.iter().zip(std::iter::repeat_with(|| uniform(&mut rng)));
                let mut x: Vec<f64> = drawn.map(|(p, u)| if u < *p { 1.0 } else { 0.0 }).collect();
                let z = normals(&mut rng, self.mean.len());
                x.extend(self.mean.iter().zip(&self.deviations).zip(z).map(|((m, d), z)| m + d * z));
                x
            })
            .collect()
    }

    /// Learns from one generation, in any order. If all are equally fit, there is nothing to learn.
    ///
    /// # Errors
    /// Not one generation, a candidate that is not of this search's form, or genes beyond the range of numbers. The
    /// state is then unchanged.
    pub fn tell(&mut self, told: &[Told]) -> Result<(), CmaError> {
        let (switches, genes) = (self.probabilities.len(), self.mean.len());
        if told.len() != self.population() {
            let (generation, expected) = (self.generation, self.population());
            return Err(CmaError::Count { generation, expected, got: told.len() });
        }
        let fits = |t: &Told| {
            t.point.len() == switches + genes
                && t.active.len() == genes
                && t.point[..switches].iter().all(|x| *x == 0.0 || *x == 1.0)
                && t.point[switches..].iter().all(|x| x.is_finite())
        };
        if let Some(index) = told.iter().position(|t| !fits(t)) {
            return Err(CmaError::Candidate { index, switches, genes });
        }
        let mut ranked: Vec<Told> = told.iter().map(|t| Told { fitness: worst_if_odd(t.fitness), ..*t }).collect();
        ranked.sort_by(|a, b| a.fitness.total_cmp(&b.fitness));

        let mut next = self.clone();
        next.generation += 1;
        remember(&mut next.recent_best, ranked[0].fitness, self.flat_window());
        if ranked[0].fitness != ranked[ranked.len() - 1].fitness {
            let weights = shared_among_ties(&self.weights, &ranked);
            next.learn_switches(&ranked, &weights);
            next.learn_genes(&ranked, &weights);
        }
        if !next.is_sound() {
            return Err(CmaError::Range(self.generation));
        }
        *self = next;
        Ok(())
    }

    /// The likeliest switches and the mean genes: under noise a safer choice than the best candidate ever seen.
    pub fn mode(&self) -> Vec<f64> {
        let switches = self.probabilities.iter().map(|p| if *p > 0.5 { 1.0 } else { 0.0 });
        switches.chain(self.mean.iter().copied()).collect()
    }

    /// For every switch the probability that it is on.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// Standard deviation of every gene.
    pub fn deviations(&self) -> &[f64] {
        &self.deviations
    }

    /// Generations told so far.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Proposals per generation.
    pub fn population(&self) -> usize {
        self.weights.len()
    }

    /// A reason to stop, if there is one; asking and telling go on working regardless. `TolX` means that every
    /// probability is within twice its margin and every gene that still takes part has collapsed.
    pub fn stop(&self) -> Option<StopReason> {
        // Nearer than that, whether it moves depends on a flip that takes many generations to be drawn.
        let near = 2.0 * self.margin();
        let settled = self.probabilities.iter().all(|p| *p < near || *p > 1.0 - near);
        let (best, worst) = extremes(self.recent_best.iter().copied());
        if settled && self.widest < TOL_X.0 * self.first_sigma {
            Some(StopReason::TolX)
        } else if self.deviations.iter().any(|d| *d > TOL_X.1 * self.first_sigma) {
            Some(StopReason::TolXUp)
        } else if self.recent_best.len() == self.flat_window() && best == worst {
            Some(StopReason::FlatFitness)
        } else {
            None
        }
    }

    /// ASNG for Bernoulli variables, whose Fisher information is 1 / (p (1 - p)).
    fn learn_switches(&mut self, ranked: &[Told], weights: &[f64]) {
        let baseline = 1.0 / ranked.len() as f64;
        let gradient = |t: usize| ranked.iter().zip(weights).map(|(r, w)| (w - baseline) * r.point[t]).sum::<f64>();
        let gradient: Vec<f64> = (0..self.probabilities.len()).map(gradient).collect();
        let whitened: Vec<f64> =
            gradient.iter().zip(&self.probabilities).map(|(g, p)| g / (p * (1.0 - p)).sqrt()).collect();
        let length = norm(&whitened);
        if length < NO_GRADIENT {
            return;
        }
        let margin = self.margin();
        for (p, g) in self.probabilities.iter_mut().zip(&gradient) {
            *p = (*p + self.step * g / length).clamp(margin, 1.0 - margin);
        }
        let beta = self.step / (gradient.len() as f64).sqrt();
        for (s, w) in self.signal.iter_mut().zip(&whitened) {
            *s = (1.0 - beta) * *s + (beta * (2.0 - beta)).sqrt() * w / length;
        }
        self.gamma = (1.0 - beta).powi(2) * self.gamma + beta * (2.0 - beta);
        let ratio = dot(&self.signal, &self.signal) / SIGNAL - self.gamma;
        self.step = (self.step * (beta * ratio).exp()).clamp(STEPS.0, STEPS.1);
    }

    /// Separable CMA-ES, every gene as far as it was active.
    fn learn_genes(&mut self, ranked: &[Told], weights: &[f64]) {
        let evidence: Vec<Evidence> =
            (0..self.mean.len()).filter_map(|gene| self.evidence(gene, ranked, weights)).collect();
        let active: f64 = evidence.iter().map(|e| e.share).sum();
        let mu_eff = 1.0 / dot(&self.weights, &self.weights);
        let rates = Rates::new(active.max(1.0), mu_eff);

        let mut longer = 0.0;
        for e in &evidence {
            let c = (rates.c_sigma * e.share).min(1.0);
            let (path, variance) = (&mut self.path[e.gene], &mut self.path_variance[e.gene]);
            *path = (1.0 - c) * *path + (c * (2.0 - c)).sqrt() * e.whitened;
            *variance = (1.0 - c).powi(2) * *variance + c * (2.0 - c);
            longer += e.share * (path.powi(2) - *variance);
            self.mean[e.gene] += self.deviations[e.gene] * e.share * e.mean;
        }
        // Cumulation on squared lengths: unlike the length itself it needs no correction for the number of genes.
        let growth =
            if active > 0.0 { (rates.c_sigma / (2.0 * rates.d_sigma) * longer / active).min(1.0) } else { 0.0 };
        let (narrowest, widest) = (DEVIATIONS.0 * self.first_sigma, DEVIATIONS.1 * self.first_sigma);
        self.widest = 0.0;
        for e in &evidence {
            let rank_one = rates.c_1 * (self.path[e.gene].powi(2) - self.path_variance[e.gene]);
            // Only a huge population can come near the bound.
            let variance = (1.0 + e.share * (rank_one + rates.c_mu * e.excess)).max(0.01);
            let deviation = &mut self.deviations[e.gene];
            *deviation = (*deviation * variance.sqrt() * (e.share * growth).exp())
                .clamp(narrowest.max(f64::MIN_POSITIVE), widest.max(f64::MIN_POSITIVE));
            self.widest = self.widest.max(*deviation);
        }
    }

    /// `None` if the gene was active in no candidate that carries weight.
    fn evidence(&self, gene: usize, ranked: &[Told], weights: &[f64]) -> Option<Evidence> {
        let (mean, deviation) = (self.mean[gene], self.deviations[gene]);
        let (mut share, mut squares, mut first, mut second) = (0.0, 0.0, 0.0, 0.0);
        for (told, w) in ranked.iter().zip(weights).filter(|(told, w)| told.active[gene] && **w > 0.0) {
            let z = ((told.point[self.probabilities.len() + gene] - mean) / deviation).clamp(-LONGEST, LONGEST);
            share += w;
            squares += w * w;
            first += w * z;
            second += w * z * z;
        }
        (share > 0.0).then(|| Evidence {
            gene,
            share,
            mean: first / share,
            whitened: first / squares.sqrt(),
            excess: second / share - 1.0,
        })
    }

    /// How near a probability may come to 0 and to 1; the bound leaves a single switch in a tiny population room to move.
    fn margin(&self) -> f64 {
        (1.0 / (self.probabilities.len() * self.population()) as f64).min(0.25)
    }

    /// Whether every number is finite and the next proposals will be too.
    fn is_sound(&self) -> bool {
        let reach = self.mean.iter().zip(&self.deviations).all(|(m, d)| (2.0 * m.abs() + 9.0 * d).is_finite());
        let vectors = [&self.probabilities, &self.signal, &self.path, &self.path_variance];
        reach && vectors.iter().all(|v| v.iter().all(|x| x.is_finite()))
    }

    fn flat_window(&self) -> usize {
        flat_window(self.probabilities.len() + self.mean.len(), self.population())
    }
}

/// The learning rates for a number of active genes, which need not be whole.
struct Rates {
    c_sigma: f64,
    d_sigma: f64,
    c_1: f64,
    c_mu: f64,
}

impl Rates {
    /// Table 1 of the tutorial (arXiv 1604.00772); those of the variances times (n + 2) / 3 (Ros and Hansen 2008).
    fn new(n: f64, mu_eff: f64) -> Self {
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        let separable = (n + 2.0) / 3.0;
        let c_1 = separable * 2.0 / ((n + 1.3).powi(2) + mu_eff);
        let c_mu = separable * 2.0 * (0.25 + mu_eff + 1.0 / mu_eff - 2.0) / ((n + 2.0).powi(2) + mu_eff);
        Self {
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).max(0.0).sqrt() - 1.0).max(0.0) + c_sigma,
            c_1,
            c_mu: c_mu.min(1.0 - c_1),
        }
    }
}

/// The tutorial's weights, the negative ones left out.
fn recombination_weights(population: usize) -> Vec<f64> {
    let half = ((population + 1) as f64 / 2.0).ln();
    let raw: Vec<f64> = (1..=population).map(|i| (half - (i as f64).ln()).max(0.0)).collect();
    let sum: f64 = raw.iter().sum();
    raw.into_iter().map(|w| w / sum).collect()
}

/// The weights with those of tied ranks averaged.
fn shared_among_ties(weights: &[f64], ranked: &[Told]) -> Vec<f64> {
    let mut shared = Vec::with_capacity(weights.len());
    for tied in ranked.chunk_by(|a, b| a.fitness == b.fitness) {
        let ranks = &weights[shared.len()..shared.len() + tied.len()];
        shared.resize(shared.len() + tied.len(), ranks.iter().sum::<f64>() / tied.len() as f64);
    }
    shared
}

#[cfg(test)]
#[path = "catcma_tests.rs"]
mod tests;
