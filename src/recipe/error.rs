//! Everything that can be wrong with a recipe.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::Recipe;
use crate::yaml::{Place, YamlError};

/// The longest message; a hostile file may quote itself at length.
const MAX_MESSAGE_CHARS: usize = 2000;

/// What is wrong with a recipe. What is wrong in a file comes wrapped in [`RecipeError::At`].
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The problem at its place: file, line, column.
    #[error("{}", located(file, *place, problem))]
    At {
        /// The recipe's file.
        file: PathBuf,
        /// Line and column; 0:0 if only the file is known.
        place: Place,
        /// What is wrong there.
        problem: Box<RecipeError>,
    },
    /// The file cannot be read.
    #[error("cannot read the recipe `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is longer than any recipe.
    #[error("the recipe is longer than {limit} bytes: is `{}` really a recipe?", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// It is no YAML, or has keys that no recipe has.
    #[error("{0}")]
    Yaml(String),
    /// No `merge_method`, and nothing that could do without.
    #[error("the key `merge_method` is missing; only a `path` through models as they are goes without")]
    MissingMethod,
    /// A hop takes blocks of a merge that there is not.
    #[error(
        "this hop has no `model`, so it takes blocks of the merge, but the recipe has no `models` or `slices` to merge"
    )]
    HopWithoutModel,
    /// There must be `models` or `slices`, and only one of them.
    #[error("a recipe has either `models` or `slices`; this one has {0}")]
    Form(&'static str),
    /// A list that needs at least one entry has none.
    #[error("`{0}` is empty; it needs at least one entry")]
    Empty(&'static str),
    /// More of something than a recipe may have.
    #[error("{count} {what}; the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The method has no parameter of this name.
    #[error("`{method}` has no parameter `{name}`{hint}")]
    UnknownParameter {
        /// The method.
        method: &'static str,
        /// The name.
        name: String,
        /// Which names there are.
        hint: String,
    },
    /// A value that its key or parameter cannot have.
    #[error("`{key}` is {value}: {expected}")]
    BadValue {
        /// The key or parameter.
        key: String,
        /// The value as written.
        value: String,
        /// What it must be.
        expected: String,
    },
    /// mergekit can do this, ggraft cannot yet.
    #[error("{what} is not supported yet; {instead}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// The method needs a base model and there is none.
    #[error("`{0}` merges relative to a base model: set `base_model`")]
    MissingBase(&'static str),
    /// A slice lacks the base model that its method needs.
    #[error("the base model `{0}` is not among the sources of this slice: add it, with the layers that belong there")]
    BaseNotInSlice(String),
    /// The method would take the base model as one more input but nothing gives it a weight.
    #[error(
        "`{method}` has no base: `base_model` counts as one more input and has no `{parameter}`; \
         list it under `models` with a `{parameter}`, or remove `base_model`"
    )]
    BaseAsInput {
        /// The method.
        method: &'static str,
        /// The parameter it would need.
        parameter: &'static str,
    },
    /// A slice has more or fewer models than its method takes.
    #[error("`{method}` takes {expected}; here are {count}")]
    Inputs {
        /// The method.
        method: &'static str,
        /// How many it takes.
        expected: String,
        /// How many there are.
        count: usize,
    },
    /// One slice names a model twice.
    #[error("`{0}` is listed twice in one slice; a slice takes every model once")]
    DuplicateModel(String),
    /// An index beyond what there is: in a recipe built in code, or in the block counts or layout given with it.
    #[error("there is no {what} {index}; there are {count}")]
    NoSuch {
        /// Of what.
        what: &'static str,
        /// The index asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A range of layers the model does not have.
    #[error("{}", outside(key, model, (*start, *end), *block_count))]
    RangeOutside {
        /// The key that says so.
        key: &'static str,
        /// The model.
        model: String,
        /// First layer.
        start: u32,
        /// The layer after the last.
        end: u32,
        /// Layers the model has.
        block_count: u32,
    },
    /// The sources of one slice bring different numbers of layers.
    #[error(
        "`{first}` brings {first_layers} layers to this slice and `{other}` {other_layers}; they must be equally many"
    )]
    UnequalLengths {
        /// The first model.
        first: String,
        /// Its layers.
        first_layers: u32,
        /// The model that differs.
        other: String,
        /// Its layers.
        other_layers: u32,
    },
    /// A parameter without default is set nowhere.
    #[error("missing required parameter `{parameter}` for {target} at tensor `{tensor}`")]
    MissingParameter {
        /// The parameter.
        parameter: &'static str,
        /// The model that lacks it, or the slice.
        target: String,
        /// The tensor at which it was needed.
        tensor: String,
    },
}

impl RecipeError {
    pub(super) fn at(self, file: &Path, place: Place) -> Self {
        if file.as_os_str().is_empty() && place == Place::default() {
            return self;
        }
        Self::At { file: file.to_owned(), place, problem: Box::new(self) }
    }

    pub(super) fn bad_value(key: &str, value: impl Display, expected: impl Display) -> Self {
        Self::BadValue { key: key.to_owned(), value: value.to_string(), expected: expected.to_string() }
    }

    pub(super) fn from_yaml(error: YamlError, file: &Path) -> Self {
        Self::Yaml(error.message).at(file, error.place)
    }
}

impl Recipe {
    pub(super) fn error(&self, place: Place, problem: RecipeError) -> RecipeError {
        problem.at(&self.file, place)
    }
}

/// That layers are not there; a hop through a single one will have said `layer`.
fn outside(key: &str, model: &str, (start, end): (u32, u32), block_count: u32) -> String {
    if key == "layers" && start.checked_add(1) == Some(end) {
        return format!("`layer` {start} of `{model}` is beyond its {block_count} layers, which are counted from 0");
    }
    format!("`{key}` [{start}, {end}) of `{model}` ends beyond its {block_count} layers")
}

/// `file:line:column: what`, with the control characters that a hostile file may bring to a terminal spelt out.
pub(super) fn located(file: &Path, place: Place, what: impl Display) -> String {
    let file = file.display();
    let whole = if place == Place::default() { format!("{file}: {what}") } else { format!("{file}:{place}: {what}") };
    let spelt = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    whole.trim_start_matches([':', ' ']).chars().take(MAX_MESSAGE_CHARS).map(spelt).collect()
}
