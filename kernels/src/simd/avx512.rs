//! Vectors in one register of AVX-512.

use std::arch::x86_64::*;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

use super::{Floats, Ints, LANES, Mask};

/// 16 floats.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// 16 whole numbers.
#[derive(Clone, Copy)]
pub(crate) struct Ints512(__m512i);

/// 16 truth values.
#[derive(Clone, Copy)]
pub(crate) struct Mask512(__mmask16);

/// An intrinsic over values, or over references to as many bytes as it reads or writes.
macro_rules! avx512 {
    ($call:expr) => {
        // SAFETY: these vectors exist in functions for AVX-512 alone, see `tiered!`; references point at all that is read or written.
        unsafe { $call }
    };
}

macro_rules! in_one {
    ($($vector:ident: $trait:ident $method:ident $intrinsic:ident;)*) => {$(
        impl $trait for $vector {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(avx512!($intrinsic(self.0, other.0)))
            }
        }
    )*};
}

in_one! {
    Avx512: Add add _mm512_add_ps;
    Avx512: Sub sub _mm512_sub_ps;
    Avx512: Mul mul _mm512_mul_ps;
    Avx512: Div div _mm512_div_ps;
    Ints512: Add add _mm512_add_epi32;
    Ints512: Sub sub _mm512_sub_epi32;
    Ints512: BitAnd bitand _mm512_and_si512;
    Ints512: BitOr bitor _mm512_or_si512;
    Ints512: BitXor bitxor _mm512_xor_si512;
}

impl Mask for Mask512 {
    #[inline(always)]
    fn and_not(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[inline(always)]
    fn any(self) -> bool {
        self.0 != 0
    }
}

impl Floats for Avx512 {
    type Ints = Ints512;
    type Mask = Mask512;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(avx512!(_mm512_set1_ps(value)))
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(avx512!(_mm512_loadu_ps(from.as_ptr())))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        avx512!(_mm512_storeu_ps(to.as_mut_ptr(), self.0));
    }

    #[inline(always)]
    fn splat_half(bytes: [u8; 2]) -> Self {
        Self(avx512!(_mm512_cvtph_ps(_mm256_set1_epi16(i16::from_le_bytes(bytes)))))
    }

    #[inline(always)]
    fn from_halves(bytes: &[u8; 2 * LANES]) -> Self {
        Self(avx512!(_mm512_cvtph_ps(_mm256_loadu_si256(bytes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn to_halves(self) -> [u8; 2 * LANES] {
        let mut bytes = [0; 2 * LANES];
        avx512!(_mm256_storeu_si256(bytes.as_mut_ptr().cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)));
        bytes
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(avx512!(_mm512_abs_ps(self.0)))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(avx512!(_mm512_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(avx512!(_mm512_min_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(avx512!(_mm512_max_ps(self.0, other.0)))
    }

    #[inline(always)]
    fn bits(self) -> Ints512 {
        Ints512(avx512!(_mm512_castps_si512(self.0)))
    }

    #[inline(always)]
    fn truncate(self) -> Ints512 {
        Ints512(avx512!(_mm512_cvttps_epi32(self.0)))
    }

    #[inline(always)]
    fn above(self, other: Self) -> Mask512 {
        Mask512(avx512!(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0)))
    }

    #[inline(always)]
    fn at_least(self, other: Self) -> Mask512 {
        Mask512(avx512!(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, other.0)))
    }

    #[inline(always)]
    fn equals(self, other: Self) -> Mask512 {
        Mask512(avx512!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0)))
    }

    #[inline(always)]
    fn select(mask: Mask512, yes: Self, no: Self) -> Self {
        Self(avx512!(_mm512_mask_blend_ps(mask.0, no.0, yes.0)))
    }
}

impl Ints for Ints512 {
    type Floats = Avx512;

    #[inline(always)]
    fn splat(value: i32) -> Self {
        Self(avx512!(_mm512_set1_epi32(value)))
    }

    #[inline(always)]
    fn load(from: &[i32; LANES]) -> Self {
        Self(avx512!(_mm512_loadu_si512(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn store(self, to: &mut [i32; LANES]) {
        avx512!(_mm512_storeu_si512(to.as_mut_ptr().cast(), self.0));
    }

    #[inline(always)]
    fn from_u8(bytes: &[u8; LANES]) -> Self {
        Self(avx512!(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; LANES]) -> Self {
        Self(avx512!(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn from_u16(bytes: &[u8; 2 * LANES]) -> Self {
        Self(avx512!(_mm512_cvtepu16_epi32(_mm256_loadu_si256(bytes.as_ptr().cast()))))
    }

    #[inline(always)]
    fn low_bytes(self) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        avx512!(_mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(self.0)));
        bytes
    }

    #[inline(always)]
    fn small_bytes(vectors: [Self; 4]) -> [u8; 4 * LANES] {
        let [a, b, c, d] = vectors.map(|v| v.0);
        let mut bytes = [0; 4 * LANES];
        avx512!({
            // Packing works within 128 bits; the permutation puts the sixteen fours in order.
            let fours = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_storeu_si512(bytes.as_mut_ptr().cast(), _mm512_permutexvar_epi32(order, fours));
        });
        bytes
    }

    #[inline(always)]
    fn low_halves(self) -> [u8; 2 * LANES] {
        let mut bytes = [0; 2 * LANES];
        avx512!(_mm256_storeu_si256(bytes.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(self.0)));
        bytes
    }

    #[inline(always)]
    fn shl<const BY: u32>(self) -> Self {
        Self(avx512!(_mm512_slli_epi32::<BY>(self.0)))
    }

    #[inline(always)]
    fn shr<const BY: u32>(self) -> Self {
        Self(avx512!(_mm512_srli_epi32::<BY>(self.0)))
    }

    #[inline(always)]
    fn shr_each(self, by: Self) -> Self {
        Self(avx512!(_mm512_srlv_epi32(self.0, by.0)))
    }

    #[inline(always)]
    fn to_floats(self) -> Avx512 {
        Avx512(avx512!(_mm512_cvtepi32_ps(self.0)))
    }

    #[inline(always)]
    fn as_floats(self) -> Avx512 {
        Avx512(avx512!(_mm512_castsi512_ps(self.0)))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(avx512!(_mm512_max_epi32(self.0, other.0)))
    }

    #[inline(always)]
    fn greatest_of(vectors: [Self; LANES]) -> Self {
        let mut fours = [vectors[0]; 4];
        for (four, v) in fours.iter_mut().zip(vectors.as_chunks::<4>().0) {
            // Within each 128 bits: what is left of the first two in turn, of the last two, and of all four.
            let (a, b) = avx512!((
                _mm512_max_epi32(_mm512_unpacklo_epi32(v[0].0, v[1].0), _mm512_unpackhi_epi32(v[0].0, v[1].0)),
                _mm512_max_epi32(_mm512_unpacklo_epi32(v[2].0, v[3].0), _mm512_unpackhi_epi32(v[2].0, v[3].0)),
            ));
            *four = Self(avx512!(_mm512_max_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))));
        }
        let [a, b, c, d] = fours.map(|four| four.0);
        Self(avx512!({
            let ab = _mm512_max_epi32(_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xEE>(a, b));
            let cd = _mm512_max_epi32(_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xEE>(c, d));
            _mm512_max_epi32(_mm512_shuffle_i32x4::<0x88>(ab, cd), _mm512_shuffle_i32x4::<0xDD>(ab, cd))
        }))
    }

    #[inline(always)]
    fn above(self, other: Self) -> Mask512 {
        Mask512(avx512!(_mm512_cmpgt_epi32_mask(self.0, other.0)))
    }

    #[inline(always)]
    fn mul_even(self, factor: u32) -> Self {
        Self(avx512!(_mm512_mul_epu32(self.0, _mm512_set1_epi32(factor.cast_signed()))))
    }

    #[inline(always)]
    fn odd_to_even(self) -> Self {
        Self(avx512!(_mm512_srli_epi64::<32>(self.0)))
    }

    #[inline(always)]
    fn interleave_even(self, odd: Self) -> Self {
        Self(avx512!(_mm512_mask_blend_epi32(0xAAAA, self.0, _mm512_slli_epi64::<32>(odd.0))))
    }

    #[inline(always)]
    fn look_up(self, table: Avx512) -> Avx512 {
        Avx512(avx512!(_mm512_permutexvar_ps(self.0, table.0)))
    }
}
