//! What a planner must know of the sources before it can write a program: inner products, order statistics, sums over what is kept.
//!
//! Every pass runs in parallel over fixed pieces of the tensor and adds the pieces up in order, in f64, or counts in integers: results
//! do not depend on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

mod draws;
mod lines;
mod order;
mod overlap;

pub use draws::{LEVELS, kept_by_level, level_threshold, ratio, rescale};
pub use lines::{divergences, line_grams};
pub use order::{Order, Score, exact_cut, quantiles, sums_before};
pub use overlap::overlaps;

use crate::run::decoded;
use crate::{Codecs, Source, TILE};

/// Elements per parallel piece; fixed, since it decides the order of summation.
const PIECE: usize = 32 * TILE;
/// Pieces whose results are held at once before they are added up.
const BATCH: usize = 64;

fn pieces(elements: usize, piece: usize) -> impl IndexedParallelIterator<Item = Range<usize>> {
    (0..elements.div_ceil(piece)).into_par_iter().map(move |p| p * piece..((p + 1) * piece).min(elements))
}

fn tiles(piece: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    piece.clone().step_by(TILE).map(move |start| start..(start + TILE).min(piece.end))
}

/// The sum of what `of` gives for every piece of `piece` elements, in order. `of` adds to `count` numbers that start at zero.
fn sum_of_pieces(
    elements: usize,
    piece: usize,
    count: usize,
    of: impl Fn(Range<usize>, &mut [f64]) + Sync,
) -> Vec<f64> {
    let mut total = vec![0f64; count];
    for batch in (0..elements).step_by(piece * BATCH) {
        let here = (elements - batch).min(piece * BATCH);
        let partial: Vec<Vec<f64>> = pieces(here, piece)
            .map(|piece| {
                let mut sums = vec![0f64; count];
                of(batch + piece.start..batch + piece.end, &mut sums);
                sums
            })
            .collect();
        for sums in partial {
            total.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
        }
    }
    total
}

/// Inner products of all pairs of sources after `offset` is taken off every element: row-major, `n * n`, symmetric.
pub fn gram(sources: &[Source], elements: usize, offset: f32, codecs: &Codecs) -> Vec<f64> {
    let n = sources.len();
    let mut total = sum_of_pieces(elements, PIECE, n * n, |piece, sums| {
        for tile in tiles(piece) {
            let values: Vec<Vec<f32>> = sources.iter().map(|s| decoded(s, &tile, codecs)).collect();
            for i in 0..n {
                for j in i..n {
                    sums[i * n + j] += product(&values[i], &values[j], offset);
                }
            }
        }
    });
    for i in 0..n {
        for j in 0..i {
            total[i * n + j] = total[j * n + i];
        }
    }
    total
}

/// Lanes of [`product`]: independent sums, which become vector instructions.
const LANES: usize = 8;

/// The inner product of two vectors after `offset` is taken off every element.
fn product(a: &[f32], b: &[f32], offset: f32) -> f64 {
    let mut sums = [0f64; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a - offset) * f64::from(b - offset);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(a - offset) * f64::from(b - offset)).sum();
    sums.iter().sum::<f64>() + rest
}
