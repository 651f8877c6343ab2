//! The naive oracle: every method as its definition reads, one element at a time in f64.

use crate::{Cut, Keep, TaskVector};

/// Whether element `index` of `delta` stays.
fn kept(keep: Keep, delta: &[f32], index: usize) -> bool {
    let magnitude = delta[index].abs();
    let draw = |key: crate::MaskKey| {
        let mut one = [0];
        key.fill(index as u64, &mut one);
        f64::from(one[0])
    };
    match keep {
        Keep::All => true,
        Keep::Nothing => false,
        Keep::Largest(cut) => cut.keeps(magnitude, index as u64),
        Keep::Band { inner, outer } => outer.keeps(magnitude, index as u64) && !inner.keeps(magnitude, index as u64),
        Keep::Random { key, threshold } => draw(key) < threshold as f64,
        Keep::Ranked { key, threshold, ranks } => {
            let start = index / ranks.row * ranks.row;
            let before = |i: &usize| (delta[*i].abs(), *i) < (magnitude, index);
            let rank = (start..start + ranks.row).filter(before).count();
            let share = ranks.spread as f64 * rank as f64 / (ranks.row - 1) as f64;
            draw(key) < threshold as f64 + share
        }
    }
}

/// The average of the differences that have the sign of their sum, by share, where `select` takes the variance.
pub(super) fn elected(sources: &[Vec<f32>; 3], shares: [f64; 2], select: Cut) -> Vec<f32> {
    let element = |i: usize| {
        let base = f64::from(sources[0][i]);
        let deltas = [1, 2].map(|s: usize| f64::from(sources[s][i] - sources[0][i]));
        let variance = ((deltas[0] - deltas[1]) / 2.0).powi(2);
        if !select.keeps(variance as f32, i as u64) {
            return sources[0][i];
        }
        let elected = if deltas[0] + deltas[1] >= 0.0 { 1.0 } else { -1.0 };
        let counting = || deltas.iter().zip(shares).filter(|(d, _)| **d != 0.0 && d.signum() == elected);
        let weight: f64 = counting().map(|(_, share)| share).sum();
        (base + counting().map(|(d, share)| d * share).sum::<f64>() / weight.max(1e-6)) as f32
    };
    (0..sources[0].len()).map(element).collect()
}

/// The average of the differences above `epsilon`; one that is alone times its own factor.
pub(super) fn overlap(sources: &[Vec<f32>; 3], alone: [f64; 2], epsilon: f32) -> Vec<f32> {
    let element = |i: usize| {
        let deltas = [1, 2].map(|s: usize| sources[s][i] - sources[0][i]);
        let counting: Vec<(f64, f64)> =
            deltas.iter().zip(alone).filter(|(d, _)| d.abs() > epsilon).map(|(d, a)| (f64::from(*d), a)).collect();
        let sum = match counting[..] {
            [(only, factor)] => only * factor,
            _ => counting.iter().map(|(d, _)| d).sum::<f64>() / counting.len().max(1) as f64,
        };
        (f64::from(sources[0][i]) + sum) as f32
    };
    (0..sources[0].len()).map(element).collect()
}

/// `sources[0]` is the base; returns the merged tensor.
pub(super) fn task_vectors(
    sources: &[Vec<f32>],
    vectors: &[TaskVector],
    consensus: bool,
    normalize: bool,
    lambda: f64,
) -> Vec<f32> {
    let deltas: Vec<Vec<f32>> =
        vectors.iter().map(|v| sources[v.source].iter().zip(&sources[0]).map(|(x, b)| x - b).collect()).collect();
    let element = |i: usize| {
        let base = f64::from(sources[0][i]);
        let weighted: Vec<(f64, f64)> = vectors
            .iter()
            .zip(&deltas)
            .map(|(v, delta)| {
                let delta = if kept(v.keep, delta, i) { f64::from(delta[i]) * f64::from(v.rescale) } else { 0.0 };
                (f64::from(v.weight), f64::from(v.weight) * delta)
            })
            .collect();
        let elected = if weighted.iter().map(|(_, d)| d).sum::<f64>() >= 0.0 { 1.0 } else { -1.0 };
        let counts = |d: f64| !consensus || (d != 0.0 && d.signum() == elected);
        let mixed: f64 = weighted.iter().filter(|(_, d)| counts(*d)).map(|(_, d)| d).sum();
        let weights: f64 = weighted.iter().filter(|(_, d)| counts(*d)).map(|(w, _)| w).sum();
        let divisor = if normalize && weights != 0.0 { weights } else { 1.0 };
        (base + lambda * mixed / divisor) as f32
    };
    (0..sources[0].len()).map(element).collect()
}
