//! How results look: tables for people, one JSON object for programs, sizes in units that people read.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table, TableComponent};
use serde_json::Value;

use super::args::CacheArgs;
use crate::evolve::EvolveError;
use crate::gguf::GgufError;
use crate::image::ImageError;
use crate::model::ModelError;
use crate::open::{Kind, Model, OpenError};
use crate::plan::{Cache, CacheError, PlanError, Siblings};
use crate::recipe::{Recipe, RecipeError};
use crate::score::{ScoreError, is_likelihood};
use crate::serve::ServeError;
use crate::tasks::TaskError;

/// Writes the one JSON object of a command to stdout.
pub(super) fn print_json(value: &Value) -> anyhow::Result<()> {
    print(format_args!("{value:#}"))
}

/// Opens a model for a command, and says on stderr what its recipe asks for in vain.
pub(super) fn open(path: &Path, cache: &CacheArgs) -> anyhow::Result<Model> {
    Ok(opened(Model::open_with(path, cache.open()?)?))
}

/// The same for a model that has been opened.
pub(super) fn opened(model: Model) -> Model {
    if let Kind::Recipe(v) = &model.kind {
        warn(&v.recipe);
        save_cache(&v.siblings);
    }
    model
}

impl CacheArgs {
    /// The cache that was asked for.
    pub fn open(&self) -> Result<Option<Cache>, CacheError> {
        self.file.as_deref().map(Cache::open).transpose()
    }
}

/// Keeps what was learnt of the parents. Nothing depends on it, so that a full disk is worth a warning and no more.
pub(super) fn save_cache(siblings: &Siblings) {
    if let Err(error) = siblings.save_cache() {
        eprintln!("warning: {error}");
    }
}

/// Says on stderr what `recipe` asks for in vain.
pub(super) fn warn(recipe: &Recipe) {
    for warning in &recipe.warnings {
        eprintln!("warning: {warning}");
    }
}

/// Writes a line to stdout. A reader that has gone away (`| head`) wants no more, which is no error.
pub(super) fn print(text: impl Display) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// What would draw lines between rows.
const ROW_LINES: [TableComponent; 4] = [
    TableComponent::HorizontalLines,
    TableComponent::MiddleIntersections,
    TableComponent::LeftBorderIntersections,
    TableComponent::RightBorderIntersections,
];

/// What stands for a number that the data cannot give.
const UNKNOWN: &str = "–";

/// A table whose first `text` columns are text and whose others are numbers.
pub(super) fn table(text: usize, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header);
    for component in ROW_LINES {
        table.remove_style(component);
    }
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(text) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A value as people read it: accuracies in percent, perplexities with all digits, since they are compared to the last bit.
pub(super) fn value(metric: &str, value: f64) -> String {
    if is_likelihood(metric) { value.to_string() } else { format!("{:.1} %", 100.0 * value) }
}

/// A standard error in the units of [`value`]; that of a single question is not known.
pub(super) fn stderr(metric: &str, stderr: f64) -> String {
    match stderr {
        _ if stderr.is_nan() => UNKNOWN.to_owned(),
        _ if is_likelihood(metric) => format!("{stderr:.4}"),
        _ => value(metric, stderr),
    }
}

/// An interval in the units of [`value`].
pub(super) fn interval(metric: &str, [low, high]: [f64; 2]) -> String {
    if low.is_nan() || high.is_nan() {
        UNKNOWN.to_owned()
    } else if is_likelihood(metric) {
        format!("{low:.4} – {high:.4}")
    } else {
        format!("{:.1} – {:.1}", 100.0 * low, 100.0 * high)
    }
}

/// `1234567` as `1.2 MB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Whether the fault lies in what the user gave: exit code 2, where a failure of the work itself is 1.
pub(super) fn is_bad_input(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<GgufError>()
            || cause.is::<RecipeError>()
            || cause.is::<PlanError>()
            || cause.is::<CacheError>()
            || cause.is::<OpenError>()
            || cause.is::<TaskError>()
            || cause.downcast_ref::<EvolveError>().is_some_and(EvolveError::is_bad_input)
            || cause.downcast_ref::<ServeError>().is_some_and(ServeError::is_bad_input)
            || cause.downcast_ref::<ModelError>().is_some_and(ModelError::is_bad_input)
            || cause.downcast_ref::<ScoreError>().is_some_and(ScoreError::is_bad_input)
            || matches!(cause.downcast_ref(), Some(ImageError::Occupied { .. }))
            || cause.is::<BadInput>()
    })
}

/// An error in what `model` was asked, with its name where the fault lies in either of them.
pub(super) fn of_model(model: &Path, error: impl Into<anyhow::Error>) -> anyhow::Error {
    let error = error.into();
    if is_bad_input(&error) { BadInput(format!("`{}`: {error}", model.display())).into() } else { error }
}

/// Bad usage that no stage has a name for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadInput(pub String);

#[cfg(test)]
mod tests {
    use super::{interval, stderr};

    #[test]
    fn what_one_question_cannot_tell_is_a_dash() {
        assert_eq!(stderr("number", f64::NAN), "–");
        assert_eq!(stderr("perplexity", f64::NAN), "–");
        assert_eq!(interval("rouge_l", [f64::NAN; 2]), "–");
        assert_eq!((stderr("number", 0.012), stderr("perplexity", 0.012)), ("1.2 %".to_owned(), "0.0120".to_owned()));
    }
}
