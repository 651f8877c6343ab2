//! One tensor times a number, without decoding it: the number goes into the scales of blocks wherever that is exact.

use crate::GgmlType;
use crate::half::{f16_to_f32, f32_to_f16};

/// Where in a block of `ty` the half precision numbers are that all its values are proportional to; nothing for types of other kinds.
const fn scales(ty: GgmlType) -> &'static [usize] {
    match ty {
        GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 | GgmlType::IQ4_NL | GgmlType::IQ4_XS => &[0],
        GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4_K | GgmlType::Q5_K => &[0, 2],
        GgmlType::Q2_K => &[80, 82],
        GgmlType::Q3_K => &[108],
        GgmlType::Q6_K => &[208],
        _ => &[],
    }
}

/// Whether blocks of `ty` have scales to multiply.
pub(crate) const fn knows(ty: GgmlType) -> bool {
    !scales(ty).is_empty()
}

/// `out = factor * block`, unless a scale of the block has no such multiple: then false, and `out` holds the block itself.
pub(crate) fn fold(ty: GgmlType, block: &[u8], factor: f32, out: &mut [u8]) -> bool {
    out.copy_from_slice(block);
    let mut folded = [[0; 2]; 2];
    for (folded, at) in folded.iter_mut().zip(scales(ty)) {
        let wanted = f16_to_f32([block[*at], block[at + 1]]) * factor;
        *folded = f32_to_f16(wanted);
        if f16_to_f32(*folded) != wanted {
            return false;
        }
    }
    for (folded, at) in folded.iter().zip(scales(ty)) {
        out[*at..at + 2].copy_from_slice(folded);
    }
    true
}
