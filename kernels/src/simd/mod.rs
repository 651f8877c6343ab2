//! Vectors of 16 lanes: what kernels are written in, once for every instruction set.
//!
//! A kernel is generic over its [`Floats`]; [`tiered!`] compiles it for each [`Isa`] and calls the one in use. Every operation is exact
//! or rounds as IEEE 754 says and none is fused with another, so that all tiers give the same bits.

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

mod array;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(test)]
mod tests;

pub(crate) use array::Array;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(test)]
pub(crate) use isa::FORCED;
pub use isa::Isa;
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

/// Lanes of a vector, whatever the registers.
pub(crate) const LANES: usize = 16;

/// 16 floats of single precision.
pub(crate) trait Floats:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    /// As many whole numbers.
    type Ints: Ints<Floats = Self>;
    /// As many truth values.
    type Mask: Mask;

    fn splat(value: f32) -> Self;
    fn load(from: &[f32; LANES]) -> Self;
    fn store(self, to: &mut [f32; LANES]);
    /// One half precision float, little-endian, in all lanes.
    fn splat_half(bytes: [u8; 2]) -> Self;
    /// 16 half precision floats, little-endian; exact.
    fn from_halves(bytes: &[u8; 2 * LANES]) -> Self;
    /// To the nearest half precision floats, ties to even.
    fn to_halves(self) -> [u8; 2 * LANES];
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    /// The lesser; the second where either is NaN.
    fn min(self, other: Self) -> Self;
    /// The greater; the second where either is NaN.
    fn max(self, other: Self) -> Self;
    /// The bits as they are.
    fn bits(self) -> Self::Ints;
    /// Towards zero; `i32::MIN` for what no i32 is near.
    fn truncate(self) -> Self::Ints;
    /// `self > other`; false for NaN.
    fn above(self, other: Self) -> Self::Mask;
    /// `self >= other`; false for NaN.
    fn at_least(self, other: Self) -> Self::Mask;
    /// `self == other`; false for NaN.
    fn equals(self, other: Self) -> Self::Mask;
    /// `yes` where the mask is true, else `no`.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;

    /// The nearest whole numbers, ties to even, of what is less than 2^22 in magnitude (ggml's `nearest_int`, as floats).
    #[inline(always)]
    fn nearest(self) -> Self {
        let magic = Self::splat(12_582_912.0);
        self + magic - magic
    }

    /// Between the two.
    #[inline(always)]
    fn clamp(self, least: f32, greatest: f32) -> Self {
        self.max(Self::splat(least)).min(Self::splat(greatest))
    }

    /// The lanes, to be taken one by one.
    #[inline(always)]
    fn lanes(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes);
        lanes
    }

    /// Itself where the mask is true, else zero.
    #[inline(always)]
    fn or_zero(self, mask: Self::Mask) -> Self {
        Self::select(mask, self, Self::splat(0.0))
    }
}

/// 16 truth values.
pub(crate) trait Mask: Copy {
    /// True where this one is and the other is not.
    fn and_not(self, other: Self) -> Self;
    /// Whether any is true.
    fn any(self) -> bool;
}

/// 16 whole numbers of 32 bits; arithmetic wraps.
pub(crate) trait Ints:
    Copy + Add<Output = Self> + Sub<Output = Self> + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self>
{
    /// As many floats.
    type Floats: Floats<Ints = Self>;

    fn splat(value: i32) -> Self;
    fn load(from: &[i32; LANES]) -> Self;
    fn store(self, to: &mut [i32; LANES]);
    fn from_u8(bytes: &[u8; LANES]) -> Self;
    fn from_i8(bytes: &[u8; LANES]) -> Self;
    /// Little-endian.
    fn from_u16(bytes: &[u8; 2 * LANES]) -> Self;
    /// The lowest 8 bits of each.
    fn low_bytes(self) -> [u8; LANES];
    /// The lowest 8 bits of each, one vector after the other, of numbers from -128 to 127.
    fn small_bytes(vectors: [Self; 4]) -> [u8; 4 * LANES];
    /// The lowest 16 bits of each, little-endian.
    fn low_halves(self) -> [u8; 2 * LANES];
    fn shl<const BY: u32>(self) -> Self;
    /// Shifts in zeros.
    fn shr<const BY: u32>(self) -> Self;
    /// Each by its own number of bits below 32, shifting in zeros.
    fn shr_each(self, by: Self) -> Self;
    /// To the nearest float.
    fn to_floats(self) -> Self::Floats;
    /// The bits as they are.
    fn as_floats(self) -> Self::Floats;
    /// The greater, both taken as signed.
    fn max(self, other: Self) -> Self;
    /// In lane `k` the greatest lane of vector `k`, taken as signed.
    fn greatest_of(vectors: [Self; LANES]) -> Self;
    /// `self > other`, both taken as signed.
    fn above(self, other: Self) -> <Self::Floats as Floats>::Mask;
    /// The even lanes times `factor`, all taken as unsigned; each product fills a lane and the odd one behind it.
    fn mul_even(self, factor: u32) -> Self;
    /// Each odd lane in the even one before it, and zeros behind it.
    fn odd_to_even(self) -> Self;
    /// The even lanes, and those of `odd` behind them.
    fn interleave_even(self, odd: Self) -> Self;
    /// The lane of a table that the lowest four bits name.
    fn look_up(self, table: Self::Floats) -> Self::Floats;
}

/// Compiles functions for every tier, in which `$V` is its [`Floats`]; calls go to that of [`Isa::current`].
macro_rules! tiered {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident<$V:ident>($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {$(
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $result)? {
            #[inline(always)]
            fn generic<$V: $crate::simd::Floats>($($arg: $ty),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,f16c")]
            fn avx2($($arg: $ty),*) $(-> $result)? {
                generic::<$crate::simd::Avx2>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
            fn avx512($($arg: $ty),*) $(-> $result)? {
                generic::<$crate::simd::Avx512>($($arg),*)
            }

            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            fn neon($($arg: $ty),*) $(-> $result)? {
                generic::<$crate::simd::Neon>($($arg),*)
            }

            match $crate::Isa::current() {
                // SAFETY: no instruction set becomes current that the processor does not have.
                #[cfg(target_arch = "x86_64")]
                $crate::Isa::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "aarch64")]
                $crate::Isa::Neon => unsafe { neon($($arg),*) },
                _ => generic::<$crate::simd::Array>($($arg),*),
            }
        }
    )*};
}
pub(crate) use tiered;
