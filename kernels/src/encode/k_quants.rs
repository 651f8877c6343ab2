//! Super-blocks of 256 elements whose scales are searched for and quantized in turn (`quantize_row_q4_K_ref` to `quantize_row_q6_K_ref`).

use super::lanes::{Columns, columns};
use crate::QK_K;
use crate::half::{f16_to_f32, f32_to_f16};
use crate::simd::{Floats, Ints, LANES};

/// Magnitudes below this count as zero (ggml's `GROUP_MAX_EPS`).
const NOTHING: f32 = 1e-15;
/// Groups of a block of Q4_K or Q5_K.
const GROUPS: usize = 8;

/// Q4_K and Q5_K: 32 elements share a scale and an offset, found by trying `STEPS + 1` widths (`make_qkx2_quants`).
#[inline(always)]
pub(super) fn offset<V: Floats, const BITS: u32, const BYTES: usize>(values: &[f32], out: &mut [u8]) {
    const TOGETHER: usize = LANES / GROUPS;
    for (values, out) in values.chunks(TOGETHER * QK_K).zip(out.chunks_mut(TOGETHER * BYTES)) {
        let columns = columns::<32>(values);
        let found = fit::<V, BITS>(&columns);
        let (mut scales, mut offsets) = (found.scale.lanes(), (V::splat(0.0) - found.least).lanes());
        for ((scales, offsets), block) in
            scales.as_chunks_mut().0.iter_mut().zip(offsets.as_chunks_mut().0).zip(out.as_chunks_mut::<BYTES>().0)
        {
            write_scales(scales, offsets, block.first_chunk_mut().expect("the header"));
        }
        let quanta = quanta_of::<V, BITS>(&columns, &found, V::load(&scales), V::load(&offsets));
        for (block, out) in out.as_chunks_mut::<BYTES>().0.iter_mut().enumerate() {
            write_quanta::<BITS>(&quanta, block * GROUPS, &mut out[16..]);
        }
    }
}

/// How 16 groups are best told in whole steps.
struct Fit<V> {
    /// The size of a step; 0 where all values are equal.
    scale: V,
    /// The value of step 0, at most 0.
    least: V,
    /// What values are multiplied by to find their step, after `from` is taken off.
    inverse: V,
    /// See `inverse`.
    from: V,
}

#[inline(always)]
fn fit<V: Floats, const BITS: u32>(columns: &Columns<32>) -> Fit<V> {
    // ggml's own: from where and in how many steps of a tenth the width is tried.
    let (first, trials) = if BITS == 4 { (-1.0f32, 20) } else { (-0.5, 15) };
    let (zero, most) = (V::splat(0.0), ((1 << BITS) - 1) as f32);
    let mut squares = zero;
    let (mut least, mut greatest) = (V::load(&columns[0]), V::load(&columns[0]));
    for column in columns {
        let x = V::load(column);
        squares = squares + x * x;
        (least, greatest) = (x.min(least), x.max(greatest));
    }
    let typical = (squares / V::splat(32.0)).sqrt();
    let (mut sum_w, mut sum_x) = (zero, zero);
    for column in columns {
        let x = V::load(column);
        let w = typical + x.abs();
        (sum_w, sum_x) = (sum_w + w, sum_x + w * x);
    }
    least = V::select(least.above(zero), zero, least);
    let flat = greatest.equals(least);
    let inverse = V::splat(most) / (greatest - least);
    let mut found = Fit { scale: V::splat(1.0) / inverse, least, inverse, from: least };
    let mut steps = [[0.0; LANES]; 32];
    let mut best = zero;
    for column in columns {
        let x = V::load(column);
        let l = (inverse * (x - least)).nearest().clamp(0.0, most);
        let miss = found.scale * l + least - x;
        best = best + (typical + x.abs()) * (miss * miss);
    }
    for trial in 0..=trials {
        let inverse = V::splat(first + 0.1 * trial as f32 + most) / (greatest - found.least);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero);
        for (column, steps) in columns.iter().zip(&mut steps) {
            let x = V::load(column);
            let l = (inverse * (x - found.least)).nearest().clamp(0.0, most);
            l.store(steps);
            let wl = (typical + x.abs()) * l;
            (sum_l, sum_l2, sum_xl) = (sum_l + wl, sum_l2 + wl * l, sum_xl + wl * x);
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        let scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let offset = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        let above = offset.above(zero);
        let (scale, offset) = (V::select(above, sum_xl / sum_l2, scale), V::select(above, zero, offset));
        let mut error = zero;
        for (column, steps) in columns.iter().zip(&steps) {
            let x = V::load(column);
            let miss = scale * V::load(steps) + offset - x;
            error = error + (typical + x.abs()) * (miss * miss);
        }
        // Where there is no solution, nothing is better.
        let error = V::select(determinant.above(zero), error, best);
        let better = best.above(error);
        best = V::select(better, error, best);
        found.scale = V::select(better, scale, found.scale);
        found.inverse = V::select(better, inverse, found.inverse);
        found.from = V::select(better, found.least, found.from);
        found.least = V::select(better, offset, found.least);
    }
    found.scale = V::select(flat, zero, found.scale);
    found.least = V::select(flat, least, found.least);
    found.inverse = V::select(flat, zero, found.inverse);
    found.from = V::select(flat, zero, found.from);
    found
}

/// `d, dmin: f16, scales: [u8; 12]`; leaves in `scales` and `offsets` what a decoder makes of them.
#[inline(always)]
fn write_scales(scales: &mut [f32; GROUPS], offsets: &mut [f32; GROUPS], header: &mut [u8; 16]) {
    let six_bits = |values: &[f32; GROUPS]| {
        let greatest = values.iter().fold(0.0, |greatest, v| if *v > greatest { *v } else { greatest });
        let inverse = if greatest > 0.0 { 63.0 / greatest } else { 0.0 };
        (f32_to_f16(greatest / 63.0), values.map(|v| (nearest_int(inverse * v) as u8).min(63)))
    };
    let ((d, scale), (dmin, offset)) = (six_bits(scales), six_bits(offsets));
    *header = [0; 16];
    (header[0], header[1], header[2], header[3]) = (d[0], d[1], dmin[0], dmin[1]);
    let packed = &mut header[4..];
    for j in 0..GROUPS / 2 {
        let (above, below) = (scale[j + 4], offset[j + 4]);
        packed[j] = scale[j] | (above >> 4) << 6;
        packed[j + 4] = offset[j] | (below >> 4) << 6;
        packed[j + 8] = above & 0xF | (below & 0xF) << 4;
    }
    *scales = scale.map(|q| f16_to_f32(d) * f32::from(q));
    *offsets = offset.map(|q| f16_to_f32(dmin) * f32::from(q));
}

/// The quanta for the scales as they are written; where a scale came to nothing, those of the search.
#[inline(always)]
fn quanta_of<V: Floats, const BITS: u32>(
    columns: &Columns<32>,
    found: &Fit<V>,
    scales: V,
    offsets: V,
) -> [[u8; LANES]; 32] {
    let most = ((1 << BITS) - 1) as f32;
    let nothing = scales.equals(V::splat(0.0));
    let mut quanta = [[0; LANES]; 32];
    for (quanta, column) in quanta.iter_mut().zip(columns) {
        let x = V::load(column);
        let searched = (found.inverse * (x - found.from)).nearest();
        let l = V::select(nothing, searched, ((x + offsets) / scales).nearest()).clamp(0.0, most);
        *quanta = l.truncate().low_bytes();
    }
    quanta
}

/// `qh: [u8; 32]` for Q5_K, then `qs: [u8; 128]`, from the eight lanes from `first` on.
#[inline(always)]
fn write_quanta<const BITS: u32>(quanta: &[[u8; LANES]; 32], first: usize, out: &mut [u8]) {
    let (qh, qs) = out.split_at_mut(out.len() - QK_K / 2);
    for (pair, qs) in qs.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (q, quanta) in qs.iter_mut().zip(quanta) {
            *q = quanta[first + 2 * pair] & 0xF | quanta[first + 2 * pair + 1] << 4;
        }
    }
    for (h, quanta) in qh.iter_mut().zip(quanta) {
        *h = (0..GROUPS).fold(0, |bits, group| bits | (quanta[first + group] >> 4) << group);
    }
}

/// Q6_K: 16 elements share a scale, found by trying 19 widths (`make_qx_quants`).
#[inline(always)]
pub(super) fn q6_k<V: Floats>(values: &[f32], out: &mut [u8]) {
    for (values, out) in values.as_chunks::<QK_K>().0.iter().zip(out.as_chunks_mut::<210>().0) {
        let columns = columns::<16>(values);
        let (scale, inverse) = fit_symmetric::<V>(&columns);
        let scales = scale.lanes();
        let greatest = scales.iter().fold(0.0f32, |most, s| if s.abs() > most.abs() { *s } else { most });
        *out = [0; 210];
        if greatest.abs() < NOTHING {
            continue;
        }
        let to_steps = -128.0 / greatest;
        let d = f32_to_f16(1.0 / to_steps);
        let steps = scales.map(|s| nearest_int(to_steps * s).min(127) as i8);
        let written = V::load(&steps.map(|s| f16_to_f32(d) * f32::from(s)));
        let nothing = written.equals(V::splat(0.0));
        let dead = inverse.equals(V::splat(0.0));
        let mut quanta = [[0; LANES]; 16];
        for (quanta, column) in quanta.iter_mut().zip(&columns) {
            let x = V::load(column);
            let l = V::select(nothing, (inverse * x).nearest(), (x / written).nearest()).clamp(-32.0, 31.0);
            let l = l + V::splat(32.0);
            // Of a group of nothing ggml leaves the quanta zero.
            let l = V::select(nothing, V::select(dead, V::splat(0.0), l), l);
            *quanta = l.truncate().low_bytes();
        }
        write_q6_k(&quanta, out);
        out[192..208].copy_from_slice(&steps.map(i8::cast_unsigned));
        out[208..].copy_from_slice(&d);
    }
}

/// The size of a step, and what values are multiplied by to find theirs; both 0 for groups of nothing.
#[inline(always)]
fn fit_symmetric<V: Floats>(columns: &Columns<16>) -> (V, V) {
    let zero = V::splat(0.0);
    let (mut magnitude, mut greatest) = (zero, zero);
    for column in columns {
        let x = V::load(column);
        let more = x.abs().above(magnitude);
        magnitude = V::select(more, x.abs(), magnitude);
        greatest = V::select(more, x, greatest);
    }
    let (mut scale, mut best, mut found) = (zero, zero, zero);
    // ggml begins with the middle one, which need not beat anything.
    for trial in [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9] {
        let inverse = V::splat(-(32.0 + 0.1 * trial as f32)) / greatest;
        let (mut sum_lx, mut sum_l2) = (zero, zero);
        for column in columns {
            let x = V::load(column);
            let l = (inverse * x).nearest().clamp(-32.0, 31.0);
            let w = x * x;
            (sum_lx, sum_l2) = (sum_lx + w * x * l, sum_l2 + w * l * l);
        }
        let this = sum_lx / sum_l2;
        let solved = sum_l2.above(zero);
        if trial == 0 {
            scale = this.or_zero(solved);
            (best, found) = (scale * sum_lx, inverse);
        } else {
            let better = (sum_lx * sum_lx).or_zero(solved).above((best * sum_l2).or_zero(solved));
            scale = V::select(better, this, scale);
            best = V::select(better, this * sum_lx, best);
            found = V::select(better, inverse, found);
        }
    }
    let alive = magnitude.at_least(V::splat(NOTHING));
    (scale.or_zero(alive), found.or_zero(alive))
}

/// `ql: [u8; 128], qh: [u8; 64]`.
#[inline(always)]
fn write_q6_k(quanta: &[[u8; LANES]; 16], out: &mut [u8; 210]) {
    for (half, first) in [0, 8].into_iter().enumerate() {
        for at in 0..32 {
            let q = |quarter: usize| quanta[at % 16][first + quarter * 2 + at / 16];
            out[half * 64 + at] = q(0) & 0xF | q(2) << 4;
            out[half * 64 + 32 + at] = q(1) & 0xF | q(3) << 4;
            out[128 + half * 32 + at] = q(0) >> 4 | (q(1) >> 4) << 2 | (q(2) >> 4) << 4 | (q(3) >> 4) << 6;
        }
    }
}

/// The nearest whole number, ties to even, as ggml has it: what is too large comes out as anything.
fn nearest_int(value: f32) -> i32 {
    ((value + 12_582_912.0).to_bits() & 0x007F_FFFF) as i32 - 0x0040_0000
}
