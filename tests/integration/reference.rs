//! Every recorded case of mergekit 0.1.5, taken from recipe file to exported GGUF and compared number by number.
//!
//! All of these cases are finite. Where mergekit would answer with NaN (weights that sum to zero), ggraft refuses.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ggraft::image;
use ggraft::open::{Kind, Model};
use ggraft::recipe::METHODS;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::{Folder, Tiny, ggraft, values};

/// Greatest difference allowed; an f64 re-implementation comes within 3e-7 of mergekit's f32.
const TOLERANCE: f32 = 2e-6;

#[derive(Deserialize)]
struct Reference {
    tensors: BTreeMap<String, Tensor>,
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize)]
struct Tensor {
    /// Row-major: the row is the last dimension.
    shape: Vec<u64>,
    #[serde(deserialize_with = "floats")]
    data: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    method: String,
    inputs: Vec<String>,
    base: Option<String>,
    params: Map<String, Value>,
    per_input: BTreeMap<String, BTreeMap<String, f64>>,
    output: Tensor,
    finite: bool,
    #[serde(default)]
    masks: BTreeMap<String, Mask>,
    #[serde(default)]
    keep_prob: BTreeMap<String, Tensor>,
}

#[derive(Deserialize)]
struct Mask {
    #[serde(deserialize_with = "bytes")]
    u8: Vec<u8>,
}

fn bytes<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(d)?).map_err(serde::de::Error::custom)
}

fn floats<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<f32>, D::Error> {
    Ok(bytes(d)?.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn load() -> Reference {
    let text = include_str!("../data/merge_reference.json");
    serde_json::from_str(text).unwrap()
}

/// The name that a reference tensor gets in a model: a matrix or a vector of block 0.
fn name_of(tensor: &Tensor) -> &'static str {
    if tensor.shape.len() == 1 { "blk.0.attn_norm.weight" } else { "blk.0.ffn_down.weight" }
}

fn write_model(path: &Path, tensor: &Tensor) {
    let mut tiny = Tiny::bare();
    let shape: Vec<u64> = tensor.shape.iter().rev().copied().collect();
    tiny.add(name_of(tensor), &shape, tensor.data.clone());
    tiny.write(path);
}

/// Merges as a user does: one GGUF per input, a recipe file, an exported GGUF. Returns the tensor in question.
fn merge(case: &Case, tensors: &BTreeMap<String, Tensor>) -> Vec<f32> {
    let folder = Folder::new();
    let models: Vec<Value> = case
        .inputs
        .iter()
        .map(|input| {
            write_model(&folder.path(&format!("{input}.gguf")), &tensors[input]);
            let own = |(parameter, by_model): (&String, &BTreeMap<String, f64>)| {
                Some((parameter.clone(), json!(by_model.get(input)?)))
            };
            let parameters: Map<String, Value> = case.per_input.iter().filter_map(own).collect();
            json!({ "model": format!("{input}.gguf"), "parameters": parameters })
        })
        .collect();
    // JSON is YAML too.
    let mut recipe =
        json!({ "merge_method": case.method, "models": models, "parameters": case.params, "out_type": "f32" });
    if let Some(base) = &case.base {
        recipe["base_model"] = json!(format!("{base}.gguf"));
    }
    let model =
        Model::open(&folder.write("recipe.yaml", recipe.to_string())).unwrap_or_else(|e| panic!("{}: {e}", case.id));
    let Kind::Recipe(merged) = &model.kind else { panic!("a recipe") };
    let out = folder.path("merged.gguf");
    image::export(&merged.plan, merged.siblings.parents(), &out).unwrap();
    values(&out, name_of(&case.output))
}

fn compare(id: &str, got: &[f32], wanted: &[f32]) {
    assert_eq!(got.len(), wanted.len(), "{id}");
    let worst =
        got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, |worst, d| if d <= worst { worst } else { d });
    assert!(worst <= TOLERANCE, "{id}: off by {worst}");
}

/// Runs all cases of `method` that have no random mask; `count` is how many there are.
fn check(method: &str, count: usize) {
    let Reference { tensors, cases } = load();
    let cases: Vec<Case> = cases.into_iter().filter(|c| c.method == method && c.masks.is_empty()).collect();
    assert_eq!(cases.len(), count);
    for case in cases {
        assert!(case.finite, "{}: say here what ggraft does instead of NaN", case.id);
        compare(&case.id, &merge(&case, &tensors), &case.output.data);
    }
}

/// All cases without random masks, by method; the rest are below.
#[test]
fn every_deterministic_case_is_mergekits() {
    let counts = [
        ("linear", 8),
        ("slerp", 15),
        ("nuslerp", 13),
        ("multislerp", 7),
        ("karcher", 7),
        ("task_arithmetic", 4),
        ("ties", 13),
        ("dare_linear", 2),
        ("dare_ties", 3),
        ("breadcrumbs", 6),
        ("breadcrumbs_ties", 6),
        ("della", 2),
        ("della_linear", 2),
        ("model_stock", 8),
        ("sce", 7),
        ("nearswap", 5),
        ("arcee_fusion", 2),
        ("passthrough", 4),
        ("ram", 4),
        ("ramplus_tl", 4),
    ];
    assert!(counts.iter().map(|(method, _)| *method).eq(METHODS.iter().map(|method| method.name)));
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<usize>() + RECORDED_MASKS, 134);
    for (method, count) in counts {
        check(method, count);
    }
}

/// Cases with masks.
const RECORDED_MASKS: usize = 12;

/// ggraft draws masks of its own, so mergekit's recorded ones are applied to the inputs here, with the L1 rescale, and the rest is merged
/// at density 1. This shows that election, weights, `normalize` and `lambda` are mergekit's on thinned-out task vectors. It does not
/// show ggraft's own masks and rescale: the tests below do, as far as one can without equal random numbers.
#[test]
fn dare_and_della_on_recorded_masks_are_mergekits() {
    let Reference { mut tensors, cases } = load();
    let cases: Vec<Case> = cases.into_iter().filter(|c| !c.masks.is_empty()).collect();
    assert_eq!(cases.len(), RECORDED_MASKS);
    for mut case in cases {
        let base = tensors[case.base.as_ref().unwrap()].data.clone();
        for (input, mask) in &case.masks {
            let thinned = format!("{input}.{}", case.id);
            let mut tensor = tensors[input].clone();
            let deltas: Vec<f32> = tensor.data.iter().zip(&base).map(|(x, b)| x - b).collect();
            let kept: Vec<f32> = deltas.iter().zip(&mask.u8).map(|(d, m)| d * f32::from(*m)).collect();
            let l1 = |v: &[f32]| v.iter().map(|x| f64::from(x.abs())).sum::<f64>();
            let rescale = if case.params.get("rescale") == Some(&json!(false)) { 1.0 } else { l1(&deltas) / l1(&kept) };
            tensor.data = base.iter().zip(&kept).map(|(b, d)| b + d * rescale as f32).collect();
            tensors.insert(thinned.clone(), tensor);
            *case.inputs.iter_mut().find(|i| *i == input).unwrap() = thinned.clone();
            let weight = case.per_input.get_mut("weight").unwrap();
            weight.insert(thinned, weight[input]);
        }
        case.per_input.remove("density");
        compare(&case.id, &merge(&case, &tensors), &case.output.data);
    }
}

/// mergekit's recorded probabilities against how often ggraft keeps an element: the reference tensors many times over, in one matrix.
#[test]
fn della_keeps_elements_as_often_as_mergekit_says() {
    const TIMES: usize = 1500;
    let Reference { tensors, cases } = load();
    let mut checked = 0;
    for case in cases.iter().filter(|case| case.method == "della_linear") {
        for (input, probabilities) in &case.keep_prob {
            let folder = Folder::new();
            let base = case.base.as_ref().unwrap();
            for name in [base, input] {
                let Tensor { shape, data } = &tensors[name];
                let row = *shape.last().unwrap();
                let shape = vec![TIMES as u64 * data.len() as u64 / row, row];
                write_model(&folder.path(&format!("{name}.gguf")), &Tensor { shape, data: data.repeat(TIMES) });
            }
            let own = |parameter: &str| case.per_input[parameter][input];
            let recipe = json!({
                "merge_method": "della_linear", "base_model": format!("{base}.gguf"), "out_type": "f32", "parameters": { "rescale": false },
                "models": [{ "model": format!("{input}.gguf"),
                    "parameters": { "weight": 1.0, "density": own("density"), "epsilon": own("epsilon") } }],
            });
            let out = folder.path("out.gguf");
            let recipe = folder.write("recipe.yaml", recipe.to_string());
            let done = ggraft(["export".as_ref(), recipe.as_os_str(), "-o".as_ref(), out.as_os_str()]);
            assert_eq!(done.code(), 0, "{done:?}");
            let merged = values(&out, "blk.0.ffn_down.weight");
            for (i, p) in probabilities.data.iter().enumerate() {
                let base = tensors[base].data[i];
                let kept = merged.iter().skip(i).step_by(probabilities.data.len()).filter(|m| **m != base).count();
                let (wanted, sigma) = (f64::from(*p) * TIMES as f64, (f64::from(p * (1.0 - p)) * TIMES as f64).sqrt());
                assert!((kept as f64 - wanted).abs() < 5.0 * sigma, "{input}, element {i}: {kept} of {TIMES}, not {p}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 3 * (512 + 64));
}

/// The result of `dare_ties` where every delta of two models is 1: at each element the number of models that kept theirs.
fn kept(density: f64, rescale: bool) -> [Vec<f32>; 2] {
    let folder = Folder::new();
    let elements: u64 = 1 << 20;
    for (name, value) in [("base", 0.0), ("a", 1.0), ("b", 1.0)] {
        let mut tiny = Tiny::bare();
        for tensor in ["blk.0.ffn_up.weight", "blk.0.ffn_down.weight"] {
            tiny.add(tensor, &[1024, elements / 1024], vec![value; elements as usize]);
        }
        tiny.write(&folder.path(&format!("{name}.gguf")));
    }
    let models =
        ["a.gguf", "b.gguf"].map(|m| json!({ "model": m, "parameters": { "weight": 1.0, "density": density } }));
    let recipe = json!({
        "merge_method": "dare_ties", "base_model": "base.gguf", "models": models, "parameters": { "rescale": rescale }, "out_type": "f32",
    });
    let recipe = folder.write("recipe.yaml", recipe.to_string());
    let out = folder.path("out.gguf");
    let done = ggraft(["export".as_ref(), recipe.as_os_str(), "-o".as_ref(), out.as_os_str()]);
    assert_eq!(done.code(), 0, "{done:?}");
    ["blk.0.ffn_up.weight", "blk.0.ffn_down.weight"].map(|tensor| values(&out, tensor))
}

#[test]
fn dare_keeps_the_share_that_density_says_and_draws_anew_for_every_model_and_tensor() {
    for density in [0.1, 0.5, 0.9] {
        let [up, down] = kept(density, false);
        let n = up.len() as f64;
        let share = |wanted: f32| up.iter().filter(|x| **x == wanted).count() as f64 / n;
        // Independent masks: both keep an element with density², exactly one with 2·density·(1 − density). Five standard deviations.
        for (models, p) in
            [(2.0, density * density), (1.0, 2.0 * density * (1.0 - density)), (0.0, (1.0 - density).powi(2))]
        {
            let (found, sigma) = (share(models), (p * (1.0 - p) / n).sqrt());
            assert!(
                (found - p).abs() < 5.0 * sigma,
                "density {density}: {found} of the elements kept by {models} models, not {p}"
            );
        }
        let both = up.iter().zip(&down).filter(|(a, b)| **a == 2.0 && **b == 2.0).count() as f64 / n;
        let p = density.powi(4);
        assert!(
            (both - p).abs() < 5.0 * (p * (1.0 - p) / n).sqrt(),
            "density {density}: tensors share masks: {both}, not {p}"
        );
    }
}

#[test]
fn dare_rescale_brings_the_task_vector_back_to_its_l1_norm() {
    let [up, _] = kept(0.3, true);
    let l1: f64 = up.iter().map(|x| f64::from(x.abs())).sum();
    let whole = 2.0 * up.len() as f64;
    assert!((l1 / whole - 1.0).abs() < 1e-5, "{l1} of {whole}");
    assert!(up.contains(&0.0), "nothing was dropped");
}

#[test]
fn weights_that_sum_to_zero_are_refused_where_mergekit_gives_nan() {
    let folder = Folder::new();
    let Reference { tensors, .. } = load();
    for name in ["m1.mat", "m2.mat"] {
        write_model(&folder.path(&format!("{name}.gguf")), &tensors[name]);
    }
    let recipe = "merge_method: linear\nmodels:\n  - model: m1.mat.gguf\n    parameters: {weight: 1}\n  - model: m2.mat.gguf\n    parameters: {weight: -1}\n";
    let recipe = folder.write("recipe.yaml", recipe);
    let done = ggraft(["export".as_ref(), recipe.as_os_str(), "-o".as_ref(), folder.path("out.gguf").as_os_str()]);
    let error = done.error(2);
    assert!(
        error.contains("sum to 0") && error.contains("`token_embd.weight`") && error.contains("normalize: false"),
        "{error}"
    );
}
