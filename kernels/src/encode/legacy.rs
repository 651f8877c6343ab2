//! Blocks of 32 elements with one scale, and an offset or none (`quantize_row_q4_0_ref` to `quantize_row_q8_0_ref`).

use super::lanes::{Columns, columns, inverse};
use crate::prefetch;
use crate::simd::{Floats, Ints, LANES, Mask};

/// Elements of a block.
const QK: usize = 2 * LANES;
/// The greatest float below 0.5: added to a magnitude, it makes truncation round half away from zero, and 0.5 itself would not always.
const ALMOST_HALF: f32 = 0.499_999_97;

/// Blocks of Q8_0 whose scales are worked out before the first of them is quantized, so that no division is waited for.
const AHEAD: usize = 4 * LANES;

/// `d: f16, qs: [i8; 32]` with `d` the greatest magnitude over 127.
#[inline(always)]
pub(super) fn q8_0<V: Floats>(values: &[f32], out: &mut [u8]) {
    let tile = out.len();
    let (values, last) = values.as_chunks::<QK>().0.as_chunks::<AHEAD>();
    let (out, last_out) = out.as_chunks_mut::<34>().0.as_chunks_mut::<AHEAD>();
    for (values, out) in values.iter().zip(out) {
        q8_0_blocks::<V>(values, out, tile);
    }
    if !last.is_empty() {
        let (mut values, mut out) = ([[0.0; QK]; AHEAD], [[0; 34]; AHEAD]);
        values[..last.len()].copy_from_slice(last);
        q8_0_blocks::<V>(&values, &mut out, 0);
        last_out.copy_from_slice(&out[..last.len()]);
    }
}

#[inline(always)]
fn q8_0_blocks<V: Floats>(values: &[[f32; QK]; AHEAD], out: &mut [[u8; 34]; AHEAD], tile: usize) {
    let (mut scales, mut inverses) = ([[0; 2 * LANES]; AHEAD / LANES], [[0.0; LANES]; AHEAD / LANES]);
    let mut finite = true;
    for ((values, scales), inverses) in values.as_chunks::<LANES>().0.iter().zip(&mut scales).zip(&mut inverses) {
        // Magnitudes order like their bits, in which NaN is the greatest.
        let mut magnitudes = [V::Ints::splat(0); LANES];
        for (values, magnitudes) in values.iter().zip(&mut magnitudes) {
            let [a, b] = halves::<V>(values);
            *magnitudes = a.abs().bits().max(b.abs().bits());
        }
        let greatest = V::Ints::greatest_of(magnitudes);
        let d = greatest.as_floats() / V::splat(127.0);
        let inverse = inverse(d);
        // The inverse of next to nothing is infinite as well.
        finite &= !greatest.max(inverse.bits()).above(V::splat(f32::MAX).bits()).any();
        *scales = d.to_halves();
        inverse.store(inverses);
    }
    let scales = scales.as_flattened().as_chunks::<2>().0.as_chunks::<2>().0;
    let inverses = inverses.as_flattened().as_chunks::<2>().0;
    let two = values.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<2>().0);
    for ((values, out), (scales, inverses)) in two.zip(scales.iter().zip(inverses)) {
        prefetch::to_write(out.as_flattened_mut().first_chunk_mut::<64>().expect("68 bytes"), tile);
        let quanta = quanta_of_two::<V>(values, *inverses, finite);
        for ((out, d), qs) in out.iter_mut().zip(scales).zip(&quanta) {
            let (to, rest) = out.split_first_chunk_mut().expect("34 bytes");
            *to = *d;
            rest.copy_from_slice(qs);
        }
    }
}

/// The quanta of two blocks of Q8_0. Those of blocks that are `finite` are numbers from -127 to 127.
#[inline(always)]
fn quanta_of_two<V: Floats>(values: &[[f32; QK]; 2], inverses: [f32; 2], finite: bool) -> [[u8; QK]; 2] {
    let ([a, b], [c, d]) = (halves::<V>(&values[0]), halves::<V>(&values[1]));
    let (first, second) = (V::splat(inverses[0]), V::splat(inverses[1]));
    let [a, b, c, d] = [rounded(a * first), rounded(b * first), rounded(c * second), rounded(d * second)];
    let bytes = if finite {
        V::Ints::small_bytes([a, b, c, d])
    } else {
        *[a.low_bytes(), b.low_bytes(), c.low_bytes(), d.low_bytes()].as_flattened().as_array().expect("64 bytes")
    };
    *bytes.as_chunks().0.as_array().expect("two blocks")
}

/// The nearest whole numbers, half away from zero.
#[inline(always)]
fn rounded<V: Floats>(v: V) -> V::Ints {
    let (sign, half) = (V::Ints::splat(i32::MIN), V::splat(ALMOST_HALF).bits());
    (v + (v.bits() & sign | half).as_floats()).truncate()
}

#[inline(always)]
fn halves<V: Floats>(values: &[f32; QK]) -> [V; 2] {
    let (halves, _) = values.as_chunks();
    [V::load(&halves[0]), V::load(&halves[1])]
}

/// Q4_0 (`BITS` 4, 18 bytes) and Q5_0 (`BITS` 5, 22 bytes): `d` is the value of the greatest magnitude over -8 or -16.
#[inline(always)]
pub(super) fn symmetric<V: Floats, const BITS: u32, const BYTES: usize>(values: &[f32], out: &mut [u8]) {
    let middle = (1 << (BITS - 1)) as f32;
    for (values, out) in values.chunks(LANES * QK).zip(out.chunks_mut(LANES * BYTES)) {
        let columns = columns(values);
        let (mut magnitude, mut greatest) = (V::splat(0.0), V::splat(0.0));
        for column in &columns {
            let v = V::load(column);
            let more = v.abs().above(magnitude);
            magnitude = V::select(more, v.abs(), magnitude);
            greatest = V::select(more, v, greatest);
        }
        let d = greatest / V::splat(-middle);
        let (inverse, offset) = (inverse(d), V::splat(middle + 0.5));
        let quanta = quanta::<V, BITS>(&columns, V::splat(0.0), inverse, offset);
        write::<BITS, BYTES>(out, [d.to_halves(), [0; 2 * LANES]], 2, &quanta);
    }
}

/// Q4_1 (`BITS` 4, 20 bytes) and Q5_1 (`BITS` 5, 24 bytes): `m` is the least value, `d` the range over 15 or 31.
#[inline(always)]
pub(super) fn offset<V: Floats, const BITS: u32, const BYTES: usize>(values: &[f32], out: &mut [u8]) {
    let steps = ((1 << BITS) - 1) as f32;
    for (values, out) in values.chunks(LANES * QK).zip(out.chunks_mut(LANES * BYTES)) {
        let columns = columns(values);
        let (mut least, mut greatest) = (V::splat(f32::MAX), V::splat(f32::MIN));
        for column in &columns {
            let v = V::load(column);
            (least, greatest) = (v.min(least), v.max(greatest));
        }
        let d = (greatest - least) / V::splat(steps);
        let quanta = quanta::<V, BITS>(&columns, least, inverse(d), V::splat(0.5));
        write::<BITS, BYTES>(out, [d.to_halves(), least.to_halves()], 4, &quanta);
    }
}

/// `(x - least) * inverse + offset`, towards zero.
#[inline(always)]
fn quanta<V: Floats, const BITS: u32>(columns: &Columns<QK>, least: V, inverse: V, offset: V) -> [[u8; LANES]; QK] {
    let greatest = V::splat((1 << BITS) as f32 - 0.5);
    let mut quanta = [[0; LANES]; QK];
    for (quanta, column) in quanta.iter_mut().zip(columns) {
        let q = (V::load(column) - least) * inverse + offset;
        *quanta = q.min(greatest).truncate().low_bytes();
    }
    quanta
}

/// Blocks of `scales` half precision numbers in `header` bytes, fifth bits if there are any, and nibbles.
#[inline(always)]
fn write<const BITS: u32, const BYTES: usize>(
    out: &mut [u8],
    scales: [[u8; 2 * LANES]; 2],
    header: usize,
    quanta: &[[u8; LANES]; QK],
) {
    for (lane, block) in out.as_chunks_mut::<BYTES>().0.iter_mut().enumerate() {
        for (at, byte) in block[..header].iter_mut().enumerate() {
            *byte = scales[at / 2][2 * lane + at % 2];
        }
        let (qh, qs) = block[header..].split_at_mut(BYTES - header - QK / 2);
        for (at, q) in qs.iter_mut().enumerate() {
            *q = quanta[at][lane] & 0xF | quanta[at + QK / 2][lane] << 4;
        }
        if BITS == 5 {
            let fifth = |at: usize| u32::from(quanta[at][lane] >> 4) << at;
            qh.copy_from_slice(&(0..QK).fold(0, |bits, at| bits | fifth(at)).to_le_bytes());
        }
    }
}
