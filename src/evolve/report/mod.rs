//! A search in, running or finished; `report.html` out: one file that needs no network, for people who would rather look than read.

mod genes;
mod picture;
mod plots;
mod svg;
mod text;
mod weights;

use std::fs;
use std::path::Path;

pub(super) use picture::path_picture;

use super::{Config, EvolveError, Journal, Measure, Outcome, Progress, Study};
use crate::recipe::Recipe;

/// The report's name in the out folder.
pub const REPORT_FILE: &str = "report.html";
/// What it is while it is written.
const UNFINISHED: &str = ".report.html.part";

const STYLE: &str = include_str!("style.css");

/// What a report tells of.
struct View<'a> {
    config: &'a Config,
    journal: &'a Journal,
    outcome: &'a Outcome,
    /// The share of each task in the fitness.
    weights: Vec<f64>,
    measure: Measure,
    progress: Progress,
    /// Seconds after which a browser looks again, while the search runs.
    refresh: Option<u64>,
}

impl View<'_> {
    fn best(&self) -> Option<&Recipe> {
        self.outcome.best.as_ref().map(|best| &best.recipe)
    }
}

/// Writes the report of `outcome` into `folder`; `best_yaml` is the recipe found, as written beside it.
///
/// # Errors
/// [`EvolveError::Write`].
pub fn write_report(
    folder: &Path,
    config: &Config,
    journal: &Journal,
    outcome: &Outcome,
    best_yaml: &str,
) -> Result<(), EvolveError> {
    write(folder, config, journal, outcome, best_yaml, None)
}

/// Writes a report of a search that goes on; a browser that shows it looks again every `refresh` seconds.
///
/// # Errors
/// [`EvolveError::Write`].
pub fn refresh_report(folder: &Path, study: &Study, best_yaml: &str, refresh: u64) -> Result<(), EvolveError> {
    write(folder, &study.config, study.journal(), &study.outcome, best_yaml, Some(refresh))
}

fn write(
    folder: &Path,
    config: &Config,
    journal: &Journal,
    outcome: &Outcome,
    best_yaml: &str,
    refresh: Option<u64>,
) -> Result<(), EvolveError> {
    let (weights, progress) = (config.weights(), Progress::of(journal));
    let measure = Measure::of(journal, &weights);
    let view = View { config, journal, outcome, weights, measure, progress, refresh };
    let html = page(&view, best_yaml);
    // Whoever opens the report meanwhile sees the one before, never a part of this one.
    let (part, path) = (folder.join(UNFINISHED), folder.join(REPORT_FILE));
    let written = fs::write(&part, html).and_then(|()| fs::rename(&part, &path));
    written.map_err(|source| {
        let _ = fs::remove_file(&part);
        EvolveError::Write { path, source }
    })
}

fn page(view: &View, best_yaml: &str) -> String {
    let title = escape(&view.config.file.file_name().unwrap_or_default().to_string_lossy());
    let refresh = view.refresh.map_or(String::new(), |s| format!("<meta http-equiv=refresh content={s}>"));
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">{refresh}\
         <title>ggraft: {title}</title><style>{STYLE}</style><h1>Search of {title}</h1>"
    );
    let sections = [
        text::state(view),
        text::cards(view),
        text::verdict(view),
        text::tested(view),
        text::front(view),
        plots::scores(view),
        genes::section(view),
        weights::section(view),
        path(view),
        plots::trade_offs(view),
        text::cost(view),
        text::recipe(view, best_yaml),
        text::repeat(view),
    ];
    html.extend(sections);
    html
}

fn path(view: &View) -> String {
    let Some(picture) = view.best().and_then(path_picture) else { return String::new() };
    format!(
        "<h2>The path of tokens through the best recipe</h2>{picture}\
         <p class=soft>Read it from left to right: each dot is a block that tokens pass, its height the block's number in its model. Its size \
         and the number above it are the scale of what enters it (1 if there is none). Where the line falls back, blocks come again.</p>"
    )
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
