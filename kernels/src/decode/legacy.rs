//! Blocks of 32 elements with one scale, and an offset or none (`dequantize_row_q4_0` to `dequantize_row_q8_0`).

use super::{Sink, half, halves, high, low, nibbles, part, steps};
use crate::simd::{Floats, Ints, LANES};

/// Elements of a block.
const QK: usize = 2 * LANES;

/// The numbers of the lanes.
const NUMBERS: [i32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// `d: f16, qs: [u8; 16]`: two quanta of 4 bits a byte, the second half of the block in the upper ones.
#[inline(always)]
pub(super) fn q4_0<V: Floats>(block: &[u8; 18], out: &mut [f32; QK], sink: impl Sink<V>) {
    let made = sink.make((steps::<V>() - V::splat(8.0)) * half(block, 0));
    nibbles(part(block, 2), [made; 2], halves(out), sink);
}

/// `d, m: f16, qs: [u8; 16]`.
#[inline(always)]
pub(super) fn q4_1<V: Floats>(block: &[u8; 20], out: &mut [f32; QK], sink: impl Sink<V>) {
    let made = sink.make(steps::<V>() * half(block, 0) + half(block, 2));
    nibbles(part(block, 4), [made; 2], halves(out), sink);
}

/// `d: f16, qh: [u8; 4], qs: [u8; 16]`: the fifth bits in `qh`.
#[inline(always)]
pub(super) fn q5_0<V: Floats>(block: &[u8; 22], out: &mut [f32; QK], sink: impl Sink<V>) {
    let (d, sixteen) = (half::<V>(block, 0), V::Ints::splat(16));
    let (qh, qs) = (u32::from_le_bytes(*part(block, 2)), part(block, 6));
    let [first, second] = halves(out);
    sink.put(first, ((low::<V>(qs) | fifth::<V>(qh)) - sixteen).to_floats() * d);
    sink.put(second, ((high::<V>(qs) | fifth::<V>(qh >> 16)) - sixteen).to_floats() * d);
}

/// `d, m: f16, qh: [u8; 4], qs: [u8; 16]`.
#[inline(always)]
pub(super) fn q5_1<V: Floats>(block: &[u8; 24], out: &mut [f32; QK], sink: impl Sink<V>) {
    let (d, m) = (half::<V>(block, 0), half::<V>(block, 2));
    let (qh, qs) = (u32::from_le_bytes(*part(block, 4)), part(block, 8));
    let [first, second] = halves(out);
    sink.put(first, (low::<V>(qs) | fifth::<V>(qh)).to_floats() * d + m);
    sink.put(second, (high::<V>(qs) | fifth::<V>(qh >> 16)).to_floats() * d + m);
}

/// `d: f16, qs: [i8; 32]`.
#[inline(always)]
pub(super) fn q8_0<V: Floats>(block: &[u8; 34], out: &mut [f32; QK], sink: impl Sink<V>) {
    let d = half::<V>(block, 0);
    let [first, second] = halves(out);
    sink.put(first, V::Ints::from_i8(part(block, 2)).to_floats() * d);
    sink.put(second, V::Ints::from_i8(part(block, 2 + LANES)).to_floats() * d);
}

/// The lowest 16 bits, each as the fifth of a quantum.
#[inline(always)]
fn fifth<V: Floats>(qh: u32) -> V::Ints {
    (V::Ints::splat(qh.cast_signed()).shr_each(V::Ints::load(&NUMBERS)) & V::Ints::splat(1)).shl::<4>()
}
