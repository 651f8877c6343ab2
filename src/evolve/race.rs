//! Racing: the candidates of a generation answer the same questions rung by rung, and who can no longer reach the better half is dropped.
//!
//! CMA-ES learns from the order of the better half alone. So a candidate may go as soon as it is behind `mu` others, `mu` being half of the
//! generation, by more than the questions still to come can be expected to make up. In the terms of racing (Maron and Moore 1994; Birattari
//! et al. 2002, F-race; Heidrich-Meisner and Igel 2009, who race for the ranks of an evolution strategy):
//!
//! - *Against one rival* the test is a paired one on the same questions, asked in random order: how far the candidate is behind, in
//!   standard errors of what the difference on *all* questions of the generation may still become. Asked are some of finitely many, so the
//!   variance carries the correction `1 - asked / all`. Differences are reduced by the weightiest single question, which for answers that
//!   are right or wrong is Edwards' correction of McNemar's test.
//! - *Against the better half:* that at least `mu` of `k` rivals end ahead is a partial conjunction, whose p-value is
//!   `(k - mu + 1) p_(mu)` under any dependence (Benjamini and Heller 2008, with Bonferroni's method).
//! - *Over rungs:* each look spends an equal share of `alpha`.
//!
//! So a candidate that would end in the better half is dropped with a probability of at most `alpha`, whatever the others do and however
//! many there are. A race is over when no more than `mu` are left: which ones learn is then settled, and they are ranked by what they have.

use super::Trial;

/// How candidates race.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Race {
    /// Steps in which the questions are asked, all alike.
    pub rungs: usize,
    /// Most that a candidate of the better half may be dropped, as a probability.
    pub alpha: f64,
}

impl Race {
    /// What `race: true` means.
    pub const DEFAULT: Self = Self { rungs: 8, alpha: 0.1 };
}

/// One runner: its answers so far, and what is taken off its score.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runner<'a> {
    /// All answers so far.
    pub trial: &'a Trial,
    /// Taken off its score.
    pub cost: f64,
}

/// Which of `runners`, who have answered `done` of `race.rungs` rungs, can no longer be among the `mu` best; `weights` are those of the
/// tasks.
pub(super) fn losers(race: &Race, runners: &[Runner], mu: usize, done: usize, weights: &[f64]) -> Vec<bool> {
    // After the last rung there is nothing left to spare.
    let looks = (race.rungs - 1) as f64;
    let asked = done as f64 / race.rungs as f64;
    let loses = |candidate: &Runner| {
        if candidate.trial.fitness.is_nan() {
            return true;
        }
        let mut p: Vec<f64> = runners
            .iter()
            .filter(|rival| !std::ptr::eq(*rival, candidate))
            .map(|rival| chance(rival, candidate, asked, weights))
            .collect();
        p.sort_by(f64::total_cmp);
        // Not even all rivals would fill the better half.
        let Some(last) = mu.checked_sub(1).and_then(|i| p.get(i)) else { return false };
        (p.len() - mu + 1) as f64 * last <= race.alpha / looks
    };
    runners.iter().map(loses).collect()
}

/// How likely a lead of `rival` over `candidate` as large as this is after the share `asked` of the questions, if in the end there is none.
fn chance(rival: &Runner, candidate: &Runner, asked: f64, weights: &[f64]) -> f64 {
    let (mut lead, mut variance, mut weightiest) = (candidate.cost - rival.cost, 0.0, 0.0f64);
    for ((ahead, behind), weight) in rival.trial.tasks.iter().zip(&candidate.trial.tasks).zip(weights) {
        let part = weight / ahead.items.len() as f64;
        for (a, b) in ahead.items.iter().zip(&behind.items) {
            let difference = part * (a - b);
            lead += difference;
            variance += difference * difference;
            weightiest = weightiest.max(difference.abs());
        }
    }
    let deviation = (variance * (1.0 - asked)).sqrt();
    // Who never differed may still.
    if deviation > 0.0 { upper_tail((lead - weightiest) / deviation) } else { 1.0 }
}

/// How often a standard normal deviate exceeds `z`.
fn upper_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}
