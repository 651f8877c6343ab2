//! Metadata of the merged model: the template's, with everything that counts or lists layers following the recipe's order of layers.

use crate::gguf::{Array, Metadata, Parent, Value};

use super::PlanError;
use super::architectures::schedule_obstacle;

/// Alignment of the merged file; GGUF's default.
pub(super) const ALIGNMENT: u32 = 32;

/// Sliding-window layers that llama.cpp derives from a layer's number where the file has no list (src/models/*.cpp `load_swa_pattern`):
/// architecture and period; the last layer of each period sees everything.
const WINDOW_PERIOD: [(&str, u32); 10] = [
    ("gemma2", 2),
    ("gemma3", 6),
    ("gemma-embedding", 6),
    ("cohere2", 4),
    ("exaone4", 4),
    ("gpt-oss", 2),
    ("mellum", 4),
    ("muse-glimmer", 4),
    ("olmo2", 4),
    ("plamo3", 8),
];

/// Layer counts by which llama.cpp recognises a size whose attention differs (src/models/gemma2.cpp, gemma3.cpp: its scale; exaone4.cpp:
/// its windows).
const COUNT_MATTERS: [(&str, usize); 3] = [("gemma2", 46), ("gemma3", 62), ("exaone4", 64)];

/// Whether a key belongs to the vocabulary.
pub(super) fn is_vocabulary(key: &str) -> bool {
    key.starts_with("tokenizer.")
}

/// What parents of `architecture` store on top of the real values of vector `name`: Gemma's converter adds 1 to every norm.
pub(super) fn stored_offset(architecture: &str, name: &str, dimensions: usize) -> f32 {
    let plus_one = match architecture {
        "gemma" | "gemma2" | "gemma3" | "gemma-embedding" => true,
        "qwen3next" => !name.contains("ssm_norm"),
        _ => false,
    };
    if plus_one && dimensions == 1 && name.ends_with("norm.weight") { 1.0 } else { 0.0 }
}

/// The metadata of a model whose block `i` is block `layers[i].1` of parent `layers[i].0`, vocabulary left out.
pub(super) fn metadata(template: &Parent, layers: &[(&Parent, u32)]) -> Result<Metadata, PlanError> {
    let arch = template.architecture();
    let count = template.block_count() as usize;
    let in_order = layers.len() == count && layers.iter().zip(0..).all(|((_, layer), i)| *layer == i);
    let refuse = |reason| PlanError::Schedule { architecture: arch.to_owned(), reason };
    if !in_order {
        if let Some(reason) = schedule_obstacle(arch) {
            return Err(refuse(reason));
        }
        // Counted as layers, run by llama.cpp after the last of them only (src/llama-model.cpp `n_layer_nextn`).
        if template.arch("nextn_predict_layers").and_then(Value::as_u64).is_some_and(|n| n > 0) {
            return Err(refuse("has layers after its last that predict further tokens"));
        }
    }
    let mut metadata = Metadata::default();
    for (key, value) in template.metadata().iter().filter(|(key, _)| !is_vocabulary(key)) {
        let listed = |parent| by_layer(parent, key).filter(|_| key.starts_with(arch));
        let value = match listed(template).or_else(|| layers.iter().find_map(|(parent, _)| listed(parent))) {
            Some(list) => follow(key, value, list, layers).ok_or_else(|| {
                refuse("has a list with an entry for each layer that cannot follow this order of layers")
            })?,
            None => value.clone(),
        };
        metadata.insert(key, value);
    }
    metadata.insert(&template.arch_key("block_count"), layers.len() as u32);
    if !in_order {
        window_pattern(&mut metadata, template, layers).map_err(refuse)?;
        if COUNT_MATTERS.iter().any(|(a, n)| *a == arch && (*n == count) != (*n == layers.len())) {
            return Err(refuse("has attention that llama.cpp derives from the number of layers"));
        }
    }
    Ok(metadata)
}

/// The list of `parent` under `key`, if it has an entry for each layer.
fn by_layer<'a>(parent: &'a Parent, key: &str) -> Option<&'a Array> {
    parent.metadata().get(key)?.as_array().filter(|list| list.len() == parent.block_count() as usize)
}

/// What the template's `value` becomes where some parent has a `list` by layer: for each layer, what its own parent says of it.
fn follow(key: &str, value: &Value, list: &Array, layers: &[(&Parent, u32)]) -> Option<Value> {
    let own = |(parent, layer): &(&Parent, u32)| match parent.metadata().get(key) {
        Some(Value::Array(_)) => by_layer(parent, key)?.get(*layer as usize),
        // A parent that says nothing is like the template.
        None if value.as_array().is_some() => list.get(*layer as usize),
        other => Some(other.unwrap_or(value).clone()),
    };
    let entries = layers.iter().map(own).collect::<Option<Vec<Value>>>()?;
    if entries.iter().all(|entry| entry == value) {
        return Some(value.clone());
    }
    let indices: Vec<usize> = layers.iter().map(|(_, layer)| *layer as usize).collect();
    if let Some(gathered) = list.gather(&indices).filter(|g| g.iter().eq(entries.iter().cloned())) {
        return Some(Value::Array(gathered));
    }
    let entries = entries.iter();
    Some(Value::Array(match list {
        Array::Bool(_) => Array::Bool(entries.map(Value::as_bool).collect::<Option<_>>()?),
        Array::U32(_) => Array::U32(entries.map(|v| v.as_u64()?.try_into().ok()).collect::<Option<_>>()?),
        Array::I32(_) => Array::I32(entries.map(|v| v.as_u64()?.try_into().ok()).collect::<Option<_>>()?),
        Array::F32(_) => Array::F32(entries.map(|v| v.as_f64().map(|v| v as f32)).collect::<Option<_>>()?),
        _ => return None,
    }))
}

/// Writes down which layers have a sliding window, where llama.cpp would go by the new layer numbers. Architectures that are not in
/// [`WINDOW_PERIOD`] have none, whatever the file says.
fn window_pattern(metadata: &mut Metadata, template: &Parent, layers: &[(&Parent, u32)]) -> Result<(), &'static str> {
    let arch = template.architecture();
    let window = template.arch("attention.sliding_window").and_then(Value::as_u64);
    // These two have one by default.
    let windowed = window.map_or(matches!(arch, "gemma2" | "exaone4"), |tokens| tokens > 0);
    let Some((_, period)) = WINDOW_PERIOD.iter().find(|(a, _)| *a == arch && windowed) else { return Ok(()) };
    let key = template.arch_key("attention.sliding_window_pattern");
    let listed = template.metadata().get(&key).and_then(Value::as_array);
    if listed.is_some() && by_layer(template, &key).is_none() {
        return Err("lists the attention windows of another number of layers");
    }
    let flags: Vec<bool> = match metadata.get(&key) {
        Some(Value::Array(list)) => {
            list.iter().map(|flag| flag.as_bool().unwrap_or_else(|| flag.as_u64() != Some(0))).collect()
        }
        given => {
            let period = given.and_then(Value::as_u64).unwrap_or((*period).into());
            let flag = |layer: u32| period == 0 || u64::from(layer) % period < period - 1;
            let flags: Vec<bool> = layers.iter().map(|(_, layer)| flag(*layer)).collect();
            metadata.insert(&key, Value::Array(Array::Bool(flags.clone())));
            flags
        }
    };
    // llama.cpp aborts the process (src/llama-model.cpp `create_memory`).
    if flags.contains(&true) { Ok(()) } else { Err("needs at least one layer with an attention window") }
}
