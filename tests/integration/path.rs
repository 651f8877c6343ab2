//! Paths through blocks: what a path computes is what its unrolled file and a forward pass written here compute, each block costs memory
//! once, and the next path costs nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs};

use ggraft::disk::written_bytes;
use ggraft::gguf::{Metadata, Parent};
use ggraft::model::{ContextSize, Live, LlamaToken, Swap, Vocabulary, log_to_stderr};
use ggraft::plan::{Plan, Siblings};
use ggraft::recipe::{Hop, MethodSpec, ModelRef, PathScale, Place, Recipe};
use ggraft::score::{Progress, negative_log_likelihoods};

use crate::exact::{assert_exact, export, perplexities, siblings};
use crate::support::{Folder, Random, TINY_BLOCKS, Tiny, ggraft, perplexity_task};
use crate::swaps::{ALONE, SETTINGS, resident};

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

/// What the test called `name` prints in a process of its own, where [`ALONE`] says `part`: other tests would be measured too.
fn alone(name: &str, part: &str) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    let done = command.args(["--exact", name, "--nocapture"]).env(ALONE, part).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&done.stderr));
    text.into_owned()
}

/// In the process that measures: runs `models[0]` as it is or the path through all of them, and prints the resident memory in kB.
fn measure(part: &str, models: &[PathBuf], blocks: u32) {
    let hops: Vec<String> = models.iter().map(|path| of_model(path)).collect();
    let text = path_of(5, &hops.iter().map(String::as_str).collect::<Vec<_>>(), blocks, true);
    let opened = Opened::new(&text, Path::new("path.yaml"));
    let mut live = match part {
        "plain" => Live::of_file(&models[0], Arc::clone(&opened.vocabulary), SETTINGS, SIZE).unwrap(),
        "shared" => opened.run(&opened.plan),
        "unshared" => opened.run(&opened.plan.clone().unshared()),
        _ => panic!("{part}"),
    };
    assert!(likelihoods(&mut live, &texts(1, 8))[0].is_finite());
    println!("\nresident: {}", resident());
}

/// Asserts that 96 hops need the memory of their models' blocks once and of nothing else, keys and values apart, by the resident memory
/// of three processes. `per_hop` is the most that llama.cpp's graph may take for a hop, in bytes: it outweighs the smallest models.
fn each_block_costs_memory_once(name: &str, models: &[PathBuf], per_hop: f64) {
    let parents: Vec<Parent> = models.iter().map(|path| Parent::open(path).unwrap()).collect();
    let blocks = parents[0].block_count();
    if let Some(part) = env::var_os(ALONE) {
        return measure(part.to_str().unwrap(), models, blocks);
    }
    let [plain, shared, unshared] = ["plain", "shared", "unshared"].map(|part| {
        let text = alone(name, part);
        let line = text.lines().find_map(|line| line.strip_prefix("resident: ")).unwrap();
        line.parse::<f64>().unwrap() * 1024.0
    });
    let setting = |suffix| f64::from(parents[0].arch_u32(suffix).unwrap());
    let heads = setting("attention.head_count_kv");
    let head = setting("embedding_length") / setting("attention.head_count");
    // Of two bytes each.
    let cache = |hops: usize| (hops * SIZE.tokens as usize * 2 * 2) as f64 * heads * head;
    let file = parents[0].size_bytes() as f64;
    let most = 1.2 * (plain - cache(blocks as usize) + file * (models.len() - 1) as f64) + HOPS as f64 * per_hop;
    println!(
        "MB: plain {:.1}, shared {:.1}, unshared {:.1}; file {:.1}, keys and values {:.1} and {:.1}",
        plain / 1e6,
        shared / 1e6,
        unshared / 1e6,
        file / 1e6,
        cache(blocks as usize) / 1e6,
        cache(HOPS) / 1e6
    );
    assert!(shared - cache(HOPS) < most, "{shared} bytes shared, {plain} plain");
    // Neither does that hold without sharing,
    assert!(unshared - cache(HOPS) > 1.5 * most, "{unshared} bytes unshared, {plain} plain");
    // nor is anything but the unrolled model what sharing saves. It counts twice: where it is written and where llama.cpp maps it.
    let block =
        |name: &str| parents[0].tensors().iter().filter(|t| t.name.starts_with(name)).map(|t| t.bytes).sum::<u64>();
    let unrolled = block("blk.0.") * HOPS as u64 + block("token_embd.");
    let saved = (unshared - shared) / (2 * unrolled) as f64;
    assert!((0.9..1.1).contains(&saved), "{shared} bytes shared, {unshared} unshared: {saved} of what was to be saved");
}

#[test]
fn ninety_six_hops_through_two_models_cost_each_block_once() {
    let [_, math, ja] = siblings();
    each_block_costs_memory_once("path::ninety_six_hops_through_two_models_cost_each_block_once", &[math, ja], 128e3);
}

#[test]
fn ninety_six_hops_through_smollm2_cost_each_block_once() {
    let Some(model) = real_model("SmolLM2-135M-Instruct.gguf") else { return };
    each_block_costs_memory_once("path::ninety_six_hops_through_smollm2_cost_each_block_once", &[model], 0.0);
}

/// Paths through the quickstart's models, made in code as a search makes them.
struct Paths {
    opened: Opened,
    models: Vec<ModelRef>,
}

impl Paths {
    fn new() -> Self {
        let hops = siblings().map(|path| format!("  - {{{}}}\n", of_model(&path)));
        let opened = Opened::new(&format!("path:\n{}", hops.concat()), Path::new("path.yaml"));
        let models = siblings().map(|path| ModelRef::plain("", path)).into();
        Self { opened, models }
    }

    fn plan(&self, blocks: &[(usize, u32)], scales: &[f64], path_scale: PathScale) -> Plan {
        let mut recipe = Recipe::new(MethodSpec::find("passthrough").unwrap(), self.models.clone(), Vec::new());
        let hop = |(at, (model, layer)): (usize, &(usize, u32))| Hop {
            model: Some(*model),
            layers: Some((*layer, layer + 1)),
            scale: scales.get(at).copied().unwrap_or(1.0),
            place: Place::default(),
        };
        recipe.path = blocks.iter().enumerate().map(hop).collect();
        recipe.path_scale = path_scale;
        self.opened.siblings.plan(&recipe.checked().unwrap()).unwrap()
    }

    fn plain(&self, blocks: &[(usize, u32)]) -> Plan {
        self.plan(blocks, &[], PathScale::default())
    }

    fn swap(&self, live: &mut Live, plan: &Plan) -> Swap {
        live.swap(plan, self.opened.siblings.parents()).unwrap()
    }

    fn fresh(&self, plan: &Plan) -> Vec<u64> {
        probe(&mut self.opened.run(plan))
    }
}

fn probe(live: &mut Live) -> Vec<u64> {
    likelihoods(live, &texts(2, 6)).into_iter().map(f64::to_bits).collect()
}

fn drawn(random: &mut Random, hops: usize) -> Vec<(usize, u32)> {
    (0..hops).map(|_| (below(random, 3), below(random, BLOCKS as usize) as u32)).collect()
}

#[test]
fn a_thousand_paths_in_one_process_move_no_weights_and_take_no_memory() {
    if env::var_os(ALONE).is_none() {
        let text = alone("path::a_thousand_paths_in_one_process_move_no_weights_and_take_no_memory", "1");
        println!("{}", text.lines().find(|line| line.contains("median")).unwrap());
        return;
    }
    let (count, often, length) = (1000, 50, 24);
    let paths = Paths::new();
    let mut random = Random(3);
    let all: Vec<Vec<(usize, u32)>> = (0..count).map(|_| drawn(&mut random, length)).collect();
    let fresh: Vec<Vec<u64>> = all.iter().step_by(often).map(|blocks| paths.fresh(&paths.plain(blocks))).collect();
    assert!((0..fresh.len()).all(|i| !fresh[..i].contains(&fresh[i])), "a stuck swap would not show: {fresh:?}");
    // The first path passes every block of every model, so that all of them are resident.
    let every: Vec<(usize, u32)> = (0..3).flat_map(|model| (0..BLOCKS).map(move |layer| (model, layer))).collect();
    let mut live = paths.opened.run(&paths.plain(&every));
    let mut times = Vec::new();
    let mut change = |at: usize| {
        let start = Instant::now();
        let plan = paths.plain(&all[at]);
        let swap = paths.swap(&mut live, &plan);
        times.push(start.elapsed());
        assert!(!swap.reloaded, "path {at}");
        assert_eq!(swap.fill.bytes_written, 0, "path {at}");
        if at.is_multiple_of(often) {
            assert_eq!(probe(&mut live), fresh[at / often], "path {at}");
        }
    };
    (0..2 * often).for_each(&mut change);
    let (memory, written) = (resident(), written_bytes().expect("Linux counts them"));
    (0..count).for_each(&mut change);
    assert_eq!(written_bytes(), Some(written), "bytes were written to disk");
    let now = resident();
    assert!(now * 100 < memory * 101, "{memory} kB resident after warm-up, {now} kB after {count} paths");
    times.sort_unstable();
    println!(
        "\n{:?} for a change of path (median), {memory} kB resident before, {now} kB after",
        times[times.len() / 2]
    );
}

#[test]
fn other_gains_are_a_few_bytes_and_another_length_computes_nothing() {
    let paths = Paths::new();
    let mut random = Random(4);
    let blocks = drawn(&mut random, 20);
    let mut scales = || (0..20).map(|_| 1.0 + 0.2 * f64::from(random.next())).collect::<Vec<f64>>();
    for form in PathScale::ALL {
        let (first, second) = (scales(), scales());
        let mut live = paths.opened.run(&paths.plan(&blocks, &first, form));
        let mut other = blocks.clone();
        other.reverse();
        // Other gains; other blocks; both.
        for (blocks, scales) in [(&blocks, &second), (&other, &second), (&blocks, &first)] {
            let plan = paths.plan(blocks, scales, form);
            let swap = paths.swap(&mut live, &plan);
            assert!(!swap.reloaded);
            // Two F32 gains for each hop.
            assert_eq!(swap.fill.bytes_written, 20 * 2 * 4);
            assert_eq!(probe(&mut live), paths.fresh(&plan));
        }
        let shorter = paths.plain(&blocks[..7]);
        let swap = paths.swap(&mut live, &shorter);
        assert!(swap.reloaded);
        assert_eq!((swap.fill.bytes_read, swap.fill.bytes_written), (0, 0));
        assert_eq!(probe(&mut live), paths.fresh(&shorter));
    }
}

#[test]
fn a_merge_is_computed_once_for_all_paths_through_it() {
    let [base, math, ja] = siblings().map(|path| of_model(&path));
    let merge = |path: &str| {
        let weight = |w| format!("parameters: {{weight: {w}}}");
        let text = format!(
            "merge_method: linear\nmodels: [{{{base}{}}}, {{{math}{}}}, {{{ja}{}}}]\npath: {path}\n",
            weight(0.2),
            weight(0.5),
            weight(0.3)
        );
        Opened::new(&text, Path::new("path.yaml"))
    };
    let short = merge("[{layers: [0, 3]}, {layer: 1}]");
    // Blocks 0 to 2 once; the token table and the last norm.
    let bytes = |plan: &Plan, name: &str| {
        plan.tensors.iter().filter(|t| t.info.name.starts_with(name)).map(|t| t.info.bytes).sum::<u64>()
    };
    let ends = ["token_embd", "output_norm"].map(|name| bytes(&short.plan, name)).iter().sum::<u64>();
    let block = bytes(&short.plan, "blk.0.");
    let (mut live, swap) = short.load(&short.plan);
    assert_eq!(swap.fill.bytes_written, 3 * block + ends);
    let other_ja = format!("[{{layer: 2}}, {{layers: [0, 3]}}, {{{ja}layer: 4}}, {{layer: 0}}]");
    for (path, reloaded, new) in [
        ("[{layer: 2}, {layer: 1}, {layer: 2}, {layer: 0}]", false, 0),
        ("[{layer: 2}, {layer: 1}, {layer: 7}, {layer: 0}]", false, 1),
        (other_ja.as_str(), true, 0),
        ("[{}]", true, 4),
    ] {
        let next = merge(path);
        let swap = live.swap(&next.plan, short.siblings.parents()).unwrap();
        assert_eq!((swap.reloaded, swap.fill.bytes_written), (reloaded, new * block), "{path}");
        assert_eq!(probe(&mut live), probe(&mut next.run(&next.plan)), "{path}");
    }
}

/// One block passed in the forward pass below, and what enters it multiplied by `scale`.
#[derive(Clone, Copy)]
struct Step<'a> {
    model: &'a Tiny,
    layer: u32,
    scale: f64,
}

/// Tokens that a windowed layer of [`gemma`] sees, the current one counted.
const WINDOW: usize = 5;
/// Base of the rotary angles of its other layers; llama.cpp's default for windowed ones, and for llama, is [`BASE`].
const GLOBAL_BASE: f32 = 1e6;
const BASE: f64 = 10_000.0;
const EPSILON: f64 = 1e-5;

/// What enters a block from the stream `rest` and the feed-forward output `added` of the block before.
type Enter = fn(scale: f64, rest: f64, added: f64) -> f64;
const MLP_OUTPUT: Enter = |scale, rest, added| rest + scale * added;
const RESIDUAL: Enter = |scale, rest, added| scale * (rest + added);
const UNSCALED: Enter = |_, rest, added| rest + added;

/// The summed negative log-likelihood of `text` after its first token, in f64 and without ggraft or llama.cpp.
///
/// A llama: RMS norms, rotary positions, grouped heads, SwiGLU. A Gemma 3 has norms of queries and keys and behind both outputs, GELU,
/// other pairs in its rotations, and layers that see only a window. The embedding is the first block's model's, the last norm the last's.
fn reference(path: &[Step], enter: Enter, text: &[LlamaToken]) -> f64 {
    let first = path[0].model;
    let table = tensor(first, "token_embd.weight").unwrap();
    let width = tensor(first, "output_norm.weight").unwrap().len();
    let gemma = is_gemma(first);
    let by = if gemma { (width as f64).sqrt() } else { 1.0 };
    let embed = |t: &LlamaToken| table[t.0 as usize * width..][..width].iter().map(|x| by * f64::from(*x)).collect();
    let mut added: Vec<Vec<f64>> = text.iter().map(embed).collect();
    let mut rest = vec![vec![0.0; width]; text.len()];
    for Step { model, layer, scale } in path {
        let w = |part: &str| tensor(model, &format!("blk.{layer}.{part}.weight"));
        let norm = |part: &str, x: &[f64]| w(part).map_or(x.to_vec(), |weight| normed(x, weight));
        let apply = |part: &str, x: &[f64]| times(w(part).unwrap(), x);
        // As the file of the model says: the first of every two.
        let windowed = gemma && layer % 2 == 0;
        let base = if gemma && !windowed { f64::from(GLOBAL_BASE) } else { BASE };
        let heads = |part: &str, norm_part: &str, x: &[f64], at: usize| -> Vec<Vec<f64>> {
            let turned = |head: &[f64]| rotated(&norm(norm_part, head), at, base, gemma);
            apply(part, x).chunks(width / 4).map(turned).collect()
        };
        let x: Vec<Vec<f64>> = rest
            .iter()
            .zip(&added)
            .map(|(r, a)| r.iter().zip(a).map(|(r, a)| enter(*scale, *r, *a)).collect())
            .collect();
        let h: Vec<Vec<f64>> = x.iter().map(|x| norm("attn_norm", x)).collect();
        let keys: Vec<_> = h.iter().enumerate().map(|(at, h)| heads("attn_k", "attn_k_norm", h, at)).collect();
        let values: Vec<Vec<f64>> = h.iter().map(|h| apply("attn_v", h)).collect();
        for at in 0..text.len() {
            let seen = if windowed { (at + 1).saturating_sub(WINDOW) } else { 0 }..at + 1;
            let mut mixed = Vec::new();
            for (number, query) in heads("attn_q", "attn_q_norm", &h[at], at).iter().enumerate() {
                let group = number / 2;
                let size = query.len();
                let score = |j: usize| (dot(query, &keys[j][group]) / (size as f64).sqrt()).exp();
                let total: f64 = seen.clone().map(score).sum();
                let value =
                    |i: usize| seen.clone().map(|j| score(j) / total * values[j][group * size + i]).sum::<f64>();
                mixed.extend((0..size).map(value));
            }
            let out = norm("post_attention_norm", &apply("attn_output", &mixed));
            rest[at] = x[at].iter().zip(out).map(|(x, out)| x + out).collect();
            let h = norm("ffn_norm", &rest[at]);
            let gate = apply("ffn_gate", &h);
            let activated =
                gate.iter().zip(apply("ffn_up", &h)).map(|(g, up)| if gemma { gelu(*g) } else { silu(*g) } * up);
            added[at] = norm("post_ffw_norm", &apply("ffn_down", &activated.collect::<Vec<f64>>()));
        }
    }
    let last = tensor(path[path.len() - 1].model, "output_norm.weight").unwrap();
    let surprise = |at: usize| {
        let x: Vec<f64> = rest[at].iter().zip(&added[at]).map(|(r, a)| r + a).collect();
        let logits = times(table, &normed(&x, last));
        logits.iter().map(|l| l.exp()).sum::<f64>().ln() - logits[text[at + 1].0 as usize]
    };
    (0..text.len() - 1).map(surprise).sum()
}

fn tensor<'a>(model: &'a Tiny, name: &str) -> Option<&'a [f32]> {
    model.tensors.iter().find(|(info, _)| info.name == name).map(|(_, data)| data.as_slice())
}

fn is_gemma(model: &Tiny) -> bool {
    model.metadata.str("general.architecture") == Some("gemma3")
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn times(matrix: &[f32], x: &[f64]) -> Vec<f64> {
    matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
}

fn normed(x: &[f64], weight: &[f32]) -> Vec<f64> {
    let size = (dot(x, x) / x.len() as f64 + EPSILON).sqrt();
    x.iter().zip(weight).map(|(x, w)| x / size * f64::from(*w)).collect()
}

/// Rotary positions: pairs of neighbours, or in Gemma of an element of the first half and one of the second.
fn rotated(x: &[f64], at: usize, base: f64, halves: bool) -> Vec<f64> {
    let mut out = x.to_vec();
    for i in 0..x.len() / 2 {
        let (a, b) = if halves { (i, i + x.len() / 2) } else { (2 * i, 2 * i + 1) };
        let (sin, cos) = (at as f64 * base.powf(-2.0 * i as f64 / x.len() as f64)).sin_cos();
        (out[a], out[b]) = (x[a] * cos - x[b] * sin, x[a] * sin + x[b] * cos);
    }
    out
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

/// A tiny llama whose norms are not all 1 and whose answers depend on every part.
fn llama(seed: u64) -> Tiny {
    let mut tiny = Tiny::llama(64, seed);
    let mut random = Random(seed + 100);
    for (info, data) in &mut tiny.tensors {
        match info.shape.len() {
            1 => data.iter_mut().for_each(|x| *x += 0.3 * random.next()),
            _ => data.iter_mut().for_each(|x| *x *= 2.0),
        }
    }
    tiny
}

/// The same model as a Gemma 3, with the norms that it then has and a window in its first layer.
fn gemma(seed: u64) -> Tiny {
    let mut tiny = as_architecture(llama(seed), "gemma3");
    tiny.metadata.insert("gemma3.attention.sliding_window", WINDOW as u32);
    tiny.metadata.insert("gemma3.attention.sliding_window_pattern", 2u32);
    tiny.metadata.insert("gemma3.rope.freq_base", GLOBAL_BASE);
    let mut random = Random(seed + 200);
    for block in 0..TINY_BLOCKS {
        for (part, size) in
            [("attn_q_norm", 16), ("attn_k_norm", 16), ("post_attention_norm", 64), ("post_ffw_norm", 64)]
        {
            let data = (0..size).map(|_| 1.0 + 0.3 * random.next()).collect();
            tiny.add(&format!("blk.{block}.{part}.weight"), &[size], data);
        }
    }
    tiny
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

/// How far each of `enters`, in the reference, is from what a path of scales through two models, with repeats, computes: the largest
/// relative difference in the log-likelihood of a text.
fn distances(models: &[Tiny; 2], form: PathScale, enters: &[Enter]) -> Vec<f64> {
    let folder = Folder::new();
    let order = [(0, 0, 1.3), (1, 1, 0.7), (0, 0, 1.2), (1, 1, 0.6), (0, 1, 1.4), (1, 0, 0.8), (1, 0, 0.9)];
    let names = ["a.gguf", "b.gguf"];
    for (model, name) in models.iter().zip(names) {
        model.write(&folder.path(name));
    }
    let hops =
        order.map(|(model, layer, scale)| format!("  - {{model: {}, layer: {layer}, scale: {scale}}}\n", names[model]));
    let text = format!("path:\n{}path_scale: {}\n", hops.concat(), form.name());
    let opened = Opened::new(&text, &folder.path("recipe.yaml"));
    let texts = texts(5, 16);
    let ours = likelihoods(&mut opened.run(&opened.plan), &texts);
    let steps = order.map(|(model, layer, scale)| Step { model: &models[model], layer, scale });
    let distance = |enter: &Enter| {
        let far = texts.iter().zip(&ours).map(|(text, ours)| (ours / reference(&steps, *enter, text) - 1.0).abs());
        far.fold(0.0, f64::max)
    };
    enters.iter().map(distance).collect()
}

#[test]
fn scales_do_what_a_forward_pass_in_f64_does_with_them() {
    for models in [[llama(1), llama(2)], [gemma(1), gemma(2)]] {
        let name = models[0].metadata.str("general.architecture").unwrap().to_owned();
        let mlp_output = distances(&models, PathScale::MlpOutput, &[MLP_OUTPUT, RESIDUAL, UNSCALED]);
        let residual = distances(&models, PathScale::Residual, &[RESIDUAL, MLP_OUTPUT, UNSCALED]);
        for far in [mlp_output, residual] {
            // llama.cpp keeps keys and values in f16, whose 11 bits round them by up to 5e-4: 5e-5 is measured of the sums.
            assert!(far[0] < 1e-4, "{name}: {far:?}");
            assert!(far[1] > 1e-2 && far[2] > 1e-2, "{name}: {far:?}");
        }
    }
}

#[test]
fn mistakes_in_a_path_are_named_with_their_place() {
    let folder = Folder::new();
    Tiny::llama(64, 1).write(&folder.path("a.gguf"));
    as_architecture(Tiny::llama(64, 1), "qwen2").write(&folder.path("qwen2.gguf"));
    let many = |line: &str, count: usize| format!("path:\n{}", format!("  - {{{line}}}\n").repeat(count));
    let cases: [(&str, &[&str]); 14] = [
        ("path:\n  - {model: a.gguf, layer: 2}\n", &["FILE:2:5: ", "`layers`", "a.gguf", "beyond its 2 layers"]),
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
