//! Vector algebra in the span of the sources: a vector is its coefficients over them, and their inner products give every length.

use super::Case;

/// Inner products of some vectors `v_i`: those of a whole tensor, or of one line of it.
pub(super) struct Gram {
    products: Vec<f64>,
    n: usize,
}

impl Gram {
    /// Of the sources themselves, stored offsets taken off.
    pub(super) fn of_sources(case: &Case) -> Self {
        let sources = case.sources();
        Self { products: case.statistics.gram(&sources, case.offset).to_vec(), n: sources.data.len() }
    }

    /// Of `n` sources in one line: the products of those with `i <= j`.
    pub(super) fn of_line(n: usize, pairs: &[f64]) -> Self {
        let at = |i: usize, j: usize| i * (2 * n - i + 1) / 2 + j - i;
        let products = (0..n * n).map(|k| pairs[at((k / n).min(k % n), (k / n).max(k % n))]).collect();
        Self { products, n }
    }

    /// Of the vectors' differences to the one at `base`, which is left out: (a - b)(c - b) = ac - ab - cb + bb.
    pub(super) fn differences(&self, base: usize) -> Self {
        let others: Vec<usize> = (0..self.n).filter(|i| *i != base).collect();
        let product = |i: usize, j: usize| self.at(i, j) - self.at(i, base) - self.at(j, base) + self.at(base, base);
        let products = others.iter().flat_map(|i| others.iter().map(|j| product(*i, *j))).collect();
        Self { products, n: others.len() }
    }

    /// The inner product of `v_i` and `v_j`.
    pub(super) fn at(&self, i: usize, j: usize) -> f64 {
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
