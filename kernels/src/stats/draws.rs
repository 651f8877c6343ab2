//! Sums over what random masks keep, so that they can be rescaled: for every density at once, or for one mask.

use crate::keep::{Ranks, draws, sparsify};
use crate::philox::DRAW_BITS;
use crate::run::{decoded, difference};
use crate::{Codecs, Keep, MaskKey, Source};

use super::{PIECE, sum_of_pieces, tiles};

/// Sums below this count as nothing to match in [`rescale`].
const NO_L1: f64 = 1e-7;

/// Thresholds that [`kept_by_level`] knows the sums for lie this many to a probability of 1.
pub const LEVELS: usize = 4096;
/// Bits of a draw below its level.
const LEVEL_BITS: u32 = DRAW_BITS - LEVELS.ilog2();

/// The threshold of a level, which is kept by a share `level / LEVELS` of all draws.
pub fn level_threshold(level: usize) -> u32 {
    (level as u32) << LEVEL_BITS
}

/// The L1 norm of what a random mask keeps of `source - base` for every level from 0 to [`LEVELS`], which keeps all.
pub fn kept_by_level(
    base: &Source,
    source: &Source,
    elements: usize,
    key: MaskKey,
    ranks: Option<Ranks>,
    codecs: &Codecs,
) -> Vec<f64> {
    // Whole rows where ranks matter, so that no row is sorted twice.
    let piece = ranks.map_or(PIECE, |ranks| (PIECE / ranks.row).max(1) * ranks.row);
    // Slot 0 is what every mask keeps.
    let mut sums = sum_of_pieces(elements, piece, LEVELS + 1, |piece, sums| {
        let delta = difference(&decoded(base, &piece, codecs), source, &piece, codecs);
        for (d, draw) in delta.iter().zip(draws(key, ranks, piece.start, &delta)) {
            let slot = if draw < 0 { 0 } else { (draw >> LEVEL_BITS) as usize + 1 };
            sums[slot] += f64::from(d.abs());
        }
    });
    for level in 1..=LEVELS {
        sums[level] += sums[level - 1];
    }
    sums
}

/// What brings the L1 norm of the kept part of `source - base` back to that of the whole.
pub fn rescale(base: &Source, source: &Source, elements: usize, keep: Keep, codecs: &Codecs) -> f32 {
    let whole = |row: &_| difference(&decoded(base, row, codecs), source, row, codecs);
    let sums = sum_of_pieces(elements, PIECE, 2, |piece, sums| {
        for tile in tiles(piece) {
            let mut delta = whole(&tile);
            sums[0] += delta.iter().map(|d| f64::from(d.abs())).sum::<f64>();
            sparsify(keep, tile.start, &mut delta, whole);
            sums[1] += delta.iter().map(|d| f64::from(d.abs())).sum::<f64>();
        }
    });
    ratio(sums[0], sums[1])
}

/// The factor from one L1 norm to another, or 1 where either is next to nothing.
pub fn ratio(whole: f64, kept: f64) -> f32 {
    if whole < NO_L1 || kept < NO_L1 { 1.0 } else { (whole / kept) as f32 }
}
