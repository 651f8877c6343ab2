//! From recipes and tiny parents with drawn weights to plans: what is copied, in which order, and what is refused.

mod experts;
mod gemma;
mod outputs;
mod path;
mod property;
mod schedule;
mod siblings;
mod statistics;
mod task_vectors;
mod types;
mod vocabulary;

use std::fs;
use std::path::Path;

use ggraft_kernels::{GgmlType, Program, Source, Term, run};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{Plan, PlanError, PlannedTensor, Siblings};
use crate::ggml::CODECS;
use crate::gguf::Parent;
use crate::gguf::tests::{Tiny, folder};
use crate::recipe::methods::{BaseRule, ParameterSpec};
use crate::recipe::{MethodSpec, Recipe};

/// `count` values from -1 to 1 that depend on `key` alone.
pub(crate) fn draw(key: &str, count: usize) -> Vec<f32> {
    let mut rng = ChaCha12Rng::from_seed(Sha256::digest(key).into());
    (0..count).map(|_| rng.next_u32() as f32 / 2f32.powi(31) - 1.0).collect()
}

/// Values as blocks of type `ty`.
pub(crate) fn encode(ty: GgmlType, values: &[f32]) -> Vec<u8> {
    let source: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    convert(GgmlType::F32, &source, ty, values.len())
}

/// Blocks of type `ty` as values.
pub(crate) fn decode(ty: GgmlType, data: &[u8]) -> Vec<f32> {
    let count = data.len() / ty.type_size() * ty.block_size();
    let bytes = convert(ty, data, GgmlType::F32, count);
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn convert(from: GgmlType, data: &[u8], to: GgmlType, count: usize) -> Vec<u8> {
    let same = Program::Sum { terms: vec![Term { source: 0, coefficient: 1.0 }], constant: 0.0 };
    let mut out = vec![0; to.row_size(count).unwrap()];
    run(&same, &[Source::new(from, data)], to, 0..count, &mut out, &CODECS);
    out
}

/// Writes `tiny` with the values that `values` gives a tensor of that name and size, and opens it; integer tensors stay as they are.
pub(crate) fn filled(tiny: &Tiny, folder: &TempDir, name: &str, values: impl Fn(&str, usize) -> Vec<f32>) -> Parent {
    let mut bytes = tiny.bytes();
    let data_len: u64 = tiny.tensors.iter().map(|t| t.bytes.next_multiple_of(u64::from(tiny.alignment))).sum();
    let mut at = bytes.len() - data_len as usize;
    for info in &tiny.tensors {
        if !info.ty.is_integer() {
            let data = encode(info.ty, &values(&info.name, info.elements() as usize));
            bytes[at..at + data.len()].copy_from_slice(&data);
        }
        at += info.bytes.next_multiple_of(u64::from(tiny.alignment)) as usize;
    }
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    Parent::open(path).unwrap()
}

/// The parent `name` of drawn weights, different for every name.
pub(crate) fn drawn(tiny: &Tiny, folder: &TempDir, name: &str) -> Parent {
    filled(tiny, folder, name, |tensor, count| draw(&format!("{name} {tensor}"), count))
}

/// Parents in a folder that lives as long as they do.
pub(crate) struct Family {
    pub(crate) folder: TempDir,
    pub(crate) siblings: Siblings,
}

impl Family {
    /// Drawn parents `a.gguf`, `b.gguf`, ... of these shapes.
    pub(crate) fn of(tinies: &[&Tiny]) -> Self {
        Self::try_of(tinies).unwrap()
    }

    fn try_of(tinies: &[&Tiny]) -> Result<Self, PlanError> {
        let folder = folder();
        let parents = ["a.gguf", "b.gguf", "c.gguf"].iter().zip(tinies).map(|(name, tiny)| drawn(tiny, &folder, name));
        let siblings = Siblings::new(parents.collect())?;
        Ok(Self { folder, siblings })
    }

    /// Parents of one shape with values by parent's number and tensor.
    pub(crate) fn with(tiny: &Tiny, count: usize, values: impl Fn(usize, &str, usize) -> Vec<f32>) -> Self {
        let folder = folder();
        let parents = ["a.gguf", "b.gguf", "c.gguf"].iter().enumerate().take(count);
        let parents = parents.map(|(i, name)| filled(tiny, &folder, name, |tensor, n| values(i, tensor, n)));
        let siblings = Siblings::new(parents.collect()).unwrap();
        Self { folder, siblings }
    }

    /// The same with exact order statistics.
    fn exact(self) -> Self {
        Self { siblings: self.siblings.exact(), ..self }
    }

    pub(crate) fn parents(&self) -> &[Parent] {
        self.siblings.parents()
    }

    pub(crate) fn try_plan(&self, recipe: &str) -> Result<Plan, PlanError> {
        self.siblings.plan(&Recipe::parse(recipe, Path::new("r.yaml")).unwrap_or_else(|e| panic!("{e}\n{recipe}")))
    }

    /// The plan of a recipe that must name the parents in their order.
    pub(crate) fn plan(&self, recipe: &str) -> Plan {
        self.try_plan(recipe).unwrap_or_else(|e| panic!("{e}\n{recipe}"))
    }

    /// What a tensor of parent `parent` holds.
    pub(crate) fn values(&self, parent: usize, tensor: &str) -> Vec<f32> {
        let view = self.parents()[parent].tensor(tensor).unwrap_or_else(|| panic!("no tensor `{tensor}`"));
        decode(view.info.ty, view.data)
    }

    /// What `plan` makes of tensor `name`.
    pub(crate) fn merged(&self, plan: &Plan, name: &str) -> Vec<f32> {
        let tensor = planned(plan, name);
        let mut out = vec![0; tensor.info.bytes as usize];
        let sources = tensor.source_data(self.parents());
        run(&tensor.program, &sources, tensor.info.ty, 0..tensor.elements(), &mut out, &CODECS);
        decode(tensor.info.ty, &out)
    }
}

pub(crate) fn planned<'a>(plan: &'a Plan, name: &str) -> &'a PlannedTensor {
    plan.tensors.iter().find(|t| t.info.name == name).unwrap_or_else(|| panic!("no tensor `{name}` in the plan"))
}

/// A recipe of all layers: `models` with the YAML of their parameters, and more lines.
pub(crate) fn recipe(method: &str, models: &[(&str, &str)], more: &str) -> String {
    let models: String = models.iter().map(|(m, p)| format!("  - {{model: {m}, parameters: {{{p}}}}}\n")).collect();
    format!("merge_method: {method}\nmodels:\n{models}{more}\n")
}

/// A recipe of `method` over the base `a.gguf` and as many other models as it takes, with parameters that all make a difference. `set` gives
/// parameters other values.
pub(crate) fn example(method: &MethodSpec, set: impl Fn(&ParameterSpec) -> Option<String>, more: &str) -> String {
    let value = |spec: &ParameterSpec| {
        let own = match spec.name {
            "weight" => Some("0.7".to_owned()),
            "density" => Some("0.5".to_owned()),
            "gamma" | "epsilon" if spec.per_model => Some("0.1".to_owned()),
            "scale" | "t" => Some("0.3".to_owned()),
            "select_topk" => Some("0.6".to_owned()),
            _ => None,
        };
        set(spec).or(own).map(|value| format!("{}: {value}", spec.name))
    };
    let listed = |per_model: bool| -> String {
        let values = method.parameters.iter().filter(|spec| spec.per_model == per_model).filter_map(value);
        values.collect::<Vec<_>>().join(", ")
    };
    let own = listed(true);
    let base = method.base != BaseRule::Ignored;
    let taken = method.inputs.max.map_or(3, |max| max + usize::from(base && !method.inputs.with_base));
    let parameters = |i: usize| if base && i == 0 { "" } else { &*own };
    let models: Vec<(&str, &str)> = ["a.gguf", "b.gguf", "c.gguf"]
        .into_iter()
        .take(taken)
        .enumerate()
        .map(|(i, model)| (model, parameters(i)))
        .collect();
    let base = if base { "base_model: a.gguf\n" } else { "" };
    recipe(method.name, &models, &format!("{base}parameters: {{{}}}\n{more}", listed(false)))
}

/// A passthrough of layer ranges.
pub(crate) fn stack(pieces: &[(&str, u32, u32)]) -> String {
    let slice =
        |(m, from, to): &(&str, u32, u32)| format!("  - sources: [{{model: {m}, layer_range: [{from}, {to}]}}]\n");
    format!("merge_method: passthrough\nslices:\n{}", pieces.iter().map(slice).collect::<String>())
}

fn is_copy(tensor: &PlannedTensor) -> bool {
    matches!(tensor.program, Program::Copy { source: 0 }) && tensor.sources.len() == 1
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.tensors.iter().map(|t| t.info.name.as_str()).collect()
}

#[test]
fn single_source_at_full_weight_is_copied_whatever_the_method() {
    let family = Family::of(&[&Tiny::llama()]);
    for text in [
        recipe("linear", &[("a.gguf", "weight: 1")], ""),
        recipe("linear", &[("a.gguf", "weight: 0.7")], ""),
        recipe("passthrough", &[("a.gguf", "")], ""),
        recipe("task_arithmetic", &[("a.gguf", "")], "base_model: a.gguf"),
        recipe("ties", &[("a.gguf", "")], "base_model: a.gguf"),
        recipe("dare_ties", &[("a.gguf", "")], "base_model: a.gguf"),
        recipe("breadcrumbs", &[("a.gguf", "")], "base_model: a.gguf"),
        recipe("della", &[("a.gguf", "")], "base_model: a.gguf"),
        recipe("sce", &[("a.gguf", "")], "base_model: a.gguf"),
        recipe("ram", &[("a.gguf", "")], "base_model: a.gguf"),
        recipe("ramplus_tl", &[("a.gguf", "")], "base_model: a.gguf"),
        recipe("multislerp", &[("a.gguf", "weight: 0.7")], ""),
        recipe("karcher", &[("a.gguf", "")], ""),
    ] {
        let plan = family.plan(&text);
        assert!(plan.tensors.iter().all(is_copy), "{text}");
        let types = |i: &PlannedTensor| i.info.ty;
        let own: Vec<GgmlType> = family.parents()[0].tensors().iter().map(|t| t.ty).collect();
        assert_eq!(plan.tensors.iter().map(types).collect::<Vec<_>>(), own, "{text}");
    }
    let scaled = family.plan(&recipe("linear", &[("a.gguf", "weight: 0.7")], "parameters: {normalize: false}"));
    assert!(!scaled.tensors.iter().any(is_copy), "0.7 of a model is no copy");
    let name = "blk.1.attn_q.weight";
    let want = family.values(0, name).iter().map(|v| v * 0.7).collect::<Vec<_>>();
    assert_close(&family.merged(&scaled, name), &want, 1e-2);
}

/// Equal within `tolerance`.
pub(crate) fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "element {i} is {g}, not {w}");
    }
}

#[test]
fn tensors_stand_in_the_order_of_the_template_with_blocks_renumbered() {
    let mut tiny = Tiny::llama();
    tiny.add("output.weight", &[32, 8], GgmlType::Q8_0);
    let family = Family::of(&[&tiny, &tiny]);
    let plan = family.plan(&stack(&[("a.gguf", 0, 2), ("b.gguf", 1, 2)]));
    let block = |i: u32| ["attn_norm", "attn_q", "ffn_down"].map(|m| format!("blk.{i}.{m}.weight"));
    let want: Vec<String> = ["token_embd.weight".to_owned()]
        .into_iter()
        .chain((0..3).flat_map(block))
        .chain(["output_norm.weight", "output.weight"].map(str::to_owned))
        .collect();
    assert_eq!(names(&plan), want);
    assert!(plan.tensors.windows(2).all(|w| w[1].info.offset >= w[0].info.offset + w[0].info.bytes));
    let from = |name| planned(&plan, name).sources[0].parent;
    assert_eq!([from("token_embd.weight"), from("blk.0.attn_q.weight")], [0, 0], "embeddings follow the first slice");
    assert_eq!([from("blk.2.attn_q.weight"), from("output.weight")], [1, 1], "the output follows the last slice");
    assert_eq!(family.merged(&plan, "blk.2.ffn_down.weight"), family.values(1, "blk.1.ffn_down.weight"));
}

#[test]
fn tied_embeddings_stay_tied() {
    let family = Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let text = recipe("linear", &[("a.gguf", "weight: 1"), ("b.gguf", "weight: 3")], "out_type: f32");
    let plan = family.plan(&text);
    assert!(!names(&plan).contains(&"output.weight"));
    let (a, b) = (family.values(0, "token_embd.weight"), family.values(1, "token_embd.weight"));
    let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 0.25 * a + 0.75 * b).collect();
    assert_close(&family.merged(&plan, "token_embd.weight"), &want, 1e-6);
}

#[test]
fn unique_blocks_count_repeated_layers_once() {
    let family = Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let plan = family.plan(&stack(&[("a.gguf", 0, 2), ("a.gguf", 1, 2), ("b.gguf", 1, 2)]));
    assert_eq!((plan.block_count(), plan.unique_blocks()), (4, 3));
    let plan = family.plan(&stack(&[("a.gguf", 0, 1), ("a.gguf", 0, 1)]).replace("]}", "], parameters: {scale: 1}}"));
    assert_eq!((plan.block_count(), plan.unique_blocks()), (2, 1));
}

#[test]
fn source_bytes_count_what_a_fill_reads() {
    let family = Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let parents = family.parents();
    let all: u64 = parents[0].tensors().iter().map(|t| t.bytes).sum();
    assert_eq!(family.plan(&stack(&[("a.gguf", 0, 2)])).source_bytes(parents), all);
    let blend = family.plan(&recipe("linear", &[("a.gguf", "weight: 1"), ("b.gguf", "weight: 1")], ""));
    assert_eq!(blend.source_bytes(parents), 2 * all);
    let block: u64 = parents[0].tensors().iter().filter(|t| t.name.starts_with("blk.1.")).map(|t| t.bytes).sum();
    let twice = family.plan(&stack(&[("a.gguf", 0, 2), ("a.gguf", 1, 2)]));
    assert_eq!((twice.source_bytes(parents), twice.weight_bytes()), (0, all), "a stack of copies stays in its parents");
    assert_eq!(twice.unshared().source_bytes(parents), all + block);
}

#[test]
fn rope_tables_are_copied_not_blended() {
    let mut tiny = Tiny::llama();
    tiny.add("rope_freqs.weight", &[4], GgmlType::F32);
    let family = Family::with(&tiny, 2, |parent, name, count| {
        let key = if name == "rope_freqs.weight" { name.to_owned() } else { format!("{parent} {name}") };
        draw(&key, count)
    });
    let models = [("a.gguf", "weight: 0.5"), ("b.gguf", "weight: 0.1")];
    let plan = family.plan(&recipe("linear", &models, "parameters: {normalize: false}"));
    assert!(is_copy(planned(&plan, "rope_freqs.weight")));
    assert_eq!(family.merged(&plan, "rope_freqs.weight"), family.values(0, "rope_freqs.weight"));
    let scaled = family.plan(&recipe("passthrough", &[("a.gguf", "scale: 0.5")], ""));
    assert!(is_copy(planned(&scaled, "rope_freqs.weight")) && !is_copy(planned(&scaled, "output_norm.weight")));
}

#[test]
fn integer_tensors_are_copied_from_one_source_and_never_blended() {
    let mut tiny = Tiny::llama();
    tiny.add("blk.0.expert_ids.weight", &[32], GgmlType::I32);
    let family = Family::of(&[&tiny, &tiny]);
    let plan = family.plan(&recipe("passthrough", &[("a.gguf", "scale: 2")], ""));
    let table = planned(&plan, "blk.0.expert_ids.weight");
    assert!(is_copy(table));
    assert_eq!(table.info.ty, GgmlType::I32);
    let error = family.try_plan(&recipe("linear", &[("a.gguf", "weight: 1"), ("b.gguf", "weight: 1")], ""));
    match error.unwrap_err() {
        PlanError::SourceType { tensor, ty } => assert_eq!((&*tensor, ty), ("blk.0.expert_ids.weight", "i32")),
        other => panic!("{other}"),
    }
}

#[test]
fn weights_without_a_sum_are_refused_by_tensor() {
    let family = Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let rules = "weight: [{filter: down_proj, value: -1}, {value: 2}]";
    let error = family.try_plan(&recipe("linear", &[("a.gguf", "weight: 1"), ("b.gguf", rules)], "")).unwrap_err();
    match &error {
        PlanError::Undefined { tensor, problem } => {
            assert_eq!(tensor, "blk.0.ffn_down.weight");
            assert!(problem.contains("sum to 0"), "{problem}");
        }
        other => panic!("{other}"),
    }
    assert!(error.to_string().starts_with("tensor `blk.0.ffn_down.weight`: "), "{error}");
}

#[test]
fn factors_beyond_single_precision_are_refused() {
    let family = Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let two = |a, b| [("a.gguf", a), ("b.gguf", b)];
    for text in [
        recipe("linear", &two("weight: 1e39", "weight: 1"), "parameters: {normalize: false}"),
        recipe("linear", &two("weight: 1e308", "weight: 1e308"), ""),
        recipe("passthrough", &[("a.gguf", "scale: -1e300")], ""),
        recipe("task_arithmetic", &two("", "weight: 1e30"), "base_model: a.gguf\nparameters: {lambda: 1e30}"),
        recipe("ties", &two("", "weight: 1e39"), "base_model: a.gguf"),
        recipe("dare_ties", &two("", "weight: 1"), "base_model: a.gguf\nparameters: {lambda: 1e39}"),
    ] {
        let error = family.try_plan(&text).map(|plan| plan.tensors[0].program.clone());
        assert!(
            matches!(&error, Err(PlanError::Undefined { tensor, .. }) if tensor == "token_embd.weight"),
            "{error:?}\n{text}"
        );
    }
}
