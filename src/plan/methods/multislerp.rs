//! `multislerp`: several models averaged on the sphere of their directions, their lengths averaged apart.

use ggraft_kernels::Program;

use super::Case;
use super::gram::Gram;
use crate::plan::PlanError;

/// From the weighted mean direction `m` along the tangent that the directions pull into; with a base, of the differences to it.
pub(super) fn multislerp(case: &Case) -> Result<Program, PlanError> {
    let vectors: Vec<usize> = case.vectors().collect();
    if let [only] = vectors[..] {
        return Ok(case.sum((0..case.inputs.len()).map(|i| f64::from(u8::from(i == only)))));
    }
    let mut weights: Vec<f64> = vectors.iter().map(|i| case.parameter(*i, "weight")).collect();
    if case.shared("normalize_weights") != 0.0 {
        let total: f64 = weights.iter().sum();
        if total == 0.0 {
            return Err(case.undefined("the weights sum to 0; change one or set `normalize_weights: false`"));
        }
        weights.iter_mut().for_each(|w| *w /= total);
    }
    let sources = Gram::of_sources(case);
    let gram = match case.base {
        Some(base) => sources.differences(base),
        None => sources,
    };
    let coefficients = on_the_sphere(&gram, &weights, case.shared("eps")).ok_or_else(|| {
        case.undefined("the models' directions cancel out, so they have no mean direction; change the weights")
    })?;
    Ok(case.sum(if case.base.is_some() { case.with_base(&coefficients) } else { coefficients }))
}

/// Coefficients of the result over the vectors of `gram`; `None` if three or more of them cancel out.
fn on_the_sphere(gram: &Gram, weights: &[f64], eps: f64) -> Option<Vec<f64>> {
    let n = gram.len();
    let length = |i: usize| gram.norm_of(i) + eps;
    let sum: Vec<f64> = (0..n).map(|i| weights[i] / length(i)).collect();
    let norm = gram.norm(&sum);
    if norm < eps {
        // Tensors that no fine-tune has touched differ from the base by nothing: any sum of such differences is nothing.
        let nothing = (0..n).all(|i| gram.norm_of(i) < eps);
        return (n == 2 || nothing).then(|| weights.to_vec());
    }
    let mean: Vec<f64> = sum.iter().map(|c| c / norm).collect();
    let along: f64 = (0..n).map(|i| weights[i] * gram.dot(i, &mean) / length(i)).sum();
    let tangent: Vec<f64> = (0..n).map(|i| sum[i] - along * mean[i]).collect();
    let angle = gram.norm(&tangent) + eps;
    let scale: f64 = (0..n).map(|i| weights[i] * gram.norm_of(i)).sum();
    Some((0..n).map(|i| scale * (mean[i] * angle.cos() + tangent[i] * angle.sin() / angle)).collect())
}
