//! `sce` (Wan et al. 2408.07990): select the elements on which the models differ most, calculate each model's share from what is
//! selected, erase what disagrees with the elected sign.

use ggraft_kernels::{Cut, Program, Term};

use super::Case;
use super::gram::Gram;
use crate::plan::PlanError;
use crate::plan::statistics::By;

/// Mean squares that sum to less than this give all models the same share; those of real fine-tunes often do.
const NO_POWER: f64 = 1e-6;

/// The base plus the average of the selected task vectors, element by element those that agree.
pub(super) fn sce(case: &Case) -> Result<Program, PlanError> {
    let base = case.base.unwrap_or(0);
    let vectors: Vec<usize> = case.vectors().collect();
    let topk = case.shared("select_topk");
    let (select, squares) = if topk < 1.0 {
        let sources = case.against_base(&vectors);
        let k = (topk * case.statistics.positive(&sources, By::Variance) as f64) as usize;
        let found = case.statistics.cut(&sources, By::Variance, k);
        (found.cut, case.statistics.sums(&sources, By::Variance, found)[0].clone())
    } else {
        let gram = Gram::of_sources(case).differences(base);
        (Cut::ALL, (0..gram.len()).map(|i| gram.at(i, i).max(0.0)).collect())
    };
    if select == Cut::NOTHING {
        return Ok(case.sum((0..case.inputs.len()).map(|i| f64::from(u8::from(i == base)))));
    }
    let total = squares.iter().sum::<f64>() / case.elements as f64;
    let share = |square: f64| {
        if total < NO_POWER { 1.0 / vectors.len() as f64 } else { square / case.elements as f64 / total }
    };
    let term = |(source, square): (&usize, &f64)| Term { source: *source, coefficient: share(*square) as f32 };
    Ok(Program::Elected { base, vectors: vectors.iter().zip(&squares).map(term).collect(), select })
}
