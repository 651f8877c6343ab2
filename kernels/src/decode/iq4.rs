//! Blocks of 4-bit indices into one table of uneven steps (`dequantize_row_iq4_nl`, `dequantize_row_iq4_xs`).

use super::{Sink, half, halves, nibbles, part};
use crate::QK_K;
use crate::simd::{Floats, LANES};

/// `kvalues_iq4nl` of ggml-common.h.
const STEPS: [f32; LANES] = [-127., -104., -83., -65., -49., -35., -22., -10., 1., 13., 25., 38., 53., 69., 89., 113.];

/// `d: f16, qs: [u8; 16]`.
#[inline(always)]
pub(super) fn iq4_nl<V: Floats>(block: &[u8; 18], out: &mut [f32; 32], sink: impl Sink<V>) {
    let made = sink.make(half::<V>(block, 0) * V::load(&STEPS));
    nibbles(part(block, 2), [made; 2], halves(out), sink);
}

/// `d: f16, scales_h: u16, scales_l: [u8; 4], qs: [u8; 128]`: for each 32 elements a scale of 6 bits.
#[inline(always)]
pub(super) fn iq4_xs<V: Floats>(block: &[u8; 136], out: &mut [f32; QK_K], sink: impl Sink<V>) {
    let (d, upper, lower) = (half::<V>(block, 0), u16::from_le_bytes([block[2], block[3]]), part::<4>(block, 4));
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let lower = (lower[group / 2] >> (group % 2 * 4)) & 0xF;
        let scale = f32::from(lower) + f32::from((upper >> (2 * group)) & 3) * 16.0 - 32.0;
        let made = sink.make(d * V::splat(scale) * V::load(&STEPS));
        nibbles(part(block, 8 + group * LANES), [made; 2], halves(out), sink);
    }
}
