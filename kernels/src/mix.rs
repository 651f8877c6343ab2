//! How what stays of task vectors becomes one, element by element: the loops of [`crate::Program::TaskVectors`].

use crate::mask::Band;
use crate::philox::{GROUP, Schedule, draws};
use crate::simd::{Floats, Ints, LANES, Mask, tiered};
use crate::{Keep, TaskVector};

/// Weight sums closer to zero are not divided by, but for those of a vote, which only zero is too close for.
const NO_WEIGHT: f32 = 1e-8;

/// A task vector whose difference to the base is still to be taken.
pub(crate) struct Vector<'a> {
    /// The source's elements, as many as the base has.
    pub values: &'a [f32],
    /// Which differences stay.
    pub keep: Stays,
    /// What they are multiplied by before they are added up.
    pub factor: f32,
    /// Its part in the sum that is divided by.
    pub weight: f32,
}

/// Which differences of a [`Vector`] stay.
pub(crate) enum Stays {
    /// Those of these magnitudes.
    Band(Band),
    /// Those whose draw is below the bound.
    Random(Schedule, i32),
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

/// Whether [`mix`] draws the masks of these vectors itself, for `len` elements from `first` on. Elsewhere they are thinned out before.
pub(crate) fn draws_masks(vectors: &[TaskVector], first: usize, len: usize) -> bool {
    let random = |v: &TaskVector| matches!(v.keep, Keep::Random { .. });
    vectors.len() == 2 && vectors.iter().all(random) && first.is_multiple_of(GROUP) && len.is_multiple_of(GROUP)
}

tiered! {
    /// `base += lambda * mix(vectors)`, of elements from `first` on; lanes behind the last whole 16 are left alone.
    pub(crate) fn mix<V>(vectors: &[Vector], how: Mix, first: usize, base: &mut [f32]) {
        match vectors {
            [Vector { keep: Stays::Random(a, below_a), .. }, Vector { keep: Stays::Random(b, below_b), .. }] => {
                let two = [&vectors[0], &vectors[1]];
                at_random::<V>(two, [(a, *below_a), (b, *below_b)], how, first / GROUP, base);
            }
            [a, b] => match a.bounds().max(b.bounds()) {
                0 => two::<V, 0>([a, b], how, base),
                1 => two::<V, 1>([a, b], how, base),
                _ => two::<V, 2>([a, b], how, base),
            },
            _ => any::<V>(vectors, how, base),
        }
    }
}

impl Mix {
    /// What a sum is multiplied by in which vectors of these weights count.
    pub fn share(self, weights: f32) -> f32 {
        let divides = if self.consensus { weights != 0.0 } else { weights.abs() >= NO_WEIGHT };
        if self.normalize && divides { self.lambda / weights } else { self.lambda }
    }
}

impl Vector<'_> {
    fn bounds(&self) -> usize {
        match self.keep {
            Stays::Band(band) => band.bounds(),
            Stays::Random(..) => 0,
        }
    }

    /// Its difference to the base at 16 elements, times its factor, and the bits of its magnitude.
    #[inline(always)]
    fn delta<V: Floats>(&self, at: usize, base: V) -> (V, V::Ints) {
        let delta = V::load(&self.values.as_chunks().0[at]) - base;
        (delta * V::splat(self.factor), delta.abs().bits())
    }

    /// The same of what stays, if that depends on magnitudes.
    #[inline(always)]
    fn in_band<V: Floats, const BOUNDS: usize>(&self, at: usize, base: V) -> V {
        let ((delta, magnitude), Stays::Band(band)) = (self.delta(at, base), &self.keep) else {
            unreachable!("a band")
        };
        let large = magnitude.above(V::Ints::splat(band.from));
        match BOUNDS {
            0 => delta,
            1 => delta.or_zero(large),
            _ => delta.or_zero(large.and_not(magnitude.above(V::Ints::splat(band.to)))),
        }
    }
}

/// Two vectors, whose differences stay in registers between the vote and the sum.
#[inline(always)]
fn two<V: Floats, const BOUNDS: usize>([a, b]: [&Vector; 2], how: Mix, base: &mut [f32]) {
    let shares = Shares::of(a.weight, b.weight, how);
    for (at, to) in base.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let base = V::load(to);
        let deltas = [a.in_band::<V, BOUNDS>(at, base), b.in_band::<V, BOUNDS>(at, base)];
        (base + shares.mixed(deltas)).store(to);
    }
}

/// Two vectors whose masks are drawn on the way, from group `number` on.
#[inline(always)]
fn at_random<V: Floats>(
    [a, b]: [&Vector; 2],
    [(mask_a, below_a), (mask_b, below_b)]: [(&Schedule, i32); 2],
    how: Mix,
    number: usize,
    base: &mut [f32],
) {
    let shares = Shares::of(a.weight, b.weight, how);
    let (below_a, below_b) = (V::Ints::splat(below_a), V::Ints::splat(below_b));
    for (group, to) in base.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let number = (number + group) as u64;
        let [draws_a, draws_b] = draws::<V, 2>([(mask_a, number), (mask_b, number)]);
        for (quarter, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let (at, base) = (group * (GROUP / LANES) + quarter, V::load(to));
            let deltas = [
                a.delta(at, base).0.or_zero(below_a.above(draws_a[quarter])),
                b.delta(at, base).0.or_zero(below_b.above(draws_b[quarter])),
            ];
            (base + shares.mixed(deltas)).store(to);
        }
    }
}

/// What the sum of two vectors is multiplied by.
struct Shares<V> {
    consensus: bool,
    /// If none counts, one or the other, or both.
    none: V,
    first: V,
    second: V,
    both: V,
}

impl<V: Floats> Shares<V> {
    #[inline(always)]
    fn of(first: f32, second: f32, how: Mix) -> Self {
        Self {
            consensus: how.consensus,
            none: V::splat(how.lambda),
            first: V::splat(how.share(first)),
            second: V::splat(how.share(second)),
            both: V::splat(how.share(first + second)),
        }
    }

    #[inline(always)]
    fn mixed(&self, [a, b]: [V; 2]) -> V {
        let total = a + b;
        if !self.consensus {
            return total * self.both;
        }
        let elected = elected(total);
        let (of_a, of_b) = (agrees(a, elected), agrees(b, elected));
        let sum = a.or_zero(of_a);
        let sum = V::select(of_b, sum + b, sum);
        let (with, without) = (V::select(of_b, self.both, self.first), V::select(of_b, self.second, self.none));
        sum * V::select(of_a, with, without)
    }
}

/// Any number of vectors, all of them with bands. Where a vote needs a difference twice, to work it out again is as good as to fetch it.
#[inline(always)]
fn any<V: Floats>(vectors: &[Vector], how: Mix, base: &mut [f32]) {
    let zero = V::splat(0.0);
    let all = V::splat(how.share(vectors.iter().map(|v| v.weight).sum()));
    let lambda = V::splat(how.lambda);
    for (at, to) in base.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let base = V::load(to);
        let mut total = zero;
        for v in vectors {
            total = total + v.in_band::<V, 2>(at, base);
        }
        let mixed = if how.consensus {
            let elected = elected(total);
            let (mut sum, mut weights) = (zero, zero);
            for v in vectors {
                let delta = v.in_band::<V, 2>(at, base);
                let agrees = agrees(delta, elected);
                sum = V::select(agrees, sum + delta, sum);
                weights = V::select(agrees, weights + V::splat(v.weight), weights);
            }
            let share = V::select(weights.equals(zero), lambda, lambda / weights);
            sum * if how.normalize { share } else { lambda }
        } else {
            total * all
        };
        (base + mixed).store(to);
    }
}

/// The sign that the sum of all differences elects. A sum of zero is positive and elects +.
#[inline(always)]
fn elected<V: Floats>(total: V) -> V::Ints {
    total.bits() & V::Ints::splat(i32::MIN)
}

/// Whether a difference has the elected sign; an exact zero never has.
#[inline(always)]
fn agrees<V: Floats>(delta: V, elected: V::Ints) -> V::Mask {
    (delta.bits() ^ elected).as_floats().above(V::splat(0.0))
}
