//! Checkpoints of one architecture in different sizes: layers merge through `slices`, and what cannot be paired is refused with the reason.

use crate::exact::{assert_exact, perplexities};
use crate::mistakes::recipe_refused;
use crate::support::{Folder, TINY_BLOCKS, Tiny, ggraft, perplexity_task, values};

/// A tiny llama with more blocks than [`Tiny::llama`] has.
fn of_blocks(count: u32, seed: u64) -> Tiny {
    let mut tiny = Tiny::llama(64, seed);
    for block in TINY_BLOCKS..count {
        let donor = Tiny::llama(64, seed + 100 * u64::from(block));
        for (info, data) in donor.tensors.iter().filter(|(info, _)| info.name.starts_with("blk.0.")) {
            tiny.add(&info.name.replace("blk.0.", &format!("blk.{block}.")), &info.shape, data.clone());
        }
    }
    tiny.metadata.insert("llama.block_count", count);
    tiny
}

/// `small.gguf` of 2 blocks, `large.gguf` of 5.
fn folder() -> Folder {
    let folder = Folder::new();
    of_blocks(2, 1).write(&folder.path("small.gguf"));
    of_blocks(5, 2).write(&folder.path("large.gguf"));
    folder
}

const SLICES: &str = "merge_method: linear\nparameters: {weight: 1}\nslices:\n  \
    - sources: [{model: large.gguf, layer_range: [0, 1]}, {model: small.gguf, layer_range: [0, 1]}]\n  \
    - sources: [{model: large.gguf, layer_range: [1, 4]}]\n  \
    - sources: [{model: large.gguf, layer_range: [4, 5]}, {model: small.gguf, layer_range: [1, 2]}]\n";

#[test]
fn layers_of_different_sizes_merge_through_slices_bit_for_bit() {
    let folder = folder();
    let task = perplexity_task(&folder, 5);
    let ties = "merge_method: ties\nbase_model: small.gguf\nparameters: {weight: 1, density: 0.5}\nslices:\n  \
        - sources: [{model: small.gguf, layer_range: [0, 2]}, {model: large.gguf, layer_range: [3, 5]}]\n";
    let stacked = "merge_method: passthrough\nslices:\n  - sources: [{model: small.gguf}]\n  - sources: [{model: large.gguf, layer_range: [2, 5]}]\n";
    let path =
        "path: [{model: small.gguf}, {model: large.gguf, layers: [3, 5], scale: 0.9}, {model: small.gguf, layer: 1}]\n";
    let recipes = [("slices", SLICES), ("ties", ties), ("stacked", stacked), ("path", path)];
    let recipes = recipes.map(|(name, text)| (name.to_owned(), format!("{text}out_type: f32\n")));
    let mut scores = assert_exact(&folder, &recipes, &task);
    scores.extend(perplexities(&["small.gguf", "large.gguf"].map(|name| folder.path(name)), &task));
    assert!((0..scores.len()).all(|i| !scores[..i].contains(&scores[i])), "{scores:?}");

    for (name, blocks) in [("slices", 5), ("ties", 2), ("stacked", 5), ("path", 5)] {
        let json = ggraft(["inspect", "--json", folder.path(&format!("{name}.yaml")).to_str().unwrap()]).json();
        assert_eq!(json["block_count"], blocks, "{name}");
    }
    let of = |file: &str, tensor: &str| values(&folder.path(file), tensor);
    let (large, small) = (of("large.gguf", "blk.4.attn_q.weight"), of("small.gguf", "blk.1.attn_q.weight"));
    let want: Vec<f32> = large.iter().zip(&small).map(|(a, b)| 0.5 * a + 0.5 * b).collect();
    assert_eq!(of("slices.gguf", "blk.4.attn_q.weight"), want);
    assert_eq!(of("slices.gguf", "blk.2.ffn_up.weight"), of("large.gguf", "blk.2.ffn_up.weight"));
}

#[test]
fn whole_models_of_different_sizes_are_refused_with_what_would_help() {
    let folder = folder();
    let parts = ["cannot be merged", "`llama.block_count` differs: 2 in `", "5 in `", "`slices` or `path`"];
    let models = "models: [{model: small.gguf}, {model: large.gguf}]\n";
    recipe_refused(&folder, &format!("merge_method: linear\nparameters: {{weight: 1}}\n{models}"), &parts);
    let slerp = "merge_method: slerp\nbase_model: small.gguf\nparameters: {t: 0.5}\nmodels: [{model: large.gguf}]\n";
    recipe_refused(&folder, slerp, &["`llama.block_count` differs: 5 in `", "2 in `"]);
    // A base that is not in the slice has no layers there to be relative to.
    let base = "merge_method: ties\nbase_model: small.gguf\nparameters: {weight: 1}\nslices:\n  - sources: [{model: large.gguf, layer_range: [0, 2]}]\n";
    recipe_refused(&folder, base, &["FILE:", "base model `small.gguf` is not among the sources of this slice"]);
    let uneven = SLICES.replacen("[0, 1]}]", "[0, 2]}]", 1);
    recipe_refused(
        &folder,
        &uneven,
        &["`large.gguf` brings 1 layers to this slice and `small.gguf` 2", "equally many"],
    );
    recipe_refused(
        &folder,
        &SLICES.replace("[1, 2]", "[2, 3]"),
        &["`layer_range` [2, 3) of `small.gguf`", "its 2 layers"],
    );
}

#[test]
fn other_dimensions_are_refused_in_slices_too() {
    let folder = folder();
    type Bend<'a> = &'a dyn Fn(&mut Tiny);
    let wide = Tiny::llama(128, 3);
    let replace = |tiny: &mut Tiny, from: &str, shape: [u64; 2]| {
        let names: Vec<String> =
            tiny.tensors.iter().map(|(info, _)| info.name.clone()).filter(|name| name.contains(from)).collect();
        tiny.tensors.retain(|(info, _)| !info.name.contains(from));
        for name in names {
            tiny.add(&name, &shape, vec![0.5; (shape[0] * shape[1]) as usize]);
        }
    };
    let longer = |tiny: &mut Tiny| {
        tiny.metadata.insert("llama.feed_forward_length", 192u32);
        replace(tiny, "ffn_gate", [64, 192]);
        replace(tiny, "ffn_up", [64, 192]);
        replace(tiny, "ffn_down", [192, 64]);
    };
    let heads = |tiny: &mut Tiny| {
        tiny.metadata.insert("llama.attention.head_count_kv", 4u32);
        replace(tiny, "attn_k", [64, 64]);
        replace(tiny, "attn_v", [64, 64]);
    };
    let rope = |tiny: &mut Tiny| tiny.metadata.insert("llama.rope.freq_base", 500_000f32);
    let cases: [(Bend, &[&str]); 4] = [
        (&|tiny| *tiny = wide.clone(), &["`llama.embedding_length` differs", "64 in `", "128 in `"]),
        (&longer, &["`llama.feed_forward_length` differs", "192"]),
        (&heads, &["`llama.attention.head_count_kv` differs", "2 in `", "4 in `"]),
        (&rope, &["`llama.rope.freq_base` differs", "500000"]),
    ];
    let stacked = "merge_method: passthrough\nslices:\n  - sources: [{model: small.gguf}]\n  - sources: [{model: large.gguf, layer_range: [1, 2]}]\n";
    for (bend, parts) in cases {
        let mut other = of_blocks(5, 2);
        bend(&mut other);
        other.write(&folder.path("large.gguf"));
        for text in [stacked, &SLICES.replace("large.gguf, layer_range: [4, 5]", "large.gguf, layer_range: [1, 2]")] {
            recipe_refused(&folder, text, &[&["cannot be merged"], parts].concat());
        }
    }
}
