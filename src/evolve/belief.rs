//! How far a result may be believed: the best recipe against everybody else, question by question, and what so many questions can show.
//!
//! Everything rests on the test questions, which no choice was made on. Differences carry the 95 % interval of a paired bootstrap (Efron and
//! Tibshirani 1993, chapter 16; Koehn 2004): questions are drawn anew, for all models the same. P-values are those of the exact McNemar test
//! where answers are right or wrong on one task, and of the bootstrap otherwise. They are corrected for all comparisons shown (Holm 1979) and
//! for every time that a best recipe was looked at on these questions: a search that goes on after its test looks again.

use std::fmt;

use rand_chacha::ChaCha12Rng;

use super::cmaes::{stream, uniform};
use super::search::{BEST, Tested};
use super::{Entry, Journal, Trial};

/// Samples of the bootstrap.
const SAMPLES: usize = 10_000;
/// The standard normal's 97.5 % point, and that of 80 % power.
const DETECTABLE: f64 = 1.959_964 + 0.841_621;
/// Above this a difference is not called one.
const SIGNIFICANT: f64 = 0.05;

/// What is known of the best recipe's lead.
#[derive(Clone, Debug, PartialEq)]
pub struct Belief {
    /// Against everybody else, in the order tested.
    pub comparisons: Vec<Comparison>,
    /// Which of them is the best parent: the hardest to beat, chosen on the test questions, so that its advantage is the luck of the best.
    pub best_parent: usize,
    /// Candidates that the best recipe was chosen from.
    pub candidates: usize,
    /// Candidates and means that were compared on all search questions.
    pub finalists: usize,
    /// Best recipes that have been looked at on the test questions, this one included.
    pub looks: usize,
    /// Search questions.
    pub search_questions: usize,
    /// The smallest lead over the best parent that so many questions show in four of five searches (95 % confidence, 80 % power). NaN where
    /// nothing is known of it, because the difference is the same on every question.
    pub search_detectable: f64,
    /// The same for the test questions.
    pub test_detectable: f64,
    /// What a reader has to know before believing the result, one sentence each.
    pub warnings: Vec<String>,
}

/// The best recipe against another model on the same questions.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The other model.
    pub name: String,
    /// The best recipe's score less the other's.
    pub difference: f64,
    /// 95 % interval of the difference.
    pub ci95: [f64; 2],
    /// Questions on which the best recipe did better.
    pub won: usize,
    /// Questions on which it did worse.
    pub lost: usize,
    /// How likely such a difference is by chance alone, looked at by itself.
    pub p_value: f64,
    /// The same, corrected for all comparisons and looks.
    pub p_adjusted: f64,
}

impl fmt::Display for Belief {
    /// What the comparisons rest on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chosen from {} candidates and {} finalists on {} search questions",
            self.candidates, self.finalists, self.search_questions
        )?;
        if self.search_detectable.is_finite() {
            write!(f, ", which can show a lead of {:.3} over the best parent", self.search_detectable)?;
        }
        let count = self.comparisons.len();
        write!(f, "; p-values are corrected for {count} comparison{}", if count == 1 { "" } else { "s" })?;
        if self.looks > 1 { write!(f, " and {} looks at the test questions", self.looks) } else { Ok(()) }
    }
}

/// `0.012`, or `1.9e-6` where that would be none.
pub(super) fn probability(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

/// How the best recipe was chosen.
pub(super) struct Chosen<'a> {
    /// What it did on the search questions.
    pub search: &'a Trial,
    /// Among how many on all of them.
    pub finalists: usize,
    /// The tasks' weights.
    pub weights: &'a [f64],
}

/// What `tested`, the best recipe last, says about it; `parents` of them are parents. `None` before the end of a search.
pub(super) fn belief(tested: &[Tested], parents: usize, chosen: &Chosen, journal: &Journal) -> Option<Belief> {
    let Chosen { search, finalists, weights } = *chosen;
    let (best, others) = tested.split_last().filter(|(best, _)| best.name == BEST)?;
    let mut comparisons: Vec<Comparison> = others.iter().map(|other| compare(best, other, weights)).collect();
    let is_look = |entry: &&Entry| matches!(entry, Entry::Test { name, .. } if name == BEST);
    let looks = journal.entries().iter().filter(is_look).count().max(1);
    adjust(&mut comparisons, looks);
    let best_parent = (0..parents.min(others.len()))
        .min_by(|a, b| comparisons[*a].difference.total_cmp(&comparisons[*b].difference))?;
    let test_detectable = detectable(&best.trial, &others[best_parent].trial, weights, &best.trial);
    let mut belief = Belief {
        best_parent,
        candidates: journal.candidates().count(),
        finalists,
        looks,
        search_questions: search.items(),
        search_detectable: detectable(&best.trial, &others[best_parent].trial, weights, search),
        test_detectable,
        comparisons,
        warnings: Vec::new(),
    };
    belief.warnings = warnings(&belief);
    Some(belief)
}

fn warnings(belief: &Belief) -> Vec<String> {
    let mut warnings = Vec::new();
    let parent = &belief.comparisons[belief.best_parent];
    let shown = parent.p_adjusted < SIGNIFICANT;
    let numbers =
        format!("the difference is {:+.3}, corrected p = {}", parent.difference, probability(parent.p_adjusted));
    if shown && parent.difference < 0.0 {
        warnings.push(format!("`{}` is better than the best recipe: {numbers}", parent.name));
    } else if !shown || parent.difference == 0.0 {
        warnings.push(format!("nothing shows that the best recipe beats `{}`: {numbers}", parent.name));
    }
    let claimed = parent.difference;
    for (which, questions, detectable) in [
        ("search", belief.search_questions, belief.search_detectable),
        ("test", parent.won + parent.lost, belief.test_detectable),
    ] {
        if claimed > 0.0 && detectable > claimed {
            let times = (detectable / claimed).powi(2);
            let set =
                if which == "search" { format!("{questions} search questions") } else { "the test questions".into() };
            warnings.push(format!(
                "{set} are too few for the lead of {claimed:.3} over `{}`: they show one of {detectable:.3} or more (95 % confidence, \
                 80 % power); about {times:.1} times as many would do",
                parent.name
            ));
        }
    }
    if belief.looks > 1 {
        warnings.push(format!(
            "{} best recipes have been looked at on the test questions, because the search went on after its test; p-values are \
             multiplied by that",
            belief.looks
        ));
    }
    warnings
}

fn compare(best: &Tested, other: &Tested, weights: &[f64]) -> Comparison {
    let tasks = differences(&best.trial, &other.trial);
    let difference = weighted(&tasks, weights, |task| task.iter().sum::<f64>() / task.len() as f64);
    let counts = best.trial.compare(&other.trial).filter(|_| !tasks.is_empty());
    let (won, lost, mcnemar) = counts.map_or((0, 0, f64::NAN), |counts| (counts.won, counts.lost, counts.p_value));
    let mut samples = bootstrap(&tasks, weights);
    samples.sort_by(f64::total_cmp);
    let right_or_wrong = tasks.len() == 1 && tasks[0].iter().all(|d| [-1.0, 0.0, 1.0].contains(d));
    let p_value = if right_or_wrong { mcnemar } else { bootstrap_p(&samples) };
    let at = |share: f64| samples.get((share * SAMPLES as f64) as usize).copied().unwrap_or(f64::NAN);
    Comparison {
        name: other.name.clone(),
        difference,
        ci95: [at(0.025), at(0.975)],
        won,
        lost,
        p_value,
        p_adjusted: p_value,
    }
}

/// One model's results less the other's, task by task and question by question; none if these were not the same questions.
fn differences(best: &Trial, other: &Trial) -> Vec<Vec<f64>> {
    let same = best.tasks.len() == other.tasks.len()
        && best.tasks.iter().zip(&other.tasks).all(|(a, b)| a.items.len() == b.items.len() && !a.items.is_empty());
    let tasks = best.tasks.iter().zip(&other.tasks).filter(|_| same);
    tasks.map(|(a, b)| a.items.iter().zip(&b.items).map(|(a, b)| a - b).collect()).collect()
}

/// NaN of no task at all.
fn weighted(tasks: &[Vec<f64>], weights: &[f64], mut of: impl FnMut(&[f64]) -> f64) -> f64 {
    if tasks.is_empty() {
        return f64::NAN;
    }
    tasks.iter().zip(weights).map(|(task, weight)| weight * of(task)).sum()
}

/// The difference on questions drawn anew, task by task, with replacement. Always the same draws, so that a report does not change when
/// it is written again.
fn bootstrap(tasks: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut rng = stream(0, 0);
    (0..SAMPLES).map(|_| weighted(tasks, weights, |task| resampled_mean(task, &mut rng))).collect()
}

fn resampled_mean(task: &[f64], rng: &mut ChaCha12Rng) -> f64 {
    let n = task.len() as f64;
    (0..task.len()).map(|_| task[(uniform(rng) * n) as usize]).sum::<f64>() / n
}

/// Twice the share of samples on the rarer side of no difference, and never nothing, which so many samples cannot show.
fn bootstrap_p(samples: &[f64]) -> f64 {
    let share = |count: usize| (count + 1) as f64 / (samples.len() + 1) as f64;
    let low = share(samples.iter().filter(|d| **d <= 0.0).count());
    let high = share(samples.iter().filter(|d| **d >= 0.0).count());
    if samples.iter().any(|d| d.is_nan()) { f64::NAN } else { (2.0 * low.min(high)).min(1.0) }
}

/// Holm's step-down correction over all comparisons, then Bonferroni's over looks.
fn adjust(comparisons: &mut [Comparison], looks: usize) {
    let mut order: Vec<usize> = (0..comparisons.len()).collect();
    order.sort_by(|a, b| comparisons[*a].p_value.total_cmp(&comparisons[*b].p_value));
    let mut least = 0.0f64;
    for (rank, i) in order.into_iter().enumerate() {
        let p = comparisons[i].p_value * (comparisons.len() - rank) as f64 * looks as f64;
        // `max` would lose a NaN.
        least = if p.is_nan() { p } else { least.max(p).min(1.0) };
        comparisons[i].p_adjusted = least;
    }
}

/// The smallest true difference that as many questions as `like` answers show: the paired standard error scaled to their number.
fn detectable(best: &Trial, other: &Trial, weights: &[f64], like: &Trial) -> f64 {
    let tasks = differences(best, other);
    let mut numbers = like.tasks.iter().map(|task| task.items.len() as f64);
    let squares: Vec<f64> = weights.iter().map(|weight| weight * weight).collect();
    let variance = weighted(&tasks, &squares, |task| {
        let n = task.len() as f64;
        let mean = task.iter().sum::<f64>() / n;
        let variance = task.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
        variance / numbers.next().unwrap_or(f64::NAN)
    });
    if variance > 0.0 { DETECTABLE * variance.sqrt() } else { f64::NAN }
}

#[cfg(test)]
#[path = "belief_tests.rs"]
mod tests;
