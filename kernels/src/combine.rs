//! The arithmetic of every [`Program`] over one tile of decoded sources.

use std::ops::Range;

use crate::keep::sparsify;
use crate::mask::{Band, thin_out};
use crate::mix::{Mix, Stays, Vector, draws_masks, mix};
use crate::run::{decoded, difference};
use crate::simd::{LANES, tiered};
use crate::{Codecs, Keep, LineTerm, Lines, Program, Source, TaskVector, Term};

/// The least sum of shares that [`Program::Elected`] divides by.
const LEAST_SHARE: f32 = 1e-6;
/// The least distance that [`Program::Near`] divides by.
const LEAST_DISTANCE: f32 = 1e-6;

/// Some elements of all sources.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// Of the program.
    pub sources: &'a [Source<'a>],
    /// Which elements.
    pub range: &'a Range<usize>,
    /// For types without code here.
    pub codecs: &'a Codecs,
}

impl Tile<'_> {
    fn decode(&self, source: usize, values: &mut [f32]) {
        self.sources[source].decode(self.range.clone(), self.codecs, values);
    }

    fn len(&self) -> usize {
        self.range.len()
    }
}

/// What `program` comes to over one tile; `scratch` is room for what it needs meanwhile, and grows to that.
pub(crate) fn combine(program: &Program, tile: Tile, merged: &mut [f32], scratch: &mut Vec<f32>) {
    let Tile { sources, range, codecs } = tile;
    match program {
        Program::Copy { source } => tile.decode(*source, merged),
        Program::Sum { terms, constant } => {
            if terms.is_empty() {
                merged.fill(*constant);
            }
            let scratch = room(scratch, tile.len());
            for (i, term) in terms.iter().enumerate() {
                let constant = (i == 0).then_some(*constant);
                sources[term.source].accumulate(range.clone(), constant, term.coefficient, codecs, merged, scratch);
            }
        }
        Program::LineSum { terms, lines, row } => {
            let scratch = room(scratch, tile.len());
            merged.fill(0.0);
            for term in terms {
                tile.decode(term.source, scratch);
                add_lines(term, *lines, *row, range.start, scratch, merged);
            }
        }
        Program::TaskVectors { base, vectors, consensus, normalize, lambda } => {
            let how = Mix { consensus: *consensus, normalize: *normalize, lambda: *lambda };
            task_vectors(*base, vectors, how, tile, merged, scratch);
        }
        Program::Elected { base, vectors, select } => {
            let scratch = room(scratch, tile.len());
            tile.decode(*base, scratch);
            let mut deltas = differences(vectors, scratch, tile);
            for (k, (score, index)) in variances(&deltas).into_iter().zip(range.start as u64..).enumerate() {
                if !select.keeps(score, index) {
                    deltas.iter_mut().for_each(|delta| delta[k] = 0.0);
                }
            }
            elect(vectors, &deltas, merged);
            add(merged, 1.0, scratch);
        }
        Program::Overlap { base, vectors, epsilon } => {
            let scratch = room(scratch, tile.len());
            tile.decode(*base, scratch);
            let deltas = differences(vectors, scratch, tile);
            overlap(vectors, &deltas, *epsilon, merged);
            add(merged, 1.0, scratch);
        }
        Program::Near { base, source, t } => {
            let scratch = room(scratch, tile.len());
            tile.decode(*base, merged);
            tile.decode(*source, scratch);
            for (b, x) in merged.iter_mut().zip(scratch) {
                let share = (t / (*b - *x).abs().max(LEAST_DISTANCE)).clamp(0.0, 1.0);
                *b = share * *x + (1.0 - share) * *b;
            }
        }
        Program::Important { base, source, row, divergences, threshold } => {
            let scratch = room(scratch, tile.len());
            tile.decode(*base, merged);
            tile.decode(*source, scratch);
            for (index, (b, x)) in range.clone().zip(merged.iter_mut().zip(scratch)) {
                if importance(*x - *b, divergences[index / row]) >= *threshold {
                    *b = *x;
                }
            }
        }
        Program::Slices { elements, programs } => {
            let slice = range.start / elements;
            let whole = slice * elements..(slice + 1) * elements;
            let parts: Vec<Source> = sources.iter().map(|source| source.part(whole.clone())).collect();
            let range = range.start - whole.start..range.end - whole.start;
            let tile = Tile { sources: &parts, range: &range, codecs };
            combine(&programs[slice], tile, merged, scratch);
        }
        Program::Scaled { program, factor } => {
            combine(program, tile, merged, scratch);
            merged.iter_mut().for_each(|m| *m *= factor);
        }
    }
}

tiered! {
    /// `merged += coefficient * values`.
    pub(crate) fn add<V>(merged: &mut [f32], coefficient: f32, values: &[f32]) {
        for (m, v) in merged.iter_mut().zip(values) {
            *m += coefficient * *v;
        }
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

/// `len` elements of `scratch` from the start of a cache line on, with whatever is in them: a vector that lies in two lines takes several
/// times as long to store.
pub(crate) fn room(scratch: &mut Vec<f32>, len: usize) -> &mut [f32] {
    let most = len + LANES - 1;
    if scratch.len() < most {
        scratch.resize(most, 0.0);
    }
    let skipped = scratch.as_ptr().align_offset(LANES * size_of::<f32>()).min(LANES - 1);
    &mut scratch[skipped..][..len]
}

/// The base plus its mixed task vectors.
fn task_vectors(base: usize, vectors: &[TaskVector], how: Mix, tile: Tile, merged: &mut [f32], scratch: &mut Vec<f32>) {
    // Whole vectors of lanes, in place unless the last one reaches beyond the tile.
    let (len, here) = (tile.len().next_multiple_of(LANES), ..tile.len());
    let (filled_up, values) = room(scratch, len * (vectors.len() + 1)).split_at_mut(len);
    let sum = if tile.len() == len { &mut *merged } else { &mut *filled_up };
    tile.decode(base, &mut sum[here]);
    let first = tile.range.start;
    let draws_masks = draws_masks(vectors, first, tile.len());
    let mut prepared = Vec::with_capacity(vectors.len());
    for (v, values) in vectors.iter().zip(values.chunks_mut(len)) {
        tile.decode(v.source, &mut values[here]);
        let keep = match v.keep {
            Keep::Random { key, threshold } if draws_masks => Stays::Random(key.schedule(), threshold.cast_signed()),
            Keep::Ranked { .. } => {
                thin_out_by_rank(v, base, tile, &sum[here], &mut values[here]);
                Stays::Band(Band::ALL)
            }
            keep => Stays::Band(Band::of(keep, first, tile.len()).unwrap_or_else(|| {
                thin_out(keep, first, &sum[here], &mut values[here]);
                Band::ALL
            })),
        };
        prepared.push(Vector { values, keep, factor: v.rescale * v.weight, weight: v.weight });
    }
    mix(&prepared, how, first, sum);
    if tile.len() < len {
        merged.copy_from_slice(&filled_up[here]);
    }
}

/// Makes equal to the base what a mask by rank drops, so that no difference is left of it.
fn thin_out_by_rank(v: &TaskVector, base: usize, tile: Tile, base_values: &[f32], values: &mut [f32]) {
    let Tile { sources, range, codecs } = tile;
    let mut delta: Vec<f32> = values.iter().zip(base_values).map(|(v, b)| v - b).collect();
    sparsify(v.keep, range.start, &mut delta, |row| {
        difference(&decoded(&sources[base], row, codecs), &sources[v.source], row, codecs)
    });
    for ((v, b), d) in values.iter_mut().zip(base_values).zip(delta) {
        *v = if d == 0.0 { *b } else { *v };
    }
}

fn differences(vectors: &[Term], base: &[f32], tile: Tile) -> Vec<Vec<f32>> {
    let of = |v: &Term| difference(base, &tile.sources[v.source], tile.range, tile.codecs);
    vectors.iter().map(of).collect()
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
