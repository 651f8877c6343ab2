//! What sources add to plain tensors, against matrices multiplied out and rows copied one by one.

use super::*;
use crate::run::decoded;
use crate::{Codecs, Lines, LowRank, RowMap, Tensor, stats};

fn identity() -> Program {
    Program::Sum { terms: vec![Term { source: 0, coefficient: 1.0 }], constant: 0.0 }
}

/// Every element of the one source, in tiles.
fn decode(source: &Source, elements: usize) -> Vec<f32> {
    let mut out = vec![0; elements * 4];
    run(&identity(), std::slice::from_ref(source), GgmlType::F32, 0..elements, &mut out, &Codecs::BUILT_IN);
    f32_values(&out)
}

#[test]
fn a_low_rank_difference_is_the_product_of_its_factors() {
    // Rows shorter and longer than a tile, several matrices, ranks from 1 up.
    for (width, rows, matrices, rank) in [(64, 100, 1, 4), (TILE + 96, 3, 1, 1), (32, 5, 7, 40)] {
        let base = values(1, width * rows * matrices);
        let (a, b) = (values(2, matrices * rank * width), values(3, matrices * rows * rank));
        let low_rank = [LowRank::new(rank, width, a.clone(), b.clone(), 0.5).unwrap()];
        assert_eq!(low_rank[0].elements(), base.len());
        let bytes = f32_bytes(&base);
        let source = Source::Tensor(Tensor::new(GgmlType::F32, &bytes, &low_rank));
        assert!(source.bytes().is_none());
        for (i, got) in decode(&source, base.len()).into_iter().enumerate() {
            let (row, column) = (i / width, i % width);
            let matrix = row / rows;
            let term = |k| f64::from(b[row * rank + k]) * f64::from(a[(matrix * rank + k) * width + column]);
            let sum: f64 = (0..rank).map(term).sum();
            let want = f64::from(base[i]) + 0.5 * sum;
            assert!((f64::from(got) - want).abs() < 1e-6 * rank as f64, "element {i}: {got} is not {want}");
        }
    }
}

#[test]
fn factors_that_make_no_whole_matrices_are_refused() {
    let of = |rank, width, a: usize, b: usize| LowRank::new(rank, width, vec![0.0; a], vec![0.0; b], 1.0);
    assert!(of(2, 8, 16, 6).is_some() && of(2, 8, 32, 8).is_some());
    for (rank, width, a, b) in [(0, 8, 0, 8), (2, 0, 0, 6), (2, 8, 17, 6), (2, 8, 16, 5), (2, 8, 0, 6), (2, 8, 32, 6)] {
        assert!(of(rank, width, a, b).is_none(), "{rank} {width} {a} {b}");
    }
    assert!(of(usize::MAX, 8, 16, 6).is_none());
}

#[test]
fn rows_come_from_where_the_map_says() {
    for width in [1, 32, TILE + 32] {
        let tables = [values(1, 6 * width), values(2, 4 * width)];
        let bytes = tables.each_ref().map(|v| f32_bytes(v));
        let rows: [&[(u32, u32)]; 6] =
            [&[(0, 5)], &[], &[(1, 3)], &[(0, 0), (1, 0)], &[(0, 5)], &[(1, 1), (1, 2), (0, 2)]];
        let mut map = RowMap::default();
        rows.iter().for_each(|row| map.push(row.iter().copied()));
        assert_eq!(map.len(), rows.len());
        let tables_of = || bytes.iter().map(|b| Tensor::new(GgmlType::F32, b, &[])).collect();
        let source = Source::Rows { width, tables: tables_of(), map: &map, first: 0 };
        let got = decode(&source, rows.len() * width);
        for (i, got) in got.into_iter().enumerate() {
            let part =
                |(table, row): &(u32, u32)| f64::from(tables[*table as usize][*row as usize * width + i % width]);
            let row = rows[i / width];
            let want = row.iter().map(part).sum::<f64>() / row.len().max(1) as f64;
            assert!((f64::from(got) - want).abs() < 1e-6, "width {width}, element {i}: {got} is not {want}");
        }
    }
}

#[test]
fn single_rows_of_one_table_are_copied_byte_for_byte() {
    let width = 96;
    let bytes: Vec<u8> = (0..GgmlType::Q8_0.row_size(5 * width).unwrap()).map(|i| (i * 7 % 251) as u8).collect();
    let order = [4, 0, 0, 3];
    let mut map = RowMap::default();
    order.iter().for_each(|row| map.push([(0, *row)]));
    assert!(map.only_takes_from(0) && !map.only_takes_from(1) && !map.is_identity(0));
    let source = Source::Rows { width, tables: vec![Tensor::new(GgmlType::Q8_0, &bytes, &[])], map: &map, first: 0 };
    let row = GgmlType::Q8_0.row_size(width).unwrap();
    let mut out = vec![0; order.len() * row];
    run(&Program::Copy { source: 0 }, &[source], GgmlType::Q8_0, 0..order.len() * width, &mut out, &Codecs::BUILT_IN);
    let want: Vec<u8> = order.iter().flat_map(|r| &bytes[*r as usize * row..][..row]).copied().collect();
    assert_eq!(out, want);
    map.push([(0, 1), (0, 2)]);
    assert!(!map.only_takes_from(0));
}

/// Every kind of source as programs and passes see it: in any piece, as slices, and in rows longer than a tile.
#[test]
fn whatever_decodes_to_the_same_values_is_merged_and_measured_alike() {
    const ROW: usize = TILE + 96;
    const ROWS: usize = 12;
    let n = ROW * ROWS;
    let plain = values(1, n);
    let low_rank = [LowRank::new(3, ROW, values(2, 3 * ROW), values(3, 3 * ROWS), 0.7).unwrap()];
    let mut map = RowMap::default();
    (0..ROWS as u32)
        .for_each(|row| map.push([(0, ROWS as u32 - 1 - row), (0, row)].into_iter().take(1 + row as usize % 2)));
    let base_bytes = f32_bytes(&values(4, n));
    let bytes = f32_bytes(&plain);
    let base = Source::new(GgmlType::F32, &base_bytes);
    let tensor = Tensor::new(GgmlType::F32, &bytes, &low_rank);
    for source in [Source::Tensor(tensor), Source::Rows { width: ROW, tables: vec![tensor], map: &map, first: 0 }] {
        let dense = decode(&source, n);
        let dense_bytes = f32_bytes(&dense);
        let dense_source = Source::new(GgmlType::F32, &dense_bytes);
        for range in [0..n, 32..3 * ROW + 64, 5 * ROW..6 * ROW, ROW - 32..ROW + 32] {
            assert_eq!(decoded(&source, &range, &Codecs::BUILT_IN), dense[range.clone()], "{range:?}");
            let part = source.part(range.clone());
            assert_eq!(decode(&part, range.len()), dense[range.clone()], "part {range:?}");
            assert_eq!(decode(&part.part(32..64), 32), dense[range.start + 32..range.start + 64]);
        }

        let ranks = Ranks { row: ROW, spread: keep_threshold(0.4) };
        let key = MaskKey { seed: [1, 2], stream: [3, 4] };
        let keep = Keep::Ranked { key, threshold: keep_threshold(0.3), ranks };
        let ranked = task_vectors(vec![vector(1, 0.6, keep)], true, true);
        assert!(ranked.unit() > TILE);
        let slices = Program::Slices { elements: n / 4, programs: vec![ranked.clone(); 4] };
        let merged = |program: &Program, source: &Source| {
            let mut out = vec![0; 4 * n];
            run(program, &[base.clone(), source.clone()], GgmlType::F32, 0..n, &mut out, &Codecs::BUILT_IN);
            out
        };
        for program in [&ranked, &slices] {
            assert_eq!(merged(program, &source), merged(program, &dense_source));
        }

        let passes = |source: &Source| {
            let both = [base.clone(), source.clone()];
            let score = stats::Score::Difference { base: &base, source };
            (
                stats::gram(&both, n, 0.0, &Codecs::BUILT_IN),
                [Lines::Rows, Lines::Columns].map(|lines| stats::line_grams(&both, n, ROW, lines, &Codecs::BUILT_IN)),
                stats::Order::new(&score, n, &Codecs::BUILT_IN),
                stats::exact_cut(&score, n, n / 3, &Codecs::BUILT_IN),
                stats::kept_by_level(&base, source, n, key, Some(ranks), &Codecs::BUILT_IN),
                stats::divergences(&base, source, n, ROW, &Codecs::BUILT_IN),
                stats::overlaps(&base, std::slice::from_ref(source), n, 0.1, &Codecs::BUILT_IN),
            )
        };
        assert_eq!(passes(&source), passes(&dense_source));
    }
}

/// Halving is exact and leaves the quanta alone; 0.9 times a scale is none that a block can have, and is merged like anything else.
#[test]
fn a_multiple_goes_into_the_scales_where_it_is_exact() {
    use crate::{decode, encode, fold};
    for &ty in GgmlType::ALL.iter().filter(|ty| fold::knows(**ty) && encode::knows(**ty)) {
        let values = values(1, 2048);
        let mut blocks = vec![0; ty.row_size(values.len()).unwrap()];
        encode::encode(ty, &values, &mut blocks);
        let source = Source::new(ty, &blocks);
        let merged = |factor: f32, more: Option<f32>| {
            let first = Term { source: 0, coefficient: factor };
            let terms = std::iter::once(first).chain(more.map(|coefficient| Term { source: 0, coefficient })).collect();
            let mut out = vec![0; blocks.len()];
            let program = Program::Sum { terms, constant: 0.0 };
            run(&program, std::slice::from_ref(&source), ty, 0..values.len(), &mut out, &Codecs::BUILT_IN);
            out
        };
        let decoded = |bytes: &[u8]| {
            let mut values = vec![0.0; values.len()];
            decode::store(ty, bytes, &mut values);
            values
        };
        let half = merged(0.5, None);
        assert_eq!(decoded(&half), decoded(&blocks).iter().map(|v| v * 0.5).collect::<Vec<f32>>(), "{ty}");
        let differ = half.iter().zip(&blocks).filter(|(a, b)| a != b).count();
        assert!(differ <= 4 * blocks.len() / ty.type_size(), "{ty}: {differ} bytes changed");
        assert_eq!(merged(0.9, None), merged(0.9, Some(0.0)), "{ty}");
    }
}
