//! Evolve files: what is filled in, and what a wrong one is told.

use std::fs;
use std::path::{Path, PathBuf};

use super::folder;
use crate::evolve::{Algorithm, Config, EvolveError, Gains, Start};
use crate::recipe::{MAX_BLOCKS, OutType, PathScale, Recipe, TokenizerSource};

const GOOD: &str = "\
genome:
  models: [a.gguf, b.gguf]
  merge_method: linear
tasks:
  - task: t.yaml
    test: test.jsonl
search:
  budget: 100
";

fn parse(text: &str) -> Result<Config, EvolveError> {
    Config::parse(text.to_owned(), Path::new("dir/e.yaml"))
}

#[test]
fn defaults_are_the_papers() {
    let config = parse(GOOD.split("search:").next().unwrap()).unwrap();
    let search = config.search;
    assert_eq!((search.budget, search.population, search.seed), (1000, None, 0));
    assert_eq!((search.sigma, search.start), (1.0 / 6.0, Start::At { weight: 0.5, density: 0.5, t: 0.5 }));
    assert_eq!((search.minibatch, search.finalists), (None, 5));
    let goal = &config.tasks[0];
    assert_eq!((goal.weight, &goal.search), (1.0, &None));
    assert_eq!((&goal.task, &goal.test), (&PathBuf::from("dir/t.yaml"), &Some(PathBuf::from("dir/test.jsonl"))));
    let genome = config.genome.as_ref().unwrap();
    assert_eq!(genome.models[1].path, Path::new("dir/b.gguf"));
    assert_eq!((genome.searched, genome.base, genome.tokenizer_source), (2, None, None));
    assert_eq!((genome.layer_granularity, genome.normalize, genome.smooth), (0, None, false));
    assert_eq!(genome.out_types, [OutType::Q8_0]);
    assert!(!genome.allow_negative_weights && genome.sets.is_empty());
}

#[test]
fn a_task_is_named_alone_or_with_what_the_search_makes_of_it() {
    let named = |tasks: &str| {
        let text = GOOD.replace("\n  - task: t.yaml\n    test: test.jsonl", tasks);
        parse(&text).unwrap().tasks.into_iter().map(|goal| (goal.task, goal.name, goal.weight)).collect::<Vec<_>>()
    };
    assert_eq!(named(" [t.yaml, gsm8k]"), named(" [{task: t.yaml}, {name: gsm8k}]"));
    let goal = |file: &str, name: Option<&str>| (PathBuf::from(file), name.map(str::to_owned), 1.0);
    assert_eq!(named("\n  - t.yaml\n  - gsm8k"), [goal("dir/t.yaml", None), goal("dir/gsm8k.yaml", Some("gsm8k"))]);
}

#[test]
fn paths_of_a_file_in_the_current_folder_are_compared_as_others_are() {
    let text = GOOD.replace("b.gguf", "./a.gguf");
    let error = Config::parse(text, Path::new("e.yaml")).err().unwrap().to_string();
    assert!(error.contains("`./a.gguf` is named twice"), "{error}");
    let recipe = Recipe::parse("{merge_method: passthrough, models: [{model: a.gguf}]}", Path::new("r.yaml")).unwrap();
    let config = Config::parse(GOOD.to_owned(), Path::new("e.yaml")).unwrap();
    assert!(recipe.models[0].is(&config.models[0]));
}

#[test]
fn everything_can_be_set() {
    let text = "\
genome: {models: [a.gguf, b.gguf], merge_method: ties, base_model: c.gguf, tokenizer_source: base, layer_granularity: 2,
  normalize: false, allow_negative_weights: true, filters: [mlp], smooth: true, out_type: f16}
tasks:
  - {name: t.yml, weight: -2, metric: 'acc,none', search: s.jsonl, test: x.csv}
shuffle: true
random_init: false
search: {space: parameter, algorithm: cma_es, population: 7, sigma: 0.1, start: mergekit, budget: 9, seed: 4, minibatch: 5, stratify: true, finalists: 2}
";
    let config = parse(text).unwrap();
    let genome = config.genome.as_ref().unwrap();
    assert_eq!((genome.searched, genome.base, genome.tokenizer_source), (2, Some(2), Some(TokenizerSource::Model(2))));
    assert_eq!((genome.layer_granularity, genome.normalize, genome.smooth), (2, Some(false), true));
    assert_eq!((genome.allow_negative_weights, &genome.out_types[..]), (true, &[OutType::F16][..]));
    assert_eq!(config.tasks[0].weight, -2.0);
    assert_eq!(config.tasks[0].search, Some(PathBuf::from("dir/s.jsonl")));
    let s = config.search;
    assert_eq!((s.population, s.sigma, s.start, s.budget), (Some(7), 0.1, Start::Mergekit, 9));
    assert_eq!((s.seed, s.minibatch, s.stratify, s.finalists), (4, Some(5), true, 2));
    let start = |yaml: &str| parse(&GOOD.replace("budget: 100", &format!("start: {yaml}"))).unwrap().search.start;
    assert_eq!(start("paper"), Start::PAPER);
    assert_eq!(start("{weight: 0.3}"), Start::At { weight: 0.3, density: 0.5, t: 0.5 });
    assert_eq!(start("{t: 0, density: 1}"), Start::At { weight: 0.5, density: 1.0, t: 0.0 });
}

#[test]
fn wrong_files_are_told_where_and_why() {
    let search = |line: &str| GOOD.replace("budget: 100", line);
    let genome = |line: &str| GOOD.replace("merge_method: linear", line);
    let goal = |line: &str| GOOD.replace("task: t.yaml", line);
    let top = |line: &str| format!("{GOOD}{line}\n");
    let mut wrong = Vec::new();
    for (text, place, message) in [
        (String::new(), "1:1", "unexpected end of file"),
        (top("generations: 5"), "9:1", "unknown key `generations`"),
        (genome("merge_metod: linear"), "3:3", "did you mean `merge_method`?"),
        (genome("merge_method: slurp"), "3:17", "no genome for `slurp`: did you mean `slerp`?"),
        (genome("merge_method: passthrough"), "3:17", "no genome for `passthrough`"),
        (genome("merge_method: ties"), "3:17", "`ties` needs a `base_model`"),
        (genome("merge_method: slerp\n  base_model: c.gguf"), "3:17", "picks its base among `models`"),
        (genome("merge_method: slerp\n  smooth: true"), "3:17", "no `smooth`"),
        (
            genome("merge_method: linear\n  tokenizer_source: x.gguf"),
            "4:21",
            "must be `union`, `base` or one of the models",
        ),
        (genome("merge_method: linear\n  tokenizer_source: unoin"), "4:21", "did you mean `union`?"),
        (genome("merge_method: linear\n  normalize: maybe"), "4:14", "`normalize`: `true` or `false` belongs here"),
        ("merge_method: linear\nmodels: []\n".to_owned(), "1:1", "this is a recipe: `ggraft run`"),
        ("data: x.jsonl\nkind: choice\n".to_owned(), "1:1", "this is a task file: `ggraft score MODEL --task`"),
        (genome("merge_method: linear\n  out_type: q4_k"), "4:13", "no `out_type` is called `q4_k`"),
        (
            genome("merge_method: linear\n  layer_granularity: -1"),
            "4:22",
            "`layer_granularity`: a whole number from 0 up belongs here",
        ),
        (GOOD.replace(", b.gguf", ""), "2:11", "at least two models"),
        (GOOD.replace("b.gguf", "a.gguf"), "2:11", "`a.gguf` is named twice"),
        (GOOD.replace("[a.gguf, b.gguf]", "a.gguf"), "2:11", "`models`: a list belongs here"),
        (goal("weight: 1"), "5:5", "a task needs `task: FILE.yaml`"),
        (goal("task: t.yaml\n    metric: bleu"), "6:13", "belongs into the task file"),
        (goal("task: t.yaml\n    weight: .nan"), "5:5", "`weight: NaN` must be a finite number"),
        (goal("task: t.yaml\n    weight: 0"), "5:3", "every task has `weight: 0`"),
        (GOOD.replace("tasks:\n  - task: t.yaml\n    test: test.jsonl", "tasks: []"), "4:8", "`tasks` is empty"),
        (search("budget: 0"), "8:11", "`budget: 0` must be at least 1"),
        (search("minibatch: 0"), "8:14", "`minibatch: 0` must be at least 1"),
        (search("finalists: 0"), "8:14", "`finalists: 0` must be at least 1"),
        (search("population: 1"), "8:15", "must be at least 2"),
        (search("sigma: 0"), "8:10", "must be a finite number above 0"),
        (search("sigma: .inf"), "8:10", "must be a finite number above 0"),
        (search("seed: -1"), "8:9", "`seed`: a whole number from 0 up belongs here"),
        (search("space: dataflow"), "8:10", "did you mean `data_flow`?"),
        (search("space: data_flow"), "3:17", "merges nothing; leave `merge_method` out"),
        (search("algorithm: nsga3"), "8:14", "did you mean `nsga2`?"),
        (search("algorithm: cat_cma"), "8:14", "for the switches of paths"),
        (search("race: 3"), "8:9", "`race` is `true`, `false`, or settings"),
        (search("race: {rungs: 1}"), "8:9", "`rungs: 1` must be from 2 to 64"),
        (search("race: {alpha: 1}"), "8:9", "`alpha: 1` must be above 0 and below 1"),
        (search("stratify: true"), "8:13", "`stratify` says which questions a `minibatch` or a part of a `race` has"),
        (search("race: {alfa: 0.1}"), "8:9", "`race` is `true`, `false`, or settings"),
        (search("start: best"), "8:10", "must be `paper`, `mergekit`"),
        (search("budgt: 3"), "8:3", "did you mean `budget`?"),
        (top("limit: 0"), "9:8", "`limit: 0` must be at least 1"),
        (top("fewshot_as_multiturn: true"), "9:23", "is not supported"),
        (top("num_fewshot: 3"), "9:14", "belongs into the task file"),
        (top("random_init: true"), "9:14", "set `search: start`"),
        (top("search: {}"), "9:1", "`search` is given twice"),
    ] {
        let error = match parse(&text) {
            Ok(_) => panic!("accepted:\n{text}"),
            Err(error) => error.to_string(),
        };
        let located = error.starts_with(&format!("dir/e.yaml:{place}: "));
        if !(located && error.contains(message) && !error.contains('\n')) {
            wrong.push(format!("{error}\n  and not {place}: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const FLOW: &str = "\
genome:
  models: [a.gguf, b.gguf]
tasks: [{task: t.yaml, test: t.jsonl}]
search:
  space: data_flow
path:
  repeats: 2
";

const HYBRID: &str = "\
genome:
  models: [a.gguf, b.gguf]
  merge_method: linear
tasks: [{task: t.yaml, test: t.jsonl}]
search:
  space: hybrid
";

#[test]
fn defaults_of_paths_are_the_papers() {
    let flow = parse(FLOW.split("path:").next().unwrap()).unwrap();
    let hybrid = parse(HYBRID).unwrap();
    for (config, pool) in [(&flow, [Some(0), Some(1)]), (&hybrid, [None, Some(0)])] {
        let path = config.path.as_ref().unwrap();
        assert_eq!((&path.pool[..], path.repeats, path.max_hops), (&pool[..], 3, MAX_BLOCKS));
        assert_eq!((path.gains, path.scale), (Gains::Slot, PathScale::MlpOutput));
        assert_eq!((path.length_penalty, path.flips), (0.0, 2.0));
        assert_eq!((&path.models, config.models.len(), config.searched()), (&config.models, 2, 2));
        let search = config.path_search.unwrap();
        assert_eq!((search.budget, search.population, search.sigma), (1000, None, 1.0 / 6.0));
        assert_eq!((search.algorithm, search.finalists, search.minibatch), (None, 5, None));
    }
    assert!(flow.genome.is_none() && hybrid.genome.is_some());
    assert_eq!((flow.budget(), hybrid.budget(), parse(GOOD).unwrap().budget()), (1000, 2000, 100));
    let merges = parse(GOOD).unwrap();
    assert!(merges.path.is_none() && merges.path_search.is_none());
    assert!(parse(&FLOW.replace("models", "merge_method: passthrough\n  models")).is_ok(), "which does not merge");
    assert!(parse(&FLOW.replace(", b.gguf", "")).is_ok(), "a path through one model");
}

#[test]
fn everything_of_paths_can_be_set() {
    let text = "\
genome: {models: [a.gguf, b.gguf], merge_method: ties, base_model: c.gguf}
tasks: [{task: t.yaml, test: t.jsonl}]
search: {space: hybrid, algorithm: cma_es, population: 7, sigma: 0.1, budget: 9, seed: 4, minibatch: 5, finalists: 2}
path: {models: [b.gguf, d.gguf, ./c.gguf], repeats: 1, max_hops: 40, length_penalty: -0.5, gains: network, scale: residual, flips: 0.5,
  budget: 11, population: 6, sigma: 0.3}
";
    let config = parse(text).unwrap();
    let written: Vec<&str> = config.models.iter().map(|model| model.written.as_str()).collect();
    assert_eq!((written, config.searched()), (vec!["a.gguf", "b.gguf", "c.gguf", "d.gguf"], 2));
    let (genome, path) = (config.genome.as_ref().unwrap(), config.path.as_ref().unwrap());
    assert_eq!(
        (&genome.models, genome.searched, genome.base),
        (&config.models, 2, Some(2)),
        "all recipes have the same"
    );
    assert_eq!((&path.models, &path.pool), (&config.models, &vec![None, Some(1), Some(3), Some(2)]));
    assert_eq!((path.repeats, path.max_hops, path.length_penalty, path.flips), (1, 40, -0.5, 0.5));
    assert_eq!((path.gains, path.scale), (Gains::Network, PathScale::Residual));
    let (weights, paths) = (config.search, config.path_search.unwrap());
    assert_eq!((weights.budget, weights.population, weights.sigma, weights.algorithm), (9, Some(7), 0.1, None));
    assert_eq!((paths.budget, paths.population, paths.sigma), (11, Some(6), 0.3));
    assert_eq!((paths.algorithm, paths.seed), (Some(Algorithm::CmaEs), 4), "the algorithm is the paths'");
    assert_eq!((paths.minibatch, paths.finalists), (Some(5), 2));
    assert_eq!(config.budget(), 20);
    for gains in Gains::ALL {
        let path = parse(&FLOW.replace("repeats: 2", &format!("gains: {}", gains.name()))).unwrap().path.unwrap();
        assert_eq!(path.gains, gains);
    }
    let long = parse(&FLOW.replace("repeats: 2", "max_hops: 9999")).unwrap().path.unwrap();
    assert_eq!(long.max_hops, MAX_BLOCKS, "llama.cpp has no longer ones");
    let flow = parse(&FLOW.replace("space: data_flow", "space: data_flow\n  algorithm: cat_cma\n  budget: 7")).unwrap();
    assert_eq!((flow.path_search.unwrap().algorithm, flow.budget()), (Some(Algorithm::CatCma), 7));
    let own = parse(&FLOW.replace("repeats: 2", "budget: 8")).unwrap();
    assert_eq!((own.path_search.unwrap().budget, own.budget()), (8, 8));
}

#[test]
fn wrong_paths_are_told_where_and_why() {
    let path = |line: &str| FLOW.replace("repeats: 2", line);
    let genome = |line: &str| FLOW.replace("tasks:", &format!("  {line}\ntasks:"));
    let mixed = |line: &str| format!("{HYBRID}path:\n  {line}\n");
    let alone = "`genome` has only `models`";
    let mut wrong = Vec::new();
    for (text, place, message) in [
        (format!("{GOOD}path:\n  repeats: 2\n"), "10:3", "needs `search: space: data_flow` or `hybrid`"),
        (
            FLOW.replace("space: data_flow", "seed: 1").replace("models:", "merge_method: linear\n  models:"),
            "8:3",
            "needs",
        ),
        (genome("merge_method: linear"), "3:17", "merges nothing; leave `merge_method` out, or search `space: hybrid`"),
        (genome("base_model: a.gguf"), "2:11", alone),
        (genome("tokenizer_source: a.gguf"), "2:11", alone),
        (genome("layer_granularity: 2"), "2:11", alone),
        (genome("normalize: false"), "2:11", alone),
        (genome("filters: [mlp]"), "2:11", alone),
        (genome("smooth: true"), "2:11", alone),
        (genome("out_type: f16"), "2:11", alone),
        (FLOW.replace("b.gguf", "./a.gguf"), "2:11", "`./a.gguf` is named twice"),
        (FLOW.replace("a.gguf, b.gguf", ""), "2:11", "`models` is empty"),
        (FLOW.replace("space: data_flow", "space: hybrid"), "2:11", "`merge_method` is missing"),
        (path("models: [a.gguf]"), "7:11", "with `space: data_flow` the models are those of `genome`"),
        (path("gains: slots"), "7:10", "`gains: slots`: did you mean `slot`?"),
        (path("gains: w"), "7:10", "known: `slot`, `matrix`, `network`, `none`"),
        (path("scale: residuel"), "7:10", "did you mean `residual`?"),
        (path("scale: mlp"), "7:10", "known: `mlp_output`, `residual`"),
        (path("repeats: 0"), "7:12", "`repeats: 0` must be at least 1"),
        (path("repeats: 1.5"), "7:12", "a whole number from 0 up belongs here"),
        (path("max_hops: 1"), "7:13", "`max_hops: 1` must be at least 2"),
        (path("length_penalty: .nan"), "7:19", "`length_penalty: NaN` must be a finite number"),
        (path("length_penalty: .inf"), "7:19", "must be a finite number"),
        (path("flips: 0"), "7:10", "`flips: 0` must be a finite number above 0"),
        (path("flips: -.inf"), "7:10", "must be a finite number above 0"),
        (path("budget: 0"), "7:11", "`budget: 0` must be at least 1"),
        (path("population: 1"), "7:15", "must be at least 2"),
        (path("sigma: 0"), "7:10", "must be a finite number above 0"),
        (path("repeat: 2"), "7:3", "did you mean `repeats`?"),
        (mixed("models: [a.gguf, b.gguf, a.gguf]"), "8:11", "`a.gguf` is named twice"),
        (mixed("models: []"), "8:11", "`models` is empty"),
    ] {
        let error = match parse(&text) {
            Ok(_) => panic!("accepted:\n{text}"),
            Err(error) => error.to_string(),
        };
        if !(error.starts_with(&format!("dir/e.yaml:{place}: ")) && error.contains(message) && !error.contains('\n')) {
            wrong.push(format!("{error}\n  and not {place}: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_are_read_once_and_within_a_limit() {
    let folder = folder();
    let path = folder.path().join("e.yaml");
    assert!(matches!(Config::load(&path), Err(EvolveError::Read { .. })));
    fs::write(&path, GOOD).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!((config.text.as_str(), &config.file), (GOOD, &path));
    fs::write(&path, format!("{GOOD}#{}", " ".repeat(1 << 20))).unwrap();
    assert!(matches!(Config::load(&path), Err(EvolveError::TooLong { .. })));
}

#[test]
fn test_questions_that_were_searched_on_are_no_test() {
    let folder = folder();
    let row = |n: usize| format!("{{\"q\": \"{n} + {n}?\", \"a\": \"{}\"}}\n", 2 * n);
    let data = |name: &str, rows: std::ops::Range<usize>| {
        fs::write(folder.path().join(name), rows.map(row).collect::<String>()).unwrap();
    };
    let task = "kind: generate\ndata: s.jsonl\nprompt: '{{ q }}'\nanswer: '{{ a }}'\nmetric: number\nmax_tokens: 4\n";
    fs::write(folder.path().join("t.yaml"), task).unwrap();
    data("s.jsonl", 0..8);
    let config = Config::parse(GOOD.to_owned(), &folder.path().join("e.yaml")).unwrap();
    let told = |rows| {
        data("test.jsonl", rows);
        let mut said = Vec::new();
        let questions = config.questions(&mut |warning| said.push(warning)).unwrap();
        assert_eq!(questions[0].1.questions.len(), 8);
        said.join("\n")
    };
    assert_eq!(told(8..12), "");
    for (rows, which) in [(6..12, "2 of its 6"), (0..8, "8 of its 8")] {
        let said = told(rows);
        assert!(said.starts_with(&format!("task `t`: {which} test questions are search questions too")), "{said}");
    }
}
