//! Programs against a naive oracle, order statistics against sorting, codecs and random bits against known answers.

mod oracle;
mod source;

use half::f16;

use crate::philox::philox4x32;
use crate::{Codecs, GgmlType, Keep, MaskKey, Program, Source, TILE, TaskVector, Term, keep_threshold, run, stats};

/// No type but the built-in ones: a test that reaches these has a wrong expectation.
fn codecs() -> Codecs {
    Codecs {
        decode: |ty, _, _| panic!("no decoder for {ty}"),
        encode: |ty, _, _| panic!("no encoder for {ty}"),
        can_decode: |_| false,
        can_encode: |_| false,
    }
}

/// Deterministic values in (-1, 1) with many exact ties and some zeros.
fn values(seed: u32, n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| {
            let [bits, ..] = philox4x32([i, 0, 0, 0], [seed, 7]);
            (bits % 2001) as f32 / 1000.0 - 1.0
        })
        .collect()
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn f32_values(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Runs to F32 over the whole tensor.
fn run_f32(program: &Program, sources: &[Vec<f32>]) -> Vec<f32> {
    let bytes: Vec<Vec<u8>> = sources.iter().map(|s| f32_bytes(s)).collect();
    let sources: Vec<Source> = bytes.iter().map(|b| Source::new(GgmlType::F32, b)).collect();
    let n = bytes[0].len() / 4;
    let mut out = vec![0; n * 4];
    run(program, &sources, GgmlType::F32, 0..n, &mut out, &codecs());
    f32_values(&out)
}

fn assert_close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 2e-6, "element {i}: {g} is not {w}");
    }
}

fn task_vectors(vectors: Vec<TaskVector>, consensus: bool, normalize: bool) -> Program {
    Program::TaskVectors { base: 0, vectors, consensus, normalize, lambda: 0.7 }
}

fn vector(source: usize, weight: f32, keep: Keep) -> TaskVector {
    TaskVector { source, weight, keep, rescale: 1.0 }
}

const N: usize = 2 * TILE + 300;

#[test]
fn sum_is_the_weighted_sum() {
    let sources = [values(1, N), values(2, N), values(3, N)];
    let terms = vec![
        Term { source: 0, coefficient: 0.5 },
        Term { source: 2, coefficient: -1.25 },
        Term { source: 1, coefficient: 2.0 },
    ];
    let want: Vec<f32> =
        (0..N).map(|i| 0.25 + 0.5 * sources[0][i] - 1.25 * sources[2][i] + 2.0 * sources[1][i]).collect();
    assert_close(&run_f32(&Program::Sum { terms, constant: 0.25 }, &sources), &want);
}

#[test]
fn task_vectors_equal_the_oracle() {
    let sources = [values(1, N), values(2, N), values(3, N)];
    let random = Keep::Random { key: MaskKey { seed: [1, 2], stream: [3, 4] }, threshold: keep_threshold(0.4) };
    for keep in [Keep::All, Keep::Nothing, Keep::Largest { threshold: 0.8, ties_end: 900 }, random] {
        for (consensus, normalize) in [(false, false), (false, true), (true, false), (true, true)] {
            let vectors = vec![vector(1, 0.6, keep), vector(2, -0.3, Keep::All)];
            let want = oracle::task_vectors(&sources, &vectors, consensus, normalize, 0.7);
            assert_close(&run_f32(&task_vectors(vectors, consensus, normalize), &sources), &want);
        }
    }
}

#[test]
fn scaled_is_the_inner_program_times_the_factor() {
    let sources = [values(1, N), values(2, N)];
    let sum = Program::Sum { terms: vec![Term { source: 1, coefficient: -1.25 }], constant: 0.25 };
    let vectors = task_vectors(vec![vector(1, 0.6, Keep::Largest { threshold: 0.8, ties_end: 900 })], true, true);
    let copy = Program::Copy { source: 1 };
    let scaled = |program: &Program| Program::Scaled { program: Box::new(program.clone()), factor: -0.3 };
    for program in [scaled(&copy), copy, sum, vectors] {
        let want: Vec<f32> = run_f32(&program, &sources).iter().map(|v| v * -0.3).collect();
        assert_eq!(run_f32(&scaled(&program), &sources), want, "{program:?}");
        assert_eq!(scaled(&program).sources(), program.sources());
    }
}

#[test]
fn ranges_of_tiles_give_the_bytes_of_the_whole() {
    let n = 4 * TILE;
    let sources = [values(1, n), values(2, n)].map(|v| f32_bytes(&v));
    let sources: Vec<Source> = sources.iter().map(|b| Source::new(GgmlType::F32, b)).collect();
    let keep = Keep::Random { key: MaskKey { seed: [9, 9], stream: [0, 1] }, threshold: keep_threshold(0.5) };
    let program = task_vectors(vec![vector(1, 0.6, keep)], true, true);
    let row = |elements| GgmlType::Q8_0.row_size(elements).unwrap();
    let mut whole = vec![0; row(n)];
    run(&program, &sources, GgmlType::Q8_0, 0..n, &mut whole, &codecs());
    let mut pieces = vec![0; row(n)];
    for tile in [3, 0, 2, 1] {
        let range = tile * TILE..(tile + 1) * TILE;
        let bytes = row(range.start)..row(range.end);
        run(&program, &sources, GgmlType::Q8_0, range, &mut pieces[bytes], &codecs());
    }
    assert_eq!(whole, pieces);
}

#[test]
fn copy_is_bytes() {
    let data = vec![0xA5; GgmlType::IQ2_XXS.row_size(512).unwrap()];
    let mut out = vec![0; data.len()];
    let source = Source::new(GgmlType::IQ2_XXS, &data);
    run(&Program::Copy { source: 0 }, &[source], GgmlType::IQ2_XXS, 0..512, &mut out, &codecs());
    assert_eq!(out, data);
}

#[test]
fn largest_keeps_exactly_k_as_sorting_would() {
    let n = 70_000;
    let (base, other) = (values(1, n), values(2, n));
    let delta: Vec<f32> = other.iter().zip(&base).map(|(x, b)| x - b).collect();
    let (base, other) = (f32_bytes(&base), f32_bytes(&other));
    let source = |data| Source::new(GgmlType::F32, data);
    for k in [1, 2, 999, 35_000, n - 1] {
        let keep = stats::largest(&source(&base), &source(&other), n, k, &codecs());
        let mut kept = delta.clone();
        run::sparsify(keep, 0, &mut kept);
        // Zero differences at the very end of the order are kept, but look like dropped ones.
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| delta[*b].abs().total_cmp(&delta[*a].abs()).then(a.cmp(b)));
        let mut want = vec![0f32; n];
        for i in &order[..k] {
            want[*i] = delta[*i];
        }
        assert_eq!(kept, want, "k = {k}");
    }
    assert_eq!(stats::largest(&source(&base), &source(&other), n, 0, &codecs()), Keep::Nothing);
    assert_eq!(stats::largest(&source(&base), &source(&other), n, n, &codecs()), Keep::All);
}

#[test]
fn statistics_do_not_depend_on_threads() {
    let n = 300_000;
    let (a, b) = (f32_bytes(&values(1, n)), f32_bytes(&values(2, n)));
    let sources = [Source::new(GgmlType::F32, &a), Source::new(GgmlType::F32, &b)];
    let random = Keep::Random { key: MaskKey { seed: [5, 6], stream: [7, 8] }, threshold: keep_threshold(0.3) };
    let all = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            (
                stats::gram(&sources, n, 0.0, &codecs()),
                stats::largest(&sources[0], &sources[1], n, n / 3, &codecs()),
                stats::rescale(&sources[0], &sources[1], n, random, &codecs()),
            )
        })
    };
    let one = all(1);
    assert_eq!(one, all(3));
    assert_eq!(one.0[1], one.0[2]);
    assert!((one.2 - 1.0 / 0.3).abs() < 0.05, "{} is not near 1 / density", one.2);
}

#[test]
fn philox_known_answers() {
    // The published vectors of Random123's kat_vectors for philox4x32-10.
    let max = u32::MAX;
    assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox4x32([max; 4], [max; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    assert_eq!(
        philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
}

#[test]
fn a_mask_is_the_same_for_any_slice_and_keeps_its_share() {
    let key = MaskKey { seed: [1, 2], stream: [3, 4] };
    let threshold = keep_threshold(0.25);
    let mut whole = vec![false; 100_000];
    key.fill(0, threshold, &mut whole);
    for (first, len) in [(1, 1), (2, 7), (99_997, 3), (4096, 1000)] {
        let mut slice = vec![false; len];
        key.fill(first as u64, threshold, &mut slice);
        assert_eq!(slice, whole[first..first + len]);
    }
    let kept = whole.iter().filter(|k| **k).count();
    // Five standard errors of a Bernoulli(0.25) count.
    assert!((kept as f64 - 25_000.0).abs() < 5.0 * 137.0, "{kept} kept");
    assert_eq!((keep_threshold(0.0), keep_threshold(1.0), keep_threshold(9.0)), (0, 1 << 32, 1 << 32));
}

#[test]
fn q8_0_rounds_half_away_from_zero_and_survives_zeros() {
    let mut block = [0f32; 32];
    (block[0], block[1], block[2]) = (127.0, 2.5, -2.5);
    let mut out = [0; 34];
    codecs().quantize(GgmlType::Q8_0, &block, &mut out);
    assert_eq!(f16::from_le_bytes([out[0], out[1]]).to_f32(), 1.0);
    assert_eq!((out[2], out[3], out[4].cast_signed()), (127, 3, -3));
    codecs().quantize(GgmlType::Q8_0, &[0.0; 32], &mut out);
    assert_eq!(out, [0; 34]);
}
