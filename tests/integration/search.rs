//! `ggraft evolve` from outside: what it promises to print and to leave alone, and that nothing it survives changes its result.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, SystemTime};

use ggraft::evolve::{Entry, JOURNAL_FILE, Journal};
use serde_json::Value;

use crate::support::{Folder, Output, Random, choice_task, ggraft, lines, program, quickstart, target_task};

/// Candidates of the small search: three generations of four.
const BUDGET: u64 = 12;
const SEARCH_QUESTIONS: usize = 12;
const TEST_QUESTIONS: usize = 6;

/// A folder with everything for a small search.
struct Small(Folder);

impl Small {
    fn new() -> Self {
        let folder = Folder::new();
        target_task(&folder, "target_search.jsonl", SEARCH_QUESTIONS);
        // Of what one of the models can do, so that few candidates tell each other apart.
        let english = lines("english_math_test.jsonl", SEARCH_QUESTIONS + TEST_QUESTIONS);
        let at = english.match_indices('\n').nth(SEARCH_QUESTIONS - 1).unwrap().0 + 1;
        folder.write("target_search.jsonl", &english[..at]);
        folder.write("target_test.jsonl", &english[at..]);
        for name in ["base", "math", "ja"] {
            fs::copy(quickstart(&format!("{name}-Q8_0.gguf")), folder.path(&format!("{name}.gguf"))).unwrap();
        }
        let text = format!(
            "genome:\n  models: [math.gguf, ja.gguf]\n  base_model: base.gguf\n  merge_method: task_arithmetic\n  layer_granularity: 4\n\
             tasks: [{{task: target.yaml, test: target_test.jsonl}}]\n\
             search: {{budget: {BUDGET}, population: 4, minibatch: 6, finalists: 2, start: {{weight: 0.8}}, seed: 3}}\n"
        );
        folder.write("evolve.yaml", text);
        Self(folder)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn args(&self, out: &str, more: &[&str]) -> Vec<OsString> {
        let mut args = vec![
            "evolve".into(),
            self.0.path("evolve.yaml").into(),
            "--json".into(),
            "--out".into(),
            self.out(out).into(),
        ];
        args.extend(more.iter().map(OsString::from));
        args
    }

    fn run(&self, out: &str, more: &[&str]) -> Output {
        ggraft(self.args(out, more))
    }

    /// Starts a search and returns when it has said `mark` on stderr, at once after that moment.
    fn run_until(&self, out: &str, more: &[&str], mark: &str) -> Started {
        let mut command = program();
        let mut child =
            command.args(self.args(out, more)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.lines().any(|line| line.starts_with(mark)) {
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "it ended before {mark:?}: {said}");
        }
        Started { child, stderr, said }
    }

    /// The result of an undisturbed search, with its recipe.
    fn undisturbed(&self) -> (Value, String) {
        let json = self.run("undisturbed", &[]).json();
        (scores(&json), self.best("undisturbed"))
    }

    fn best(&self, out: &str) -> String {
        fs::read_to_string(self.out(out).join("best.yaml")).unwrap()
    }

    /// Every entry of a journal, in letters that tell all numbers apart.
    fn journal(&self, out: &str) -> Vec<String> {
        let journal = Journal::read(&self.out(out)).unwrap();
        journal.entries().iter().map(|entry| format!("{entry:?}")).collect()
    }

    /// Asserts that the journal in `out` has each model's answers to the search questions as `ggraft score` has them.
    fn assert_strata(&self, out: &str) {
        let journal = Journal::read(&self.out(out)).unwrap();
        let parents = journal.entries().iter().filter_map(|entry| match entry {
            Entry::Parent { name, trial } => Some((name.as_str(), &trial.tasks[0].items)),
            _ => None,
        });
        let parents: Vec<(&str, &Vec<f64>)> = parents.collect();
        assert_eq!(parents.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["math.gguf", "ja.gguf", "base.gguf"]);
        for (name, items) in parents {
            let [model, task] = [name, "target.yaml"].map(|file| self.0.path(file).into_os_string());
            let score = ["score".into(), model, "--task".into(), task, "--items".into(), "--json".into()];
            let scored = ggraft::<OsString>(score).json();
            let scored = scored["results"][0]["items"].as_array().unwrap().iter().map(|item| item["score"].as_f64());
            assert_eq!(scored.collect::<Option<Vec<f64>>>().as_ref(), Some(items), "{name}");
        }
    }

    /// Resumes the search in `out` and asserts that it ends as the undisturbed one did.
    fn assert_resumes(&self, out: &str, undisturbed: &(Value, String)) {
        let json = self.run(out, &["--resume"]).json();
        assert_eq!((scores(&json), self.best(out)), *undisturbed, "{out}");
    }
}

/// A running search.
struct Started {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
}

impl Started {
    /// `kill -9`: it can do nothing about it.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What Ctrl-C does; returns how it ended.
    fn interrupt(mut self) -> Output {
        assert!(Command::new("sh").args(["-c", &format!("kill -INT {}", self.child.id())]).status().unwrap().success());
        self.stderr.read_to_string(&mut self.said).unwrap();
        let mut output: Output = self.child.wait_with_output().unwrap().into();
        output.stderr = self.said;
        output
    }
}

/// The parts of a result that must not depend on when and where it was computed.
fn scores(json: &Value) -> Value {
    let mut json = json.clone();
    json["best"].as_object_mut().unwrap().remove("recipe");
    let object = json.as_object_mut().unwrap();
    let journal = ["journal_bytes", "journal_bytes_per_candidate", "journal_disk_write_bytes"];
    for changing in ["seconds", "swap_seconds_total", "prompt_seconds_total", "candidates_per_hour", "disk_write_bytes"]
        .into_iter()
        .chain(journal)
    {
        object.remove(changing).unwrap_or_else(|| panic!("no `{changing}`"));
    }
    json
}

/// Every file under `folder` with its size and time of change.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stat = fs::metadata(&path).unwrap();
        if stat.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path, (stat.len(), stat.modified().unwrap()));
        }
    }
    found
}

#[test]
fn a_search_prints_what_the_contract_promises_and_writes_only_into_its_folder() {
    let small = Small::new();
    let elsewhere = Folder::new();
    let (before, working) = (files(&small.out("")), elsewhere.path(""));
    let done = Output::of(program().args(small.args("deep/out", &[])).current_dir(&working).env("TMPDIR", &working));
    let json = done.json();

    assert_eq!(json["evaluations"], BUDGET);
    assert_eq!(json["disk_write_bytes"], 0);
    assert!(json["seconds"].as_f64().unwrap() > json["swap_seconds_total"].as_f64().unwrap());
    assert!(json["swap_seconds_total"].as_f64().unwrap() > 0.0);
    // Candidates answer 6 questions each, the mean and two finalists all 12, three parents, the uniform merge and the best the test.
    assert_eq!(json["items_scored"], BUDGET * 6 + 3 * SEARCH_QUESTIONS as u64 + 5 * TEST_QUESTIONS as u64);
    let fraction = |v: &Value| assert!(v.as_f64().is_some_and(|v| (0.0..=1.0).contains(&v)), "{v}");
    let interval =
        |v: &Value| v.as_array().filter(|v| v.len() == 2).unwrap_or_else(|| panic!("{v}")).iter().for_each(fraction);
    fraction(&json["best"]["search_score"]);
    fraction(&json["best"]["test_score"]);
    interval(&json["best"]["ci95"]);
    let parents = json["parents"].as_array().unwrap();
    assert_eq!(
        parents.iter().map(|p| p["model"].as_str().unwrap()).collect::<Vec<_>>(),
        ["math.gguf", "ja.gguf", "base.gguf"]
    );
    for parent in parents {
        fraction(&parent["test_score"]);
        interval(&parent["ci95"]);
    }

    assert_eq!(json["best"]["recipe"].as_str().unwrap(), small.out("deep/out/best.yaml").to_str().unwrap());
    let mut after = files(&small.out(""));
    for name in ["journal.sqlite", "best.yaml", "report.html"] {
        assert!(after.remove(&small.out("deep/out").join(name)).is_some_and(|(size, _)| size > 0), "no {name}");
    }
    assert_eq!(after, before, "files outside the out folder, or strange ones in it");
    assert_eq!(files(&working), BTreeMap::new(), "files in the working or temporary folder");
}

/// A race on real models, stratified by what these can do, killed in the middle and resumed, and a front of two objectives.
#[test]
fn races_resume_and_fronts_are_printed() {
    let small = Small::new();
    let text = fs::read_to_string(small.out("evolve.yaml")).unwrap();
    let raced = text.replace("minibatch: 6", "race: {rungs: 4, alpha: 0.9}, stratify: true");
    small.0.write("evolve.yaml", format!("{raced}compare: [fixed/half.yaml]\n"));
    let half =
        "merge_method: linear\nmodels: [{model: ../math.gguf}, {model: ../ja.gguf}]\nparameters: {weight: 0.5}\n";
    small.0.write("fixed/half.yaml", half);
    let undisturbed = small.undisturbed();
    small.assert_strata("undisturbed");
    let belief = &undisturbed.0["belief"];
    let names: Vec<&str> =
        belief["comparisons"].as_array().unwrap().iter().map(|c| c["model"].as_str().unwrap()).collect();
    assert_eq!(names, ["math.gguf", "ja.gguf", "base.gguf", "uniform merge", "fixed/half.yaml"]);
    // The same merge under two names.
    let (uniform, half) = (&undisturbed.0["uniform_merge"], &undisturbed.0["compared"][0]);
    assert_eq!((&half["model"], &half["test_score"]), (&"fixed/half.yaml".into(), &uniform["test_score"]));
    assert_eq!((&belief["test_looks"], &belief["search_questions"]), (&1.into(), &SEARCH_QUESTIONS.into()));
    // So few questions show nothing, and that is said.
    assert!(!belief["warnings"].as_array().unwrap().is_empty(), "{belief}");
    small.run_until("killed", &[], "scoring: part 2").kill();
    small.assert_resumes("killed", &undisturbed);

    let bytes = text.replace("minibatch: 6", "objectives: [target, bytes]");
    small.0.write("evolve.yaml", bytes.replace("  layer_", "  out_type: [q8_0, f16]\n  layer_"));
    let json = small.run("front", &[]).json();
    let front = json["front"].as_array().unwrap();
    assert_eq!(front.iter().filter(|point| point["best"] == true).count(), 1, "{json}");
    assert!(front.iter().all(|point| point["objectives"]["bytes"].as_f64().is_some_and(|bytes| bytes > 1e6)), "{json}");
}

#[test]
fn a_search_may_be_for_the_right_choice() {
    let small = Small::new();
    choice_task(&small.0, 5);
    small.0.write(
        "test.jsonl",
        lines("japanese_qa_test.jsonl", 9).lines().skip(5).map(|l| format!("{l}\n")).collect::<String>(),
    );
    let text = fs::read_to_string(small.out("evolve.yaml")).unwrap();
    let tasks = text.replace("task: target.yaml, test: target_test.jsonl", "task: choice.yaml, test: test.jsonl");
    small.0.write("evolve.yaml", tasks.replace("budget: 12", "budget: 4").replace("minibatch: 6", "minibatch: 3"));
    let json = small.run("out", &[]).json();
    assert_eq!(json["evaluations"], 4);
    let best = &json["best"];
    let args = [OsStr::new("score"), OsStr::new(best["recipe"].as_str().unwrap()), OsStr::new("--task")];
    let task = fs::read_to_string(small.out("choice.yaml")).unwrap().replace("choice.jsonl", "test.jsonl");
    let task = small.0.write("test.yaml", task);
    let scored = ggraft(args.into_iter().chain([task.as_os_str(), OsStr::new("--json")])).json();
    let result = &scored["results"][0];
    assert_eq!((&result["metric"], &result["n"]), (&"accuracy_norm".into(), &4.into()));
    assert_eq!((&result["value"], &result["ci95"]), (&best["test_score"], &best["ci95"]));
}

#[test]
fn bits_per_byte_are_told_as_themselves_and_not_as_what_is_maximised() {
    let small = Small::new();
    let task =
        "data: target_search.jsonl\nkind: perplexity\nprompt: \"{{ prompt }}{{ reference }}\"\nmetric: bits_per_byte\n";
    small.0.write("target.yaml", task);
    let text = fs::read_to_string(small.out("evolve.yaml")).unwrap();
    small.0.write("evolve.yaml", text.replace("budget: 12", "budget: 4"));
    let done = small.run("out", &[]);
    done.json();
    let mut least = f64::INFINITY;
    for i in 1..=4 {
        let start = format!("candidate {i}: bits per byte ");
        let line = done.stderr.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{done:?}"));
        let (value, rest) = line.split_once(", best ").unwrap();
        let (best, _) = rest.split_once(" (lower is better)").unwrap();
        let [value, best] = [value, best].map(|number| number.parse::<f64>().unwrap());
        least = least.min(value);
        assert!(best == least && best > 0.0, "{line}");
    }
    let out = small.out("out");
    let study = |what: &str, more: &str| {
        ggraft(
            [OsStr::new("study"), what.as_ref(), out.as_os_str()]
                .into_iter()
                .chain(more.split_terminator(' ').map(OsStr::new)),
        )
    };
    let best = study("show", "--json").json()["top"][0]["value"].as_f64().unwrap();
    let (shown, listed) = (study("show", "").stdout, study("ls", "").stdout);
    for part in
        [" bits per byte (lower is better) ", " search bits per byte (lower is better) ", &format!(" {best:.3} ")]
    {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert_eq!(shown.matches("task: target (search questions ").count(), 1, "{shown}");
    assert!(listed.contains(&format!(" bits per byte {best:.3} ")), "{listed}");
}

#[test]
fn the_best_recipe_is_a_plain_recipe_that_scores_as_reported() {
    let small = Small::new();
    let json = small.run("out", &[]).json();
    let task = small.0.path("target.yaml");
    fs::copy(small.0.path("target_test.jsonl"), small.0.path("target_search.jsonl")).unwrap();
    let best = small.out("out/best.yaml");
    let score =
        ggraft([OsStr::new("score"), best.as_os_str(), OsStr::new("--task"), task.as_os_str(), OsStr::new("--json")])
            .json();
    assert_eq!(score["results"][0]["value"], json["best"]["test_score"]);
    assert_eq!(score["results"][0]["n"], TEST_QUESTIONS);
}

#[test]
fn a_search_that_was_killed_resumes_to_the_undisturbed_result() {
    let small = Small::new();
    let undisturbed = small.undisturbed();
    let marks = [
        "candidate 1:",
        "candidate 6:",
        "candidate 12:",
        "scoring: finalists",
        "scoring: ja.gguf",
        "scoring: best recipe",
    ];
    for (i, mark) in marks.iter().enumerate() {
        let out = format!("killed-{i}");
        small.run_until(&out, &[], mark).kill();
        if mark.starts_with("candidate") {
            assert!(!small.out(&out).join("best.yaml").exists(), "it ended before it was killed at {mark:?}");
        }
        small.assert_resumes(&out, &undisturbed);
    }
    // Killed twice on the way.
    small.run_until("twice", &[], "candidate 2:").kill();
    small.run_until("twice", &["--resume"], "candidate 7:").kill();
    small.assert_resumes("twice", &undisturbed);
    // And a search that has come to its end says the same once more.
    small.assert_resumes("twice", &undisturbed);
}

#[test]
fn resuming_does_not_score_again_what_the_journal_has() {
    let small = Small::new();
    small.run_until("out", &[], "candidate 9:").kill();
    let before = small.journal("out");
    small.run("out", &["--resume"]).json();
    let after = small.journal("out");
    assert!(after.starts_with(&before), "old entries were changed");
    let candidates = |journal: &[String]| journal.iter().filter(|entry| entry.starts_with("Candidate")).count();
    assert!(candidates(&before) >= 9);
    assert_eq!(candidates(&after), BUDGET as usize);
}

/// `kill -9` at random moments, again and again, until it has died `kills` times or comes to its end; each time the journal is whole.
/// Returns how often it died.
fn killed_at_random(small: &Small, out: &str, kills: usize, random: &mut Random) -> usize {
    let journal = small.out(out).join(JOURNAL_FILE);
    let mut seen = Vec::new();
    for died in 0..kills {
        let args = small.args(out, if journal.exists() { &["--resume"] } else { &[] });
        let mut child = program().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let share = f64::from(random.next() + 1.0) / 2.0;
        std::thread::sleep(Duration::from_millis((share * 500.0) as u64));
        child.kill().unwrap();
        let ended = child.wait().unwrap().success();
        if !journal.exists() {
            continue;
        }
        // What was told stays as it was; a journal without a first entry is one that was never begun.
        match Journal::read(&small.out(out)) {
            Ok(journal) => {
                let entries: Vec<String> = journal.entries().iter().map(|entry| format!("{entry:?}")).collect();
                assert!(entries.starts_with(&seen), "entries were lost or changed");
                seen = entries;
            }
            Err(error) => assert!(seen.is_empty() && error.to_string().contains("nothing is in it yet"), "{error}"),
        }
        if ended {
            return died;
        }
    }
    kills
}

#[test]
fn searches_killed_at_random_moments_end_with_the_undisturbed_recipe() {
    let small = Small::new();
    let undisturbed = small.undisturbed();
    let timeless = |out: &str| -> Vec<String> {
        small.journal(out).iter().map(|entry| entry.split("swap_seconds").next().unwrap().to_owned()).collect()
    };
    let (mut died, mut searches, mut random) = (0, 0, Random(5));
    while died < 20 {
        let out = format!("killed-{searches}");
        died += killed_at_random(&small, &out, 20 - died, &mut random);
        searches += 1;
        assert!(searches <= 40, "they always come to their end before");
        let resume: &[&str] = if small.out(&out).join(JOURNAL_FILE).exists() { &["--resume"] } else { &[] };
        let json = small.run(&out, resume).json();
        assert_eq!((scores(&json), small.best(&out)), undisturbed);
        assert_eq!(timeless(&out), timeless("undisturbed"));
    }
}

#[test]
fn a_damaged_journal_is_not_passed_over() {
    let small = Small::new();
    small.run("out", &[]).json();
    let path = small.out("out").join(JOURNAL_FILE);
    let whole = fs::read(&path).unwrap();
    for at in [0, 100, 4096, whole.len() - 4096] {
        let mut bytes = whole.clone();
        bytes[at..at + 16].fill(0x55);
        fs::write(&path, &bytes).unwrap();
        let done = small.run("out", &["--resume"]);
        let error = done.error(2);
        assert!(error.contains(path.to_str().unwrap()) && error.contains("another `--out`"), "{error}");
        assert!(fs::read(&path).unwrap() == bytes, "the damaged file was changed");
    }
    fs::write(&path, whole).unwrap();
    small.run("out", &["--resume"]).json();
}

#[test]
fn resuming_another_search_is_refused_and_the_change_named() {
    let small = Small::new();
    small.run_until("out", &[], "candidate 2:").kill();
    let refused = |more: &[&str], what: &str| {
        let before = small.journal("out");
        let done = small.run("out", &[&["--resume"], more].concat());
        let error = done.error(2);
        assert!(
            error.contains("journal.sqlite` is the journal of another search") && error.contains(what),
            "{what:?} not in {error}"
        );
        assert_eq!(small.journal("out"), before, "the journal was touched");
    };
    refused(&["--seed", "4"], "the seed, 3 before and 4 now,");

    let evolve = fs::read_to_string(small.0.path("evolve.yaml")).unwrap();
    small.0.write("evolve.yaml", evolve.replace("population: 4", "population: 5"));
    refused(&[], "the evolve file changed");
    small.0.write("evolve.yaml", &evolve);

    let task = fs::read_to_string(small.0.path("target.yaml")).unwrap();
    small.0.write("target.yaml", task.replace("max_tokens: 48", "max_tokens: 47"));
    refused(&[], "`target` changed");
    small.0.write("target.yaml", &task);

    for data in ["target_search.jsonl", "target_test.jsonl"] {
        let text = fs::read_to_string(small.0.path(data)).unwrap();
        small.0.write(data, text.replacen("Q:", "R:", 1));
        refused(&[], "`target` changed");
        small.0.write(data, &text);
    }

    let model = fs::read(small.0.path("ja.gguf")).unwrap();
    let mut other = model.clone();
    *other.last_mut().unwrap() ^= 1;
    small.0.write("ja.gguf", other);
    refused(&[], "ja.gguf` changed");

    // Told to, it goes on with the other model all the same, and with the first one again.
    let json = small.run("out", &["--resume", "--allow-changed"]).json();
    assert_eq!(json["evaluations"], BUDGET);
    small.0.write("ja.gguf", &model);
    refused(&[], "ja.gguf` changed");
    small.run("out", &["--resume", "--allow-changed"]).json();
    let started = small.journal("out").iter().filter(|entry| entry.starts_with("Start")).count();
    assert_eq!(started, 3);

    // All restored: it goes on. More candidates are no other search.
    let json = small.run("out", &["--resume", "--max-evals", "14"]).json();
    assert_eq!(json["evaluations"], 14);
}

#[test]
fn a_folder_with_a_search_is_never_taken_for_a_new_one_nor_an_empty_one_resumed() {
    let small = Small::new();
    small.run_until("out", &[], "candidate 1:").kill();
    let before = small.journal("out");
    let done = small.run("out", &[]);
    assert!(done.error(2).contains("already holds a search; continue it with `--resume`"), "{done:?}");
    assert_eq!(small.journal("out"), before);
    let done = small.run("nothing", &["--resume"]);
    assert!(done.error(2).contains("nothing to resume"), "{done:?}");
    assert!(!small.out("nothing").exists());
}

#[test]
fn an_interrupted_search_leaves_its_best_so_far_and_can_go_on() {
    let small = Small::new();
    let undisturbed = small.undisturbed();
    for (i, mark) in ["candidate 5:", "scoring: finalists"].iter().enumerate() {
        let out = format!("interrupted-{i}");
        let done = small.run_until(&out, &[], mark).interrupt();
        assert_eq!(done.code(), 1, "{done:?}");
        let again = format!(" --json --out {} --resume`\n", small.out(&out).display());
        assert!(
            done.stderr.contains("error: stopped before its end") && done.stderr.ends_with(&again),
            "{}",
            done.stderr
        );
        let json = done.object();
        assert_eq!(json["interrupted"], true);
        let evaluations = json["evaluations"].as_u64().unwrap();
        assert!((5..=BUDGET).contains(&evaluations), "{evaluations}");
        assert!(json["best"]["search_score"].is_number() && json["best"]["test_score"].is_null(), "{json}");
        assert_eq!(ggraft([OsStr::new("inspect"), small.out(&out).join("best.yaml").as_os_str()]).code(), 0);
        small.assert_resumes(&out, &undisturbed);
    }
}

/// The same models; weights, then paths over the winner and one of them.
fn hybrid() -> Small {
    let small = Small::new();
    let file = small.out("evolve.yaml");
    let text = fs::read_to_string(&file).unwrap().replace(&format!("budget: {BUDGET}"), "space: hybrid, budget: 4");
    fs::write(&file, format!("{text}path: {{budget: 8, models: [ja.gguf], repeats: 1, max_hops: 12, flips: 3}}\n"))
        .unwrap();
    small
}

#[test]
fn a_hybrid_search_has_one_journal_one_recipe_and_one_report_for_weights_and_paths() {
    let small = hybrid();
    let json = small.run("out", &[]).json();
    assert_eq!((&json["evaluations"], &json["disk_write_bytes"]), (&12.into(), &0.into()));
    assert!(json["best_weights"]["test_score"].is_number(), "{json}");
    let journal = Journal::read(&small.out("out")).unwrap();
    let of = |stage: usize| journal.candidates().filter(move |c| c.stage == stage);
    assert_eq!((of(0).count(), of(1).count()), (4, 8));
    // A gene for each model and group of four layers; then a switch and a gain for each block of the merge and of `ja`.
    assert!(of(0).all(|c| c.genes.len() == 4) && of(1).all(|c| c.genes.len() == 2 * 16));
    assert!(of(1).any(|c| c.trial.fitness != 0.0), "no path could answer anything");

    let best = small.out("out").join("best.yaml");
    let task = small.out("target.yaml");
    let score =
        ggraft([OsStr::new("score"), best.as_ref(), "--task".as_ref(), task.as_ref(), "--json".as_ref()]).json();
    assert_eq!(score["results"][0]["value"], json["best"]["search_score"]);
    let drawn = fs::read_to_string(small.out("out").join("report.html")).unwrap().contains("The path of tokens");
    assert_eq!(drawn, small.best("out").contains("path:"));
}

#[test]
fn a_hybrid_search_that_was_killed_among_paths_resumes_to_the_undisturbed_result() {
    let small = hybrid();
    let undisturbed = small.undisturbed();
    small.run_until("killed", &[], "paths: candidate 5").kill();
    small.assert_resumes("killed", &undisturbed);
}
