//! What scores are called, how they read, and how sure they are.

use std::fs;

use super::*;
use crate::score::stats::{Estimate, perplexity, ratio};
use crate::score::{BITS_PER_BYTE, PERPLEXITY, accuracy};

fn score(metric: &str, estimate: Estimate) -> TaskScore {
    let Estimate { value, stderr, ci95, .. } = estimate;
    TaskScore { task: "t".to_owned(), metric: metric.to_owned(), value, stderr, ci95, items: Vec::new() }
}

#[test]
fn a_perplexity_is_as_unsure_in_a_sum_as_its_logarithm() {
    let texts = [(10.0, 8), (30.0, 20), (7.0, 7), (21.0, 12)];
    let right = score("number", Estimate { value: 0.6, stderr: 0.05, ci95: [0.5, 0.7], n: 100 });
    let (weights, logarithm) = ([1.0, 0.5], ratio(&texts));
    let fitness = right.value - 0.5 * logarithm.value;
    let both = Trial { fitness, tasks: vec![right, score(PERPLEXITY, perplexity(&texts))], ..trial(0.0, vec![]) };
    let half = (0.1f64.powi(2) + (0.5 * 1.96 * logarithm.stderr).powi(2)).sqrt();
    let (value, [low, high]) = both.summary(&weights);
    assert_eq!(value, fitness);
    assert!((low - (fitness - half)).abs() < 1e-4 && (high - (fitness + half)).abs() < 1e-4, "{low} – {high}");
    assert_eq!(both.fitness_ci95(&weights), [low, high]);
}

#[test]
fn the_fitness_of_one_task_is_as_unsure_as_the_task() {
    let estimate = perplexity(&[(10.0, 8), (30.0, 20), (7.0, 7)]);
    let fitness = -2.0 * estimate.value.ln();
    let one = Trial { fitness, tasks: vec![score(PERPLEXITY, estimate)], ..trial(0.0, vec![]) };
    assert_eq!(one.summary(&[2.0]), (estimate.value, estimate.ci95));
    let [low, high] = one.fitness_ci95(&[2.0]);
    for (end, perplexity) in [(low, estimate.ci95[1]), (high, estimate.ci95[0])] {
        assert!((end - -2.0 * perplexity.ln()).abs() < 1e-4, "{end}");
    }
    // Not symmetric, as that of a share near one of its ends.
    let right = score("number", Estimate { value: 0.9, stderr: 0.05, ci95: [0.7, 0.96], n: 20 });
    let one = Trial { fitness: 1.8, tasks: vec![right], ..trial(0.0, vec![]) };
    let [low, high] = one.fitness_ci95(&[2.0]);
    assert!((low - 1.4).abs() < 1e-12 && (high - 1.92).abs() < 1e-12, "{low} – {high}");
    // Nor nothing where every answer is right: 20 of 20 are 0.839 to 1 by Wilson's interval.
    let all = || score("number", accuracy(&[1.0; 20]));
    let two = Trial { fitness: 1.0, tasks: vec![all(), all()], ..trial(0.0, vec![]) };
    let [low, high] = two.fitness_ci95(&[0.5, 0.5]);
    assert!((low - (1.0 - 0.1611 * 0.5f64.sqrt())).abs() < 1e-3 && (high - 1.0).abs() < 1e-12, "{low} – {high}");
    let [low, high] = Trial { fitness: 0.0, ..two }.fitness_ci95(&[1.0, -1.0]);
    assert!((low + 0.1611).abs() < 1e-3 && (high - 0.1611).abs() < 1e-3, "{low} – {high}");
}

/// A metric's value of a height.
type Value = fn(f64) -> f64;

/// [`Landscape`] in another metric.
struct Told {
    metric: &'static str,
    value: Value,
    landscape: Landscape,
}

impl Told {
    fn told(&self, mut trial: Trial) -> Trial {
        for task in &mut trial.tasks {
            task.metric = self.metric.to_owned();
            task.value = (self.value)(trial.fitness);
        }
        trial
    }
}

impl Scorer for Told {
    fn recipe(&mut self, recipe: &Recipe, questions: &Questions) -> Result<Trial, EvolveError> {
        self.landscape.recipe(recipe, questions).map(|trial| self.told(trial))
    }

    fn parent(&mut self, model: usize, questions: &Questions) -> Result<Trial, EvolveError> {
        self.landscape.parent(model, questions).map(|trial| self.told(trial))
    }
}

#[test]
fn what_is_better_when_lower_is_told_as_itself() {
    let cases: [(&str, Value, &str, &str); 3] = [
        ("number", |height| height, "search score", "search score: share of right answers"),
        (PERPLEXITY, |height| (-height).exp(), "search perplexity", "search perplexity, better further up"),
        (BITS_PER_BYTE, |height| -height, "search bits per byte", "search bits per byte, better further up"),
    ];
    for (metric, value, name, axis) in cases {
        let (config, folder) = (config(""), folder());
        let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
        let none = Measure::of(&journal, &[1.0]);
        assert_eq!((none.name(), none.remark(), none.value(-0.5)), ("score", "", -0.5), "nothing was scored yet");
        let mut scorer = Told { metric, value, landscape: Landscape { cancel_at: Some(20), ..Landscape::default() } };
        let outcome = evolve(&config, &stages(&config), 30, 0, &mut scorer, &mut journal, &mut |_| ()).unwrap();
        let measure = Measure::of(&journal, &[1.0]);
        let remark = if metric == "number" { "" } else { " (lower is better)" };
        assert_eq!((format!("search {}", measure.name()).as_str(), measure.remark()), (name, remark));
        for candidate in journal.candidates() {
            let (told, _) = candidate.trial.summary(&[1.0]);
            assert!((measure.value(candidate.trial.fitness) - told).abs() < 1e-12);
        }
        // As the weight has it: half as much, or the other way round.
        assert!((Measure::of(&journal, &[0.5]).value(-0.25) - value(-0.5)).abs() < 1e-12);
        assert_eq!(Measure::of(&journal, &[-1.0]).remark().is_empty(), metric != "number");
        assert_eq!(Measure::of(&journal, &[0.5, 0.5]).name(), "score");

        write_report(folder.path(), &config, &journal, &outcome, "").unwrap();
        let html = fs::read_to_string(folder.path().join(REPORT_FILE)).unwrap();
        let best = Progress::of(&journal).best.unwrap();
        let card = format!("<strong>{:.3}</strong><span>best {name} so far{remark}</span>", value(best));
        assert!(html.contains(&card) && html.contains(axis), "{card}: {html}");
    }
}
