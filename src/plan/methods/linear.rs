//! `linear`: a weighted average (Wortsman et al. 2203.05482). `passthrough`: one source, perhaps scaled.

use ggraft_kernels::Program;

use super::Case;
use crate::plan::PlanError;

/// `sum w_i W_i`, divided by `sum w_i` if `normalize`.
pub(super) fn linear(case: &Case) -> Result<Program, PlanError> {
    let weights: Vec<f64> = (0..case.inputs.len()).map(|i| case.parameter(i, "weight")).collect();
    let divisor = if case.shared("normalize") != 0.0 { weights.iter().sum() } else { 1.0 };
    if divisor == 0.0 {
        return Err(
            case.undefined("the weights sum to 0, so their average is undefined; change one or set `normalize: false`")
        );
    }
    if !divisor.is_finite() {
        return Err(
            case.undefined(format!("the weights sum to {divisor}, so all of them would count as 0; use smaller ones"))
        );
    }
    Ok(case.sum(weights.iter().map(|w| w / divisor)))
}

/// The source times `scale`.
pub(super) fn passthrough(case: &Case) -> Result<Program, PlanError> {
    Ok(case.sum([case.parameter(0, "scale")]))
}
