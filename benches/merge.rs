//! Merging on one core and in the caches: every source and every result type through the path that swaps take, with memcpy of as many
//! bytes beside it. `ggraft bench` measures the same on all cores and in memory.
//!
//! `cargo bench --bench merge`, with `GGRAFT_ISA` to choose the instructions. Bytes per second count what is read and what is written.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use ggraft::bench;
use ggraft::ggml::CODECS;
use ggraft_kernels::{GgmlType, Isa, Program, Source, run};

/// Elements of the tensor that is merged: small enough for the caches, so that the kernels are measured and not the memory.
const ELEMENTS: usize = 1 << 16;
/// Types that parents have and that ggml can encode without an importance matrix.
const SOURCES: [GgmlType; 15] = {
    use GgmlType::*;
    [F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS]
};
/// Types of results.
const RESULTS: [GgmlType; 11] = {
    use GgmlType::*;
    [F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K]
};

fn main() {
    if let Ok(name) = std::env::var("GGRAFT_ISA") {
        let known = Isa::ALL.into_iter().find(|isa| isa.name() == name);
        assert!(known.is_some_and(Isa::select), "this processor cannot do {name}");
    }
    divan::main();
}

fn bytes(ty: GgmlType) -> usize {
    ty.row_size(ELEMENTS).expect("whole blocks")
}

fn merge(bencher: Bencher, ty: GgmlType, count: usize, program: &Program) {
    let data: Vec<Vec<u8>> = (0..count).map(|seed| bench::tensor(ty, seed, ELEMENTS)).collect();
    let sources: Vec<Source> = data.iter().map(|data| Source::new(ty, data)).collect();
    merge_into(bencher, &sources, GgmlType::Q8_0, program);
}

fn merge_into(bencher: Bencher, sources: &[Source], ty: GgmlType, program: &Program) {
    let mut out = vec![0; bytes(ty)];
    let read: usize = sources.iter().filter_map(Source::bytes).map(<[u8]>::len).sum();
    bencher
        .counter(BytesCount::new(read + out.len()))
        .bench_local(|| run(program, black_box(sources), ty, 0..ELEMENTS, &mut out, &CODECS));
}

/// Two parents averaged into Q8_0.
#[divan::bench(args = SOURCES)]
fn linear(bencher: Bencher, ty: GgmlType) {
    merge(bencher, ty, 2, &bench::linear());
}

/// A base and two task vectors, trimmed and with consensus, into Q8_0.
#[divan::bench(args = SOURCES)]
fn ties(bencher: Bencher, ty: GgmlType) {
    merge(bencher, ty, 3, &bench::ties());
}

/// The same with a random half of each vector.
#[divan::bench(args = SOURCES)]
fn dare_ties(bencher: Bencher, ty: GgmlType) {
    merge(bencher, ty, 3, &bench::dare_ties());
}

/// Two F32 tensors averaged into every type.
#[divan::bench(args = RESULTS)]
fn encode(bencher: Bencher, ty: GgmlType) {
    let data = [0, 1].map(|seed| bench::tensor(GgmlType::F32, seed, ELEMENTS));
    let sources = data.each_ref().map(|data| Source::new(GgmlType::F32, data));
    merge_into(bencher, &sources, ty, &bench::linear());
}

/// What `linear` would take if it only moved the bytes.
#[divan::bench(args = SOURCES)]
fn memcpy(bencher: Bencher, ty: GgmlType) {
    let moved = 2 * bytes(ty) + bytes(GgmlType::Q8_0);
    let from = vec![1u8; moved / 2];
    let mut to = vec![0u8; moved / 2];
    bencher.counter(BytesCount::new(moved)).bench_local(|| black_box(&mut to).copy_from_slice(black_box(&from)));
}
