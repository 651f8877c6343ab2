//! The eigendecomposition against matrices whose answer is known.

use super::*;

fn reconstruct(values: &[f64], axes: &[f64]) -> Vec<f64> {
    let mut a = vec![0.0; axes.len()];
    for (axis, value) in axes.chunks_exact(values.len()).zip(values) {
        add_outer(&mut a, *value, axis);
    }
    a
}

fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= tolerance, "{x} is not {y}");
    }
}

#[test]
fn two_by_two_has_the_textbook_eigenvalues() {
    let (mut values, axes) = symmetric_eigen(&[2.0, 1.0, 1.0, 2.0], 2);
    assert_close(&reconstruct(&values, &axes), &[2.0, 1.0, 1.0, 2.0], 1e-15);
    values.sort_by(f64::total_cmp);
    assert_close(&values, &[1.0, 3.0], 1e-15);
}

#[test]
fn second_difference_matrix_has_its_cosine_spectrum() {
    let n = 60usize;
    let a: Vec<f64> = (0..n * n)
        .map(|i| match (i / n).abs_diff(i % n) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        })
        .collect();
    let (mut values, axes) = symmetric_eigen(&a, n);
    assert_close(&reconstruct(&values, &axes), &a, 1e-13);
    for (i, x) in axes.chunks_exact(n).enumerate() {
        for (j, y) in axes.chunks_exact(n).enumerate() {
            assert!((dot(x, y) - f64::from(u8::from(i == j))).abs() < 1e-13, "axes {i} and {j}");
        }
    }
    values.sort_by(f64::total_cmp);
    let known: Vec<f64> =
        (1..=n).map(|k| 2.0 - 2.0 * (std::f64::consts::PI * k as f64 / (n as f64 + 1.0)).cos()).collect();
    assert_close(&values, &known, 1e-13);
}

#[test]
fn equal_and_zero_eigenvalues_are_found() {
    // A projection on (1, 2, 3): eigenvalue 14 once, 0 twice.
    let mut a = vec![0.0; 9];
    add_outer(&mut a, 1.0, &[1.0, 2.0, 3.0]);
    let (mut values, _) = symmetric_eigen(&a, 3);
    values.sort_by(f64::total_cmp);
    assert_close(&values, &[0.0, 0.0, 14.0], 1e-14);
    let (values, axes) = symmetric_eigen(&identity(3), 3);
    assert_eq!((values, axes), (vec![1.0; 3], identity(3)));
}

#[test]
fn a_matrix_that_is_not_finite_is_given_up_at_once() {
    let a = [1.0, f64::NAN, f64::NAN, 2.0];
    assert_eq!(symmetric_eigen(&a, 2), (vec![1.0, 2.0], identity(2)));
    let a = [1.0, f64::INFINITY, f64::INFINITY, 2.0];
    assert_eq!(symmetric_eigen(&a, 2), (vec![1.0, 2.0], identity(2)));
}

#[test]
fn a_condition_number_of_1e14_is_resolved() {
    // diag(1, 1e-14) turned by 30 degrees.
    let (c, s) = (0.75f64.sqrt(), 0.5);
    let mut a = vec![0.0; 4];
    add_outer(&mut a, 1.0, &[c, s]);
    add_outer(&mut a, 1e-14, &[-s, c]);
    let (mut values, _) = symmetric_eigen(&a, 2);
    values.sort_by(f64::total_cmp);
    assert_close(&values, &[1e-14, 1.0], 1e-15);
}
