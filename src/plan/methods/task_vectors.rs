//! Generalised task arithmetic: `task_arithmetic` (Ilharco et al. 2212.04089), `ties` (Yadav et al. 2306.01708), `dare_linear` and
//! `dare_ties` (Yu et al. 2311.03099) differ in what they drop from the task vectors and in how these vote.

use ggraft_kernels::{Keep, MaskKey, Program, TaskVector, keep_threshold, stats};

use super::Case;
use crate::ggml::CODECS;
use crate::plan::PlanError;

/// Weight sums below this are not divided by.
const NO_WEIGHT: f64 = 1e-8;

/// `b + lambda * sum w_i (W_i - b)`, which is a weighted sum of the models themselves.
pub(super) fn task_arithmetic(case: &Case) -> Result<Program, PlanError> {
    let vectors: Vec<usize> = vectors(case).collect();
    let total: f64 = vectors.iter().map(|i| case.parameter(*i, "weight")).sum();
    let divisor = if case.shared("normalize") != 0.0 && total.abs() >= NO_WEIGHT { total } else { 1.0 };
    let scale = case.shared("lambda") / divisor;
    Ok(case.sum(
        (0..case.inputs.len())
            .map(|i| if Some(i) == case.base { 1.0 - scale * total } else { scale * case.parameter(i, "weight") }),
    ))
}

/// Keeps the largest `density` of each task vector, then only what agrees with the elected sign.
pub(super) fn ties(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, true, |input, density| {
        let (base, other) = (&case.inputs[case.base.unwrap_or(0)], &case.inputs[input]);
        let k = if density <= 0.0 { 0 } else { ((density * case.elements as f64) as usize).max(1) };
        case.statistics.largest([base.source, other.source], [&base.data, &other.data], case.elements, k)
    })
}

/// Keeps a random `density` of each task vector.
pub(super) fn dare_linear(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, false, |input, density| random(case, input, density))
}

/// Keeps a random `density` of each task vector, then only what agrees with the elected sign.
pub(super) fn dare_ties(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, true, |input, density| random(case, input, density))
}

fn random(case: &Case, input: usize, density: f64) -> Keep {
    let (seed, tensor) = case.mask;
    let key = MaskKey { seed, stream: [tensor, input as u32] };
    Keep::Random { key, threshold: keep_threshold(density) }
}

fn sparsified(case: &Case, consensus: bool, sparsify: impl Fn(usize, f64) -> Keep) -> Result<Program, PlanError> {
    let base = case.base.unwrap_or(0);
    let vector = |source: usize| {
        let density = case.parameter(source, "density");
        // A density of 1 keeps everything and leaves nothing to rescale.
        let keep = if density < 1.0 { sparsify(source, density) } else { Keep::All };
        let rescale = if keep != Keep::All && case.shared("rescale") != 0.0 {
            stats::rescale(&case.inputs[base].data, &case.inputs[source].data, case.elements, keep, &CODECS)
        } else {
            1.0
        };
        TaskVector { source, weight: case.parameter(source, "weight") as f32, keep, rescale }
    };
    Ok(Program::TaskVectors {
        base,
        vectors: vectors(case).map(vector).collect(),
        consensus,
        normalize: case.shared("normalize") != 0.0,
        lambda: case.shared("lambda") as f32,
    })
}

/// Positions of the sources that are not the base.
fn vectors(case: &Case) -> impl Iterator<Item = usize> {
    (0..case.inputs.len()).filter(|i| Some(*i) != case.base)
}
