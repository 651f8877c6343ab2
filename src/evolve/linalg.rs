//! The few dense vector and matrix operations that the search needs: numbers in, numbers out.
//!
//! Vectors are slices, matrices are square, row-major slices. Nothing but `+ - * / sqrt` is used, in a fixed order, so
//! that results are the same on every platform.

/// Jacobi converges quadratically; ten sweeps are typical, this is the bound that makes termination certain.
const MAX_SWEEPS: usize = 60;

/// Eigenvalues and eigenvectors (as rows) of the symmetric n × n matrix `a`, by cyclic Jacobi rotations: accurate to
/// the last few bits of the largest eigenvalue (Golub & Van Loan, *Matrix Computations*, section 8.5).
pub(super) fn symmetric_eigen(a: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = a.to_vec();
    let mut v = identity(n);
    let total: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..MAX_SWEEPS {
        let off: f64 = (0..n).flat_map(|p| (0..p).map(move |q| (p, q))).map(|(p, q)| a[p * n + q].powi(2)).sum();
        // Below the rounding of the diagonal it no longer moves an eigenvalue. False for a matrix that is not finite.
        let matters = off > f64::EPSILON.powi(2) * 1e-4 * total;
        if !matters {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let apq = a[p * n + q];
                if apq == 0.0 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                rotate_columns(&mut a, n, p, q, c, t * c);
                rotate_rows(&mut a, n, p, q, c, t * c);
                rotate_rows(&mut v, n, p, q, c, t * c);
                // Zero by construction; the rounding left there would keep the sweeps from ending.
                (a[p * n + q], a[q * n + p]) = (0.0, 0.0);
            }
        }
    }
    (a.iter().step_by(n + 1).copied().collect(), v)
}

fn rotate_columns(a: &mut [f64], n: usize, p: usize, q: usize, c: f64, s: f64) {
    for row in a.chunks_exact_mut(n) {
        let (x, y) = (row[p], row[q]);
        row[p] = c * x - s * y;
        row[q] = s * x + c * y;
    }
}

fn rotate_rows(a: &mut [f64], n: usize, p: usize, q: usize, c: f64, s: f64) {
    let (head, tail) = a.split_at_mut(q * n);
    for (x, y) in head[p * n..(p + 1) * n].iter_mut().zip(&mut tail[..n]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

/// The n × n identity.
pub(super) fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

/// Inner product.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Euclidean length.
pub(super) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// `a *= factor`.
pub(super) fn scale(a: &mut [f64], factor: f64) {
    a.iter_mut().for_each(|a| *a *= factor);
}

/// `a += factor * b`.
pub(super) fn add_scaled(a: &mut [f64], factor: f64, b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += factor * b);
}

/// `matrix += factor * v vᵀ`. The product is formed first, so that the matrix stays symmetric to the last bit.
pub(super) fn add_outer(matrix: &mut [f64], factor: f64, v: &[f64]) {
    for (row, x) in matrix.chunks_exact_mut(v.len()).zip(v) {
        row.iter_mut().zip(v).for_each(|(m, y)| *m += factor * (x * y));
    }
}

/// The smallest and the largest value.
pub(super) fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
}

#[cfg(test)]
#[path = "linalg_tests.rs"]
mod tests;
