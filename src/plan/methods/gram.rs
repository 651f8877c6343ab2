//! Vector algebra in the span of the sources: a vector is its coefficients over them, and their inner products give every length.

use super::Case;

/// Inner products of some vectors `v_i` of one tensor.
pub(super) struct Gram {
    products: Vec<f64>,
    n: usize,
}

impl Gram {
    /// Of the sources themselves, stored offsets taken off.
    pub(super) fn of_sources(case: &Case) -> Self {
        let refs: Vec<_> = case.inputs.iter().map(|i| i.source).collect();
        let sources: Vec<_> = case.inputs.iter().map(|i| i.data.clone()).collect();
        let products = case.statistics.gram(&refs, &sources, case.elements, case.offset);
        Self { products, n: sources.len() }
    }

    /// Of the sources' differences to the one at `base`, which is left out: (a - b)(c - b) = ac - ab - cb + bb.
    pub(super) fn of_differences(case: &Case, base: usize) -> Self {
        let of = Self::of_sources(case);
        let others: Vec<usize> = (0..of.n).filter(|i| *i != base).collect();
        let product = |i: usize, j: usize| of.at(i, j) - of.at(i, base) - of.at(j, base) + of.at(base, base);
        let products = others.iter().flat_map(|i| others.iter().map(|j| product(*i, *j))).collect();
        Self { products, n: others.len() }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.products[i * self.n + j]
    }

    /// How many vectors there are.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// Length of `v_i`.
    pub(super) fn norm_of(&self, i: usize) -> f64 {
        // Rounding can push the square of a tiny difference below zero.
        self.at(i, i).max(0.0).sqrt()
    }

    /// `v_i` times the vector with these coefficients.
    pub(super) fn dot(&self, i: usize, coefficients: &[f64]) -> f64 {
        (0..self.n).map(|j| self.at(i, j) * coefficients[j]).sum()
    }

    /// Length of the vector with these coefficients.
    pub(super) fn norm(&self, coefficients: &[f64]) -> f64 {
        (0..self.n).map(|i| coefficients[i] * self.dot(i, coefficients)).sum::<f64>().max(0.0).sqrt()
    }
}
