//! Super-blocks of 256 elements whose parts have quantized scales of their own (`dequantize_row_q2_K` to `dequantize_row_q6_K`).

use super::{Sink, half, high, low, nibbles, part, steps};
use crate::QK_K;
use crate::simd::{Floats, Ints, LANES};

/// `scales: [u8; 16], qs: [u8; 64], d, dmin: f16`: quanta of 2 bits; for each 16 elements a scale and an offset of 4 bits.
#[inline(always)]
pub(super) fn q2_k<V: Floats>(block: &[u8; 84], out: &mut [f32; QK_K], sink: impl Sink<V>) {
    let scales = (half::<V>(block, 80) * low::<V>(part(block, 0)).to_floats()).lanes();
    let offsets = (half::<V>(block, 82) * high::<V>(part(block, 0)).to_floats()).lanes();
    for (group, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        let q = two_bits::<V>(part(block, 16), group);
        sink.put(out, V::splat(scales[group]) * q.to_floats() - V::splat(offsets[group]));
    }
}

/// `hmask: [u8; 32], qs: [u8; 64], scales: [u8; 12], d: f16`: quanta of 3 bits, the third in `hmask`; for each 16 elements a scale of 6.
#[inline(always)]
pub(super) fn q3_k<V: Floats>(block: &[u8; 110], out: &mut [f32; QK_K], sink: impl Sink<V>) {
    let scales = V::Ints::from_u8(&six_bits(part(block, 96))) - V::Ints::splat(32);
    let scales = (half::<V>(block, 108) * scales.to_floats()).lanes();
    for (group, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
        // Of each byte of `hmask`, the bits from the lowest on belong to the eight pairs of groups.
        let hmask = V::Ints::from_u8(part(block, group % 2 * LANES));
        let third = (hmask.shr_each(V::Ints::splat(group as i32 / 2)) & V::Ints::splat(1)).shl::<2>();
        let q = two_bits::<V>(part(block, 32), group) | third;
        sink.put(out, V::splat(scales[group]) * (q - V::Ints::splat(4)).to_floats());
    }
}

/// `d, dmin: f16, scales: [u8; 12], qs: [u8; 128]`: quanta of 4 bits; for each 32 elements a scale and an offset of 6.
#[inline(always)]
pub(super) fn q4_k<V: Floats>(block: &[u8; 144], out: &mut [f32; QK_K], sink: impl Sink<V>) {
    let ([scales, offsets], qs) = (scales_and_offsets::<V>(block), part::<128>(block, 16));
    for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let made = [2 * pair, 2 * pair + 1]
            .map(|number| sink.make(V::splat(scales[number]) * steps() - V::splat(offsets[number])));
        let [a, b, c, d] = out.as_chunks_mut().0 else { unreachable!("four vectors") };
        nibbles(part(qs, pair * 32), made, [a, c], sink);
        nibbles(part(qs, pair * 32 + LANES), made, [b, d], sink);
    }
}

/// `d, dmin: f16, scales: [u8; 12], qh: [u8; 32], qs: [u8; 128]`: as Q4_K, with the fifth bits in `qh`.
#[inline(always)]
pub(super) fn q5_k<V: Floats>(block: &[u8; 176], out: &mut [f32; QK_K], sink: impl Sink<V>) {
    let ([scales, offsets], qh, qs) = (scales_and_offsets::<V>(block), part::<32>(block, 16), part::<128>(block, 48));
    // Of each byte of `qh`, the bits from the lowest on belong to the eight parts of the block.
    let fifth = [V::Ints::from_u8(part(qh, 0)).shl::<4>(), V::Ints::from_u8(part(qh, LANES)).shl::<4>()];
    for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        for (at, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let (qs, number) = (part(qs, pair * 32 + at % 2 * LANES), 2 * pair + at / 2);
            let q = if at < 2 { low::<V>(qs) } else { high::<V>(qs) };
            let q = q | fifth[at % 2].shr_each(V::Ints::splat(number as i32)) & V::Ints::splat(16);
            sink.put(out, V::splat(scales[number]) * q.to_floats() - V::splat(offsets[number]));
        }
    }
}

/// `ql: [u8; 128], qh: [u8; 64], scales: [i8; 16], d: f16`: quanta of 6 bits, two of them in `qh`; for each 16 elements a scale.
#[inline(always)]
pub(super) fn q6_k<V: Floats>(block: &[u8; 210], out: &mut [f32; QK_K], sink: impl Sink<V>) {
    let scales = (half::<V>(block, 208) * V::Ints::from_i8(part(block, 192)).to_floats()).lanes();
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        for column in 0..2 {
            let ql = |quarter: usize| part(block, half * 64 + quarter % 2 * 32 + column * LANES);
            let upper = V::Ints::from_u8(part(block, 128 + half * 32 + column * LANES));
            let two = V::Ints::splat(0x30);
            let quarters = [
                low::<V>(ql(0)) | upper.shl::<4>() & two,
                low::<V>(ql(1)) | upper.shl::<2>() & two,
                high::<V>(ql(2)) | upper & two,
                high::<V>(ql(3)) | upper.shr::<2>() & two,
            ];
            for (quarter, q) in quarters.into_iter().enumerate() {
                let dl = V::splat(scales[half * 8 + quarter * 2 + column]);
                let out = &mut out.as_chunks_mut().0[quarter * 2 + column];
                sink.put(out, dl * (q - V::Ints::splat(32)).to_floats());
            }
        }
    }
}

/// Group `group` of the quanta of Q2_K, which are the lower bits of Q3_K.
#[inline(always)]
fn two_bits<V: Floats>(qs: &[u8; QK_K / 4], group: usize) -> V::Ints {
    let bytes = V::Ints::from_u8(part(qs, group / 8 * 32 + group % 2 * LANES));
    bytes.shr_each(V::Ints::splat((group / 2 % 4 * 2) as i32)) & V::Ints::splat(3)
}

/// The eight scales and the eight offsets of Q4_K and Q5_K (`get_scale_min_k4`), multiplied out.
#[inline(always)]
fn scales_and_offsets<V: Floats>(block: &[u8]) -> [[f32; LANES]; 2] {
    let words = part::<12>(block, 4).as_chunks().0;
    let [a, b, c] = [words[0], words[1], words[2]].map(u32::from_le_bytes);
    let (six, four, two) = (0x3F3F_3F3F, 0x0F0F_0F0F, 0x0303_0303);
    let scales = [a & six, c & four | ((a >> 6) & two) << 4];
    let offsets = [b & six, (c >> 4) & four | ((b >> 6) & two) << 4];
    let bytes = [scales[0], scales[1], offsets[0], offsets[1]].map(u32::to_le_bytes);
    let numbers = V::Ints::from_u8(part(bytes.as_flattened(), 0)).to_floats();
    let (scales, both) = ((half::<V>(block, 0) * numbers).lanes(), (half::<V>(block, 2) * numbers).lanes());
    let mut offsets = [0.0; LANES];
    offsets[..8].copy_from_slice(&both[8..]);
    [scales, offsets]
}

/// The sixteen scales of Q3_K, 32 above their value.
#[inline(always)]
fn six_bits(packed: &[u8; 12]) -> [u8; LANES] {
    let words = packed.as_chunks().0;
    let [a, b, c] = [words[0], words[1], words[2]].map(u32::from_le_bytes);
    let (four, two) = (0x0F0F_0F0F, 0x0303_0303);
    let words = [
        a & four | (c & two) << 4,
        b & four | ((c >> 2) & two) << 4,
        (a >> 4) & four | ((c >> 4) & two) << 4,
        (b >> 4) & four | ((c >> 6) & two) << 4,
    ];
    *part(words.map(u32::to_le_bytes).as_flattened(), 0)
}
