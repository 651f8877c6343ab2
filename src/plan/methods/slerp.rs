//! `slerp`: from the base (t = 0) to the other model (t = 1) along the arc between them.

use ggraft_kernels::Program;

use super::Case;
use super::gram::Gram;
use crate::plan::PlanError;

/// Above this cosine the arc is taken for a line.
const COLINEAR: f64 = 0.9995;
/// Norms up to this count as zero.
const NO_NORM: f64 = 1e-8;

/// With the angle between the flattened tensors, both of them unnormalised in the result; plain interpolation where they are colinear.
pub(super) fn slerp(case: &Case) -> Result<Program, PlanError> {
    let t = case.shared("t");
    let base = case.base.unwrap_or(0);
    let gram = Gram::of_sources(case);
    let norm = |i: usize| Some(gram.norm_of(i)).filter(|n| *n > NO_NORM).unwrap_or(1.0);
    let cosine = (gram.dot(0, &[0.0, 1.0]) / (norm(0) * norm(1))).clamp(-1.0, 1.0);
    let (at_base, at_other) = if cosine.abs() > COLINEAR {
        (1.0 - t, t)
    } else {
        let angle = cosine.acos();
        (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
    };
    Ok(case.sum((0..2).map(|i| if i == base { at_base } else { at_other })))
}
