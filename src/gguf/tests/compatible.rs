//! Which differences between parents are found, and which are none.

use ggraft_kernels::GgmlType;

use super::{Tiny, folder};
use crate::gguf::{Blocks, Difference, Strings, Value, differences};

/// The differences between the tiny llama and one that `bend` has changed.
fn bent(bend: impl Fn(&mut Tiny)) -> Vec<Difference> {
    both(|_| (), bend)
}

/// The differences between two tiny llamas, each changed.
fn both(bend_first: impl Fn(&mut Tiny), bend_second: impl Fn(&mut Tiny)) -> Vec<Difference> {
    let folder = folder();
    let (mut first, mut second) = (Tiny::llama(), Tiny::llama());
    bend_first(&mut first);
    bend_second(&mut second);
    let (first, second) = (first.open(&folder, "a.gguf"), second.open(&folder, "b.gguf"));
    differences(&[&first, &second])
}

fn set(key: &'static str, value: impl Into<Value> + Clone) -> impl Fn(&mut Tiny) {
    move |tiny| tiny.metadata.insert(key, value.clone())
}

/// Each difference's key and what it blocks.
fn kinds(found: &[Difference]) -> Vec<(&str, Blocks)> {
    found.iter().map(|difference| (difference.key.as_str(), difference.blocks)).collect()
}

#[test]
fn equal_parents_do_not_differ() {
    assert_eq!(bent(|_| ()), []);
    assert_eq!(differences(&[]), []);
}

#[test]
fn types_alignment_and_limits_are_no_difference() {
    let found = bent(|tiny| {
        tiny.alignment = 64;
        tiny.metadata.insert("llama.context_length", 128u32);
        tiny.metadata.insert("general.name", "another");
        tiny.remove("blk.0.attn_q.weight");
        tiny.add("blk.0.attn_q.weight", &[32, 32, 1], GgmlType::F32);
    });
    assert_eq!(found, []);
}

#[test]
fn settings_that_differ_keep_from_every_merge() {
    let cases: [(&str, Value); 8] = [
        ("llama.attention.head_count_kv", 4u32.into()),
        ("llama.attention.key_length", 16u32.into()),
        ("llama.feed_forward_length", 128u32.into()),
        ("llama.attention.layer_norm_rms_epsilon", 1e-6f32.into()),
        ("llama.rope.freq_base", 500_000f32.into()),
        ("llama.rope.dimension_count", 4u32.into()),
        ("llama.attention.causal", false.into()),
        ("llama.expert_count", 8u32.into()),
    ];
    for (key, value) in cases {
        assert_eq!(kinds(&bent(set(key, value))), [(key, Blocks::EveryMerge)]);
    }
}

#[test]
fn keys_left_out_count_as_their_defaults() {
    let found = bent(|tiny| {
        tiny.metadata.insert("llama.attention.key_length", 8u32);
        tiny.metadata.insert("llama.attention.value_length", 8u64);
        tiny.metadata.insert("llama.rope.dimension_count", 8u32);
        tiny.metadata.insert("llama.rope.freq_base", 10_000u32);
        tiny.metadata.insert("llama.rope.scaling.type", "none");
        tiny.metadata.insert("llama.rope.scaling.attn_factor", 1f32);
        tiny.metadata.insert("llama.rope.scaling.original_context_length", 32u32);
        tiny.metadata.insert("llama.rope.scaling.yarn_beta_fast", 32f32);
        tiny.metadata.insert("llama.attention.causal", true);
        tiny.metadata.insert("llama.expert_count", 0u32);
        tiny.metadata.insert("llama.unheard_of", 1u32);
    });
    assert_eq!(found, []);
    let no_heads = |tiny: &mut Tiny| drop(tiny.metadata.remove("llama.attention.head_count_kv"));
    assert_eq!(both(no_heads, set("llama.attention.head_count_kv", 4u32)), []);
    assert_eq!(kinds(&bent(no_heads)), [("llama.attention.head_count_kv", Blocks::EveryMerge)]);
}

#[test]
fn rope_scaling_by_one_is_none() {
    assert_eq!(bent(set("llama.rope.scaling.factor", 1f32)), []);
    assert_eq!(bent(set("llama.rope.scale_linear", 0f32)), []);
    let old_name = set("llama.rope.scale_linear", 4f32);
    assert_eq!(both(old_name, set("llama.rope.scaling.factor", 4f32)), []);
    let keys = ["llama.rope.scaling.factor", "llama.rope.scaling.type"];
    let found = both(set("llama.rope.scaling.factor", 4f32), set("llama.rope.scaling.type", "linear"));
    assert_eq!(kinds(&found), keys.map(|key| (key, Blocks::EveryMerge)));
}

#[test]
fn original_context_matters_to_yarn_alone() {
    let yarn = |context: u32| {
        move |tiny: &mut Tiny| {
            tiny.metadata.insert("llama.rope.scaling.type", "yarn");
            tiny.metadata.insert("llama.rope.scaling.factor", 4f32);
            tiny.metadata.insert("llama.rope.scaling.original_context_length", context);
        }
    };
    let key = "llama.rope.scaling.original_context_length";
    assert_eq!(kinds(&both(yarn(16), yarn(32))), [(key, Blocks::EveryMerge)]);
}

#[test]
fn a_list_of_equal_entries_is_one_number() {
    let key = "llama.attention.head_count_kv";
    assert_eq!(bent(set(key, vec![2i32, 2])), []);
    assert_eq!(kinds(&bent(set(key, vec![2u32, 4]))), [(key, Blocks::WholeModel)]);
}

#[test]
fn fewer_blocks_keep_from_whole_model_merges_alone() {
    let found = bent(|tiny| {
        tiny.metadata.insert("llama.block_count", 1u32);
        tiny.metadata.insert("llama.feed_forward_length", vec![64u32]);
        tiny.tensors.retain(|tensor| !tensor.name.starts_with("blk.1."));
    });
    assert_eq!(kinds(&found), [("llama.block_count", Blocks::WholeModel)]);
}

#[test]
fn another_architecture_is_told_beside_the_rest() {
    let found = bent(|tiny| {
        for (key, value) in Tiny::llama().metadata.iter().filter(|(key, _)| key.starts_with("llama.")) {
            tiny.metadata.remove(key);
            tiny.metadata.insert(&key.replace("llama.", "qwen2."), value.clone());
        }
        tiny.metadata.insert("general.architecture", "qwen2");
        tiny.metadata.insert("qwen2.rope.freq_base", 1e6f32);
    });
    let keys = ["general.architecture", "rope.freq_base"];
    assert_eq!(kinds(&found), keys.map(|key| (key, Blocks::EveryMerge)));
}

#[test]
fn tokens_that_differ_are_counted_and_the_first_is_shown() {
    let tokens = |tiny: &mut Tiny| {
        let other: Strings = [&b"t0"[..], b"t1", b"x\n", b"t3", b"\xff", b"t5", b"t6", b"t7"].into_iter().collect();
        tiny.metadata.insert("tokenizer.ggml.tokens", other);
    };
    let found = bent(tokens);
    assert_eq!(kinds(&found), [("tokenizer.ggml.tokens", Blocks::TokenRows)]);
    assert_eq!(found[0].values[0].1, "8 tokens");
    assert_eq!(found[0].values[1].1, "8 tokens (2 differ, first \"x\\n\" for \"t2\" at id 2)");
}

#[test]
fn a_longer_vocabulary_keeps_token_tables_apart() {
    let found = bent(|tiny| {
        let mut tokens = tiny.metadata.strings("tokenizer.ggml.tokens").unwrap().clone();
        tokens.push(b"t8");
        tiny.metadata.insert("tokenizer.ggml.tokens", tokens);
        tiny.remove("token_embd.weight");
        tiny.add("token_embd.weight", &[32, 9], GgmlType::F16);
    });
    let keys = ["tokenizer.ggml.tokens", "token_embd.weight"];
    assert_eq!(kinds(&found), keys.map(|key| (key, Blocks::TokenRows)));
    assert_eq!(found[0].values[1].1, "9 tokens");
    assert_eq!(found[1].values[1].1, "[32, 9]");
}

#[test]
fn tokenizer_notes_keep_from_nothing() {
    let found = bent(|tiny| {
        tiny.metadata.insert("tokenizer.ggml.pre", "default");
        tiny.metadata.insert("tokenizer.ggml.bos_token_id", 1u32);
        tiny.metadata.insert("tokenizer.ggml.eos_token_id", 6u32);
    });
    let keys = ["tokenizer.ggml.pre", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"];
    assert_eq!(kinds(&found), keys.map(|key| (key, Blocks::Nothing)));
    assert_eq!(kinds(&bent(set("tokenizer.ggml.model", "llama"))), [("tokenizer.ggml.model", Blocks::TokenTables)]);
}

#[test]
fn tied_and_own_output_are_a_remark() {
    let found = bent(|tiny| tiny.add("output.weight", &[32, 8], GgmlType::F16));
    assert_eq!(kinds(&found), [("output.weight", Blocks::Nothing)]);
    assert_eq!(found[0].values[0].1, "tied to `token_embd.weight`");
    assert_eq!(found[0].values[1].1, "a tensor");
}

#[test]
fn missing_tensors_are_told_once_for_all_blocks() {
    let found = bent(|tiny| {
        tiny.add("blk.0.attn_q.bias", &[32], GgmlType::F32);
        tiny.add("blk.1.attn_q.bias", &[32], GgmlType::F32);
    });
    assert_eq!(kinds(&found), [("blk.*.attn_q.bias", Blocks::EveryMerge)]);
    assert_eq!(found[0].values.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["nothing", "2 tensors"]);
}

#[test]
fn shapes_that_differ_are_shown() {
    let found = bent(|tiny| {
        tiny.remove("blk.1.ffn_down.weight");
        tiny.add("blk.1.ffn_down.weight", &[32, 32], GgmlType::F32);
    });
    assert_eq!(kinds(&found), [("blk.*.ffn_down.weight", Blocks::EveryMerge)]);
    assert_eq!(found[0].values[1].1, "[32, 32]");
}

#[test]
fn rope_tables_are_compared_by_content() {
    // `Tiny` fills a tensor by its place in the file, so moving the table gives it another content.
    let last = |tiny: &mut Tiny| tiny.add("rope_freqs.weight", &[4], GgmlType::F32);
    let first = |tiny: &mut Tiny| {
        last(tiny);
        tiny.tensors.rotate_right(1);
    };
    assert_eq!(both(last, last), []);
    assert_eq!(kinds(&both(last, first)), [("rope_freqs.weight", Blocks::EveryMerge)]);
}

#[test]
fn a_difference_reads_as_one_line() {
    let found = bent(set("llama.rope.freq_base", 500_000f32));
    let line = found[0].to_string();
    let (first, second) = (found[0].values[0].0.display(), found[0].values[1].0.display());
    let start = format!("`llama.rope.freq_base` differs: 10000 in `{first}`, 500000 in `{second}`; positions are");
    assert!(line.starts_with(&start), "{line}");
    assert!(!line.contains('\n'), "{line}");
}
