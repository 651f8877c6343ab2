//! Which elements of a task vector stay, element by element, and how what stays becomes one: the loops of
//! [`crate::Program::TaskVectors`].

use crate::philox::{GROUP, Schedule};
use crate::simd::{Floats, Ints, LANES, Mask, tiered};
use crate::{Cut, Keep};

/// Weight sums closer to zero are not divided by.
const NO_WEIGHT: f32 = 1e-8;
/// Groups whose random bits are worked out side by side: no round of one waits for the other.
const TOGETHER: usize = 2;

/// Magnitudes of differences by their bits: those above `from` and not above `to` stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    from: i32,
    to: i32,
}

impl Band {
    /// All magnitudes.
    pub const ALL: Self = Self { from: -1, to: i32::MAX };

    /// How many of the bounds matter: none, the lower one, or both.
    fn bounds(self) -> usize {
        match self {
            Self::ALL => 0,
            Self { to: i32::MAX, .. } => 1,
            _ => 2,
        }
    }

    /// What `keep` lets through of the `len` elements from `first` on, if that depends on magnitudes alone.
    pub fn of(keep: Keep, first: usize, len: usize) -> Option<Self> {
        if let Keep::Random { .. } | Keep::Ranked { .. } = keep {
            return None;
        }
        let [first, last] = [first, first + len.saturating_sub(1)].map(|index| Self::at(keep, index as u64));
        (first == last).then_some(first)
    }

    /// What `keep` lets through at `index`, as far as magnitudes go.
    fn at(keep: Keep, index: u64) -> Self {
        match keep {
            Keep::Nothing => Self { from: i32::MAX, ..Self::ALL },
            Keep::Largest(outer) => Self { from: below(outer, index), ..Self::ALL },
            Keep::Band { inner, outer } => Self { from: below(outer, index), to: below(inner, index) },
            Keep::All | Keep::Random { .. } | Keep::Ranked { .. } => Self::ALL,
        }
    }
}

/// One less than the least bits that stand before the cut. Magnitudes have 31 bits: a bound beyond these lets nothing through.
fn below(cut: Cut, index: u64) -> i32 {
    cut.bound(index).min(1 << 31).wrapping_sub(1).cast_signed()
}

/// Makes equal to `base` what `keep` drops of `values`, whose first element has the index `first` in its tensor. Ranks are no matter of
/// single elements and not looked at here.
pub(crate) fn thin_out(keep: Keep, first: usize, base: &[f32], values: &mut [f32]) {
    if let Keep::Random { key, threshold } = keep {
        return thin_out_at_random(&key.schedule(), threshold, first, base, values);
    }
    for (index, (v, b)) in (first as u64..).zip(values.iter_mut().zip(base)) {
        let (band, bits) = (Band::at(keep, index), (*v - *b).abs().to_bits().cast_signed());
        *v = if bits > band.from && bits <= band.to { *v } else { *b };
    }
}

tiered! {
    fn thin_out_at_random<V>(schedule: &Schedule, threshold: u32, first: usize, base: &[f32], values: &mut [f32]) {
        const STRIDE: usize = TOGETHER * GROUP;
        let mut start = 0;
        while start < values.len() {
            let (number, skipped) = ((first + start) / GROUP, (first + start) % GROUP);
            let here = start..(start + STRIDE - skipped).min(values.len());
            if let Some(values) = values[here.clone()].as_mut_array::<STRIDE>() {
                let base = base[here.clone()].as_array().expect("as long as the values");
                thin_out_some::<V>(schedule, threshold, number as u64, base, values);
            } else {
                // Groups that are there in part are filled up for the while.
                let (mut some, mut some_base) = ([0.0; STRIDE], [0.0; STRIDE]);
                let there = skipped..skipped + here.len();
                some[there.clone()].copy_from_slice(&values[here.clone()]);
                some_base[there.clone()].copy_from_slice(&base[here.clone()]);
                thin_out_some::<V>(schedule, threshold, number as u64, &some_base, &mut some);
                values[here.clone()].copy_from_slice(&some[there]);
            }
            start = here.end;
        }
    }
}

#[inline(always)]
fn thin_out_some<V: Floats>(
    schedule: &Schedule,
    threshold: u32,
    number: u64,
    base: &[f32; TOGETHER * GROUP],
    values: &mut [f32; TOGETHER * GROUP],
) {
    let threshold = V::Ints::splat(threshold.cast_signed());
    let draws = schedule.draws::<V, TOGETHER>(number);
    let draws = draws.as_flattened().iter();
    for ((values, base), draws) in values.as_chunks_mut().0.iter_mut().zip(base.as_chunks().0).zip(draws) {
        V::select(threshold.above(*draws), V::load(values), V::load(base)).store(values);
    }
}

/// A task vector whose difference to the base is still to be taken.
pub(crate) struct Vector<'a> {
    /// The source's elements, as many as the base has.
    pub values: &'a [f32],
    /// Which differences stay.
    pub band: Band,
    /// What they are multiplied by before they are added up.
    pub factor: f32,
    /// Its part in the sum that is divided by.
    pub weight: f32,
}

/// How task vectors become one.
#[derive(Clone, Copy)]
pub(crate) struct Mix {
    /// Whether only those count that have the sign of the sum, element by element.
    pub consensus: bool,
    /// Whether to divide by the weights that count.
    pub normalize: bool,
    /// What the result is multiplied by.
    pub lambda: f32,
}

tiered! {
    /// `base += lambda * mix(vectors)`; lanes behind the last whole 16 are left alone.
    pub(crate) fn mix<V>(vectors: &[Vector], how: Mix, base: &mut [f32]) {
        let bounds = vectors.iter().map(|v| v.band.bounds()).max();
        // Two differences stay in registers between the vote and the sum.
        match (vectors.as_array::<2>(), bounds) {
            (Some(two), Some(0)) => mix_some::<V, 0>(two, how, base),
            (Some(two), Some(1)) => mix_some::<V, 1>(two, how, base),
            _ => mix_some::<V, 2>(vectors, how, base),
        }
    }
}

#[inline(always)]
fn mix_some<V: Floats, const BOUNDS: usize>(vectors: &[Vector], how: Mix, base: &mut [f32]) {
    let zero = V::splat(0.0);
    let weights: f32 = vectors.iter().map(|v| v.weight).sum();
    let divisor = V::splat(if how.normalize && weights.abs() >= NO_WEIGHT { weights } else { 1.0 });
    let lambda = V::splat(how.lambda);
    for (at, to) in base.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let base = V::load(to);
        let mut total = zero;
        for v in vectors {
            total = total + delta::<V, BOUNDS>(v, at, base);
        }
        let mixed = if how.consensus {
            // A sum of zero is positive and elects +; an exact zero never agrees.
            let elected = total.bits() & V::Ints::splat(i32::MIN);
            let (mut sum, mut weights) = (zero, zero);
            for v in vectors {
                let delta = delta::<V, BOUNDS>(v, at, base);
                let agrees = (delta.bits() ^ elected).as_floats().above(zero);
                sum = V::select(agrees, sum + delta, sum);
                weights = V::select(agrees, weights + V::splat(v.weight), weights);
            }
            if how.normalize { sum / V::select(weights.equals(zero), V::splat(1.0), weights) } else { sum }
        } else {
            total / divisor
        };
        (base + mixed * lambda).store(to);
    }
}

/// What stays of 16 elements' difference to the base, times its factor. Where a vote needs it twice, the compiler keeps it if it can; to
/// work it out again is as good as to fetch it.
#[inline(always)]
fn delta<V: Floats, const BOUNDS: usize>(v: &Vector, at: usize, base: V) -> V {
    let delta = V::load(&v.values.as_chunks().0[at]) - base;
    let (bits, weighted) = (delta.abs().bits(), delta * V::splat(v.factor));
    let large = bits.above(V::Ints::splat(v.band.from));
    match BOUNDS {
        0 => weighted,
        1 => weighted.or_zero(large),
        _ => weighted.or_zero(large.and_not(bits.above(V::Ints::splat(v.band.to)))),
    }
}
