//! Genes to recipes, against what mergekit-evolve emits for the same genes.

use std::path::Path;

use serde_json::Value as Json;

use super::{TASKS, weights};
use crate::evolve::genome::uniform;
use crate::evolve::{Config, EvolveError, Genome, Space, Start};
use crate::recipe::{Curve, Recipe, Values};

fn cases() -> Vec<Json> {
    let all: Json = serde_json::from_str(include_str!("../../../tests/data/recipe_reference.json")).unwrap();
    all["genome_cases"].as_array().unwrap().clone()
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The genome of a definition; JSON is YAML.
fn genome(definition: &Json, layers: u32) -> Genome {
    let text = format!("genome: {definition}\n{TASKS}\n");
    Genome::new(Config::parse(text, Path::new("dir/e.yaml")).unwrap().genome.unwrap(), layers).unwrap()
}

/// One source of one tensor: model, layer, parameters.
type Source = (String, Option<u32>, Values);

/// Everything that a merge of llamas depends on, models by their names.
fn resolved(recipe: &Recipe, layers: u32) -> Vec<(String, Vec<Source>, Option<String>, Values)> {
    const PARTS: [&str; 9] =
        ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"];
    let layout = recipe.layout(&vec![layers; recipe.models.len()]).unwrap();
    let inside = (0..layout.len()).flat_map(|b| PARTS.map(|part| format!("blk.{b}.{part}.weight")));
    let outside = ["token_embd.weight", "output_norm.weight", "output.weight"].map(str::to_owned);
    let name = |model: usize| recipe.models[model].written.clone();
    let one = |tensor: String| {
        let mut at = recipe.resolve(&layout, &tensor, "llama").unwrap();
        // mergekit's flag for the memory of sign tensors; no merge depends on it.
        at.shared.remove("int8_mask");
        let base = at.base.map(|base| name(at.sources[base].model));
        let sources = at.sources.into_iter().map(|s| (name(s.model), s.layer, s.parameters)).collect();
        (tensor, sources, base, at.shared)
    };
    outside.into_iter().chain(inside).map(one).collect()
}

fn assert_values(got: &Values, want: &Values, tolerance: f64, at: &str) {
    assert!(got.keys().eq(want.keys()), "{at}: {got:?}, not {want:?}");
    for (name, value) in got {
        assert!((value - want[name]).abs() <= tolerance, "{at}: {name} is {value}, not {}", want[name]);
    }
}

#[test]
fn genes_decode_to_what_mergekit_emits() {
    let cases = cases();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let layers = case["num_layers"].as_u64().unwrap() as u32;
        let genome = genome(&case["definition"], layers);
        let shape: Vec<f64> = genome.shape().iter().map(|n| *n as f64).collect();
        assert_eq!(shape, numbers(&case["x0_shape"]), "{case}");
        let start = genome.start(Start::Mergekit);
        let want = numbers(&case["x0"]);
        assert_eq!(start.len(), want.len());
        // mergekit keeps the start in single precision.
        assert!(start.iter().zip(&want).all(|(s, w)| (s - w).abs() < 1e-7), "{start:?}, not {want:?}");

        let ours = genome.decode(&numbers(&case["x"])).unwrap();
        let theirs = Recipe::parse(&case["config"].to_string(), Path::new("dir/m.yaml")).unwrap();
        assert_eq!(ours.method.name, theirs.method.name);
        // Slerp's softmax is in single precision there.
        let tolerance = if ours.method.name == "slerp" { 1e-7 } else { 0.0 };
        let (ours, theirs) = (resolved(&ours, layers), resolved(&theirs, layers));
        assert_eq!(ours.len(), theirs.len());
        for ((tensor, sources, base, shared), (_, their_sources, their_base, their_shared)) in ours.iter().zip(&theirs)
        {
            assert_eq!(base, their_base, "{tensor}");
            assert_values(shared, their_shared, tolerance, tensor);
            assert_eq!(sources.len(), their_sources.len(), "{tensor}");
            for (own, their) in sources.iter().zip(their_sources) {
                assert_eq!((&own.0, own.1), (&their.0, their.1), "{tensor}");
                assert_values(&own.2, &their.2, tolerance, tensor);
            }
        }
    }
}

#[test]
fn normalize_is_on_for_averages_and_off_for_task_arithmetic() {
    let normalize = |method: &str, more: &str| {
        let base = if method == "linear" { "" } else { r#""base_model": "c","# };
        let definition = format!(r#"{{"models": ["a", "b"], {base} "merge_method": "{method}"{more}}}"#);
        let genome = genome(&serde_json::from_str(&definition).unwrap(), 4);
        let recipe = genome.decode(&vec![0.5; genome.genes()]).unwrap();
        recipe.parameters["normalize"].at(0.0, |_| true)
    };
    for (method, default) in [("linear", 1.0), ("ties", 1.0), ("dare_ties", 1.0), ("task_arithmetic", 0.0)] {
        assert_eq!(normalize(method, ""), Some(default), "{method}");
        assert_eq!(normalize(method, r#", "normalize": false"#), Some(0.0), "{method}");
        assert_eq!(normalize(method, r#", "normalize": true"#), Some(1.0), "{method}");
    }
}

#[test]
fn the_papers_start_is_one_half_and_values_may_be_set_by_parameter() {
    let ties: Json =
        serde_json::from_str(r#"{"models": ["a", "b"], "base_model": "c", "merge_method": "ties"}"#).unwrap();
    let genome = genome(&ties, 4);
    assert_eq!(genome.start(Start::PAPER), [0.5; 4]);
    assert_eq!(genome.start(Start::Mergekit), [0.5, 1.0, 0.5, 1.0]);
    assert_eq!(genome.start(Start::At { weight: 0.1, density: 0.7, t: 9.0 }), [0.1, 0.7, 0.1, 0.7]);
}

#[test]
fn layers_that_do_not_divide_are_refused_with_what_would() {
    let spec = |granularity: u32| {
        let text =
            format!("genome: {{models: [a, b], merge_method: linear, layer_granularity: {granularity}}}\n{TASKS}");
        Config::parse(text, Path::new("e.yaml")).unwrap().genome.unwrap()
    };
    for granularity in [0, 1, 2, 3, 4, 6, 12] {
        Genome::new(spec(granularity), 12).unwrap();
    }
    for granularity in [5, 24] {
        let error = Genome::new(spec(granularity), 12).unwrap_err();
        assert!(matches!(error, EvolveError::Granularity { layers: 12, .. }), "{error}");
        assert!(error.to_string().contains("1, 2, 3, 4, 6, 12"), "{error}");
    }
}

#[test]
fn uniform_merge_weighs_the_searched_models_alike_and_leaves_the_base_out() {
    let ties: Json =
        serde_json::from_str(r#"{"models": ["a", "b"], "base_model": "c", "merge_method": "ties"}"#).unwrap();
    let config = Config::parse(format!("genome: {ties}\n{TASKS}\n"), Path::new("dir/e.yaml")).unwrap();
    let like = genome(&ties, 4).decode(&[0.5; 4]).unwrap();
    let uniform = uniform(&config.models, config.searched(), &like).unwrap();
    assert_eq!(uniform.method.name, "linear");
    assert_eq!(weights(&uniform), [1.0, 1.0]);
    let models: Vec<&str> =
        uniform.slices[0].sources.iter().map(|s| uniform.models[s.model].written.as_str()).collect();
    assert_eq!(models, ["a", "b"]);
}

#[test]
fn decoded_recipes_survive_being_written_and_read() {
    for case in cases() {
        let layers = case["num_layers"].as_u64().unwrap() as u32;
        let recipe = genome(&case["definition"], layers).decode(&numbers(&case["x"])).unwrap();
        let yaml = recipe.to_yaml(|path| path.strip_prefix("dir").unwrap().display().to_string()).unwrap();
        let read = Recipe::parse(&yaml, Path::new("dir/best.yaml")).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
        assert_eq!(resolved(&read, layers), resolved(&recipe, layers), "{yaml}");
        assert_eq!(read.out_type, recipe.out_type);
    }
}

#[test]
fn smooth_genes_are_points_of_one_gradient() {
    let smooth = r#"{"models": ["a", "b"], "merge_method": "linear", "layer_granularity": 2, "smooth": true}"#;
    let recipe = genome(&serde_json::from_str(smooth).unwrap(), 4).decode(&[0.1, -0.2, 0.3, 0.4]).unwrap();
    assert_eq!(recipe.slices.len(), 1);
    let curves = recipe.slices[0].sources.iter().map(|s| s.parameters["weight"].rules[0].curve.clone());
    let want = [vec![0.1, 0.3], vec![0.2, 0.4]].map(Curve::Numbers);
    assert_eq!(curves.collect::<Vec<_>>(), want);
}
