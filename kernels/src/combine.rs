//! The arithmetic of every [`Program`] over one tile of decoded sources.

use std::ops::Range;

use crate::keep::sparsify;
use crate::run::{decode, decoded, difference};
use crate::{Codecs, LineTerm, Lines, Program, Source, TaskVector, Term};

/// Weight sums closer to zero are not divided by.
const NO_WEIGHT: f32 = 1e-8;
/// The least sum of shares that [`Program::Elected`] divides by.
const LEAST_SHARE: f32 = 1e-6;
/// The least distance that [`Program::Near`] divides by.
const LEAST_DISTANCE: f32 = 1e-6;

/// What `program` comes to over one tile; `scratch` is as long as the tile and holds one source of it.
pub(crate) fn combine(
    program: &Program,
    sources: &[Source],
    tile: &Range<usize>,
    codecs: &Codecs,
    merged: &mut [f32],
    scratch: &mut [f32],
) {
    match program {
        Program::Copy { source } => decode(&sources[*source], tile, codecs, merged),
        Program::Sum { terms, constant } => {
            merged.fill(*constant);
            for term in terms {
                decode(&sources[term.source], tile, codecs, scratch);
                add(merged, term.coefficient, scratch);
            }
        }
        Program::LineSum { terms, lines, row } => {
            merged.fill(0.0);
            for term in terms {
                decode(&sources[term.source], tile, codecs, scratch);
                add_lines(term, *lines, *row, tile.start, scratch, merged);
            }
        }
        Program::TaskVectors { base, vectors, consensus, normalize, lambda } => {
            decode(&sources[*base], tile, codecs, scratch);
            let deltas: Vec<Vec<f32>> = vectors
                .iter()
                .map(|v| task_vector(v, &sources[*base], scratch, &sources[v.source], tile, codecs))
                .collect();
            mix(vectors, &deltas, *consensus, *normalize, merged);
            for (m, b) in merged.iter_mut().zip(scratch) {
                *m = *b + *m * lambda;
            }
        }
        Program::Elected { base, vectors, select } => {
            decode(&sources[*base], tile, codecs, scratch);
            let mut deltas = differences(vectors, scratch, sources, tile, codecs);
            for (k, (score, index)) in variances(&deltas).into_iter().zip(tile.start as u64..).enumerate() {
                if !select.keeps(score, index) {
                    deltas.iter_mut().for_each(|delta| delta[k] = 0.0);
                }
            }
            elect(vectors, &deltas, merged);
            add(merged, 1.0, scratch);
        }
        Program::Overlap { base, vectors, epsilon } => {
            decode(&sources[*base], tile, codecs, scratch);
            let deltas = differences(vectors, scratch, sources, tile, codecs);
            overlap(vectors, &deltas, *epsilon, merged);
            add(merged, 1.0, scratch);
        }
        Program::Near { base, source, t } => {
            decode(&sources[*base], tile, codecs, merged);
            decode(&sources[*source], tile, codecs, scratch);
            for (b, x) in merged.iter_mut().zip(scratch) {
                let share = (t / (*b - *x).abs().max(LEAST_DISTANCE)).clamp(0.0, 1.0);
                *b = share * *x + (1.0 - share) * *b;
            }
        }
        Program::Important { base, source, row, divergences, threshold } => {
            decode(&sources[*base], tile, codecs, merged);
            decode(&sources[*source], tile, codecs, scratch);
            for (index, (b, x)) in tile.clone().zip(merged.iter_mut().zip(scratch)) {
                if importance(*x - *b, divergences[index / row]) >= *threshold {
                    *b = *x;
                }
            }
        }
        Program::Slices { elements, programs } => {
            let slice = tile.start / elements;
            let whole = slice * elements..(slice + 1) * elements;
            let parts: Vec<Source> = sources.iter().map(|source| source.part(whole.clone())).collect();
            let tile = tile.start - whole.start..tile.end - whole.start;
            combine(&programs[slice], &parts, &tile, codecs, merged, scratch);
        }
        Program::Scaled { program, factor } => {
            combine(program, sources, tile, codecs, merged, scratch);
            merged.iter_mut().for_each(|m| *m *= factor);
        }
    }
}

fn add(merged: &mut [f32], coefficient: f32, values: &[f32]) {
    for (m, v) in merged.iter_mut().zip(values) {
        *m += coefficient * *v;
    }
}

/// Adds a source, of which `values` are the elements from `first` on, line by line.
fn add_lines(term: &LineTerm, lines: Lines, row: usize, first: usize, values: &[f32], merged: &mut [f32]) {
    let mut at = 0;
    while at < values.len() {
        let (number, column) = ((first + at) / row, (first + at) % row);
        let end = (at + row - column).min(values.len());
        match lines {
            Lines::Rows => add(&mut merged[at..end], term.coefficients[number], &values[at..end]),
            Lines::Columns => {
                let coefficients = &term.coefficients[column..];
                for ((m, v), c) in merged[at..end].iter_mut().zip(&values[at..end]).zip(coefficients) {
                    *m += c * *v;
                }
            }
        }
        at = end;
    }
}

/// `weight * rescale * sparsify(source - base)` over one tile, of which `base` is decoded.
fn task_vector(
    v: &TaskVector,
    base_source: &Source,
    base: &[f32],
    source: &Source,
    tile: &Range<usize>,
    codecs: &Codecs,
) -> Vec<f32> {
    let mut delta = difference(base, source, tile, codecs);
    sparsify(v.keep, tile.start, &mut delta, |row| difference(&decoded(base_source, row, codecs), source, row, codecs));
    for d in &mut delta {
        *d = *d * v.rescale * v.weight;
    }
    delta
}

fn differences(
    vectors: &[Term],
    base: &[f32],
    sources: &[Source],
    tile: &Range<usize>,
    codecs: &Codecs,
) -> Vec<Vec<f32>> {
    vectors.iter().map(|v| difference(base, &sources[v.source], tile, codecs)).collect()
}

/// The sum of `deltas`, element by element.
fn total(deltas: &[Vec<f32>], len: usize) -> Vec<f32> {
    let mut total = vec![0f32; len];
    deltas.iter().for_each(|delta| add(&mut total, 1.0, delta));
    total
}

/// Whether a delta has the sign that its element's sum elects: a sum of zero elects +, an exact zero never agrees.
fn agrees(delta: f32, total: f32) -> bool {
    if total >= 0.0 { delta > 0.0 } else { delta < 0.0 }
}

/// Elements that are mixed at once, their sums in registers.
const LANES: usize = 16;

/// Sums the weighted task vectors; with consensus, per element, only those that have the sign of the plain sum.
fn mix(vectors: &[TaskVector], deltas: &[Vec<f32>], consensus: bool, normalize: bool, out: &mut [f32]) {
    if !consensus {
        let weights: f32 = vectors.iter().map(|v| v.weight).sum();
        let divisor = if normalize && weights.abs() >= NO_WEIGHT { weights } else { 1.0 };
        let total = total(deltas, out.len());
        out.iter_mut().zip(&total).for_each(|(o, sum)| *o = sum / divisor);
        return;
    }
    let (chunks, rest) = out.as_chunks_mut::<LANES>();
    let tail = chunks.len() * LANES;
    for (i, out) in chunks.iter_mut().enumerate() {
        *out = vote(vectors, deltas, normalize, i * LANES);
    }
    for (i, out) in rest.iter_mut().enumerate() {
        [*out] = vote(vectors, deltas, normalize, tail + i);
    }
}

/// The sums over those that agree for `N` elements from `at` on.
fn vote<const N: usize>(vectors: &[TaskVector], deltas: &[Vec<f32>], normalize: bool, at: usize) -> [f32; N] {
    let lanes = |delta: &Vec<f32>| *delta[at..].first_chunk::<N>().expect("tiles of one length");
    let mut total = [0f32; N];
    for delta in deltas {
        let delta = lanes(delta);
        (0..N).for_each(|k| total[k] += delta[k]);
    }
    let (mut sum, mut weights) = ([0f32; N], [0f32; N]);
    for (v, delta) in vectors.iter().zip(deltas) {
        let delta = lanes(delta);
        for k in 0..N {
            let counts = agrees(delta[k], total[k]);
            sum[k] += if counts { delta[k] } else { 0.0 };
            weights[k] += if counts { v.weight } else { 0.0 };
        }
    }
    if normalize {
        (0..N).for_each(|k| sum[k] /= if weights[k] != 0.0 { weights[k] } else { 1.0 });
    }
    sum
}

/// The average of the deltas that agree, each counting by its vector's coefficient.
fn elect(vectors: &[Term], deltas: &[Vec<f32>], out: &mut [f32]) {
    let total = total(deltas, out.len());
    out.fill(0.0);
    let mut shares = vec![0f32; out.len()];
    for (v, delta) in vectors.iter().zip(deltas) {
        for (((o, s), d), sum) in out.iter_mut().zip(&mut shares).zip(delta).zip(&total) {
            let share = if agrees(*d, *sum) { v.coefficient } else { 0.0 };
            *o += share * *d;
            *s += share;
        }
    }
    for (o, s) in out.iter_mut().zip(&shares) {
        *o /= s.max(LEAST_SHARE);
    }
}

/// The average of the deltas above `epsilon`; a lone one is multiplied by its vector's coefficient instead.
fn overlap(vectors: &[Term], deltas: &[Vec<f32>], epsilon: f32, out: &mut [f32]) {
    let mut counts = vec![0f32; out.len()];
    for delta in deltas {
        for (c, d) in counts.iter_mut().zip(delta) {
            *c += if d.abs() > epsilon { 1.0 } else { 0.0 };
        }
    }
    out.fill(0.0);
    for (v, delta) in vectors.iter().zip(deltas) {
        for ((o, d), c) in out.iter_mut().zip(delta).zip(&counts) {
            let factor = if *c == 1.0 { v.coefficient } else { 1.0 / c };
            *o += if d.abs() > epsilon { *d * factor } else { 0.0 };
        }
    }
}

/// Population variances over the models, element by element.
pub(crate) fn variances(deltas: &[Vec<f32>]) -> Vec<f32> {
    let len = deltas.first().map_or(0, Vec::len);
    let models = deltas.len() as f64;
    let mut means = vec![0f64; len];
    for delta in deltas {
        means.iter_mut().zip(delta).for_each(|(m, d)| *m += f64::from(*d));
    }
    means.iter_mut().for_each(|m| *m /= models);
    let mut squares = vec![0f64; len];
    for delta in deltas {
        for ((s, m), d) in squares.iter_mut().zip(&means).zip(delta) {
            *s += (f64::from(*d) - m).powi(2);
        }
    }
    // The sign of NaN is anything, and scores are ordered by their bits.
    squares.into_iter().map(|s| ((s / models) as f32).abs()).collect()
}

/// How much a difference matters in a row of this divergence.
pub(crate) fn importance(difference: f32, divergence: f32) -> f32 {
    (difference * divergence).abs()
}
