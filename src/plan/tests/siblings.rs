//! Which parents may be merged, and what the others are told.

use ggraft_kernels::GgmlType;

use super::{Family, recipe, stack};
use crate::gguf::tests::Tiny;
use crate::gguf::{Blocks, Strings};
use crate::plan::PlanError;

fn blend() -> String {
    recipe("linear", &[("a.gguf", "weight: 1"), ("b.gguf", "weight: 1")], "")
}

/// Blends the first layer of both.
fn blended_slice() -> &'static str {
    "merge_method: linear\nslices:\n  - sources:\n      - {model: a.gguf, layer_range: [0, 1], parameters: {weight: 1}}\n      \
     - {model: b.gguf, layer_range: [0, 1], parameters: {weight: 1}}\n"
}

fn blocked(family: &Family, text: &str) -> Vec<(String, Blocks)> {
    match family.try_plan(text) {
        Ok(_) => Vec::new(),
        Err(PlanError::Different(found)) => found.into_iter().map(|d| (d.key, d.blocks)).collect(),
        Err(other) => panic!("{other}\n{text}"),
    }
}

/// The tiny llama with `count` blocks.
fn of_blocks(count: u32) -> Tiny {
    let mut tiny = Tiny::llama();
    tiny.metadata.insert("llama.block_count", count);
    for block in 2..count {
        tiny.add(&format!("blk.{block}.attn_norm.weight"), &[32], GgmlType::F32);
        tiny.add(&format!("blk.{block}.attn_q.weight"), &[32, 32], GgmlType::Q8_0);
        tiny.add(&format!("blk.{block}.ffn_down.weight"), &[64, 32], GgmlType::Q4_0);
    }
    tiny
}

#[test]
fn other_layer_counts_refuse_whole_models_and_permit_slices() {
    let family = Family::of(&[&Tiny::llama(), &of_blocks(4)]);
    assert_eq!(blocked(&family, &blend()), [("llama.block_count".to_owned(), Blocks::WholeModel)]);
    assert_eq!(blocked(&family, blended_slice()), []);
    let plan = family.plan(&stack(&[("a.gguf", 0, 2), ("b.gguf", 2, 4)]));
    assert_eq!(plan.block_count(), 4);
    assert_eq!(family.merged(&plan, "blk.3.attn_q.weight"), family.values(1, "blk.3.attn_q.weight"));
}

#[test]
fn other_vocabularies_refuse_blends_and_permit_stacks() {
    let mut other = Tiny::llama();
    let tokens: Vec<_> = (0..8u8).map(|id| vec![b'u', b'0' + id]).collect();
    other.metadata.insert("tokenizer.ggml.tokens", tokens.iter().map(Vec::as_slice).collect::<Strings>());
    let family = Family::of(&[&Tiny::llama(), &other]);
    let tokens = [("tokenizer.ggml.tokens".to_owned(), Blocks::TokenRows)];
    assert_eq!(blocked(&family, &blend()), tokens);
    assert_eq!(blocked(&family, blended_slice()), tokens, "the embeddings follow the first slice");
    assert_eq!(blocked(&family, &stack(&[("a.gguf", 0, 1), ("b.gguf", 1, 2)])), []);
}

#[test]
fn other_special_tokens_are_a_remark() {
    let mut other = Tiny::llama();
    other.metadata.insert("tokenizer.ggml.eos_token_id", 3u32);
    let family = Family::of(&[&Tiny::llama(), &other]);
    assert_eq!(blocked(&family, &blend()), []);
    let remarks: Vec<&str> = family.siblings.remarks().map(|d| d.key.as_str()).collect();
    assert_eq!(remarks, ["tokenizer.ggml.eos_token_id"]);
}

#[test]
fn other_settings_refuse_every_merge_with_a_line_for_each() {
    let mut other = Tiny::llama();
    other.metadata.insert("llama.rope.freq_base", 500_000f32);
    other.metadata.insert("llama.attention.layer_norm_rms_epsilon", 1e-6f32);
    let Err(error) = Family::try_of(&[&Tiny::llama(), &other]) else { panic!("not siblings") };
    let PlanError::Different(found) = &error else { panic!("{error}") };
    assert_eq!(found.len(), 2);
    let message = error.to_string();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "these models cannot be merged:");
    assert_eq!(lines.len(), 3, "{message}");
    for (line, key) in lines[1..].iter().zip(["layer_norm_rms_epsilon", "rope.freq_base"]) {
        assert!(line.starts_with("  - `") && line.contains(key), "{line}");
        assert!(line.contains("a.gguf") && line.contains("b.gguf"), "{line}");
    }
}

#[test]
fn layers_beyond_a_model_are_refused_with_its_name() {
    let family = Family::of(&[&Tiny::llama()]);
    let error = family.try_plan(&stack(&[("a.gguf", 0, 3)])).unwrap_err();
    assert!(matches!(error, PlanError::Recipe(_)), "{error}");
    assert!(error.to_string().contains("a.gguf"), "{error}");
}

#[test]
fn a_tensor_of_another_layer_may_be_missing() {
    let mut tiny = Tiny::llama();
    tiny.add("blk.1.attn_q.bias", &[32], GgmlType::F32);
    let family = Family::of(&[&tiny, &tiny]);
    let text = "merge_method: linear\nslices:\n  - sources:\n      - {model: a.gguf, layer_range: [1, 2], parameters: {weight: 1}}\n      \
                - {model: b.gguf, layer_range: [0, 1], parameters: {weight: 1}}\n";
    match family.try_plan(text).unwrap_err() {
        PlanError::MissingTensor { tensor, parent, .. } => {
            assert_eq!(tensor, "blk.0.attn_q.bias");
            assert!(parent.ends_with("b.gguf"), "{parent}");
        }
        other => panic!("{other}"),
    }
}
