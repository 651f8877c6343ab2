//! Blocks to f32, bit for bit as ggml-quants.c decodes them.
//!
//! Every format is one function over one block, which hands each element to a sink: one stores it, another adds it to a sum, and no
//! decoded tensor exists in between. In all formats the scale times the quantum is exact in f32, so that it does not matter whether a
//! compiler fuses what follows.

use crate::plain::Plain;
use crate::simd::{Floats, Ints, LANES, tiered};
use crate::{GgmlType, plain, prefetch};

mod iq4;
mod k_quants;
mod legacy;

/// Whether there is code for `ty` here.
pub(crate) const fn knows(ty: GgmlType) -> bool {
    use GgmlType::*;
    matches!(ty, F32 | F16 | BF16)
        || matches!(ty, Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0)
        || matches!(ty, Q2_K | Q3_K | Q4_K | Q5_K | Q6_K)
        || matches!(ty, IQ4_NL | IQ4_XS)
}

tiered! {
    /// `out = W`.
    pub(crate) fn store<V>(ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
        each::<V>(ty, bytes, out, Store);
    }

    /// `out = constant + coefficient * W`.
    pub(crate) fn start<V>(ty: GgmlType, bytes: &[u8], constant: f32, coefficient: f32, out: &mut [f32]) {
        each::<V>(ty, bytes, out, Start { constant: V::splat(constant), coefficient: V::splat(coefficient) });
    }

    /// `out += coefficient * W`.
    pub(crate) fn add<V>(ty: GgmlType, bytes: &[u8], coefficient: f32, out: &mut [f32]) {
        each::<V>(ty, bytes, out, Add(V::splat(coefficient)));
    }
}

/// What becomes of decoded elements: what is made of each alone, and where that goes.
trait Sink<V>: Copy {
    /// What is made of elements. Formats with few values make it of these, once a block, instead of elements.
    fn make(self, values: V) -> V;

    /// Takes 16 that were made, and the place in `out` that they have.
    fn place(self, out: &mut [f32; LANES], made: V);

    /// Takes 16 elements.
    #[inline(always)]
    fn put(self, out: &mut [f32; LANES], values: V) {
        self.place(out, self.make(values));
    }
}

#[derive(Clone, Copy)]
struct Store;

impl<V: Floats> Sink<V> for Store {
    #[inline(always)]
    fn make(self, values: V) -> V {
        values
    }

    #[inline(always)]
    fn place(self, out: &mut [f32; LANES], made: V) {
        made.store(out);
    }
}

#[derive(Clone, Copy)]
struct Start<V> {
    constant: V,
    coefficient: V,
}

impl<V: Floats> Sink<V> for Start<V> {
    #[inline(always)]
    fn make(self, values: V) -> V {
        self.constant + self.coefficient * values
    }

    #[inline(always)]
    fn place(self, out: &mut [f32; LANES], made: V) {
        made.store(out);
    }
}

#[derive(Clone, Copy)]
struct Add<V>(V);

impl<V: Floats> Sink<V> for Add<V> {
    #[inline(always)]
    fn make(self, values: V) -> V {
        self.0 * values
    }

    #[inline(always)]
    fn place(self, out: &mut [f32; LANES], made: V) {
        (V::load(out) + made).store(out);
    }
}

/// Hands every element in `bytes` to `sink`.
#[inline(always)]
fn each<V: Floats>(ty: GgmlType, bytes: &[u8], out: &mut [f32], sink: impl Sink<V>) {
    match ty {
        GgmlType::F32 => floats::<V, plain::F32, 4>(bytes, out, sink),
        GgmlType::F16 => floats::<V, plain::F16, 2>(bytes, out, sink),
        GgmlType::BF16 => floats::<V, plain::Bf16, 2>(bytes, out, sink),
        GgmlType::Q4_0 => blocks(bytes, out, sink, legacy::q4_0),
        GgmlType::Q4_1 => blocks(bytes, out, sink, legacy::q4_1),
        GgmlType::Q5_0 => blocks(bytes, out, sink, legacy::q5_0),
        GgmlType::Q5_1 => blocks(bytes, out, sink, legacy::q5_1),
        GgmlType::Q8_0 => blocks(bytes, out, sink, legacy::q8_0),
        GgmlType::Q2_K => blocks(bytes, out, sink, k_quants::q2_k),
        GgmlType::Q3_K => blocks(bytes, out, sink, k_quants::q3_k),
        GgmlType::Q4_K => blocks(bytes, out, sink, k_quants::q4_k),
        GgmlType::Q5_K => blocks(bytes, out, sink, k_quants::q5_k),
        GgmlType::Q6_K => blocks(bytes, out, sink, k_quants::q6_k),
        GgmlType::IQ4_NL => blocks(bytes, out, sink, iq4::iq4_nl),
        GgmlType::IQ4_XS => blocks(bytes, out, sink, iq4::iq4_xs),
        _ => unreachable!("`knows` is asked first"),
    }
}

#[inline(always)]
fn blocks<V: Floats, S: Sink<V>, const BYTES: usize, const ELEMENTS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    sink: S,
    block: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS], S),
) {
    let tile = bytes.len();
    for (bytes, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        prefetch::to_read(bytes, tile);
        block(bytes, out, sink);
    }
}

/// Plain floats, of which there may be any number.
#[inline(always)]
fn floats<V: Floats, F: Plain<BYTES>, const BYTES: usize>(bytes: &[u8], out: &mut [f32], sink: impl Sink<V>) {
    let (values, rest) = bytes.as_chunks::<BYTES>().0.as_chunks::<LANES>();
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let tile = bytes.len();
    for (values, out) in values.iter().zip(out) {
        prefetch::to_read(values.as_flattened().first_chunk::<LANES>().expect("one byte each"), tile);
        sink.put(out, F::decode(values));
    }
    if !rest.is_empty() {
        let (mut values, mut out) = ([[0; BYTES]; LANES], [0f32; LANES]);
        values[..rest.len()].copy_from_slice(rest);
        out[..rest.len()].copy_from_slice(out_rest);
        sink.put(&mut out, F::decode(&values));
        out_rest.copy_from_slice(&out[..rest.len()]);
    }
}

/// The two halves of 32 elements.
#[inline(always)]
fn halves(out: &mut [f32; 2 * LANES]) -> [&mut [f32; LANES]; 2] {
    let [first, second] = out.as_chunks_mut().0 else { unreachable!("two halves") };
    [first, second]
}

/// A half precision number at `at` in a block, in all lanes.
#[inline(always)]
fn half<V: Floats>(block: &[u8], at: usize) -> V {
    V::splat_half(*part(block, at))
}

/// The `LEN` bytes from `at` on.
#[inline(always)]
fn part<const LEN: usize>(block: &[u8], at: usize) -> &[u8; LEN] {
    block[at..].first_chunk().expect("blocks have a fixed layout")
}

/// The quanta 0 to 15.
#[inline(always)]
fn steps<V: Floats>() -> V {
    V::load(&[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.])
}

/// Elements whose quanta are the lower and the upper four bits of bytes, from a table of what each quantum's value was made into.
#[inline(always)]
fn nibbles<V: Floats>(bytes: &[u8; LANES], made: [V; 2], out: [&mut [f32; LANES]; 2], sink: impl Sink<V>) {
    let bytes = V::Ints::from_u8(bytes);
    let [first, second] = out;
    sink.place(first, bytes.look_up(made[0]));
    sink.place(second, bytes.shr::<4>().look_up(made[1]));
}

/// The lower four bits of each byte.
#[inline(always)]
fn low<V: Floats>(bytes: &[u8; LANES]) -> V::Ints {
    V::Ints::from_u8(bytes) & V::Ints::splat(0xF)
}

/// The upper four bits of each byte.
#[inline(always)]
fn high<V: Floats>(bytes: &[u8; LANES]) -> V::Ints {
    V::Ints::from_u8(bytes).shr::<4>()
}
