//! Sixteen groups of elements side by side: lane `k` of vector `i` is element `i` of group `k`.
//!
//! Every lane then does what ggml's loops do for one group, in their order, and comes to the same bits.

use crate::simd::{Floats, LANES};

/// `N` elements of each of 16 groups.
pub(super) type Columns<const N: usize> = [[f32; LANES]; N];

/// Groups of `N` elements as columns; where there are fewer than 16, zeros follow.
#[inline(always)]
pub(super) fn columns<const N: usize>(values: &[f32]) -> Columns<N> {
    let mut columns = [[0.0; LANES]; N];
    for (lane, group) in values.as_chunks::<N>().0.iter().enumerate() {
        for (column, value) in columns.iter_mut().zip(group) {
            column[lane] = *value;
        }
    }
    columns
}

/// `1 / d`, and 0 for 0.
#[inline(always)]
pub(super) fn inverse<V: Floats>(d: V) -> V {
    let zero = V::splat(0.0);
    V::select(d.equals(zero), zero, V::splat(1.0) / d)
}
