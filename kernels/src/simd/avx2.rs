//! Vectors in two registers of AVX2.

use std::arch::x86_64::*;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Sub};

use super::{Floats, Ints, LANES, Mask};

/// 16 floats.
#[derive(Clone, Copy)]
pub(crate) struct Avx2([__m256; 2]);

/// 16 whole numbers.
#[derive(Clone, Copy)]
pub(crate) struct Ints256([__m256i; 2]);

/// 16 truth values: all bits of a lane, or none.
#[derive(Clone, Copy)]
pub(crate) struct Mask256([__m256; 2]);

/// An intrinsic over values, or over references to as many bytes as it reads or writes.
macro_rules! avx2 {
    ($call:expr) => {
        // SAFETY: these vectors exist in functions for AVX2 alone, see `tiered!`; references point at all that is read or written.
        unsafe { $call }
    };
}

macro_rules! in_two {
    ($($vector:ident: $trait:ident $method:ident $intrinsic:ident;)*) => {$(
        impl $trait for $vector {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(avx2!([$intrinsic(self.0[0], other.0[0]), $intrinsic(self.0[1], other.0[1])]))
            }
        }
    )*};
}

in_two! {
    Avx2: Add add _mm256_add_ps;
    Avx2: Sub sub _mm256_sub_ps;
    Avx2: Mul mul _mm256_mul_ps;
    Avx2: Div div _mm256_div_ps;
    Ints256: Add add _mm256_add_epi32;
    Ints256: Sub sub _mm256_sub_epi32;
    Ints256: BitAnd bitand _mm256_and_si256;
    Ints256: BitOr bitor _mm256_or_si256;
    Ints256: BitXor bitxor _mm256_xor_si256;
}

impl Avx2 {
    #[inline(always)]
    fn compare<const HOW: i32>(self, other: Self) -> Mask256 {
        Mask256(avx2!([_mm256_cmp_ps::<HOW>(self.0[0], other.0[0]), _mm256_cmp_ps::<HOW>(self.0[1], other.0[1])]))
    }
}

impl Mask for Mask256 {
    #[inline(always)]
    fn and_not(self, other: Self) -> Self {
        Self(avx2!([_mm256_andnot_ps(other.0[0], self.0[0]), _mm256_andnot_ps(other.0[1], self.0[1])]))
    }

    #[inline(always)]
    fn any(self) -> bool {
        avx2!(_mm256_movemask_ps(_mm256_or_ps(self.0[0], self.0[1]))) != 0
    }
}

impl Floats for Avx2 {
    type Ints = Ints256;
    type Mask = Mask256;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([avx2!(_mm256_set1_ps(value)); 2])
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(avx2!([_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))]))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        avx2!({
            _mm256_storeu_ps(to.as_mut_ptr(), self.0[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), self.0[1]);
        });
    }

    #[inline(always)]
    fn splat_half(bytes: [u8; 2]) -> Self {
        Self([avx2!(_mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes(bytes)))); 2])
    }

    #[inline(always)]
    fn from_halves(bytes: &[u8; 2 * LANES]) -> Self {
        let from = bytes.as_ptr().cast::<__m128i>();
        Self(avx2!([_mm256_cvtph_ps(_mm_loadu_si128(from)), _mm256_cvtph_ps(_mm_loadu_si128(from.add(1)))]))
    }

    #[inline(always)]
    fn to_halves(self) -> [u8; 2 * LANES] {
        let mut bytes = [0; 2 * LANES];
        let to = bytes.as_mut_ptr().cast::<__m128i>();
        avx2!({
            _mm_storeu_si128(to, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0[0]));
            _mm_storeu_si128(to.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0[1]));
        });
        bytes
    }

    #[inline(always)]
    fn abs(self) -> Self {
        let magnitude = Ints256::splat(i32::MAX);
        (self.bits() & magnitude).as_floats()
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(avx2!([_mm256_sqrt_ps(self.0[0]), _mm256_sqrt_ps(self.0[1])]))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(avx2!([_mm256_min_ps(self.0[0], other.0[0]), _mm256_min_ps(self.0[1], other.0[1])]))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(avx2!([_mm256_max_ps(self.0[0], other.0[0]), _mm256_max_ps(self.0[1], other.0[1])]))
    }

    #[inline(always)]
    fn bits(self) -> Ints256 {
        Ints256(avx2!([_mm256_castps_si256(self.0[0]), _mm256_castps_si256(self.0[1])]))
    }

    #[inline(always)]
    fn truncate(self) -> Ints256 {
        Ints256(avx2!([_mm256_cvttps_epi32(self.0[0]), _mm256_cvttps_epi32(self.0[1])]))
    }

    #[inline(always)]
    fn above(self, other: Self) -> Mask256 {
        self.compare::<_CMP_GT_OQ>(other)
    }

    #[inline(always)]
    fn at_least(self, other: Self) -> Mask256 {
        self.compare::<_CMP_GE_OQ>(other)
    }

    #[inline(always)]
    fn equals(self, other: Self) -> Mask256 {
        self.compare::<_CMP_EQ_OQ>(other)
    }

    #[inline(always)]
    fn select(mask: Mask256, yes: Self, no: Self) -> Self {
        Self(avx2!([_mm256_blendv_ps(no.0[0], yes.0[0], mask.0[0]), _mm256_blendv_ps(no.0[1], yes.0[1], mask.0[1]),]))
    }
}

impl Ints for Ints256 {
    type Floats = Avx2;

    #[inline(always)]
    fn splat(value: i32) -> Self {
        Self([avx2!(_mm256_set1_epi32(value)); 2])
    }

    #[inline(always)]
    fn load(from: &[i32; LANES]) -> Self {
        let from = from.as_ptr().cast::<__m256i>();
        Self(avx2!([_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))]))
    }

    #[inline(always)]
    fn store(self, to: &mut [i32; LANES]) {
        let to = to.as_mut_ptr().cast::<__m256i>();
        avx2!({
            _mm256_storeu_si256(to, self.0[0]);
            _mm256_storeu_si256(to.add(1), self.0[1]);
        });
    }

    #[inline(always)]
    fn from_u8(bytes: &[u8; LANES]) -> Self {
        let from = bytes.as_ptr();
        Self(avx2!([
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())),
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast())),
        ]))
    }

    #[inline(always)]
    fn from_i8(bytes: &[u8; LANES]) -> Self {
        let from = bytes.as_ptr();
        Self(avx2!([
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())),
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(8).cast())),
        ]))
    }

    #[inline(always)]
    fn from_u16(bytes: &[u8; 2 * LANES]) -> Self {
        let from = bytes.as_ptr().cast::<__m128i>();
        Self(avx2!(
            [_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(1))),]
        ))
    }

    #[inline(always)]
    fn low_bytes(self) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        avx2!({
            // Packing works within 128 bits; the permutation puts the four quarters in order.
            let byte = _mm256_set1_epi32(0xFF);
            let halves = _mm256_packus_epi32(_mm256_and_si256(self.0[0], byte), _mm256_and_si256(self.0[1], byte));
            let quarters = _mm256_packus_epi16(halves, halves);
            let order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
            let packed = _mm256_permutevar8x32_epi32(quarters, order);
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm256_castsi256_si128(packed));
        });
        bytes
    }

    #[inline(always)]
    fn small_bytes(vectors: [Self; 4]) -> [u8; 4 * LANES] {
        let mut bytes = [0; 4 * LANES];
        for (bytes, [a, b]) in bytes.as_chunks_mut::<32>().0.iter_mut().zip(vectors.as_chunks().0) {
            avx2!({
                // As in `low_bytes`.
                let (a, b) = (_mm256_packs_epi32(a.0[0], a.0[1]), _mm256_packs_epi32(b.0[0], b.0[1]));
                let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                let packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
                _mm256_storeu_si256(bytes.as_mut_ptr().cast(), packed);
            });
        }
        bytes
    }

    #[inline(always)]
    fn low_halves(self) -> [u8; 2 * LANES] {
        let mut bytes = [0; 2 * LANES];
        avx2!({
            let half = _mm256_set1_epi32(0xFFFF);
            let packed = _mm256_packus_epi32(_mm256_and_si256(self.0[0], half), _mm256_and_si256(self.0[1], half));
            _mm256_storeu_si256(bytes.as_mut_ptr().cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        });
        bytes
    }

    #[inline(always)]
    fn shl<const BY: u32>(self) -> Self {
        let by = BY as i32;
        Self(avx2!([
            _mm256_sll_epi32(self.0[0], _mm_cvtsi32_si128(by)),
            _mm256_sll_epi32(self.0[1], _mm_cvtsi32_si128(by)),
        ]))
    }

    #[inline(always)]
    fn shr<const BY: u32>(self) -> Self {
        let by = BY as i32;
        Self(avx2!([
            _mm256_srl_epi32(self.0[0], _mm_cvtsi32_si128(by)),
            _mm256_srl_epi32(self.0[1], _mm_cvtsi32_si128(by)),
        ]))
    }

    #[inline(always)]
    fn shr_each(self, by: Self) -> Self {
        Self(avx2!([_mm256_srlv_epi32(self.0[0], by.0[0]), _mm256_srlv_epi32(self.0[1], by.0[1])]))
    }

    #[inline(always)]
    fn to_floats(self) -> Avx2 {
        Avx2(avx2!([_mm256_cvtepi32_ps(self.0[0]), _mm256_cvtepi32_ps(self.0[1])]))
    }

    #[inline(always)]
    fn as_floats(self) -> Avx2 {
        Avx2(avx2!([_mm256_castsi256_ps(self.0[0]), _mm256_castsi256_ps(self.0[1])]))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(avx2!([_mm256_max_epi32(self.0[0], other.0[0]), _mm256_max_epi32(self.0[1], other.0[1])]))
    }

    #[inline(always)]
    fn greatest_of(vectors: [Self; LANES]) -> Self {
        let mut fours = [vectors[0].0[0]; 4];
        for (four, v) in fours.iter_mut().zip(vectors.as_chunks::<4>().0) {
            // Within each 128 bits: what is left of the first two in turn, of the last two, and of all four.
            let (v, w) = ([eight(v[0]), eight(v[1])], [eight(v[2]), eight(v[3])]);
            *four = avx2!({
                let a = _mm256_max_epi32(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
                let b = _mm256_max_epi32(_mm256_unpacklo_epi32(w[0], w[1]), _mm256_unpackhi_epi32(w[0], w[1]));
                _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b))
            });
        }
        let [a, b, c, d] = fours;
        Self(avx2!([
            _mm256_max_epi32(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b)),
            _mm256_max_epi32(_mm256_permute2x128_si256::<0x20>(c, d), _mm256_permute2x128_si256::<0x31>(c, d)),
        ]))
    }

    #[inline(always)]
    fn above(self, other: Self) -> Mask256 {
        Mask256(avx2!([
            _mm256_castsi256_ps(_mm256_cmpgt_epi32(self.0[0], other.0[0])),
            _mm256_castsi256_ps(_mm256_cmpgt_epi32(self.0[1], other.0[1])),
        ]))
    }

    #[inline(always)]
    fn mul_even(self, factor: u32) -> Self {
        Self(avx2!({
            let factor = _mm256_set1_epi32(factor.cast_signed());
            [_mm256_mul_epu32(self.0[0], factor), _mm256_mul_epu32(self.0[1], factor)]
        }))
    }

    #[inline(always)]
    fn odd_to_even(self) -> Self {
        Self(avx2!([_mm256_srli_epi64::<32>(self.0[0]), _mm256_srli_epi64::<32>(self.0[1])]))
    }

    #[inline(always)]
    fn interleave_even(self, odd: Self) -> Self {
        Self(avx2!([
            _mm256_blend_epi32::<0xAA>(self.0[0], _mm256_slli_epi64::<32>(odd.0[0])),
            _mm256_blend_epi32::<0xAA>(self.0[1], _mm256_slli_epi64::<32>(odd.0[1])),
        ]))
    }

    #[inline(always)]
    fn look_up(self, table: Avx2) -> Avx2 {
        Avx2([look_up(self.0[0], table), look_up(self.0[1], table)])
    }
}

/// The greater of the two halves, lane by lane.
#[inline(always)]
fn eight(v: Ints256) -> __m256i {
    avx2!(_mm256_max_epi32(v.0[0], v.0[1]))
}

#[inline(always)]
fn look_up(index: __m256i, table: Avx2) -> __m256 {
    avx2!({
        let low = _mm256_permutevar8x32_ps(table.0[0], index);
        let high = _mm256_permutevar8x32_ps(table.0[1], index);
        // The fourth bit of the index chooses, as the sign of a lane does.
        _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index)))
    })
}
