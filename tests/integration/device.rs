//! On a device that is no CPU, whichever llama.cpp finds: what a virtual model computes there is, to the last bit, what its exported file
//! computes there, also after swaps, with all layers on it and with some.
//!
//! `make test-gpu` builds for one and sets [`REQUIRED`]; without a device there is nothing to test.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ggraft::gguf::Parent;
use ggraft::model::{ContextSize, Live, LlamaBatch, ParentsOn, Settings, Vocabulary, log_to_stderr, offload_supported};
use ggraft::plan::{Plan, Siblings};
use ggraft::recipe::Recipe;

use crate::exact::{export, siblings};
use crate::support::{Folder, Output, perplexity_task, program, quickstart, target_task};
use crate::swaps::SETTINGS;

/// Set where a device must be found, so that a test of nothing does not pass.
const REQUIRED: &str = "GGRAFT_TEST_DEVICE";
const SIZE: ContextSize = ContextSize { sequences: 1, tokens: 256 };
/// More than the quickstart's models have.
const ALL: i32 = 99;
/// Long enough for the kernels that multiply matrices; the tokens after it go through those that multiply vectors.
const TEXT: &str = "Tom has 12 apples and gives 5 to Ann. Then he buys 8 more. How many apples does Tom have now? 12 - 5 = 7. 7 + 8 = 15.";

/// Whether there is no device, which is an error where one is required.
fn none() -> bool {
    log_to_stderr(false);
    if offload_supported() {
        return false;
    }
    assert!(
        env::var_os(REQUIRED).is_none(),
        "{REQUIRED} is set, but llama.cpp finds no device; GGML_VK_VISIBLE_DEVICES=0 lets it take a software one"
    );
    eprintln!("skipped: no device; `make test-gpu` tests on one");
    true
}

fn on_device(gpu_layers: i32) -> Settings {
    Settings { gpu_layers, ..SETTINGS }
}

/// Recipes over the same two models in the same order.
const BLENDS: [(f64, f64); 2] = [(0.6, 0.4), (0.1, 0.7)];

fn blend((math, ja): (f64, f64)) -> String {
    let [_, a, b] = siblings();
    format!(
        "merge_method: linear\nmodels: [{{model: {a:?}, parameters: {{weight: {math}}}}}, {{model: {b:?}, parameters: {{weight: {ja}}}}}]\n"
    )
}

/// Merges by every kind of kernel that devices have, and by some that they leave to the CPU, with what is particular to each.
const OTHERS: [(&str, &str, &str); 9] = [
    ("linear", "weight: 0.5", "out_type: f16"),
    ("linear", "weight: 0.5", "out_type: bf16"),
    ("slerp", "", "parameters: {t: 0.4}"),
    ("task_arithmetic", "weight: 0.8", "parameters: {lambda: 0.9}"),
    ("ties", "weight: 1, density: 0.4", ""),
    ("dare_ties", "weight: 1, density: 0.6", ""),
    ("dare_linear", "weight: 0.7, density: 0.5", "out_type: f32"),
    ("breadcrumbs_ties", "weight: 1, density: 0.7, gamma: 0.02", ""),
    ("della", "weight: 1, density: 0.6, epsilon: 0.1", ""),
];

fn other(method: &str, of_each: &str, more: &str) -> String {
    let [base, a, b] = siblings();
    // `slerp` is between its base and the other model.
    let base = match method {
        "linear" => String::new(),
        "slerp" => format!("base_model: {a:?}"),
        _ => format!("base_model: {base:?}"),
    };
    let models = [a, b].map(|path| format!("{{model: {path:?}, parameters: {{{of_each}}}}}")).join(", ");
    format!("merge_method: {method}\n{base}\nmodels: [{models}]\n{more}\n")
}

/// A path that takes blocks again, one of them with another scale.
fn path() -> String {
    let [_, a, b] = siblings();
    format!(
        "path:\n  - {{model: {a:?}, layers: [0, 5]}}\n  - {{model: {b:?}, layers: [3, 6], scale: 0.9}}\n  \
         - {{model: {a:?}, layers: [4, 8]}}\n  - {{model: {b:?}, layer: 4, scale: 1.1}}\n  - {{model: {b:?}, layers: [4, 8]}}\n"
    )
}

/// A recipe, opened, in a file beside its export.
struct Merged {
    siblings: Siblings,
    plan: Plan,
    vocabulary: Arc<Vocabulary>,
    exported: PathBuf,
}

impl Merged {
    fn new(folder: &Folder, name: &str, text: &str) -> Self {
        let (file, exported) = (folder.write(&format!("{name}.yaml"), text), folder.path(&format!("{name}.gguf")));
        export(&file, &exported, &[]);
        let recipe = Recipe::load(&file).unwrap();
        let siblings = Siblings::open(&recipe.models).unwrap();
        let plan = siblings.plan(&recipe).unwrap();
        let vocabulary = Arc::new(Vocabulary::load(&recipe.models[0].path, None).unwrap());
        Self { siblings, plan, vocabulary, exported }
    }

    fn blends(folder: &Folder) -> [Self; 2] {
        [0, 1].map(|i| Self::new(folder, &format!("blend-{i}"), &blend(BLENDS[i])))
    }

    fn parents(&self) -> &[Parent] {
        self.siblings.parents()
    }

    fn load(&self, settings: Settings) -> Live {
        Live::of_plan(&self.plan, self.parents(), Arc::clone(&self.vocabulary), settings, SIZE).unwrap().0
    }

    fn load_exported(&self, settings: Settings) -> Live {
        Live::of_file(&self.exported, Arc::clone(&self.vocabulary), settings, SIZE).unwrap()
    }
}

/// The logits of every token of [`TEXT`], computed together, and of two more, computed one by one.
fn logits(live: &mut Live) -> Vec<f32> {
    live.forget_all();
    let tokens = live.vocabulary().tokenize(TEXT);
    assert!(tokens.len() > 32, "{} tokens", tokens.len());
    let (together, alone) = tokens.split_at(tokens.len() - 2);
    let mut batch = LlamaBatch::new(together.len(), 1);
    let mut logits: Vec<f32> = Vec::new();
    let mut at = 0;
    for part in [together, &alone[..1], &alone[1..]] {
        batch.clear();
        for token in part {
            batch.add(*token, at, &[0], true).unwrap();
            at += 1;
        }
        live.decode(&mut batch).unwrap();
        logits.extend((0..batch.n_tokens()).flat_map(|row| live.logits(row)));
    }
    assert!(logits.iter().all(|x| x.is_finite()));
    logits
}

/// Asserts that two computations gave the same bits, without printing them.
fn assert_same(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let differ = ours.iter().zip(theirs).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(differ, 0, "{what}: so many of {} logits differ", ours.len());
}

/// The root of the mean squared difference, in parts of the standard deviation of `theirs`.
fn distance(ours: &[f32], theirs: &[f32]) -> f64 {
    let n = theirs.len() as f64;
    let mean = theirs.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = theirs.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let error = ours.iter().zip(theirs).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / n;
    (error / variance).sqrt()
}

fn assert_as_exported(gpu_layers: i32) {
    let folder = Folder::new();
    let merged = Merged::blends(&folder).into_iter().chain([Merged::new(&folder, "path", &path())]);
    let mut all: Vec<Vec<f32>> = Vec::new();
    for merged in merged {
        let name = &merged.plan.name;
        let ours = logits(&mut merged.load(on_device(gpu_layers)));
        let theirs = logits(&mut merged.load_exported(on_device(gpu_layers)));
        assert_same(&ours, &theirs, name);
        // The device computed, not the CPU: it rounds otherwise, if not by much.
        let by_cpu = distance(&ours, &logits(&mut merged.load(SETTINGS)));
        assert!(by_cpu > 0.0 && by_cpu < 0.02, "{name}: {by_cpu} from what the CPU computes");
        for (other, logits) in all.iter().enumerate() {
            assert!(distance(&ours, logits) > 0.05, "{name} does what recipe {other} does");
        }
        all.push(ours);
    }
}

fn assert_swaps(gpu_layers: i32) {
    let folder = Folder::new();
    let [first, second] = Merged::blends(&folder);
    let path = Merged::new(&folder, "path", &path());
    let want = [&first, &second, &path].map(|merged| logits(&mut merged.load_exported(on_device(gpu_layers))));
    let mut live = first.load(on_device(gpu_layers));
    for (turn, index) in [0, 1, 0, 1, 2, 0].into_iter().enumerate() {
        let merged = [&first, &second, &path][index];
        if turn > 0 {
            live.swap(&merged.plan, merged.parents()).unwrap();
        }
        assert_same(&logits(&mut live), &want[index], &format!("turn {turn}, recipe {index}"));
    }
}

#[test]
fn a_recipe_computes_what_its_exported_file_computes() {
    if none() {
        return;
    }
    assert_as_exported(ALL);
}

#[test]
fn a_recipe_with_some_layers_on_the_device_computes_what_its_exported_file_computes() {
    if none() {
        return;
    }
    [1, 4].into_iter().for_each(assert_as_exported);
}

#[test]
fn every_swap_computes_what_the_exported_file_computes() {
    if none() {
        return;
    }
    [ALL, 1].into_iter().for_each(assert_swaps);
}

#[test]
fn every_kind_of_merge_is_the_same_wherever_it_is_made_and_parents_are() {
    if none() {
        return;
    }
    let folder = Folder::new();
    for (i, (method, of_each, more)) in OTHERS.into_iter().enumerate() {
        let merged = Merged::new(&folder, &format!("other-{i}"), &other(method, of_each, more));
        let theirs = logits(&mut merged.load_exported(on_device(ALL)));
        for gpu_parents in [ParentsOn::Device, ParentsOn::Host] {
            let ours = logits(&mut merged.load(Settings { gpu_parents, ..on_device(ALL) }));
            assert_same(&ours, &theirs, &format!("{method}, {more}, parents on the {gpu_parents:?}"));
        }
    }
}

#[test]
fn a_swap_to_the_same_shape_reloads_nothing() {
    if none() {
        return;
    }
    let folder = Folder::new();
    let [first, second] = Merged::blends(&folder);
    for gpu_layers in [ALL, 1] {
        let mut live = first.load(on_device(gpu_layers));
        for merged in [&second, &first] {
            let swap = live.swap(&merged.plan, merged.parents()).unwrap();
            assert!(!swap.reloaded, "{gpu_layers} layers on the device");
        }
    }
}

/// `ggraft score` of the quickstart's recipe, with more arguments.
fn score(task: &Path, more: &[&str]) -> Output {
    let recipe = quickstart("recipe.yaml");
    Output::of(program().args(["score", "--json"]).arg(recipe).arg("--task").arg(task).args(more))
}

#[test]
fn the_program_scores_on_the_device_and_nearly_as_on_the_cpu() {
    if none() {
        return;
    }
    let folder = Folder::new();
    let value = |done: &Output| done.json()["results"][0]["value"].as_f64().unwrap();
    let texts = perplexity_task(&folder, 10);
    let device = score(&texts, &["--gpu-layers", "99", "--verbose"]);
    assert!(device.stderr.contains("offloaded 9/9 layers to GPU"), "{device:?}");
    let (device, cpu) = (value(&device), value(&score(&texts, &[])));
    assert!((device / cpu - 1.0).abs() < 0.01, "perplexity: {device} on the device, {cpu} on the CPU");
    let questions = target_task(&folder, "target_test.jsonl", 12);
    let (device, cpu) = (value(&score(&questions, &["--gpu-layers", "99"])), value(&score(&questions, &[])));
    // One word that turns may turn an answer, but not many.
    assert!((device - cpu).abs() < 2.5 / 12.0, "right answers: {device} on the device, {cpu} on the CPU");
}
