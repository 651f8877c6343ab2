//! Every tier gives the same bytes: all source types, all programs, all destinations.

use super::*;
use crate::simd::FORCED;
use crate::{Codecs, Isa, decode, encode};

/// What `work` comes to on each tier that the processor has; the first one is the scalar one.
fn on_all_tiers<T>(work: impl Fn() -> T) -> Vec<(Isa, T)> {
    let on = |isa: Isa| {
        FORCED.set(Some(isa));
        let result = work();
        FORCED.set(None);
        (isa, result)
    };
    Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(on).collect()
}

fn assert_all_alike<T: PartialEq>(results: &[(Isa, T)], what: &str) {
    for (isa, result) in results {
        assert!(*result == results[0].1, "{what} on {}", isa.name());
    }
}

fn assert_encoded_alike(ty: GgmlType, values: &[f32]) {
    let results = on_all_tiers(|| {
        let mut out = vec![0; ty.row_size(values.len()).unwrap()];
        encode::encode(ty, values, &mut out);
        out
    });
    assert_all_alike(&results, ty.name());
}

/// Blocks of any bits whose 16-bit numbers are finite: what no encoder would make, too.
fn blocks(ty: GgmlType, seed: u32, elements: usize) -> Vec<u8> {
    let mut draws = vec![0; ty.row_size(elements).unwrap()];
    MaskKey { seed: [seed, 3], stream: [0, 0] }.fill(0, &mut draws);
    let mut bytes: Vec<u8> = draws.into_iter().map(|d| d as u8).collect();
    for byte in bytes.chunks_mut(ty.type_size()).flatten().skip(1).step_by(2) {
        *byte &= 0xBF;
    }
    bytes
}

#[test]
fn sums_of_every_type_are_the_same_on_every_tier() {
    for &ty in GgmlType::ALL.iter().filter(|ty| decode::knows(**ty)) {
        let data = [blocks(ty, 1, 4096), blocks(ty, 2, 4096)];
        let sources = data.each_ref().map(|d| Source::new(ty, d));
        let terms = vec![Term { source: 0, coefficient: 0.6 }, Term { source: 1, coefficient: -1.3 }];
        let program = Program::Sum { terms, constant: 0.25 };
        for to in [GgmlType::F32, GgmlType::Q8_0, GgmlType::F16, GgmlType::BF16] {
            let results = on_all_tiers(|| {
                let mut out = vec![0; to.row_size(4096).unwrap()];
                run(&program, &sources, to, 0..4096, &mut out, &Codecs::BUILT_IN);
                out
            });
            assert_all_alike(&results, &format!("{ty} to {to}"));
        }
    }
}

#[test]
fn every_encoder_is_the_same_on_every_tier() {
    // 19 blocks of 256: whole vectors of blocks and what is left over.
    let mut values = values(1, 19 * 256);
    values[300..700].fill(0.0);
    values[1024..1300].fill(-0.7);
    values[2048..2300].iter_mut().for_each(|v| *v *= 1e-20);
    // The inverse of such a scale is infinite.
    values[3072..3300].iter_mut().for_each(|v| *v *= 1e-38);
    for &ty in GgmlType::ALL.iter().filter(|ty| encode::knows(**ty)) {
        assert_encoded_alike(ty, &values);
    }
}

#[test]
fn numbers_that_are_none_become_the_same_bytes_on_every_tier() {
    let mut values = values(1, 3 * 4096);
    (values[70], values[5000], values[5001]) = (f32::INFINITY, f32::NAN, f32::NEG_INFINITY);
    for ty in [GgmlType::Q8_0, GgmlType::F16, GgmlType::BF16] {
        assert_encoded_alike(ty, &values);
    }
}

#[test]
fn task_vectors_and_masks_are_the_same_on_every_tier() {
    let sources = [values(1, N), values(2, N), values(3, N)];
    let key = MaskKey { seed: [1, 2], stream: [3, 4] };
    let ranks = Ranks { row: N / 4, spread: keep_threshold(0.4) };
    let keeps = [
        Keep::All,
        Keep::Nothing,
        Keep::Largest(cut(0.8, 900)),
        Keep::Band { inner: cut(1.4, 77), outer: cut(0.8, 900) },
        Keep::Random { key, threshold: keep_threshold(0.4) },
        Keep::Ranked { key, threshold: keep_threshold(0.2), ranks },
    ];
    for keep in keeps {
        for (consensus, normalize) in [(false, true), (true, false), (true, true)] {
            for count in [1, 2, 5] {
                let vectors = (0..count).map(|i| vector(1 + i % 2, 0.6 - 0.2 * i as f32, keep)).collect();
                let program = task_vectors(vectors, consensus, normalize);
                let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
                let results = on_all_tiers(|| bits(run_part(&program, &sources, 3..N - 5)));
                assert_all_alike(&results, &format!("{program:?}"));
                // Groups of draws as a whole, which are made on the way, and the same ones in parts.
                let whole = on_all_tiers(|| bits(run_part(&program, &sources, 0..N)));
                assert_all_alike(&whole, &format!("{program:?}"));
                assert_eq!(results[0].1, whole[0].1[3..N - 5], "{program:?}");
            }
        }
    }
}
