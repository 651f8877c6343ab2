//! Blocks of one type to f32 and back. Bytes in, f32 out (`decode`), or f32 in, bytes out (`encode`).
//!
//! The common types have code of their own in [`decode`] and [`encode`], bit for bit what ggml-quants.c does; every other type goes through
//! the functions that the caller hands in, which are ggml's own.

use crate::{GgmlType, decode, encode};

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

impl Codecs {
    /// No type but those with code here: the others are never said to be known, so that nothing asks for them.
    pub const BUILT_IN: Self = Self {
        decode: |ty, _, _| panic!("no decoder for {ty}"),
        encode: |ty, _, _| panic!("no encoder for {ty}"),
        can_decode: |_| false,
        can_encode: |_| false,
    };

    /// Whether sources may have this type.
    pub fn decodes(&self, ty: GgmlType) -> bool {
        decode::knows(ty) || (self.can_decode)(ty)
    }

    /// Whether destinations may have this type.
    pub fn encodes(&self, ty: GgmlType) -> bool {
        encode::knows(ty) || (self.can_encode)(ty)
    }

    /// Decodes whole blocks: `bytes` holds `out.len()` elements of type `ty`.
    ///
    /// # Panics
    /// If the two lengths disagree; callers slice both from one proven tensor.
    pub(crate) fn dequantize(self, ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(Some(bytes.len()), ty.row_size(out.len()), "source tile of {ty}");
        if decode::knows(ty) { decode::store(ty, bytes, out) } else { (self.decode)(ty, bytes, out) }
    }

    /// Adds `coefficient * W` to `sum`, or to `constant` with no regard to what was in `sum`, with whole blocks as in
    /// [`Codecs::dequantize`]. False, and nothing done, for types without code here.
    pub(crate) fn accumulate(
        self,
        ty: GgmlType,
        bytes: &[u8],
        constant: Option<f32>,
        coefficient: f32,
        sum: &mut [f32],
    ) -> bool {
        assert_eq!(Some(bytes.len()), ty.row_size(sum.len()), "source tile of {ty}");
        match constant {
            _ if !decode::knows(ty) => return false,
            Some(constant) => decode::start(ty, bytes, constant, coefficient, sum),
            None => decode::add(ty, bytes, coefficient, sum),
        }
        true
    }

    /// Encodes whole blocks: `out` holds `values.len()` elements of type `ty`.
    ///
    /// # Panics
    /// If the two lengths disagree; callers slice both from one proven tensor.
    pub(crate) fn quantize(self, ty: GgmlType, values: &[f32], out: &mut [u8]) {
        assert_eq!(Some(out.len()), ty.row_size(values.len()), "destination tile of {ty}");
        if encode::knows(ty) { encode::encode(ty, values, out) } else { (self.encode)(ty, values, out) }
    }
}
