//! What users get wrong: each is answered with exit code 2, an `error:` that names the place and what to do, and nothing on stdout.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Folder, Output, Tiny, ggraft, lines, perplexity_task, program, quickstart, target_task};

/// Asserts that `args` are refused with a message that has every one of `parts`.
pub fn refused<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, parts: &[&str]) {
    assert_parts(&ggraft(args), 2, parts);
}

fn assert_parts(done: &Output, code: i32, parts: &[&str]) {
    let error = done.error(code);
    for part in parts {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
}

fn inspect_refuses(path: &Path, parts: &[&str]) {
    let text = path.to_str().unwrap();
    refused(["inspect", "--json", text], &[&[text], parts].concat());
}

/// A folder with two siblings, `a.gguf` and `b.gguf`.
fn siblings() -> Folder {
    let folder = Folder::new();
    for (name, seed) in [("a.gguf", 1), ("b.gguf", 2)] {
        Tiny::llama(64, seed).write(&folder.path(name));
    }
    folder
}

/// Asserts that the recipe `text`, beside the two siblings, is refused with `parts`; `FILE` in a part stands for the recipe's path.
pub fn recipe_refused(folder: &Folder, text: &str, parts: &[&str]) {
    let path = folder.write("recipe.yaml", text);
    let path = path.to_str().unwrap();
    let parts: Vec<String> = parts.iter().map(|p| p.replace("FILE", path)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    refused(["inspect", path], &parts);
    refused(["run", path, "-p", "A", "--json"], &parts);
    let out = folder.path("never.gguf");
    refused(["export", path, "-o", out.to_str().unwrap()], &parts);
    assert!(!out.exists());
}

#[test]
fn a_wrong_path_is_named_by_every_command() {
    let folder = siblings();
    let gone = folder.path("gone.gguf");
    let gone = gone.to_str().unwrap();
    let (recipe, task) = (gone.replace("gguf", "yaml"), perplexity_task(&folder, 1));
    let task = task.to_str().unwrap();
    for missing in [gone, &recipe] {
        refused(["inspect", missing], &[missing]);
        refused(["run", missing, "-p", "A"], &[missing]);
        refused(["score", missing, "--task", task], &[missing]);
        refused(["export", missing, "-o", folder.path("out.gguf").to_str().unwrap()], &[missing]);
        refused(["bench", missing], &[missing]);
    }
    refused(["score", folder.path("a.gguf").to_str().unwrap(), "--task", &recipe], &[&recipe]);
    refused(["evolve", &recipe, "--out", folder.path("out").to_str().unwrap()], &[&recipe]);
    assert!(!folder.path("out").exists());
    let text = "merge_method: passthrough\nmodels: [{model: gone.gguf}]\n";
    recipe_refused(&folder, text, &["error: FILE:2:10: ", "gone.gguf", "No such file"]);
    let named = text.replace("gone.gguf", "mistralai/Mistral-7B-v0.1");
    recipe_refused(&folder, &named, &["error: FILE:2:10: ", "Mistral-7B-v0.1", "GGUF files", "convert_hf_to_gguf.py"]);
    recipe_refused(&folder, &text.replace("gone", "~/a"), &["error: FILE:2:10: ", "~/a.gguf", "write the whole path"]);
    refused(["run", "mistralai/Mistral-7B-v0.1", "-p", "A"], &["`mistralai/Mistral-7B-v0.1`", "GGUF files"]);
}

#[test]
fn what_is_no_gguf_is_told_apart() {
    let folder = Folder::new();
    inspect_refuses(&folder.path(""), &["is a directory", "name the `.gguf` file inside"]);
    let safetensors = [&30u64.to_le_bytes()[..], b"{\"a\":{\"dtype\":\"F32\"}}        "].concat();
    inspect_refuses(&folder.write("model.safetensors", safetensors), &["safetensors", "convert_hf_to_gguf.py"]);
    inspect_refuses(&folder.write("empty.gguf", ""), &["empty", "download it again"]);
    inspect_refuses(&folder.write("text.gguf", "hello there, this is no model"), &["not a GGUF file"]);
    inspect_refuses(&folder.write("page.gguf", "<!DOCTYPE html><html></html>"), &["HTML page"]);
}

#[test]
fn a_truncated_gguf_is_recognised_wherever_it_was_cut() {
    let folder = Folder::new();
    let whole = fs::read(quickstart("base-Q8_0.gguf")).unwrap();
    let cuts = [3, 20, 100, 5_000, 20_000, whole.len() / 2, whole.len() - 1000];
    for cut in cuts {
        let path = folder.write("cut.gguf", &whole[..cut]);
        let error = ggraft(["run", path.to_str().unwrap(), "-p", "A"]);
        assert_parts(&error, 2, &[path.to_str().unwrap()]);
        let text = error.error(2);
        assert!(["download it again", "cut off"].iter().any(|hint| text.contains(hint)), "cut at {cut}: {text}");
    }
}

#[test]
fn parents_of_different_models_are_refused_with_every_difference() {
    let folder = siblings();
    let recipe = |other: &str| {
        format!(
            "merge_method: linear\nmodels: [{{model: a.gguf, parameters: {{weight: 1}}}}, {{model: {other}, parameters: {{weight: 1}}}}]\n"
        )
    };
    Tiny::llama(128, 3).write(&folder.path("wide.gguf"));
    let parts = ["cannot be merged", "`llama.embedding_length` differs: 64 in `", "a.gguf`, 128 in `", "wide.gguf`"];
    recipe_refused(&folder, &recipe("wide.gguf"), &parts);

    let mut other = Tiny::llama(64, 4);
    let tokens = other.metadata.strings("tokenizer.ggml.tokens").unwrap();
    let swapped = (0..tokens.len())
        .map(|id| if id == 5 { b"another" } else { tokens.get(id).unwrap() })
        .collect::<ggraft::gguf::Strings>();
    other.metadata.insert("tokenizer.ggml.tokens", swapped);
    other.write(&folder.path("words.gguf"));
    recipe_refused(
        &folder,
        &recipe("words.gguf"),
        &["`tokenizer.ggml.tokens` differs", "1 differ", "id 5", "words.gguf"],
    );

    let mut other = Tiny::llama(64, 5);
    other.metadata.insert("general.architecture", "qwen2");
    other.metadata.insert("qwen2.block_count", 2u32);
    other.write(&folder.path("kind.gguf"));
    recipe_refused(&folder, &recipe("kind.gguf"), &["`general.architecture` differs", "`llama`", "`qwen2`"]);

    let mut other = Tiny::llama(64, 6);
    other.tensors.retain(|(info, _)| info.name != "blk.1.ffn_up.weight");
    other.write(&folder.path("lacking.gguf"));
    recipe_refused(&folder, &recipe("lacking.gguf"), &["`blk.*.ffn_up.weight` differs", "lacking.gguf"]);
}

#[test]
fn a_typing_mistake_in_a_recipe_is_shown_with_its_place_and_the_word_that_was_meant() {
    let folder = siblings();
    let good =
        "models:\n  - model: a.gguf\n    parameters: {weight: 1}\n  - model: b.gguf\n    parameters: {weight: 1}\n";
    recipe_refused(
        &folder,
        &format!("merge_metod: linear\n{good}"),
        &["error: FILE:1:1: ", "`merge_metod`", "did you mean `merge_method`?"],
    );
    recipe_refused(
        &folder,
        &format!("merge_method: slurp\n{good}"),
        &["error: FILE:1:15: ", "`slurp`", "did you mean `slerp`?"],
    );
    recipe_refused(
        &folder,
        &format!("merge_method: blend\n{good}"),
        &["error: FILE:1:15: ", "`blend`", "known: `linear`"],
    );
    let typo = good.replace("{weight: 1}\n  -", "{wieght: 1}\n  -");
    recipe_refused(
        &folder,
        &format!("merge_method: linear\n{typo}"),
        &["error: FILE:4:18: ", "`wieght`", "did you mean `weight`?"],
    );
    let value = good.replacen("weight: 1", "weight: heavy", 1);
    recipe_refused(
        &folder,
        &format!("merge_method: linear\n{value}"),
        &["error: FILE:4:26: ", "`weight` is `heavy`", "must be a number"],
    );
    recipe_refused(
        &folder,
        &format!("merge_method: linear\nout_type: q9_0\n{good}"),
        &["error: FILE:2:11: ", "`q9_0`", "`q8_0`"],
    );
    recipe_refused(&folder, "merge_method: [linear\n", &["error: FILE:"]);
}

#[test]
fn a_recipe_that_lacks_something_says_what_and_where() {
    let folder = siblings();
    let models = "models: [{model: a.gguf}, {model: b.gguf}]\n";
    recipe_refused(
        &folder,
        &format!("merge_method: linear\n{models}"),
        &["FILE:2:", "missing required parameter `weight`", "`a.gguf`", "`token_embd.weight`"],
    );
    let slerp = "merge_method: slerp\nbase_model: a.gguf\nmodels: [{model: b.gguf}]\n";
    recipe_refused(&folder, slerp, &["FILE:", "missing required parameter `t`"]);
    recipe_refused(&folder, &format!("merge_method: ties\n{models}"), &["FILE:", "`ties`", "set `base_model`"]);
    let partly = format!("{slerp}parameters: {{t: [{{filter: mlp, value: 0.5}}]}}\n");
    recipe_refused(&folder, &partly, &["missing required parameter `t`", "`token_embd.weight`"]);
}

#[test]
fn a_filter_that_no_tensor_has_in_its_name_is_shown_with_its_place() {
    let folder = siblings();
    let weigh = |filter: &str| {
        format!(
            "merge_method: linear\nmodels: [{{model: a.gguf}}, {{model: b.gguf}}]\nparameters:\n  weight:\n    - filter: {filter}\n      value: 0.1\n    - value: 1\n"
        )
    };
    let said = |text: &str| {
        let path = folder.write("recipe.yaml", text);
        let done = ggraft(["export".as_ref(), path.as_os_str(), "-o".as_ref(), folder.path("out.gguf").as_os_str()]);
        assert_eq!(done.code(), 0, "{done:?}");
        done.stderr.replace(path.to_str().unwrap(), "FILE")
    };
    let warned = |text: &str, parts: &[&str]| {
        let said = said(text);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    let like = "`model.layers.0.";
    warned(
        &weigh("self_atn"),
        &["warning: FILE:5:15: ", "`self_atn`", "tensor's name", like, "did you mean `self_attn`?"],
    );
    warned(&weigh("attention_q"), &["warning: FILE:5:15: ", "`attention_q`", "known: ", "`q_proj`"]);
    warned(&weigh("layers.7."), &["warning: FILE:5:15: ", "`layers.7.`"]);
    for known in ["self_attn", "mlp", "attn_q", "layers.1.", "lm_head", "'*'"] {
        assert_eq!(said(&weigh(known)), "", "{known}");
    }
    // Where only one of the slices has such tensors, and where only the merge has.
    let slice = "sources: [{model: a.gguf, layer_range: [0, 2], parameters: {scale: [{filter: NAME, value: 0.5}]}}]";
    let stack = |name: &str| {
        let slice = slice.replace("NAME", name);
        format!("merge_method: passthrough\nslices:\n  - {slice}\n  - {slice}\n")
    };
    for known in ["layers.0.mlp", "layers.3.mlp"] {
        assert_eq!(said(&stack(known)), "", "{known}");
    }
    warned(&stack("layers.4.mlp"), &["warning: FILE:3:", "`layers.4.mlp`"]);
    let task = target_task(&folder, "target_test.jsonl", 2);
    let genome = "genome: {models: [a.gguf, b.gguf], merge_method: linear, filters: [self_attn, mlpp]}\n";
    let text =
        format!("{genome}tasks: [{{task: {task:?}, test: target_test.jsonl}}]\nsearch: {{budget: 2, population: 2}}\n");
    let (evolve, out) = (folder.write("evolve.yaml", text), folder.path("out"));
    let done = ggraft(["evolve".as_ref(), evolve.as_os_str(), "--out".as_ref(), out.as_os_str(), "--json".as_ref()]);
    let warning = format!("warning: {}:1:79: the filter `mlpp`", evolve.display());
    assert!(done.stderr.contains(&warning), "{}", done.stderr);
}

#[test]
fn a_layer_range_beyond_the_model_is_refused_with_the_number_of_layers() {
    let folder = siblings();
    let slices = |a: &str, b: &str| {
        format!(
            "merge_method: passthrough\nslices:\n  - sources: [{{model: a.gguf, layer_range: {a}}}]\n  - sources: [{{model: b.gguf, layer_range: {b}}}]\n"
        )
    };
    recipe_refused(
        &folder,
        &slices("[0, 1]", "[1, 3]"),
        &["FILE:4:15: ", "`layer_range` [1, 3) of `b.gguf`", "2 layers"],
    );
    recipe_refused(&folder, &slices("[1, 1]", "[0, 2]"), &["FILE:3:15: ", "`layer_range` is [1, 1]"]);
    recipe_refused(&folder, &slices("[0, -1]", "[0, 2]"), &["FILE:3:"]);
}

#[test]
fn export_overwrites_no_parent_and_nothing_but_models() {
    let folder = siblings();
    let text = "merge_method: linear\nmodels: [{model: a.gguf, parameters: {weight: 1}}, {model: b.gguf, parameters: {weight: 1}}]\n";
    let recipe = folder.write("recipe.yaml", text);
    let (a, before) = (folder.path("a.gguf"), fs::read(folder.path("a.gguf")).unwrap());
    std::os::unix::fs::symlink(&a, folder.path("link.gguf")).unwrap();
    for out in [
        a.clone(),
        folder.path("link.gguf"),
        folder.path("../").join(folder.path("").file_name().unwrap()).join("a.gguf"),
    ] {
        let args = ["export".as_ref(), recipe.as_os_str(), "-o".as_ref(), out.as_os_str()];
        refused(args, &["is a parent of this recipe", "give another name to `-o`", out.to_str().unwrap()]);
        refused(["export".as_ref(), a.as_os_str(), "-o".as_ref(), out.as_os_str()], &["is a parent"]);
    }
    assert!(fs::read(&a).unwrap() == before, "the parent changed");
    // Nor anything else that is no model.
    fs::create_dir(folder.path("taken")).unwrap();
    let notes = folder.write("notes.txt", "precious");
    for out in [&recipe, &notes, &folder.path("taken")] {
        let args = ["export".as_ref(), recipe.as_os_str(), "-o".as_ref(), out.as_os_str()];
        refused(args, &["is there already and no GGUF file", out.to_str().unwrap()]);
    }
    assert!(fs::read_to_string(&recipe).unwrap() == text && fs::read(&notes).unwrap() == b"precious");
    for out in ["new.gguf", "new.gguf"].map(|name| folder.path(name)).iter().chain([&folder.write("empty", "")]) {
        assert_eq!(ggraft(["export".as_ref(), recipe.as_os_str(), "-o".as_ref(), out.as_os_str()]).code(), 0);
    }
    let out = folder.path("typed.gguf");
    let typed = ["export".as_ref(), a.as_os_str(), "-o".as_ref(), out.as_os_str(), "--type".as_ref(), "f16".as_ref()];
    refused(typed, &["`--type`", "a.gguf` is a plain file", "llama-quantize"]);
    assert!(!out.exists());
    let nowhere = folder.path("no/such/folder/out.gguf");
    let done = ggraft(["export".as_ref(), recipe.as_os_str(), "-o".as_ref(), nowhere.as_os_str()]);
    assert_parts(&done, 1, &[nowhere.to_str().unwrap(), "cannot write"]);
}

#[test]
fn a_task_that_does_not_fit_its_data_is_refused_with_line_and_columns() {
    let folder = siblings();
    let model = folder.path("a.gguf");
    let score = |task: &Path, parts: &[&str]| {
        refused(["score".as_ref(), model.as_os_str(), "--task".as_ref(), task.as_os_str(), "--json".as_ref()], parts);
    };
    let task = target_task(&folder, "target_test.jsonl", 3);
    let text = fs::read_to_string(&task).unwrap();
    let data = folder.path("target_test.jsonl");
    let (task_name, data_name) = (task.to_str().unwrap(), data.to_str().unwrap());

    fs::write(&task, text.replace("{{ answer }}", "{{ solution }}")).unwrap();
    score(
        &task,
        &[
            &format!("error: {data_name}:1: "),
            "no value for `solution`, which `answer` needs",
            "the row has `prompt`, `answer`, `reference`",
        ],
    );
    fs::write(&task, "merge_method: linear\nmodels: []\n").unwrap();
    score(&task, &[&format!("error: {task_name}:1:1: "), "this is a recipe"]);
    fs::write(&task, text.replace("metric: number", "metrics: number")).unwrap();
    score(&task, &[&format!("error: {task_name}:7:1: "), "`metrics`", "did you mean `metric`?"]);
    fs::write(&task, &text).unwrap();
    fs::write(&data, format!("{}{{\"prompt\": \"A\"}}\n", lines("target_test.jsonl", 2))).unwrap();
    score(&task, &[&format!("error: {data_name}:3: "), "no value for `answer`"]);
    fs::write(&data, format!("{}{{\"prompt\": \n", lines("target_test.jsonl", 2))).unwrap();
    score(&task, &[&format!("error: {data_name}:3: ")]);
    fs::remove_file(&data).unwrap();
    score(&task, &[data_name]);
}

#[test]
fn a_question_that_does_not_fit_the_context_is_named() {
    let folder = siblings();
    let model = folder.path("a.gguf");
    let model = model.to_str().unwrap();
    folder.write("data.jsonl", format!("{{\"q\": \"A A\"}}\n{{\"q\": \"{}\"}}\n", "A ".repeat(300)));
    let generate = "kind: generate\nanswer: \"1\"\nmetric: exact\nmax_tokens: 4\nstop: \"\\n\"\n";
    for kind in ["kind: perplexity\n", "kind: choice\nchoices: [B, C]\nanswer: B\n", generate] {
        let text = format!("name: long\ndata: data.jsonl\nprompt: \"{{{{ q }}}}\"\n{kind}");
        let task = folder.write("task.yaml", text);
        let parts = [model, "task `long`: the question of line 2: ", "does not fit the context of 256", "raise `-c`"];
        refused(["score", model, "--task", task.to_str().unwrap(), "-c", "256"], &parts);
    }
}

#[test]
fn a_choice_task_that_cannot_be_asked_is_refused_with_its_line() {
    let folder = siblings();
    let model = folder.path("a.gguf");
    let (task, data) = (folder.path("task.yaml"), folder.path("data.jsonl"));
    let (task_name, data_name) = (task.to_str().unwrap(), data.to_str().unwrap());
    let row = r#"{"q": "A", "options": ["B", "C"], "label": 1}"#;
    let text =
        "data: data.jsonl\nkind: choice\nprompt: \"{{ q }}\"\nchoices: \"{{ options }}\"\nanswer: \"{{ label }}\"\n";
    let score = |text: &str, second: &str, parts: &[&str]| {
        fs::write(&task, text).unwrap();
        fs::write(&data, format!("{row}\n{second}\n")).unwrap();
        refused(["score".as_ref(), model.as_os_str(), "--task".as_ref(), task.as_os_str(), "--json".as_ref()], parts);
    };
    let at = |second: &str, message: &str| score(text, second, &[&format!("error: {data_name}:2: "), message]);
    score(
        &text.replace("choices: \"{{ options }}\"\n", ""),
        row,
        &[&format!("error: {task_name}:2:7: "), "needs `choices`"],
    );
    score(
        &text.replace("{{ options }}", "{% options %}"),
        row,
        &[&format!("error: {task_name}:4:10: "), "a list of templates, or one `{{ expression }}` for a list"],
    );
    score(
        &format!("{text}metric: number\n"),
        row,
        &[&format!("error: {task_name}:6:9: "), "kind `choice` has `accuracy`"],
    );
    at(r#"{"q": "A", "label": 1}"#, "no value for `options`, which `choices` needs");
    at(r#"{"q": "A", "options": ["B"], "label": 0}"#, "`choices` gives `1`, a question needs 2 to `1024`");
    at(r#"{"q": "A", "options": ["B", "C"], "label": 2}"#, "`answer` is `2`, the `2` choices are counted from 0");
    at(r#"{"q": "A", "options": ["B", "C"], "label": "D"}"#, "answer `D` is none of the `2` choices");
    refused(["score", "a.gguf", "--task", task_name, "--items"], &["--items", "--json"]);
}

#[test]
fn an_evolve_file_asking_for_what_there_is_not_is_refused_before_anything_is_written() {
    let folder = siblings();
    let task = target_task(&folder, "target_test.jsonl", 2);
    assert!(task.ends_with("target.yaml"));
    let genome = "genome: {models: [a.gguf, b.gguf], merge_method: linear}\n";
    let tasks = "tasks: [{task: target.yaml, test: target_test.jsonl}]\n";
    let cases = [
        (format!("{genome}{tasks}search: {{race: {{rungs: 1}}}}\n"), vec!["FILE:3:16: ", "`rungs: 1` must be from 2"]),
        (
            format!("{genome}{tasks}search: {{space: hybird}}\n"),
            vec!["FILE:3:17: ", "`hybird`", "did you mean `hybrid`?"],
        ),
        (format!("{genome}{tasks}random_init: true\n"), vec!["FILE:3:14: ", "`random_init`"]),
        (format!("{genome}{tasks}serch: {{}}\n"), vec!["FILE:3:1: ", "`serch`", "did you mean `search`?"]),
        (
            format!("{genome}tasks: [{{name: gsm8k, test: target_test.jsonl}}]\n"),
            vec!["FILE:2:", "there is no task file", "gsm8k.yaml` for `gsm8k`"],
        ),
        (format!("{}{tasks}", genome.replace("linear", "karcher")), vec!["FILE:1:", "`karcher` has nothing to search"]),
        (format!("{}{tasks}", genome.replace("a.gguf, ", "")), vec!["FILE:1:", "at least two models"]),
        (
            format!("{}{tasks}", genome.replace("linear", "linear, layer_granularity: 3")),
            vec!["`layer_granularity: 3`", "2 layers", "1, 2"],
        ),
        (format!("{}{tasks}", genome.replace("b.gguf", "gone.gguf")), vec!["gone.gguf"]),
    ];
    let out = folder.path("out");
    for (text, parts) in cases {
        let path = folder.write("evolve.yaml", text);
        let parts: Vec<String> = parts.iter().map(|p| p.replace("FILE", path.to_str().unwrap())).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        refused(["evolve".as_ref(), path.as_os_str(), "--out".as_ref(), out.as_os_str(), "--json".as_ref()], &parts);
        assert!(!out.exists(), "{parts:?}");
    }
}

#[test]
fn bad_usage_is_answered_with_what_there_is() {
    assert_parts(&ggraft(["merge"]), 2, &["'merge'"]);
    assert_parts(&ggraft(["score", "a.gguf"]), 2, &["--task"]);
    assert_parts(&ggraft(["run", "a.gguf", "-p", "A", "--thread", "3"]), 2, &["--thread", "--threads"]);
    assert_parts(&ggraft(["export", "a.gguf", "-o", "b.gguf", "--type", "q9_0"]), 2, &["q9_0", "q8_0"]);
    assert_parts(&ggraft(["score", "a.gguf", "--task", "t.yaml", "--limit", "0"]), 2, &["--limit", "above 0"]);
    for temperature in ["nan", "inf", "-1", "101", "hot"] {
        assert_parts(&ggraft(["run", "a.gguf", "-p", "A", "--temp", temperature]), 2, &["--temp", "from 0 to 100"]);
    }
}

/// A disk that is full while the journal is written, played by a limit on file sizes: the model in memory stays below it, the journal,
/// whose first entry holds the whole evolve file, starts some candidates below it too.
#[test]
fn a_journal_that_cannot_grow_ends_the_search_with_an_error_and_can_be_resumed() {
    const LIMIT_KB: usize = 1024;
    let folder = siblings();
    target_task(&folder, "target_test.jsonl", 2);
    let mut text = json!({
        "genome": { "models": ["a.gguf", "b.gguf"], "merge_method": "linear" },
        "tasks": [{ "task": "target.yaml", "test": "target_test.jsonl" }],
        "search": { "budget": 12, "population": 4 },
    })
    .to_string();
    text.push_str("\n#");
    text.push_str(&"x".repeat(LIMIT_KB * 1024 - text.len() - 120_000));
    let evolve = folder.write("evolve.yaml", text);
    let out = folder.path("out");
    let program = program();
    let mut limited = std::process::Command::new("bash");
    limited.arg("-c").arg(format!("ulimit -f {LIMIT_KB}; exec \"$0\" \"$@\"")).arg(program.get_program());
    limited.arg("evolve").arg(&evolve).arg("--out").arg(&out).arg("--json");
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let done = Output::of(&mut limited);
    assert_parts(&done, 1, &["cannot write `", "journal.sqlite", "--resume"]);
    let before = ggraft::evolve::Journal::read(&out).unwrap();
    assert!((1..12).contains(&before.candidates().count()), "{} candidates", before.candidates().count());
    let done = ggraft([
        "evolve".as_ref(),
        evolve.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
        "--resume".as_ref(),
        "--json".as_ref(),
    ]);
    assert_eq!(done.json()["evaluations"], 12);
}
