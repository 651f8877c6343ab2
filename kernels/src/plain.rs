//! F32, F16 and BF16: numbers that stand alone, of which there may be any number.

use crate::simd::{Floats, Ints, LANES};

/// A number's format. Functions of a trait and no closures, here as in all kernels: what a closure does is not always compiled into the
/// functions that have a tier's instructions.
pub(crate) trait Plain<const BYTES: usize> {
    fn decode<V: Floats>(bytes: &[[u8; BYTES]; LANES]) -> V;
    fn encode<V: Floats>(values: V) -> [[u8; BYTES]; LANES];
}

/// Little-endian, single precision.
pub(crate) struct F32;
/// Little-endian, half precision; to the nearest, ties to even.
pub(crate) struct F16;
/// The upper half of an F32; to the nearest, ties to even (`ggml_compute_fp32_to_bf16`).
pub(crate) struct Bf16;

impl Plain<4> for F32 {
    #[inline(always)]
    fn decode<V: Floats>(bytes: &[[u8; 4]; LANES]) -> V {
        V::load(&bytes.map(f32::from_le_bytes))
    }

    #[inline(always)]
    fn encode<V: Floats>(values: V) -> [[u8; 4]; LANES] {
        values.lanes().map(f32::to_le_bytes)
    }
}

impl Plain<2> for F16 {
    #[inline(always)]
    fn decode<V: Floats>(bytes: &[[u8; 2]; LANES]) -> V {
        V::from_halves(flat(bytes))
    }

    #[inline(always)]
    fn encode<V: Floats>(values: V) -> [[u8; 2]; LANES] {
        pairs(values.to_halves())
    }
}

impl Plain<2> for Bf16 {
    #[inline(always)]
    fn decode<V: Floats>(bytes: &[[u8; 2]; LANES]) -> V {
        V::Ints::from_u16(flat(bytes)).shl::<16>().as_floats()
    }

    #[inline(always)]
    fn encode<V: Floats>(values: V) -> [[u8; 2]; LANES] {
        let bits = values.bits();
        let upper = bits.shr::<16>();
        let rounded = (bits + V::Ints::splat(0x7FFF) + (upper & V::Ints::splat(1))).shr::<16>();
        let quiet = upper | V::Ints::splat(64);
        pairs(V::select(values.equals(values), rounded.as_floats(), quiet.as_floats()).bits().low_halves())
    }
}

/// Numbers to blocks.
#[inline(always)]
pub(crate) fn encode<V: Floats, F: Plain<BYTES>, const BYTES: usize>(values: &[f32], out: &mut [u8]) {
    let (values, rest) = values.as_chunks::<LANES>();
    let (out, out_rest) = out.as_chunks_mut::<BYTES>().0.as_chunks_mut::<LANES>();
    for (values, out) in values.iter().zip(out) {
        *out = F::encode(V::load(values));
    }
    if !rest.is_empty() {
        let mut values = [0f32; LANES];
        values[..rest.len()].copy_from_slice(rest);
        out_rest.copy_from_slice(&F::encode(V::load(&values))[..rest.len()]);
    }
}

#[inline(always)]
fn flat(bytes: &[[u8; 2]; LANES]) -> &[u8; 2 * LANES] {
    bytes.as_flattened().as_array().expect("twice as many")
}

#[inline(always)]
fn pairs(bytes: [u8; 2 * LANES]) -> [[u8; 2]; LANES] {
    *bytes.as_chunks().0.as_array().expect("half as many")
}
