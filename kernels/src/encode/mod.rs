//! f32 to blocks: the encoders of ggml-quants.c without an importance matrix.

use crate::simd::tiered;
use crate::{GgmlType, plain};

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
            GgmlType::F32 => plain::encode::<V, plain::F32, 4>(values, out),
            GgmlType::F16 => plain::encode::<V, plain::F16, 2>(values, out),
            GgmlType::BF16 => plain::encode::<V, plain::Bf16, 2>(values, out),
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
