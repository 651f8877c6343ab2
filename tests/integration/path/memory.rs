//! What paths cost: each block's memory once, next to nothing for the next path, a merge once for all paths through it.

use std::process::Command;
use std::time::Instant;

use ggraft::disk::written_bytes;
use ggraft::recipe::{Hop, MethodSpec, ModelRef, PathScale, Place};

use super::*;
use crate::swaps::{ALONE, resident};

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
    each_block_costs_memory_once(
        "path::memory::ninety_six_hops_through_two_models_cost_each_block_once",
        &[math, ja],
        128e3,
    );
}

#[test]
fn ninety_six_hops_through_smollm2_cost_each_block_once() {
    let Some(model) = real_model("SmolLM2-135M-Instruct.gguf") else { return };
    each_block_costs_memory_once("path::memory::ninety_six_hops_through_smollm2_cost_each_block_once", &[model], 0.0);
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
        let text = alone("path::memory::a_thousand_paths_in_one_process_move_no_weights_and_take_no_memory", "1");
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
