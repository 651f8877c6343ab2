//! `nuslerp`: from one model to the other along the arc between them, or between their task vectors, by their weights.

use ggraft_kernels::{Lines, Program};

use super::Case;
use super::gram::Gram;
use crate::plan::PlanError;

/// Weights whose sum is nearer to zero meet in the middle.
const NO_WEIGHT: f64 = 1e-6;
/// Lengths below this count as this.
const LEAST_NORM: f64 = 1e-7;
/// Squared sine of an angle that inner products cannot tell from none.
const COLINEAR: f64 = 1e-12;

/// Of the flattened tensors, or row by row; `nuslerp_row_wise` means column by column, as in mergekit.
pub(super) fn nuslerp(case: &Case) -> Result<Program, PlanError> {
    let weights: Vec<f64> = case.vectors().map(|i| case.parameter(i, "weight")).collect();
    let total: f64 = weights.iter().sum();
    let t = if total.abs() < NO_WEIGHT { 0.5 } else { weights[1] / total };
    let coefficients = |gram: &Gram| match case.base {
        None => on_the_arc(gram, t).to_vec(),
        Some(base) => case.with_base(&on_the_arc(&gram.differences(base), t)),
    };
    let lines = if case.shared("nuslerp_row_wise") != 0.0 { Lines::Columns } else { Lines::Rows };
    if case.shared("nuslerp_flatten") != 0.0 || case.is_vector() {
        return Ok(case.sum(coefficients(&Gram::of_sources(case))));
    }
    case.line_sum(lines, coefficients)
}

/// Coefficients of the point at `t` between two vectors.
fn on_the_arc(gram: &Gram, t: f64) -> [f64; 2] {
    let norm = |i: usize| gram.norm_of(i).max(LEAST_NORM);
    let cosine = (gram.at(0, 1) / (norm(0) * norm(1))).clamp(-1.0, 1.0);
    if 1.0 - cosine * cosine <= COLINEAR {
        return [1.0 - t, t];
    }
    let angle = cosine.acos();
    [((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()]
}
