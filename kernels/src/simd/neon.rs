//! Vectors in four registers of NEON.

use std::arch::aarch64::*;
use std::array::from_fn;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

use super::{Floats, Ints, LANES, Mask};

/// 16 floats.
#[derive(Clone, Copy)]
pub(crate) struct Neon([float32x4_t; 4]);

/// 16 whole numbers.
#[derive(Clone, Copy)]
pub(crate) struct Ints128([int32x4_t; 4]);

/// 16 truth values: all bits of a lane, or none.
#[derive(Clone, Copy)]
pub(crate) struct Mask128([uint32x4_t; 4]);

/// An intrinsic over values, or over references to as many bytes as it reads or writes.
macro_rules! neon {
    ($call:expr) => {
        // SAFETY: these vectors exist in functions for NEON alone, see `tiered!`; references point at all that is read or written.
        unsafe { $call }
    };
}

macro_rules! in_four {
    ($($vector:ident: $trait:ident $method:ident $intrinsic:ident;)*) => {$(
        impl $trait for $vector {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(from_fn(|k| neon!($intrinsic(self.0[k], other.0[k]))))
            }
        }
    )*};
}

in_four! {
    Neon: Add add vaddq_f32;
    Neon: Sub sub vsubq_f32;
    Neon: Mul mul vmulq_f32;
    Neon: Div div vdivq_f32;
    Ints128: Add add vaddq_s32;
    Ints128: Sub sub vsubq_s32;
    Ints128: BitAnd bitand vandq_s32;
    Ints128: BitOr bitor vorrq_s32;
    Ints128: BitXor bitxor veorq_s32;
}

impl Mask for Mask128 {
    #[inline(always)]
    fn and_not(self, other: Self) -> Self {
        Self(from_fn(|k| neon!(vbicq_u32(self.0[k], other.0[k]))))
    }

    #[inline(always)]
    fn any(self) -> bool {
        let [a, b, c, d] = self.0;
        neon!(vmaxvq_u32(vorrq_u32(vorrq_u32(a, b), vorrq_u32(c, d)))) != 0
    }
}

impl Floats for Neon {
    type Ints = Ints128;
    type Mask = Mask128;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([neon!(vdupq_n_f32(value)); 4])
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(from_fn(|k| neon!(vld1q_f32(from.as_ptr().add(4 * k)))))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        for (k, v) in self.0.into_iter().enumerate() {
            neon!(vst1q_f32(to.as_mut_ptr().add(4 * k), v));
        }
    }

    #[inline(always)]
    fn splat_half(bytes: [u8; 2]) -> Self {
        Self([neon!(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(u16::from_le_bytes(bytes))))); 4])
    }

    #[inline(always)]
    fn from_halves(bytes: &[u8; 2 * LANES]) -> Self {
        Self(from_fn(|k| neon!(vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(bytes.as_ptr().add(8 * k)))))))
    }

    #[inline(always)]
    fn to_halves(self) -> [u8; 2 * LANES] {
        let mut bytes = [0; 2 * LANES];
        for (k, v) in self.0.into_iter().enumerate() {
            neon!(vst1_u8(bytes.as_mut_ptr().add(8 * k), vreinterpret_u8_f16(vcvt_f16_f32(v))));
        }
        bytes
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(|v| neon!(vabsq_f32(v))))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(|v| neon!(vsqrtq_f32(v))))
    }

    // NEON's own minimum and maximum are NaN where either is.
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self::select(other.above(self), self, other)
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self::select(self.above(other), self, other)
    }

    #[inline(always)]
    fn bits(self) -> Ints128 {
        Ints128(self.0.map(|v| neon!(vreinterpretq_s32_f32(v))))
    }

    #[inline(always)]
    fn truncate(self) -> Ints128 {
        // What is too small becomes `i32::MIN` by itself.
        let near = |v| neon!(vcltq_f32(v, vdupq_n_f32(2_147_483_648.0)));
        Ints128(self.0.map(|v| neon!(vbslq_s32(near(v), vcvtq_s32_f32(v), vdupq_n_s32(i32::MIN)))))
    }

    #[inline(always)]
    fn above(self, other: Self) -> Mask128 {
        Mask128(from_fn(|k| neon!(vcgtq_f32(self.0[k], other.0[k]))))
    }

    #[inline(always)]
    fn at_least(self, other: Self) -> Mask128 {
        Mask128(from_fn(|k| neon!(vcgeq_f32(self.0[k], other.0[k]))))
    }

    #[inline(always)]
    fn equals(self, other: Self) -> Mask128 {
        Mask128(from_fn(|k| neon!(vceqq_f32(self.0[k], other.0[k]))))
    }

    #[inline(always)]
    fn select(mask: Mask128, yes: Self, no: Self) -> Self {
        Self(from_fn(|k| neon!(vbslq_f32(mask.0[k], yes.0[k], no.0[k]))))
    }
}

impl Ints for Ints128 {
    type Floats = Neon;

    #[inline(always)]
    fn splat(value: i32) -> Self {
        Self([neon!(vdupq_n_s32(value)); 4])
    }

    #[inline(always)]
    fn load(from: &[i32; LANES]) -> Self {
        Self(from_fn(|k| neon!(vld1q_s32(from.as_ptr().add(4 * k)))))
    }

    #[inline(always)]
    fn store(self, to: &mut [i32; LANES]) {
        for (k, v) in self.0.into_iter().enumerate() {
            neon!(vst1q_s32(to.as_mut_ptr().add(4 * k), v));
        }
    }

    #[inline(always)]
    fn from_u8(bytes: &[u8; LANES]) -> Self {
        let bytes = neon!(vld1q_u8(bytes.as_ptr()));
        from_eights(neon!([vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes))]))
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; LANES]) -> Self {
        Self(neon!({
            let bytes = vld1q_s8(bytes.as_ptr().cast());
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes)));
            [vget_low_s16(low), vget_high_s16(low), vget_low_s16(high), vget_high_s16(high)].map(|four| vmovl_s16(four))
        }))
    }

    #[inline(always)]
    fn from_u16(bytes: &[u8; 2 * LANES]) -> Self {
        from_eights(from_fn(|k| neon!(vreinterpretq_u16_u8(vld1q_u8(bytes.as_ptr().add(16 * k))))))
    }

    #[inline(always)]
    fn low_bytes(self) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        let [low, high] = self.low_parts();
        neon!(vst1q_u8(bytes.as_mut_ptr(), vuzp1q_u8(low, high)));
        bytes
    }

    #[inline(always)]
    fn small_bytes(vectors: [Self; 4]) -> [u8; 4 * LANES] {
        let mut bytes = [0; 4 * LANES];
        for (bytes, v) in bytes.as_chunks_mut().0.iter_mut().zip(vectors) {
            *bytes = v.low_bytes();
        }
        bytes
    }

    #[inline(always)]
    fn low_halves(self) -> [u8; 2 * LANES] {
        let mut bytes = [0; 2 * LANES];
        for (k, part) in self.low_parts().into_iter().enumerate() {
            neon!(vst1q_u8(bytes.as_mut_ptr().add(16 * k), part));
        }
        bytes
    }

    #[inline(always)]
    fn shl<const BY: u32>(self) -> Self {
        Self(self.0.map(|v| neon!(vshlq_s32(v, vdupq_n_s32(BY as i32)))))
    }

    #[inline(always)]
    fn shr<const BY: u32>(self) -> Self {
        self.shr_each(Self::splat(BY as i32))
    }

    #[inline(always)]
    fn shr_each(self, by: Self) -> Self {
        // There are shifts to the left alone; those by less than nothing are to the right.
        let shr = |v, by| neon!(vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(v), vnegq_s32(by))));
        Self(from_fn(|k| shr(self.0[k], by.0[k])))
    }

    #[inline(always)]
    fn to_floats(self) -> Neon {
        Neon(self.0.map(|v| neon!(vcvtq_f32_s32(v))))
    }

    #[inline(always)]
    fn as_floats(self) -> Neon {
        Neon(self.0.map(|v| neon!(vreinterpretq_f32_s32(v))))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(from_fn(|k| neon!(vmaxq_s32(self.0[k], other.0[k]))))
    }

    #[inline(always)]
    fn greatest_of(vectors: [Self; LANES]) -> Self {
        let four = |v: Self| neon!(vmaxq_s32(vmaxq_s32(v.0[0], v.0[1]), vmaxq_s32(v.0[2], v.0[3])));
        // The greater of each pair of neighbours: two of each vector are left, then one.
        let two = |k: usize| neon!(vpmaxq_s32(four(vectors[k]), four(vectors[k + 1])));
        Self(from_fn(|k| neon!(vpmaxq_s32(two(4 * k), two(4 * k + 2)))))
    }

    #[inline(always)]
    fn above(self, other: Self) -> Mask128 {
        Mask128(from_fn(|k| neon!(vcgtq_s32(self.0[k], other.0[k]))))
    }

    #[inline(always)]
    fn mul_even(self, factor: u32) -> Self {
        let [a, b, c, d] = self.0;
        let ([a, b], [c, d]) = (even_products(a, b, factor), even_products(c, d, factor));
        Self([a, b, c, d])
    }

    #[inline(always)]
    fn odd_to_even(self) -> Self {
        Self(self.0.map(|v| neon!(vreinterpretq_s32_u64(vshrq_n_u64::<32>(vreinterpretq_u64_s32(v))))))
    }

    #[inline(always)]
    fn interleave_even(self, odd: Self) -> Self {
        Self(from_fn(|k| neon!(vtrn1q_s32(self.0[k], odd.0[k]))))
    }

    #[inline(always)]
    fn look_up(self, table: Neon) -> Neon {
        let numbers = self & Self::splat(0xF);
        Neon(neon!({
            let [a, b, c, d] = table.0.map(|v| vreinterpretq_u8_f32(v));
            // The numbers of an entry's four bytes.
            let places = |number| vmlaq_s32(vdupq_n_s32(0x0302_0100), number, vdupq_n_s32(0x0404_0404));
            let entry = |number| vqtbl4q_u8(uint8x16x4_t(a, b, c, d), vreinterpretq_u8_s32(places(number)));
            numbers.0.map(|number| vreinterpretq_f32_u8(entry(number)))
        }))
    }
}

impl Ints128 {
    /// The lowest 16 bits of each lane.
    #[inline(always)]
    fn low_parts(self) -> [uint8x16_t; 2] {
        let halves = |k: usize| neon!(vreinterpretq_s16_s32(self.0[k]));
        [0, 2].map(|k| neon!(vreinterpretq_u8_s16(vuzp1q_s16(halves(k), halves(k + 1)))))
    }
}

/// Numbers of 16 bits made wider.
#[inline(always)]
fn from_eights([low, high]: [uint16x8_t; 2]) -> Ints128 {
    Ints128(neon!({
        let fours = [vget_low_u16(low), vget_high_u16(low), vget_low_u16(high), vget_high_u16(high)];
        fours.map(|four| vreinterpretq_s32_u32(vmovl_u16(four)))
    }))
}

/// The even lanes of both times `factor`.
#[inline(always)]
fn even_products(a: int32x4_t, b: int32x4_t, factor: u32) -> [int32x4_t; 2] {
    neon!({
        let even = vreinterpretq_u32_s32(vuzp1q_s32(a, b));
        let products = [vmull_n_u32(vget_low_u32(even), factor), vmull_high_n_u32(even, factor)];
        products.map(|product| vreinterpretq_s32_u64(product))
    })
}
