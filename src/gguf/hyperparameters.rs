//! What a parent's metadata make llama.cpp compute: `{arch}.*` keys go in, comparable settings come out.
//!
//! Two files may say the same in different words: a key left out where llama.cpp has a default, a list of equal entries
//! for one number, `10000` for `10000.0`. [`setting`] brings them to one form (src/llama-model.cpp `load_hparams`).

use std::collections::BTreeSet;

use super::parent::Parent;
use super::value::Value;

/// Keys that may differ: limits, counts and notes that no weight depends on, or that are compared elsewhere.
const NOT_COMPARED: [&str; 4] = ["context_length", "vocab_size", "block_count", "rope.scale_linear"];

/// The `{arch}.*` keys that any parent has, without the prefix, in order; those that may differ are left out.
pub(super) fn suffixes<'a>(parents: &[&'a Parent]) -> BTreeSet<&'a str> {
    let keys = parents.iter().flat_map(|parent| {
        let own = |key: &'a str| key.strip_prefix(parent.architecture())?.strip_prefix('.');
        parent.metadata().iter().filter_map(move |(key, _)| own(key))
    });
    keys.filter(|suffix| !NOT_COMPARED.contains(suffix)).collect()
}

/// The value that llama.cpp uses for `{arch}.{suffix}`, in a form that compares: whole numbers as `i64`, others as
/// `f32`, a list with one entry per block cut to the first `blocks`, and a list of equal entries as that entry.
///
/// `None` where the file does not say and no default is known that holds for every architecture.
pub(super) fn setting(parent: &Parent, suffix: &str, blocks: usize) -> Option<Value> {
    let read = |suffix: &str| parent.arch(suffix).map(|value| normal(value, parent, blocks));
    let same_as = |other: &str| setting(parent, other, blocks);
    match suffix {
        "rope.scaling.type" => Some(rope_scaling_type(parent).into()),
        "rope.scaling.original_context_length" if !matches!(rope_scaling_type(parent), "yarn" | "longrope") => {
            Some("not used".into())
        }
        "rope.scaling.factor" => Some(number(rope_scaling_factor(parent))),
        _ => read(suffix).or_else(|| match suffix {
            "attention.head_count_kv" => same_as("attention.head_count"),
            "attention.key_length" | "attention.value_length" => head_size(parent),
            "attention.key_length_swa" => same_as("attention.key_length"),
            "attention.value_length_swa" => same_as("attention.value_length"),
            "attention.causal" => Some(true.into()),
            "rope.dimension_count" => same_as("attention.key_length"),
            "rope.dimension_count_swa" => same_as("rope.dimension_count"),
            "rope.freq_base" => Some(number(10_000.0)),
            // The Gemma models have their own; most others take over `rope.freq_base` (src/models/*.cpp).
            "rope.freq_base_swa" if parent.architecture().starts_with("gemma") => Some(number(10_000.0)),
            "rope.freq_base_swa" => same_as("rope.freq_base"),
            "rope.scaling.original_context_length" => read("context_length"),
            "rope.scaling.attn_factor" | "rope.scaling.yarn_attn_factor" => Some(number(1.0)),
            "rope.scaling.yarn_ext_factor" => Some(number(-1.0)),
            "rope.scaling.yarn_beta_fast" => Some(number(32.0)),
            "rope.scaling.yarn_beta_slow" => Some(number(1.0)),
            "rope.scaling.alpha" | "rope.scaling.yarn_log_multiplier" => Some(number(0.0)),
            "expert_count" | "expert_used_count" | "expert_group_count" | "expert_group_used_count" => {
                Some(number(0.0))
            }
            _ => None,
        }),
    }
}

/// What would help where `{arch}.{suffix}` differs.
pub(super) fn help_with(suffix: &str) -> &'static str {
    if suffix.starts_with("rope.") {
        "positions are encoded differently, so attention weights do not line up; use parents with the same rope \
         settings, or convert the one with wrong metadata again"
    } else if suffix.starts_with("attention.") && suffix.contains("epsilon") {
        "norm weights were trained for one epsilon; use parents fine-tuned from one base model, or convert the one \
         with wrong metadata again"
    } else if suffix.starts_with("attention.") {
        "attention weights are laid out differently; use parents fine-tuned from one base model"
    } else if suffix.starts_with("expert_") {
        "experts do not pair up; use parents with the same experts"
    } else if suffix == "embedding_length" || suffix == "feed_forward_length" {
        "tensors have different sizes; use parents of one size"
    } else {
        "one graph cannot follow both; use parents fine-tuned from one base model"
    }
}

/// Scaling by 1 is none: `linear`, the default, means nothing without a factor.
fn rope_scaling_type(parent: &Parent) -> &str {
    match parent.arch("rope.scaling.type").map_or(Some("linear"), Value::as_str) {
        Some("linear") if stored_factor(parent) == 1.0 => "none",
        Some(name) => name,
        None => "not a string",
    }
}

/// The factor that has an effect: none without scaling.
fn rope_scaling_factor(parent: &Parent) -> f64 {
    if rope_scaling_type(parent) == "none" { 1.0 } else { stored_factor(parent) }
}

/// The factor in the file, under its new or its old name; 0 stands for 1.
fn stored_factor(parent: &Parent) -> f64 {
    let stored = parent.arch("rope.scaling.factor").or_else(|| parent.arch("rope.scale_linear"));
    stored.and_then(Value::as_f64).filter(|&factor| factor != 0.0).unwrap_or(1.0)
}

/// `embedding_length / head_count`, the head count being that of the first block.
fn head_size(parent: &Parent) -> Option<Value> {
    let heads = match parent.arch("attention.head_count")? {
        Value::Array(array) => array.get(0)?.as_u64()?,
        value => value.as_u64()?,
    };
    let size = u64::from(parent.arch_u32("embedding_length")?).checked_div(heads)?;
    Some(Value::I64(size.try_into().ok()?))
}

fn normal(value: &Value, parent: &Parent, blocks: usize) -> Value {
    let Value::Array(array) = value else {
        return value.as_f64().map_or_else(|| value.clone(), number);
    };
    let per_block = array.len() == parent.block_count() as usize;
    let kept = if per_block { array.len().min(blocks) } else { array.len() };
    let entries: Vec<_> = array.iter().take(kept).map(|entry| normal(&entry, parent, blocks)).collect();
    match entries.first() {
        Some(first) if per_block && entries.iter().all(|entry| entry == first) => first.clone(),
        _ => numbers(&entries).map_or_else(|| value.clone(), Value::from),
    }
}

/// A whole number as `i64`, any other as `f32`, the width that llama.cpp keeps it in.
fn number(value: f64) -> Value {
    // Below 2^53 every whole number has its own `f64`.
    let whole = value.fract() == 0.0 && value.abs() < 9e15;
    if whole { Value::I64(value as i64) } else { Value::F32(value as f32) }
}

/// A list of numbers or truth values as floats, whatever their width in the file; `None` for a list of strings.
fn numbers(entries: &[Value]) -> Option<Vec<f64>> {
    entries.iter().map(|entry| entry.as_f64().or_else(|| entry.as_bool().map(f64::from))).collect()
}
