//! How much the changes of several models overlap.

use crate::run::{decoded, difference};
use crate::{Codecs, Source};

use super::{PIECE, sum_of_pieces, tiles};

/// For each source, how many of its differences to the base above `epsilon` stand where others have one too, and how many stand alone.
pub fn overlaps(base: &Source, sources: &[Source], elements: usize, epsilon: f32, codecs: &Codecs) -> Vec<[f64; 2]> {
    let sums = sum_of_pieces(elements, PIECE, 2 * sources.len(), |piece, sums| {
        for tile in tiles(piece) {
            let base = decoded(base, &tile, codecs);
            let changed = |source| difference(&base, source, &tile, codecs).iter().map(|d| d.abs() > epsilon).collect();
            let changed: Vec<Vec<bool>> = sources.iter().map(changed).collect();
            for k in 0..tile.len() {
                let alone = changed.iter().filter(|c| c[k]).count() == 1;
                for (i, _) in changed.iter().enumerate().filter(|(_, c)| c[k]) {
                    sums[2 * i + usize::from(alone)] += 1.0;
                }
            }
        }
    });
    sums.as_chunks().0.to_vec()
}
