//! `model_stock` (Jang et al. 2403.19522): the models' mean, drawn towards the base by as much as their task vectors disagree.

use ggraft_kernels::{Lines, Program};

use super::Case;
use super::gram::Gram;
use crate::plan::PlanError;

/// The least product of two lengths that is divided by.
const LEAST_NORMS: f64 = 1e-6;
/// A divisor nearer to zero leaves the base alone.
const NO_DIVISOR: f64 = 1e-6;

/// Of whole tensors, or row by row with `filter_wise`.
pub(super) fn model_stock(case: &Case) -> Result<Program, PlanError> {
    let base = case.base.unwrap_or(0);
    let coefficients = |gram: &Gram| {
        let share = share(&gram.differences(base));
        case.with_base(&vec![share / (gram.len() - 1) as f64; gram.len() - 1])
    };
    if case.shared("filter_wise") == 0.0 || case.is_vector() {
        return Ok(case.sum(coefficients(&Gram::of_sources(case))));
    }
    case.line_sum(Lines::Rows, coefficients)
}

/// How far to go from the base to the mean: `K c / (1 + (K - 1) c)` for a mean cosine `c` of `K` task vectors.
fn share(gram: &Gram) -> f64 {
    let n = gram.len();
    let cosine =
        |i: usize, j: usize| (gram.at(i, j) / (gram.norm_of(i) * gram.norm_of(j)).max(LEAST_NORMS)).clamp(-1.0, 1.0);
    let cosines: Vec<f64> = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).map(|(i, j)| cosine(i, j)).collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let divisor = 1.0 + (n - 1) as f64 * mean;
    if divisor.abs() < NO_DIVISOR { 0.0 } else { n as f64 * mean / divisor }
}
