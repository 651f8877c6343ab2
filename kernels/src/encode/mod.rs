//! f32 to blocks: the encoders of ggml-quants.c without an importance matrix.

use crate::GgmlType;
use crate::simd::{Floats, Ints, LANES, tiered};

mod k_quants;
mod lanes;
mod legacy;

/// Whether there is code for `ty` here.
pub(crate) const fn knows(ty: GgmlType) -> bool {
    use GgmlType::*;
    matches!(ty, F32 | F16 | BF16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q4_K | Q5_K | Q6_K)
}

tiered! {
    /// Fills the blocks in `out` from `values`.
    pub(crate) fn encode<V>(ty: GgmlType, values: &[f32], out: &mut [u8]) {
        match ty {
            GgmlType::F32 => floats(values, out, to_f32::<V>),
            GgmlType::F16 => floats(values, out, to_f16::<V>),
            GgmlType::BF16 => floats(values, out, to_bf16::<V>),
            GgmlType::Q4_0 => legacy::symmetric::<V, 4, 18>(values, out),
            GgmlType::Q4_1 => legacy::offset::<V, 4, 20>(values, out),
            GgmlType::Q5_0 => legacy::symmetric::<V, 5, 22>(values, out),
            GgmlType::Q5_1 => legacy::offset::<V, 5, 24>(values, out),
            GgmlType::Q8_0 => legacy::q8_0::<V>(values, out),
            GgmlType::Q4_K => k_quants::offset::<V, 4, 144>(values, out),
            GgmlType::Q5_K => k_quants::offset::<V, 5, 176>(values, out),
            GgmlType::Q6_K => k_quants::q6_k::<V>(values, out),
            _ => unreachable!("`knows` is asked first"),
        }
    }
}

/// Plain floats, of which there may be any number. `encode` is always a function: closures are not always compiled into the functions that
/// have the tier's instructions.
#[inline(always)]
fn floats<V: Floats, const BYTES: usize>(values: &[f32], out: &mut [u8], encode: impl Fn(V) -> [[u8; BYTES]; LANES]) {
    let (values, rest) = values.as_chunks::<LANES>();
    let (out, out_rest) = out.as_chunks_mut::<BYTES>().0.as_chunks_mut::<LANES>();
    for (values, out) in values.iter().zip(out) {
        *out = encode(V::load(values));
    }
    if !rest.is_empty() {
        let mut values = [0f32; LANES];
        values[..rest.len()].copy_from_slice(rest);
        out_rest.copy_from_slice(&encode(V::load(&values))[..rest.len()]);
    }
}

#[inline(always)]
fn to_f32<V: Floats>(values: V) -> [[u8; 4]; LANES] {
    let mut floats = [0f32; LANES];
    values.store(&mut floats);
    floats.map(f32::to_le_bytes)
}

#[inline(always)]
fn to_f16<V: Floats>(values: V) -> [[u8; 2]; LANES] {
    pairs(values.to_halves())
}

/// To the nearest bfloat16, ties to even; NaN stays NaN (`ggml_compute_fp32_to_bf16`).
#[inline(always)]
fn to_bf16<V: Floats>(values: V) -> [[u8; 2]; LANES] {
    let bits = values.bits();
    let upper = bits.shr::<16>();
    let rounded = (bits + V::Ints::splat(0x7FFF) + (upper & V::Ints::splat(1))).shr::<16>();
    let quiet = upper | V::Ints::splat(64);
    pairs(V::select(values.equals(values), rounded.as_floats(), quiet.as_floats()).bits().low_halves())
}

#[inline(always)]
fn pairs(bytes: [u8; 2 * LANES]) -> [[u8; 2]; LANES] {
    bytes.as_chunks().0.try_into().expect("half as many")
}
