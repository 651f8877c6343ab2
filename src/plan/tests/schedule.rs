//! Metadata under other orders of layers: lists follow, windows are written down, what cannot follow is refused.

use ggraft_kernels::GgmlType;

use super::{Family, recipe, stack};
use crate::gguf::tests::Tiny;
use crate::gguf::{Array, Header, Metadata, Value};
use crate::plan::architectures::{GainVia, gain_via};
use crate::plan::{Plan, PlanError};

/// A model of `blocks` blocks of one norm and one matrix each.
fn of_architecture(arch: &str, blocks: u32) -> Tiny {
    let llama = Tiny::llama();
    let mut metadata = Metadata::default();
    for (key, value) in llama.metadata.iter() {
        let key = key.strip_prefix("llama.").map_or_else(|| key.to_owned(), |rest| format!("{arch}.{rest}"));
        metadata.insert(&key, value.clone());
    }
    metadata.insert("general.architecture", arch);
    metadata.insert(&format!("{arch}.block_count"), blocks);
    let mut tiny = Tiny { metadata, tensors: Vec::new(), alignment: 32 };
    tiny.add("token_embd.weight", &[32, 8], GgmlType::F16);
    for block in 0..blocks {
        tiny.add(&format!("blk.{block}.attn_norm.weight"), &[32], GgmlType::F32);
        tiny.add(&format!("blk.{block}.attn_q.weight"), &[32, 32], GgmlType::Q8_0);
    }
    tiny.add("output_norm.weight", &[32], GgmlType::F32);
    tiny
}

/// The same with attention windows.
fn windowed(arch: &str, blocks: u32) -> Tiny {
    let mut tiny = of_architecture(arch, blocks);
    tiny.metadata.insert(&format!("{arch}.attention.sliding_window"), 16u32);
    tiny
}

/// The metadata that a program loading the exported file would see.
fn exported(family: &Family, plan: &Plan) -> Metadata {
    let header = plan.full_header(family.parents()).unwrap();
    Header::parse(&header, header.len() as u64 + plan.data_bytes).unwrap().metadata
}

fn bools(metadata: &Metadata, key: &str) -> Vec<bool> {
    match metadata.get(key) {
        Some(Value::Array(Array::Bool(list))) => list.clone(),
        other => panic!("`{key}` is {other:?}"),
    }
}

/// Keys and values without regard to their order.
fn sorted(metadata: &Metadata) -> Vec<(&str, &Value)> {
    let mut pairs: Vec<_> = metadata.iter().collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs
}

#[test]
fn layers_in_order_keep_the_metadata_as_it_is() {
    let mut tiny = windowed("gemma3", 8);
    tiny.metadata.insert("gemma3.attention.head_count_kv", vec![2u32; 8]);
    let family = Family::of(&[&tiny, &tiny]);
    for text in [
        recipe("passthrough", &[("a.gguf", "")], ""),
        recipe("linear", &[("a.gguf", "weight: 1"), ("b.gguf", "weight: 1")], ""),
        stack(&[("a.gguf", 0, 3), ("b.gguf", 3, 8)]),
    ] {
        assert_eq!(sorted(&exported(&family, &family.plan(&text))), sorted(family.parents()[0].metadata()), "{text}");
    }
}

#[test]
fn window_flags_stay_with_their_layers() {
    const KEY: &str = "gemma3.attention.sliding_window_pattern";
    let family = Family::of(&[&windowed("gemma3", 12)]);
    let plan = family.plan(&stack(&[("a.gguf", 0, 7), ("a.gguf", 4, 7), ("a.gguf", 11, 12)]));
    let metadata = exported(&family, &plan);
    assert_eq!(metadata.u32("gemma3.block_count"), Some(11));
    // Gemma 3: every sixth layer sees everything, that is 5 and 11.
    let layers = [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 11];
    assert_eq!(bools(&metadata, KEY), layers.map(|l: u32| l % 6 != 5));
    let bare = Header::parse(&plan.bare_header, plan.bare_header.len() as u64 + plan.data_bytes).unwrap().metadata;
    assert_eq!(bools(&bare, KEY), layers.map(|l: u32| l % 6 != 5), "llama.cpp computes from the bare header");
}

#[test]
fn a_period_or_a_list_in_the_file_decides_over_the_architecture() {
    const KEY: &str = "gemma3.attention.sliding_window_pattern";
    let mut period = windowed("gemma3", 4);
    period.metadata.insert(KEY, 2u32);
    let family = Family::of(&[&period]);
    let plan = family.plan(&stack(&[("a.gguf", 2, 4), ("a.gguf", 0, 1)]));
    assert_eq!(bools(&exported(&family, &plan), KEY), [true, false, true]);

    let mut list = windowed("gemma3", 4);
    list.metadata.insert(KEY, Value::Array(Array::Bool(vec![false, false, true, true])));
    let family = Family::of(&[&list]);
    let plan = family.plan(&stack(&[("a.gguf", 2, 4), ("a.gguf", 0, 1)]));
    assert_eq!(bools(&exported(&family, &plan), KEY), [true, true, false]);
}

#[test]
fn lists_by_layer_follow_and_other_lists_stay() {
    let mut tiny = of_architecture("llama", 4);
    tiny.metadata.insert("llama.attention.head_count_kv", vec![1u32, 2, 3, 4]);
    tiny.metadata.insert("llama.feed_forward_length", vec![10i32, 20, 30, 40]);
    tiny.metadata.insert("llama.rope.dimension_sections", vec![1u32, 1, 2]);
    tiny.metadata.insert("general.numbers", vec![5u32, 6, 7, 8]);
    let family = Family::of(&[&tiny]);
    let metadata = exported(&family, &family.plan(&stack(&[("a.gguf", 3, 4), ("a.gguf", 1, 3)])));
    assert_eq!(metadata.u32("llama.block_count"), Some(3));
    assert_eq!(metadata.get("llama.attention.head_count_kv"), Some(&vec![4u32, 2, 3].into()));
    assert_eq!(metadata.get("llama.feed_forward_length"), Some(&vec![40i32, 20, 30].into()), "with its own type");
    assert_eq!(metadata.get("llama.rope.dimension_sections"), Some(&vec![1u32, 1, 2].into()), "no list by layer");
    assert_eq!(metadata.get("general.numbers"), Some(&vec![5u32, 6, 7, 8].into()), "not the architecture's");
}

#[test]
fn lists_follow_into_a_parent_with_more_layers() {
    let (mut short, mut long) = (of_architecture("llama", 2), of_architecture("llama", 4));
    short.metadata.insert("llama.attention.head_count_kv", vec![1u32, 2]);
    long.metadata.insert("llama.attention.head_count_kv", vec![1u32, 2, 3, 4]);
    let family = Family::of(&[&short, &long]);
    let metadata = exported(&family, &family.plan(&stack(&[("a.gguf", 0, 2), ("b.gguf", 3, 4)])));
    assert_eq!(metadata.get("llama.attention.head_count_kv"), Some(&vec![1u32, 2, 4].into()));
}

#[test]
fn lists_follow_a_parent_whose_layers_differ() {
    let (mut first, mut second) = (of_architecture("llama", 3), of_architecture("llama", 3));
    first.metadata.insert("llama.attention.head_count_kv", vec![2u32, 2, 2]);
    second.metadata.insert("llama.attention.head_count_kv", vec![2u32, 1, 4]);
    let family = Family::of(&[&first, &second]);
    let list = |text: &str| exported(&family, &family.plan(text)).get("llama.attention.head_count_kv").cloned();
    assert_eq!(list(&stack(&[("a.gguf", 0, 1), ("b.gguf", 1, 3)])), Some(vec![2u32, 1, 4].into()), "in order");
    assert_eq!(list(&stack(&[("a.gguf", 0, 3), ("b.gguf", 2, 3)])), Some(vec![2u32, 2, 2, 4].into()), "longer");

    first.metadata.insert("llama.attention.head_count_kv", 2u32);
    let family = Family::of(&[&first, &second]);
    let list = |text: &str| exported(&family, &family.plan(text)).get("llama.attention.head_count_kv").cloned();
    assert_eq!(
        list(&stack(&[("a.gguf", 0, 2), ("b.gguf", 2, 3)])),
        Some(vec![2u32, 2, 4].into()),
        "one number for all"
    );
    assert_eq!(list(&stack(&[("a.gguf", 0, 2), ("b.gguf", 0, 1)])), Some(2u32.into()), "still one number for all");
}

#[test]
fn sizes_that_llama_cpp_knows_by_their_layer_count_keep_it() {
    let refused = |family: &Family, text: &str| match family.try_plan(text) {
        Ok(_) => false,
        Err(PlanError::Schedule { architecture, .. }) => architecture == family.parents()[0].architecture(),
        Err(other) => panic!("{other}"),
    };
    let large = Family::of(&[&windowed("gemma3", 62)]);
    assert!(refused(&large, &stack(&[("a.gguf", 0, 60)])), "27B no more");
    assert!(!refused(&large, &stack(&[("a.gguf", 1, 62), ("a.gguf", 0, 1)])), "still 62");
    assert!(!refused(&large, &stack(&[("a.gguf", 0, 62)])));
    let half = Family::of(&[&windowed("gemma3", 31)]);
    assert!(refused(&half, &stack(&[("a.gguf", 0, 31), ("a.gguf", 0, 31)])), "taken for a 27B");
    assert!(!refused(&half, &stack(&[("a.gguf", 0, 31), ("a.gguf", 0, 30)])));
    // EXAONE 4: windows with 64 layers only.
    let large = Family::of(&[&windowed("exaone4", 64)]);
    assert!(refused(&large, &stack(&[("a.gguf", 0, 60)])));
    assert!(!refused(&large, &stack(&[("a.gguf", 1, 64), ("a.gguf", 0, 1)])));
    let other = Family::of(&[&of_architecture("llama", 62)]);
    assert!(!refused(&other, &stack(&[("a.gguf", 0, 60)])));
}

/// Why a recipe is refused.
fn obstacle(family: &Family, text: &str) -> &'static str {
    match family.try_plan(text) {
        Err(PlanError::Schedule { architecture, reason }) if architecture == family.parents()[0].architecture() => {
            reason
        }
        other => panic!("{:?}", other.map(|plan| plan.name)),
    }
}

#[test]
fn architectures_that_go_by_a_layers_number_refuse_a_new_order() {
    for (arch, reason) in [
        ("smollm3", "every fourth layer"),
        ("gemma4", "one tensor"),
        ("minicpm", "number of layers"),
        ("deepseek2", "first layers without experts"),
        ("qwen3next", "recurrent"),
        ("qwen3vl", "image"),
        ("plamo9", "not an architecture that ggraft knows"),
    ] {
        let family = Family::of(&[&windowed(arch, 4)]);
        for text in [stack(&[("a.gguf", 1, 4)]), stack(&[("a.gguf", 0, 4), ("a.gguf", 3, 4)])] {
            let given = obstacle(&family, &text);
            assert!(given.contains(reason), "{arch}: {given}");
        }
        family.plan(&stack(&[("a.gguf", 0, 2), ("a.gguf", 2, 4)]));
    }
}

#[test]
fn windows_of_each_architecture_fall_where_llama_cpp_puts_them() {
    for (arch, period) in
        [("gemma2", 2), ("olmo2", 4), ("mellum", 4), ("muse-glimmer", 4), ("exaone4", 4), ("plamo3", 8)]
    {
        let family = Family::of(&[&windowed(arch, 8)]);
        let metadata = exported(&family, &family.plan(&stack(&[("a.gguf", 7, 8), ("a.gguf", 0, 8)])));
        let expected: Vec<bool> = [7].into_iter().chain(0..8).map(|layer| layer % period != period - 1).collect();
        assert_eq!(bools(&metadata, &format!("{arch}.attention.sliding_window_pattern")), expected, "{arch}");
    }
}

#[test]
fn only_architectures_with_windows_get_a_pattern() {
    let turned = stack(&[("a.gguf", 1, 4), ("a.gguf", 0, 1)]);
    let has_pattern = |tiny: &Tiny, arch: &str| {
        let family = Family::of(&[tiny]);
        exported(&family, &family.plan(&turned)).get(&format!("{arch}.attention.sliding_window_pattern")).is_some()
    };
    // llama.cpp ignores the window of these two.
    assert!(!has_pattern(&windowed("phi3", 4), "phi3"));
    assert!(!has_pattern(&windowed("qwen2", 4), "qwen2"));
    assert!(!has_pattern(&of_architecture("gemma3", 4), "gemma3"));
    assert!(has_pattern(&of_architecture("gemma2", 4), "gemma2"), "4096 where the file is silent");
    let mut none = of_architecture("gemma3", 4);
    none.metadata.insert("gemma3.attention.sliding_window", 0u32);
    assert!(!has_pattern(&none, "gemma3"));
}

#[test]
fn a_path_of_layers_without_windows_is_refused() {
    let family = Family::of(&[&windowed("gemma3", 12)]);
    let text = stack(&[("a.gguf", 5, 6), ("a.gguf", 11, 12)]);
    assert!(obstacle(&family, &text).contains("at least one"));
    family.plan(&stack(&[("a.gguf", 5, 6), ("a.gguf", 10, 11)]));
    let mut listed = windowed("gemma3", 3);
    let list = vec![1u32, 0, 0];
    listed.metadata.insert("gemma3.attention.sliding_window_pattern", list);
    let family = Family::of(&[&listed]);
    assert!(obstacle(&family, &stack(&[("a.gguf", 1, 3)])).contains("at least one"));
    family.plan(&stack(&[("a.gguf", 0, 2)]));
}

#[test]
fn a_list_of_windows_of_another_length_is_refused() {
    let mut odd = windowed("gemma3", 4);
    odd.metadata.insert("gemma3.attention.sliding_window_pattern", vec![1u32, 0]);
    let family = Family::of(&[&odd]);
    assert!(obstacle(&family, &stack(&[("a.gguf", 1, 4)])).contains("another number"));
    assert!(obstacle(&family, &stack(&[("a.gguf", 0, 2)])).contains("another number"));
}

#[test]
fn layers_that_predict_further_tokens_keep_their_place() {
    let mut tiny = of_architecture("glm4", 4);
    tiny.metadata.insert("glm4.nextn_predict_layers", 1u32);
    let family = Family::of(&[&tiny]);
    assert!(obstacle(&family, &stack(&[("a.gguf", 1, 4)])).contains("further tokens"));
    family.plan(&stack(&[("a.gguf", 0, 4)]));
    tiny.metadata.insert("glm4.nextn_predict_layers", 0u32);
    Family::of(&[&tiny]).plan(&stack(&[("a.gguf", 1, 4)]));
}

#[test]
fn gains_go_where_the_graph_reads_them() {
    for arch in ["llama", "mistral3", "qwen3", "cohere2", "bitnet", "talkie"] {
        assert_eq!(gain_via(arch), Ok(GainVia::Scale), "{arch}");
    }
    for arch in ["gemma2", "gemma3", "olmo2", "exaone4", "glm4", "muse-glimmer", "gemma-embedding"] {
        assert_eq!(gain_via(arch), Ok(GainVia::PostNorms), "{arch}");
    }
    // gpt-oss and seed_oss call the norm before the feed-forward network `post_attention_norm`.
    for (arch, reason) in [
        ("qwen2", "feed-forward network"),
        ("seed_oss", "feed-forward network"),
        ("gpt-oss", "experts"),
        ("plamo3", "of its own"),
        ("plamo9", "not an architecture"),
    ] {
        assert!(gain_via(arch).unwrap_err().contains(reason), "{arch}");
    }
}
