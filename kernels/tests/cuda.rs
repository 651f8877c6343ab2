//! The kernels for GPUs against [`run`], byte for byte, without a GPU: they are compiled as host code, in which a block's threads take turns.

use std::env;
use std::ffi::CStr;
use std::process::Command;
use std::sync::LazyLock;

use ggraft_kernels::cuda::{Data, Job, KERNELS, Launch, Place};
use ggraft_kernels::{
    Codecs, Cut, GgmlType, Keep, LineTerm, Lines, LowRank, MaskKey, Program, Source, TaskVector, Term, keep_threshold,
    run,
};
use libloading::Library;

/// One block of a kernel's grid.
type Kernel = unsafe extern "C" fn(job: *const Job, index: u64, threads: u32, shared: *mut u8);

/// What tests of destinations and sources go through.
const SOURCES: [GgmlType; 15] = {
    use GgmlType::*;
    [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS]
};
const DESTINATIONS: [GgmlType; 11] = {
    use GgmlType::*;
    [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K]
};

static KERNELS_ON_HOST: LazyLock<Library> = LazyLock::new(|| {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/cuda/merge.cu");
    let library = concat!(env!("CARGO_TARGET_TMPDIR"), "/merge_on_host.so");
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let flags = ["-x", "c++", "-O2", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC", "-o", library, source];
    let compiled = Command::new(&compiler).args(flags).status();
    assert!(compiled.is_ok_and(|status| status.success()), "`{compiler}` does not compile {source}");
    // SAFETY: nothing runs when it is loaded.
    unsafe { Library::new(library) }.expect("a library")
});

fn kernel(name: &CStr) -> Kernel {
    // SAFETY: all kernels have this type.
    *unsafe { KERNELS_ON_HOST.get(name.to_bytes_with_nul()) }.unwrap_or_else(|_| panic!("no kernel {name:?}"))
}

/// Bytes from an address on that is a multiple of 16, with `FENCE` behind them.
struct Memory {
    words: Vec<u128>,
    len: usize,
}

const FENCE: u8 = 0xA7;

impl Memory {
    fn new(len: usize) -> Self {
        Self { words: vec![u128::from_ne_bytes([FENCE; 16]); len / 16 + 2], len }
    }

    fn of(bytes: &[u8]) -> Self {
        let mut memory = Self::new(bytes.len());
        memory.all()[..bytes.len()].copy_from_slice(bytes);
        memory
    }

    fn all(&mut self) -> &mut [u8] {
        // SAFETY: any bytes are numbers, and numbers are bytes.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.words.len() * 16) }
    }

    fn address(&self) -> u64 {
        self.words.as_ptr() as u64
    }

    /// The bytes; panics if anything was written behind them.
    fn bytes(&mut self) -> &[u8] {
        let len = self.len;
        assert!(self.all()[len..].iter().all(|b| *b == FENCE), "written behind the end");
        &self.all()[..len]
    }
}

struct Tensor {
    ty: GgmlType,
    bytes: Vec<u8>,
    low_rank: Vec<LowRank>,
}

impl Tensor {
    fn new(ty: GgmlType, bytes: &[u8]) -> Self {
        Self { ty, bytes: bytes.to_vec(), low_rank: vec![] }
    }

    /// With differences of these ranks on top, in matrices of `width` by `rows`.
    fn plus(mut self, ranks: &[usize], width: usize, rows: usize) -> Self {
        let all = self.bytes.len() / self.ty.type_size() * self.ty.block_size() / width;
        let low_rank = |rank: &usize| {
            let (a, b) = (noise(11, all / rows * rank * width), noise(12, all * rank));
            LowRank::new(*rank, width, a, b, 0.02 * *rank as f32).unwrap()
        };
        self.low_rank.extend(ranks.iter().map(low_rank));
        self
    }

    fn source(&self) -> Source<'_> {
        Source::Tensor(ggraft_kernels::Tensor::new(self.ty, &self.bytes, &self.low_rank))
    }
}

fn launches(
    program: &Program,
    tensors: &[Tensor],
    to: Place,
    elements: usize,
    at: &mut dyn FnMut(Data) -> u64,
) -> Option<Vec<Launch>> {
    let sources: Vec<Source> = tensors.iter().map(Tensor::source).collect();
    Launch::of(program, &sources, to, elements, at)
}

/// Runs the launches and `run`, and compares what they made. Returns the number of threads of the first.
fn assert_equal(program: &Program, tensors: &[Tensor], ty: GgmlType, elements: usize) -> u32 {
    let what = || format!("{program:?} of {elements} to {ty}");
    let mut got = Memory::new(ty.row_size(elements).unwrap());
    let to = Place { ty, address: got.address() };
    let mut memory = Vec::new();
    let mut at = |data: Data| {
        memory.push(Memory::of(data.bytes()));
        memory.last().unwrap().address()
    };
    let launches = launches(program, tensors, to, elements, &mut at).unwrap_or_else(|| panic!("none for {}", what()));
    for launch in &launches {
        let kernel = kernel(launch.kernel);
        for index in 0..launch.grid {
            let mut shared = Memory::new(launch.shared_bytes as usize);
            // SAFETY: the job's addresses are those of `memory` and `got`, which are as large as it says.
            unsafe { kernel(&launch.job, u64::from(index), launch.threads, shared.all().as_mut_ptr()) };
            shared.bytes();
        }
    }
    let mut want = vec![0; got.len];
    let sources: Vec<Source> = tensors.iter().map(Tensor::source).collect();
    run(program, &sources, ty, 0..elements, &mut want, &Codecs::BUILT_IN);
    let blocks = got.bytes().chunks(ty.type_size()).zip(want.chunks(ty.type_size()));
    for (block, (got, want)) in blocks.enumerate() {
        assert_eq!(got, want, "block {block} of {} by {:?}", what(), launches[0].kernel);
    }
    launches[0].threads
}

fn draws(seed: u32, n: usize) -> impl Iterator<Item = u32> {
    // Weyl's sequence through a mixer of 32 bits: no state but the number.
    (0..n as u32).map(move |i| {
        let mut x = (i ^ seed << 24).wrapping_mul(0x9E37_79B9) ^ seed;
        for factor in [0x21F0_AAAD, 0x735A_2D97] {
            x = (x ^ x >> 16).wrapping_mul(factor);
        }
        x ^ x >> 15
    })
}

fn noise(seed: u32, n: usize) -> Vec<f32> {
    draws(seed, n).map(|d| (d >> 8) as f32 / 8_388_608.0 - 1.0).collect()
}

/// Weights as models have them, and what they never have: blocks of zeros, of one value, of one sign, very large and very small ones.
fn weights(seed: u32, n: usize) -> Vec<f32> {
    let (a, b) = (noise(2 * seed, n), noise(2 * seed + 1, n));
    let weight = |(i, (a, b)): (usize, (&f32, &f32))| match (i / 160 + seed as usize) % 16 {
        0 => 0.0,
        1 => -0.0,
        2 => 0.25,
        3 => -0.25,
        4 => a.abs() + 0.1,
        5 => -a.abs() - 0.1,
        6 if i % 37 == 0 => *a,
        6 => 0.0,
        7 => a * 1e-30,
        8 => a * 1e-38,
        9 => a * 1e-41,
        10 => a * 1e30,
        11 => a * b * 3000.0,
        12 => a * b * 1e-6,
        // Steps that make ties.
        13 => (a * 8.0).round() / 8.0,
        _ => a * b * 0.02,
    };
    a.iter().zip(&b).enumerate().map(weight).collect()
}

/// Blocks of any bits whose 16-bit numbers are finite: what no encoder would make, too.
fn blocks(ty: GgmlType, seed: u32, elements: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = draws(seed, ty.row_size(elements).unwrap()).map(|d| d as u8).collect();
    for byte in bytes.chunks_mut(ty.type_size()).flatten().skip(1).step_by(2) {
        *byte &= 0xBF;
    }
    bytes
}

fn f32_tensor(values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::new(GgmlType::F32, &bytes)
}

/// Weights in a type that has an encoder, or blocks of any bits.
fn tensor(ty: GgmlType, seed: u32, elements: usize) -> Tensor {
    if !DESTINATIONS.contains(&ty) {
        return Tensor::new(ty, &blocks(ty, seed, elements));
    }
    let scale = |v: f32| if v.abs() > 1e4 { 1e4 } else { v };
    let values = f32_tensor(&weights(seed, elements).into_iter().map(scale).collect::<Vec<f32>>());
    let mut bytes = vec![0; ty.row_size(elements).unwrap()];
    run(&sum(&[1.0], 0.0), &[values.source()], ty, 0..elements, &mut bytes, &Codecs::BUILT_IN);
    Tensor::new(ty, &bytes)
}

fn sum(coefficients: &[f32], constant: f32) -> Program {
    let term = |(source, coefficient): (usize, &f32)| Term { source, coefficient: *coefficient };
    Program::Sum { terms: coefficients.iter().enumerate().map(term).collect(), constant }
}

/// Several tiles and a part of one.
fn elements(types: &[GgmlType]) -> usize {
    match types.iter().map(|ty| ty.block_size()).max() {
        Some(1) => 2 * 4096 + 301,
        Some(32) => 2 * 4096 + 2048 + 96,
        _ => 2 * 4096 + 2048 + 768,
    }
}

#[test]
fn all_kernels_are_there_and_take_the_job() {
    for name in KERNELS {
        kernel(name);
    }
    // SAFETY: the function has this type.
    let job_bytes: unsafe extern "C" fn() -> u64 = *unsafe { KERNELS_ON_HOST.get(c"job_bytes") }.unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { job_bytes() }, size_of::<Job>() as u64);
}

#[test]
fn sums_of_every_type_to_every_type() {
    for from in SOURCES {
        for to in DESTINATIONS {
            let n = elements(&[from, to]);
            let any_bits = [Tensor::new(from, &blocks(from, 1, n)), Tensor::new(from, &blocks(from, 2, n))];
            assert_equal(&sum(&[0.6, -1.3], 0.25), &any_bits, to, n);
            let weights = [tensor(from, 1, n), tensor(from, 2, n)];
            assert_equal(&sum(&[0.5, 0.5], 0.0), &weights, to, n);
        }
    }
}

#[test]
fn every_encoder_of_weights_no_model_has() {
    let n = 5 * 4096;
    for to in DESTINATIONS {
        assert_equal(&sum(&[1.0], 0.0), &[f32_tensor(&weights(3, n))], to, n);
        assert_equal(&sum(&[0.3, 0.7], 0.0), &[f32_tensor(&weights(4, n)), f32_tensor(&weights(9, n))], to, n);
        // Next to nothing beside nothing: inverses are infinite, and times zero they are no numbers.
        let tiny = |(i, v): (usize, &f32)| if i / 32 % 3 == 0 { 0.0 } else { v * [1e-36, 1e-38, 1e-40][i / 256 % 3] };
        let tiny: Vec<f32> = noise(6, n).iter().enumerate().map(tiny).collect();
        assert_equal(&sum(&[1.0], 0.0), &[f32_tensor(&tiny)], to, n);
        // The least of zeros of both signs is one or the other.
        let zeros = |(i, v): (usize, &f32)| if i % 3 == 0 { v.abs() } else { 0f32.copysign(*v) };
        let zeros: Vec<f32> = noise(7, n).iter().enumerate().map(zeros).collect();
        let copy = Program::Scaled { program: Box::new(Program::Copy { source: 0 }), factor: 1.5 };
        assert_equal(&copy, &[f32_tensor(&zeros)], to, n);
    }
}

#[test]
fn sums_of_any_number_of_sources_and_any_number_of_threads() {
    let mut threads = vec![];
    for to in DESTINATIONS {
        for types in [&SOURCES[..1], &SOURCES[7..8], &SOURCES[3..6], &SOURCES[0..5], &SOURCES[10..15], &SOURCES[1..15]]
        {
            let n = elements(&[types, &[to]].concat());
            let tensors: Vec<Tensor> = types.iter().zip(1..).map(|(ty, seed)| tensor(*ty, seed, n)).collect();
            let coefficients = &noise(5, types.len());
            let program = sum(coefficients, -0.125);
            threads.push(assert_equal(&program, &tensors, to, n));
            let scaled = Program::Scaled { program: Box::new(program), factor: -1.7 };
            assert_equal(&scaled, &tensors, to, n);
        }
        assert_equal(&sum(&[], 0.75), &[], to, 4096);
        let copy = Program::Scaled { program: Box::new(Program::Copy { source: 0 }), factor: 0.3 };
        assert_equal(&copy, &[tensor(GgmlType::F32, 3, 8192)], to, 8192);
    }
    assert!(threads.contains(&128) && threads.contains(&64), "{threads:?}");
}

#[test]
fn tensors_of_any_size() {
    for n in [1, 2, 3, 31, 33, 300, 576, 2047, 2048, 2049, 4095, 4097] {
        for (from, to) in [(0, 0), (0, 1), (1, 2), (2, 0)] {
            let (from, to) = (SOURCES[from], SOURCES[to]);
            assert_equal(&sum(&[0.4, 0.7], 0.0), &[tensor(from, 1, n), tensor(from, 2, n)], to, n);
        }
    }
    for rows in [1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129] {
        for (from, to) in
            [(GgmlType::Q8_0, GgmlType::Q8_0), (GgmlType::Q5_0, GgmlType::Q4_1), (GgmlType::Q4_1, GgmlType::Q8_0)]
        {
            let n = rows * 32;
            assert_equal(&sum(&[0.4, 0.7], 0.0), &[tensor(from, 1, n), tensor(from, 2, n)], to, n);
        }
        for (from, to) in
            [(GgmlType::Q4_K, GgmlType::Q8_0), (GgmlType::Q6_K, GgmlType::Q6_K), (GgmlType::Q3_K, GgmlType::Q4_K)]
        {
            let n = rows * 256;
            assert_equal(&sum(&[0.4, 0.7], 0.0), &[tensor(from, 1, n), tensor(from, 2, n)], to, n);
        }
    }
}

fn cut(threshold: f32, ties_end: u64) -> Cut {
    let from = threshold.to_bits();
    Cut { above: from + 1, from, ties_end }
}

fn keeps() -> Vec<Keep> {
    let key = MaskKey { seed: [1, 2], stream: [3, 4] };
    vec![
        Keep::All,
        Keep::Nothing,
        Keep::Largest(cut(0.8, 900)),
        Keep::Largest(Cut::ALL),
        Keep::Largest(Cut::NOTHING),
        Keep::Largest(cut(0.25, 2047)),
        Keep::Largest(cut(0.25, 2048)),
        Keep::Largest(cut(0.25, u64::MAX)),
        Keep::Band { inner: cut(1.25, 77), outer: cut(0.5, 5000) },
        Keep::Band { inner: Cut::NOTHING, outer: cut(0.5, 4100) },
        Keep::Random { key, threshold: keep_threshold(0.4) },
        Keep::Random { key: MaskKey { seed: [u32::MAX, 9], stream: [0, u32::MAX] }, threshold: keep_threshold(1.0) },
    ]
}

/// Values with ties, with zeros of both signs, and with differences of exactly zero.
fn stepped(seed: u32, n: usize) -> Vec<f32> {
    let step = |(i, v): (usize, f32)| match i {
        // The last element of a tile is a tie.
        _ if i % 2048 == 2047 => seed as f32 / 4.0,
        _ if i % 5 == 0 => -0.0,
        _ => (v * 8.0).round() / 8.0,
    };
    noise(seed, n).into_iter().enumerate().map(step).collect()
}

fn task_vectors(keeps: &[Keep], sign: f32, [consensus, normalize]: [bool; 2]) -> Program {
    let vector = |(i, keep): (usize, &Keep)| TaskVector {
        source: 1 + i % 3,
        weight: sign * [0.6, 0.3, -0.2, 0.0, 1e-9][i % 5],
        keep: *keep,
        rescale: [1.0, 1.4, 0.7][i % 3],
    };
    Program::TaskVectors {
        base: 0,
        vectors: keeps.iter().enumerate().map(vector).collect(),
        consensus,
        normalize,
        lambda: 0.7 * sign,
    }
}

#[test]
fn task_vectors_with_every_mask() {
    // The last tile is whole groups of draws in one size, and not in the other.
    for n in [2 * 4096 + 2048 + 640, 4096 + 300] {
        let tensors: Vec<Tensor> = (1..5).map(|seed| f32_tensor(&stepped(seed, n))).collect();
        for how in [[false, false], [false, true], [true, false], [true, true]] {
            for keep in keeps() {
                for count in [0, 1, 2, 3, 5] {
                    for sign in [1.0, -1.0] {
                        assert_equal(&task_vectors(&vec![keep; count], sign, how), &tensors, GgmlType::F32, n);
                    }
                }
            }
            for pair in keeps().windows(2) {
                assert_equal(&task_vectors(pair, -1.0, how), &tensors, GgmlType::F32, n);
            }
            let all = task_vectors(&keeps(), 1.0, how);
            let scaled = Program::Scaled { program: Box::new(all), factor: 1.1 };
            let halves: Vec<Tensor> = (1..5).map(|seed| tensor(GgmlType::Q8_0, seed, 8192 + 96)).collect();
            assert_equal(&scaled, &halves, GgmlType::Q8_0, 8192 + 96);
        }
    }
}

#[test]
fn task_vectors_of_every_type_to_every_type() {
    let keeps = keeps();
    let (large, random) = (keeps[6], keeps[10]);
    for (i, from) in SOURCES.into_iter().enumerate() {
        for to in DESTINATIONS {
            let types = [from, SOURCES[(i + 4) % 15], SOURCES[(i + 9) % 15], from];
            let n = elements(&[types.as_slice(), &[to]].concat());
            let tensors: Vec<Tensor> = types.iter().zip(1..).map(|(ty, seed)| tensor(*ty, seed, n)).collect();
            for keeps in [&[large, random][..], &[random, random], &[random, large, Keep::All]] {
                assert_equal(&task_vectors(keeps, 1.0, [true, true]), &tensors, to, n);
            }
        }
    }
}

/// Rows of whole blocks of any type, and how many of them a tensor has.
const ROW: usize = 768;
const ROWS: usize = 15;

#[test]
fn differences_of_low_rank_on_top() {
    let n = ROW * ROWS;
    for (i, from) in SOURCES.into_iter().enumerate() {
        for to in DESTINATIONS {
            let on_top = [
                tensor(from, 1, n).plus(&[8], ROW, ROWS),
                tensor(SOURCES[(i + 4) % 15], 2, n).plus(&[1, 5], ROW, ROWS / 3),
                tensor(from, 3, n),
            ];
            assert_equal(&sum(&[1.0], 0.0), &on_top, to, n);
            assert_equal(&sum(&[0.3, 0.7], 0.0), &on_top, to, n);
            assert_equal(&task_vectors(&[keeps()[6], keeps()[10]], 1.0, [true, true]), &on_top, to, n);
            let scaled = Program::Scaled { program: Box::new(Program::Copy { source: 1 }), factor: 0.9 };
            assert_equal(&scaled, &on_top, to, n);
        }
    }
    // Rows that are not whole chunks of a thread, in tensors that are not either.
    for width in [8, 24, 40] {
        let on_top =
            [tensor(GgmlType::F16, 1, 51 * width).plus(&[3, 2, 4], width, 17), tensor(GgmlType::F32, 2, 51 * width)];
        for to in [GgmlType::F32, GgmlType::BF16] {
            assert_equal(&sum(&[0.3, 0.7], 0.25), &on_top, to, 51 * width);
        }
    }
}

/// The programs that have no kernel of their own, over tensors of `rows` rows of `row` elements.
fn rare_programs(row: usize, rows: usize) -> Vec<Program> {
    let terms =
        |range: std::ops::Range<usize>| range.map(|source| Term { source, coefficient: source as f32 * 0.4 - 0.3 });
    let line_sum = |lines, count| {
        let coefficients = |seed| noise(seed, count).into();
        let terms = (0..3).map(|source| LineTerm { source, coefficients: coefficients(source as u32) }).collect();
        Program::LineSum { terms, lines, row }
    };
    let mut programs = vec![line_sum(Lines::Rows, rows), line_sum(Lines::Columns, row)];
    // A variance that steps of an eighth often have.
    let variance = 0.00390625;
    for select in [Cut::ALL, Cut::NOTHING, cut(variance, 900), cut(variance, u64::MAX), cut(0.01, 0)] {
        for sources in [1..1, 1..2, 1..3, 1..4] {
            programs.push(Program::Elected { base: 0, vectors: terms(sources).collect(), select });
        }
    }
    for epsilon in [0.0, 0.125, 0.3] {
        for sources in [1..1, 1..2, 1..4] {
            programs.push(Program::Overlap { base: 0, vectors: terms(sources).collect(), epsilon });
        }
    }
    programs.extend([0.0, 0.01, 0.25, 3.0].map(|t| Program::Near { base: 0, source: 1, t }));
    programs.extend([0.0, 0.1, 1.0].map(|threshold| {
        let divergences = noise(4, rows).into();
        Program::Important { base: 1, source: 0, row, divergences, threshold }
    }));
    programs
}

#[test]
fn programs_that_are_rare() {
    for (row, rows) in [(1, 5000), (5, 901), (72, 64), (4200, 2)] {
        let n = row * rows;
        let tensors: Vec<Tensor> = (1..5).map(|seed| f32_tensor(&stepped(seed, n))).collect();
        for program in rare_programs(row, rows) {
            for to in [GgmlType::F32, GgmlType::F16] {
                assert_equal(&program, &tensors, to, n);
            }
            assert_equal(&Program::Scaled { program: Box::new(program), factor: -1.3 }, &tensors, GgmlType::F32, n);
        }
    }
    let n = ROW * ROWS;
    for (i, from) in SOURCES.into_iter().enumerate() {
        let mut tensors = [0, 4, 9, 0].map(|by| tensor(SOURCES[(i + by) % 15], by as u32, n));
        let to = DESTINATIONS[i % DESTINATIONS.len()];
        for program in rare_programs(ROW, ROWS) {
            assert_equal(&program, &tensors, to, n);
        }
        tensors[0] = tensor(from, 1, n).plus(&[3], ROW, ROWS);
        tensors[2] = tensor(from, 2, n).plus(&[1, 2], ROW, ROWS / 5);
        for program in rare_programs(ROW, ROWS) {
            assert_equal(&program, &tensors, to, n);
        }
    }
}

#[test]
fn slices_count_from_their_start() {
    // Eight super-blocks of any type are a multiple of 16 bytes.
    let (slices, rows) = (3, 8);
    let each = ROW * rows;
    let n = slices * each;
    for (i, from) in SOURCES.into_iter().enumerate() {
        for to in DESTINATIONS {
            let plain = [tensor(from, 1, n), tensor(SOURCES[(i + 4) % 15], 2, n), tensor(from, 3, n)];
            let programs = vec![
                // One that `run` multiplies in the scales of whole tensors, but not in those of slices.
                sum(&[0.5], 0.0),
                task_vectors(&[keeps()[8], keeps()[10]], 1.0, [true, true]),
                Program::Copy { source: 1 },
            ];
            let program = Program::Slices { elements: each, programs };
            assert_equal(&program, &plain, to, n);
            let on_top = plain.map(|t| t.plus(&[2], ROW, rows).plus(&[1], ROW, slices * rows));
            assert_equal(&program, &on_top, to, n);
            assert_equal(&Program::Scaled { program: Box::new(program), factor: 0.7 }, &on_top, to, n);
        }
    }
    let programs = rare_programs(ROW, rows);
    let tensors: Vec<Tensor> =
        (1..5).map(|seed| tensor(GgmlType::Q5_1, seed, programs.len() * each).plus(&[2], ROW, rows)).collect();
    let program = Program::Slices { elements: each, programs };
    for to in DESTINATIONS {
        assert_equal(&program, &tensors, to, tensors[0].bytes.len() / 24 * 32);
    }
    let scaled = |factor| Program::Scaled { program: Box::new(sum(&[0.5, 0.5], 0.0)), factor };
    let program = Program::Slices { elements: each, programs: vec![scaled(1.5), scaled(-2.0), sum(&[0.5, 0.5], 0.0)] };
    assert_equal(&program, &[tensor(GgmlType::Q8_0, 1, n), tensor(GgmlType::Q8_0, 2, n)], GgmlType::Q8_0, n);
}

#[test]
fn what_has_no_kernel_is_refused() {
    let n = 8192;
    let tensors = [GgmlType::Q8_0, GgmlType::F32, GgmlType::IQ2_XXS].map(|ty| Tensor::new(ty, &blocks(ty, 1, n)));
    let of = |program: &Program, ty: GgmlType, n: usize| {
        launches(program, &tensors, Place { ty, address: 0 }, n, &mut |_| 0)
    };
    let two = sum(&[0.5, 0.5], 0.0);
    assert!(of(&two, GgmlType::Q8_0, n).is_some());
    assert!(of(&two, GgmlType::Q8_0, n + 8).is_none(), "not whole blocks");
    assert!(of(&two, GgmlType::Q8_0, 0).is_none(), "nothing");
    assert!(of(&two, GgmlType::IQ4_NL, n).is_none(), "no encoder");
    assert!(of(&sum(&[0.5, 0.5, 0.5], 0.0), GgmlType::Q8_0, n).is_none(), "no decoder");
    assert!(of(&sum(&[0.5], 0.0), GgmlType::Q8_0, n).is_none(), "a multiple in the scales");
    assert!(of(&sum(&[0.5], 0.0), GgmlType::Q4_0, n).is_some());
    assert!(of(&Program::Copy { source: 0 }, GgmlType::Q8_0, n).is_none(), "bytes");
    let many = |count| Program::Sum { terms: vec![Term { source: 0, coefficient: 0.1 }; count], constant: 0.0 };
    assert!(of(&many(16), GgmlType::Q8_0, n).is_some() && of(&many(17), GgmlType::Q8_0, n).is_none());
    let wide = |count| Program::Sum { terms: vec![Term { source: 1, coefficient: 0.1 }; count], constant: 0.0 };
    assert!(of(&wide(6), GgmlType::Q8_0, n).is_some() && of(&wide(8), GgmlType::Q8_0, n).is_none());
    let ty = GgmlType::Q8_0;
    let odd = |to, from| launches(&two, &tensors, Place { ty, address: to }, n, &mut |_| from);
    assert!(odd(0, 16).is_some() && odd(16, 8).is_none() && odd(8, 16).is_none(), "not aligned");
    let slices = |elements, programs| of(&Program::Slices { elements, programs }, ty, n);
    assert_eq!(slices(n / 2, vec![two.clone(), two.clone()]).map_or(0, |launches| launches.len()), 2);
    assert!(slices(n / 2, vec![two.clone()]).is_none(), "less than all");
    assert!(slices(n / 256, vec![two; 256]).is_none(), "slices that are not aligned");
    let on_top = |width| [Tensor::new(GgmlType::F32, &vec![0; 4 * 24 * width]).plus(&[1], width, 24)];
    let of = |width| launches(&sum(&[0.5], 0.0), &on_top(width), Place { ty, address: 0 }, 24 * width, &mut |_| 0);
    assert!(of(8).is_some() && of(4).is_none(), "rows that are not whole parts");
}
