//! Random masks without storage: Philox4x32-7 bits addressed by (key, element index).
//!
//! Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Every element has 16 bits of its own, so that probabilities
//! come in steps of 2^-16. Any element can be asked alone: a mask is the same for any slice and any number of threads.
//!
//! Eight counter blocks serve a group of 64 elements. Of element `l` of the group's quarter `q`, both from 0, the bits are in block
//! `l / 2`, in its word `q / 2 * 2 + l % 2`, in the lower half of that if `q` is even, else in the upper one: where vectors have them.

use crate::simd::{Floats, Ints, LANES, tiered};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
/// The fewest with which the generator passes BigCrush.
const ROUNDS: usize = 7;

/// Bits of a draw.
pub(crate) const DRAW_BITS: u32 = 16;
/// Elements whose draws are made together.
pub(crate) const GROUP: usize = 4 * LANES;

/// Names one mask: every (recipe seed, tensor, parent) has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskKey {
    /// The recipe's seed, as Philox's key.
    pub seed: [u32; 2],
    /// Which mask of that seed, as the upper half of Philox's counter.
    pub stream: [u32; 2],
}

/// The bound below which a draw keeps its element, so that a share `density` of them is kept; 2^16 keeps all.
pub fn keep_threshold(density: f64) -> u32 {
    (density.clamp(0.0, 1.0) * f64::from(1u32 << DRAW_BITS)).round() as u32
}

/// What all rounds of one mask add to the counters: worked out once.
pub(crate) struct Schedule {
    stream: [i32; 2],
    keys: [[i32; 2]; ROUNDS],
}

impl MaskKey {
    pub(crate) fn schedule(self) -> Schedule {
        let key = |round: u32, i: usize| self.seed[i].wrapping_add(WEYL[i].wrapping_mul(round)).cast_signed();
        let keys = std::array::from_fn(|round| [key(round as u32, 0), key(round as u32, 1)]);
        Schedule { stream: self.stream.map(u32::cast_signed), keys }
    }

    /// Sets `draws[k]` to the random bits of element `first + k`.
    pub(crate) fn fill(self, first: u64, draws: &mut [i32]) {
        let schedule = self.schedule();
        let (group, skipped) = (first / GROUP as u64, (first % GROUP as u64) as usize);
        let mut buffer = [0; GROUP];
        let (now, later) = draws.split_at_mut((GROUP - skipped).min(draws.len()));
        one_group(&schedule, group, &mut buffer);
        now.copy_from_slice(&buffer[skipped..][..now.len()]);
        for (number, draws) in (group + 1..).zip(later.chunks_mut(GROUP)) {
            one_group(&schedule, number, &mut buffer);
            draws.copy_from_slice(&buffer[..draws.len()]);
        }
    }
}

/// The draws of the elements of `N` groups, each named by its mask and its number, 16 at a time. No round of one waits for the other.
#[inline(always)]
pub(crate) fn draws<V: Floats, const N: usize>(groups: [(&Schedule, u64); N]) -> [[V::Ints; GROUP / LANES]; N] {
    const BLOCKS: [i32; LANES] = [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0];
    let zero = V::Ints::splat(0);
    let mut counters = [[zero; 4]; N];
    for (counter, (schedule, number)) in counters.iter_mut().zip(groups) {
        // Eight blocks from a multiple of eight on have the same upper half of their number. What matters is in the even lanes.
        let first = number * (LANES / 2) as u64;
        *counter = [
            V::Ints::splat(first as i32) + V::Ints::load(&BLOCKS),
            V::Ints::splat((first >> 32) as i32),
            V::Ints::splat(schedule.stream[0]),
            V::Ints::splat(schedule.stream[1]),
        ];
    }
    for round in 0..ROUNDS {
        for (counter, (schedule, _)) in counters.iter_mut().zip(groups) {
            let key = schedule.keys[round];
            let (p0, p1) = (counter[0].mul_even(MULTIPLIERS[0]), counter[2].mul_even(MULTIPLIERS[1]));
            *counter = [
                p1.odd_to_even() ^ counter[1] ^ V::Ints::splat(key[0]),
                p1,
                p0.odd_to_even() ^ counter[3] ^ V::Ints::splat(key[1]),
                p0,
            ];
        }
    }
    let mut draws = [[zero; GROUP / LANES]; N];
    for (draws, counter) in draws.iter_mut().zip(counters) {
        let words = [counter[0].interleave_even(counter[1]), counter[2].interleave_even(counter[3])];
        let lower = V::Ints::splat(0xFFFF);
        *draws = [words[0] & lower, words[0].shr::<16>(), words[1] & lower, words[1].shr::<16>()];
    }
    draws
}

tiered! {
    fn one_group<V>(schedule: &Schedule, number: u64, draws: &mut [i32; GROUP]) {
        let [quarters] = self::draws::<V, 1>([(schedule, number)]);
        for (draws, quarter) in draws.as_chunks_mut().0.iter_mut().zip(quarters) {
            quarter.store(draws);
        }
    }
}
