//! Which elements of a task vector stay: those that stand before a cut in some order, or those that a draw of theirs spares.

use std::ops::Range;

use crate::MaskKey;
use crate::mask::thin_out;

/// A place in the order of elements by score, the largest first and equals by index: what stands before it is kept.
///
/// Scores are never negative, so that the order of their bits is that of their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Scores with these bits or greater ones are kept.
    pub above: u32,
    /// So are scores with these bits or greater ones before `ties_end`: quantized parents have many equal differences, and the bound
    /// keeps no more of them than asked for.
    pub from: u32,
    /// Index in the tensor of the first tie that is dropped.
    pub ties_end: u64,
}

/// Which elements of a task vector stay; the others become zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keep {
    /// All of them.
    All,
    /// None of them.
    Nothing,
    /// The largest in magnitude.
    Largest(Cut),
    /// The largest in magnitude but for the very largest.
    Band {
        /// What stands before this cut is too large.
        inner: Cut,
        /// What stands behind this one is too small.
        outer: Cut,
    },
    /// Each with the same probability, by the bits of [`MaskKey`].
    Random {
        /// Which mask.
        key: MaskKey,
        /// From [`crate::keep_threshold`].
        threshold: u32,
    },
    /// Each with a probability that grows evenly with its rank by magnitude within its row, equals by index.
    Ranked {
        /// Which mask.
        key: MaskKey,
        /// From [`crate::keep_threshold`], for the smallest element of a row.
        threshold: u32,
        /// What larger ones have on top of that.
        ranks: Ranks,
    },
}

impl Cut {
    /// Before everything.
    pub const NOTHING: Self = Self { above: u32::MAX, from: u32::MAX, ties_end: 0 };
    /// Behind everything.
    pub const ALL: Self = Self { above: 0, from: 0, ties_end: 0 };

    /// Whether the element of this score and index stands before the cut.
    pub fn keeps(self, score: f32, index: u64) -> bool {
        score.to_bits() >= self.bound(index)
    }

    /// The least bits that stand before the cut at this index.
    pub(crate) fn bound(self, index: u64) -> u32 {
        if index < self.ties_end { self.from.min(self.above) } else { self.above }
    }
}

impl Keep {
    /// Elements of the rows that ranks are given in, for a mask that depends on them.
    pub(crate) fn row(self) -> Option<usize> {
        match self {
            Self::Ranked { ranks, .. } => Some(ranks.row),
            _ => None,
        }
    }
}

/// The draws of the elements from `first` on, each less what its rank adds to the threshold: those below it stay. `rows` has the differences,
/// in whole rows; without ranks their values do not matter.
pub(crate) fn draws(key: MaskKey, ranks: Option<Ranks>, first: usize, rows: &[f32]) -> Vec<i32> {
    let mut draws = vec![0; rows.len()];
    key.fill(first as u64, &mut draws);
    if let Some(Ranks { row, spread }) = ranks {
        for (draws, row) in draws.chunks_mut(row).zip(rows.chunks(row)) {
            let step = f64::from(spread) / (row.len() - 1).max(1) as f64;
            for (rank, index) in ascending(row).enumerate() {
                draws[index] -= (step * rank as f64).round() as i32;
            }
        }
    }
    draws
}

/// How the probability of staying grows with an element's rank by magnitude within its row, equals by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ranks {
    /// Elements of a row.
    pub row: usize,
    /// What the largest element's threshold has on top of that of the smallest.
    pub spread: u32,
}

/// Positions of a row's elements by magnitude, the smallest first, equals by position.
fn ascending(row: &[f32]) -> impl Iterator<Item = usize> {
    // One integer holds both, which sorts several times faster than a comparison of two keys.
    let mut keys: Vec<u64> = row.iter().zip(0u64..).map(|(d, i)| u64::from(d.abs().to_bits()) << 32 | i).collect();
    keys.sort_unstable();
    keys.into_iter().map(|key| (key & 0xFFFF_FFFF) as usize)
}

/// Zeroes what `keep` drops; `first` is the tensor index of `delta[0]`. Ranks are those within whole rows, of which `delta` may hold parts:
/// `difference` gives any range.
pub(crate) fn sparsify(keep: Keep, first: usize, delta: &mut [f32], difference: impl Fn(&Range<usize>) -> Vec<f32>) {
    let Keep::Ranked { key, threshold, ranks } = keep else {
        return thin_out(keep, first, &vec![0.0; delta.len()], delta);
    };
    let mut start = first / ranks.row * ranks.row;
    let mut rest = delta;
    while !rest.is_empty() {
        let row = start..start + ranks.row;
        let skipped = first.saturating_sub(start);
        let (part, later) = rest.split_at_mut((ranks.row - skipped).min(rest.len()));
        let draws = if part.len() == ranks.row {
            draws(key, Some(ranks), start, part)
        } else {
            draws(key, Some(ranks), start, &difference(&row))
        };
        for (d, draw) in part.iter_mut().zip(&draws[skipped..]) {
            *d = if *draw < threshold as i32 { *d } else { 0.0 };
        }
        rest = later;
        start = row.end;
    }
}
