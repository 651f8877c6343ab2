//! The journal on disk: whose it is, what it keeps, and what damage it survives.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::gguf::tests::Tiny;
use crate::plan::tests::{Family, drawn};
use crate::tasks::{Kind, Question, Task, TextMetric};

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join(JOURNAL_FILE)
}

/// The journal in `folder` as whoever has the `sqlite3` program sees it.
fn sqlite(folder: &Path) -> Connection {
    Connection::open(folder.join(JOURNAL_FILE)).unwrap()
}

/// Takes back everything after the first `count` entries.
pub(super) fn cut(folder: &Path, count: usize) {
    let file = sqlite(folder);
    for (table, id) in [
        ("study", "id"),
        ("model", "study"),
        ("task", "study"),
        ("gene", "study"),
        ("entry", "id"),
        ("answers", "entry"),
    ] {
        file.execute(&format!("DELETE FROM {table} WHERE {id} > ?1"), [count as i64]).unwrap();
    }
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
    let path = deep.join(JOURNAL_FILE);
    let before = fs::read(&path).unwrap();
    match Journal::open(&deep, false, identity()) {
        Err(EvolveError::Occupied { path: named }) => assert_eq!(named, path),
        _ => panic!("not refused"),
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 1, "one plain file is left");
}

#[test]
fn nothing_to_resume_is_said_and_nothing_made() {
    let folder = folder();
    let none = folder.path().join("none");
    assert!(matches!(Journal::open(&none, true, identity()), Err(EvolveError::NothingToResume { .. })));
    assert!(!none.exists());
    assert!(matches!(Journal::open(folder.path(), true, identity()), Err(EvolveError::NothingToResume { .. })));
    assert!(!file(&folder).exists());
    assert!(matches!(Journal::read(folder.path()), Err(EvolveError::Read { .. })));
}

#[test]
fn journals_in_lines_of_json_are_named_as_what_they_are() {
    let folder = folder();
    fs::write(folder.path().join("journal.jsonl"), "{}\n").unwrap();
    for resume in [false, true] {
        let error = Journal::open(folder.path(), resume, identity()).err().unwrap().to_string();
        assert!(error.contains("journal.jsonl") && error.contains("earlier ggraft"), "{error}");
    }
    assert!(matches!(Journal::read(folder.path()), Err(EvolveError::OldJournal { .. })));
    assert!(!file(&folder).exists());
}

#[test]
fn entries_come_back_as_they_went() {
    let folder = folder();
    let entries = [
        candidate(0, 0.1 + 0.2),
        Entry::Finalist { stage: 1, evaluation: None, trial: trial(-0.0, vec![]) },
        Entry::Finalist { stage: 1, evaluation: Some(4), trial: trial(5e-324, vec![0.5, -0.0, 1e300, 1e15, -3.0]) },
        Entry::Test { name: "a \"b\"\n語\0.gguf".to_owned(), trial: trial(1e300, vec![1.0]) },
    ];
    let identity =
        Identity { seed: u64::MAX, genes: vec![vec!["x".into(), "y".into()], vec!["z".into()]], ..identity() };
    let mut journal = Journal::open(folder.path(), false, identity.clone()).unwrap();
    for entry in &entries {
        journal.append(entry.clone()).unwrap();
    }
    assert_eq!(format!("{:?}", &journal.entries()[1..]), format!("{entries:?}"));
    let size = journal.size();
    drop(journal);
    assert_eq!(fs::metadata(file(&folder)).unwrap().len(), size);
    let mut journal = Journal::open(folder.path(), true, identity.clone()).unwrap();
    assert_eq!(journal.entries()[0], Entry::Start(identity));
    // Not `==`, which takes the two zeros for one.
    assert_eq!(format!("{:?}", &journal.entries()[1..]), format!("{entries:?}"));
    assert_eq!((journal.bytes_written(), journal.size()), (0, size));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(journal.times().len() == 5 && journal.times().iter().all(|t| (now - t).abs() < 60.0), "{now}");
    for i in 1..200 {
        journal.append(candidate(i, 0.5)).unwrap();
    }
    assert!(journal.bytes_written() > 4096 && journal.size() == size + journal.bytes_written());
    // A candidate of two genes and two questions.
    assert!(journal.bytes_written() / 199 < 400, "{} bytes for each", journal.bytes_written() / 199);
    assert_eq!(journal.candidate(0, 150).unwrap().evaluation, 150);
    assert!(journal.candidate(1, 150).is_none() && journal.candidate(0, 200).is_none());
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
fn strangers_find_candidates_genes_and_answers_by_name() {
    let folder = folder();
    let identity = Identity { genes: vec![vec!["weight of a".into(), "weight of b".into()]], ..identity() };
    let mut journal = Journal::open(folder.path(), false, identity).unwrap();
    journal.append(candidate(0, 0.25)).unwrap();
    journal.append(Entry::Test { name: "best recipe".to_owned(), trial: trial(0.5, vec![1.0, 0.0, 1.0]) }).unwrap();
    // While the search still has it open.
    let file = sqlite(folder.path());
    let one = |sql: &str| file.query_row(sql, [], |row| row.get::<_, f64>(0)).unwrap();
    assert_eq!(one("SELECT fitness FROM candidate WHERE number = 0"), 0.25);
    assert_eq!(one("SELECT value FROM candidate_gene WHERE gene = 'weight of a'"), 0.1);
    assert_eq!(one("SELECT sum(value) FROM answer JOIN test USING (entry) WHERE name = 'best recipe'"), 2.0);
    assert_eq!(one("SELECT seed FROM study"), 3.0);
    assert_eq!(one("SELECT count(*) FROM model WHERE name = 'a.gguf' AND digest = 'cd'"), 1.0);
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
            Err(error @ EvolveError::OtherSearch { .. }) => {
                let text = error.to_string();
                let EvolveError::OtherSearch { what, allowable, .. } = error else { unreachable!() };
                assert_eq!(text.contains("--allow-changed"), allowable, "{text}");
                what
            }
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(changed(|_| ()), "nothing");
    assert_eq!(changed(|i| i.evolve.push('#')), "the evolve file");
    assert_eq!(changed(|i| i.seed = 4), "the seed, 3 before and 4 now,");
    assert_eq!(changed(|i| i.models[0].1 = "ce".to_owned()), "`a.gguf`");
    assert_eq!(changed(|i| i.tasks[0].1 = "ac".to_owned()), "`t`");
    assert_eq!(changed(|i| i.tasks.push(("u".to_owned(), "ef".to_owned()))), "`u`");
    assert_eq!(changed(|i| i.tasks.clear()), "`t`");
    let warm = |i: &mut Identity| {
        i.warm_start = Some(WarmStart { folder: "other".to_owned(), candidates: 10, points: vec![vec![0.5]] });
    };
    assert_eq!(changed(warm), "the warm start, none before and `other` now,");
    // A newer ggraft may go on as long as it proposes the same, which every replayed candidate proves.
    assert_eq!(changed(|i| i.version.push('1')), "nothing");
    assert_eq!(changed(|i| i.llama_cpp.push('1')), "nothing");
}

#[test]
fn changes_that_are_allowed_are_written_down() {
    let folder = folder();
    let warm = WarmStart { folder: "other".to_owned(), candidates: 10, points: vec![vec![0.5, 0.25]] };
    let first = Identity { warm_start: Some(warm), ..identity() };
    let mut journal = Journal::open(folder.path(), false, first.clone()).unwrap();
    journal.append(candidate(0, 0.5)).unwrap();
    drop(journal);
    let mut other = identity();
    other.models[0].1 = "ce".to_owned();
    let mut journal = Journal::open_changed(folder.path(), other.clone()).unwrap();
    assert!(!journal.is_current(0, 0));
    journal.append(candidate(1, 0.5)).unwrap();
    assert!(journal.is_current(0, 1));
    // What the search started from does not change with that.
    let now = Identity { warm_start: first.warm_start.clone(), ..other.clone() };
    assert_eq!(journal.entries()[2], Entry::Start(now.clone()));
    drop(journal);
    assert!(matches!(Journal::open(folder.path(), true, identity()), Err(EvolveError::OtherSearch { .. })));
    let journal = Journal::open(folder.path(), true, other).unwrap();
    assert_eq!((journal.identity(), journal.entries().len()), (Some(&now), 4));
    drop(journal);
    let seed = Identity { seed: 4, ..identity() };
    assert!(matches!(
        Journal::open_changed(folder.path(), seed),
        Err(EvolveError::OtherSearch { allowable: false, .. })
    ));
}

#[test]
fn a_larger_budget_is_noted() {
    let folder = folder();
    drop(Journal::open(folder.path(), false, identity()).unwrap());
    drop(Journal::open(folder.path(), true, Identity { budget: 77, ..identity() }).unwrap());
    assert_eq!(Journal::read(folder.path()).unwrap().identity().unwrap().budget, 77);
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
    let of = |family: &Family, prompt: &str| Identity::new(&config, 3, 9, family.parents(), [&*task(prompt)]);
    let parents = || Family::of(&[&Tiny::llama(), &Tiny::llama()]);
    let first = of(&parents(), "q");
    assert_eq!((first.seed, first.budget, &first.evolve), (3, 9, &config.text));
    assert_eq!(first, of(&parents(), "q"), "models in another folder are the same models");
    assert_ne!(first.tasks, of(&parents(), "p").tasks);
    let folder = crate::gguf::tests::folder();
    let swapped = ["b.gguf", "a.gguf"].map(|name| drawn(&Tiny::llama(), &folder, name));
    assert_ne!(first.models, Identity::new(&config, 3, 9, &swapped, [&*task("q")]).models);
    let names: Vec<&str> = first.models.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.gguf", "b.gguf"], "as written in the evolve file");
    assert!(!first.llama_cpp.is_empty() && first.blocks.len() == 2 && first.file.is_absolute());
}

/// A journal of ten candidates, as the bytes of its file.
fn ten() -> Vec<u8> {
    let folder = folder();
    let mut journal = Journal::open(folder.path(), false, identity()).unwrap();
    for i in 0..10 {
        journal.append(candidate(i, 0.5)).unwrap();
    }
    drop(journal);
    fs::read(file(&folder)).unwrap()
}

/// What opening `bytes` as a journal comes to, to read and to resume.
fn opened(bytes: &[u8]) -> [Result<Journal, EvolveError>; 2] {
    let folder = folder();
    fs::write(file(&folder), bytes).unwrap();
    [Journal::read(folder.path()), Journal::open(folder.path(), true, identity())]
}

#[test]
fn foreign_files_are_refused_and_left_alone() {
    let foreign = |bytes: &[u8], want: &str| {
        let folder = folder();
        fs::write(file(&folder), bytes).unwrap();
        for result in [Journal::read(folder.path()), Journal::open(folder.path(), true, identity())] {
            let error = result.err().unwrap();
            assert!(error.is_bad_input() && error.to_string().contains(want), "{want}: {error}");
        }
        assert!(fs::read(file(&folder)).unwrap() == bytes, "{want}: the file was changed");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{want}");
    };
    let edited = |sql: &str| {
        let folder = folder();
        fs::write(file(&folder), ten()).unwrap();
        sqlite(folder.path()).execute_batch(sql).unwrap();
        fs::read(file(&folder)).unwrap()
    };
    foreign(b"{\"kind\":\"start\"}\n", "not a database");
    foreign(&[0x55; 100_000], "not a database");
    foreign(&edited("PRAGMA application_id = 1"), "another program");
    foreign(&edited("PRAGMA user_version = 2"), "newer ggraft: its format is 2");
    foreign(&edited("DROP TABLE answers"), "table `answers` is missing");
    foreign(&edited("DROP VIEW test; CREATE VIEW test AS SELECT 1"), "view `test` is missing or another");
    foreign(&edited("CREATE TRIGGER t AFTER INSERT ON entry BEGIN DELETE FROM entry; END"), "triggers");
    foreign(&edited("DELETE FROM study"), "entry 1 is missing");
    foreign(&edited("DELETE FROM entry WHERE id = 5"), "entry 5 is missing");
    foreign(&edited("UPDATE entry SET genes = '[1,'"), "entry 2: ");
    foreign(&edited("UPDATE entry SET genes = NULL"), "entry 2: missing field `genes`");
    foreign(&edited("UPDATE entry SET kind = 'x'"), "entry 2: unknown variant `x`");
    foreign(&edited("UPDATE entry SET number = -1"), "entry 2: ");
    foreign(&edited("UPDATE answers SET items = '{}'"), "entry 2: ");
    foreign(&edited("UPDATE entry SET more = '[]'"), "entry 2: ");
}

#[test]
fn any_damage_is_an_error_and_never_a_panic() {
    let whole = ten();
    let mut state = ChaCha12Rng::from_seed([7; 32]);
    let mut refused = 0;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        match state.next_u32() % 3 {
            0 => bytes.truncate(state.next_u32() as usize % whole.len()),
            // A page of noise.
            1 => {
                let page = state.next_u32() as usize % (whole.len() / 4096) * 4096;
                state.fill_bytes(&mut bytes[page..page + 4096]);
            }
            _ => {
                for _ in 0..1 + state.next_u32() % 8 {
                    let at = state.next_u32() as usize % whole.len();
                    bytes[at] = state.next_u32() as u8;
                }
            }
        }
        refused += opened(&bytes).into_iter().filter(Result::is_err).count();
    }
    assert!(refused > 250, "{refused} of 600");
}

#[test]
fn two_searches_never_write_into_one_folder() {
    let folder = folder();
    assert!(!Journal::is_searching(folder.path()));
    let mut first = Journal::open(folder.path(), false, identity()).unwrap();
    assert!(Journal::is_searching(folder.path()));
    for resume in [false, true] {
        assert!(matches!(Journal::open(folder.path(), resume, identity()), Err(EvolveError::Busy { .. })));
    }
    // Whoever reads sees what is there, and is not in the way.
    first.append(candidate(0, 0.5)).unwrap();
    let stamp = Journal::stamp(folder.path());
    let mut read = Journal::read(folder.path()).unwrap();
    first.append(candidate(1, 0.5)).unwrap();
    assert_ne!(Journal::stamp(folder.path()), stamp);
    assert_eq!(read.candidates().count(), 1);
    assert!(matches!(read.append(candidate(1, 0.5)), Err(EvolveError::Write { .. })));
    assert_eq!(Journal::read(folder.path()).unwrap().candidates().count(), 2);
    drop(first);
    assert!(!Journal::is_searching(folder.path()));
    Journal::open(folder.path(), true, identity()).unwrap();
}

#[test]
fn an_empty_file_is_begun() {
    let [read, resumed] = opened(b"");
    assert!(read.err().unwrap().to_string().contains("nothing is in it yet"));
    assert_eq!(resumed.unwrap().entries().len(), 1);
}
