//! `ggraft evolve`: an evolve file in; a journal, `best.yaml`, `report.html` and a table out.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use super::args::EvolveArgs;
use super::output::{of_model, print, print_json, save_cache, table};
use super::progress::bar_with_message;
use crate::duration::duration;
use crate::evolve::{
    BEST, Belief, Comparison, Config, Event, EvolveError, Front, Identity, Journal, LiveScorer, Measure, Outcome,
    Point, Progress, Stages, Study, Tested, UNIFORM, WEIGHTS, WarmStart, evolve as search, refresh_report,
    write_report,
};
use crate::gguf::Parent;
use crate::open::{OpenError, vocabulary};
use crate::plan::Siblings;
use crate::recipe::Recipe;

/// How often the report is written anew, unless that takes long.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Set by the first Ctrl-C; the second ends the process.
static STOP: AtomicBool = AtomicBool::new(false);

pub(super) fn evolve(args: &EvolveArgs, as_json: bool) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    let (budget, seed) = (args.max_evals.unwrap_or(config.budget()), args.seed.unwrap_or(config.search.seed));
    let goals = config.questions(&mut |warning| eprintln!("warning: {warning}"))?;
    let mut siblings = Siblings::open(&config.models)?;
    if let Some(cache) = args.cache.open()? {
        siblings = siblings.cached(cache);
    }
    for remark in siblings.parents().iter().flat_map(Parent::remarks) {
        eprintln!("warning: {remark}");
    }
    let layers: Vec<u32> = siblings.parents().iter().map(Parent::block_count).collect();
    let mut stages = Stages::new(&config, &layers)?;
    // Compiled once before anything runs: what the models lack is found now, not after the first generation.
    let mut plans = Vec::new();
    let samples = stages.samples(&config)?;
    for recipe in &samples {
        plans.push(siblings.plan(recipe)?);
    }
    for warning in plans.iter().flat_map(|plan| &plan.warnings).collect::<BTreeSet<_>>() {
        eprintln!("warning: {warning}");
    }
    let compared = config.recipes_to_compare()?;
    // The tokenizer is the same for all of them.
    let like = samples.first().context("a search without a single candidate")?;
    for recipe in &compared {
        let in_recipe = |source| OpenError::Plan { path: recipe.0.clone().into(), source };
        siblings.plan(&config.compared(recipe, like)?).map_err(in_recipe)?;
    }
    save_cache(&siblings);
    let tasks = goals.iter().flat_map(|(_, search, test)| [&**search, &**test]);
    let mut identity = Identity::new(&config, seed, budget, siblings.parents(), tasks).over(&stages);
    identity.compared = compared;
    let warm = args.warm_start.as_deref().map(|folder| (folder.display().to_string(), folder));
    let warm = warm.or(config.warm_start.as_ref().map(|(written, folder)| (written.clone(), &**folder)));
    // A search that is resumed knows already what it started from.
    if let Some((written, folder)) = warm.filter(|_| !args.resume || args.warm_start.is_some()) {
        identity.warm_start = Some(WarmStart::read(folder, &written, &stages)?);
    }
    let mut journal = match args.allow_changed {
        true => Journal::open_changed(&args.out, identity)?,
        false => Journal::open(&args.out, args.resume, identity)?,
    };
    stages = stages.warmed(journal.identity().and_then(|identity| identity.warm_start.as_ref()));

    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after what was scored so far; press Ctrl-C again to stop at once");
    })?;
    // The same for all of them.
    let plan = plans.first().context("a search without a single candidate")?;
    let vocabulary = vocabulary(plan, siblings.parents())?;
    let mut scorer = LiveScorer::new(&siblings, vocabulary, goals, args.compute.settings(), args.compute.room(), &STOP)
        .map_err(|error| of_model(siblings.parents()[plan.vocabulary].path(), error))?;
    let genes: Vec<String> = stages.genes().iter().map(usize::to_string).collect();
    let bar = bar_with_message(budget, &format!("{} genes", genes.join(" + ")));
    let (weights, out) = (config.weights(), &*args.out);
    let (progress, measure) = (Progress::default(), Measure::default());
    let mut watcher = Watcher { bar, out, weights: &weights, progress, measure, report_at: Instant::now() };
    let mut watch = |event: Event| watcher.see(&event);
    let outcome = search(&config, &stages, budget, seed, &mut scorer, &mut journal, &mut watch)?;
    watcher.bar.finish_and_clear();
    save_cache(&siblings);

    let best_path = args.out.join("best.yaml");
    let Some(best) = &outcome.best else { bail!("stopped before the first candidate was scored") };
    let yaml = yaml(&best.recipe, &args.out)?;
    let written = fs::write(&best_path, &yaml).map_err(|source| EvolveError::Write { path: best_path.clone(), source });
    written?;
    write_report(&args.out, &config, &journal, &outcome, &yaml)?;
    if as_json {
        print_json(&to_json(&outcome, config.models.len(), &weights, &best_path, &journal))?;
    } else {
        print_table(&outcome, &weights, &Measure::of(&journal, &weights), &best_path)?;
    }
    if outcome.interrupted {
        bail!("stopped before its end; go on with `{}`", resuming());
    }
    Ok(())
}

/// The command that was given, as a shell would take it to go on from here.
fn resuming() -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-=:,+".contains(c);
    let quoted = |word: OsString| {
        let word = word.to_string_lossy();
        let quoted = word.is_empty() || !word.chars().all(plain);
        if quoted { format!("'{}'", word.replace('\'', r"'\''")) } else { word.into_owned() }
    };
    let mut words: Vec<String> = std::env::args_os().map(quoted).collect();
    if !words.iter().any(|word| word == "--resume") {
        words.push("--resume".to_owned());
    }
    words.join(" ")
}

/// Who tells the terminal and the report how far a search is.
struct Watcher<'a> {
    bar: ProgressBar,
    out: &'a Path,
    weights: &'a [f64],
    progress: Progress,
    measure: Measure,
    /// When the report is to be written again.
    report_at: Instant,
}

impl Watcher<'_> {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Candidate { stage, evaluations, fitness, best, replayed } => {
                // Candidates of a stage are counted from its own beginning.
                self.bar.inc(1);
                let what = if *stage == 0 { "" } else { "paths: " };
                if *replayed {
                    return;
                }
                let (measure, pace) = (&self.measure, self.pace());
                let (name, remark) = (measure.name(), measure.remark());
                let [value, best] = [fitness, best].map(|fitness| measure.value(*fitness));
                self.bar.set_message(format!("{what}{name} {value:.3}, best {best:.3}{remark}{pace}"));
                if self.bar.is_hidden() {
                    eprintln!("{what}candidate {evaluations}: {name} {value:.4}, best {best:.4}{remark}{pace}");
                }
            }
            Event::Phase(what) => {
                self.bar.set_message(format!("scoring: {what}"));
                if self.bar.is_hidden() {
                    eprintln!("scoring: {what}");
                }
            }
            Event::Journalled(journal) => {
                self.progress = Progress::of(journal);
                self.measure = Measure::of(journal, self.weights);
                if Instant::now() >= self.report_at {
                    self.report(journal);
                }
            }
        }
    }

    /// `; 720 an hour, 3 min 0 s left; merging 0.2 %, prompts 30 %, answers 70 %`.
    fn pace(&self) -> String {
        let Progress { per_hour: Some(rate), seconds_left: Some(left), .. } = self.progress else {
            return String::new();
        };
        let [merging, prompts, answers] = self.progress.shares().map(|share| 100.0 * share);
        let left = duration(left);
        format!(
            "; {rate:.0} an hour, {left} left; merging {merging:.1} %, prompts {prompts:.0} %, answers {answers:.0} %"
        )
    }

    /// Keeps the report up to date, at a cost of a fiftieth of the time. A search does not end for a report that cannot be written.
    fn report(&mut self, journal: &Journal) {
        let start = Instant::now();
        let every = |start: Instant| REPORT_EVERY.max(50 * start.elapsed());
        let written = Study::of(journal.snapshot()).map_err(anyhow::Error::from).and_then(|study| {
            let yaml = study.outcome.best.as_ref().map(|best| yaml(&best.recipe, self.out)).transpose()?;
            Ok(refresh_report(self.out, &study, &yaml.unwrap_or_default(), every(start).as_secs())?)
        });
        if let Err(error) = written {
            self.bar.suspend(|| eprintln!("warning: no report for now: {error}"));
        }
        self.report_at = Instant::now() + every(start);
    }
}

/// The recipe with its models' paths relative to the folder it will lie in.
pub(super) fn yaml(recipe: &Recipe, folder: &Path) -> anyhow::Result<String> {
    let folder = fs::canonicalize(folder)?;
    let relative = |path: &Path| {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        pathdiff::diff_paths(&path, &folder).unwrap_or(path).display().to_string()
    };
    Ok(recipe.to_yaml(relative)?)
}

/// Rows of the final table: everybody's score, and the best recipe's lead on the same questions.
fn print_table(outcome: &Outcome, weights: &[f64], measure: &Measure, best_path: &Path) -> anyhow::Result<()> {
    let against = |i: usize| outcome.belief.as_ref().and_then(|belief| belief.comparisons.get(i));
    let rows = outcome.tested.iter().enumerate().map(|(i, t)| {
        let (value, [low, high]) = t.trial.summary(weights);
        let (lead, p) = against(i).map_or_else(Default::default, |c| {
            let [low, high] = c.ci95;
            let lead = format!("{:+.3} ({low:+.3} – {high:+.3}): +{} −{}", c.difference, c.won, c.lost);
            (lead, format!("{:.1e}", c.p_adjusted))
        });
        vec![t.name.clone(), format!("{value:.3}"), format!("{low:.3} – {high:.3}"), lead, p]
    });
    if !outcome.tested.is_empty() {
        let score = format!("{}{}", measure.name(), measure.remark());
        let header = ["on questions the search never saw", &score, "95 % interval", "lead of the best recipe", "p"];
        print(format_args!("{}", table(1, &header, rows)))?;
    }
    if let Some(front) = &outcome.front {
        let header: Vec<&str> =
            ["candidate"].into_iter().chain(front.objectives.iter().map(String::as_str)).chain([""]).collect();
        let rows = front.points.iter().map(|point| {
            let values = point
                .values
                .iter()
                .map(|value| if value.abs() < 10.0 { format!("{value:.3}") } else { format!("{value}") });
            let number = std::iter::once(point.evaluation.to_string());
            number.chain(values).chain([if point.picked { "picked" } else { "" }.to_owned()]).collect()
        });
        print(format_args!("{}", table(0, &header, rows)))?;
    }
    if let Some(belief) = &outcome.belief {
        print(belief)?;
        for warning in &belief.warnings {
            print(format_args!("warning: {warning}"))?;
        }
    }
    print(format_args!(
        "{} candidates, {} questions answered in {}; {} of that went into swapping recipes ({:.1} %); {} written to disk while scoring",
        outcome.evaluations,
        outcome.items_scored,
        duration(outcome.seconds),
        duration(outcome.swap_seconds_total),
        100.0 * outcome.swap_seconds_total / outcome.seconds.max(1e-9),
        outcome.disk_write_bytes.map_or("an unknown number of bytes".to_owned(), |b| format!("{b} bytes")),
    ))?;
    print(format_args!(
        "best recipe: {}; report: {}",
        best_path.display(),
        best_path.with_file_name("report.html").display()
    ))
}

fn front_json(front: &Front) -> Value {
    let point = |point: &Point| {
        let values = front.objectives.iter().cloned().zip(point.values.iter().map(|value| json!(value)));
        json!({ "candidate": point.evaluation, "objectives": values.collect::<Map<_, _>>(), "best": point.picked })
    };
    front.points.iter().map(point).collect()
}

fn belief_json(belief: &Belief) -> Value {
    let comparison = |c: &Comparison| {
        json!({
            "model": c.name, "difference": c.difference, "ci95": c.ci95, "won": c.won, "lost": c.lost,
            "p_value": c.p_value, "p_adjusted": c.p_adjusted,
        })
    };
    json!({
        "comparisons": belief.comparisons.iter().map(comparison).collect::<Vec<_>>(),
        "best_parent": belief.comparisons[belief.best_parent].name, "candidates": belief.candidates,
        "finalists": belief.finalists, "test_looks": belief.looks, "search_questions": belief.search_questions,
        "search_detectable": belief.search_detectable, "test_detectable": belief.test_detectable,
        "warnings": belief.warnings,
    })
}

/// Every model on the test questions.
pub(super) fn tested_json(outcome: &Outcome, weights: &[f64]) -> Vec<Value> {
    let one = |t: &Tested| {
        let (value, ci95) = t.trial.summary(weights);
        json!({ "model": t.name, "test_score": value, "ci95": ci95 })
    };
    outcome.tested.iter().map(one).collect()
}

fn to_json(outcome: &Outcome, models: usize, weights: &[f64], best_path: &Path, journal: &Journal) -> Value {
    let tested = tested_json(outcome, weights);
    let named = |name: &str| outcome.tested.iter().position(|t| t.name == name).map(|i| &tested[i]);
    let best_test = named(BEST);
    let parents = &tested[..tested.len().min(models)];
    let best = outcome.best.as_ref().map(|b| {
        json!({
            "recipe": best_path, "search_score": b.search.summary(weights).0,
            "test_score": best_test.map(|t| &t["test_score"]), "ci95": best_test.map(|t| &t["ci95"]),
        })
    });
    let is_compared = |name: &str| {
        journal.identity().is_some_and(|identity| identity.compared.iter().any(|(compared, _)| compared == name))
    };
    let compared = outcome.tested.iter().zip(&tested).filter(|(t, _)| is_compared(&t.name)).map(|(_, json)| json);
    let progress = Progress::of(journal);
    json!({
        "best": best, "parents": parents, "uniform_merge": named(UNIFORM), "compared": compared.collect::<Vec<_>>(), "best_weights": named(WEIGHTS), "belief": outcome.belief.as_ref().map(belief_json),
        "front": outcome.front.as_ref().map(front_json),
        "evaluations": outcome.evaluations,
        "items_scored": outcome.items_scored, "seconds": outcome.seconds, "swap_seconds_total": outcome.swap_seconds_total,
        "prompt_seconds_total": progress.prompt_seconds, "candidates_per_hour": progress.per_hour,
        "disk_write_bytes": outcome.disk_write_bytes, "journal_bytes": journal.bytes_written(),
        "journal_bytes_per_candidate": journal.size() as f64 / outcome.evaluations.max(1) as f64,
        "journal_disk_write_bytes": journal.disk_write_bytes(), "interrupted": outcome.interrupted,
    })
}
