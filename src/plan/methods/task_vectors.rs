//! Generalised task arithmetic: what is dropped from the task vectors, and how they vote.
//!
//! `task_arithmetic` (Ilharco et al. 2212.04089), `ties` (Yadav et al. 2306.01708), `dare_*` (Yu et al. 2311.03099), `breadcrumbs*`
//! (Davari, Belilovsky 2312.06795), `della*` (Deep et al. 2406.11617).

use ggraft_kernels::stats::ratio;
use ggraft_kernels::{Keep, MaskKey, Program, Ranks, TaskVector, keep_threshold};

use super::Case;
use crate::plan::PlanError;
use crate::plan::statistics::{By, Found, Sources};
use crate::recipe::MAX_MODELS;

/// Weight sums below this are not divided by.
const NO_WEIGHT: f64 = 1e-8;

/// `b + lambda * sum w_i (W_i - b)`, which is a weighted sum of the models themselves.
pub(super) fn task_arithmetic(case: &Case) -> Result<Program, PlanError> {
    let weights: Vec<f64> = case.vectors().map(|i| case.parameter(i, "weight")).collect();
    let total: f64 = weights.iter().sum();
    let divisor = if case.shared("normalize") != 0.0 && total.abs() >= NO_WEIGHT { total } else { 1.0 };
    let scale = case.shared("lambda") / divisor;
    Ok(case.sum(case.with_base(&weights.iter().map(|w| scale * w).collect::<Vec<f64>>())))
}

/// Keeps the largest `density` of each task vector, then only what agrees with the elected sign.
pub(super) fn ties(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, true, largest)
}

/// Keeps a random `density` of each task vector.
pub(super) fn dare_linear(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, false, random)
}

/// Keeps a random `density` of each task vector, then only what agrees with the elected sign.
pub(super) fn dare_ties(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, true, random)
}

/// Keeps the largest `density` of each task vector behind the very largest.
pub(super) fn breadcrumbs(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, false, between)
}

/// Keeps the largest `density` of each task vector behind the very largest, then only what agrees with the elected sign.
pub(super) fn breadcrumbs_ties(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, true, between)
}

/// Keeps a random `density` of each task vector, larger entries of a row rather than smaller ones, then only what agrees with the
/// elected sign.
pub(super) fn della(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, true, ranked)
}

/// Keeps a random `density` of each task vector, larger entries of a row rather than smaller ones.
pub(super) fn della_linear(case: &Case) -> Result<Program, PlanError> {
    sparsified(case, false, ranked)
}

/// Thins out the task vector of an input to a density below 1: what is kept, and what rescales that, if it is to be rescaled.
type Thin = fn(case: &Case, input: usize, density: f64, rescale: bool) -> Result<(Keep, f32), PlanError>;

fn sparsified(case: &Case, consensus: bool, thin: Thin) -> Result<Program, PlanError> {
    let rescale = case.shared("rescale") != 0.0;
    let vector = |source: usize| {
        let density = case.parameter(source, "density");
        // A density of 1 keeps everything and leaves nothing to rescale.
        let (keep, rescale) = if density < 1.0 { thin(case, source, density, rescale)? } else { (Keep::All, 1.0) };
        Ok(TaskVector { source, weight: case.parameter(source, "weight") as f32, keep, rescale })
    };
    Ok(Program::TaskVectors {
        base: case.base.unwrap_or(0),
        vectors: case.vectors().map(vector).collect::<Result<_, PlanError>>()?,
        consensus,
        normalize: case.shared("normalize") != 0.0,
        lambda: case.shared("lambda") as f32,
    })
}

fn largest(case: &Case, input: usize, density: f64, rescale: bool) -> Result<(Keep, f32), PlanError> {
    if density <= 0.0 {
        return Ok((Keep::Nothing, 1.0));
    }
    let sources = case.against_base(&[input]);
    let found = case.statistics.cut(&sources, By::Magnitude, share(case, density).max(1));
    let factor = if rescale {
        let [kept, all] = l1(case, &sources, found);
        ratio(all, kept)
    } else {
        1.0
    };
    Ok((Keep::Largest(found.cut), factor))
}

/// Of the ascending order, `keep` elements from `bottom` on, where `top` lie above them if there is room for so many.
fn between(case: &Case, input: usize, density: f64, rescale: bool) -> Result<(Keep, f32), PlanError> {
    let (keep, top) = (share(case, density), share(case, case.parameter(input, "gamma")));
    if keep == 0 {
        return Ok((Keep::Nothing, 1.0));
    }
    let bottom = case.elements.saturating_sub(keep.saturating_add(top));
    let sources = case.against_base(&[input]);
    let outer = case.statistics.cut(&sources, By::Magnitude, case.elements - bottom);
    let inner = case.statistics.cut(&sources, By::Magnitude, case.elements - bottom - keep);
    let factor = if rescale {
        let [outer, all] = l1(case, &sources, outer);
        let [inner, _] = l1(case, &sources, inner);
        ratio(all, outer - inner)
    } else {
        1.0
    };
    Ok((Keep::Band { inner: inner.cut, outer: outer.cut }, factor))
}

fn random(case: &Case, input: usize, density: f64, rescale: bool) -> Result<(Keep, f32), PlanError> {
    if density <= 0.0 {
        return Ok((Keep::Nothing, 1.0));
    }
    Ok(case.statistics.random(&case.against_base(&[input]), key(case, input), None, density, rescale))
}

fn ranked(case: &Case, input: usize, density: f64, rescale: bool) -> Result<(Keep, f32), PlanError> {
    let epsilon = case.parameter(input, "epsilon");
    if density - epsilon <= 0.0 || density + epsilon >= 1.0 {
        return Err(case.undefined(format!(
            "probabilities from `density` - `epsilon` = {} to `density` + `epsilon` = {} must lie between 0 and 1; \
             use a smaller `epsilon`, or a `density` of 1 to keep everything",
            density - epsilon,
            density + epsilon
        )));
    }
    case.whole_rows()?;
    let ranks = Ranks { row: case.row, spread: keep_threshold(2.0 * epsilon) };
    let sources = case.against_base(&[input]);
    Ok(case.statistics.random(&sources, key(case, input), Some(ranks), density - epsilon, rescale))
}

/// Every input of every tensor, and of every slice of it, has a mask of its own.
fn key(case: &Case, input: usize) -> MaskKey {
    let (seed, tensor) = case.mask;
    MaskKey { seed, stream: [tensor, (case.slice * MAX_MODELS + input) as u32] }
}

/// This share of all elements, rounded down as mergekit does.
fn share(case: &Case, share: f64) -> usize {
    (share * case.elements as f64) as usize
}

/// The L1 norms of what a cut keeps, and of all.
fn l1(case: &Case, sources: &Sources, found: Found) -> [f64; 2] {
    case.statistics.sums(sources, By::Magnitude, found).map(|sums| sums[0])
}
