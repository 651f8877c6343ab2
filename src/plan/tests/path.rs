//! Paths to plans: which tensors the hops get, where they live, and what carries the gains.

use std::collections::BTreeMap;

use ggraft_kernels::{GgmlType, Program};

use super::{Family, assert_close, names, planned, recipe, stack};
use crate::gguf::Strings;
use crate::gguf::tests::Tiny;
use crate::plan::{Home, Plan, PlanError, PlannedTensor};

/// Bytes of the tiny llama's parts by the sizes of ggml's blocks: 2 per F16, 4 per F32, 34 per 32 of Q8_0, 18 per 32 of Q4_0.
const EMBEDDINGS: u64 = 32 * 8 * 2;
const NORM: u64 = 32 * 4;
const BLOCK: u64 = NORM + 32 * 34 + 64 * 18;
/// The same blended: the matrices are Q8_0.
const MERGED_EMBEDDINGS: u64 = 8 * 34;
const MERGED_BLOCK: u64 = NORM + 32 * 34 + 64 * 34;

fn two(tiny: &Tiny) -> Family {
    Family::of(&[tiny, tiny])
}

fn merge_and_path(weight: f64, path: &str) -> String {
    let models = [("a.gguf", "weight: 1"), ("b.gguf", &*format!("weight: {weight}"))];
    recipe("linear", &models, &format!("path: [{path}]"))
}

fn pure(hops: &[(&str, u32, u32)]) -> String {
    let hop = |(m, from, to): &(&str, u32, u32)| format!("  - {{model: {m}, layers: [{from}, {to}]}}\n");
    format!("path:\n{}", hops.iter().map(hop).collect::<String>())
}

/// The tiny llama as another architecture, with more vectors in each block.
fn of(arch: &str, vectors: &[&str]) -> Tiny {
    let mut tiny = Tiny::called(arch);
    for (block, name) in (0..2).flat_map(|block| vectors.iter().map(move |name| (block, name))) {
        tiny.add(&format!("blk.{block}.{name}"), &[32], GgmlType::F32);
    }
    tiny
}

fn homes(plan: &Plan, is: impl Fn(Home) -> bool) -> Vec<&str> {
    plan.tensors.iter().filter(|t| is(t.home)).map(|t| t.info.name.as_str()).collect()
}

fn in_pool(plan: &Plan) -> BTreeMap<u64, &PlannedTensor> {
    let place = |tensor: &PlannedTensor| match tensor.home {
        Home::Pool(at) => Some(at),
        _ => None,
    };
    plan.tensors.iter().filter_map(|tensor| Some((place(tensor)?, tensor))).collect()
}

/// What makes the bytes at each place of the pool.
fn pooled(plan: &Plan) -> BTreeMap<u64, String> {
    let made = |t: &PlannedTensor| format!("{:?} {:?} {}", t.program, t.sources, t.info.ty);
    in_pool(plan).into_iter().map(|(at, tensor)| (at, made(tensor))).collect()
}

/// The values of `name` in each of the first `count` blocks; nothing where a block has no such tensor.
fn by_block(family: &Family, plan: &Plan, name: &str, count: usize) -> Vec<f32> {
    let names = (0..count).map(|block| format!("blk.{block}.{name}"));
    let there = names.filter(|name| plan.tensors.iter().any(|t| t.info.name == *name));
    there.flat_map(|name| family.merged(plan, &name)).collect()
}

#[test]
fn a_path_through_parents_is_the_model_of_the_same_slices() {
    let mut untied = Tiny::llama();
    untied.add("output.weight", &[32, 8], GgmlType::Q8_0);
    let family = two(&untied);
    for hops in [
        [("a.gguf", 1, 2), ("b.gguf", 0, 2), ("a.gguf", 1, 2), ("b.gguf", 0, 1)].as_slice(),
        &[("a.gguf", 1, 2), ("a.gguf", 0, 2), ("b.gguf", 1, 2)],
        &[("a.gguf", 0, 1), ("b.gguf", 1, 2)],
    ] {
        let (path, slices) = (family.plan(&pure(hops)), family.plan(&stack(hops)));
        let infos = |plan: &Plan| plan.tensors.iter().map(|t| t.info.clone()).collect::<Vec<_>>();
        assert_eq!(infos(&path), infos(&slices), "{hops:?}");
        assert_eq!(path.bare_header, slices.bare_header, "{hops:?}");
        let made = |p: &Plan| p.tensors.iter().map(|t| (t.program.clone(), t.sources.clone())).collect::<Vec<_>>();
        assert_eq!(made(&path), made(&slices), "{hops:?}");
        assert!(path.tensors.iter().all(|t| t.home == Home::Parent), "{hops:?}");
        assert_eq!((path.unique_blocks(), path.block_count()), (slices.unique_blocks(), slices.block_count()));
    }
    let plan = family.plan(&pure(&[("a.gguf", 1, 2), ("b.gguf", 0, 1)]));
    let parent = |name| planned(&plan, name).sources[0].parent;
    assert_eq!(["token_embd.weight", "output_norm.weight", "output.weight"].map(parent), [0, 1, 1]);
    let based = family.plan("base_model: a.gguf\npath: [{model: b.gguf}, {model: a.gguf, layer: 0}, {model: b.gguf}]");
    let parent = |name| planned(&based, name).sources[0].parent;
    assert_eq!(
        ["token_embd.weight", "blk.0.attn_q.weight", "output_norm.weight", "output.weight"].map(parent),
        [0, 1, 0, 0]
    );
}

#[test]
fn a_block_of_the_merge_has_one_place_for_all_hops_and_all_paths() {
    let family = two(&Tiny::llama());
    let plan = family.plan(&merge_and_path(3.0, "{layer: 0}, {layer: 0}, {model: b.gguf, layer: 1}, {layer: 1}"));
    let home = |name| planned(&plan, name).home;
    for part in ["attn_norm", "attn_q", "ffn_down"] {
        let homes = [0, 1, 2, 3].map(|block| planned(&plan, &format!("blk.{block}.{part}.weight")).home);
        assert!(matches!(homes[0], Home::Pool(_)) && homes[1] == homes[0] && homes[2] == Home::Parent);
        assert!(matches!(homes[3], Home::Pool(_)) && homes[3] != homes[0], "{part}");
    }
    assert!(matches!(home("token_embd.weight"), Home::Pool(_)) && homes(&plan, |h| h == Home::Own).is_empty());

    let mut end = 0;
    for (at, tensor) in in_pool(&plan) {
        assert!(at >= end && at % 32 == 0, "{at} lies in the tensor before");
        end = at + tensor.info.bytes;
    }
    assert!(end <= plan.pool_bytes);

    for path in ["{}", "{layer: 1, scale: 2}, {layer: 0}", "{model: a.gguf}, {layers: [0, 2]}, {layer: 1}"] {
        let other = family.plan(&merge_and_path(3.0, path));
        assert_eq!((pooled(&other), other.pool_bytes), (pooled(&plan), plan.pool_bytes), "{path}");
    }
    let shorter = family.plan(&merge_and_path(3.0, "{layer: 1}"));
    assert!(pooled(&shorter).len() < pooled(&plan).len(), "the merge's other block has a place but is not wanted");
    assert!(pooled(&shorter).iter().all(|(at, made)| pooled(&plan)[at] == *made));
    assert_ne!(pooled(&family.plan(&merge_and_path(4.0, "{}"))), pooled(&plan));

    let alone = family.plan(&merge_and_path(3.0, "{}").replace("path: [{}]", ""));
    assert!(!alone.shares() && alone.pool_bytes == 0);
    assert_eq!(alone.bare_header, family.plan(&merge_and_path(3.0, "{}")).bare_header);
    let unshared = family.plan(&merge_and_path(3.0, "{}, {}")).unshared();
    assert!(!unshared.shares() && unshared.pool_bytes == 0);
}

#[test]
fn one_gain_gives_every_hop_a_scale_and_none_gives_none() {
    const PATH: &str =
        "path: [{model: a.gguf, layer: 0}, {model: b.gguf, layer: 1, scale: 4}, {model: a.gguf, layer: 1}]";
    let family = two(&Tiny::llama());
    let both = |text: &str| {
        let plan = family.plan(text);
        assert!(homes(&plan, |home| home == Home::Own).iter().all(|name| name.ends_with(".scale")), "{text}");
        ["attn_output.scale", "ffn_down.scale"].map(|name| by_block(&family, &plan, name, 3))
    };
    assert_eq!(both(PATH), [vec![], vec![4.0, 1.0, 1.0]], "the embedding is not scaled, so attention is not");
    assert_eq!(both(&PATH.replace("layer: 0", "layer: 0, scale: 2")), [vec![0.5; 3], vec![2.0, 0.5, 0.5]]);
    assert_eq!(both(&format!("{PATH}\npath_scale: residual")), [vec![1.0, 0.25, 0.25], vec![1.0, 0.25, 0.25]]);
    for text in [PATH.replace("4", "1"), PATH.replace(", scale: 4", "")] {
        assert!(both(&text).iter().all(Vec::is_empty), "{text}");
    }
    let plan = family.plan(PATH);
    let scale = planned(&plan, "blk.2.ffn_down.scale");
    assert_eq!((&*scale.info.shape, scale.info.ty), (&[1][..], GgmlType::F32));
    assert_eq!(plan.bare_header, family.plan(&PATH.replace("4", "-7")).bare_header, "gains are no part of the shape");
}

#[test]
fn a_scale_or_bias_of_the_file_is_multiplied_and_becomes_the_hops_own() {
    const PATH: &str = "path: [{model: a.gguf, layer: 1, scale: 2}, {model: a.gguf, layer: 1}]\npath_scale: residual";
    let mut tiny = of("llama", &["attn_output.bias", "ffn_down.bias"]);
    tiny.add("blk.1.ffn_down.scale", &[1], GgmlType::F32);
    let family = Family::of(&[&tiny]);
    let plan = family.plan(PATH);
    for name in ["attn_output.bias", "ffn_down.scale"] {
        let want: Vec<f32> = family.values(0, &format!("blk.1.{name}")).iter().map(|v| v * 0.5).collect();
        for block in 0..2 {
            let name = format!("blk.{block}.{name}");
            assert_eq!(family.merged(&plan, &name), want, "{name}");
            assert_eq!(
                (planned(&plan, &name).home, plan.tensors.iter().filter(|t| t.info.name == name).count()),
                (Home::Own, 1)
            );
        }
    }
    assert_eq!(by_block(&family, &plan, "attn_output.scale", 2), [0.5, 0.5]);
    assert_eq!(planned(&plan, "blk.0.ffn_down.bias").home, Home::Parent, "added before the scale works");
    assert_eq!(plan.unique_blocks(), 1);
}

#[test]
fn norms_behind_the_outputs_carry_the_gains_where_there_are_some() {
    const NORMS: [&str; 2] = ["post_attention_norm.weight", "post_ffw_norm.weight"];
    const PATH: &str = "path: [{model: a.gguf, layer: 0}, {model: b.gguf, layer: 1, scale: 2}]\npath_scale: residual";
    let family = two(&of("gemma3", &NORMS));
    let plan = family.plan(PATH);
    assert!(!names(&plan).iter().any(|name| name.ends_with(".scale")));
    for name in NORMS {
        assert_eq!(family.merged(&plan, &format!("blk.0.{name}")), family.values(0, &format!("blk.0.{name}")));
        let want: Vec<f32> = family.values(1, &format!("blk.1.{name}")).iter().map(|v| v * 0.5).collect();
        assert_eq!(family.merged(&plan, &format!("blk.1.{name}")), want, "with the 1 that is stored on top");
        for block in 0..2 {
            let tensor = planned(&plan, &format!("blk.{block}.{name}"));
            assert!(matches!(tensor.program, Program::Scaled { .. }) && tensor.home == Home::Own, "{name}");
        }
    }
    assert_eq!(homes(&plan, |home| home == Home::Own).len(), 4);

    // Of the merge too; mlp_output with a first scale of 1 leaves attention alone.
    let plan = family.plan(&merge_and_path(3.0, "{layer: 1}, {layer: 1, scale: 2}"));
    let plain = family.plan(&merge_and_path(3.0, "{layer: 1}, {layer: 1}"));
    let twice: Vec<f32> = family.merged(&plain, "blk.0.post_ffw_norm.weight").iter().map(|v| v * 2.0).collect();
    assert_close(&family.merged(&plan, "blk.0.post_ffw_norm.weight"), &twice, 1e-6);
    assert_eq!(
        planned(&plan, "blk.0.post_attention_norm.weight").home,
        planned(&plan, "blk.1.post_attention_norm.weight").home
    );
    assert_eq!(homes(&plan, |home| home == Home::Own).len(), 2);
}

#[test]
fn models_without_a_place_for_gains_refuse_them_and_nothing_else() {
    let norms = ["post_attention_norm.weight"];
    for tiny in [of("llama", &["ffn_gate_inp.weight"]), of("qwen2", &[]), of("gemma3", &norms), of("gemma3", &[])] {
        let family = two(&tiny);
        let arch = family.parents()[0].architecture();
        let path = "path: [{model: a.gguf, layer: 0}, {model: b.gguf, layer: 1, scale: 2}]";
        match family.try_plan(path) {
            Err(PlanError::Gain { architecture, .. }) => assert_eq!(architecture, arch),
            other => panic!("{arch}: {other:?}"),
        }
        family.plan(&path.replace(", scale: 2", ""));
        family.plan(&path.replace("scale: 2", "scale: 1"));
    }
}

#[test]
fn a_norm_of_a_type_that_cannot_be_decoded_is_refused_a_gain() {
    let mut tiny = Tiny::called("gemma3");
    for (block, ty) in [(0, GgmlType::F32), (1, GgmlType::I32)] {
        tiny.add(&format!("blk.{block}.post_attention_norm.weight"), &[32], ty);
        tiny.add(&format!("blk.{block}.post_ffw_norm.weight"), &[32], ty);
    }
    let path = "path: [{model: a.gguf, layer: 0}, {model: b.gguf, layer: 1, scale: 2}]";
    match two(&tiny).try_plan(path) {
        Err(PlanError::SourceType { tensor, ty: "i32" }) => assert_eq!(tensor, "blk.1.post_ffw_norm.weight"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_count_once_however_often_a_path_passes_them() {
    let family = two(&Tiny::llama());
    let bytes = |p: &Plan| (p.unique_blocks(), p.weight_bytes(), p.written_bytes(), p.source_bytes(family.parents()));
    let hops = [("a.gguf", 0, 2), ("a.gguf", 1, 2), ("b.gguf", 0, 1)];
    let outer = EMBEDDINGS + NORM;
    let plan = family.plan(&pure(&hops));
    assert_eq!(bytes(&plan), (3, outer + 3 * BLOCK, 0, 0));
    // One number for each of four feed-forward networks.
    let scaled = family.plan(&pure(&hops).replace("[1, 2]", "[1, 2], scale: 2"));
    assert_eq!(bytes(&scaled), (3, outer + 3 * BLOCK + 4 * 4, 4 * 4, 0));
    assert_eq!(bytes(&plan.unshared()), (3, outer + 4 * BLOCK, outer + 4 * BLOCK, outer + 4 * BLOCK));

    let plan = family.plan(&merge_and_path(3.0, "{layer: 0}, {layer: 0}, {model: b.gguf, layer: 1}"));
    let written = MERGED_EMBEDDINGS + NORM + MERGED_BLOCK;
    assert_eq!(bytes(&plan), (2, written + BLOCK, written, 2 * (outer + BLOCK)));
    let all = written + MERGED_BLOCK + BLOCK;
    assert_eq!(bytes(&plan.unshared()), (2, all, all, 2 * (outer + 2 * BLOCK) + BLOCK));
}

#[test]
fn token_tables_of_different_vocabularies_come_from_one_model() {
    let mut own = Tiny::llama();
    let tokens: Vec<_> = (0..8u8).map(|id| vec![b'u', b'0' + id]).collect();
    let mut other = own.clone();
    other.metadata.insert("tokenizer.ggml.tokens", tokens.iter().map(Vec::as_slice).collect::<Strings>());
    let over = pure(&[("a.gguf", 0, 1), ("b.gguf", 1, 2)]);
    Family::of(&[&own, &other]).plan(&over);
    own.add("output.weight", &[32, 8], GgmlType::Q8_0);
    other.add("output.weight", &[32, 8], GgmlType::Q8_0);
    let family = Family::of(&[&own, &other]);
    assert!(matches!(family.try_plan(&over), Err(PlanError::Different(_))));
    let plan = family.plan(&format!("base_model: a.gguf\n{over}"));
    assert_eq!((planned(&plan, "output.weight").sources[0].parent, plan.vocabulary), (0, 0));
    family.plan(&pure(&[("a.gguf", 0, 1), ("b.gguf", 1, 2), ("a.gguf", 0, 1)]));
}

#[test]
fn parents_whose_data_llama_cpp_cannot_point_at_are_copied() {
    let misaligned = |length: usize| {
        let mut tiny = Tiny { alignment: 8, ..Tiny::llama() };
        tiny.metadata.insert("general.name", "x".repeat(length).as_str());
        Some(Family::of(&[&tiny])).filter(|f| !(f.parents()[0].view(0).data.as_ptr() as usize).is_multiple_of(32))
    };
    let family = [0, 8].into_iter().find_map(misaligned).expect("eight bytes more move the data");
    let plan = family.plan(&pure(&[("a.gguf", 1, 2), ("a.gguf", 0, 2)]));
    assert!(homes(&plan, |home| home == Home::Parent).is_empty());
    for block in 0..3 {
        let name = |block| format!("blk.{block}.ffn_down.weight");
        assert_eq!(family.merged(&plan, &name(block)), family.values(0, &name([1, 0, 1][block])));
    }
    assert_eq!((plan.block_count(), plan.unique_blocks()), (3, 2));
}
