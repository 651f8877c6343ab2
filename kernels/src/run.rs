//! Executes a [`Program`] over a range of elements: decode a tile of each source, combine in f32, encode the tile.

use std::ops::Range;

use crate::combine::{Tile, combine, room};
use crate::{Codecs, GgmlType, Program, Source, fold};

/// Elements that are decoded, combined and encoded together: a multiple of every block size, small enough that the f32 tiles of
/// a few sources stay in a core's own caches.
pub const TILE: usize = 2048;

/// Fills `out`, the bytes of elements `range` of the destination.
///
/// `range` is whole blocks of all types. The bytes do not depend on how a tensor is cut into ranges; where that is at multiples of
/// [`Program::unit`], no work is done twice.
///
/// # Panics
/// If a source or `out` is not as long as the range needs, or a type is one that `codecs` cannot handle; planners check both.
pub fn run(program: &Program, sources: &[Source], ty: GgmlType, range: Range<usize>, out: &mut [u8], codecs: &Codecs) {
    if let Program::Copy { source } = program {
        return sources[*source].copy(range, out);
    }
    if let Some((source, factor)) = program.multiple()
        && fold::knows(ty)
        && let Some(blocks) = sources[source].blocks(ty, range.clone())
    {
        let blocks = blocks.chunks(ty.type_size()).zip(out.chunks_mut(ty.type_size()));
        for (start, (block, out)) in range.step_by(ty.block_size()).zip(blocks) {
            if !fold::fold(ty, block, factor, out) {
                merge(program, sources, ty, start..start + ty.block_size(), out, codecs);
            }
        }
        return;
    }
    merge(program, sources, ty, range, out, codecs);
}

fn merge(program: &Program, sources: &[Source], ty: GgmlType, range: Range<usize>, out: &mut [u8], codecs: &Codecs) {
    let widest = TILE.max(program.unit()).min(range.len());
    let (mut combined, mut scratch) = (Vec::new(), Vec::new());
    let combined = room(&mut combined, widest);
    let mut start = range.start;
    let mut rest = out;
    while start < range.end {
        let tile = start..tile_end(program, start).min(range.end);
        let merged = &mut combined[..tile.len()];
        combine(program, Tile { sources, range: &tile, codecs }, merged, &mut scratch);
        let (now, later) = rest.split_at_mut(ty.row_size(tile.len()).expect("tiles are whole blocks"));
        codecs.quantize(ty, merged, now);
        rest = later;
        start = tile.end;
    }
    assert!(rest.is_empty(), "destination longer than its range");
}

/// Where the tile that begins at `start` ends at the latest: no tile lies in two slices or, where that matters, in more rows than it must.
fn tile_end(program: &Program, start: usize) -> usize {
    match program {
        Program::Slices { elements, programs } => {
            let slice = start / elements;
            let first = slice * elements;
            first + tile_end(&programs[slice], start - first).min(*elements)
        }
        Program::Scaled { program, .. } => tile_end(program, start),
        _ => {
            let unit = if program.unit() == 1 { TILE } else { program.unit() };
            (start / unit + 1) * unit
        }
    }
}

/// One tile of one source.
pub(crate) fn decoded(source: &Source, tile: &Range<usize>, codecs: &Codecs) -> Vec<f32> {
    let mut values = vec![0f32; tile.len()];
    source.decode(tile.clone(), codecs, &mut values);
    values
}

/// `source - base` over one tile, in f32, which is the precision that order statistics are defined in.
pub(crate) fn difference(base: &[f32], source: &Source, tile: &Range<usize>, codecs: &Codecs) -> Vec<f32> {
    let mut delta = decoded(source, tile, codecs);
    for (d, b) in delta.iter_mut().zip(base) {
        *d -= b;
    }
    delta
}
