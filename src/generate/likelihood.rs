//! Logits in, log-likelihoods out: of a token, and of the most likely ones beside it.

use crate::model::LlamaToken;

/// How likely a token was where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Likelihood {
    /// The token.
    pub token: LlamaToken,
    /// The natural logarithm of its probability.
    pub log: f32,
    /// The most likely tokens in its place, the most likely first, with theirs; it may be one of them.
    pub top: Vec<(LlamaToken, f32)>,
}

impl Likelihood {
    /// How likely `token` is under `logits`, and the `top` most likely tokens.
    pub(super) fn of(logits: &[f32], token: LlamaToken, top: usize) -> Self {
        let (largest, total) = scale(logits);
        let log = |index: usize| -surprise(logits, index, largest, total) as f32;
        let mut best: Vec<usize> = Vec::with_capacity(top.saturating_add(1).min(logits.len()));
        for (index, logit) in logits.iter().enumerate().filter(|(_, logit)| !logit.is_nan()) {
            // Equal logits stay in the order of their tokens, so that the first is the one that greedy sampling takes.
            if best.len() < top || best.last().is_some_and(|last| *logit > logits[*last]) {
                let at = best.partition_point(|i| logits[*i] >= *logit);
                best.insert(at, index);
                best.truncate(top);
            }
        }
        let top = best.into_iter().map(|index| (id(index), log(index))).collect();
        Self { token, log: log(usize::try_from(token.0).unwrap_or(usize::MAX)), top }
    }
}

fn id(index: usize) -> LlamaToken {
    LlamaToken(i32::try_from(index).expect("vocabularies have fewer than 2^31 tokens"))
}

/// `-ln softmax(logits)[target]`, summed in f64.
pub fn negative_log_likelihood(logits: &[f32], target: LlamaToken) -> f64 {
    let (largest, total) = scale(logits);
    surprise(logits, usize::try_from(target.0).unwrap_or(usize::MAX), largest, total)
}

fn surprise(logits: &[f32], target: usize, largest: f32, total: f64) -> f64 {
    let target = logits.get(target).copied().unwrap_or(f32::NEG_INFINITY);
    total.ln() - f64::from(target - largest)
}

/// The largest logit and the sum of all probabilities relative to its own.
fn scale(logits: &[f32]) -> (f32, f64) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (largest, logits.iter().map(|l| f64::from(l - largest).exp()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Vec<f32> {
        (0..1000u32).map(|i| ((i * 7919 % 1000) as f32 / 50.0).sin() * 9.0).collect()
    }

    #[test]
    fn probabilities_sum_to_one() {
        let sum: f64 = (0..1000).map(|t| (-negative_log_likelihood(&row(), LlamaToken(t))).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        // Far beyond what exp can hold.
        let huge = [3e38, 3e38, -3e38];
        assert!((negative_log_likelihood(&huge, LlamaToken(1)) - 2f64.ln()).abs() < 1e-12);
        assert_eq!(negative_log_likelihood(&huge, LlamaToken(7)), f64::INFINITY, "no such token");
    }

    #[test]
    fn top_tokens_are_those_of_a_full_sort() {
        let row = row();
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
        for top in [0, 1, 5, 1000, 2000] {
            let found = Likelihood::of(&row, LlamaToken(3), top);
            let want: Vec<i32> = order.iter().take(top).map(|i| *i as i32).collect();
            assert_eq!(found.top.iter().map(|(t, _)| t.0).collect::<Vec<_>>(), want);
            for (token, log) in &found.top {
                assert_eq!(*log, -negative_log_likelihood(&row, *token) as f32);
            }
            assert_eq!(found.log, -negative_log_likelihood(&row, LlamaToken(3)) as f32);
        }
    }

    #[test]
    fn of_equal_tokens_the_first_is_the_top() {
        let found = Likelihood::of(&[1.0, 5.0, f32::NAN, 5.0], LlamaToken(0), 2);
        assert_eq!(found.top.iter().map(|(t, _)| t.0).collect::<Vec<_>>(), [1, 3]);
    }
}
