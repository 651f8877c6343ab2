//! From a method's parameters at one tensor to the kernel program: one small file per family, one row each in [`METHODS`].

use std::collections::BTreeMap;

use ggraft_kernels::{Program, Source};

use super::{PlanError, SourceRef, Statistics};

mod gram;
mod karcher;
mod linear;
mod multislerp;
mod slerp;
mod task_vectors;

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
    /// Elements of the tensor.
    pub elements: usize,
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
pub(super) const METHODS: &[(&str, Compile)] = &[
    ("linear", linear::linear),
    ("passthrough", linear::passthrough),
    ("slerp", slerp::slerp),
    ("multislerp", multislerp::multislerp),
    ("karcher", karcher::karcher),
    ("task_arithmetic", task_vectors::task_arithmetic),
    ("ties", task_vectors::ties),
    ("dare_linear", task_vectors::dare_linear),
    ("dare_ties", task_vectors::dare_ties),
];

impl Case<'_> {
    /// A parameter that the recipe stage has resolved; every one of the method's table is there.
    fn shared(&self, name: &str) -> f64 {
        self.shared[name]
    }

    fn parameter(&self, input: usize, name: &str) -> f64 {
        self.inputs[input].parameters[name]
    }

    /// `sum_i coefficients_i * W_i` over the real values, that is with the stored offset taken off and put back.
    fn sum(&self, coefficients: impl IntoIterator<Item = f64>) -> Program {
        let coefficients: Vec<f64> = coefficients.into_iter().collect();
        let constant = f64::from(self.offset) * (1.0 - coefficients.iter().sum::<f64>());
        let term = |(source, c): (usize, &f64)| ggraft_kernels::Term { source, coefficient: *c as f32 };
        Program::Sum { terms: coefficients.iter().enumerate().map(term).collect(), constant: constant as f32 }
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
