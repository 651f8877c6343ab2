//! What is told of studies by their folders.

use super::*;

/// A study of weights, or of weights and then paths, stopped before call `cancel_at`.
pub(super) fn study(space: &str, cancel_at: Option<usize>) -> (TempDir, Config) {
    let text = format!(
        "genome: {{models: [x/a.gguf, b.gguf], merge_method: linear, layer_granularity: 4}}\n{TASKS}\nsearch: {{space: {space}, budget: 10}}\n"
    );
    let config = Config::parse(text, Path::new("e.yaml")).unwrap();
    let (folder, stages) = (folder(), stages(&config));
    let (evolve_text, blocks) = (config.text.clone(), vec![LAYERS; 2]);
    let identity = Identity { evolve: evolve_text, blocks, budget: config.budget(), ..identity() }.over(&stages);
    let mut journal = Journal::open(folder.path(), false, identity).unwrap();
    let mut scorer = Landscape { cancel_at, ..Landscape::default() };
    evolve(&config, &stages, config.budget(), 3, &mut scorer, &mut journal, &mut |_| ()).unwrap();
    (folder, config)
}

#[test]
fn glances_tell_how_far_a_search_is() {
    let (folder, _) = study("parameter", Some(7));
    let glance = Glance::of(folder.path()).unwrap();
    let p = glance.progress;
    assert_eq!((glance.state, p.candidates, p.budget, p.finished), (State::Stopped, 7, 10, false));
    assert_eq!((glance.genes, glance.test), (vec![4], None));
    // Every trial here takes 1.75 seconds.
    assert!((p.per_hour.unwrap() - 3600.0 / 1.75).abs() < 1e-6 && (p.seconds_left.unwrap() - 3.0 * 1.75).abs() < 1e-9);
    for (share, want) in p.shares().into_iter().zip([0.25, 0.5, 1.0]) {
        assert!((share - want / 1.75).abs() < 1e-9, "{share}");
    }

    let (folder, _) = study("parameter", None);
    let glance = Glance::of(folder.path()).unwrap();
    assert_eq!((glance.state, glance.progress.finished), (State::Finished, true));
    let study = Study::read(folder.path()).unwrap();
    assert_eq!(glance.test.unwrap(), study.outcome.tested.last().unwrap().trial.summary(&[1.0]));
    let _at_work = Journal::open(folder.path(), true, Identity { seed: 3, ..study.identity.clone() }).unwrap();
    assert_eq!(Glance::of(folder.path()).unwrap().state, State::Running);
}

#[test]
fn out_folders_are_found_at_a_folder_and_under_it() {
    let (one, _) = study("parameter", Some(1));
    let above = folder();
    for name in ["b", "a", "c/d"] {
        let to = above.path().join(name);
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(one.path().join(JOURNAL_FILE), to.join(JOURNAL_FILE)).unwrap();
    }
    assert_eq!(out_folders(one.path()).unwrap(), [one.path()]);
    assert_eq!(out_folders(above.path()).unwrap(), [above.path().join("a"), above.path().join("b")]);
    assert!(out_folders(&above.path().join("none")).is_err());
}

#[test]
fn candidates_are_a_table_with_genes_by_name() {
    let (folder, _) = study("parameter", None);
    let table = candidates(&Journal::read(folder.path()).unwrap());
    let fixed =
        ["stage", "candidate", "time", "fitness", "swap_seconds", "score_seconds", "prompt_seconds", "questions"];
    let named = ["t: number", "t: stderr", "linear weight of a, layers 0-3", "linear weight of b, layers 0-3"];
    let columns: Vec<&str> = fixed.into_iter().chain(named).collect();
    assert_eq!(table.columns[..columns.len()], columns);
    assert_eq!((table.columns.len(), table.rows.len()), (columns.len() + 2, 10));
    let journal = Journal::read(folder.path()).unwrap();
    for (row, candidate) in table.rows.iter().zip(journal.candidates()) {
        assert_eq!(row[3].as_f64().unwrap(), candidate.trial.fitness);
        let genes: Vec<f64> = row[10..].iter().map(|gene| gene.as_f64().unwrap()).collect();
        assert_eq!(genes, candidate.genes);
    }

    let (folder, _) = study("hybrid", None);
    let table = candidates(&Journal::read(folder.path()).unwrap());
    // Four weights; then a switch and a log scale for each block of the merge and of `a`, laid out three times.
    assert_eq!(table.columns.len(), 10 + 4 + 2 * 2 * LAYERS as usize * 3);
    assert_eq!(table.columns[14], "block the merge 0, round 1");
    assert!(table.columns.last().unwrap() == "log scale of a 7, round 3", "{:?}", table.columns.last());
    let filled = |row: &Vec<serde_json::Value>| row[10..].iter().filter(|cell| !cell.is_null()).count();
    assert_eq!((filled(&table.rows[0]), filled(&table.rows[19])), (4, 96));
    assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
}

#[test]
fn names_of_genes_are_distinct_and_as_many_as_there_are_genes() {
    let of = |genome: &str, more: &str| {
        let text = format!("genome: {{models: [a/m.gguf, b/m.gguf+c/l.gguf]{genome}}}\n{TASKS}\n{more}\n");
        let config = Config::parse(text, Path::new("e.yaml")).unwrap();
        let stages = stages(&config);
        for (names, genes) in stages.gene_names().iter().zip(stages.genes()) {
            let distinct: std::collections::HashSet<&String> = names.iter().collect();
            assert_eq!((names.len(), distinct.len()), (genes, genes), "{genome} {more}");
        }
        stages.gene_names().concat()
    };
    assert_eq!(of(", merge_method: linear", ""), ["linear weight of m", "linear weight of m+l"]);
    let ties = of(", merge_method: ties, base_model: c.gguf, layer_granularity: 1, filters: [mlp]", "");
    assert!(ties.contains(&"ties density of m+l, layer 7, others".to_owned()), "{ties:?}");
    assert!(of(", merge_method: linear, layer_granularity: 4, smooth: true", "")[3].ends_with("point 2 of 2"));
    of(", merge_method: slerp, layer_granularity: 2", "");
    for gains in ["none", "slot", "matrix", "network"] {
        for repeats in [1, 2] {
            of("", &format!("search: {{space: data_flow}}\npath: {{gains: {gains}, repeats: {repeats}}}"));
        }
    }
}

#[test]
fn journals_that_promise_absurd_models_are_refused() {
    let (folder, config) = study("parameter", Some(1));
    for (blocks, want) in [(vec![LAYERS], "knows 1 models"), (vec![u32::MAX; 2], "4294967295 blocks")] {
        let other = Identity { evolve: format!("{}# {want}", config.text), blocks, ..identity() };
        drop(Journal::open_changed(folder.path(), other).unwrap());
        let error = Study::read(folder.path()).err().unwrap();
        assert!(error.is_bad_input() && error.to_string().contains(want), "{error}");
    }
}
