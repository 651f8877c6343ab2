//! Separable CMA-ES, ask and tell: CMA-ES with a diagonal covariance, for hundreds of genes and more. Lower fitness is better.
//!
//! Ros and Hansen 2008 (*A simple modification in CMA-ES achieving linear time and space complexity*): only the variances are learned, so
//! that they may be learned `(n + 2) / 3` times as fast; everything else, the settings too, is that of [`super::cmaes`], the negative
//! weights left out. Time and memory are linear in the genes. As there, the state holds no random generator.

use serde::{Deserialize, Serialize};

use super::cmaes::{
    CmaError, CmaOptions, MAX_SIGMA_GROWTH, StopReason, Strategy, TOL_X, TOL_X_UP, flat_window, normals,
    population_for, ranked, remember, stream,
};
use super::linalg::{extremes, norm};

/// Most genes.
pub const MAX_GENES: usize = 20_000;
/// A told point further from the mean, in deviations of a gene, counts as this far.
const LONGEST: f64 = 6.0;

/// The search distribution N(mean, sigma² diag(variances)) with its evolution paths: plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SepCmaEs {
    strategy: Strategy,
    seed: u64,
    generation: u64,
    mean: Vec<f64>,
    sigma: f64,
    first_sigma: f64,
    path_sigma: Vec<f64>,
    path_c: Vec<f64>,
    variances: Vec<f64>,
    /// Best fitness of recent generations.
    recent_best: Vec<f64>,
}

impl SepCmaEs {
    /// As [`super::cmaes::CmaEs::new`], with up to [`MAX_GENES`] genes.
    ///
    /// # Errors
    /// As there.
    pub fn new(mean: Vec<f64>, sigma: f64, options: CmaOptions) -> Result<Self, CmaError> {
        let n = mean.len();
        let population = population_for(n, MAX_GENES, options.population)?;
        let state = Self {
            strategy: Strategy::new(n, population).separable(n),
            seed: options.seed,
            generation: 0,
            mean,
            sigma,
            first_sigma: sigma,
            path_sigma: vec![0.0; n],
            path_c: vec![0.0; n],
            variances: vec![1.0; n],
            recent_best: Vec::new(),
        };
        if state.is_sound() { Ok(state) } else { Err(CmaError::Start(sigma)) }
    }

    /// The proposals of the current generation, the same at every call until [`SepCmaEs::tell`] moves on.
    pub fn ask(&self) -> Vec<Vec<f64>> {
        let mut rng = stream(self.seed, self.generation);
        let deviations = self.deviations();
        (0..self.population())
            .map(|_| {
                let z = normals(&mut rng, self.mean.len());
                self.mean.iter().zip(&deviations).zip(z).map(|((m, d), z)| m + d * z).collect()
            })
            .collect()
    }

    /// Learns from one generation: each point with its fitness. Points need not be proposals, but may be repaired.
    ///
    /// # Errors
    /// As [`super::cmaes::CmaEs::tell`]; the state is then unchanged.
    pub fn tell(&mut self, told: &[(Vec<f64>, f64)]) -> Result<(), CmaError> {
        let next = self.after(&ranked(told, self.mean.len(), self.population(), self.generation)?);
        if !next.is_sound() {
            return Err(CmaError::Range(self.generation));
        }
        *self = next;
        Ok(())
    }

    fn after(&self, ranked: &[(&[f64], f64)]) -> Self {
        let s = &self.strategy;
        let mut next = self.clone();
        next.generation += 1;
        // Weighted mean and mean square of each gene's step, in deviations.
        let (mut first, mut second) = (vec![0.0; self.mean.len()], vec![0.0; self.mean.len()]);
        let deviations = self.deviations();
        for ((x, _), w) in ranked.iter().zip(&s.weights).take(s.mu) {
            for (i, x) in x.iter().enumerate() {
                let z = ((x - self.mean[i]) / deviations[i]).clamp(-LONGEST, LONGEST);
                first[i] += w * z;
                second[i] += w * z * z;
            }
        }
        let drift = (s.c_sigma * (2.0 - s.c_sigma) * s.mu_eff).sqrt();
        for (i, step) in first.iter().enumerate() {
            next.mean[i] += deviations[i] * step;
            next.path_sigma[i] = (1.0 - s.c_sigma) * self.path_sigma[i] + drift * step;
        }
        let length = norm(&next.path_sigma);
        next.sigma = s.next_sigma(self.sigma, length, ranked).min(MAX_SIGMA_GROWTH * self.first_sigma);

        let h_sigma = s.h_sigma(length, self.mean.len(), next.generation);
        let drift = h_sigma * (s.c_c * (2.0 - s.c_c) * s.mu_eff).sqrt();
        let kept = 1.0 + s.c_1 * (1.0 - h_sigma) * s.c_c * (2.0 - s.c_c) - s.c_1 - s.c_mu;
        for i in 0..self.mean.len() {
            let variance = self.variances[i];
            next.path_c[i] = (1.0 - s.c_c) * self.path_c[i] + drift * variance.sqrt() * first[i];
            next.variances[i] =
                kept * variance + s.c_1 * next.path_c[i] * next.path_c[i] + s.c_mu * variance * second[i];
        }
        remember(&mut next.recent_best, ranked[0].1, self.flat_window());
        next
    }

    /// Centre of the distribution.
    pub fn mean(&self) -> &[f64] {
        &self.mean
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
        self.variances.iter().map(|v| self.sigma * v.sqrt()).collect()
    }

    /// A reason to stop, if there is one.
    pub fn stop(&self) -> Option<StopReason> {
        let (_, widest) =
            extremes(self.deviations().into_iter().chain(self.path_c.iter().map(|p| self.sigma * p.abs())));
        let (best, worst) = extremes(self.recent_best.iter().copied());
        if widest < TOL_X * self.first_sigma {
            Some(StopReason::TolX)
        } else if widest > TOL_X_UP * self.first_sigma {
            Some(StopReason::TolXUp)
        } else if self.recent_best.len() == self.flat_window() && best == worst {
            Some(StopReason::FlatFitness)
        } else {
            None
        }
    }

    fn is_sound(&self) -> bool {
        let vectors = [&self.mean, &self.path_sigma, &self.path_c, &self.variances];
        let reach =
            self.mean.iter().zip(self.deviations()).all(|(m, d)| (2.0 * m.abs() + 9.0 * d).is_finite() && d > 0.0);
        reach && vectors.iter().all(|v| v.iter().all(|x| x.is_finite()))
    }

    fn flat_window(&self) -> usize {
        flat_window(self.mean.len(), self.population())
    }
}

#[cfg(test)]
#[path = "sepcma_tests.rs"]
mod tests;
