//! `ram` and `ramplus_tl` (Yuan et al. 2601.13572): what several models change is averaged, what one alone changes stays whole.

use ggraft_kernels::{Program, Term};

use super::Case;
use crate::plan::PlanError;

/// The base plus the mean of the changes at each element.
pub(super) fn ram(case: &Case) -> Result<Program, PlanError> {
    Ok(overlap(case, |_| 1.0))
}

/// The same with a model's lone changes scaled up, the more so the more of its changes others make as well.
pub(super) fn ramplus_tl(case: &Case) -> Result<Program, PlanError> {
    let epsilon = case.shared("epsilon");
    let vectors: Vec<usize> = case.vectors().collect();
    let overlaps = case.statistics.overlaps(&case.against_base(&vectors), epsilon as f32);
    Ok(overlap(case, |i| {
        let [shared, alone] = overlaps[i];
        // The least and the greatest could cross, where `clamp` would panic.
        1.0 + case.shared("r") * (shared / alone.max(epsilon)).max(0.0).min(case.shared("alpha"))
    }))
}

/// `alone` gives the factor on what the task vector of this number alone changes.
fn overlap(case: &Case, alone: impl Fn(usize) -> f64) -> Program {
    let term = |(i, source): (usize, usize)| Term { source, coefficient: alone(i) as f32 };
    let vectors = case.vectors().enumerate().map(term).collect();
    Program::Overlap { base: case.base.unwrap_or(0), vectors, epsilon: case.shared("epsilon") as f32 }
}
