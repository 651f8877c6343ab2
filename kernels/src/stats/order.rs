//! The order of a tensor's elements by a score, kept as a ladder of cuts: one look at the parents, then any density without another.

use std::ops::Range;

use rayon::prelude::*;

use crate::combine::{importance, variances};
use crate::run::{decoded, difference};
use crate::{Codecs, Cut, Source};

use super::{PIECE, pieces, sum_of_pieces, tiles};

/// The number kept is met to within this part of all elements; as many bins at most are crowded.
const RUNGS: usize = 2048;
/// Among the largest, where a share of all elements is too coarse, it is met to within half this part of the number itself.
const TAIL: u64 = 8;
/// Up to so many elements every number has a rung of its own.
const EVERY: usize = 4096;
/// Lower bits of a score that its bin does not tell apart: 11 of the 23 bits of a float's mantissa are left.
const BIN_BITS: u32 = 12;
/// Bins: the sign bit is always clear.
const BINS: usize = 1 << (31 - BIN_BITS);

/// What elements are ordered by.
#[derive(Clone, Copy)]
pub enum Score<'a> {
    /// The magnitude of the difference to the base.
    Difference {
        /// The base.
        base: &'a Source<'a>,
        /// The source.
        source: &'a Source<'a>,
    },
    /// The variance of several differences to the base.
    Variance {
        /// The base.
        base: &'a Source<'a>,
        /// The sources.
        sources: &'a [Source<'a>],
    },
    /// The importance of [`crate::Program::Important`].
    Importance {
        /// The base.
        base: &'a Source<'a>,
        /// The source.
        source: &'a Source<'a>,
        /// Elements of a row.
        row: usize,
        /// One for each row.
        divergences: &'a [f32],
    },
}

/// Cuts through the order of all elements, evenly spread.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// How many elements have a score above zero, or above next to nothing where there are many.
    pub positive: u64,
    /// Cuts and how many elements stand before each, rising strictly.
    pub rungs: Vec<(Cut, u64)>,
}

impl Score<'_> {
    /// The scores of one tile, and the differences that they come from.
    fn of(&self, tile: &Range<usize>, codecs: &Codecs) -> (Vec<f32>, Vec<Vec<f32>>) {
        match self {
            Self::Difference { base, source } => {
                let delta = difference(&decoded(base, tile, codecs), source, tile, codecs);
                (delta.iter().map(|d| d.abs()).collect(), vec![delta])
            }
            Self::Variance { base, sources } => {
                let base = decoded(base, tile, codecs);
                let deltas: Vec<Vec<f32>> = sources.iter().map(|s| difference(&base, s, tile, codecs)).collect();
                (variances(&deltas), deltas)
            }
            Self::Importance { base, source, row, divergences } => {
                let delta = difference(&decoded(base, tile, codecs), source, tile, codecs);
                let score = |(d, index): (&f32, usize)| importance(*d, divergences[index / row]);
                (delta.iter().zip(tile.clone()).map(score).collect(), vec![delta])
            }
        }
    }

    fn scores(&self, tile: &Range<usize>, codecs: &Codecs) -> Vec<f32> {
        self.of(tile, codecs).0
    }
}

impl Order {
    /// Orders all elements.
    pub fn new(score: &Score, elements: usize, codecs: &Codecs) -> Self {
        if elements <= EVERY { Self::sorted(score, elements, codecs) } else { Self::binned(score, elements, codecs) }
    }

    fn sorted(score: &Score, elements: usize, codecs: &Codecs) -> Self {
        let mut scores: Vec<(u32, u64)> = Vec::with_capacity(elements);
        for tile in tiles(0..elements) {
            scores.extend(score.scores(&tile, codecs).iter().map(|s| s.to_bits()).zip(tile.start as u64..));
        }
        scores.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let cut = |(bits, index): (u32, u64)| Cut { above: bits.saturating_add(1), from: bits, ties_end: index + 1 };
        let positive = scores.partition_point(|(bits, _)| *bits > 0) as u64;
        Self { positive, rungs: scores.into_iter().map(cut).zip(1..).collect() }
    }

    /// Counts scores by bin, and within bins that hold more than a rung's worth by place in the tensor.
    fn binned(score: &Score, elements: usize, codecs: &Codecs) -> Self {
        let counts = histogram(score, elements, BINS, codecs, |bits| Some(bits >> BIN_BITS));
        let spacing = (elements / RUNGS).max(1);
        // Elements of the lowest bin are zero for all purposes, and it does not matter which of them are kept.
        let crowded: Vec<u32> = (1..BINS as u32).filter(|bin| counts[*bin as usize] > spacing as u64).collect();
        let stretch = elements.div_ceil(RUNGS);
        let places = places(score, elements, &crowded, stretch, codecs);

        let mut rungs = Vec::new();
        let (mut kept, mut next) = (0, 1);
        let mut step = |cut, count: u64| {
            kept += count;
            if count > 0 && kept >= next {
                rungs.push((cut, kept));
                next = kept + (kept / TAIL).clamp(1, spacing as u64);
            }
        };
        for bin in (1..BINS as u32).rev().filter(|bin| counts[*bin as usize] > 0) {
            let (from, above) = (bin << BIN_BITS, (bin + 1) << BIN_BITS);
            match crowded.binary_search(&bin) {
                Ok(at) => {
                    for (place, count) in places[at * RUNGS..(at + 1) * RUNGS].iter().enumerate() {
                        step(Cut { above, from, ties_end: ((place + 1) * stretch).min(elements) as u64 }, *count);
                    }
                }
                Err(_) => step(Cut { above: from, from, ties_end: 0 }, counts[bin as usize]),
            }
        }
        if rungs.last().is_none_or(|(_, kept)| *kept < elements as u64) {
            rungs.push((Cut::ALL, elements as u64));
        }
        Self { positive: elements as u64 - counts[0], rungs }
    }

    /// The rung nearest to keeping `k` elements; one element at least is kept if any is asked for.
    pub fn nearest(&self, k: u64) -> Option<usize> {
        if k == 0 {
            return None;
        }
        let at = self.rungs.partition_point(|(_, kept)| *kept < k).min(self.rungs.len().checked_sub(1)?);
        let before = at.checked_sub(1).filter(|before| k - self.rungs[*before].1 <= self.rungs[at].1.abs_diff(k));
        Some(before.unwrap_or(at))
    }
}

/// Counts scores by the bin that `bin_of` gives their bits.
fn histogram(
    score: &Score,
    elements: usize,
    bins: usize,
    codecs: &Codecs,
    bin_of: impl Fn(u32) -> Option<u32> + Sync,
) -> Vec<u64> {
    count(elements, bins, |tile, counts| {
        for s in score.scores(&tile, codecs) {
            if let Some(bin) = bin_of(s.to_bits()) {
                counts[bin as usize] += 1;
            }
        }
    })
}

/// Pieces that one histogram takes at least: adding two up costs as much as counting a piece or two.
const PIECES_TOGETHER: usize = 8;

/// What `of` counts over all tiles.
fn count(elements: usize, bins: usize, of: impl Fn(Range<usize>, &mut [u64]) + Sync) -> Vec<u64> {
    pieces(elements, PIECE)
        .with_min_len(PIECES_TOGETHER)
        .fold(
            || vec![0u64; bins],
            |mut counts, piece| {
                tiles(piece).for_each(|tile| of(tile, &mut counts));
                counts
            },
        )
        .reduce_with(|mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        })
        .unwrap_or_else(|| vec![0; bins])
}

/// For each of the sorted bins `crowded`, how many of its elements lie in each stretch of the tensor.
fn places(score: &Score, elements: usize, crowded: &[u32], stretch: usize, codecs: &Codecs) -> Vec<u64> {
    if crowded.is_empty() {
        return Vec::new();
    }
    let mut slots = vec![None; BINS];
    crowded.iter().enumerate().for_each(|(at, bin)| slots[*bin as usize] = Some(at as u16));
    count(elements, crowded.len() * RUNGS, |tile, counts| {
        for (s, index) in score.scores(&tile, codecs).iter().zip(tile) {
            if let Some(at) = slots[(s.to_bits() >> BIN_BITS) as usize] {
                counts[usize::from(at) * RUNGS + index / stretch] += 1;
            }
        }
    })
}

/// Sums over the elements before each cut, each cut keeping all that the one before it keeps: of magnitudes for
/// [`Score::Difference`], otherwise of the squares of each difference. Cut after cut; behind them the sums over all elements.
pub fn sums_before(score: &Score, cuts: &[Cut], elements: usize, codecs: &Codecs) -> Vec<f64> {
    let (width, measure): (usize, fn(f32) -> f64) = match score {
        Score::Difference { .. } => (1, |d| f64::from(d.abs())),
        Score::Importance { .. } => (1, |d| f64::from(d).powi(2)),
        Score::Variance { sources, .. } => (sources.len(), |d| f64::from(d).powi(2)),
    };
    let ranges = ranges(cuts);
    let mut sums = sum_of_pieces(elements, PIECE, (cuts.len() + 1) * width, |piece, sums| {
        for tile in tiles(piece) {
            let (scores, deltas) = score.of(&tile, codecs);
            for (k, (s, index)) in scores.iter().zip(tile.start as u64..).enumerate() {
                let [low, high] = ranges[(s.to_bits() >> BIN_BITS) as usize].map(usize::from);
                let first = low + cuts[low..high].partition_point(|cut| !cut.keeps(*s, index));
                for (i, delta) in deltas.iter().enumerate() {
                    sums[first * width + i] += measure(delta[k]);
                }
            }
        }
    });
    for at in width..sums.len() {
        sums[at] += sums[at - width];
    }
    sums
}

/// For each bin, the first cut that keeps any score in it, and the first that keeps them all whatever their place: for most bins that is one.
fn ranges(cuts: &[Cut]) -> Vec<[u16; 2]> {
    let (mut low, mut high) = (0, 0);
    let mut ranges = vec![[0; 2]; BINS];
    for (bin, range) in (0..BINS as u32).zip(&mut ranges).rev() {
        let (from, last) = (bin << BIN_BITS, (bin << BIN_BITS) + ((1 << BIN_BITS) - 1));
        while cuts.get(low).is_some_and(|cut| cut.from > last) {
            low += 1;
        }
        while cuts.get(high).is_some_and(|cut| cut.above > from) {
            high += 1;
        }
        *range = [low as u16, high as u16];
    }
    ranges
}

/// The cut before which exactly `k` elements stand.
///
/// Two passes: a histogram over the upper half of the score's bits, then the lower half inside the one bin that holds the k-th; and one
/// more for the place of the last tie.
pub fn exact_cut(score: &Score, elements: usize, k: usize, codecs: &Codecs) -> Cut {
    match k {
        0 => return Cut::NOTHING,
        _ if k >= elements => return Cut::ALL,
        _ => {}
    }
    let (bits, above) = select(score, elements, &[k], codecs)[0];
    Cut { above: bits.saturating_add(1), from: bits, ties_end: tie_end(score, elements, bits, k - above, codecs) }
}

/// The scores at these positions of the ascending order.
pub fn quantiles(score: &Score, elements: usize, positions: &[usize], codecs: &Codecs) -> Vec<f32> {
    let ks: Vec<usize> = positions.iter().map(|p| elements - p).collect();
    select(score, elements, &ks, codecs).into_iter().map(|(bits, _)| f32::from_bits(bits)).collect()
}

/// For each `k` from 1 to the number of elements, the bits of the k-th largest score and how many are larger.
fn select(score: &Score, elements: usize, ks: &[usize], codecs: &Codecs) -> Vec<(u32, usize)> {
    let upper = histogram(score, elements, 1 << 16, codecs, |bits| Some(bits >> 16));
    let places: Vec<(u32, u64)> = ks.iter().map(|k| locate(&upper, *k as u64)).collect();
    let mut highs: Vec<u32> = places.iter().map(|(high, _)| *high).collect();
    highs.sort_unstable();
    highs.dedup();
    let lower = histogram(score, elements, highs.len() << 16, codecs, |bits| {
        highs.binary_search(&(bits >> 16)).ok().map(|at| (at as u32) << 16 | bits & 0xFFFF)
    });
    let within = |(k, (high, above)): (&usize, (u32, u64))| {
        let at = highs.binary_search(&high).unwrap_or(0);
        let (low, more) = locate(&lower[at << 16..(at + 1) << 16], *k as u64 - above);
        (high << 16 | low, (above + more) as usize)
    };
    ks.iter().zip(places).map(within).collect()
}

/// The highest bin such that it and all above hold at least `k`, and how many stand above it.
fn locate(counts: &[u64], k: u64) -> (u32, u64) {
    let mut above = 0;
    for (bin, count) in counts.iter().enumerate().rev() {
        if above + count >= k {
            return (bin as u32, above);
        }
        above += count;
    }
    (0, above)
}

/// The index after the `keep`-th element whose score has exactly these bits.
fn tie_end(score: &Score, elements: usize, bits: u32, keep: usize, codecs: &Codecs) -> u64 {
    let tied = |tile: Range<usize>| {
        let first = tile.start;
        let scores = score.scores(&tile, codecs);
        scores.into_iter().enumerate().filter(move |(_, s)| s.to_bits() == bits).map(move |(i, _)| first + i)
    };
    let counts: Vec<usize> = pieces(elements, PIECE).map(|piece| tiles(piece).flat_map(tied).count()).collect();
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
