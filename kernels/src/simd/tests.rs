//! Every operation of the tiers against the arrays that define it, on numbers of every kind.

use std::array::from_fn;

use super::{Array, FORCED, Floats, Ints, Isa, LANES, Mask, tiered};

/// Zeros, tiny and huge numbers, halves to be rounded, infinities, NaN, and bits of all sorts, 16 at a time.
fn samples() -> Vec<[f32; LANES]> {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        127.0,
        -128.5,
        1e-8,
        6e-8,
        -6.1e-5,
        65504.0,
        65520.0,
        1e9,
        -3e9,
        1e-40,
        f32::MAX,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let special = (0..special.len()).map(|first| from_fn(|k| special[(first + k * 7) % special.len()]));
    let mut state = 1u64;
    let mut bits = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let any = (0..200).map(|i| {
        from_fn(|_| if i % 2 == 0 { f32::from_bits(bits()) } else { bits() as i32 as f32 / (1 << 20) as f32 })
    });
    special.chain(any.collect::<Vec<_>>()).collect()
}

fn floats<V: Floats>(v: V) -> Vec<u32> {
    let lanes = v.lanes();
    // Whose NaN comes out of an operation is nobody's business.
    lanes.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

fn ints<I: Ints>(v: I) -> Vec<u32> {
    let mut lanes = [0; LANES];
    v.store(&mut lanes);
    lanes.iter().map(|v| v.cast_unsigned()).collect()
}

fn bytes(bytes: &[u8]) -> Vec<u32> {
    bytes.iter().map(|b| u32::from(*b)).collect()
}

/// The results of all operations, in one order.
#[inline(always)]
fn all<V: Floats>(a: &[f32; LANES], b: &[f32; LANES]) -> Vec<Vec<u32>> {
    let (x, y) = (V::load(a), V::load(b));
    let (i, j) = (x.bits(), y.bits());
    let small = |v: V::Ints| (v & V::Ints::splat(0xFF)) - V::Ints::splat(128);
    let mask = |mask: V::Mask| floats(V::select(mask, V::splat(1.0), V::splat(2.0)));
    let raw: [u8; 4 * LANES] = from_fn(|k| a[k / 4].to_bits().to_le_bytes()[k % 4]);
    let (raw16, raw32) = (raw.first_chunk().unwrap(), raw.first_chunk().unwrap());
    let table = from_fn(|k| k as f32 * 3.0);
    vec![
        floats(x + y),
        floats(x - y),
        floats(x * y),
        floats(x / y),
        floats(V::splat(a[3])),
        floats(V::splat_half([raw[0], raw[1]])),
        floats(V::from_halves(raw32)),
        bytes(&x.to_halves()),
        floats(x.abs()),
        floats(x.abs().sqrt()),
        floats(x.min(y)),
        floats(x.max(y)),
        floats(x.nearest()),
        floats(x.clamp(-2.0, 7.0)),
        floats(x.or_zero(x.above(y))),
        ints(x.truncate()),
        mask(x.above(y)),
        mask(x.at_least(y)),
        mask(x.equals(y)),
        mask(x.above(y).and_not(x.equals(V::splat(1.0)))),
        ints(i + j),
        ints(i - j),
        ints(i & j),
        ints(i | j),
        ints(i ^ j),
        ints(V::Ints::splat(a[1].to_bits().cast_signed())),
        ints(V::Ints::from_u8(raw16)),
        ints(V::Ints::from_i8(raw16)),
        ints(V::Ints::from_u16(raw32)),
        bytes(&i.low_bytes()),
        bytes(&i.low_halves()),
        bytes(&V::Ints::small_bytes([0, 5, 11, 17].map(|by| small(i + V::Ints::splat(by * 0x0107_3151))))),
        vec![u32::from(x.above(y).any())],
        ints(i.shl::<7>()),
        ints(i.shr::<7>()),
        ints(i.shr_each(j & V::Ints::splat(31))),
        floats(i.to_floats()),
        floats(i.as_floats()),
        ints(i.max(j)),
        ints(V::Ints::greatest_of(from_fn(|k| if k % 3 == 0 { i + V::Ints::splat(k as i32) } else { j - i }))),
        mask(i.above(j)),
        ints(i.mul_even(0xD251_1F53)),
        ints(i.odd_to_even()),
        ints(i.interleave_even(j)),
        floats(i.look_up(V::load(&table))),
    ]
}

tiered! {
    fn all_of_current<V>(a: &[f32; LANES], b: &[f32; LANES]) -> Vec<Vec<u32>> {
        all::<V>(a, b)
    }
}

#[test]
fn every_tier_computes_what_arrays_compute() {
    let samples = samples();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        FORCED.set(Some(isa));
        for (a, b) in samples.iter().zip(samples.iter().cycle().skip(5)) {
            let (got, want) = (all_of_current(a, b), all::<Array>(a, b));
            assert_eq!(got.len(), want.len());
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(got, want, "{}, {i}: {a:?}, {b:?}", isa.name());
            }
        }
    }
    FORCED.set(None);
}

#[test]
fn half_precision_floats_are_those_of_a_library() {
    for bits in 0..=u16::MAX {
        let want = half::f16::from_bits(bits).to_f32();
        let got = crate::half::f16_to_f32(bits.to_le_bytes());
        assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{bits:#x}: {got} is not {want}");
        // What lies between two of them, and just beside the middle.
        let next = half::f16::from_bits(bits.wrapping_add(1)).to_f32();
        let middle = (want + next) / 2.0;
        for value in [want, middle, middle.next_up(), middle.next_down()] {
            let (got, want) = (crate::half::f32_to_f16(value), half::f16::from_f32(value));
            assert!(got == want.to_le_bytes() || value.is_nan(), "{value:e}: {got:?} is not {want:?}");
        }
    }
}

#[test]
fn only_what_is_there_can_be_selected() {
    assert!(Isa::Scalar.is_available());
    for isa in Isa::ALL {
        assert!(!isa.name().is_empty());
        assert!(isa.is_available() || !isa.select(), "{isa:?}");
    }
}
