//! A recipe is a model: what llama.cpp computes from the virtual one is, to the last bit, what it computes from the exported file.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Folder, ggraft, perplexity_task, quickstart};

const TYPES: [&str; 5] = ["q8_0", "f16", "bf16", "f32", "same"];

/// A recipe of each kind over `base`, `math` and `ja`: all methods, gradients, filters in both spellings, and stacked layers.
const RECIPES: [(&str, &str); 8] = [
    (
        "linear",
        "merge_method: linear\nmodels: [{model: MATH, parameters: {weight: 0.6}}, {model: JA, parameters: {weight: 0.4}}]",
    ),
    ("slerp", "merge_method: slerp\nbase_model: MATH\nmodels: [{model: JA}]\nparameters: {t: [0.1, 0.7, 0.4]}"),
    (
        "task_arithmetic",
        "merge_method: task_arithmetic\nbase_model: BASE\nmodels:\n  - model: MATH\n    parameters: {weight: [{filter: self_attn, value: [0.1, 0.5]}, \
         {filter: ffn_down, value: 0}, {value: 0.3}]}\n  - model: JA\n    parameters: {weight: [0.4, 0.1, 0.3]}",
    ),
    (
        "ties",
        "merge_method: ties\nbase_model: BASE\nmodels: [{model: MATH, parameters: {weight: 0.5, density: 0.3}}, \
         {model: JA, parameters: {weight: 0.4, density: [0.2, 0.9]}}]\nparameters: {normalize: false}",
    ),
    (
        "dare_ties",
        "merge_method: dare_ties\nbase_model: BASE\nmodels: [{model: MATH, parameters: {weight: 0.4, density: 0.6}}, \
         {model: JA, parameters: {weight: 0.3, density: 0.5}}]",
    ),
    (
        "stacked",
        "merge_method: passthrough\nslices:\n  - sources: [{model: BASE, layer_range: [0, 5]}]\n  - sources: [{model: JA, layer_range: [3, 8]}]",
    ),
    (
        "reordered_blend",
        "merge_method: linear\nslices:\n  - sources: [{model: BASE, layer_range: [0, 3], parameters: {weight: 1}}, {model: JA, layer_range: [0, 3], \
         parameters: {weight: 0.2}}]\n  - sources: [{model: MATH, layer_range: [3, 8], parameters: {weight: 0.5}}, \
         {model: BASE, layer_range: [3, 8], parameters: {weight: 1}}]",
    ),
    (
        "scaled",
        "merge_method: passthrough\nmodels: [{model: BASE, parameters: {scale: [{filter: mlp.down_proj, value: 0.97}, {value: 1}]}}]",
    ),
];

/// A recipe with its models' paths put in. JSON's quotes are YAML's too.
fn fill_in(recipe: &str, models: [&Path; 3]) -> String {
    let names = ["BASE", "MATH", "JA"];
    names
        .iter()
        .zip(models)
        .fold(recipe.to_owned(), |text, (name, path)| text.replace(name, &format!("{:?}", path.to_str().unwrap())))
}

pub fn export(model: &Path, out: &Path, more: &[&str]) {
    let mut args = vec![OsStr::new("export"), model.as_os_str(), OsStr::new("-o"), out.as_os_str()];
    args.extend(more.iter().map(OsStr::new));
    let done = ggraft(args);
    assert_eq!(done.code(), 0, "{done:?}");
}

/// The perplexities of `models` on `task`, all scored by one process.
pub fn perplexities(models: &[PathBuf], task: &Path) -> Vec<f64> {
    perplexities_with(models, task, &[])
}

fn perplexities_with(models: &[PathBuf], task: &Path, more: &[&str]) -> Vec<f64> {
    let mut args: Vec<OsString> = vec!["score".into(), "--json".into()];
    args.extend(more.iter().map(OsString::from));
    args.extend(models.iter().map(OsString::from));
    args.extend(["--task".into(), task.into()]);
    let json = ggraft(args).json();
    let value = |r: &Value| r["value"].as_f64().filter(|v| v.is_finite()).unwrap_or_else(|| panic!("{r}"));
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), models.len());
    results.iter().map(value).collect()
}

/// Exports every recipe and asserts that each one's perplexity is its file's, bit for bit; returns the perplexities.
pub fn assert_exact(folder: &Folder, recipes: &[(String, String)], task: &Path) -> Vec<f64> {
    assert_exact_with(folder, recipes, task, &[])
}

/// The same with more arguments for all commands.
pub fn assert_exact_with(folder: &Folder, recipes: &[(String, String)], task: &Path, more: &[&str]) -> Vec<f64> {
    let mut models = Vec::new();
    for (name, recipe) in recipes {
        let path = folder.write(&format!("{name}.yaml"), recipe);
        let out = folder.path(&format!("{name}.gguf"));
        export(&path, &out, more);
        models.extend([path, out]);
    }
    let values = perplexities_with(&models, task, more);
    for ([recipe, file], (name, _)) in values.as_chunks().0.iter().zip(recipes) {
        assert_eq!(recipe.to_bits(), file.to_bits(), "{name}: {recipe} from the recipe, {file} from its file");
    }
    values.into_iter().step_by(2).collect()
}

pub fn siblings() -> [PathBuf; 3] {
    ["base", "math", "ja"].map(|name| quickstart(&format!("{name}-Q8_0.gguf")))
}

fn named(recipes: &[(&str, &str)], more: &str, models: [&Path; 3]) -> Vec<(String, String)> {
    recipes.iter().map(|(name, text)| ((*name).to_owned(), format!("{}\n{more}\n", fill_in(text, models)))).collect()
}

#[test]
fn every_method_scores_as_its_exported_file_bit_for_bit() {
    let folder = Folder::new();
    let task = perplexity_task(&folder, 10);
    let parents = siblings();
    let recipes = named(&RECIPES, "", parents.each_ref().map(PathBuf::as_path));
    let mut all = assert_exact(&folder, &recipes, &task);
    all.extend(perplexities(&parents, &task));
    // All different: nothing above was compared with itself by mistake.
    for i in 0..all.len() {
        assert!(!all[..i].contains(&all[i]), "{all:?}");
    }
}

#[test]
fn every_out_type_scores_as_its_exported_file_bit_for_bit() {
    let folder = Folder::new();
    let task = perplexity_task(&folder, 6);
    let parents = siblings();
    let paths = parents.each_ref().map(PathBuf::as_path);
    for (method, recipe) in [RECIPES[2], RECIPES[3]] {
        let recipes: Vec<(String, String)> = TYPES
            .iter()
            .map(|ty| (format!("{method}_{ty}"), format!("{}\nout_type: {ty}\n", fill_in(recipe, paths))))
            .collect();
        let values = assert_exact(&folder, &recipes, &task);
        // The parents are Q8_0, so `same` is `q8_0`; the others round less, and not alike.
        assert_eq!(values[0].to_bits(), values[4].to_bits(), "{values:?}");
        assert!(values[..4].windows(2).all(|pair| pair[0] != pair[1]), "{values:?}");
        assert!(values.iter().all(|v| (v / values[3] - 1.0).abs() < 0.05), "{values:?}");
    }
}

#[test]
fn export_with_type_is_the_recipe_with_that_out_type() {
    let folder = Folder::new();
    let parents = siblings();
    let text = fill_in(RECIPES[0].1, parents.each_ref().map(PathBuf::as_path));
    let (plain, typed) =
        (folder.write("plain.yaml", &text), folder.write("typed.yaml", format!("{text}\nout_type: bf16\n")));
    let files = ["plain.gguf", "typed.gguf"].map(|name| folder.path(name));
    export(&plain, &files[0], &["--type", "bf16"]);
    export(&typed, &files[1], &[]);
    assert!(std::fs::read(&files[0]).unwrap() == std::fs::read(&files[1]).unwrap(), "the two files differ");
}

#[test]
fn a_recipe_of_one_parent_is_that_parent() {
    let folder = Folder::new();
    let task = perplexity_task(&folder, 10);
    for parent in siblings() {
        let path = parent.to_str().unwrap();
        let one = folder.write("one.yaml", format!("merge_method: passthrough\nmodels: [{{model: {path:?}}}]\n"));
        let weighed = format!(
            "merge_method: linear\nmodels: [{{model: {path:?}, parameters: {{weight: 0.3}}}}]\nout_type: f32\n"
        );
        let weighed = folder.write("weighed.yaml", weighed);
        let end = format!(
            "merge_method: slerp\nbase_model: {path:?}\nmodels: [{{model: {:?}}}]\nparameters: {{t: 0}}\n",
            siblings()[2]
        );
        let copied = folder.path("copied.gguf");
        export(&parent, &copied, &[]);
        let values = perplexities(&[parent.clone(), one, weighed, copied], &task);
        assert!(values.iter().all(|v| v.to_bits() == values[0].to_bits()), "{path}: {values:?}");
        // An end point of a blend is the parent again but for one more rounding to Q8_0, which changes next to nothing.
        if parent != siblings()[2] {
            let at_end = perplexities(&[folder.write("end.yaml", end)], &task)[0];
            assert!((at_end / values[0] - 1.0).abs() < 1e-3, "{path}: {at_end} at t = 0, {} alone", values[0]);
        }
    }
}

#[test]
fn parents_of_different_types_blend_exactly() {
    let folder = Folder::new();
    let task = perplexity_task(&folder, 6);
    let [base, math, ja] = siblings();
    // The same models at other types: a blend of each with its base, so that there is something to write anew.
    let turned = |name: &str, model: &Path, ty: &str| {
        let text = format!(
            "merge_method: linear\nmodels: [{{model: {base:?}, parameters: {{weight: 0.01}}}}, {{model: {model:?}, parameters: {{weight: 0.99}}}}]\nout_type: {ty}\n"
        );
        let out = folder.path(&format!("{name}.gguf"));
        export(&folder.write(&format!("{name}.yaml"), text), &out, &[]);
        out
    };
    let (math, ja) = (turned("math-bf16", &math, "bf16"), turned("ja-f16", &ja, "f16"));
    assert_exact(&folder, &named(&RECIPES[..5], "out_type: q8_0", [&base, &math, &ja]), &task);
}

/// The K-quantized siblings do not ship with the quickstart; where they have been put beside it, they are blended with the Q8_0 ones.
#[test]
fn k_quantized_parents_blend_with_q8_0_ones_exactly() {
    let [base, _, ja] = siblings();
    let math = quickstart("math-Q4_K_M.gguf");
    if !math.exists() {
        eprintln!("skipped: no {}; the downloaded gemma-3-270m, which is Q4_K_M, is blended below", math.display());
        return;
    }
    let folder = Folder::new();
    let task = perplexity_task(&folder, 6);
    assert_exact(&folder, &named(&RECIPES[..5], "", [&base, &math, &ja]), &task);
}

/// Blends the downloaded model `file` with a sibling of another type and stacks its layers, and compares recipes with their files.
/// `make test` downloads the models and names their folder in `GGRAFT_TEST_MODELS`; without it there is nothing to test.
fn real_model(file: &str, layers: u32) {
    let Some(models) = std::env::var_os("GGRAFT_TEST_MODELS") else {
        eprintln!(
            "skipped: GGRAFT_TEST_MODELS does not name a folder with {file}; `make test` downloads it and sets the variable"
        );
        return;
    };
    let model = Path::new(&models).join(file);
    let folder = Folder::new();
    folder.write("perplexity.jsonl", "{\"text\": \"The capital of France is Paris, and the capital of Italy is Rome.\"}\n{\"text\": \"2 + 2 = 4\"}\n");
    let task = folder.write("perplexity.yaml", "data: perplexity.jsonl\nkind: perplexity\nprompt: \"{{ text }}\"\n");
    let sibling = folder.path("sibling.gguf");
    let bent = format!(
        "merge_method: passthrough\nmodels: [{{model: {model:?}, parameters: {{scale: [{{filter: mlp, value: 0.9}}, {{value: 1}}]}}}}]\n"
    );
    export(&folder.write("sibling.yaml", bent), &sibling, &["--type", "bf16"]);
    let middle = layers / 2;
    let blend = "merge_method: ties\nbase_model: BASE\nmodels: [{model: JA, parameters: {weight: 0.7, density: 0.5}}]";
    let stacked = format!(
        "merge_method: passthrough\nslices:\n  - sources: [{{model: BASE, layer_range: [0, {}]}}]\n  \
         - sources: [{{model: JA, layer_range: [{}, {layers}]}}]",
        middle + 1,
        middle - 2
    );
    let recipes = [("blend", blend), ("stacked", stacked.as_str())];
    let mut values = assert_exact(&folder, &named(&recipes, "", [&model, &model, &sibling]), &task);
    let one = folder.write("one.yaml", format!("merge_method: passthrough\nmodels: [{{model: {model:?}}}]\n"));
    let own = perplexities(&[model, one, sibling], &task);
    assert_eq!(own[0].to_bits(), own[1].to_bits(), "{own:?}");
    values.extend([own[0], own[2]]);
    assert!((0..values.len()).all(|i| !values[..i].contains(&values[i])), "{values:?}");
}

#[test]
fn smollm2_scores_as_its_exported_files_bit_for_bit() {
    real_model("SmolLM2-135M-Instruct.gguf", 30);
}

#[test]
fn gemma3_scores_as_its_exported_files_bit_for_bit() {
    real_model("gemma-3-270m.gguf", 18);
}
