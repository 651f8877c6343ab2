//! `ggraft study`: out folders in; tables, CSV or a recipe out.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::args::StudyCommand;
use super::evolve::{tested_json, yaml};
use super::output::{print, print_json, table};
use crate::duration::duration;
use crate::evolve::{BEST, Candidate, Candidates, EvolveError, Glance, Study, candidates, out_folders};

pub(super) fn study(command: &StudyCommand, as_json: bool) -> anyhow::Result<()> {
    match command {
        StudyCommand::Ls { folder } => ls(folder, as_json),
        StudyCommand::Show { folder, top } => show(folder, *top, as_json),
        StudyCommand::ExportCsv { folder, output } => export_csv(folder, output.as_deref(), as_json),
        StudyCommand::Best { folder } => best(folder, as_json),
    }
}

fn ls(folder: &Path, as_json: bool) -> anyhow::Result<()> {
    let mut glances = Vec::new();
    let mut problems = Vec::new();
    for folder in out_folders(folder)? {
        match Glance::of(&folder) {
            Ok(glance) => glances.push(glance),
            // One that cannot be read must not hide the others.
            Err(error) => {
                eprintln!("warning: {error}");
                problems.push(json!({ "study": folder, "error": error.to_string() }));
            }
        }
    }
    if as_json {
        let studies: Vec<Value> = glances.iter().map(glance_json).collect();
        return print_json(&json!({ "studies": studies, "unreadable": problems }));
    }
    if glances.is_empty() {
        return print(format_args!("no study in {} or right under it", folder.display()));
    }
    let rows = glances.iter().map(|g| {
        let p = &g.progress;
        let genes: Vec<String> = g.genes.iter().map(usize::to_string).collect();
        // Studies of one table may be of different metrics.
        let unit = g.measure.unit().map_or(String::new(), |unit| format!("{unit} "));
        vec![
            g.folder.display().to_string(),
            g.state.name().to_owned(),
            genes.join(" + "),
            format!("{} of {}", p.candidates, p.budget),
            p.best.map_or(String::new(), |best| format!("{unit}{:.3}", g.measure.value(best))),
            g.test.map_or(String::new(), |(value, [low, high])| format!("{unit}{value:.3} ({low:.3} – {high:.3})")),
            duration(p.swap_seconds + p.score_seconds),
        ]
    });
    let header = ["study", "state", "genes", "candidates", "best search score", "test score (95 %)", "time"];
    print(table(2, &header, rows))
}

fn glance_json(g: &Glance) -> Value {
    let p = &g.progress;
    json!({
        "study": g.folder, "state": g.state.name(), "genes": g.genes, "candidates": p.candidates, "budget": p.budget,
        "measure": g.measure.name(), "lower_is_better": g.measure.lower_is_better(),
        "best_search_score": p.best.map(|best| g.measure.value(best)), "test_score": g.test.map(|t| t.0), "ci95": g.test.map(|t| t.1),
        "questions": p.questions, "swap_seconds": p.swap_seconds, "score_seconds": p.score_seconds,
        "prompt_seconds": p.prompt_seconds, "candidates_per_hour": p.per_hour, "seconds_left": p.seconds_left, "last_written": g.last,
    })
}

/// The candidates with the best search scores.
fn top(study: &Study, count: usize) -> Vec<Candidate<'_>> {
    let mut all: Vec<Candidate> = study.candidates().filter(|c| c.trial.fitness.is_finite()).collect();
    all.sort_by(|a, b| b.trial.fitness.total_cmp(&a.trial.fitness));
    all.truncate(count);
    all
}

fn show(folder: &Path, count: usize, as_json: bool) -> anyhow::Result<()> {
    let study = Study::read(folder)?;
    let glance = Glance::at(folder, study.journal());
    let (identity, p) = (&study.identity, &glance.progress);
    let weights = study.config.weights();
    let top = top(&study, count);
    let journal_each = study.journal().size() as f64 / p.candidates.max(1) as f64;
    if as_json {
        let digests = |pairs: &[(String, String)]| -> Vec<Value> {
            pairs.iter().map(|(name, digest)| json!({ "name": name, "digest": digest })).collect()
        };
        let candidate = |c: &Candidate| {
            let (value, ci95) = c.trial.summary(&weights);
            json!({
                "stage": c.stage, "candidate": c.evaluation, "fitness": c.trial.fitness, "value": value, "ci95": ci95,
                "genes": c.genes, "swap_seconds": c.trial.swap_seconds, "score_seconds": c.trial.score_seconds,
            })
        };
        let mut object = glance_json(&glance);
        object.as_object_mut().context("an object")?.extend(
            json!({
                "ggraft": identity.version, "llama_cpp": identity.llama_cpp, "seed": identity.seed, "file": identity.file,
                "evolve": identity.evolve, "models": digests(&identity.models), "tasks": digests(&identity.tasks),
                "gene_names": identity.genes, "warm_start": identity.warm_start.as_ref().map(|warm| &warm.folder),
                "journal_size": study.journal().size(), "journal_bytes_per_candidate": journal_each,
                "tested": tested_json(&study.outcome, &weights), "top": top.iter().map(candidate).collect::<Vec<_>>(),
            })
            .as_object()
            .context("an object")?
            .clone(),
        );
        return print_json(&object);
    }
    let left = match p.seconds_left {
        Some(seconds) if p.candidates < p.budget => format!(", about {} to go", duration(seconds)),
        _ => String::new(),
    };
    print(format_args!(
        "{}: {}, {} of {} candidates{left}\nsearched: {} (ggraft {}, llama.cpp {}, seed {})",
        folder.display(),
        glance.state.name(),
        p.candidates,
        p.budget,
        identity.file.display(),
        identity.version,
        identity.llama_cpp,
        identity.seed
    ))?;
    for (name, digest) in &identity.models {
        print(format_args!("model: {name} ({})", brief(digest)))?;
    }
    for questions in identity.tasks.chunks(2) {
        // Those of the search, then those of the test.
        let [(name, search), (_, test)] = questions else { continue };
        print(format_args!("task: {name} (search questions {}, test questions {})", brief(search), brief(test)))?;
    }
    if let Some(warm) = &identity.warm_start {
        print(format_args!("warm start: the best {} of {} in {}", warm.points.len(), warm.candidates, warm.folder))?;
    }
    let [merging, prompts, answers] = p.shares();
    print(format_args!(
        "time: {} merging ({:.1} %), {} reading prompts ({:.1} %), {} answering {} questions ({:.1} %){}\n\
         journal: {} bytes, {journal_each:.0} a candidate",
        duration(p.swap_seconds),
        100.0 * merging,
        duration(p.prompt_seconds),
        100.0 * prompts,
        duration(p.score_seconds - p.prompt_seconds),
        p.questions,
        100.0 * answers,
        p.per_hour.map_or(String::new(), |rate| format!("; {rate:.0} candidates an hour")),
        study.journal().size()
    ))?;
    let score = format!("{}{}", glance.measure.name(), glance.measure.remark());
    if !study.outcome.tested.is_empty() {
        let rows = study.outcome.tested.iter().map(|t| {
            let (value, [low, high]) = t.trial.summary(&weights);
            vec![t.name.clone(), format!("{value:.3}"), format!("{low:.3} – {high:.3}")]
        });
        print(table(1, &["on questions the search never saw", &score, "95 % interval"], rows))?;
    }
    let stages = identity.genes.len() > 1;
    let rows = top.iter().map(|c| {
        let (value, [low, high]) = c.trial.summary(&weights);
        let number = if stages { format!("{}-{}", c.stage, c.evaluation) } else { c.evaluation.to_string() };
        vec![number, format!("{value:.3}"), format!("{low:.3} – {high:.3}"), c.trial.items().to_string()]
    });
    let score = format!("search {score}");
    print(table(1, &["candidate (luckiest first)", &score, "95 % interval", "questions"], rows))
}

/// So much of a digest as tells it from others.
fn brief(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn export_csv(folder: &Path, output: Option<&Path>, as_json: bool) -> anyhow::Result<()> {
    let journal = crate::evolve::Journal::read(folder)?;
    let table = candidates(&journal);
    match output {
        Some(path) => {
            let written = File::create(path).map_err(csv::Error::from).and_then(|file| write_csv(&table, file));
            let failed = |e: csv::Error| EvolveError::Write { path: path.to_owned(), source: io::Error::other(e) };
            written.map_err(failed)?;
            if as_json {
                print_json(&json!({ "path": path, "rows": table.rows.len(), "columns": table.columns }))?;
            }
        }
        None if as_json => print_json(&json!({ "columns": table.columns, "rows": table.rows }))?,
        None => match write_csv(&table, io::stdout().lock()) {
            // A reader that has gone away (`| head`) wants no more.
            Err(e) if !matches!(e.kind(), csv::ErrorKind::Io(e) if e.kind() == io::ErrorKind::BrokenPipe) => {
                return Err(e.into());
            }
            _ => {}
        },
    }
    Ok(())
}

fn write_csv(table: &Candidates, to: impl Write) -> Result<(), csv::Error> {
    let mut csv = csv::Writer::from_writer(to);
    csv.write_record(&table.columns)?;
    for row in &table.rows {
        let cell = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
        csv.write_record(row.iter().map(cell))?;
    }
    csv.flush()?;
    Ok(())
}

fn best(folder: &Path, as_json: bool) -> anyhow::Result<()> {
    let study = Study::read(folder)?;
    let Some(best) = &study.outcome.best else { bail!("`{}` has no scored candidate yet", folder.display()) };
    let yaml = yaml(&best.recipe, Path::new("."))?;
    if !as_json {
        print!("{yaml}");
        return Ok(());
    }
    let weights = study.config.weights();
    let test = study.outcome.tested.iter().find(|t| t.name == BEST).map(|t| t.trial.summary(&weights));
    print_json(&json!({
        "recipe": yaml, "candidate": best.evaluation, "search_score": best.search.summary(&weights).0,
        "test_score": test.map(|t| t.0), "ci95": test.map(|t| t.1),
    }))
}
