//! The naive oracle: generalised task arithmetic as its definition reads, one element at a time in f64.

use crate::{Keep, TaskVector};

fn kept(keep: Keep, delta: f64, index: usize) -> bool {
    match keep {
        Keep::All => true,
        Keep::Nothing => false,
        Keep::Largest { threshold, ties_end } => {
            let (magnitude, threshold) = (delta.abs() as f32, threshold);
            magnitude > threshold || (magnitude == threshold && (index as u64) < ties_end)
        }
        Keep::Random { key, threshold } => {
            let mut one = [false];
            key.fill(index as u64, threshold, &mut one);
            one[0]
        }
    }
}

/// `sources[0]` is the base; returns the merged tensor.
pub(super) fn task_vectors(
    sources: &[Vec<f32>],
    vectors: &[TaskVector],
    consensus: bool,
    normalize: bool,
    lambda: f64,
) -> Vec<f32> {
    let element = |i: usize| {
        let base = f64::from(sources[0][i]);
        let weighted: Vec<(f64, f64)> = vectors
            .iter()
            .map(|v| {
                let delta = f64::from(sources[v.source][i] - sources[0][i]);
                let delta = if kept(v.keep, delta, i) { delta * f64::from(v.rescale) } else { 0.0 };
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
