//! Executes a [`Program`] over a range of elements: decode a tile of each source, combine in f32, encode the tile.

use std::ops::Range;

use crate::{Codecs, GgmlType, Keep, Program, Source, TaskVector};

/// Elements that are decoded, combined and encoded together: a multiple of every block size, small enough that the f32 tiles of
/// a few sources stay in the first-level cache.
pub const TILE: usize = 2048;

/// Fills `out`, the bytes of elements `range` of the destination.
///
/// `range` starts at a multiple of [`TILE`] and ends at one or at the tensor's end. Each element depends only on the sources' elements
/// at its own index, so the bytes do not depend on how a tensor is cut into ranges.
///
/// # Panics
/// If a source or `out` is not as long as the range needs, or a type is one that `codecs` cannot handle; planners check both.
pub fn run(program: &Program, sources: &[Source], ty: GgmlType, range: Range<usize>, out: &mut [u8], codecs: &Codecs) {
    if let Program::Copy { source } = program {
        return sources[*source].copy(range, out);
    }
    let mut combined = [0f32; TILE];
    let mut scratch = [0f32; TILE];
    let mut start = range.start;
    let mut rest = out;
    while start < range.end {
        let tile = start..(start + TILE).min(range.end);
        let merged = &mut combined[..tile.len()];
        combine(program, sources, &tile, codecs, merged, &mut scratch);
        let (now, later) = rest.split_at_mut(ty.row_size(tile.len()).expect("tiles are whole blocks"));
        codecs.quantize(ty, merged, now);
        rest = later;
        start = tile.end;
    }
    assert!(rest.is_empty(), "destination longer than its range");
}

/// What `program` comes to over one tile; `scratch` holds one source of it.
fn combine(
    program: &Program,
    sources: &[Source],
    tile: &Range<usize>,
    codecs: &Codecs,
    merged: &mut [f32],
    scratch: &mut [f32; TILE],
) {
    match program {
        Program::Copy { source } => decode(&sources[*source], tile, codecs, merged),
        Program::Sum { terms, constant } => {
            merged.fill(*constant);
            for term in terms {
                let values = &mut scratch[..tile.len()];
                decode(&sources[term.source], tile, codecs, values);
                for (m, v) in merged.iter_mut().zip(values) {
                    *m += term.coefficient * *v;
                }
            }
        }
        Program::TaskVectors { base, vectors, consensus, normalize, lambda } => {
            let base = decoded(&sources[*base], tile, codecs);
            let deltas: Vec<Vec<f32>> =
                vectors.iter().map(|v| task_vector(v, &base, &sources[v.source], tile, codecs)).collect();
            mix(vectors, &deltas, *consensus, *normalize, merged);
            for (m, b) in merged.iter_mut().zip(&base) {
                *m = b + *m * lambda;
            }
        }
        Program::Scaled { program, factor } => {
            combine(program, sources, tile, codecs, merged, scratch);
            merged.iter_mut().for_each(|m| *m *= factor);
        }
    }
}

/// Decodes one tile of one source into `values`.
fn decode(source: &Source, tile: &Range<usize>, codecs: &Codecs, values: &mut [f32]) {
    source.decode(tile.clone(), codecs, values);
}

/// One tile of one source.
pub(crate) fn decoded(source: &Source, tile: &Range<usize>, codecs: &Codecs) -> Vec<f32> {
    let mut values = vec![0f32; tile.len()];
    decode(source, tile, codecs, &mut values);
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

/// Zeroes what `keep` drops; `first` is the tensor index of `delta[0]`.
pub(crate) fn sparsify(keep: Keep, first: usize, delta: &mut [f32]) {
    match keep {
        Keep::All => {}
        Keep::Nothing => delta.fill(0.0),
        Keep::Largest { threshold, ties_end } => {
            for (d, index) in delta.iter_mut().zip(first as u64..) {
                let magnitude = d.abs();
                if !(magnitude > threshold || (magnitude == threshold && index < ties_end)) {
                    *d = 0.0;
                }
            }
        }
        Keep::Random { key, threshold } => {
            let mut kept = vec![false; delta.len()];
            key.fill(first as u64, threshold, &mut kept);
            for (d, kept) in delta.iter_mut().zip(kept) {
                if !kept {
                    *d = 0.0;
                }
            }
        }
    }
}

/// `weight * rescale * sparsify(source - base)` over one tile.
fn task_vector(v: &TaskVector, base: &[f32], source: &Source, tile: &Range<usize>, codecs: &Codecs) -> Vec<f32> {
    let mut delta = difference(base, source, tile, codecs);
    sparsify(v.keep, tile.start, &mut delta);
    for d in &mut delta {
        *d = *d * v.rescale * v.weight;
    }
    delta
}

/// Sums the weighted task vectors; with consensus, per element, only those that have the sign of the plain sum
/// (a sum of zero elects +, an exact zero never agrees).
fn mix(vectors: &[TaskVector], deltas: &[Vec<f32>], consensus: bool, normalize: bool, out: &mut [f32]) {
    if !consensus {
        let total: f32 = vectors.iter().map(|v| v.weight).sum();
        let divisor = if normalize && total.abs() >= 1e-8 { total } else { 1.0 };
        for (k, o) in out.iter_mut().enumerate() {
            *o = deltas.iter().map(|d| d[k]).sum::<f32>() / divisor;
        }
        return;
    }
    for (k, o) in out.iter_mut().enumerate() {
        let elected = if deltas.iter().map(|d| d[k]).sum::<f32>() >= 0.0 { 1.0 } else { -1.0 };
        let (mut sum, mut weights) = (0f32, 0f32);
        for (v, d) in vectors.iter().zip(deltas) {
            if d[k] * elected > 0.0 {
                sum += d[k];
                weights += v.weight;
            }
        }
        *o = if normalize && weights != 0.0 { sum / weights } else { sum };
    }
}
