//! Every merge method from its example in `recipes/methods`: it runs, it scores as its exported file does, and the README names it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ggraft::recipe::{METHODS, Recipe, methods};

use crate::exact::{assert_exact, assert_exact_with, export};
use crate::support::{Folder, Tiny, ggraft, perplexity_task, quickstart};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/methods")
}

/// The example of a method, over other models than the quickstart's.
fn example(method: &str, models: [&Path; 3]) -> String {
    let mut text = fs::read_to_string(folder().join(format!("{method}.yaml"))).unwrap();
    for (name, path) in ["base", "math", "ja"].iter().zip(models) {
        text = text.replace(&format!("../quickstart/{name}-Q8_0.gguf"), &format!("{:?}", path.to_str().unwrap()));
    }
    text
}

#[test]
fn every_method_has_a_commented_example_and_every_example_a_method() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str().unwrap().strip_suffix(".yaml").map(str::to_owned))
        .collect();
    let names: BTreeSet<String> = METHODS.iter().map(|method| method.name.to_owned()).collect();
    assert_eq!(files, names);
    for name in names {
        let path = folder().join(format!("{name}.yaml"));
        let recipe = Recipe::load(&path).unwrap();
        assert_eq!(recipe.method.name, name);
        assert!(recipe.warnings.is_empty(), "{:?}", recipe.warnings);
        assert!(fs::read_to_string(path).unwrap().starts_with("# "), "{name} says nothing about itself");
    }
}

#[test]
fn every_example_scores_as_its_exported_file_bit_for_bit() {
    let folder = Folder::new();
    let task = perplexity_task(&folder, 2);
    let models = ["base", "math", "ja"].map(|name| quickstart(&format!("{name}-Q8_0.gguf")));
    let example = |name: &str| example(name, models.each_ref().map(PathBuf::as_path));
    let recipes: Vec<(String, String)> =
        METHODS.iter().map(|method| (method.name.to_owned(), example(method.name))).collect();
    let values = assert_exact(&folder, &recipes, &task);
    // All different: nothing above was compared with itself by mistake. All sane: a broken model is no better than guessing among 640
    // tokens, the worst of the parents comes to about 8.
    for (i, (name, _)) in recipes.iter().enumerate() {
        assert!(!values[..i].contains(&values[i]), "{name}: {values:?}");
        assert!(values[i] < 20.0, "{name}: {values:?}");
    }
}

#[test]
fn the_readme_has_the_table_of_methods() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let table = methods::markdown();
    assert!(readme.contains(&table), "the README's table of methods is out of date; it should be:\n{table}");
}

#[test]
fn help_explains_every_method_and_parameter() {
    // Lines are broken to fit the terminal.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let help = words(&ggraft(["--help"]).stdout);
    for method in METHODS {
        assert!(help.contains(&words(&format!("{}: {}", method.name, method.summary))), "{}", method.name);
        for parameter in method.parameters {
            assert!(help.contains(&format!("`{}`", parameter.name)) || parameter.doc.starts_with("accepted"));
        }
    }
}

/// Every method once on the downloaded model `file`, with siblings made of it; a few recipes at a time, since their files are large.
fn real_model(file: &str) {
    let Some(models) = std::env::var_os("GGRAFT_TEST_MODELS") else {
        eprintln!("skipped: GGRAFT_TEST_MODELS does not name a folder with {file}; `make test` downloads it");
        return;
    };
    let model = Path::new(&models).join(file);
    let folder = Folder::new();
    folder.write("perplexity.jsonl", "{\"text\": \"The capital of France is Paris.\"}\n");
    let task = folder.write("perplexity.yaml", "data: perplexity.jsonl\nkind: perplexity\nprompt: \"{{ text }}\"\n");
    let sibling = |name: &str, filter: &str, scale: f64| {
        let text = format!(
            "merge_method: passthrough\nmodels: [{{model: {model:?}, parameters: {{scale: [{{filter: {filter}, value: {scale}}}, {{value: 1}}]}}}}]\n"
        );
        let out = folder.path(&format!("{name}.gguf"));
        export(&folder.write(&format!("{name}.yaml"), text), &out, &["--type", "q8_0"]);
        out
    };
    let siblings = [sibling("one", "mlp", 0.96), sibling("two", "self_attn", 1.05)];
    let models = [&model, &siblings[0], &siblings[1]].map(PathBuf::as_path);
    // What the export learns of the parents, the score need not learn again.
    let cache = folder.path("statistics");
    let cached = ["--cache", cache.to_str().unwrap()];
    for few in METHODS.chunks(4) {
        let files = Folder::new();
        let recipes: Vec<(String, String)> =
            few.iter().map(|method| (method.name.to_owned(), example(method.name, models))).collect();
        let values = assert_exact_with(&files, &recipes, &task, &cached);
        assert!(values.iter().all(|value| *value > 1.0), "{values:?}");
    }
}

#[test]
fn every_method_on_smollm2_scores_as_its_exported_file_bit_for_bit() {
    real_model("SmolLM2-135M-Instruct.gguf");
}

#[test]
fn every_method_on_gemma3_scores_as_its_exported_file_bit_for_bit() {
    real_model("gemma-3-270m.gguf");
}

#[test]
fn a_cache_is_made_and_used_and_anything_else_is_refused() {
    let folder = Folder::new();
    let recipe = folder.write(
        "ties.yaml",
        example(
            "ties",
            ["base", "math", "ja"]
                .map(|name| quickstart(&format!("{name}-Q8_0.gguf")))
                .each_ref()
                .map(PathBuf::as_path),
        ),
    );
    let cache = folder.path("statistics");
    let out = |name: &str| folder.path(name);
    let run = |cache: &Path, name: &str| {
        let output = out(name);
        ggraft([
            "export".as_ref(),
            recipe.as_os_str(),
            "--cache".as_ref(),
            cache.as_os_str(),
            "-o".as_ref(),
            output.as_os_str(),
        ])
    };
    assert_eq!(run(&cache, "first.gguf").code(), 0);
    let learnt = fs::read(&cache).unwrap();
    assert_eq!(run(&cache, "second.gguf").code(), 0);
    assert_eq!(fs::read(&cache).unwrap(), learnt);
    export(&recipe, &out("without.gguf"), &[]);
    let wanted = fs::read(out("without.gguf")).unwrap();
    assert!(fs::read(out("first.gguf")).unwrap() == wanted && fs::read(out("second.gguf")).unwrap() == wanted);
    // Somebody else's file is no cache, and stays what it is.
    let other = folder.path("model.gguf");
    Tiny::bare().write(&other);
    let before = fs::read(&other).unwrap();
    let refused = run(&other, "third.gguf");
    assert!(refused.error(2).contains("is not a cache of ggraft"), "{refused:?}");
    assert_eq!(fs::read(&other).unwrap(), before);
}
