//! Reads one small YAML document into a serde type, and says at which line and column it is wrong.
//!
//! In: text that nobody has checked. Out: the value, or a [`YamlError`] with a [`Place`] and a suggestion for a misspelt
//! key. Recipes, tasks and evolve files are all read through it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Location, MessageFormatter, UserMessageFormatter};

/// Lists and maps inside each other; a recipe needs seven.
const MAX_DEPTH: usize = 16;
/// Events that aliases (`*name`) may replay; what an alias bomb would grow without limit.
const MAX_REPLAYED_EVENTS: usize = 100_000;

/// A line and a column, both counted from 1; 0:0 for what was built in code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1; 0 if unknown.
    pub line: u64,
    /// Column in characters, from 1; 0 if unknown.
    pub column: u64,
}

impl From<Location> for Place {
    fn from(at: Location) -> Self {
        Self { line: at.line(), column: at.column() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong with a YAML text, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct YamlError {
    /// Where it is wrong.
    pub place: Place,
    /// What is wrong, without the place.
    pub message: String,
}

/// Reads `text` as one YAML document.
///
/// # Errors
/// Anything that is no YAML, does not fit `T`, repeats a key, or is nested or aliased beyond the limits of this file.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    read_knowing(text, &[])
}

/// The same, with what other programs call our keys as `(theirs, ours)`, to suggest the right one.
///
/// # Errors
/// As [`read`].
pub fn read_knowing<T: DeserializeOwned>(text: &str, foreign: &[(&str, &str)]) -> Result<T, YamlError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED_EVENTS },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| YamlError {
        place: error.location().map(Place::from).unwrap_or_default(),
        message: message(error.without_snippet(), foreign),
    })
}

fn message(error: &Error, foreign: &[(&str, &str)]) -> String {
    match error {
        Error::SerdeUnknownField { field, expected, .. }
            if let Some((_, ours)) =
                foreign.iter().find(|(theirs, ours)| theirs == field && expected.contains(ours)) =>
        {
            format!("unknown key `{field}`: did you mean `{ours}`?")
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value `{variant}`{}", hint(variant, expected.iter().copied()))
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key `{field}`{}", hint(field, expected.iter().copied()))
        }
        Error::SerdeMissingField { field, .. } => format!("the key `{field}` is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` is given twice"),
        Error::NonFiniteFloat { value, .. } => format!("`{value}` is not a finite number"),
        Error::SerdeInvalidLength { len, expected, .. } => format!("{len} entries where {expected} belongs"),
        Error::InvalidScalar { ty: "u32" | "u64" | "usize", .. } => "a whole number from 0 up belongs here".to_owned(),
        Error::Unexpected { expected: "string scalar", .. } => "text belongs here".to_owned(),
        Error::Unexpected { expected: "sequence start", .. } => "a list belongs here".to_owned(),
        Error::Unexpected { expected: "mapping start", .. } => "`key: value` pairs belong here".to_owned(),
        Error::UnknownAnchor { .. } => "this alias has no anchor".to_owned(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

/// Where the file is that a YAML file at `file` names: relative paths start at its folder.
pub fn beside(file: &Path, written: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(written)
}

/// The end of an "unknown word" message: `: did you mean ..?` if a known word is near, else the list of known words.
pub fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = known.clone().map(|k| (edits(&word.to_lowercase(), k), k)).min().filter(|&(n, k)| n <= 2 && n < k.len());
    match near {
        Some((_, k)) => format!(": did you mean `{k}`?"),
        None => format!("; known: {}", known.map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")),
    }
}

/// Levenshtein distance, given up (as "far") for words longer than any of ours.
fn edits(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(b.chars()) {
            let best = (left + 1).min(*cell + 1).min(diagonal + usize::from(ca != cb));
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or(usize::MAX)
}
