//! The journal on disk: whose it is, what it keeps, and what damage it survives.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::gguf::tests::Tiny;
use crate::plan::tests::{Family, drawn};
use crate::tasks::{Kind, Question, Task, TextMetric};

fn file(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("journal.jsonl")
}

fn candidate(evaluation: usize, fitness: f64) -> Entry {
    Entry::Candidate {
        stage: 0,
        evaluation,
        genes: vec![0.1, -1e-300],
        trial: trial(fitness, vec![1.0, 0.0]),
        dropped: false,
    }
}

#[test]
fn new_journal_makes_its_folder_and_never_starts_over_another() {
    let folder = folder();
    let deep = folder.path().join("a/b");
    drop(Journal::open(&deep, false, identity()).unwrap());
    let path = deep.join("journal.jsonl");
    let before = fs::read(&path).unwrap();
    match Journal::open(&deep, false, identity()) {
        Err(EvolveError::Occupied { path: named }) => assert_eq!(named, path),
        _ => panic!("not refused"),
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn nothing_to_resume_is_said_and_nothing_made() {
    let folder = folder();
    let none = folder.path().join("none");
    assert!(matches!(Journal::open(&none, true, identity()), Err(EvolveError::NothingToResume { .. })));
    assert!(!none.exists());
    assert!(matches!(Journal::open(folder.path(), true, identity()), Err(EvolveError::NothingToResume { .. })));
    assert!(!file(&folder).exists());
}

#[test]
fn lines_come_back_as_they_went() {
    let folder = folder();
    let entries = [
        candidate(0, 0.1 + 0.2),
        Entry::Finalist { stage: 1, evaluation: None, trial: trial(-0.0, vec![]) },
        Entry::Finalist { stage: 1, evaluation: Some(4), trial: trial(5e-324, vec![0.5]) },
        Entry::Test { name: "a \"b\"\n語.gguf".to_owned(), trial: trial(1e300, vec![1.0]) },
    ];
    let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
    for entry in &entries {
        journal.append(entry.clone()).unwrap();
    }
    let written = journal.bytes_written();
    drop(journal);
    assert_eq!(fs::metadata(file(&folder)).unwrap().len(), written);
    let journal = Journal::open(folder.path(), true, identity()).unwrap();
    assert_eq!(journal.entries()[0], Entry::Start(identity()));
    assert_eq!(journal.entries()[1..], entries);
    assert_eq!(journal.bytes_written(), 0);
}

#[test]
fn missing_scores_come_back_missing() {
    let folder = folder();
    let nan = f64::NAN;
    let mut none = trial(nan, vec![1.0, nan, 0.0]);
    none.tasks[0].stderr = nan;
    none.tasks[0].ci95 = [nan, 0.5];
    Journal::open(folder.path(), false, identity())
        .unwrap()
        .append(Entry::Finalist { stage: 1, evaluation: None, trial: none.clone() })
        .unwrap();
    let journal = Journal::open(folder.path(), true, identity()).unwrap();
    let Entry::Finalist { trial, .. } = &journal.entries()[1] else { panic!() };
    assert_eq!(format!("{trial:?}"), format!("{none:?}"));
}

#[test]
fn other_searches_are_refused_with_what_changed() {
    let folder = folder();
    drop(Journal::open(folder.path(), false, identity()).unwrap());
    let changed = |change: fn(&mut Identity)| {
        let mut other = identity();
        change(&mut other);
        match Journal::open(folder.path(), true, other) {
            Ok(_) => "nothing".to_owned(),
            Err(EvolveError::OtherSearch { what, .. }) => what,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(changed(|_| ()), "nothing");
    assert_eq!(changed(|i| i.evolve.push('#')), "the evolve file");
    assert_eq!(changed(|i| i.seed = 4), "the seed, 3 before and 4 now,");
    assert_eq!(changed(|i| i.models[0].1 = "ce".to_owned()), "`a.gguf`");
    assert_eq!(changed(|i| i.tasks[0].1 = "ac".to_owned()), "`t`");
    assert_eq!(changed(|i| i.tasks.push(("u".to_owned(), "ef".to_owned()))), "`u`");
    // A newer ggraft may go on as long as it proposes the same, which every replayed candidate proves.
    assert_eq!(changed(|i| i.version.push('1')), "nothing");
}

#[test]
fn identity_covers_tasks_and_weights_but_not_where_they_lie() {
    let config = config("");
    let question = |prompt: &str| Question { prompt: prompt.to_owned(), answer: String::new(), choices: None, line: 1 };
    let task = |prompt: &str| {
        Arc::new(Task {
            name: "t".to_owned(),
            kind: Kind::Perplexity(TextMetric::Perplexity),
            chat: false,
            questions: vec![question(prompt)],
        })
    };
    let of = |family: &Family, prompt: &str| Identity::new(&config, 3, family.parents(), [&*task(prompt)]);
    let parents = || Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let first = of(&parents(), "q");
    assert_eq!((first.seed, &first.evolve), (3, &config.text));
    assert_eq!(first, of(&parents(), "q"), "models in another folder are the same models");
    assert_ne!(first.tasks, of(&parents(), "p").tasks);
    let folder = crate::gguf::tests::folder();
    let swapped = ["b.gguf", "a.gguf"].map(|name| drawn(&Tiny::llama(), &folder, name));
    assert_ne!(first.models, Identity::new(&config, 3, &swapped, [&*task("q")]).models);
    let names: Vec<&str> = first.models.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.gguf", "b.gguf"], "as written in the evolve file");
}

#[test]
fn half_a_last_line_goes_and_damage_before_it_is_an_error() {
    let folder = folder();
    let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
    for i in 0..3 {
        journal.append(candidate(i, 0.5)).unwrap();
    }
    drop(journal);
    let whole = fs::read(file(&folder)).unwrap();

    fs::write(file(&folder), [&whole[..], b"{\"kind\":\"candi"].concat()).unwrap();
    let mut journal = Journal::open(folder.path(), true, identity()).unwrap();
    assert_eq!(journal.entries().len(), 4);
    assert_eq!(fs::read(file(&folder)).unwrap(), whole);
    journal.append(candidate(3, 0.5)).unwrap();
    drop(journal);
    assert_eq!(Journal::open(folder.path(), true, identity()).unwrap().entries().len(), 5);

    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    for bad in ["garbage\n", "{\"kind\":\"candidate\"}\n", "\0\0\0\n", "\n{\"kind\":\"finalist\"}\n"] {
        let damaged = [lines[0], lines[1], bad.as_bytes(), lines[3]].concat();
        fs::write(file(&folder), &damaged).unwrap();
        match Journal::open(folder.path(), true, identity()) {
            Err(error @ EvolveError::Journal { .. }) => {
                let line = if bad.starts_with('\n') { 4 } else { 3 };
                assert!(error.to_string().contains(&format!("journal.jsonl:{line}: ")), "{error}");
            }
            _ => panic!("{bad:?} was accepted"),
        }
        assert_eq!(fs::read(file(&folder)).unwrap(), damaged, "nothing is thrown away");
    }
    fs::write(file(&folder), lines[1..].concat()).unwrap();
    let error = Journal::open(folder.path(), true, identity()).err().unwrap();
    assert!(matches!(error, EvolveError::Journal { line: 1, .. }), "{error}");
}
