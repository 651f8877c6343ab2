//! One live model, many recipes: every swap gives what a fresh load gives, memory does not grow and nothing reaches a disk.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use ggraft::disk::written_bytes;
use ggraft::generate::Request;
use ggraft::gguf::Parent;
use ggraft::model::{ContextSize, Live, LlamaToken, ParentsOn, Settings, Vocabulary, log_to_stderr};
use ggraft::plan::{Plan, Siblings};
use ggraft::recipe::Recipe;
use ggraft::score::{Progress, generate, negative_log_likelihoods};

use crate::support::{lines, quickstart};

/// Set for the process that measures: other tests in it would be measured too.
pub const ALONE: &str = "GGRAFT_TEST_ALONE";
/// One thread: with more, llama.cpp waits in loops for threads that other tests keep from running.
pub const SETTINGS: Settings =
    Settings { threads: 1, batch: 512, ubatch: 512, gpu_layers: 0, gpu_parents: ParentsOn::Auto };
const SIZE: ContextSize = ContextSize { sequences: 4, tokens: 256 };
const SWAPS: usize = 200;

/// What a model makes of the probe prompts: exact likelihoods and texts.
#[derive(Debug, PartialEq)]
struct Probe {
    likelihoods: Vec<u64>,
    texts: Vec<String>,
}

struct Bench {
    siblings: Siblings,
    vocabulary: Arc<Vocabulary>,
    prompts: Vec<Vec<LlamaToken>>,
}

impl Bench {
    fn new() -> Self {
        log_to_stderr(false);
        let paths = ["base", "math", "ja"].map(|name| quickstart(&format!("{name}-Q8_0.gguf")));
        let siblings = Siblings::new(paths.iter().map(|p| Parent::open(p).unwrap()).collect()).unwrap();
        let vocabulary = Arc::new(Vocabulary::load(&paths[0], None).unwrap());
        let rows = lines("target_search.jsonl", 3);
        let prompt =
            |row: &str| serde_json::from_str::<serde_json::Value>(row).unwrap()["prompt"].as_str().unwrap().to_owned();
        let prompts = rows.lines().map(|row| vocabulary.tokenize(&prompt(row))).collect();
        Self { siblings, vocabulary, prompts }
    }

    /// The plan of a recipe text in which `BASE`, `MATH` and `JA` stand for the parents.
    fn plan(&self, recipe: &str) -> Plan {
        let named = ["BASE", "MATH", "JA"].iter().zip(["base", "math", "ja"]);
        let text = named.fold(recipe.to_owned(), |text, (name, file)| text.replace(name, &format!("{file}-Q8_0.gguf")));
        let mut recipe = Recipe::parse(&text, &quickstart("recipe.yaml")).unwrap();
        // Parents come in the siblings' order, the recipe's models in its own.
        let order: Vec<usize> = recipe.models.iter().map(|m| self.position(&m.path)).collect();
        recipe.models = self.siblings.parents().iter().map(|p| ggraft::recipe::ModelRef::plain("", p.path())).collect();
        recipe.base_model = recipe.base_model.map(|m| order[m]);
        for source in recipe.slices.iter_mut().flat_map(|s| &mut s.sources) {
            source.model = order[source.model];
        }
        self.siblings.plan(&recipe).unwrap()
    }

    fn position(&self, path: &Path) -> usize {
        self.siblings.parents().iter().position(|p| p.path() == path).unwrap()
    }

    fn load(&self, plan: &Plan) -> Live {
        Live::of_plan(plan, self.siblings.parents(), Arc::clone(&self.vocabulary), SETTINGS, SIZE).unwrap().0
    }

    fn probe(&self, live: &mut Live) -> Probe {
        let mut go_on = |_, _| true;
        let (likelihoods, _) = negative_log_likelihoods(live, &self.prompts, &mut Progress::new(&mut go_on)).unwrap();
        let requests: Vec<Request> = self.prompts.iter().map(|p| Request::greedy(p.clone(), 8)).collect();
        let (answers, _) = generate(live, &requests, &|_, _, _| false, &mut Progress::new(&mut go_on)).unwrap();
        Probe {
            likelihoods: likelihoods.iter().map(|(nll, _)| nll.to_bits()).collect(),
            texts: answers.into_iter().map(|a| a.text).collect(),
        }
    }
}

/// Ten recipes of one shape, of every method that blends.
fn recipes() -> Vec<String> {
    let mut recipes = Vec::new();
    for weight in [0.2, 0.45] {
        let two = |more: &str| {
            format!(
                "models: [{{model: MATH, parameters: {{weight: {weight}{more}}}}}, {{model: JA, parameters: {{weight: 0.3{more}}}}}]"
            )
        };
        recipes.push(format!("merge_method: linear\n{}", two("")));
        recipes.push(format!(
            "merge_method: slerp\nbase_model: BASE\nmodels: [{{model: JA}}]\nparameters: {{t: {weight}}}"
        ));
        recipes.push(format!("merge_method: task_arithmetic\nbase_model: BASE\n{}", two("")));
        recipes.push(format!("merge_method: ties\nbase_model: BASE\n{}", two(", density: 0.4")));
        recipes.push(format!("merge_method: dare_ties\nbase_model: BASE\n{}", two(", density: 0.7")));
    }
    recipes
}

/// Resident memory in kB, shared memory (the virtual model) included.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn two_hundred_swaps_give_what_fresh_loads_give_in_the_same_memory_and_write_nothing() {
    if env::var_os(ALONE).is_none() {
        let name = "swaps::two_hundred_swaps_give_what_fresh_loads_give_in_the_same_memory_and_write_nothing";
        let alone = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&alone.stdout);
        assert!(
            alone.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&alone.stderr)
        );
        return;
    }
    let bench = Bench::new();
    let plans: Vec<Plan> = recipes().iter().map(|r| bench.plan(r)).collect();
    let fresh: Vec<Probe> = plans.iter().map(|plan| bench.probe(&mut bench.load(plan))).collect();
    for i in 0..fresh.len() {
        assert!(
            !fresh[..i].contains(&fresh[i]),
            "recipes {i} and an earlier one do the same: a stuck swap would not show"
        );
    }
    let mut live = bench.load(&plans[0]);
    let mut swap = |i: usize| {
        // A new order of recipes in every round.
        let recipe = (i * 7 + i / plans.len()) % plans.len();
        // Compiled anew, as a search does.
        let plan = bench.plan(&recipes()[recipe]);
        assert!(!live.swap(&plan, bench.siblings.parents()).unwrap().reloaded);
        assert_eq!(bench.probe(&mut live), fresh[recipe], "swap {i}, recipe {recipe}");
    };
    (0..2 * plans.len()).for_each(&mut swap);
    let (memory, written) = (resident(), written_bytes().expect("Linux counts them"));
    (0..SWAPS).for_each(&mut swap);
    assert_eq!(written_bytes(), Some(written), "bytes were written to disk");
    let now = resident();
    assert!(now * 100 < memory * 101, "{memory} kB resident after warm-up, {now} kB after {SWAPS} swaps");
    println!("{memory} kB resident after warm-up, {now} kB after {SWAPS} swaps");
}

#[test]
fn a_swap_to_another_shape_and_back_gives_what_fresh_loads_give() {
    let bench = Bench::new();
    let slices = |cut: u32, from: u32| {
        format!(
            "merge_method: passthrough\nslices:\n  - sources: [{{model: BASE, layer_range: [0, {cut}]}}]\n  - sources: [{{model: JA, layer_range: [{from}, 8]}}]"
        )
    };
    let f16 = format!("{}\nout_type: f16", recipes()[0]);
    let texts = [recipes()[0].clone(), slices(5, 3), f16, slices(4, 4), recipes()[3].clone()];
    let plans: Vec<Plan> = texts.iter().map(|t| bench.plan(t)).collect();
    let mut live = bench.load(&plans[0]);
    let mut reloads = 0;
    for plan in plans.iter().chain(&plans).skip(1) {
        reloads += usize::from(live.swap(plan, bench.siblings.parents()).unwrap().reloaded);
        assert_eq!(bench.probe(&mut live), bench.probe(&mut bench.load(plan)), "{}", plan.name);
    }
    assert!(reloads > 0, "every shape was the same");
}
