//! mergekit-evolve's files over GGUF paths: they run as they are, and what has no meaning here is told where it stands.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Folder, choice_task, ggraft, quickstart, target_task};

const QUESTIONS: usize = 16;

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mergekit_evolve");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// A folder with the models and tasks that the examples name.
fn folder() -> Folder {
    let folder = Folder::new();
    for model in ["base", "math", "ja"].map(|name| format!("{name}-Q8_0.gguf")) {
        fs::copy(quickstart(&model), folder.path(&model)).unwrap();
    }
    fs::rename(target_task(&folder, "target_search.jsonl", QUESTIONS), folder.path("words.yaml")).unwrap();
    fs::rename(choice_task(&folder, QUESTIONS), folder.path("questions.yaml")).unwrap();
    folder
}

fn evolve(folder: &Folder, config: &Path, out: &str) -> crate::support::Output {
    let out = folder.path(out);
    let args: [&std::ffi::OsStr; 7] = [
        "evolve".as_ref(),
        config.as_ref(),
        "--out".as_ref(),
        out.as_ref(),
        "--max-evals".as_ref(),
        "4".as_ref(),
        "--json".as_ref(),
    ];
    ggraft(args)
}

#[test]
fn examples_run_unchanged() {
    let folder = folder();
    for name in ["dare_ties.yaml", "slerp.yaml"] {
        let config = folder.write(name, example(name));
        let output = evolve(&folder, &config, &format!("{name}.out"));
        let json = output.json();
        assert_eq!(json["evaluations"], 4, "{json}");
        assert!(json["best"]["test_score"].is_number() && json["best"]["recipe"].is_string(), "{json}");
        let searched = if example(name).contains("limit: 8") { 8 } else { 12 };
        let note = format!(
            "names no `test` data: 4 of its questions, one in 4, are held back for it, {searched} are searched on"
        );
        assert!(output.stderr.contains(&note), "{}", output.stderr);
    }
}

#[test]
fn what_has_no_meaning_here_is_told_where_it_stands() {
    let folder = folder();
    folder.write(
        "chat.yaml",
        "data: target_search.jsonl\nkind: generate\nprompt: x\nanswer: x\nmetric: exact\nchat: true\n",
    );
    folder.write("short.jsonl", "{}\n{}\n{}\n");
    folder.write("short.yaml", "data: short.jsonl\nkind: generate\nprompt: x\nanswer: x\nmetric: exact\n");
    let good = example("slerp.yaml");
    let with = |task: &str| good.replace("name: words", task);
    let top = |line: &str| format!("{good}{line}\n");
    for (text, message) in [
        (
            with("name: gsm8k"),
            ":8:5: there is no task file `FOLDER/gsm8k.yaml` for `gsm8k`: benchmarks of lm-evaluation-harness",
        ),
        (
            with("{name: words, metric: 'acc_norm,none'}"),
            ":8:5: `metric: acc_norm,none` is not what the task file measures: `FOLDER/words.yaml` says `number`",
        ),
        (with("{name: words, metric: 'mc2,none'}"), ":8:27: `metric: mc2,none` belongs into the task file here"),
        (with("name: short"), ":8:5: `short` has `3` questions, too few for a test of their own"),
        (top("apply_chat_template: true"), ":8:5: `apply_chat_template: true` needs `chat: true` in the task file"),
        (top("num_fewshot: 5"), ":9:14: `num_fewshot` belongs into the task file here, as `shots`"),
        (top("fewshot_as_multiturn: true"), ":9:23: `fewshot_as_multiturn` is not supported"),
        (top("random_init: true"), ":9:14: `random_init` is not supported; set `search: start`"),
        (
            good.replace("math-Q8_0.gguf", "mistralai/Mistral-7B-Instruct-v0.2"),
            "`FOLDER/mistralai/Mistral-7B-Instruct-v0.2`: does not exist; models are GGUF files on this machine",
        ),
    ] {
        let config: PathBuf = folder.write("wrong.yaml", &text);
        let output = evolve(&folder, &config, "out");
        let here = config.parent().unwrap().display().to_string();
        let error = output.error(2);
        assert!(error.contains(&message.replace("FOLDER", &here)), "{message}\n{error}");
    }
}
