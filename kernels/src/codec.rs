//! Blocks of one type to f32 and back. Bytes in, f32 out (`decode`), or f32 in, bytes out (`encode`).
//!
//! F32, F16, BF16 and Q8_0 are written here, bit for bit what ggml-quants.c does; every other type goes through the functions that
//! the caller hands in, which are ggml's own.

use half::{bf16, f16};

use crate::GgmlType;

/// ggml's conversions for the types that have no code here.
#[derive(Clone, Copy)]
pub struct Codecs {
    /// Fills `out` from the blocks in `bytes`; both cover the same whole number of blocks.
    pub decode: fn(ty: GgmlType, bytes: &[u8], out: &mut [f32]),
    /// Fills the blocks in `out` from `values`; both cover the same whole number of blocks.
    pub encode: fn(ty: GgmlType, values: &[f32], out: &mut [u8]),
    /// Whether `decode` knows the type.
    pub can_decode: fn(ty: GgmlType) -> bool,
    /// Whether `encode` knows the type: some are quantized with an importance matrix only.
    pub can_encode: fn(ty: GgmlType) -> bool,
}

/// 1.5 * 2^23: the sum of this and a small whole number has that number in its low bits.
const INTEGER_BITS: f32 = 12_582_912.0;
const QK8_0: usize = 32;
const Q8_0_BYTES: usize = 2 + QK8_0;

impl Codecs {
    /// Whether sources may have this type.
    pub fn decodes(&self, ty: GgmlType) -> bool {
        matches!(ty, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 | GgmlType::Q8_0) || (self.can_decode)(ty)
    }

    /// Whether destinations may have this type.
    pub fn encodes(&self, ty: GgmlType) -> bool {
        matches!(ty, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 | GgmlType::Q8_0) || (self.can_encode)(ty)
    }

    /// Decodes whole blocks: `bytes` holds `out.len()` elements of type `ty`.
    ///
    /// # Panics
    /// If the two lengths disagree; callers slice both from one proven tensor.
    pub(crate) fn dequantize(self, ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(Some(bytes.len()), ty.row_size(out.len()), "source tile of {ty}");
        match ty {
            GgmlType::F32 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *o = f32::from_le_bytes(*b);
                }
            }
            GgmlType::F16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = f16::from_le_bytes(*b).to_f32();
                }
            }
            GgmlType::BF16 => {
                for (o, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *o = bf16::from_le_bytes(*b).to_f32();
                }
            }
            GgmlType::Q8_0 => {
                for (o, block) in out.as_chunks_mut::<QK8_0>().0.iter_mut().zip(bytes.as_chunks::<Q8_0_BYTES>().0) {
                    let d = f16::from_le_bytes([block[0], block[1]]).to_f32();
                    for (o, q) in o.iter_mut().zip(&block[2..]) {
                        *o = f32::from(q.cast_signed()) * d;
                    }
                }
            }
            _ => (self.decode)(ty, bytes, out),
        }
    }

    /// Encodes whole blocks: `out` holds `values.len()` elements of type `ty`.
    ///
    /// # Panics
    /// If the two lengths disagree; callers slice both from one proven tensor.
    pub(crate) fn quantize(self, ty: GgmlType, values: &[f32], out: &mut [u8]) {
        assert_eq!(Some(out.len()), ty.row_size(values.len()), "destination tile of {ty}");
        match ty {
            GgmlType::F32 => {
                for (v, o) in values.iter().zip(out.as_chunks_mut::<4>().0) {
                    *o = v.to_le_bytes();
                }
            }
            GgmlType::F16 => {
                for (v, o) in values.iter().zip(out.as_chunks_mut::<2>().0) {
                    *o = f16::from_f32(*v).to_le_bytes();
                }
            }
            GgmlType::BF16 => {
                for (v, o) in values.iter().zip(out.as_chunks_mut::<2>().0) {
                    *o = bf16::from_f32(*v).to_le_bytes();
                }
            }
            GgmlType::Q8_0 => {
                for (v, o) in values.as_chunks::<QK8_0>().0.iter().zip(out.as_chunks_mut::<Q8_0_BYTES>().0) {
                    encode_q8_0(v, o);
                }
            }
            _ => (self.encode)(ty, values, out),
        }
    }
}

/// `quantize_row_q8_0_ref` of ggml-quants.c for one block: d = absmax / 127, q = round half away from zero (v / d).
fn encode_q8_0(values: &[f32; QK8_0], out: &mut [u8; Q8_0_BYTES]) {
    // Magnitudes order like their bits, and integer maxima vectorize where those of floats, for the sake of NaN, do not.
    let absmax = values.iter().fold(0, |m, v| v.abs().to_bits().max(m));
    let d = f32::from_bits(absmax) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    out[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (v, q) in values.iter().zip(&mut out[2..]) {
        // A whole number up to 127 either way: this sum's low byte is its two's complement. A cast would be checked lane by lane.
        *q = ((v * inverse).round() + INTEGER_BITS).to_bits() as u8;
    }
}
