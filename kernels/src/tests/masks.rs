//! Random bits against known answers, masks for any slice, and how much of a vector they keep.

use super::{f32_bytes, run_part, task_vectors, values, vector};
use crate::keep::draws;
use crate::stats::{LEVELS, kept_by_level, level_threshold, rescale};
use crate::{Codecs, GgmlType, Keep, MaskKey, Ranks, Source, keep_threshold};

const KEY: MaskKey = MaskKey { seed: [7, 9], stream: [3, 2] };

/// Worked out by a Philox of its own in Python, which gives the published vectors of Random123.
#[test]
fn draws_have_known_answers() {
    let draw = |element: u64| {
        let mut one = [0];
        KEY.fill(element, &mut one);
        one[0]
    };
    assert_eq!([64, 65, 80, 96, 113].map(draw), [0xe8c5, 0xf0a7, 0x46be, 0x1897, 0x6d38]);
    assert_eq!(draw((1 << 40) + 5), 0xd480);
}

/// By the same program: elements 64 to 79 in two rows of 8, density 0.5, epsilon 0.3.
#[test]
fn ranked_masks_have_known_answers() {
    let delta = [3.0, -1.0, 4.0, -1.0, 5.0, 9.0, -2.0, 6.0, -5.0, 3.0, 5.0, -8.0, 9.0, 7.0, -9.0, 3.0];
    let ranks = Ranks { row: 8, spread: keep_threshold(0.6) };
    let threshold = keep_threshold(0.2) as i32;
    let mask: Vec<u8> = draws(KEY, Some(ranks), 64, &delta).iter().map(|draw| u8::from(*draw < threshold)).collect();
    assert_eq!(mask, [0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1, 0, 1, 0]);
}

#[test]
fn a_mask_is_the_same_for_any_slice_and_keeps_its_share() {
    let mut whole = vec![0; 100_000];
    KEY.fill(0, &mut whole);
    for (first, len) in [(1, 1), (2, 7), (99_997, 3), (4096, 1000)] {
        let mut slice = vec![0; len];
        KEY.fill(first as u64, &mut slice);
        assert_eq!(slice, whole[first..first + len]);
    }
    let kept = whole.iter().filter(|draw| **draw < keep_threshold(0.25) as i32).count();
    // Five standard errors of a Bernoulli(0.25) count.
    assert!((kept as f64 - 25_000.0).abs() < 5.0 * 137.0, "{kept} kept");
    assert_eq!((keep_threshold(0.0), keep_threshold(1.0), keep_threshold(9.0)), (0, 1 << 16, 1 << 16));
}

/// Of many rows with the same magnitudes in other places, each rank is kept as often as its probability says.
#[test]
fn ranked_masks_keep_each_rank_with_its_own_probability() {
    const ROW: usize = 32;
    const ROWS: usize = 20_000;
    let place = |row: usize, i: usize| (i * 5 + row) % ROW;
    let delta: Vec<f32> = (0..ROWS).flat_map(|row| (0..ROW).map(move |i| 1.0 + place(row, i) as f32)).collect();
    let ranks = Ranks { row: ROW, spread: keep_threshold(2.0 * 0.15) };
    let keep = Keep::Ranked { key: KEY, threshold: keep_threshold(0.6 - 0.15), ranks };
    let merged = run_part(
        &task_vectors(vec![vector(1, 1.0, keep)], false, false),
        &[vec![0.0; ROW * ROWS], delta],
        0..ROW * ROWS,
    );
    for rank in 0..ROW {
        let p = 0.45 + 0.3 * rank as f64 / (ROW - 1) as f64;
        let kept =
            (0..ROWS).filter(|row| (0..ROW).any(|i| place(*row, i) == rank && merged[row * ROW + i] != 0.0)).count();
        let sigma = (ROWS as f64 * p * (1.0 - p)).sqrt();
        assert!((kept as f64 - p * ROWS as f64).abs() < 5.0 * sigma, "rank {rank}: {kept} of {ROWS}, not {p}");
    }
}

/// What DARE promises: over many masks, a vector that was thinned out and brought back to its L1 norm is the whole one on average.
#[test]
fn random_masks_keep_the_vector_on_average() {
    const N: usize = 512;
    const MASKS: u32 = 2000;
    let delta: Vec<f32> = values(3, N);
    let norm = |v: &[f32]| v.iter().map(|x| f64::from(x.abs())).sum::<f64>();
    for density in [0.2, 0.6] {
        let mut mean = vec![0f64; N];
        for mask in 0..MASKS {
            let key = MaskKey { seed: [mask, 1], stream: [5, 6] };
            let keep = Keep::Random { key, threshold: keep_threshold(density) };
            let program = task_vectors(vec![vector(1, 1.0, keep)], false, false);
            let kept = run_part(&program, &[vec![0.0; N], delta.clone()], 0..N);
            let rescale = norm(&delta) / norm(&kept);
            mean.iter_mut().zip(&kept).for_each(|(m, k)| *m += f64::from(*k) * rescale / f64::from(MASKS));
        }
        // Five standard errors of a Bernoulli mean; that the factor depends on the mask as well is far less for so many elements.
        let sigma = ((1.0 - density) / density / f64::from(MASKS)).sqrt();
        for (m, d) in mean.iter().zip(&delta) {
            let d = f64::from(*d);
            assert!((m - d).abs() <= 5.0 * sigma * d.abs(), "density {density}: {m} on average, not {d}");
        }
    }
}

#[test]
fn sums_by_level_are_those_of_the_masks_themselves() {
    const ROW: usize = 3000;
    let n = 50 * ROW;
    let (base, other) = (f32_bytes(&values(1, n)), f32_bytes(&values(2, n)));
    let [base, other] = [&base, &other].map(|data| Source::new(GgmlType::F32, data));
    let key = KEY;
    for ranks in [None, Some(Ranks { row: ROW, spread: keep_threshold(0.3) })] {
        let sums = kept_by_level(&base, &other, n, key, ranks, &Codecs::BUILT_IN);
        assert_eq!(sums.len(), LEVELS + 1);
        for level in [1, 100, LEVELS / 2, LEVELS - 1] {
            let threshold = level_threshold(level);
            let keep = match ranks {
                None => Keep::Random { key, threshold },
                Some(ranks) => Keep::Ranked { key, threshold, ranks },
            };
            let (want, got) = (rescale(&base, &other, n, keep, &Codecs::BUILT_IN), (sums[LEVELS] / sums[level]) as f32);
            assert!((want / got - 1.0).abs() < 1e-6, "level {level}: {got} is not {want}");
        }
    }
}
