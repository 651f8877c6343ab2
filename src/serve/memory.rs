//! How many models can be live at once without filling the memory.

use super::catalog::Catalog;
use super::revision::Revision;
use crate::gguf::Parent;

/// Share of the memory that is free at the start which models may take: the rest is for parents' pages and everybody else.
const SHARE: f64 = 0.5;

/// As many of the models as fit, at least one; more than there are models would only hold weights that nobody asks for.
pub(super) fn most_live(catalog: &Catalog, parallel: u32) -> usize {
    let models = catalog.all();
    let largest = models.iter().map(|r| r.weight_bytes() + cache_bytes(r, parallel)).max().unwrap_or(0);
    let free = available_bytes().unwrap_or(0) as f64 * SHARE;
    let fit = free / largest.max(1) as f64;
    // Two, so that two recipes can be compared side by side.
    (fit as usize).clamp(1, models.len().max(2))
}

/// Keys and values of all tokens of all sequences, in half precision.
fn cache_bytes(revision: &Revision, parallel: u32) -> u64 {
    let parent = revision.template();
    let heads = u64::from(parent.arch_u32("attention.head_count").unwrap_or(1).max(1));
    let width = u64::from(parent.arch_u32("embedding_length").unwrap_or(0)) / heads;
    let of = |suffix| parent.arch_u32(suffix).map_or(width, u64::from);
    let pair = of("attention.key_length") + of("attention.value_length");
    let tokens = u64::from(parallel) * u64::from(revision.context);
    2 * pair * kv_heads(parent).unwrap_or(heads) * revision.block_count() as u64 * tokens
}

fn kv_heads(parent: &Parent) -> Option<u64> {
    parent.arch_u32("attention.head_count_kv").map(u64::from)
}

/// Memory that can be had without swapping, as Linux estimates it.
fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}
