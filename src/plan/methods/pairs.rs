//! Methods of a base and one other model, element by element: `nearswap` and `arcee_fusion`.

use ggraft_kernels::Program;

use super::Case;
use crate::plan::PlanError;

/// Swaps in what is within `t` of the base; what is further away counts for less.
pub(super) fn nearswap(case: &Case) -> Result<Program, PlanError> {
    let (base, source) = pair(case);
    Ok(Program::Near { base, source, t: case.shared("t") as f32 })
}

/// Takes the other model's elements of outstanding importance: a difference times how far its row's softmax is from the base's.
///
/// The norms of some architectures are stored plus one, which changes neither differences nor softmax.
pub(super) fn arcee_fusion(case: &Case) -> Result<Program, PlanError> {
    let (base, source) = pair(case);
    case.whole_rows()?;
    let (divergences, [low, median, high]) = case.statistics.importance(&case.against_base(&[source]));
    let threshold = (median + 1.5 * (high - low)) as f32;
    Ok(Program::Important { base, source, row: case.row, divergences, threshold })
}

/// The positions of the base and of the other model.
fn pair(case: &Case) -> (usize, usize) {
    let base = case.base.unwrap_or(0);
    (base, 1 - base)
}
