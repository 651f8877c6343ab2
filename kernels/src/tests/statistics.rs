//! Order statistics against sorting, and all statistics the same on any number of threads.

use super::{f32_bytes, values};
use crate::keep::sparsify;
use crate::stats::{Order, Score, divergences, exact_cut, gram, kept_by_level, line_grams, quantiles, sums_before};
use crate::{Codecs, GgmlType, Keep, Lines, MaskKey, Ranks, Source, keep_threshold};

fn differences(n: usize) -> ([Vec<u8>; 2], Vec<f32>) {
    let (base, other) = (values(1, n), values(2, n));
    let delta = other.iter().zip(&base).map(|(x, b)| x - b).collect();
    ([f32_bytes(&base), f32_bytes(&other)], delta)
}

fn sources(bytes: &[Vec<u8>; 2]) -> [Source<'_>; 2] {
    bytes.each_ref().map(|data| Source::new(GgmlType::F32, data))
}

/// Positions by magnitude, the largest first, equals by index.
fn descending(delta: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..delta.len()).collect();
    order.sort_by(|a, b| delta[*b].abs().total_cmp(&delta[*a].abs()).then(a.cmp(b)));
    order
}

#[test]
fn the_exact_cut_keeps_exactly_k_as_sorting_would() {
    let n = 70_000;
    let (bytes, delta) = differences(n);
    let [base, source] = &sources(&bytes);
    let score = Score::Difference { base, source };
    let order = descending(&delta);
    for k in [0, 1, 2, 999, 35_000, n - 1, n] {
        let cut = exact_cut(&score, n, k, &Codecs::BUILT_IN);
        let mut kept = delta.clone();
        sparsify(Keep::Largest(cut), 0, &mut kept, |_| panic!("no ranks here"));
        let mut want = vec![0f32; n];
        for i in &order[..k] {
            want[*i] = delta[*i];
        }
        assert_eq!(kept, want, "k = {k}");
    }
    let positions = [0, n / 4, n / 2, n - 1];
    let want = positions.map(|p| delta[order[n - 1 - p]].abs());
    assert_eq!(quantiles(&score, n, &positions, &Codecs::BUILT_IN), want);
}

/// Values with thousands of ties, values with none, and nothing but ties, in tensors of several sizes.
#[test]
fn ladders_hit_any_density_within_a_thousandth_and_small_ones_exactly() {
    let smooth = |n: usize| values(3, n).iter().enumerate().map(|(i, v)| v * v * v + i as f32 * 1e-7).collect();
    let levels = |n: usize| values(4, n).iter().map(|v| (v * 3.0).round()).collect();
    let shapes: [&dyn Fn(usize) -> Vec<f32>; 4] = [&smooth, &|n| differences(n).1, &levels, &|n: usize| vec![-0.25; n]];
    for n in [1, 2, 512, 4096, 4097, 20_001, 300_000] {
        for shape in shapes {
            let delta = shape(n);
            let bytes = [f32_bytes(&vec![0.0; n]), f32_bytes(&delta)];
            let [base, source] = &sources(&bytes);
            let score = Score::Difference { base, source };
            let order = Order::new(&score, n, &Codecs::BUILT_IN);
            let ranks = descending(&delta);
            let positive = delta.iter().filter(|d| **d != 0.0).count() as u64;
            assert_eq!(order.positive, positive);
            assert!(order.rungs.windows(2).all(|pair| pair[0].1 < pair[1].1), "rising strictly");
            for density in [1e-7, 0.0004, 0.01, 0.1, 0.25, 0.333, 0.5, 0.77, 0.999] {
                let k = ((density * n as f64) as u64).max(1);
                let (cut, kept) = order.rungs[order.nearest(k).unwrap()];
                let keeps = |i: &usize| cut.keeps(delta[*i].abs(), *i as u64);
                // Which of the zeros are kept makes no difference, and is not told apart.
                let tolerance = if n <= 4096 { 0 } else { n as u64 / 1000 + 1 };
                if kept <= positive {
                    assert_eq!(ranks.iter().filter(|i| keeps(i)).count() as u64, kept);
                    assert!(kept.abs_diff(k) <= tolerance, "{kept} of {n} for {k}");
                } else {
                    assert!(k + tolerance >= positive, "{kept} of {n} for {k}, {positive} above zero");
                }
                // Nothing that is dropped is larger than what is kept, but for the width of a bin.
                let magnitudes = |wanted: bool| (0..n).filter(move |i| keeps(i) == wanted).map(|i| delta[i].abs());
                let least = magnitudes(true).fold(f32::MAX, f32::min);
                let most = magnitudes(false).fold(0.0, f32::max);
                assert!(most <= least * (1.0 + 1.0 / 2048.0), "{most} dropped, {least} kept");
            }
            assert_eq!(order.nearest(0), None);
            let cuts: Vec<_> = order.rungs.iter().map(|(cut, _)| *cut).collect();
            let sums = sums_before(&score, &cuts, n, &Codecs::BUILT_IN);
            assert_eq!(sums.len(), cuts.len() + 1);
            for at in [0, cuts.len() / 2, cuts.len() - 1] {
                let kept = (0..n).filter(|i| cuts[at].keeps(delta[*i].abs(), *i as u64));
                let want: f64 = kept.map(|i| f64::from(delta[i].abs())).sum();
                assert!((sums[at] - want).abs() <= 1e-9 * want, "{} is not {want}", sums[at]);
            }
        }
    }
}

#[test]
fn line_grams_are_the_inner_products_of_rows_and_columns() {
    const ROW: usize = 1500;
    let n = 7 * ROW;
    let (a, b) = (values(1, n), values(2, n));
    let bytes = [f32_bytes(&a), f32_bytes(&b)];
    for (lines, count) in [(Lines::Rows, 7), (Lines::Columns, ROW)] {
        let got = line_grams(&sources(&bytes), n, ROW, lines, &Codecs::BUILT_IN);
        assert_eq!(got.len(), 3 * count);
        for line in 0..count {
            let of = |i: &usize| if lines == Lines::Rows { i / ROW } else { i % ROW };
            let product = |x: &[f32], y: &[f32]| {
                (0..n).filter(|i| of(i) == line).map(|i| f64::from(x[i]) * f64::from(y[i])).sum::<f64>()
            };
            for (got, want) in
                got[3 * line..3 * line + 3].iter().zip([product(&a, &a), product(&a, &b), product(&b, &b)])
            {
                assert!((got - want).abs() < 1e-9, "{lines:?} {line}: {got} is not {want}");
            }
        }
    }
}

#[test]
fn statistics_do_not_depend_on_threads() {
    const ROW: usize = 1000;
    let n = 300 * ROW;
    let bytes = [f32_bytes(&values(1, n)), f32_bytes(&values(2, n))];
    let both = sources(&bytes);
    let [base, source] = &both;
    let score = Score::Difference { base, source };
    let key = MaskKey { seed: [5, 6], stream: [7, 8] };
    let ranks = Some(Ranks { row: ROW, spread: keep_threshold(0.3) });
    let all = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let variance = Score::Variance { base, sources: &both };
            let order = Order::new(&variance, n, &Codecs::BUILT_IN);
            let cuts: Vec<_> = order.rungs.iter().map(|(cut, _)| *cut).collect();
            let sums = [
                gram(&both, n, 0.0, &Codecs::BUILT_IN),
                line_grams(&both, n, ROW, Lines::Columns, &Codecs::BUILT_IN),
                divergences(base, source, n, ROW, &Codecs::BUILT_IN),
                kept_by_level(base, source, n, key, ranks, &Codecs::BUILT_IN),
                sums_before(&variance, &cuts, n, &Codecs::BUILT_IN),
            ];
            (Order::new(&score, n, &Codecs::BUILT_IN), order, exact_cut(&score, n, n / 3, &Codecs::BUILT_IN), sums)
        })
    };
    let one = all(1);
    assert_eq!(one, all(3));
    assert_eq!(one.3[0][1], one.3[0][2]);
}
