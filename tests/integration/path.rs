//! Paths through blocks: what a path computes is what its unrolled file and a forward pass written here compute, each block costs memory
//! once, and the next path costs nothing.

mod memory;
mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs};

use ggraft::gguf::{Metadata, Parent};
use ggraft::model::{ContextSize, Live, LlamaToken, Swap, Vocabulary, log_to_stderr};
use ggraft::plan::{Plan, Siblings};
use ggraft::recipe::Recipe;
use ggraft::score::{Progress, negative_log_likelihoods};

use crate::exact::{assert_exact, export, perplexities, siblings};
use crate::support::{Folder, Random, Tiny, ggraft, perplexity_task};
use crate::swaps::SETTINGS;

const SIZE: ContextSize = ContextSize { sequences: 1, tokens: 256 };
const HOPS: usize = 96;
/// Blocks of a quickstart model.
const BLOCKS: u32 = 8;

fn below(random: &mut Random, limit: usize) -> usize {
    ((random.next() + 1.0) / 2.0 * limit as f32) as usize
}

/// `model: "...", ` of a hop.
fn of_model(path: &Path) -> String {
    format!("model: {:?}, ", path.to_str().unwrap())
}

/// A `path:` of [`HOPS`] hops: half of the first model's blocks, drawn ones, and all of the last model's.
fn path_of(seed: u64, models: &[&str], blocks: u32, scaled: bool) -> String {
    let mut random = Random(seed);
    let mut scale = || if scaled { format!("scale: {:.4}", 1.01 + 0.1 * random.next()) } else { String::new() };
    let mut text = format!("path:\n  - {{{}layers: [0, {}], {}}}\n", models[0], blocks / 2, scale());
    let mut draw = Random(seed + 1);
    for _ in 0..HOPS - (blocks / 2 + blocks) as usize {
        let model = models[below(&mut draw, models.len())];
        text += &format!("  - {{{model}layer: {}, {}}}\n", below(&mut draw, blocks as usize), scale());
    }
    text + &format!("  - {{{}{}}}\n", models[models.len() - 1], scale())
}

/// A task of two short texts for models with any vocabulary.
fn small_task(folder: &Folder) -> PathBuf {
    folder.write("perplexity.jsonl", "{\"text\": \"The capital of France is Paris, and the capital of Italy is Rome.\"}\n{\"text\": \"2 + 2 = 4\"}\n");
    folder.write("perplexity.yaml", "data: perplexity.jsonl\nkind: perplexity\nprompt: \"{{ text }}\"\n")
}

/// A downloaded model, where `make test` has put them.
fn real_model(file: &str) -> Option<PathBuf> {
    let models = env::var_os("GGRAFT_TEST_MODELS");
    if models.is_none() {
        eprintln!("skipped: GGRAFT_TEST_MODELS does not name a folder with {file}; `make test` does");
    }
    models.map(|models| Path::new(&models).join(file))
}

fn all_differ(values: &[f64]) {
    assert!((0..values.len()).all(|i| !values[..i].contains(&values[i])), "{values:?}");
}

/// A recipe with its models opened.
struct Opened {
    siblings: Siblings,
    plan: Plan,
    vocabulary: Arc<Vocabulary>,
}

impl Opened {
    fn new(text: &str, file: &Path) -> Self {
        log_to_stderr(false);
        let recipe = Recipe::parse(text, file).unwrap();
        let siblings = Siblings::open(&recipe.models).unwrap();
        let plan = siblings.plan(&recipe).unwrap();
        let vocabulary = Arc::new(Vocabulary::load(&recipe.models[0].path, None).unwrap());
        Self { siblings, plan, vocabulary }
    }

    fn run(&self, plan: &Plan) -> Live {
        self.load(plan).0
    }

    fn load(&self, plan: &Plan) -> (Live, Swap) {
        Live::of_plan(plan, self.siblings.parents(), Arc::clone(&self.vocabulary), SETTINGS, SIZE).unwrap()
    }
}

/// The same tokens for every model: `count` texts of `length` tokens of the quickstart's vocabulary.
fn texts(count: i32, length: i32) -> Vec<Vec<LlamaToken>> {
    (0..count)
        .map(|text| (0..length).map(|at| LlamaToken(10 + (at * at * 31 + at * 7 + text * 101) % 600)).collect())
        .collect()
}

fn likelihoods(live: &mut Live, texts: &[Vec<LlamaToken>]) -> Vec<f64> {
    let (values, _) = negative_log_likelihoods(live, texts, &mut Progress::new(&mut |_, _| true)).unwrap();
    values.into_iter().map(|(value, _)| value).collect()
}

fn as_architecture(tiny: Tiny, name: &str) -> Tiny {
    let mut metadata = Metadata::default();
    metadata.insert("general.architecture", name);
    for (key, value) in tiny.metadata.iter().filter(|(key, _)| *key != "general.architecture") {
        let key = key.strip_prefix("llama.").map_or(key.to_owned(), |rest| format!("{name}.{rest}"));
        metadata.insert(&key, value.clone());
    }
    Tiny { metadata, ..tiny }
}

#[test]
fn a_path_scores_as_its_unrolled_file_bit_for_bit() {
    let folder = Folder::new();
    let task = perplexity_task(&folder, 4);
    let parents = siblings();
    let [base, math, ja] = parents.each_ref().map(|path| of_model(path));
    let pure = |scaled| path_of(7, &[&base, &math, &ja], BLOCKS, scaled);
    let merge = format!(
        "merge_method: task_arithmetic\nbase_model: {:?}\nmodels:\n  - {{{math} parameters: {{weight: 0.6}}}}\n  \
         - {{{ja} parameters: {{weight: 0.3}}}}\n",
        parents[0].to_str().unwrap()
    );
    let mixed = |scaled| merge.clone() + &path_of(8, &["", &ja], BLOCKS, scaled);
    let named = |name: &str, text: String| (name.to_owned(), text);
    let recipes = [
        named("plain", pure(false)),
        named("mlp_output", pure(true)),
        named("residual", pure(true) + "path_scale: residual\n"),
        named("merged", mixed(false)),
        named("merged_scaled", mixed(true)),
        named("merged_residual", mixed(true) + "path_scale: residual\n"),
        named("merged_f16", mixed(true) + "out_type: f16\n"),
    ];
    all_differ(&assert_exact(&folder, &recipes, &task));
    for (name, _) in &recipes {
        assert_eq!(Parent::open(folder.path(&format!("{name}.gguf"))).unwrap().block_count() as usize, HOPS, "{name}");
    }
}

#[test]
fn a_path_without_scales_is_the_file_that_slices_make() {
    let folder = Folder::new();
    let task = perplexity_task(&folder, 4);
    let parents = siblings();
    let order = [(1, 0, 5), (2, 3, 8), (1, 2, 3), (1, 2, 3), (2, 0, 1)];
    let model = |index: usize| of_model(&parents[index]);
    let path = order.map(|(m, start, end)| format!("  - {{{}layers: [{start}, {end}]}}\n", model(m)));
    let slices = order.map(|(m, start, end)| format!("  - sources: [{{{}layer_range: [{start}, {end}]}}]\n", model(m)));
    let path = folder.write("path.yaml", format!("path:\n{}", path.concat()));
    let slices = folder.write("slices.yaml", format!("merge_method: passthrough\nslices:\n{}", slices.concat()));
    let files = ["path.gguf", "slices.gguf"].map(|name| folder.path(name));
    export(&path, &files[0], &[]);
    export(&slices, &files[1], &[]);
    assert!(fs::read(&files[0]).unwrap() == fs::read(&files[1]).unwrap(), "the two files differ");
    let [file, _] = files;
    let values = perplexities(&[path, slices, file, parents[1].clone()], &task);
    assert!(values[..3].iter().all(|v| v.to_bits() == values[0].to_bits()), "{values:?}");
    assert_ne!(values[0], values[3]);
}

#[test]
fn a_path_through_smollm2_scores_as_its_unrolled_file_bit_for_bit() {
    let Some(model) = real_model("SmolLM2-135M-Instruct.gguf") else { return };
    let folder = Folder::new();
    let recipes = [("path".to_owned(), path_of(9, &[&of_model(&model)], 30, true))];
    let task = small_task(&folder);
    let mut values = assert_exact(&folder, &recipes, &task);
    values.extend(perplexities(&[model], &task));
    all_differ(&values);
}

#[test]
fn a_path_through_gemma3_keeps_the_attention_window_of_each_block() {
    let Some(model) = real_model("gemma-3-270m.gguf") else { return };
    let folder = Folder::new();
    let order = [5, 0, 1, 11, 2, 2, 17, 3, 10, 4, 5, 16];
    let hop = |layer: &u32| format!("  - {{{}layer: {layer}, scale: 1.{layer:02}}}\n", of_model(&model));
    let text = format!("path:\n{}", order.iter().map(hop).collect::<String>());
    let recipes = [("path".to_owned(), text.clone()), ("residual".to_owned(), text + "path_scale: residual\n")];
    all_differ(&assert_exact(&folder, &recipes, &small_task(&folder)));
    let file = Parent::open(folder.path("path.gguf")).unwrap();
    let windows = file.arch("attention.sliding_window_pattern").unwrap().as_array().unwrap();
    let windows: Vec<bool> = windows.iter().map(|flag| flag.as_bool().unwrap()).collect();
    // Every sixth layer sees everything (llama.cpp's src/models/gemma3.cpp, where the file does not say).
    assert_eq!(windows, order.map(|layer| layer % 6 < 5));
}

#[test]
fn mistakes_in_a_path_are_named_with_their_place() {
    let folder = Folder::new();
    Tiny::llama(64, 1).write(&folder.path("a.gguf"));
    as_architecture(Tiny::llama(64, 1), "qwen2").write(&folder.path("qwen2.gguf"));
    let many = |line: &str, count: usize| format!("path:\n{}", format!("  - {{{line}}}\n").repeat(count));
    let cases: [(&str, &[&str]); 14] = [
        ("path:\n  - {model: a.gguf, layer: 2}\n", &["FILE:2:5: ", "`layer` 2 of `a.gguf`", "beyond its 2 layers"]),
        ("path:\n  - {model: a.gguf, layers: [1, 1]}\n", &["FILE:2:5: ", "[1, 1]"]),
        ("path:\n  - {model: a.gguf, scale: 0}\npath_scale: residual\n", &["FILE:2:5: ", "`scale`", "above 0"]),
        ("path:\n  - {model: a.gguf, scale: -1}\n", &["FILE:2:5: ", "`scale`", "first hop", "above 0"]),
        ("path:\n  - {model: a.gguf}\n  - {model: a.gguf, scale: .nan}\n", &["FILE:3:5: ", "`scale`", "finite"]),
        ("path:\n  - {model: a.gguf}\n  - {layer: 1}\n", &["FILE:3:5: ", "no `model`"]),
        ("path:\n  - {model: a.gguf, layer: 0, layers: [0, 1]}\n", &["FILE:2:39: ", "`layer` says it already"]),
        ("path:\n  - {model: a.gguf, layer: -1}\n", &["FILE:2:"]),
        ("path:\n  - {model: a.gguf, layres: [0, 1]}\n", &["FILE:2:", "`layres`", "did you mean"]),
        ("path:\n  - {model: a.gguf}\npath_scale: both\n", &["FILE:3:13: ", "`both`", "`mlp_output` or `residual`"]),
        ("path: []\n", &["FILE:1:7: ", "`path`"]),
        (&many("model: a.gguf, layer: 0", 513), &["FILE:", "513", "512"]),
        (&many("model: a.gguf", 257), &["FILE:258:5: ", "514", "512"]),
        ("path:\n  - {model: qwen2.gguf, layer: 1, scale: 1.5}\n", &["recipe.yaml", "`qwen2`", "scale"]),
    ];
    for (text, parts) in cases {
        let recipe = folder.write("recipe.yaml", text);
        let recipe = recipe.to_str().unwrap();
        for args in [&["inspect", recipe][..], &["run", recipe, "-p", "A", "--json"]] {
            let done = ggraft(args);
            for part in parts {
                let part = part.replace("FILE", recipe);
                assert!(done.error(2).contains(&part), "no {part:?} for {text}: {done:?}");
            }
        }
    }
    // Without a scale the same architecture is taken.
    let recipe = folder.write("recipe.yaml", "path:\n  - {model: qwen2.gguf, layer: 1}\n");
    assert_eq!(ggraft(["inspect", recipe.to_str().unwrap()]).code(), 0);
}
