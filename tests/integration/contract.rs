//! The words of the command line that others rely on: flags, environment variables, and the keys of the one JSON object on stdout.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{
    Folder, Output, TINY_BLOCKS, Tiny, choice_task, ggraft, perplexity_task, program, quickstart, target_task,
};

/// Asserts that `object` has all of `keys`, none of them null.
fn has(object: &Value, keys: &[&str]) {
    for key in keys {
        assert!(object.get(key).is_some_and(|v| !v.is_null()), "no `{key}` in {object}");
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A task-arithmetic recipe over two tiny siblings and their base.
fn recipe(folder: &Folder) -> PathBuf {
    for (name, seed) in [("base.gguf", 1), ("a.gguf", 2), ("b.gguf", 3)] {
        Tiny::llama(64, seed).write(&folder.path(name));
    }
    let text = "merge_method: task_arithmetic\nbase_model: base.gguf\nmodels: [{model: a.gguf}, {model: b.gguf}]\nparameters: {weight: 0.4}\n";
    folder.write("recipe.yaml", text)
}

fn run(command: &str, model: &Path, more: &[&str]) -> Output {
    ggraft([OsStr::new(command), model.as_os_str()].into_iter().chain(more.iter().map(OsStr::new)))
}

#[test]
fn inspect_prints_the_promised_keys() {
    let folder = Folder::new();
    let recipe = recipe(&folder);
    let keys = ["architecture", "block_count", "parameters", "size_bytes", "tensors"];
    let parent = folder.path("a.gguf");
    let file = run("inspect", &parent, &["--json"]).json();
    has(&file, &keys);
    assert_eq!((&file["architecture"], &file["block_count"]), (&"llama".into(), &TINY_BLOCKS.into()));
    assert_eq!(file["size_bytes"], fs::metadata(&parent).unwrap().len());
    let merged = run("inspect", &recipe, &["--json"]).json();
    has(&merged, &keys);
    has(&merged, &["parents", "sources_read_bytes", "unique_blocks"]);
    assert_eq!(merged["parents"].as_array().unwrap().len(), 3);
    assert_eq!(merged["unique_blocks"], TINY_BLOCKS);
    let tensors = |v: &Value| v["tensors"].as_array().unwrap().clone();
    assert_eq!(tensors(&file).len(), tensors(&merged).len());
    for (before, after) in tensors(&file).iter().zip(tensors(&merged)) {
        has(&after, &["name", "shape", "type", "bytes"]);
        assert_eq!((&before["name"], &before["shape"]), (&after["name"], &after["shape"]));
        // Matrices are blended into the default type, vectors stay F32; the sources are all F32.
        let matrix = after["shape"].as_array().unwrap().len() == 2;
        assert_eq!(after["type"], if matrix { "q8_0" } else { "f32" }, "{after}");
    }
    let bytes: u64 = tensors(&file).iter().map(|t| t["bytes"].as_u64().unwrap()).sum();
    assert_eq!(merged["sources_read_bytes"], 3 * bytes);
}

#[test]
fn a_layer_that_is_used_twice_is_one_unique_block() {
    let folder = Folder::new();
    recipe(&folder);
    let text = "merge_method: passthrough\nslices:\n  - sources: [{model: a.gguf, layer_range: [0, 2]}]\n  - sources: [{model: a.gguf, layer_range: [0, 2]}]\n  \
                - sources: [{model: b.gguf, layer_range: [1, 2]}]\n";
    let stacked = run("inspect", &folder.write("stacked.yaml", text), &["--json"]).json();
    assert_eq!((&stacked["block_count"], &stacked["unique_blocks"]), (&5.into(), &3.into()));
}

#[test]
fn run_prints_the_promised_keys_and_the_same_text_every_time() {
    let folder = Folder::new();
    for model in [quickstart("ja-Q8_0.gguf"), recipe(&folder)] {
        let some = |n: &str, more: &[&str]| {
            run("run", &model, &[&["-p", "問: 1 + 1", "-n", n, "--json"], more].concat()).json()
        };
        let of = |more: &[&str]| some("6", more);
        let json = of(&[]);
        let keys = [
            "text",
            "prompt_tokens",
            "generated_tokens",
            "prompt_tokens_per_second",
            "generated_tokens_per_second",
            "swap_seconds",
        ];
        has(&json, &keys);
        assert!(json["generated_tokens"].as_u64().unwrap() <= 6);
        assert_eq!(of(&[])["text"], json["text"]);
        let drawn = of(&["--temp", "1.5", "--seed", "7"]);
        assert_eq!(of(&["--temp", "1.5", "--seed", "7"])["text"], drawn["text"]);
        // As many as there is room for, or up to the end.
        let all = some("-1", &["-c", "64"]);
        let tokens = |key: &str| all[key].as_u64().unwrap();
        assert!(tokens("generated_tokens") > 6 && tokens("prompt_tokens") + tokens("generated_tokens") <= 64, "{all}");
        // Without `--json` the text itself is what stdout has.
        let plain = run("run", &model, &["-p", "問: 1 + 1", "-n", "6"]);
        assert_eq!(plain.stdout.trim_end(), json["text"].as_str().unwrap().trim_end());
    }
}

#[test]
fn score_prints_one_result_for_every_model_and_task() {
    let folder = Folder::new();
    let (recipe, file) = (recipe(&folder), quickstart("base-Q8_0.gguf"));
    let (perplexity, target) = (perplexity_task(&folder, 5), target_task(&folder, "target_test.jsonl", 5));
    let args = [
        &recipe,
        &file,
        Path::new("--task"),
        &perplexity,
        &target,
        Path::new("--limit"),
        Path::new("3"),
        Path::new("--json"),
    ];
    let json = ggraft(std::iter::once(Path::new("score")).chain(args)).json();
    let results = json["results"].as_array().unwrap();
    let who = |r: &Value| (r["model"].as_str().unwrap().to_owned(), r["task"].as_str().unwrap().to_owned());
    let (a, b) = (recipe.to_str().unwrap().to_owned(), file.to_str().unwrap().to_owned());
    let wanted = [(&a, "perplexity"), (&a, "target"), (&b, "perplexity"), (&b, "target")]
        .map(|(m, t)| (m.clone(), t.to_owned()));
    assert_eq!(results.iter().map(who).collect::<Vec<_>>(), wanted);
    for result in results {
        has(result, &["model", "task", "metric", "value", "stderr", "ci95", "n", "seconds"]);
        assert_eq!(result["n"], 3);
        let (low, high) = (number(&result["ci95"][0]), number(&result["ci95"][1]));
        assert!((low..=high).contains(&number(&result["value"])), "{result}");
    }
    assert_eq!((&results[2]["metric"], &results[3]["metric"]), (&"perplexity".into(), &"number".into()));
}

#[test]
fn score_tells_what_each_question_came_to_if_asked() {
    let folder = Folder::new();
    let (recipe, choice, target) =
        (recipe(&folder), choice_task(&folder, 4), target_task(&folder, "target_test.jsonl", 2));
    let score = |more: &[&str]| {
        let tasks = ["score".as_ref(), recipe.as_os_str(), "--task".as_ref(), choice.as_os_str(), target.as_os_str()];
        ggraft(tasks.into_iter().chain(["--json"].iter().chain(more).map(OsStr::new))).json()["results"].clone()
    };
    let results = score(&["--items"]);
    let plain = score(&[]);
    assert_eq!((&results[0]["metric"], &results[0]["n"]), (&"accuracy_norm".into(), &4.into()));
    for (result, plain) in results.as_array().unwrap().iter().zip(plain.as_array().unwrap()) {
        has(result, &["model", "task", "metric", "value", "stderr", "ci95", "n", "seconds", "items"]);
        assert!(plain.get("items").is_none() && plain["value"] == result["value"]);
        let items = result["items"].as_array().unwrap();
        let lines: Vec<u64> = items.iter().map(|item| item["line"].as_u64().unwrap()).collect();
        assert_eq!(lines, (1..=items.len() as u64).collect::<Vec<_>>());
        let scores: Vec<f64> = items.iter().map(|item| number(&item["score"])).collect();
        assert_eq!(number(&result["value"]), scores.iter().sum::<f64>() / scores.len() as f64);
    }
    for item in results[0]["items"].as_array().unwrap() {
        assert_eq!(item["right"], 1);
        let logs: Vec<f64> = item["log_likelihoods"].as_array().unwrap().iter().map(number).collect();
        assert!(logs.len() == 3 && logs.iter().all(|log| *log < 0.0), "{item}");
    }
    assert!(results[1]["items"][0].get("log_likelihoods").is_none());
}

#[test]
fn export_prints_the_promised_keys() {
    let folder = Folder::new();
    let recipe = recipe(&folder);
    let out = folder.path("out.gguf");
    let json = run("export", &recipe, &["-o", out.to_str().unwrap(), "--type", "f16", "--json"]).json();
    has(&json, &["path", "size_bytes", "seconds"]);
    assert_eq!(json["path"], out.to_str().unwrap());
    assert_eq!(json["size_bytes"], fs::metadata(&out).unwrap().len());
    // `inspect` says beforehand how large the file will be.
    let plain = folder.path("plain.gguf");
    run("export", &recipe, &["-o", plain.to_str().unwrap(), "--json"]).json();
    assert_eq!(run("inspect", &recipe, &["--json"]).json()["size_bytes"], fs::metadata(&plain).unwrap().len());
    // Writing over an earlier export is fine; no temporary file stays behind.
    assert_eq!(run("export", &recipe, &["-o", out.to_str().unwrap()]).code(), 0);
    let names: Vec<String> =
        fs::read_dir(folder.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains(".ggraft-export")), "{names:?}");
    assert!(fs::metadata(&out).unwrap().len() < json["size_bytes"].as_u64().unwrap());
}

#[test]
fn bench_prints_the_promised_keys() {
    let folder = Folder::new();
    let json = run("bench", &recipe(&folder), &["--repeat", "3", "--threads", "1", "--json"]).json();
    has(
        &json,
        &[
            "swap_seconds",
            "bytes_read",
            "bytes_written",
            "gb_per_second",
            "memcpy_gb_per_second",
            "ratio_to_memcpy",
            "load_seconds",
            "prompt_tokens_per_second",
            "generated_tokens_per_second",
            "disk_write_bytes",
        ],
    );
    let [min, median, max] = ["min", "median", "max"].map(|key| number(&json["swap_seconds"][key]));
    assert!(0.0 < min && min <= median && median <= max, "{json}");
    assert_eq!(json["disk_write_bytes"], 0);
    assert_eq!(json["threads"], 1);
    let inspected = run("inspect", &folder.path("recipe.yaml"), &["--json"]).json();
    assert_eq!(json["bytes_read"], inspected["sources_read_bytes"]);
}

#[test]
fn merged_bytes_do_not_depend_on_the_number_of_threads() {
    let folder = Folder::new();
    let [base, math, ja] = ["base", "math", "ja"].map(|name| quickstart(&format!("{name}-Q8_0.gguf")));
    for (method, density) in [("dare_ties", 0.6), ("ties", 0.3)] {
        let text = format!(
            "merge_method: {method}\nbase_model: {base:?}\nmodels: [{{model: {math:?}}}, {{model: {ja:?}}}]\n\
             parameters: {{weight: 0.4, density: {density}, rescale: true}}\nout_type: f16\n"
        );
        let recipe = folder.write("recipe.yaml", text);
        let export = |threads: &str| {
            let out = folder.path(&format!("{threads}.gguf"));
            let args = [OsStr::new("export"), recipe.as_os_str(), OsStr::new("-o"), out.as_os_str()];
            let done = Output::of(program().args(args).env("RAYON_NUM_THREADS", threads));
            assert_eq!(done.code(), 0, "{done:?}");
            fs::read(out).unwrap()
        };
        assert!(export("1") == export("3"), "{method}: the files differ");
    }
}

#[test]
fn llama_cpps_flags_are_understood() {
    let folder = Folder::new();
    let model = recipe(&folder);
    let json = run(
        "run",
        &model,
        &["-p", "A", "-n", "2", "-ngl", "0", "-np", "4", "-ub", "64", "-b", "128", "-c", "64", "-t", "1", "--json"],
    )
    .json();
    has(&json, &["text"]);
    let task = perplexity_task(&folder, 2);
    let flags =
        ["--task", task.to_str().unwrap(), "--gpu-layers", "0", "--parallel", "4", "--ubatch-size", "64", "--json"];
    has(&run("score", &model, &flags).json(), &["results"]);
    // After `--` nothing is a flag any more, here not even a file.
    let done = run("inspect", Path::new("--"), &["-ngl"]);
    assert!(done.error(2).contains("`-ngl`"), "{done:?}");
}

#[test]
fn every_flag_of_llama_cpp_has_an_environment_variable() {
    let folder = Folder::new();
    let model = recipe(&folder);
    let with = |name: &str, value: &str, more: &[&str]| {
        let args = [
            OsStr::new("run"),
            model.as_os_str(),
            OsStr::new("-p"),
            OsStr::new("A B C D E F"),
            OsStr::new("-n"),
            OsStr::new("1"),
            OsStr::new("--json"),
        ];
        Output::of(program().args(args).args(more).env(name, value))
    };
    for (name, flag) in [
        ("GGRAFT_CTX_SIZE", "--ctx-size"),
        ("GGRAFT_THREADS", "--threads"),
        ("GGRAFT_GPU_LAYERS", "--gpu-layers"),
        ("GGRAFT_PARALLEL", "--parallel"),
        ("GGRAFT_BATCH_SIZE", "--batch-size"),
        ("GGRAFT_UBATCH_SIZE", "--ubatch-size"),
    ] {
        let done = with(name, "many", &[]);
        let error = done.error(2);
        assert!(error.contains("'many'") && error.contains(flag), "{name}: {error}");
        assert_eq!(with(name, "1", &["-c", "64"]).code(), 0, "{name}");
    }
    // A value that is taken has its effect, and a flag goes before it.
    let done = with("GGRAFT_CTX_SIZE", "4", &[]);
    assert!(done.error(2).contains("does not fit the context of 4"), "{done:?}");
    assert_eq!(with("GGRAFT_CTX_SIZE", "4", &["-c", "64"]).code(), 0);
}
