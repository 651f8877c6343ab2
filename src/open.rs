//! A path in, something that can run out: a GGUF file as it is, or a recipe with its parents opened and its plan made.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::gguf::{GgufError, Parent};
use crate::image::{Image, ImageError};
use crate::model::{ContextSize, Live, ModelError, Settings, Swap, Vocabulary};
use crate::plan::{Cache, Plan, PlanError, Siblings};
use crate::recipe::{Place, Recipe, RecipeError};

/// A model that could run.
pub struct Model {
    /// The path it was opened by.
    pub path: PathBuf,
    /// What was found there.
    pub kind: Kind,
}

/// What a path can name.
pub enum Kind {
    /// A GGUF file, or the first of a split set.
    File(Box<Parent>),
    /// A recipe.
    Recipe(Box<Virtual>),
}

/// A recipe that fits its parents.
pub struct Virtual {
    /// As loaded.
    pub recipe: Recipe,
    /// Its parents, opened.
    pub siblings: Siblings,
    /// What to compute.
    pub plan: Plan,
}

/// Why a path names nothing that can run.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A model file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A recipe file.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A model that a recipe names.
    #[error("{}:{place}: {source}", file.display())]
    Model {
        /// The recipe file.
        file: PathBuf,
        /// Where it names the model.
        place: Place,
        /// What is wrong with the model.
        source: Box<GgufError>,
    },
    /// A recipe and its parents together.
    #[error("recipe `{}`: {source}", path.display())]
    Plan {
        /// The recipe file.
        path: PathBuf,
        /// What does not fit.
        source: PlanError,
    },
}

/// Whether `path` is to be read as a recipe: by its ending.
pub fn is_recipe(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
}

impl Virtual {
    /// Opens the parents of `recipe` and compiles it, with what `cache` knows of them.
    ///
    /// # Errors
    /// [`OpenError`] naming the recipe, and the file, tensor or line.
    pub fn new(mut recipe: Recipe, cache: Option<Cache>) -> Result<Self, OpenError> {
        let in_recipe = |source| match source {
            // These name the recipe themselves.
            PlanError::Recipe(error) => OpenError::Recipe(error),
            PlanError::Parent(source) => match recipe.place_of(&source.path) {
                Some(place) => OpenError::Model { file: recipe.file.clone(), place, source: source.into() },
                None => OpenError::Plan { path: recipe.file.clone(), source: source.into() },
            },
            source => OpenError::Plan { path: recipe.file.clone(), source },
        };
        let mut siblings = Siblings::open(&recipe.models).map_err(in_recipe)?;
        if let Some(cache) = cache {
            siblings = siblings.cached(cache);
        }
        let plan = siblings.plan(&recipe).map_err(in_recipe)?;
        recipe
            .warnings
            .extend(siblings.parents().iter().flat_map(Parent::remarks).chain(plan.warnings.iter().cloned()));
        Ok(Self { recipe, siblings, plan })
    }
}

/// Loads the tokenizer of a merged model: from the parent that has it, or from a header made for it, in memory.
///
/// # Errors
/// [`ModelError::Load`] with llama.cpp's reason.
pub fn vocabulary(plan: &Plan, parents: &[Parent]) -> Result<Vocabulary, ModelError> {
    let template = plan.chat_template.clone();
    if !plan.makes_vocabulary() {
        return Vocabulary::load(parents[plan.vocabulary].path(), template);
    }
    let header = plan.vocabulary_header(parents).map_err(ImageError::from)?;
    Vocabulary::load(&Image::of_header(header)?.path(), template)
}

impl Model {
    /// Opens a `.gguf` file, or a recipe `.yaml` and all its parents. Reads headers, no weights (but for what statistics need).
    ///
    /// # Errors
    /// [`OpenError`] naming the file, tensor or line.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_with(path, None)
    }

    /// The same with what `cache` knows of the parents.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_with(path: &Path, cache: Option<Cache>) -> Result<Self, OpenError> {
        if is_recipe(path) {
            return Self::of_recipe(Recipe::load(path)?, cache);
        }
        Ok(Self { path: path.to_owned(), kind: Kind::File(Box::new(Parent::open(path)?)) })
    }

    /// Opens all parents of a recipe that has been read.
    ///
    /// # Errors
    /// [`OpenError`] naming the recipe, and the file, tensor or line.
    pub fn of_recipe(recipe: Recipe, cache: Option<Cache>) -> Result<Self, OpenError> {
        Ok(Self { path: recipe.file.clone(), kind: Kind::Recipe(Box::new(Virtual::new(recipe, cache)?)) })
    }

    /// Loads the tokenizer.
    ///
    /// # Errors
    /// [`ModelError::Load`] with llama.cpp's reason.
    pub fn vocabulary(&self) -> Result<Arc<Vocabulary>, ModelError> {
        let vocabulary = match &self.kind {
            Kind::File(parent) => Vocabulary::load(parent.path(), None),
            Kind::Recipe(v) => vocabulary(&v.plan, v.siblings.parents()),
        };
        vocabulary.map(Arc::new)
    }

    /// Starts it in llama.cpp; a file costs no merge.
    ///
    /// # Errors
    /// [`ModelError`] with llama.cpp's reason.
    pub fn start(
        &self,
        vocabulary: Arc<Vocabulary>,
        settings: Settings,
        size: ContextSize,
    ) -> Result<(Live, Swap), ModelError> {
        match &self.kind {
            Kind::File(parent) => {
                Live::of_file(parent.path(), vocabulary, settings, size).map(|live| (live, Swap::default()))
            }
            Kind::Recipe(v) => Live::of_plan(&v.plan, v.siblings.parents(), vocabulary, settings, size),
        }
    }
}
