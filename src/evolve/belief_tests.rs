//! Comparisons against exact figures, other implementations and simulated searches.

use super::*;
use crate::evolve::TaskScore;
use crate::score::stats::mcnemar;

fn tested(name: &str, tasks: Vec<Vec<f64>>) -> Tested {
    let task = |items: Vec<f64>| TaskScore {
        task: "t".to_owned(),
        metric: "number".to_owned(),
        value: 0.0,
        stderr: 0.0,
        ci95: [0.0; 2],
        items,
    };
    let tasks = tasks.into_iter().map(task).collect();
    Tested { name: name.to_owned(), trial: Trial { tasks, ..Trial::nothing() } }
}

/// Right answers of `n`: `both`, then `own` alone, or the next `own` alone.
fn answers(n: usize, both: usize, own: std::ops::Range<usize>) -> Vec<f64> {
    (0..n).map(|q| f64::from(u8::from(q < both || own.contains(&q)))).collect()
}

#[test]
fn interval_is_that_of_the_paired_differences() {
    // 100 questions: the best wins 20 and loses 8. The normal interval of the mean difference is 0.12 ± 1.96 * sqrt(0.2656 / 100).
    let best = tested(BEST, vec![answers(100, 40, 40..60)]);
    let other = tested("other", vec![answers(100, 40, 60..68)]);
    let c = compare(&best, &other, &[1.0]);
    assert_eq!((c.won, c.lost), (20, 8));
    assert!((c.difference - 0.12).abs() < 1e-12);
    assert!((c.ci95[0] - 0.019).abs() < 0.011 && (c.ci95[1] - 0.221).abs() < 0.011, "{:?}", c.ci95);
    assert_eq!(c.p_value, mcnemar(20, 8));
    // The same as scores that are not right or wrong: the bootstrap decides, near the normal test's 0.020.
    let halves = |t: &Tested| tested(&t.name, vec![t.trial.tasks[0].items.iter().map(|x| x / 2.0).collect()]);
    let c = compare(&halves(&best), &halves(&other), &[1.0]);
    assert!((c.p_value - 0.020).abs() < 0.01, "{}", c.p_value);
    assert_eq!(c, compare(&halves(&best), &halves(&other), &[1.0]), "always the same draws");
}

#[test]
fn tasks_count_by_their_weights() {
    let best = tested(BEST, vec![vec![1.0; 10], vec![0.0; 20]]);
    let other = tested("other", vec![vec![0.0; 10], vec![1.0; 20]]);
    let c = compare(&best, &other, &[1.0, 0.25]);
    assert!((c.difference - 0.75).abs() < 1e-12 && c.ci95 == [0.75, 0.75], "{c:?}");
    assert!(c.p_value <= 3.0 / SAMPLES as f64);
    let shorter = tested("other", vec![vec![0.0; 10], vec![1.0; 19]]);
    assert!(compare(&best, &shorter, &[1.0, 0.25]).difference.is_nan(), "not the same questions");
}

#[test]
fn holms_correction_is_statsmodels() {
    // statsmodels 0.15: multipletests([0.01, 0.04, 0.03, 0.005], method="holm")[1].
    let mut comparisons: Vec<Comparison> = [0.01, 0.04, 0.03, 0.005]
        .into_iter()
        .map(|p_value| {
            let both = tested("x", vec![vec![1.0; 3]]);
            Comparison { p_value, ..compare(&both, &both, &[1.0]) }
        })
        .collect();
    adjust(&mut comparisons, 1);
    let adjusted: Vec<f64> = comparisons.iter().map(|c| c.p_adjusted).collect();
    for (ours, want) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
        assert!((ours - want).abs() < 1e-12, "{adjusted:?}");
    }
    adjust(&mut comparisons, 20);
    assert_eq!(comparisons[1].p_adjusted, 1.0);
}

#[test]
fn detectable_difference_is_found_in_four_of_five_simulated_tests() {
    let n = 300;
    let (best, other) = (tested(BEST, vec![answers(n, 120, 120..180)]), tested("o", vec![answers(n, 120, 180..204)]));
    let detectable = detectable(&best.trial, &other.trial, &[1.0], &best.trial);
    // Discordant are 84 of 300; shift them so that the true difference is the detectable one.
    let (discordant, mut rng) = (84.0 / n as f64, stream(5, 0));
    let (runs, mut found) = (600, 0);
    for _ in 0..runs {
        let (mut won, mut lost) = (0, 0);
        for _ in 0..n {
            let u = uniform(&mut rng);
            won += usize::from(u < (discordant + detectable) / 2.0);
            lost += usize::from((1.0 - u) < (discordant - detectable) / 2.0);
        }
        found += usize::from(mcnemar(won, lost) < 0.05);
    }
    let power = f64::from(found as u32) / f64::from(runs as u32);
    assert!((0.72..0.88).contains(&power), "{power} at {detectable}");
}

#[test]
fn a_result_is_called_better_worse_or_neither() {
    let told = |best: Vec<f64>, parent: Vec<f64>| {
        let (best, parent) = (tested(BEST, vec![best]), tested("a.gguf", vec![parent]));
        let search_detectable = detectable(&best.trial, &parent.trial, &[1.0], &best.trial);
        let belief = Belief {
            comparisons: vec![compare(&best, &parent, &[1.0])],
            best_parent: 0,
            candidates: 9,
            finalists: 2,
            looks: 1,
            search_questions: 40,
            search_detectable,
            test_detectable: search_detectable,
            warnings: Vec::new(),
        };
        (warnings(&belief).join("\n"), belief.to_string())
    };
    let (good, bad) = (answers(40, 30, 0..0), answers(40, 5, 0..0));
    assert_eq!(told(good.clone(), bad.clone()).0, "");
    let worse = told(bad, good.clone()).0;
    assert_eq!(worse, "`a.gguf` is better than the best recipe: the difference is -0.625, corrected p = 6.0e-8");
    let (same, basis) = told(good.clone(), good);
    assert_eq!(
        same,
        "nothing shows that the best recipe beats `a.gguf`: the difference is +0.000, corrected p = 1.000"
    );
    assert!(!basis.contains("can show"), "as many answers say nothing of how far apart two models can be: {basis}");
}
