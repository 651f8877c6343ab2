//! Vectors as arrays: every operation lane by lane, the definition that the other tiers are compared with.

use std::array::from_fn;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

use super::{Floats, Ints, LANES, Mask};
use crate::half::{f16_to_f32, f32_to_f16};

/// 16 floats.
#[derive(Clone, Copy)]
pub(crate) struct Array([f32; LANES]);

/// 16 whole numbers.
#[derive(Clone, Copy)]
pub(crate) struct IntArray([i32; LANES]);

/// 16 truth values.
#[derive(Clone, Copy)]
pub(crate) struct BoolArray([bool; LANES]);

macro_rules! lane_by_lane {
    ($($vector:ident: $trait:ident $method:ident $of:expr;)*) => {$(
        impl $trait for $vector {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(from_fn(|k| $of(self.0[k], other.0[k])))
            }
        }
    )*};
}

lane_by_lane! {
    Array: Add add |a: f32, b: f32| a + b;
    Array: Sub sub |a: f32, b: f32| a - b;
    Array: Mul mul |a: f32, b: f32| a * b;
    Array: Div div |a: f32, b: f32| a / b;
    IntArray: Add add i32::wrapping_add;
    IntArray: Sub sub i32::wrapping_sub;
    IntArray: BitAnd bitand |a: i32, b: i32| a & b;
    IntArray: BitOr bitor |a: i32, b: i32| a | b;
    IntArray: BitXor bitxor |a: i32, b: i32| a ^ b;
}

impl Mask for BoolArray {
    #[inline(always)]
    fn and_not(self, other: Self) -> Self {
        Self(from_fn(|k| self.0[k] && !other.0[k]))
    }

    #[inline(always)]
    fn any(self) -> bool {
        self.0.contains(&true)
    }
}

impl Floats for Array {
    type Ints = IntArray;
    type Mask = BoolArray;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }

    #[inline(always)]
    fn splat_half(bytes: [u8; 2]) -> Self {
        Self([f16_to_f32(bytes); LANES])
    }

    #[inline(always)]
    fn from_halves(bytes: &[u8; 2 * LANES]) -> Self {
        Self(from_fn(|k| f16_to_f32([bytes[2 * k], bytes[2 * k + 1]])))
    }

    #[inline(always)]
    fn to_halves(self) -> [u8; 2 * LANES] {
        let halves = self.0.map(f32_to_f16);
        from_fn(|k| halves[k / 2][k % 2])
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(from_fn(|k| if self.0[k] < other.0[k] { self.0[k] } else { other.0[k] }))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(from_fn(|k| if self.0[k] > other.0[k] { self.0[k] } else { other.0[k] }))
    }

    #[inline(always)]
    fn bits(self) -> IntArray {
        IntArray(self.0.map(|v| v.to_bits().cast_signed()))
    }

    #[inline(always)]
    fn truncate(self) -> IntArray {
        let truncate = |v: f32| if (-2_147_483_648.0..2_147_483_648.0).contains(&v) { v as i32 } else { i32::MIN };
        IntArray(self.0.map(truncate))
    }

    #[inline(always)]
    fn above(self, other: Self) -> BoolArray {
        BoolArray(from_fn(|k| self.0[k] > other.0[k]))
    }

    #[inline(always)]
    fn at_least(self, other: Self) -> BoolArray {
        BoolArray(from_fn(|k| self.0[k] >= other.0[k]))
    }

    #[inline(always)]
    fn equals(self, other: Self) -> BoolArray {
        BoolArray(from_fn(|k| self.0[k] == other.0[k]))
    }

    #[inline(always)]
    fn select(mask: BoolArray, yes: Self, no: Self) -> Self {
        Self(from_fn(|k| if mask.0[k] { yes.0[k] } else { no.0[k] }))
    }
}

impl Ints for IntArray {
    type Floats = Array;

    #[inline(always)]
    fn splat(value: i32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn load(from: &[i32; LANES]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self, to: &mut [i32; LANES]) {
        *to = self.0;
    }

    #[inline(always)]
    fn from_u8(bytes: &[u8; LANES]) -> Self {
        Self(bytes.map(i32::from))
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; LANES]) -> Self {
        Self(bytes.map(|b| i32::from(b.cast_signed())))
    }

    #[inline(always)]
    fn from_u16(bytes: &[u8; 2 * LANES]) -> Self {
        Self(from_fn(|k| i32::from(u16::from_le_bytes([bytes[2 * k], bytes[2 * k + 1]]))))
    }

    #[inline(always)]
    fn low_bytes(self) -> [u8; LANES] {
        self.0.map(|v| v as u8)
    }

    #[inline(always)]
    fn small_bytes(vectors: [Self; 4]) -> [u8; 4 * LANES] {
        from_fn(|k| vectors[k / LANES].0[k % LANES] as u8)
    }

    #[inline(always)]
    fn low_halves(self) -> [u8; 2 * LANES] {
        from_fn(|k| (self.0[k / 2] >> (k % 2 * 8)) as u8)
    }

    #[inline(always)]
    fn shl<const BY: u32>(self) -> Self {
        Self(self.0.map(|v| v << BY))
    }

    #[inline(always)]
    fn shr<const BY: u32>(self) -> Self {
        Self(self.0.map(|v| (v.cast_unsigned() >> BY).cast_signed()))
    }

    #[inline(always)]
    fn shr_each(self, by: Self) -> Self {
        Self(from_fn(|k| self.0[k].cast_unsigned().wrapping_shr(by.0[k].cast_unsigned()).cast_signed()))
    }

    #[inline(always)]
    fn to_floats(self) -> Array {
        Array(self.0.map(|v| v as f32))
    }

    #[inline(always)]
    fn as_floats(self) -> Array {
        Array(self.0.map(|v| f32::from_bits(v.cast_unsigned())))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(from_fn(|k| self.0[k].max(other.0[k])))
    }

    #[inline(always)]
    fn greatest_of(vectors: [Self; LANES]) -> Self {
        Self(vectors.map(|vector| vector.0.into_iter().fold(i32::MIN, i32::max)))
    }

    #[inline(always)]
    fn above(self, other: Self) -> BoolArray {
        BoolArray(from_fn(|k| self.0[k] > other.0[k]))
    }

    #[inline(always)]
    fn mul_even(self, factor: u32) -> Self {
        let product = |k: usize| u64::from(self.0[k & !1].cast_unsigned()) * u64::from(factor);
        Self(from_fn(|k| (product(k) >> (k % 2 * 32)) as i32))
    }

    #[inline(always)]
    fn odd_to_even(self) -> Self {
        Self(from_fn(|k| if k % 2 == 0 { self.0[k + 1] } else { 0 }))
    }

    #[inline(always)]
    fn interleave_even(self, odd: Self) -> Self {
        Self(from_fn(|k| if k % 2 == 0 { self.0[k] } else { odd.0[k - 1] }))
    }

    #[inline(always)]
    fn look_up(self, table: Array) -> Array {
        Array(self.0.map(|index| table.0[index as usize % LANES]))
    }
}
