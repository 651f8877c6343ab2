//! From a method's parameters at one tensor to the kernel program: one small file per family, one row each in [`METHODS`].

use std::collections::BTreeMap;

use ggraft_kernels::{LineTerm, Lines, Program, Source, Term};

use super::statistics::{Sources, Statistics};
use super::{PlanError, SourceRef};

mod gram;
mod karcher;
mod linear;
mod model_stock;
mod multislerp;
mod nuslerp;
mod pairs;
mod ram;
mod sce;
mod slerp;
mod task_vectors;

use gram::Gram;

/// One tensor as a method sees it.
pub(super) struct Case<'a> {
    /// Name of the output tensor.
    pub tensor: &'a str,
    /// Its sources in the recipe's order; programs name them by position here.
    pub inputs: Vec<Input<'a>>,
    /// Position of the base model, for methods that have one.
    pub base: Option<usize>,
    /// Parameters that are one for all sources.
    pub shared: &'a BTreeMap<&'static str, f64>,
    /// Elements of the tensor, or of its slice.
    pub elements: usize,
    /// Elements of a row.
    pub row: usize,
    /// Slices that the tensor has: experts stacked on each other, each of which is merged as a tensor of its own.
    pub slices: usize,
    /// Which of them this is.
    pub slice: usize,
    /// What the parents store on top of the real values: 1 for the norms of some architectures.
    pub offset: f32,
    /// Seed and number of the tensor, for random masks.
    pub mask: ([u32; 2], u32),
    /// Numbers about the parents.
    pub statistics: &'a Statistics,
}

/// One source of a tensor.
pub(super) struct Input<'a> {
    /// Which tensor it is.
    pub source: SourceRef,
    /// Its bytes.
    pub data: Source<'a>,
    /// This source's own parameters.
    pub parameters: BTreeMap<&'static str, f64>,
}

/// Writes the program of one tensor.
type Compile = fn(&Case) -> Result<Program, PlanError>;

/// Every method of [`crate::recipe::METHODS`], by name.
const METHODS: &[(&str, Compile)] = &[
    ("linear", linear::linear),
    ("slerp", slerp::slerp),
    ("nuslerp", nuslerp::nuslerp),
    ("multislerp", multislerp::multislerp),
    ("karcher", karcher::karcher),
    ("task_arithmetic", task_vectors::task_arithmetic),
    ("ties", task_vectors::ties),
    ("dare_linear", task_vectors::dare_linear),
    ("dare_ties", task_vectors::dare_ties),
    ("breadcrumbs", task_vectors::breadcrumbs),
    ("breadcrumbs_ties", task_vectors::breadcrumbs_ties),
    ("della", task_vectors::della),
    ("della_linear", task_vectors::della_linear),
    ("model_stock", model_stock::model_stock),
    ("sce", sce::sce),
    ("nearswap", pairs::nearswap),
    ("arcee_fusion", pairs::arcee_fusion),
    ("passthrough", linear::passthrough),
    ("ram", ram::ram),
    ("ramplus_tl", ram::ramplus_tl),
];

/// Longest row that methods which look at whole rows take.
const MAX_ROW: usize = 1 << 26;

/// The program of one tensor by the method called `name`: one for each slice, unless they do not differ.
///
/// # Errors
/// [`PlanError::Undefined`] if these parameters have no result.
pub(super) fn compile(name: &str, case: &Case) -> Result<Program, PlanError> {
    let (_, compile) = METHODS.iter().find(|(n, _)| *n == name).expect("a test holds the two tables together");
    if case.slices == 1 {
        return compile(case);
    }
    let parts = (0..case.slices).map(|slice| compile(&case.part(slice))).collect::<Result<Vec<_>, _>>()?;
    Ok(match &parts[..] {
        // Other programs can be equal and still count from the start of their slices.
        [first @ Program::Sum { .. }, others @ ..] if others.iter().all(|other| other == first) => first.clone(),
        _ => Program::Slices { elements: case.elements / case.slices, programs: parts },
    })
}

impl<'a> Case<'a> {
    /// One slice as a tensor of its own.
    fn part(&self, slice: usize) -> Self {
        let elements = self.elements / self.slices;
        let range = slice * elements..(slice + 1) * elements;
        let part = |input: &Input<'a>| Input {
            source: input.source,
            data: input.data.part(range.clone()),
            parameters: input.parameters.clone(),
        };
        Self { inputs: self.inputs.iter().map(part).collect(), elements, slices: 1, slice, ..*self }
    }

    /// A parameter that the recipe stage has resolved; every one of the method's table is there.
    fn shared(&self, name: &str) -> f64 {
        self.shared[name]
    }

    fn parameter(&self, input: usize, name: &str) -> f64 {
        self.inputs[input].parameters[name]
    }

    /// Positions of the inputs that are not the base.
    fn vectors(&self) -> impl Iterator<Item = usize> {
        let base = self.base;
        (0..self.inputs.len()).filter(move |i| Some(*i) != base)
    }

    /// Whether the tensor is one row.
    fn is_vector(&self) -> bool {
        self.row == self.elements
    }

    /// Refuses rows that nobody could hold a few copies of.
    fn whole_rows(&self) -> Result<(), PlanError> {
        if self.row <= MAX_ROW {
            return Ok(());
        }
        Err(self.undefined(format!("its rows have {} elements; this method takes up to {MAX_ROW}", self.row)))
    }

    /// All inputs, for a look at them.
    fn sources(&self) -> Sources<'a> {
        self.some(0..self.inputs.len())
    }

    /// The base and these inputs.
    fn against_base(&self, vectors: &[usize]) -> Sources<'a> {
        self.some(self.base.into_iter().chain(vectors.iter().copied()))
    }

    fn some(&self, inputs: impl Iterator<Item = usize>) -> Sources<'a> {
        let (refs, data) = inputs.map(|i| (self.inputs[i].source, self.inputs[i].data.clone())).unzip();
        Sources { refs, data, slice: self.slice, elements: self.elements, row: self.row }
    }

    /// Coefficients over all inputs of `b + sum_i vectors_i * (W_i - b)`.
    fn with_base(&self, vectors: &[f64]) -> Vec<f64> {
        let rest = 1.0 - vectors.iter().sum::<f64>();
        let mut own = vectors.iter().copied();
        (0..self.inputs.len()).map(|i| if Some(i) == self.base { rest } else { own.next().unwrap_or(0.0) }).collect()
    }

    /// `sum_i coefficients_i * W_i` over the real values, that is with the stored offset taken off and put back.
    fn sum(&self, coefficients: impl IntoIterator<Item = f64>) -> Program {
        let coefficients: Vec<f64> = coefficients.into_iter().collect();
        let constant = f64::from(self.offset) * (1.0 - coefficients.iter().sum::<f64>());
        let term = |(source, c): (usize, &f64)| Term { source, coefficient: *c as f32 };
        Program::Sum { terms: coefficients.iter().enumerate().map(term).collect(), constant: constant as f32 }
    }

    /// A sum for each line of a matrix, with the coefficients that `of` finds in the line's inner products.
    fn line_sum(&self, lines: Lines, of: impl Fn(&Gram) -> Vec<f64>) -> Result<Program, PlanError> {
        self.whole_rows()?;
        let n = self.inputs.len();
        let products = self.statistics.line_grams(&self.sources(), lines);
        let coefficients: Vec<Vec<f64>> =
            products.chunks(n * (n + 1) / 2).map(|pairs| of(&Gram::of_line(n, pairs))).collect();
        let term = |source: usize| LineTerm {
            source,
            coefficients: coefficients.iter().map(|line| line[source] as f32).collect(),
        };
        Ok(Program::LineSum { terms: (0..n).map(term).collect(), lines, row: self.row })
    }

    fn undefined(&self, problem: impl Into<String>) -> PlanError {
        PlanError::Undefined { tensor: self.tensor.to_owned(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_method_of_the_table_compiles() {
        let compiled: Vec<&str> = super::METHODS.iter().map(|(name, _)| *name).collect();
        let specified: Vec<&str> = crate::recipe::METHODS.iter().map(|m| m.name).collect();
        assert!(specified.iter().all(|name| compiled.contains(name)), "{specified:?} but only {compiled:?}");
        assert_eq!(compiled.len(), specified.len());
    }
}
