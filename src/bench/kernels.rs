//! Tensors of one type after the other merged by the methods that cost most and least, beside memcpy and beside ggml's own codecs.

use std::time::{Duration, Instant};

use ggraft_kernels::{Cut, GgmlType, Keep, MaskKey, Program, Source, TILE, TaskVector, Term, keep_threshold, run};
use rayon::prelude::*;

use super::copy::Copy;
use crate::ggml::CODECS;
use crate::image::CHUNK;

/// Elements of each tensor, as of a matrix of 4096 by 8192: more than caches hold.
const ELEMENTS: usize = 1 << 25;
/// The part of each tensor that ggml's codecs merge: all of it would take minutes.
const GGML_PART: usize = 16;
/// Elements of the pattern that tensors repeat.
const PATTERN: usize = 1 << 16;

/// Types that parents have, with the type of the result.
const TYPES: [(GgmlType, GgmlType); 24] = {
    use GgmlType::*;
    [
        (F32, Q8_0),
        (F16, Q8_0),
        (BF16, Q8_0),
        (Q8_0, Q8_0),
        (Q4_0, Q8_0),
        (Q4_1, Q8_0),
        (Q5_0, Q8_0),
        (Q5_1, Q8_0),
        (Q2_K, Q8_0),
        (Q3_K, Q8_0),
        (Q4_K, Q8_0),
        (Q5_K, Q8_0),
        (Q6_K, Q8_0),
        (IQ4_NL, Q8_0),
        (IQ4_XS, Q8_0),
        (F16, F16),
        (BF16, BF16),
        (Q4_0, Q4_0),
        (Q4_1, Q4_1),
        (Q5_0, Q5_0),
        (Q5_1, Q5_1),
        (Q4_K, Q4_K),
        (Q5_K, Q5_K),
        (Q6_K, Q6_K),
    ]
};

/// Merging tensors of one type by one method.
#[derive(Debug)]
pub struct Row {
    /// The method, and how many models with the base.
    pub method: &'static str,
    /// The type of all sources.
    pub from: GgmlType,
    /// The type of the result.
    pub to: GgmlType,
    /// Bytes read and written.
    pub bytes: u64,
    /// One per repeat, sorted.
    pub merges: Vec<Duration>,
    /// Copying as many bytes, in turn with the merges; sorted.
    pub copies: Vec<Duration>,
    /// What ggml's `to_float` and `ggml_quantize_chunk` need for the same sum, worked out from a part of it; for sums alone.
    pub ggml: Option<Duration>,
}

impl Row {
    /// Bytes per second in 10^9 of what took `sorted`'s median.
    pub fn gb_per_second(&self, sorted: &[Duration]) -> f64 {
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        self.bytes as f64 / median.as_secs_f64().max(1e-12) / 1e9
    }
}

/// Measures all of them, `repeat` times each; `watch` sees every row as it is done, and how many there will be.
pub fn measure_kernels(repeat: usize, watch: &mut dyn FnMut(&Row, usize)) -> Vec<Row> {
    let to_q8_0 = TYPES.iter().filter(|(_, to)| *to == GgmlType::Q8_0);
    let cases: Vec<(&'static str, Program, GgmlType, GgmlType)> = TYPES
        .iter()
        .map(|(from, to)| ("linear, 2 models", linear(), *from, *to))
        .chain(to_q8_0.clone().map(|(from, to)| ("ties, 3 models", ties(), *from, *to)))
        .chain(to_q8_0.map(|(from, to)| ("dare_ties, 3 models", dare_ties(), *from, *to)))
        .collect();
    let count = cases.len();
    let measure = |(method, program, from, to)| {
        let row = measure(method, &program, from, to, repeat);
        watch(&row, count);
        row
    };
    cases.into_iter().map(measure).collect()
}

/// The average of two tensors.
pub fn linear() -> Program {
    let terms = vec![Term { source: 0, coefficient: 0.6 }, Term { source: 1, coefficient: 0.4 }];
    Program::Sum { terms, constant: 0.0 }
}

/// A base and about the larger half of two task vectors, with consensus.
pub fn ties() -> Program {
    let from = 0.5f32.to_bits();
    task_vectors([Keep::Largest(Cut { above: from, from, ties_end: 0 }); 2], true)
}

/// A base and a random half of two task vectors, with consensus.
pub fn dare_ties() -> Program {
    let keep = |stream| Keep::Random { key: MaskKey { seed: [0; 2], stream }, threshold: keep_threshold(0.5) };
    task_vectors([keep([0, 0]), keep([0, 1])], false)
}

fn task_vectors(keeps: [Keep; 2], normalize: bool) -> Program {
    let vector = |(keep, source)| TaskVector { source, weight: 0.5, keep, rescale: 1.1 };
    let vectors = keeps.into_iter().zip(1..).map(vector).collect();
    Program::TaskVectors { base: 0, vectors, consensus: true, normalize, lambda: 1.0 }
}

fn measure(method: &'static str, program: &Program, from: GgmlType, to: GgmlType, repeat: usize) -> Row {
    let count = program.sources().len();
    let data: Vec<Vec<u8>> = (0..count).map(|seed| tensor(from, seed, ELEMENTS)).collect();
    let mut out = vec![0; bytes(to, ELEMENTS)];
    let moved = (count * bytes(from, ELEMENTS) + out.len()) as u64;
    let mut copy = Copy::of(moved);
    let (mut merges, mut copies) = (Vec::new(), Vec::new());
    merge(program, from, &data, to, &mut out);
    for _ in 0..repeat {
        copies.push(copy.time());
        let start = Instant::now();
        merge(program, from, &data, to, &mut out);
        merges.push(start.elapsed());
    }
    merges.sort();
    copies.sort();
    let ggml = matches!(program, Program::Sum { .. }).then(|| {
        let start = Instant::now();
        merge_with_ggml(from, &data, to, &mut out);
        start.elapsed() * GGML_PART as u32
    });
    Row { method, from, to, bytes: moved, merges, copies, ggml }
}

fn bytes(ty: GgmlType, elements: usize) -> usize {
    ty.row_size(elements).expect("whole blocks of every type")
}

/// Numbers between -1 and 1 as blocks, the same ones again and again where there are many.
pub fn tensor(ty: GgmlType, seed: usize, elements: usize) -> Vec<u8> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 65_521) as f32 / 32_760.5 - 1.0;
    let values: Vec<f32> = (0..PATTERN).map(value).collect();
    let mut pattern = vec![0; bytes(ty, PATTERN)];
    encode(ty, &values, &mut pattern);
    let mut data = pattern.repeat(elements.div_ceil(PATTERN));
    data.truncate(bytes(ty, elements));
    data
}

fn merge(program: &Program, from: GgmlType, data: &[Vec<u8>], to: GgmlType, out: &mut [u8]) {
    let sources: Vec<Source> = data.iter().map(|data| Source::new(from, data)).collect();
    out.par_chunks_mut(bytes(to, CHUNK)).enumerate().for_each(|(i, out)| {
        run(program, &sources, to, i * CHUNK..(i + 1) * CHUNK, out, &CODECS);
    });
}

/// The sum of [`linear`] for one part of the tensors, with ggml's codecs and plain loops in between.
fn merge_with_ggml(from: GgmlType, data: &[Vec<u8>], to: GgmlType, out: &mut [u8]) {
    let part = &mut out[..bytes(to, ELEMENTS / GGML_PART)];
    part.par_chunks_mut(bytes(to, TILE)).enumerate().for_each(|(i, out)| {
        let here = i * bytes(from, TILE)..(i + 1) * bytes(from, TILE);
        let (mut sum, mut values) = (vec![0f32; TILE], vec![0f32; TILE]);
        for (data, coefficient) in data.iter().zip([0.6, 0.4]) {
            decode(from, &data[here.clone()], &mut values);
            sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += coefficient * value);
        }
        encode(to, &sum, out);
    });
}

/// ggml's encoder; for F32, which needs none, there is none.
pub(super) fn encode(ty: GgmlType, values: &[f32], out: &mut [u8]) {
    match ty {
        GgmlType::F32 => out.as_chunks_mut().0.iter_mut().zip(values).for_each(|(out, v)| *out = v.to_le_bytes()),
        _ => (CODECS.encode)(ty, values, out),
    }
}

/// The same for its decoders.
fn decode(ty: GgmlType, bytes: &[u8], values: &mut [f32]) {
    match ty {
        GgmlType::F32 => {
            values.iter_mut().zip(bytes.as_chunks().0).for_each(|(v, bytes)| *v = f32::from_le_bytes(*bytes))
        }
        _ => (CODECS.decode)(ty, bytes, values),
    }
}
