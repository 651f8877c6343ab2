//! Which elements of a task vector stay, element by element.

use crate::philox::{GROUP, Schedule, draws};
use crate::simd::{Floats, Ints, tiered};
use crate::{Cut, Keep};

/// Groups whose random bits are worked out side by side: no round of one waits for the other.
const TOGETHER: usize = 2;

/// Magnitudes of differences by their bits: those above `from` and not above `to` stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    /// At least -1.
    pub from: i32,
    /// See `from`.
    pub to: i32,
}

impl Band {
    /// All magnitudes.
    pub const ALL: Self = Self { from: -1, to: i32::MAX };

    /// How many of the bounds matter: none, the lower one, or both.
    pub fn bounds(self) -> usize {
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
pub(crate) fn below(cut: Cut, index: u64) -> i32 {
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
    let draws: [_; TOGETHER] = draws::<V, _>(std::array::from_fn(|k| (schedule, number + k as u64)));
    let draws = draws.as_flattened().iter();
    for ((values, base), draws) in values.as_chunks_mut().0.iter_mut().zip(base.as_chunks().0).zip(draws) {
        V::select(threshold.above(*draws), V::load(values), V::load(base)).store(values);
    }
}
