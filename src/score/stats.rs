//! What a score is worth: standard errors, 95 % intervals, and whether two models differ on the same questions.
//!
//! In: per-question results. Out: an [`Estimate`] or a [`Paired`] comparison. Nothing here is rounded; printing is up to
//! the caller. A figure that the data cannot give (a standard error of one question) is NaN, which JSON writes as null.

/// The 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A measured value with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value itself, in the metric's own unit (an accuracy is 0 to 1).
    pub value: f64,
    /// Standard error of `value`.
    pub stderr: f64,
    /// 95 % confidence interval, lower and upper end.
    pub ci95: [f64; 2],
    /// Questions it rests on.
    pub n: usize,
}

/// Accuracy `correct / n` with Wilson's interval, which stays inside 0 to 1 and holds its 95 % near both ends and for
/// few questions, where `p ± 1.96 stderr` does not (Wilson 1927; Brown, Cai & DasGupta 2001). The standard error is
/// `sqrt(p (1 - p) / (n - 1))`, the sample standard error that lm-evaluation-harness prints.
///
/// `correct` above `n` counts as `n`. No questions at all give NaN and the interval 0 to 1.
pub fn accuracy(correct: usize, n: usize) -> Estimate {
    let questions = n as f64;
    let p = correct.min(n) as f64 / questions;
    Estimate { value: p, stderr: (p * (1.0 - p) / (questions - 1.0)).sqrt(), ci95: wilson(correct, n), n }
}

/// Wilson's 95 % score interval for `correct` of `n` (Wilson 1927, equation given by Newcombe 1998 as method 3).
pub fn wilson(correct: usize, n: usize) -> [f64; 2] {
    if n == 0 {
        return [0.0, 1.0];
    }
    let (hits, misses, n) = (correct.min(n) as f64, n.saturating_sub(correct) as f64, n as f64);
    let centre = hits + Z * Z / 2.0;
    let half = Z * (hits * misses / n + Z * Z / 4.0).sqrt();
    // The exact ends, which rounding would miss by a bit.
    let low = if hits == 0.0 { 0.0 } else { (centre - half) / (n + Z * Z) };
    let high = if misses == 0.0 { 1.0 } else { (centre + half) / (n + Z * Z) };
    [low, high]
}

/// Mean of per-question values with standard error `s / sqrt(n)` (s with n - 1) and the normal interval
/// `mean ± 1.96 stderr`. For a difference between two models pass the per-question differences.
pub fn mean(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    let value = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - value) * (x - value)).sum();
    let stderr = (squares / (n - 1.0) / n).sqrt();
    Estimate { value, stderr, ci95: [value - Z * stderr, value + Z * stderr], n: values.len() }
}

/// Perplexity exp(Σ nll / Σ tokens) over texts given as `(nll, tokens)`: the summed negative log-likelihood in nats and
/// how many tokens it sums over. The uncertainty of the [`ratio`] is carried through exp, so the interval is not symmetric.
pub fn perplexity(texts: &[(f64, usize)]) -> Estimate {
    let Estimate { value, stderr, ci95, n } = ratio(texts);
    Estimate { value: value.exp(), stderr: value.exp() * stderr, ci95: ci95.map(f64::exp), n }
}

/// Σ x / Σ size over texts given as `(x, size)`. The uncertainty is that of a ratio of two sums over sampled texts (Cochran 1977,
/// *Sampling Techniques*, chapter 6).
pub fn ratio(texts: &[(f64, usize)]) -> Estimate {
    let n = texts.len() as f64;
    let (nll, tokens) = texts.iter().fold((0.0, 0.0), |(nll, tokens), t| (nll + t.0, tokens + t.1 as f64));
    let ratio = nll / tokens;
    let squares: f64 = texts.iter().map(|t| (t.0 - ratio * t.1 as f64).powi(2)).sum();
    let stderr = (squares / (n - 1.0) / n).sqrt() / (tokens / n);
    Estimate { value: ratio, stderr, ci95: [ratio - Z * stderr, ratio + Z * stderr], n: texts.len() }
}

/// One model against another on the same questions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// Questions on which the first model scored higher.
    pub won: usize,
    /// Questions on which the second model scored higher.
    pub lost: usize,
    /// Questions on which both scored the same.
    pub tied: usize,
    /// Two-sided p-value of the exact McNemar test: how often two equal models would differ at least this much.
    pub p_value: f64,
}

/// Compares per-question scores of two models; `None` unless both hold the same number of questions. For scores that
/// are not right-or-wrong this is the sign test, of which McNemar's is the right-or-wrong case.
pub fn paired(first: &[f64], second: &[f64]) -> Option<Paired> {
    if first.len() != second.len() {
        return None;
    }
    let won = first.iter().zip(second).filter(|(a, b)| a > b).count();
    let lost = first.iter().zip(second).filter(|(a, b)| a < b).count();
    Some(Paired { won, lost, tied: first.len() - won - lost, p_value: mcnemar(won, lost) })
}

/// Exact two-sided McNemar test (McNemar 1947; exact form in Agresti, *Categorical Data Analysis*, 2nd ed., section 10.1): twice
/// the probability that a fair coin tossed `won + lost` times shows the rarer side so rarely, at most 1.
///
/// The largest term is formed from a sum of logarithms and the rest as ratios to it, so that neither a binomial
/// coefficient overflows nor 2^-n underflows: good for millions of questions, in time linear in the rarer count.
pub fn mcnemar(won: usize, lost: usize) -> f64 {
    let (few, n) = (won.min(lost), won as f64 + lost as f64);
    let log_coefficient: f64 = (1..=few).map(|i| ((n - few as f64 + i as f64) / i as f64).ln()).sum();
    let (mut term, mut tail) = (1.0, 1.0);
    for j in (1..=few).rev() {
        term *= j as f64 / (n - j as f64 + 1.0);
        tail += term;
    }
    (2.0 * tail * (log_coefficient - n * std::f64::consts::LN_2).exp()).min(1.0)
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
