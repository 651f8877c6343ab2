//! Merging one tile at a time on one core: every source type through the path that swaps take, with memcpy of as many bytes beside it.
//!
//! `cargo bench --bench merge`. Bytes per second count what is read and what is written.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use ggraft::ggml::CODECS;
use ggraft_kernels::{Cut, GgmlType, Keep, Program, Source, TILE, TaskVector, Term, run};

/// Elements of the tensor that is merged: small enough for the caches, so that the kernels are measured and not the memory.
const ELEMENTS: usize = 16 * TILE;
/// Types that parents commonly have.
const TYPES: [GgmlType; 8] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::Q8_0,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q4_K,
    GgmlType::Q6_K,
];

fn main() {
    divan::main();
}

/// A tensor of type `ty` with deterministic values.
fn tensor(ty: GgmlType, seed: usize) -> Vec<u8> {
    let values: Vec<f32> = (0..ELEMENTS).map(|i| ((i * 7919 + seed) % 2003) as f32 / 1000.0 - 1.0).collect();
    let source: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut out = vec![0; bytes(ty)];
    let program = Program::Sum { terms: vec![Term { source: 0, coefficient: 1.0 }], constant: 0.0 };
    run(&program, &[Source::new(GgmlType::F32, &source)], ty, 0..ELEMENTS, &mut out, &CODECS);
    out
}

fn bytes(ty: GgmlType) -> usize {
    ty.row_size(ELEMENTS).expect("whole blocks")
}

fn merge(bencher: Bencher, ty: GgmlType, count: usize, program: &Program) {
    let data: Vec<Vec<u8>> = (0..count).map(|i| tensor(ty, i)).collect();
    let sources: Vec<Source> = data.iter().map(|data| Source::new(ty, data)).collect();
    let mut out = vec![0; bytes(GgmlType::Q8_0)];
    bencher
        .counter(BytesCount::new(count * bytes(ty) + out.len()))
        .bench_local(|| run(program, black_box(&sources), GgmlType::Q8_0, 0..ELEMENTS, &mut out, &CODECS));
}

/// Two parents averaged into Q8_0.
#[divan::bench(args = TYPES)]
fn linear(bencher: Bencher, ty: GgmlType) {
    let terms = vec![Term { source: 0, coefficient: 0.6 }, Term { source: 1, coefficient: 0.4 }];
    merge(bencher, ty, 2, &Program::Sum { terms, constant: 0.0 });
}

/// A base and two task vectors, trimmed and with consensus, into Q8_0.
#[divan::bench(args = TYPES)]
fn ties(bencher: Bencher, ty: GgmlType) {
    let keep = Keep::Largest(Cut { above: 0.5f32.to_bits(), from: 0.5f32.to_bits(), ties_end: 0 });
    let vectors = [1, 2].map(|source| TaskVector { source, weight: 0.5, keep, rescale: 1.0 }).to_vec();
    merge(bencher, ty, 3, &Program::TaskVectors { base: 0, vectors, consensus: true, normalize: true, lambda: 1.0 });
}

/// What `linear` would take if it only moved the bytes.
#[divan::bench(args = TYPES)]
fn memcpy(bencher: Bencher, ty: GgmlType) {
    let moved = 2 * bytes(ty) + bytes(GgmlType::Q8_0);
    let from = vec![1u8; moved / 2];
    let mut to = vec![0u8; moved / 2];
    bencher.counter(BytesCount::new(moved)).bench_local(|| black_box(&mut to).copy_from_slice(black_box(&from)));
}
