//! CMA-ES, ask and tell: proposes points of a search space and learns from their fitness. Lower fitness is better.
//!
//! In: a start point, a step size and, generation by generation, the fitness of every proposal. Out: the next proposals.
//! Equations and default settings are those of N. Hansen, *The CMA Evolution Strategy: A Tutorial* (arXiv 1604.00772),
//! with the negative ("active") recombination weights of its table 1. Equation numbers below refer to it.
//!
//! The state holds no random generator: the deviates of generation `g` are stream `g` of ChaCha12 under the seed. So
//! [`CmaEs::ask`] changes nothing, may be called again after a crash, and the same seed told the same fitness walks the
//! same way, bit for bit on one platform (`ln`, `sin`, `cos` and `exp` may differ in the last bit between platforms).

mod adaptation;

use std::f64::consts::TAU;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use adaptation::Adaptation;

use super::linalg::{add_outer, add_scaled, dot, extremes, identity, norm, scale, symmetric_eigen};

/// Most genes: the covariance is dense and its eigenvectors cost O(n³).
pub const MAX_GENES: usize = 1000;
/// Most proposals in one generation.
pub const MAX_POPULATION: usize = 10_000;

/// The search has collapsed once every standard deviation is this much smaller than the first step size.
pub(super) const TOL_X: f64 = 1e-12;
/// The search diverges once a standard deviation is this much larger than the first step size (pycma's `tolfacupx` is 1e3).
pub(super) const TOL_X_UP: f64 = 1e4;
/// The step size never grows by more than this, however long a caller goes on after [`StopReason::TolXUp`].
pub(super) const MAX_SIGMA_GROWTH: f64 = 1e8;
/// Largest ratio of the covariance's eigenvalues that double precision resolves (tutorial, appendix B.3).
const MAX_CONDITION: f64 = 1e14;

/// Why [`CmaEs`] could not be built or could not learn. The state is unchanged by a call that fails.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CmaError {
    /// The start point has no genes or too many.
    #[error(
        "this optimiser takes 1 to `{max}` genes, not `{genes}`: choose `algorithm: sep_cma_es`, a coarser layer granularity, or fewer \
         `repeats` of paths"
    )]
    Genes {
        /// As many as there are.
        genes: usize,
        /// The most there may be.
        max: usize,
    },
    /// The population cannot carry a ranking, or is absurd.
    #[error("cma-es takes a population of 2 to `{MAX_POPULATION}`, not `{0}`")]
    Population(usize),
    /// The start point or the step size is not a usable number.
    #[error("cma-es needs a finite start point and a finite positive step size, not sigma `{0}`")]
    Start(f64),
    /// `tell` was not given exactly one generation.
    #[error("generation `{generation}` has `{expected}` proposals, but `{got}` were told")]
    Count {
        /// The generation under way.
        generation: u64,
        /// The population.
        expected: usize,
        /// What was told.
        got: usize,
    },
    /// A told point has the wrong number of genes or one that is no finite number.
    #[error("told point `{index}` must have `{expected}` finite genes")]
    Point {
        /// Position in what was told, from 0.
        index: usize,
        /// The number of genes.
        expected: usize,
    },
    /// A search over switches and genes has no switch, or is too large.
    #[error("catcma takes 1 or more switches and at most `{max}` switches and genes, not `{switches}` and `{genes}`")]
    Size {
        /// The number of switches.
        switches: usize,
        /// The number of genes.
        genes: usize,
        /// Most of both together.
        max: usize,
    },
    /// A switch starts always on, always off or with a probability that is no number.
    #[error("a switch starts on with a probability above 0 and below 1, not `{0}`")]
    Probability(f64),
    /// A told candidate of a search over switches and genes does not have its form.
    #[error(
        "told point `{index}` must be `{switches}` switches of 0 or 1, then `{genes}` finite genes, each active or not"
    )]
    Candidate {
        /// Position in what was told, from 0.
        index: usize,
        /// The number of switches.
        switches: usize,
        /// The number of genes.
        genes: usize,
    },
    /// The told points are so far apart that the update leaves the range of double precision.
    #[error("generation `{0}` was told points too far from the mean to compute with: bound the genes")]
    Range(u64),
}

/// Why going on is pointless (tutorial, appendix B.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The distribution has collapsed to a point: every standard deviation is below 1e-12 of the first step size.
    TolX,
    /// The distribution has exploded: a standard deviation is above 1e4 times the first step size.
    TolXUp,
    /// The condition number of the covariance exceeds 1e14.
    ConditionCov,
    /// The best fitness of each of the last `10 + ceil(30 n / population)` generations is the same.
    FlatFitness,
}

/// What may be chosen besides the start point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CmaOptions {
    /// Proposals per generation; `4 + floor(3 ln n)` if not given.
    pub population: Option<usize>,
    /// Seed of every random deviate.
    pub seed: u64,
    /// Whether learning rates follow the noise.
    pub adapt_rates: bool,
}

/// The settings that follow from the number of genes and the population (table 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Strategy {
    /// One recombination weight per rank; the first `mu` are positive and sum to one, the rest are zero or negative.
    pub weights: Vec<f64>,
    pub mu: usize,
    pub mu_eff: f64,
    pub c_sigma: f64,
    pub d_sigma: f64,
    pub c_c: f64,
    pub c_1: f64,
    pub c_mu: f64,
    /// Expected length of a standard normal vector.
    pub chi_n: f64,
    /// Generations that share one eigendecomposition (appendix B.2).
    eigen_gap: u64,
}

/// The search distribution N(mean, sigma² C) with its evolution paths: plain data, cheap to clone and to compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CmaEs {
    strategy: Strategy,
    seed: u64,
    generation: u64,
    mean: Vec<f64>,
    sigma: f64,
    first_sigma: f64,
    path_sigma: Vec<f64>,
    path_c: Vec<f64>,
    /// C, n × n.
    covariance: Vec<f64>,
    /// Eigenvectors of C as rows, n × n, as of generation `eigen_at`.
    axes: Vec<f64>,
    /// Square roots of C's eigenvalues, in the order of `axes`.
    scales: Vec<f64>,
    eigen_at: u64,
    /// Best fitness of recent generations.
    recent_best: Vec<f64>,
    adaptation: Option<Box<Adaptation>>,
}

impl CmaEs {
    /// A search around `mean` with standard deviation `sigma` in every gene. Scale the genes so that one `sigma` suits
    /// all and the optimum is expected within `mean ± 3 sigma`.
    ///
    /// # Errors
    /// No genes or more than [`MAX_GENES`], a population outside 2 to [`MAX_POPULATION`], numbers that are not finite.
    pub fn new(mean: Vec<f64>, sigma: f64, options: CmaOptions) -> Result<Self, CmaError> {
        let n = mean.len();
        let population = population_for(n, MAX_GENES, options.population)?;
        let state = Self {
            strategy: Strategy::new(n, population),
            seed: options.seed,
            generation: 0,
            mean,
            sigma,
            first_sigma: sigma,
            path_sigma: vec![0.0; n],
            path_c: vec![0.0; n],
            covariance: identity(n),
            axes: identity(n),
            scales: vec![1.0; n],
            eigen_at: 0,
            recent_best: Vec::new(),
            adaptation: options.adapt_rates.then(|| Adaptation::new(n).into()),
        };
        if state.is_sound() { Ok(state) } else { Err(CmaError::Start(sigma)) }
    }

    /// A search that starts from the normal distribution `mean`, `covariance` (row by row): the step size is the geometric mean of its axes, as
    /// in WS-CMA-ES (arXiv 2012.06932).
    ///
    /// # Errors
    /// As [`CmaEs::new`], and for a covariance that is none.
    pub fn around(mean: Vec<f64>, covariance: &[f64], options: CmaOptions) -> Result<Self, CmaError> {
        let n = mean.len();
        if n == 0 || n > MAX_GENES || covariance.len() != n * n {
            return Err(CmaError::Genes { genes: n, max: MAX_GENES });
        }
        let (values, _) = symmetric_eigen(covariance, n);
        let sigma = (values.iter().map(|v| v.ln()).sum::<f64>() / (2.0 * n as f64)).exp();
        let mut state = Self::new(mean, sigma, options)?;
        state.covariance = covariance.iter().map(|c| c / (sigma * sigma)).collect();
        state.decompose();
        if state.is_sound() { Ok(state) } else { Err(CmaError::Start(sigma)) }
    }

    /// The proposals of the current generation, the same at every call until [`CmaEs::tell`] moves on (equation 5).
    pub fn ask(&self) -> Vec<Vec<f64>> {
        let n = self.mean.len();
        let mut rng = stream(self.seed, self.generation);
        (0..self.population())
            .map(|_| {
                let mut x = self.mean.clone();
                for ((axis, scale), z) in self.axes.chunks_exact(n).zip(&self.scales).zip(normals(&mut rng, n)) {
                    add_scaled(&mut x, self.sigma * scale * z, axis);
                }
                x
            })
            .collect()
    }

    /// Learns from one generation: each point with its fitness, lower is better. A fitness that is not finite counts as
    /// worst; ties rank in the order told. Points need not be those that [`CmaEs::ask`] proposed: others (repaired,
    /// migrated) are drawn towards the mean to the length of a plausible step (arXiv 1110.4181).
    ///
    /// # Errors
    /// Not one generation, a point with missing or non-finite genes, or points beyond the range of numbers.
    pub fn tell(&mut self, told: &[(Vec<f64>, f64)]) -> Result<(), CmaError> {
        let next = self.after(&ranked(told, self.mean.len(), self.population(), self.generation)?);
        if !next.is_sound() {
            return Err(CmaError::Range(self.generation));
        }
        *self = next;
        Ok(())
    }

    /// Centre of the distribution: under noise a safer choice than the best point ever seen.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Overall step size.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// Generations told so far.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Proposals per generation.
    pub fn population(&self) -> usize {
        self.strategy.weights.len()
    }

    /// Standard deviation of every gene.
    pub fn deviations(&self) -> Vec<f64> {
        self.covariance.iter().step_by(self.mean.len() + 1).map(|c| self.sigma * c.max(0.0).sqrt()).collect()
    }

    /// A reason to stop, if there is one; asking and telling go on working regardless.
    pub fn stop(&self) -> Option<StopReason> {
        let (smallest, largest) = extremes(self.scales.iter().copied());
        let (_, widest) =
            extremes(self.deviations().into_iter().chain(self.path_c.iter().map(|p| self.sigma * p.abs())));
        let (best, worst) = extremes(self.recent_best.iter().copied());
        if largest * largest > MAX_CONDITION * smallest * smallest {
            Some(StopReason::ConditionCov)
        } else if widest < TOL_X * self.first_sigma {
            Some(StopReason::TolX)
        } else if self.sigma * largest > TOL_X_UP * self.first_sigma {
            Some(StopReason::TolXUp)
        } else if self.recent_best.len() == self.flat_window() && best == worst {
            Some(StopReason::FlatFitness)
        } else {
            None
        }
    }

    /// The state after learning from `ranked`, best first.
    fn after(&self, ranked: &[(&[f64], f64)]) -> Self {
        let s = &self.strategy;
        let n = self.mean.len();
        let steps = self.steps(ranked);
        let mut next = self.clone();
        next.generation += 1;

        // Equations 41 and 42, with a learning rate of one for the mean.
        let mut mean_step = vec![0.0; n];
        for ((step, _), w) in steps.iter().zip(&s.weights).take(s.mu) {
            add_scaled(&mut mean_step, *w, step);
        }
        add_scaled(&mut next.mean, self.sigma, &mean_step);

        // Equations 43 and 44: the path of whitened steps is longer than chance if steps agree.
        scale(&mut next.path_sigma, 1.0 - s.c_sigma);
        for (axis, coordinate) in self.axes.chunks_exact(n).zip(self.whiten(&mean_step)) {
            add_scaled(&mut next.path_sigma, (s.c_sigma * (2.0 - s.c_sigma) * s.mu_eff).sqrt() * coordinate, axis);
        }
        let length = norm(&next.path_sigma);
        next.sigma = s.next_sigma(self.sigma, length, ranked).min(MAX_SIGMA_GROWTH * self.first_sigma);

        // Equation 45.
        let h_sigma = s.h_sigma(length, n, next.generation);
        scale(&mut next.path_c, 1.0 - s.c_c);
        add_scaled(&mut next.path_c, h_sigma * (s.c_c * (2.0 - s.c_c) * s.mu_eff).sqrt(), &mean_step);

        // Equations 46 and 47: a negative weight is scaled so that C stays positive definite.
        let variance_lost = s.c_1 * (1.0 - h_sigma) * s.c_c * (2.0 - s.c_c);
        scale(&mut next.covariance, 1.0 + variance_lost - s.c_1 - s.c_mu * s.weights.iter().sum::<f64>());
        add_outer(&mut next.covariance, s.c_1, &next.path_c);
        for ((step, length), w) in steps.iter().zip(&s.weights) {
            let w = if *w < 0.0 { w * n as f64 / (length * length).max(f64::MIN_POSITIVE) } else { *w };
            add_outer(&mut next.covariance, s.c_mu * w, step);
        }
        if next.adaptation.is_some() {
            next.adapt(self, &mean_step);
        } else if next.generation - next.eigen_at >= s.eigen_gap {
            next.decompose();
        }

        remember(&mut next.recent_best, ranked[0].1, self.flat_window());
        next
    }

    /// Each point as a step from the mean in units of sigma, with its Mahalanobis length.
    fn steps(&self, ranked: &[(&[f64], f64)]) -> Vec<(Vec<f64>, f64)> {
        let n = self.mean.len() as f64;
        let longest = n.sqrt() + 2.0 * n / (n + 2.0);
        let own = self.ask();
        let step = |(x, _): &(&[f64], f64)| {
            let mut step: Vec<f64> = x.iter().zip(&self.mean).map(|(x, m)| (x - m) / self.sigma).collect();
            let mut length = norm(&self.whiten(&step));
            if length > longest && !own.iter().any(|o| o == x) {
                scale(&mut step, longest / length);
                length = longest;
            }
            (step, length)
        };
        ranked.iter().map(step).collect()
    }

    /// Coordinates of C^-1/2 `step` along the axes.
    fn whiten(&self, step: &[f64]) -> Vec<f64> {
        self.axes.chunks_exact(step.len()).zip(&self.scales).map(|(axis, d)| dot(axis, step) / d).collect()
    }

    fn decompose(&mut self) {
        let (values, axes) = symmetric_eigen(&self.covariance, self.mean.len());
        // Rounding may push the smallest eigenvalues below zero; `stop` has reported the condition number before that.
        let floor = extremes(values.iter().copied()).1 / (10.0 * MAX_CONDITION);
        self.scales = values.iter().map(|v| v.max(floor).sqrt()).collect();
        self.axes = axes;
        self.eigen_at = self.generation;
    }

    /// Whether every number is finite and the next proposals will be too: a standard normal deviate made of 53 random
    /// bits is below 9.
    fn is_sound(&self) -> bool {
        let (smallest, largest) = extremes(self.scales.iter().copied());
        let (_, reach) = extremes(self.mean.iter().map(|m| m.abs()));
        let vectors = [&self.mean, &self.path_sigma, &self.path_c, &self.covariance, &self.axes, &self.scales];
        vectors.iter().all(|v| v.iter().all(|x| x.is_finite()))
            && self.sigma > 0.0
            && smallest > 0.0
            && (2.0 * reach + 9.0 * self.mean.len() as f64 * self.sigma * largest).is_finite()
    }

    fn flat_window(&self) -> usize {
        flat_window(self.mean.len(), self.population())
    }
}

impl Strategy {
    /// Table 1 with alpha_cov = 2.
    pub fn new(n: usize, population: usize) -> Self {
        let (n, lambda) = (n as f64, population as f64);
        let raw: Vec<f64> = (1..=population).map(|i| ((lambda + 1.0) / 2.0).ln() - (i as f64).ln()).collect();
        let mu = population / 2;
        let sums = |w: &[f64]| (w.iter().sum::<f64>().abs(), w.iter().map(|w| w * w).sum::<f64>());
        let (positive, positive_squares) = sums(&raw[..mu]);
        let (negative, negative_squares) = sums(&raw[mu..]);
        let mu_eff = positive * positive / positive_squares;
        let mu_eff_negative = negative * negative / negative_squares;

        let c_1 = 2.0 / ((n + 1.3).powi(2) + mu_eff);
        let c_mu = (2.0 * (0.25 + mu_eff + 1.0 / mu_eff - 2.0) / ((n + 2.0).powi(2) + mu_eff)).min(1.0 - c_1);
        let alpha_mu = 1.0 + c_1 / c_mu;
        let alpha_mu_eff = 1.0 + 2.0 * mu_eff_negative / (mu_eff + 2.0);
        let alpha_pos_def = (1.0 - c_1 - c_mu) / (n * c_mu);
        let negative_sum = alpha_mu.min(alpha_mu_eff).min(alpha_pos_def);
        let weight = |w: &f64| if *w >= 0.0 { w / positive } else { w * negative_sum / negative };

        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        Self {
            weights: raw.iter().map(weight).collect(),
            mu,
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).max(0.0).sqrt() - 1.0).max(0.0) + c_sigma,
            c_c: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            c_1,
            c_mu,
            chi_n: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
            eigen_gap: (1.0 / (10.0 * n * (c_1 + c_mu))).max(1.0) as u64,
        }
    }

    /// The step size after `sigma`, where its path is now `length` long (equation 44).
    pub fn next_sigma(&self, sigma: f64, length: f64, ranked: &[(&[f64], f64)]) -> f64 {
        let next = sigma * (self.c_sigma / self.d_sigma * (length / self.chi_n - 1.0)).min(1.0).exp();
        // Appendix B.3: a plateau gives no direction, so look further away.
        let nearly_last = (0.7 * ranked.len() as f64).ceil() as usize - 1;
        let flat = ranked[0].1 == ranked[nearly_last].1;
        if flat { next * (0.2 + self.c_sigma / self.d_sigma).exp() } else { next }
    }

    /// 0 while the step size is still growing fast, to stall the path of the covariance; else 1. The path of the step size is `length` long
    /// after so many generations.
    pub fn h_sigma(&self, length: f64, genes: usize, generation: u64) -> f64 {
        let settled = 1.0 - (1.0 - self.c_sigma).powf(2.0 * generation as f64);
        if length / settled.sqrt() < (1.4 + 2.0 / (genes as f64 + 1.0)) * self.chi_n { 1.0 } else { 0.0 }
    }

    /// The same for variances alone, which are fewer and learned faster (Ros and Hansen 2008).
    pub fn separable(mut self, n: usize) -> Self {
        let faster = (n as f64 + 2.0) / 3.0;
        self.c_1 *= faster;
        self.c_mu = (self.c_mu * faster).min(1.0 - self.c_1);
        self
    }
}

/// The population of an optimiser of up to `max` genes: that which is wanted, or the default.
pub(super) fn population_for(genes: usize, max: usize, wanted: Option<usize>) -> Result<usize, CmaError> {
    if genes == 0 || genes > max {
        return Err(CmaError::Genes { genes, max });
    }
    let population = wanted.unwrap_or_else(|| default_population(genes));
    if (2..=MAX_POPULATION).contains(&population) { Ok(population) } else { Err(CmaError::Population(population)) }
}

/// What was told, the best first, if it is one generation of points.
pub(super) fn ranked(
    told: &[(Vec<f64>, f64)],
    genes: usize,
    population: usize,
    generation: u64,
) -> Result<Vec<(&[f64], f64)>, CmaError> {
    if told.len() != population {
        return Err(CmaError::Count { generation, expected: population, got: told.len() });
    }
    if let Some(index) = told.iter().position(|(x, _)| x.len() != genes || !x.iter().all(|x| x.is_finite())) {
        return Err(CmaError::Point { index, expected: genes });
    }
    let mut ranked: Vec<(&[f64], f64)> = told.iter().map(|(x, f)| (x.as_slice(), worst_if_odd(*f))).collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    Ok(ranked)
}

/// Generations whose best fitness must be the same for [`StopReason::FlatFitness`].
pub(super) fn flat_window(genes: usize, population: usize) -> usize {
    10 + (30 * genes).div_ceil(population)
}

/// Adds the best fitness of a generation to those of the last `window`.
pub(super) fn remember(recent_best: &mut Vec<f64>, fitness: f64, window: usize) {
    if recent_best.len() == window {
        recent_best.remove(0);
    }
    recent_best.push(fitness);
}

/// The tutorial's default population, `4 + floor(3 ln n)` (equation 48).
pub fn default_population(genes: usize) -> usize {
    4 + (3.0 * (genes.max(1) as f64).ln()) as usize
}

/// The generator of one generation. The key is spelled out so that it does not change with the version of a crate.
pub(super) fn stream(seed: u64, generation: u64) -> ChaCha12Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha12Rng::from_seed(key);
    rng.set_stream(generation);
    rng
}

/// A number from 0 up to, not including, 1.
pub(super) fn uniform(rng: &mut ChaCha12Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// `n` standard normal deviates (Box and Muller 1958).
pub(super) fn normals(rng: &mut ChaCha12Rng, n: usize) -> Vec<f64> {
    let mut z = Vec::with_capacity(n + 1);
    while z.len() < n {
        let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
        let angle = TAU * uniform(rng);
        z.extend([radius * angle.cos(), radius * angle.sin()]);
    }
    z.truncate(n);
    z
}

/// The fitness of what has none: a number that every format of files can tell.
pub(super) const WORST: f64 = f64::MAX;

/// [`WORST`] for every fitness that says nothing; `+ 0.0` makes the two zeros one, since `total_cmp` tells them apart.
pub(super) fn worst_if_odd(fitness: f64) -> f64 {
    if fitness.is_finite() { fitness + 0.0 } else { WORST }
}

#[cfg(test)]
#[path = "cmaes_tests.rs"]
mod tests;
