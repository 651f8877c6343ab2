//! Numbers that depend on the parents alone, worked out when first asked for and kept for every later recipe.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ggraft_kernels::{Keep, Source, stats};

use super::SourceRef;
use crate::ggml::CODECS;

/// The cache; one per set of parents.
#[derive(Default)]
pub(super) struct Statistics {
    grams: Mutex<HashMap<GramKey, Vec<f64>>>,
    largest: Mutex<HashMap<LargestKey, Keep>>,
}

/// Sources and the bits of the offset.
type GramKey = (Vec<SourceRef>, u32);
/// Base, source and how many are kept.
type LargestKey = (SourceRef, SourceRef, usize);

impl Statistics {
    /// [`stats::gram`] of `sources`, which `refs` names.
    pub(super) fn gram(&self, refs: &[SourceRef], sources: &[Source], elements: usize, offset: f32) -> Vec<f64> {
        let key = (refs.to_vec(), offset.to_bits());
        remember(&self.grams, key, || stats::gram(sources, elements, offset, &CODECS))
    }

    /// [`stats::largest`] of the difference between `pair[1]` and the base `pair[0]`, which `refs` names.
    pub(super) fn largest(&self, refs: [SourceRef; 2], pair: [&Source; 2], elements: usize, k: usize) -> Keep {
        remember(&self.largest, (refs[0], refs[1], k), || stats::largest(pair[0], pair[1], elements, k, &CODECS))
    }
}

/// Most entries of one cache: a search over densities asks for a new order statistic with every candidate.
const MAX_ENTRIES: usize = 1 << 16;

/// Two threads that miss at once both compute, to the same result; the lock is never held while computing.
fn remember<K: std::hash::Hash + Eq, V: Clone>(cache: &Mutex<HashMap<K, V>>, key: K, compute: impl FnOnce() -> V) -> V {
    let lock = || cache.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(&key) {
        return known.clone();
    }
    let value = compute();
    let mut cache = lock();
    if cache.len() >= MAX_ENTRIES {
        cache.clear();
    }
    cache.insert(key, value.clone());
    value
}
