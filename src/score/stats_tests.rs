//! Known answers: published intervals, and values of scipy 1.17.1 and of exact rational arithmetic.

use super::*;

fn assert_close(ours: f64, known: f64, relative: f64) {
    assert!((ours - known).abs() <= relative * known.abs(), "{ours} is not {known}");
}

#[test]
fn wilson_is_newcombes_table() {
    // Newcombe 1998, table I, method 3.
    for (correct, n, low, high) in
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
    {
        let [ours_low, ours_high] = wilson(correct, n);
        assert!((ours_low - low).abs() < 5e-5 && (ours_high - high).abs() < 5e-5, "{correct}/{n}");
    }
}

#[test]
fn wilson_agrees_with_scipy_to_the_last_digits() {
    let [low, high] = wilson(130, 250);
    assert_close(low, 0.4582370772520494, 1e-14);
    assert_close(high, 0.5811575907681328, 1e-14);
}

#[test]
fn wilson_ends_exactly_at_zero_and_one() {
    assert_eq!(wilson(0, 20)[0], 0.0);
    assert_eq!(wilson(250, 250)[1], 1.0);
    assert_close(wilson(250, 250)[0], 0.9848667005045555, 1e-14);
    assert_eq!(wilson(0, 0), [0.0, 1.0]);
    assert_eq!(wilson(9, 5), wilson(5, 5), "more correct than asked counts as all");
}

#[test]
fn wilson_holds_the_value_and_mirrors() {
    for n in [1, 2, 7, 100, 1_000_000] {
        for correct in [0, 1, n / 3, n / 2, n] {
            let [low, high] = wilson(correct, n);
            let p = correct as f64 / n as f64;
            assert!(0.0 <= low && low <= p && p <= high && high <= 1.0, "{correct}/{n}: {low} {high}");
            let [mirrored, _] = wilson(n - correct, n);
            assert!((1.0 - mirrored - high).abs() < 1e-12);
        }
    }
}

#[test]
fn one_standard_error_on_250_questions_is_3_points() {
    let estimate = accuracy(130, 250);
    assert_eq!((estimate.value, estimate.n), (0.52, 250));
    assert_close(estimate.stderr, 0.0316608, 1e-5);
    assert_eq!(estimate.ci95, wilson(130, 250));
}

#[test]
fn accuracy_is_the_mean_of_zeros_and_ones() {
    let values: Vec<f64> = (0..40).map(|i| f64::from(u8::from(i % 5 == 0))).collect();
    let (counted, averaged) = (accuracy(8, 40), mean(&values));
    assert_close(counted.value, averaged.value, 1e-15);
    assert_close(counted.stderr, averaged.stderr, 1e-14);
}

#[test]
fn mean_has_the_sample_standard_error() {
    let estimate = mean(&[1.5, 2.0, 4.0, 3.5, 0.5]);
    assert_close(estimate.value, 2.3, 1e-15);
    assert_close(estimate.stderr, 0.6442049363362562, 1e-14);
    assert_close(estimate.ci95[0], 2.3 - 1.959963984540054 * 0.6442049363362562, 1e-14);
    assert_close(estimate.ci95[1], 2.3 + 1.959963984540054 * 0.6442049363362562, 1e-14);
}

#[test]
fn one_question_has_no_standard_error() {
    let one = mean(&[0.5]);
    assert_eq!(one.value, 0.5);
    assert!(one.stderr.is_nan() && one.ci95[0].is_nan());
    assert!(accuracy(1, 1).stderr.is_nan());
    assert_close(accuracy(1, 1).ci95[0], 0.20654931437723745, 1e-12);
    assert!(mean(&[]).value.is_nan() && accuracy(0, 0).value.is_nan());
}

#[test]
fn perplexity_weighs_texts_by_their_tokens() {
    let estimate = perplexity(&[(10.0, 8), (30.0, 20), (7.0, 7), (21.0, 12)]);
    assert_close(estimate.value, 4.249530518666202, 1e-14);
    assert_close(estimate.stderr, 0.5387648629821115, 1e-13);
    assert_close(estimate.ci95[0], 3.3145436389307954, 1e-13);
    assert_close(estimate.ci95[1], 5.448264254834413, 1e-13);
    // A uniform model over 674 tokens has perplexity 674 whatever the texts, with no uncertainty.
    let uniform = perplexity(&[(674f64.ln() * 3.0, 3), (674f64.ln() * 50.0, 50)]);
    assert_close(uniform.value, 674.0, 1e-13);
    assert!(uniform.stderr < 1e-10);
}

#[test]
fn mcnemar_agrees_with_exact_arithmetic() {
    for (won, lost, p) in [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (1, 1, 1.0),
        (5, 0, 0.0625),
        (6, 1, 0.125),
        (10, 2, 0.03857421875),
        (77, 24, 1.1806803494439654e-7),
        (1200, 1000, 2.1817026407914712e-5),
        (5000, 4800, 0.04440414879984629),
        (3000, 1000, 2.4915145386299067e-229),
        (10000, 7000, 1.1279045110603183e-117),
    ] {
        assert_close(mcnemar(won, lost), p, 1e-10);
        assert_eq!(mcnemar(lost, won), mcnemar(won, lost));
    }
}

#[test]
fn mcnemar_stays_stable_for_a_million_questions() {
    // scipy.stats.binomtest(498000, 998000).pvalue
    assert_close(mcnemar(500_000, 498_000), 0.04539211989150193, 1e-7);
    assert_eq!(mcnemar(400_000, 400_000), 1.0);
    assert_eq!(mcnemar(1_000_000, 0), 0.0);
}

#[test]
fn paired_counts_questions_not_scores() {
    let first = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0];
    let second = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    let comparison = paired(&first, &second).unwrap();
    assert_eq!(comparison, Paired { won: 3, lost: 1, tied: 2, p_value: 0.625 });
    assert_eq!(paired(&first, &second[1..]), None);
    assert_eq!(paired(&[], &[]), Some(Paired { won: 0, lost: 0, tied: 0, p_value: 1.0 }));
}
