//! Recipes that are tested beside the best one.

use std::fs;

use super::*;

const TIES: &str = "merge_method: ties\nbase_model: ../c.gguf\nmodels:\n  - {model: ../b.gguf, parameters: {weight: 1, density: 0.5}}\n  \
                    - {model: ../a.gguf, parameters: {weight: 0.7, density: 0.5}}\n";

/// A folder with an evolve file over a, b and their base c, with `compare` as YAML flow, and recipes in another folder.
fn study(compare: &str) -> (TempDir, Config) {
    let folder = folder();
    for name in ["a.gguf", "b.gguf", "c.gguf"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    fs::create_dir(folder.path().join("fixed")).unwrap();
    fs::write(folder.path().join("fixed/ties.yaml"), TIES).unwrap();
    fs::write(folder.path().join("fixed/other.yaml"), TIES.replace("b.gguf", "d.gguf")).unwrap();
    fs::write(folder.path().join("fixed/template.yaml"), format!("{TIES}chat_template: chatml\n")).unwrap();
    let genome = "genome: {models: [a.gguf, b.gguf], base_model: c.gguf, merge_method: task_arithmetic}";
    let text = format!("{genome}\n{TASKS}\ncompare: {compare}\n");
    let path = folder.path().join("evolve.yaml");
    fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    (folder, config)
}

#[test]
fn compared_recipes_are_tested_and_stay_what_they_were() {
    let (folder, config) = study("[fixed/ties.yaml]");
    let compared = config.recipes_to_compare().unwrap();
    let identity = || Identity {
        compared: compared.clone(),
        evolve: config.text.clone(),
        file: config.file.clone(),
        blocks: vec![LAYERS; 3],
        ..identity()
    };
    let out = folder.path().join("out");
    let mut journal = Journal::open(&out, false, identity()).unwrap();
    let mut scorer = Landscape::default();
    let outcome = evolve(&config, &stages(&config), 8, 3, &mut scorer, &mut journal, &mut |_| ()).unwrap();
    drop(journal);
    let names = |outcome: &Outcome| outcome.tested.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&outcome), ["a.gguf", "b.gguf", "c.gguf", "uniform merge", "fixed/ties.yaml", "best recipe"]);
    let (asked, _) = scorer.asked.iter().find(|(weights, _)| weights == &[1.0, 0.7]).unwrap();
    assert_eq!(asked.len(), 2, "with the weights that it gives");
    let belief = outcome.belief.as_ref().unwrap();
    assert_eq!(belief.comparisons[4].name, "fixed/ties.yaml");
    assert!(belief.best_parent < 3, "a recipe is no parent");

    // What it was is in the journal, and a change of the file is one of the search.
    fs::remove_file(folder.path().join("fixed/ties.yaml")).unwrap();
    let read = Study::read(&out).unwrap();
    assert_eq!(names(&read.outcome), names(&outcome));
    let recipe = config.compared(&compared[0], &read.outcome.best.as_ref().unwrap().recipe).unwrap();
    let models: Vec<&str> = recipe.models.iter().map(|model| model.written.as_str()).collect();
    assert_eq!(
        (models, recipe.base_model, recipe.slices[0].sources[0].model),
        (vec!["a.gguf", "b.gguf", "c.gguf"], Some(2), 1)
    );
    let mut other = identity();
    other.compared[0].1.push('#');
    let error = Journal::open(&out, true, other).err().unwrap().to_string();
    assert!(error.contains("`fixed/ties.yaml` changed") && error.contains("--allow-changed"), "{error}");
}

#[test]
fn recipes_that_cannot_be_compared_are_refused() {
    for (compare, want) in [
        (
            "[fixed/other.yaml]",
            "3:11: `fixed/other.yaml` merges `../d.gguf`, and the models of this search are `a.gguf`, `b.gguf`, `c.gguf`",
        ),
        ("[fixed/template.yaml]", "has a tokenizer or chat template of its own"),
        ("[fixed/none.yaml]", "none.yaml"),
    ] {
        let error = study(compare).1.recipes_to_compare().err().unwrap();
        assert!(error.is_bad_input() && error.to_string().contains(want), "{error}");
    }
    let twice = |compare: &str| {
        let genome = "genome: {models: [a.gguf, b.gguf], merge_method: linear}";
        let text = format!("{genome}\n{TASKS}\ncompare: {compare}\n");
        Config::parse(text, Path::new("e.yaml")).err().unwrap().to_string()
    };
    assert_eq!(twice("[x.yaml, x.yaml]"), "e.yaml:3:19: `x.yaml` is compared anyway");
    assert_eq!(twice("[b.gguf]"), "e.yaml:3:11: `b.gguf` is compared anyway");
}

#[test]
fn an_evolve_file_that_is_named_without_its_folder_finds_its_models() {
    let genome = "genome: {models: [a.gguf, b.gguf], base_model: c.gguf, merge_method: task_arithmetic}";
    let here = Path::new("evolve.yaml");
    let config = Config::parse(format!("{genome}\n{TASKS}\n"), here).unwrap();
    let text = TIES.replace("../", "");
    let recipe = Recipe::parse(&text, here).unwrap();
    assert_eq!(recipe.models[0].path, Path::new("./b.gguf"));
    assert!(config.compared(&("ties.yaml".to_owned(), text), &recipe).is_ok());
}
