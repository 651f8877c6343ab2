//! Genomes beyond mergekit-evolve's: every method, kinds of tensors, choices among methods and types, bounds; and restarts.

use super::*;
use crate::recipe::{METHODS, OutType};

/// The genome of YAML flow, over two models and a base.
fn genome(more: &str) -> Genome {
    let config = parse(more).unwrap();
    Genome::new(config.genome.unwrap(), LAYERS).unwrap()
}

fn parse(more: &str) -> Result<Config, EvolveError> {
    let text = format!("genome: {{models: [a.gguf, b.gguf], base_model: c.gguf, {more}}}\n{TASKS}\n");
    Config::parse(text, Path::new("dir/evolve.yaml"))
}

/// What a parameter is for a tensor of that name, at one source of a recipe or for all.
fn at(recipe: &Recipe, source: Option<usize>, parameter: &str, tensor: &str) -> f64 {
    let slice = &recipe.slices[0];
    let parameters = source.map_or(&slice.parameters, |source| &slice.sources[source].parameters);
    let name = crate::recipe::TensorName::new(tensor, "llama");
    parameters[parameter].at(0.0, |filter| name.matches(filter)).unwrap()
}

#[test]
fn every_method_that_has_something_to_search_has_a_genome() {
    for method in METHODS {
        let (genes, parsed) = match method.name {
            "passthrough" | "nearswap" | "karcher" | "arcee_fusion" | "model_stock" | "ram" => (0, None),
            "slerp" => continue,
            name => {
                let genome = genome(&format!("merge_method: {name}"));
                (genome.genes(), Some(genome))
            }
        };
        let Some(genome) = parsed else {
            let error = parse(&format!("merge_method: {}", method.name)).unwrap_err().to_string();
            assert!(error.contains("no genome for") || error.contains("has nothing to search"), "{error}");
            continue;
        };
        let want = match method.name {
            "linear" | "task_arithmetic" | "nuslerp" | "multislerp" => 2,
            "sce" => 1,
            "ramplus_tl" => 2,
            "breadcrumbs" | "breadcrumbs_ties" | "della" | "della_linear" => 6,
            _ => 4,
        };
        assert_eq!(genes, want, "{}", method.name);
        for value in [-2.0, -0.3, 0.0, 0.15, 0.5, 0.999, 1.0, 7.0] {
            let recipe = genome.decode(&vec![value; genes]).unwrap();
            assert_eq!(recipe.method.name, method.name);
            assert!(recipe.warnings.is_empty(), "{:?}", recipe.warnings);
            if method.name.starts_with("della") {
                let (d, e) = (at(&recipe, Some(0), "density", "x"), at(&recipe, Some(0), "epsilon", "x"));
                assert!(d == 1.0 || d - e > 0.0 && d + e < 1.0, "density {d}, epsilon {e}");
            }
        }
    }
}

#[test]
fn more_parameters_can_have_genes() {
    let genome = genome("merge_method: ties, parameters: [lambda]");
    assert_eq!(genome.genes(), 5);
    assert_eq!(genome.start(Start::PAPER), [0.5, 0.5, 0.5, 0.5, 1.0]);
    let recipe = genome.decode(&[0.1, 0.2, 0.3, 0.4, 1.5]).unwrap();
    assert_eq!(at(&recipe, None, "lambda", "x"), 1.5);
    assert_eq!((at(&recipe, Some(1), "weight", "x"), at(&recipe, Some(1), "density", "x")), (0.3, 0.4));
    let yaml = recipe.to_yaml(|path| path.strip_prefix("dir").unwrap().display().to_string()).unwrap();
    let read = Recipe::parse(&yaml, Path::new("dir/best.yaml")).unwrap();
    assert_eq!(at(&read, None, "lambda", "x"), 1.5, "{yaml}");
    for (more, message) in [
        ("merge_method: ties, parameters: [lamda]", "no method of this genome has a numeric parameter `lamda`"),
        ("merge_method: ties, parameters: [rescale]", "no method"),
        ("merge_method: ties, groups: layer", "`groups: layer` must be `kind`"),
        ("merge_method: ties, groups: kind, filters: [mlp]", "leave `filters` out"),
        ("merge_method: ties, bounds: {gamma: [0, 1]}", "`bounds` of `gamma`, which has no genes"),
        ("merge_method: ties, bounds: {weight: [1, 1]}", "must be two finite numbers, the lower first"),
        ("merge_method: [ties, ties]", "names `ties` twice"),
        ("merge_method: []", "needs at least one name"),
        ("merge_method: [ties, slerp]", "cannot be one of several"),
        ("merge_method: ties, out_type: [q8_0, q3]", "no `out_type` is called `q3`"),
    ] {
        let error = parse(more).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn kinds_of_tensors_have_genes_of_their_own() {
    let genome = genome("merge_method: linear, groups: kind");
    assert_eq!(genome.shape(), [1, 2, 4, 1]);
    let recipe = genome.decode(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]).unwrap();
    for (tensor, weight) in [
        ("blk.3.attn_norm.weight", 0.1),
        ("blk.3.attn_q_norm.weight", 0.1),
        ("output_norm.weight", 0.1),
        ("blk.3.attn_q.weight", 0.2),
        ("blk.3.attn_output.weight", 0.2),
        ("blk.3.ffn_down.weight", 0.3),
        ("blk.3.ffn_gate_exps.weight", 0.3),
        ("token_embd.weight", 0.4),
        ("output.weight", 0.4),
    ] {
        assert_eq!(at(&recipe, Some(0), "weight", tensor), weight, "{tensor}");
    }
}

#[test]
fn switches_choose_method_and_type() {
    let genome = genome("merge_method: [linear, ties, sce], out_type: [q8_0, f16]");
    // Two switches for three methods, one for two types; weight and density of two models; `select_topk`.
    assert_eq!(genome.genes(), 3 + 4 + 1);
    let numbers = [0.1, 0.2, 0.3, 0.4, 0.5];
    let decode = |switches: [f64; 3]| {
        let genes: Vec<f64> = switches.iter().chain(&numbers).copied().collect();
        let recipe = genome.decode(&genes).unwrap();
        (recipe.method.name, recipe.out_type, genome.active(&genes))
    };
    let weights = vec![true, false, true, false, false];
    assert_eq!(decode([1.0, 0.0, 1.0]), ("linear", OutType::Q8_0, weights.clone()));
    assert_eq!(decode([1.0, 1.0, 0.0]), ("linear", OutType::F16, weights));
    assert_eq!(decode([0.0, 1.0, 1.0]), ("ties", OutType::Q8_0, vec![true, true, true, true, false]));
    assert_eq!(decode([0.0, 0.0, 1.0]), ("sce", OutType::Q8_0, vec![false, false, false, false, true]));
    let mut names: Vec<&str> = genome.samples(Start::PAPER).unwrap().iter().map(|r| r.method.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["linear", "sce", "ties"], "each is tried before the search");
    let error = |search: &str| {
        let text = format!(
            "genome: {{models: [a, b], base_model: c, merge_method: [linear, ties]}}\n{TASKS}\nsearch: {{{search}}}\n"
        );
        Config::parse(text, Path::new("e.yaml")).map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(error("algorithm: cat_cma").is_ok());
    assert!(error("algorithm: cma_es").unwrap_err().contains("searches numbers alone"));
}

#[test]
fn the_better_method_is_found_with_its_numbers() {
    let genome = "genome: {models: [a.gguf, b.gguf], base_model: c.gguf, merge_method: [ties, linear, dare_ties], layer_granularity: 4}";
    let config = Config::parse(format!("{genome}\n{TASKS}\n"), Path::new("dir/evolve.yaml")).unwrap();
    let bonus = |recipe: &Recipe| if recipe.method.name == "linear" { 0.3 } else { 0.0 };
    for seed in 0..3 {
        let mut scorer = Landscape { path: Some(bonus), ..Landscape::default() };
        let best = run(&config, 700, seed, &mut scorer).best.unwrap();
        assert_eq!(best.recipe.method.name, "linear", "seed {seed}");
        assert!(best.search.fitness > 0.29, "seed {seed}: {}", best.search.fitness);
    }
}

#[test]
fn genes_stay_within_their_bounds_and_find_an_optimum_on_one() {
    let genome =
        "genome: {models: [a.gguf, b.gguf], merge_method: linear, layer_granularity: 4, bounds: {weight: [0.3, 0.8]}}";
    let config = Config::parse(format!("{genome}\n{TASKS}\n"), Path::new("dir/evolve.yaml")).unwrap();
    let mut scorer = Landscape::default();
    let best = run(&config, 1200, 1, &mut scorer).best.unwrap();
    let found = weights(&best.recipe);
    for (weight, optimum) in found.iter().zip([0.3, 0.8, 0.75, 0.4]) {
        assert!((weight - optimum).abs() < 0.01, "{found:?}");
    }
    let searched = scorer.asked.iter().filter(|(_, questions)| *questions != Questions::Test).flat_map(|(w, _)| w);
    assert!(searched.copied().all(|w| (0.3..=0.8).contains(&w)));
}

#[test]
fn every_algorithm_finds_the_optimum() {
    for algorithm in ["cma_es", "sep_cma_es", "lra_cma_es"] {
        let config = config(&format!("algorithm: {algorithm}"));
        let best = run(&config, 900, 2, &mut Landscape::default()).best.unwrap();
        assert!(best.search.fitness > -1e-3, "{algorithm}: {}", best.search.fitness);
    }
}

#[test]
fn restarts_go_on_with_twice_the_population_where_one_run_gives_up() {
    let journal = folder();
    let settings = config("restarts: 2, population: 6");
    let outcome = run_in(journal.path(), false, &settings, 100_000, 0, &mut Landscape::default());
    assert!(outcome.stopped.is_some(), "after the last run");
    let one = run(&config("population: 6"), 100_000, 0, &mut Landscape::default());
    assert!(outcome.evaluations > 2 * one.evaluations, "{} and {}", outcome.evaluations, one.evaluations);
    let again = run_in(
        journal.path(),
        true,
        &settings,
        100_000,
        0,
        &mut Landscape { cancel_at: Some(0), ..Landscape::default() },
    );
    assert_eq!((best_of(&again), again.evaluations), (best_of(&outcome), outcome.evaluations), "replayed");
}
