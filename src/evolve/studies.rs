//! Out folders in, what `ggraft study` tells of them out. Reads journals, also of searches that run; scores nothing and writes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::search::BEST;
use super::{Candidate, Config, Entry, EvolveError, JOURNAL_FILE, Journal, Measure, Progress, Trial};

/// Whether a search goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A process is at it.
    Running,
    /// It can be resumed.
    Stopped,
    /// Its best recipe has been tested.
    Finished,
}

impl State {
    /// The state of the search in `folder`.
    pub fn of(folder: &Path, progress: &Progress) -> Self {
        match (Journal::is_searching(folder), progress.finished) {
            (true, _) => Self::Running,
            (_, true) => Self::Finished,
            _ => Self::Stopped,
        }
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }
}

/// A study at a glance.
#[derive(Debug)]
pub struct Glance {
    /// Its out folder.
    pub folder: PathBuf,
    /// Whether it goes on.
    pub state: State,
    /// Genes of each stage.
    pub genes: Vec<usize>,
    /// How far it is.
    pub progress: Progress,
    /// What its scores are.
    pub measure: Measure,
    /// The best recipe's score on questions never seen, with its 95 % interval.
    pub test: Option<(f64, [f64; 2])>,
    /// When something was written last, in seconds since 1970.
    pub last: Option<f64>,
}

impl Glance {
    /// The study in `folder`.
    ///
    /// # Errors
    /// Whatever is wrong with its journal.
    pub fn of(folder: &Path) -> Result<Self, EvolveError> {
        Ok(Self::at(folder, &Journal::read(folder)?))
    }

    /// The study in `folder`, whose journal is `journal`.
    pub fn at(folder: &Path, journal: &Journal) -> Self {
        let progress = Progress::of(journal);
        let entries = journal.entries();
        let tested = entries.iter().rev().find_map(|entry| match entry {
            Entry::Test { name, trial } if name == BEST => Some(trial),
            _ => None,
        });
        let identity = journal.identity();
        let config = identity.and_then(|identity| Config::parse(identity.evolve.clone(), &identity.file).ok());
        let weights = config.map(|config| config.weights()).unwrap_or_default();
        Self {
            folder: folder.to_owned(),
            state: State::of(folder, &progress),
            genes: identity.map(|identity| identity.genes.iter().map(Vec::len).collect()).unwrap_or_default(),
            test: tested.filter(|_| progress.finished).map(|trial| trial.summary(&weights)),
            measure: Measure::of(journal, &weights),
            progress,
            last: journal.times().last().copied(),
        }
    }
}

/// The out folders at `folder` and right under it, by name.
///
/// # Errors
/// [`EvolveError::Read`] if the folder cannot be listed.
pub fn out_folders(folder: &Path) -> Result<Vec<PathBuf>, EvolveError> {
    let failed = |source| EvolveError::Read { path: folder.to_owned(), source };
    let holds = |folder: &Path| folder.join(JOURNAL_FILE).is_file();
    let mut found: Vec<PathBuf> = Some(folder.to_owned()).into_iter().filter(|folder| holds(folder)).collect();
    let mut below = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if holds(&path) {
            below.push(path);
        }
    }
    below.sort();
    found.extend(below);
    Ok(found)
}

/// A table of candidates.
#[derive(Debug)]
pub struct Candidates {
    /// What stands in each column.
    pub columns: Vec<String>,
    /// A row for each candidate, in the order scored; `null` where there is nothing.
    pub rows: Vec<Vec<Value>>,
}

/// The candidates of `journal` with their genes by name.
pub fn candidates(journal: &Journal) -> Candidates {
    let all: Vec<(Candidate, f64)> = journal.candidates().zip(times(journal)).collect();
    let identity = journal.identity();
    let stages = all.iter().map(|(c, _)| c.stage).max().map_or(0, |last| last.min(1) + 1);
    let names = |stage: usize| -> Vec<String> {
        let known = identity.and_then(|identity| identity.genes.get(stage)).map_or(&[][..], Vec::as_slice);
        let genes = all.iter().filter(|(c, _)| c.stage == stage).map(|(c, _)| c.genes.len()).max().unwrap_or(0);
        (0..genes).map(|gene| known.get(gene).cloned().unwrap_or_else(|| format!("gene {gene}"))).collect()
    };
    let names: Vec<Vec<String>> = (0..stages).map(names).collect();
    let mut tasks: Vec<(&str, &str)> = Vec::new();
    for task in all.iter().flat_map(|(c, _)| &c.trial.tasks) {
        if !tasks.contains(&(&task.task, &task.metric)) {
            tasks.push((&task.task, &task.metric));
        }
    }
    let fixed =
        ["stage", "candidate", "time", "fitness", "swap_seconds", "score_seconds", "prompt_seconds", "questions"];
    let mut columns: Vec<String> = fixed.map(str::to_owned).to_vec();
    columns.extend(tasks.iter().flat_map(|(task, metric)| [format!("{task}: {metric}"), format!("{task}: stderr")]));
    columns.extend(names.iter().flatten().cloned());
    let row = |(c, time): &(Candidate, f64)| {
        let Trial { fitness, swap_seconds, score_seconds, prompt_seconds, .. } = c.trial;
        let mut row: Vec<Value> = vec![
            c.stage.into(),
            c.evaluation.into(),
            (*time).into(),
            (*fitness).into(),
            (*swap_seconds).into(),
            (*score_seconds).into(),
            (*prompt_seconds).into(),
            c.trial.items().into(),
        ];
        for (task, metric) in &tasks {
            let scored = c.trial.tasks.iter().find(|t| t.task == *task && t.metric == *metric);
            row.extend([scored.map(|t| t.value).into(), scored.map(|t| t.stderr).into()]);
        }
        for (stage, names) in names.iter().enumerate() {
            let gene = |gene: usize| (c.stage == stage).then(|| c.genes.get(gene).copied()).flatten();
            row.extend((0..names.len()).map(|i| gene(i).into()));
        }
        row
    };
    Candidates { rows: all.iter().map(row).collect(), columns }
}

/// When each candidate was written down.
fn times(journal: &Journal) -> impl Iterator<Item = f64> {
    let entries = journal.entries().iter().zip(journal.times());
    // To the millisecond, as SQLite keeps it.
    entries.filter(|(e, _)| matches!(e, Entry::Candidate { .. })).map(|(_, time)| (time * 1000.0).round() / 1000.0)
}
