//! What a planner must know of the sources before it can write a program: inner products, the k-th largest difference, L1 norms.
//!
//! Every pass runs in parallel over fixed pieces of the tensor and adds the pieces up in order, in f64: results do not depend on the
//! number of threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::run::{decoded, sparsify};
use crate::{Codecs, Keep, Source, TILE};

/// Elements per parallel piece; fixed, since it decides the order of summation.
const PIECE: usize = 32 * TILE;

/// Sums below this count as nothing to match in [`rescale`].
const NO_L1: f64 = 1e-7;

fn pieces(elements: usize) -> impl IndexedParallelIterator<Item = Range<usize>> {
    (0..elements.div_ceil(PIECE)).into_par_iter().map(move |p| p * PIECE..((p + 1) * PIECE).min(elements))
}

fn tiles(piece: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    piece.clone().step_by(TILE).map(move |start| start..(start + TILE).min(piece.end))
}

fn difference(base: &Source, source: &Source, tile: &Range<usize>, codecs: &Codecs) -> Vec<f32> {
    crate::run::difference(&decoded(base, tile, codecs), source, tile, codecs)
}

/// Inner products of all pairs of sources after `offset` is taken off every element: row-major, `n * n`, symmetric.
pub fn gram(sources: &[Source], elements: usize, offset: f32, codecs: &Codecs) -> Vec<f64> {
    let n = sources.len();
    let partial: Vec<Vec<f64>> = pieces(elements)
        .map(|piece| {
            let mut sums = vec![0f64; n * n];
            for tile in tiles(piece) {
                let values: Vec<Vec<f32>> = sources.iter().map(|s| decoded(s, &tile, codecs)).collect();
                for i in 0..n {
                    for j in i..n {
                        let pairs = values[i].iter().zip(&values[j]);
                        sums[i * n + j] +=
                            pairs.map(|(a, b)| f64::from(a - offset) * f64::from(b - offset)).sum::<f64>();
                    }
                }
            }
            sums
        })
        .collect();
    let mut total = vec![0f64; n * n];
    for sums in partial {
        for (t, s) in total.iter_mut().zip(sums) {
            *t += s;
        }
    }
    for i in 0..n {
        for j in 0..i {
            total[i * n + j] = total[j * n + i];
        }
    }
    total
}

/// Keeps exactly the `k` largest elements of `|source - base|`; ties go to the lower index.
///
/// Two passes: a histogram over the upper half of the magnitude's bits (for positive floats the order of bits is the order of
/// values), then the lower half inside the one bin that holds the k-th largest.
pub fn largest(base: &Source, source: &Source, elements: usize, k: usize, codecs: &Codecs) -> Keep {
    if k == 0 {
        return Keep::Nothing;
    }
    if k >= elements {
        return Keep::All;
    }
    let upper = histogram(base, source, elements, codecs, |bits| Some(bits >> 16));
    let (high, above) = locate(&upper, k);
    let k_in_bin = k - above;
    let lower = histogram(base, source, elements, codecs, |bits| (bits >> 16 == high).then_some(bits & 0xFFFF));
    let (low, above) = locate(&lower, k_in_bin);
    let threshold = f32::from_bits(high << 16 | low);
    Keep::Largest { threshold, ties_end: tie_end(base, source, elements, threshold, k_in_bin - above, codecs) }
}

/// Counts magnitudes by the bin that `bin_of` gives their bits.
fn histogram(
    base: &Source,
    source: &Source,
    elements: usize,
    codecs: &Codecs,
    bin_of: impl Fn(u32) -> Option<u32> + Sync,
) -> Vec<usize> {
    pieces(elements)
        .fold(
            || vec![0usize; 1 << 16],
            |mut counts, piece| {
                for tile in tiles(piece) {
                    for d in difference(base, source, &tile, codecs) {
                        if let Some(bin) = bin_of(d.abs().to_bits()) {
                            counts[bin as usize] += 1;
                        }
                    }
                }
                counts
            },
        )
        .reduce(
            || vec![0usize; 1 << 16],
            |mut a, b| {
                for (a, b) in a.iter_mut().zip(b) {
                    *a += b;
                }
                a
            },
        )
}

/// The highest bin such that it and all above hold at least `k`, and how many stand above it.
fn locate(counts: &[usize], k: usize) -> (u32, usize) {
    let mut above = 0;
    for (bin, count) in counts.iter().enumerate().rev() {
        if above + count >= k {
            return (bin as u32, above);
        }
        above += count;
    }
    (0, above)
}

/// The index after the `keep`-th element whose magnitude is exactly `threshold`.
fn tie_end(base: &Source, source: &Source, elements: usize, threshold: f32, keep: usize, codecs: &Codecs) -> u64 {
    let tied = |tile: Range<usize>| {
        let first = tile.start;
        let delta = difference(base, source, &tile, codecs);
        delta.into_iter().enumerate().filter(move |(_, d)| d.abs() == threshold).map(move |(i, _)| first + i)
    };
    let counts: Vec<usize> = pieces(elements).map(|piece| tiles(piece).flat_map(tied).count()).collect();
    let mut left = keep;
    for (p, count) in counts.into_iter().enumerate() {
        if count >= left && left > 0 {
            let piece = p * PIECE..((p + 1) * PIECE).min(elements);
            return tiles(piece).flat_map(tied).nth(left - 1).map_or(elements as u64, |index| index as u64 + 1);
        }
        left -= count;
    }
    elements as u64
}

/// What brings the L1 norm of the kept part of `source - base` back to that of the whole, or 1 where either is next to nothing.
pub fn rescale(base: &Source, source: &Source, elements: usize, keep: Keep, codecs: &Codecs) -> f32 {
    let partial: Vec<(f64, f64)> = pieces(elements)
        .map(|piece| {
            let (mut all, mut kept) = (0f64, 0f64);
            for tile in tiles(piece) {
                let mut delta = difference(base, source, &tile, codecs);
                all += delta.iter().map(|d| f64::from(d.abs())).sum::<f64>();
                sparsify(keep, tile.start, &mut delta);
                kept += delta.iter().map(|d| f64::from(d.abs())).sum::<f64>();
            }
            (all, kept)
        })
        .collect();
    let (all, kept) = partial.into_iter().fold((0.0, 0.0), |(a, k), (pa, pk)| (a + pa, k + pk));
    if all < NO_L1 || kept < NO_L1 { 1.0 } else { (all / kept) as f32 }
}
