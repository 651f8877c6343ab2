//! Programs against a naive oracle, codecs against known answers.

mod masks;
mod oracle;
mod source;
mod statistics;
mod tiers;

use std::ops::Range;

use half::f16;

use crate::{
    Codecs, Cut, GgmlType, Keep, LineTerm, Lines, MaskKey, Program, Ranks, Source, TILE, TaskVector, Term,
    keep_threshold, run,
};

/// Deterministic values in (-1, 1) with many exact ties and some zeros.
fn values(seed: u32, n: usize) -> Vec<f32> {
    let mut draws = vec![0; n];
    MaskKey { seed: [seed, 7], stream: [0, 0] }.fill(0, &mut draws);
    draws.into_iter().map(|bits| (bits % 2001) as f32 / 1000.0 - 1.0).collect()
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn f32_values(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Runs to F32 over the whole tensor.
fn run_f32(program: &Program, sources: &[Vec<f32>]) -> Vec<f32> {
    run_part(program, sources, 0..sources[0].len())
}

/// Runs to F32 over some elements.
fn run_part(program: &Program, sources: &[Vec<f32>], range: Range<usize>) -> Vec<f32> {
    let bytes: Vec<Vec<u8>> = sources.iter().map(|s| f32_bytes(s)).collect();
    let sources: Vec<Source> = bytes.iter().map(|b| Source::new(GgmlType::F32, b)).collect();
    let mut out = vec![0; range.len() * 4];
    run(program, &sources, GgmlType::F32, range, &mut out, &Codecs::BUILT_IN);
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

/// Before it stand scores above `threshold`, and those equal to it before `ties_end`.
fn cut(threshold: f32, ties_end: u64) -> Cut {
    let from = threshold.to_bits();
    Cut { above: from + 1, from, ties_end }
}

fn terms(coefficients: [f32; 2]) -> Vec<Term> {
    (1..).zip(coefficients).map(|(source, coefficient)| Term { source, coefficient }).collect()
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
    let ranks = Ranks { row: N / 4, spread: keep_threshold(0.5) };
    let ranked = Keep::Ranked { key: MaskKey { seed: [1, 2], stream: [3, 4] }, threshold: keep_threshold(0.2), ranks };
    let band = Keep::Band { inner: cut(1.4, 77), outer: cut(0.8, 900) };
    for keep in [Keep::All, Keep::Nothing, Keep::Largest(cut(0.8, 900)), band, random, ranked] {
        for (consensus, normalize) in [(false, false), (false, true), (true, false), (true, true)] {
            let vectors = vec![vector(1, 0.6, keep), vector(2, -0.3, Keep::All)];
            let want = oracle::task_vectors(&sources, &vectors, consensus, normalize, 0.7);
            assert_close(&run_f32(&task_vectors(vectors, consensus, normalize), &sources), &want);
        }
    }
}

#[test]
fn sums_by_line_have_the_coefficients_of_their_row_or_column() {
    const ROW: usize = N / 4;
    let sources = [values(1, N), values(2, N)];
    for (lines, count) in [(Lines::Rows, 4), (Lines::Columns, ROW)] {
        let coefficients = [values(3, count), values(4, count)];
        let line = |i: usize| if lines == Lines::Rows { i / ROW } else { i % ROW };
        let want: Vec<f32> =
            (0..N).map(|i| (0..2).map(|s| coefficients[s][line(i)] * sources[s][i]).sum::<f32>()).collect();
        let terms = coefficients
            .iter()
            .enumerate()
            .map(|(source, c)| LineTerm { source, coefficients: c.as_slice().into() })
            .collect();
        assert_close(&run_f32(&Program::LineSum { terms, lines, row: ROW }, &sources), &want);
    }
}

#[test]
fn elected_overlapping_near_and_important_equal_the_oracle() {
    let sources = [values(1, N), values(2, N), values(3, N)];
    for select in [Cut::ALL, cut(0.25, 400), Cut::NOTHING] {
        let program = Program::Elected { base: 0, vectors: terms([0.3, 0.7]), select };
        assert_close(&run_f32(&program, &sources), &oracle::elected(&sources, [0.3, 0.7], select));
    }
    for epsilon in [0.0, 0.7] {
        let program = Program::Overlap { base: 0, vectors: terms([1.5, 1.0]), epsilon };
        assert_close(&run_f32(&program, &sources), &oracle::overlap(&sources, [1.5, 1.0], epsilon));
    }
    for t in [-1.0, 0.0, 0.4, 10.0] {
        let near = |b: &f32, x: &f32| {
            let share = (f64::from(t) / f64::from((b - x).abs().max(1e-6))).clamp(0.0, 1.0);
            (share * f64::from(*x) + (1.0 - share) * f64::from(*b)) as f32
        };
        let want: Vec<f32> = sources[0].iter().zip(&sources[1]).map(|(b, x)| near(b, x)).collect();
        assert_close(&run_f32(&Program::Near { base: 0, source: 1, t }, &sources), &want);
    }
    let divergences = values(5, 4).iter().map(|v| v.abs()).collect::<Vec<f32>>();
    let want: Vec<f32> = (0..N)
        .map(|i| {
            let (b, x) = (sources[0][i], sources[1][i]);
            if (x - b).abs() * divergences[i / (N / 4)] >= 0.3 { x } else { b }
        })
        .collect();
    let divergences = divergences.as_slice().into();
    let program = Program::Important { base: 0, source: 1, row: N / 4, divergences, threshold: 0.3 };
    assert_close(&run_f32(&program, &sources), &want);
}

/// Rows that no tile is a multiple of, and rows longer than a tile, all with masks that look at whole rows.
#[test]
fn slices_are_what_their_programs_make_of_them_alone() {
    for row in [100, 3000] {
        let elements = 2 * row;
        let sources = [values(1, 3 * elements), values(2, 3 * elements)];
        let ranks = Ranks { row, spread: keep_threshold(0.4) };
        let program = |slice: u32| {
            let key = MaskKey { seed: [1, 2], stream: [0, slice] };
            task_vectors(vec![vector(1, 0.6, Keep::Ranked { key, threshold: keep_threshold(0.3), ranks })], true, true)
        };
        let whole = Program::Slices { elements, programs: (0..3).map(program).collect() };
        assert_eq!((whole.sources(), whole.factors().len()), (vec![0, 1], 9));
        let got = run_f32(&whole, &sources);
        for slice in 0..3 {
            let part = slice * elements..(slice + 1) * elements;
            let own = sources.each_ref().map(|s| s[part.clone()].to_vec());
            assert_eq!(got[part], run_f32(&program(slice as u32), &own));
        }
        // Any cut of the whole gives the same: the parts see the same rows.
        for first in [1, row - 1, row, elements - 7, elements, 2 * elements + 5] {
            let range = first..(first + 2 * row).min(3 * elements);
            assert_eq!(run_part(&whole, &sources, range.clone()), got[range], "from {first} in rows of {row}");
        }
    }
}

#[test]
fn scaled_is_the_inner_program_times_the_factor() {
    let sources = [values(1, N), values(2, N)];
    let sum = Program::Sum { terms: vec![Term { source: 1, coefficient: -1.25 }], constant: 0.25 };
    let vectors = task_vectors(vec![vector(1, 0.6, Keep::Largest(cut(0.8, 900)))], true, true);
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
    run(&program, &sources, GgmlType::Q8_0, 0..n, &mut whole, &Codecs::BUILT_IN);
    let mut pieces = vec![0; row(n)];
    for tile in [3, 0, 2, 1] {
        let range = tile * TILE..(tile + 1) * TILE;
        let bytes = row(range.start)..row(range.end);
        run(&program, &sources, GgmlType::Q8_0, range, &mut pieces[bytes], &Codecs::BUILT_IN);
    }
    assert_eq!(whole, pieces);
}

#[test]
fn copy_is_bytes() {
    let data = vec![0xA5; GgmlType::IQ2_XXS.row_size(512).unwrap()];
    let mut out = vec![0; data.len()];
    let source = Source::new(GgmlType::IQ2_XXS, &data);
    run(&Program::Copy { source: 0 }, &[source], GgmlType::IQ2_XXS, 0..512, &mut out, &Codecs::BUILT_IN);
    assert_eq!(out, data);
}

#[test]
fn q8_0_rounds_half_away_from_zero_and_survives_zeros() {
    let mut block = [0f32; 32];
    (block[0], block[1], block[2]) = (127.0, 2.5, -2.5);
    let mut out = [0; 34];
    Codecs::BUILT_IN.quantize(GgmlType::Q8_0, &block, &mut out);
    assert_eq!(f16::from_le_bytes([out[0], out[1]]).to_f32(), 1.0);
    assert_eq!((out[2], out[3], out[4].cast_signed()), (127, 3, -3));
    Codecs::BUILT_IN.quantize(GgmlType::Q8_0, &[0.0; 32], &mut out);
    assert_eq!(out, [0; 34]);
}
