//! Reads one small YAML document into a serde type, and says at which line and column it is wrong.
//!
//! In: text that nobody has checked. Out: the value, or a [`YamlError`] with a [`Place`] and a suggestion for a misspelt
//! key. Recipes, tasks and evolve files are all read through it.

use std::fmt;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor};
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

/// What a file of ours can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A recipe.
    Recipe,
    /// An evolve file.
    Evolve,
    /// A task file.
    Task,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Recipe, Self::Evolve, Self::Task];

    /// A key that only such files have on their first level, and nearly all of them do.
    fn key(self) -> &'static str {
        match self {
            Self::Recipe => "merge_method",
            Self::Evolve => "genome",
            Self::Task => "kind",
        }
    }

    /// What it is, and the command that takes it.
    fn usage(self) -> &'static str {
        match self {
            Self::Recipe => "a recipe: `ggraft run`, `score`, `export` and others take it where a model belongs",
            Self::Evolve => "an evolve file: `ggraft evolve` takes it",
            Self::Task => "a task file: `ggraft score MODEL --task` takes it, and `tasks` of an evolve file",
        }
    }

    /// Whether `text` has the key.
    fn is_of(self, text: &str) -> bool {
        let has_key = |line: &str| line.strip_prefix(self.key()).is_some_and(|rest| rest.trim_start().starts_with(':'));
        text.lines().any(has_key)
    }
}

/// One text, or a list of texts.
#[derive(Clone, Debug, Default)]
pub struct OneOrMore(pub Vec<String>);

// Hand-written because `#[serde(untagged)]` would lose the places of everything inside.
impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMore;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrMore, A::Error> {
                Ok(OneOrMore(Vec::deserialize(SeqAccessDeserializer::new(seq))?))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads `text` as one YAML document, a file of this kind. `foreign` is what other programs call our keys as `(theirs, ours)`, to
/// suggest the right one.
///
/// # Errors
/// Anything that is no YAML, does not fit `T`, repeats a key, or is nested or aliased beyond the limits of this file.
pub fn read<T: DeserializeOwned>(text: &str, kind: Kind, foreign: &[(&str, &str)]) -> Result<T, YamlError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED_EVENTS },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(Place::from).unwrap_or_default();
        let other = Kind::ALL.into_iter().find(|other| other.is_of(text)).filter(|_| !kind.is_of(text));
        let message = match other {
            Some(other) => format!("this is {}", other.usage()),
            None => message(error.without_snippet(), foreign, Spot::new(text, place)),
        };
        YamlError { place, message }
    })
}

/// Where something is wrong: what stands before it, and it.
#[derive(Clone, Copy)]
struct Spot<'a> {
    before: &'a str,
    here: &'a str,
}

impl<'a> Spot<'a> {
    fn new(text: &'a str, place: Place) -> Self {
        let skipped = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let line: usize = text.split_inclusive('\n').take(skipped(place.line)).map(str::len).sum();
        let column: usize = text[line..].chars().take(skipped(place.column)).map(char::len_utf8).sum();
        let (before, here) = text.split_at(line + column);
        Self { before, here: here.lines().next().unwrap_or_default() }
    }

    /// "`key`: " if what is wrong is the value of a key, or in a list that is.
    fn key(self) -> String {
        let before = self.before.trim_end();
        let list =
            || before.rsplit_once('[').filter(|(_, within)| !within.contains(['{', ']'])).map(|(outer, _)| outer);
        let value = before.strip_suffix(':').or_else(|| list()?.trim_end().strip_suffix(':'));
        let ends = |c: char| c.is_whitespace() || "{[,".contains(c);
        value.map_or_else(String::new, |before| named(before.rsplit(ends).next()))
    }

    /// The same for an error that is found at the key.
    fn key_here(self) -> String {
        named(self.here.split_once(':').map(|(key, _)| key))
    }

    /// The word that stands alone in a list here.
    fn lone_word(self) -> Option<&'a str> {
        let word = self.here.split([',', ']', '}', '#']).next()?.trim();
        let in_list = self.before.trim_end().ends_with(['-', '[', ',']);
        (in_list && !word.is_empty() && !word.starts_with(['[', '{', '-'])).then_some(word)
    }

    /// What is here instead of a single value.
    fn instead_of_value(self) -> &'static str {
        if self.here.starts_with(['[', '-']) { "a list" } else { "`key: value` pairs" }
    }
}

/// The beginning of a message about a key's value.
fn named(key: Option<&str>) -> String {
    let key = key.map(|key| key.trim_matches(['"', '\'']));
    key.filter(|key| !key.is_empty()).map_or_else(String::new, |key| format!("`{key}`: "))
}

fn message(error: &Error, foreign: &[(&str, &str)], spot: Spot) -> String {
    let key = spot.key();
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
        Error::SerdeInvalidLength { len, expected, .. } => {
            // `an array of length 2` if it is too short, `a tuple of size 2` if too long.
            let count = expected.rsplit(' ').next().unwrap_or_default();
            format!("{}a list of {count} belongs here, not of {len}", spot.key_here())
        }
        Error::InvalidScalar { ty: "u32" | "u64" | "usize", .. } => {
            format!("{key}a whole number from 0 up belongs here")
        }
        Error::InvalidScalar { ty: "floating point", .. } => format!("{key}a finite number belongs here"),
        Error::InvalidScalar { ty: "boolean", .. } => format!("{key}`true` or `false` belongs here"),
        Error::Unexpected { expected: "string scalar", .. } => {
            format!("{key}a single value belongs here, not {}", spot.instead_of_value())
        }
        Error::Unexpected { expected: "sequence start", .. } => format!("{key}a list belongs here"),
        // Lists of pairs are lists of models, but for tasks, which may be named alone.
        Error::Unexpected { expected: "mapping start", .. } => match spot.lone_word() {
            Some(word) => format!("{key}`key: value` pairs belong here, such as `model: {word}`"),
            None => format!("{key}`key: value` pairs belong here"),
        },
        Error::UnknownAnchor { .. } => "this alias has no anchor".to_owned(),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
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
