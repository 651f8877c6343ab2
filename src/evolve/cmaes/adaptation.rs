//! Learning rates that follow the noise: how far CMA-ES goes along each of its steps.
//!
//! LRA-CMA-ES (Nomura, Akimoto and Ono 2023, arXiv 2304.03473): the steps of the mean and of the covariance are seen in the coordinates in
//! which the distribution is a standard normal one. Steps that point the same way from generation to generation are signal, the rest is noise; the
//! rates are kept where the signal-to-noise ratio is `alpha` times the rate. So noise or many local optima are answered with smaller steps
//! instead of with a larger population. The settings are the paper's.

use serde::{Deserialize, Serialize};

use super::CmaEs;
use crate::evolve::linalg::{add_scaled, norm, scale};

/// The paper's alpha: the signal-to-noise ratio to be had, per learning rate.
const ALPHA: f64 = 1.4;
/// How much of the past the averages forget in a generation, for the mean and for the covariance.
const BETA: [f64; 2] = [0.1, 0.03];
/// The most that a rate changes in a generation, in logarithms and per rate.
const GAMMA: f64 = 0.1;

/// One learning rate with what it is judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Rate {
    beta: f64,
    /// The rate itself, at most 1.
    eta: f64,
    /// Moving averages of the step and of its squared length.
    average: Vec<f64>,
    square: f64,
}

/// The learning rates of the mean and of the covariance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Adaptation {
    mean: Rate,
    covariance: Rate,
}

impl Adaptation {
    /// For `n` genes.
    pub fn new(n: usize) -> Self {
        let rate = |beta, size| Rate { beta, eta: 1.0, average: vec![0.0; size], square: 0.0 };
        Self { mean: rate(BETA[0], n), covariance: rate(BETA[1], n * n) }
    }

    /// Learns from a step of the mean and one of the covariance, in local coordinates; returns how much of each to take, and what to
    /// multiply the step size by: smaller steps of the mean go with a larger one.
    pub fn learn(&mut self, mean: &[f64], covariance: &[f64]) -> [f64; 3] {
        let before = self.mean.eta;
        self.mean.learn(mean);
        let mut step = covariance.to_vec();
        scale(&mut step, std::f64::consts::FRAC_1_SQRT_2);
        self.covariance.learn(&step);
        [self.mean.eta, self.covariance.eta, before / self.mean.eta]
    }
}

impl Rate {
    fn learn(&mut self, step: &[f64]) {
        scale(&mut self.average, 1.0 - self.beta);
        add_scaled(&mut self.average, self.beta, step);
        self.square = (1.0 - self.beta) * self.square + self.beta * norm(step).powi(2);
        let signal = norm(&self.average).powi(2);
        let noise = self.square - signal;
        // Without any step there is nothing to learn from.
        if noise > 0.0 {
            let ratio = (signal - self.beta / (2.0 - self.beta) * self.square) / noise;
            let wanted = (ratio / (ALPHA * self.eta) - 1.0).clamp(-1.0, 1.0);
            self.eta = (self.eta * ((GAMMA * self.eta).min(self.beta) * wanted).exp()).min(1.0);
        }
    }
}

impl CmaEs {
    /// Takes as much of the step from `before` to here as the learning rates allow; `mean_step` is that of the mean, in step sizes.
    pub(super) fn adapt(&mut self, before: &Self, mean_step: &[f64]) {
        let Some(mut adaptation) = self.adaptation.take() else { return };
        let [of_mean, of_covariance, of_sigma] =
            adaptation.learn(&before.locally(mean_step), &before.local_change(self));
        self.adaptation = Some(adaptation);
        self.go_only(before, of_mean, of_covariance);
        self.sigma *= of_sigma;
    }

    /// C^-1/2 `step`.
    fn locally(&self, step: &[f64]) -> Vec<f64> {
        let mut local = vec![0.0; step.len()];
        for (axis, coordinate) in self.axes.chunks_exact(step.len()).zip(self.whiten(step)) {
            add_scaled(&mut local, coordinate, axis);
        }
        local
    }

    /// What `next` changes of the covariance, sigma² C, in the coordinates in which it is now the identity.
    fn local_change(&self, next: &Self) -> Vec<f64> {
        let n = self.mean.len();
        let ratio = (next.sigma / self.sigma).powi(2);
        let change: Vec<f64> =
            next.covariance.iter().zip(&self.covariance).map(|(new, old)| ratio * new - old).collect();
        // Symmetric, so that rows are columns.
        let half: Vec<f64> = change.chunks_exact(n).flat_map(|row| self.locally(row)).collect();
        let columns = (0..n).map(|j| half.iter().skip(j).step_by(n).copied().collect::<Vec<f64>>());
        columns.flat_map(|column| self.locally(&column)).collect()
    }

    /// Takes only a part of the step from `before` to here, of the mean and of sigma² C.
    fn go_only(&mut self, before: &Self, of_mean: f64, of_covariance: f64) {
        let n = self.mean.len();
        for (new, old) in self.mean.iter_mut().zip(&before.mean) {
            *new = old + of_mean * (*new - old);
        }
        let (new_sigma, old_sigma) = (self.sigma.powi(2), before.sigma.powi(2));
        for (new, old) in self.covariance.iter_mut().zip(&before.covariance) {
            *new = (1.0 - of_covariance) * old_sigma * old + of_covariance * new_sigma * *new;
        }
        // Sigma is the size, C the shape: its determinant is 1.
        self.decompose();
        let size = (self.scales.iter().map(|s| s.ln()).sum::<f64>() / n as f64).exp();
        scale(&mut self.covariance, 1.0 / (size * size));
        scale(&mut self.scales, 1.0 / size);
        self.sigma = size;
    }
}
