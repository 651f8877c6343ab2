//! The models that are served, by id: what each stands for now, and how a recipe that came over HTTP becomes the next one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;

use super::parents::{Parents, ParentsError, short_names};
use super::revision::{Revision, Source, digest};
use super::tokenizers::Tokenizers;
use crate::gguf::Parent;
use crate::model::{ModelError, Vocabulary};
use crate::open::{OpenError, is_recipe};
use crate::recipe::{ModelRef, Recipe, RecipeError};

/// Models that may be served at once.
pub const MAX_MODELS: usize = 256;
/// Longest id.
const MAX_ID_BYTES: usize = 128;
/// Tokens of a sequence where the user names no number and the model was trained on more.
const DEFAULT_CONTEXT: u32 = 4096;

/// Everything that is served.
pub struct Catalog {
    /// The files that recipes may name.
    pub parents: Parents,
    tokenizers: Tokenizers,
    models: RwLock<Vec<Entry>>,
    numbers: AtomicU64,
    context: Option<u32>,
    /// Chat templates that recipes over HTTP may have: those of the recipes that were there at the start.
    templates: Vec<String>,
}

struct Entry {
    current: Arc<Revision>,
    /// What it was at first.
    initial: Arc<Revision>,
    made_here: bool,
}

/// Why a model cannot be served, shown, or changed.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// No such id.
    #[error("no model is called `{id}`; there are {known}")]
    NoSuchModel {
        /// The id.
        id: String,
        /// Those there are.
        known: String,
    },
    /// An id that cannot be one.
    #[error("`{id}` cannot be a model's id: it must have 1 to {MAX_ID_BYTES} bytes, letters, digits, `.`, `_` and `-`")]
    BadId {
        /// The id.
        id: String,
    },
    /// The model is a file.
    #[error("`{id}` is a file, not a recipe; put the recipe under another id")]
    ReadOnly {
        /// The id.
        id: String,
    },
    /// It came from the command line.
    #[error("`{id}` was served from the start and stays; only models made by PUT can be deleted")]
    Permanent {
        /// The id.
        id: String,
    },
    /// A chat template from outside.
    #[error(
        "`chat_template` is a program that would run here; over HTTP only those of the server's own recipes are taken, so leave it out"
    )]
    Template,
    /// No room.
    #[error("there are {MAX_MODELS} models already; delete one first")]
    TooMany,
    /// The recipe text.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The recipe and its parents.
    #[error(transparent)]
    Parents(#[from] ParentsError),
    /// The tokenizer.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<OpenError> for CatalogError {
    fn from(error: OpenError) -> Self {
        Self::Parents(error.into())
    }
}

impl Catalog {
    /// Opens the models at `paths`: recipes are planned and files mapped, so that whatever is wrong with them is found now.
    ///
    /// # Errors
    /// [`CatalogError`] naming the file, tensor or line.
    pub fn open(paths: &[PathBuf], context: Option<u32>) -> Result<Self, CatalogError> {
        let mut recipes = Vec::new();
        let mut files = Vec::new();
        for path in paths {
            let mut recipe = if is_recipe(path) { Some(Recipe::load(path)?) } else { None };
            match &mut recipe {
                Some(recipe) => {
                    for model in &mut recipe.models {
                        model.files_mut().for_each(|path| *path = real(path));
                        files.push(model.clone());
                    }
                }
                None => files.push(ModelRef::plain("", real(path))),
            }
            recipes.push(recipe);
        }
        let parents = Parents::open(files).map_err(OpenError::from)?;
        let (models, numbers, templates) = (RwLock::default(), AtomicU64::new(0), Vec::new());
        let mut catalog = Self { parents, tokenizers: Tokenizers::default(), models, numbers, context, templates };
        for ((path, id), recipe) in paths.iter().zip(ids(paths)).zip(recipes) {
            let revision = match recipe {
                Some(recipe) => catalog.recipe(id, recipe)?,
                None => catalog.file(id, &real(path))?,
            };
            catalog.templates.extend(revision.own_template().map(str::to_owned));
            let current = Arc::new(revision);
            let entry = Entry { initial: Arc::clone(&current), current, made_here: false };
            catalog.models.write().unwrap_or_else(PoisonError::into_inner).push(entry);
        }
        Ok(catalog)
    }

    /// All models as they are now, in the order they came.
    pub fn all(&self) -> Vec<Arc<Revision>> {
        self.read(|models| models.iter().map(|e| Arc::clone(&e.current)).collect())
    }

    /// The model called `id`; the first one if requests name none.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchModel`].
    pub fn get(&self, id: Option<&str>) -> Result<Arc<Revision>, CatalogError> {
        let found = self.read(|models| {
            let mut matching = models.iter().filter(|e| id.is_none_or(|id| e.current.id == id));
            matching.next().map(|e| Arc::clone(&e.current))
        });
        found.ok_or_else(|| {
            let known: Vec<String> = self.all().iter().map(|r| format!("`{}`", r.id)).collect();
            CatalogError::NoSuchModel { id: id.unwrap_or_default().to_owned(), known: known.join(", ") }
        })
    }

    /// Whether `revision` is what its id stands for now.
    pub fn is_current(&self, revision: &Revision) -> bool {
        self.read(|models| models.iter().any(|e| e.current.number == revision.number))
    }

    /// What `id` stood for when it was first served.
    pub fn initial(&self, id: &str) -> Option<Arc<Revision>> {
        self.read(|models| models.iter().find(|e| e.current.id == id).map(|e| Arc::clone(&e.initial)))
    }

    /// Whether the model called `id` came over HTTP.
    pub fn is_made_here(&self, id: &str) -> bool {
        self.read(|models| models.iter().any(|e| e.made_here && e.current.id == id))
    }

    /// What `text`, a recipe in YAML or JSON whose models are named as in [`Catalog::parents`], would be as the model called `id`. Changes
    /// nothing yet.
    ///
    /// # Errors
    /// [`CatalogError`] for an id that cannot be written to, and whatever is wrong with the recipe, with line and column.
    pub fn prepare(&self, id: &str, text: &str) -> Result<Revision, CatalogError> {
        let is_id = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if id.is_empty() || id.len() > MAX_ID_BYTES || !id.chars().all(is_id) {
            return Err(CatalogError::BadId { id: id.to_owned() });
        }
        match self.get(Some(id)) {
            Ok(revision) if matches!(revision.source, Source::File(_)) => {
                return Err(CatalogError::ReadOnly { id: id.to_owned() });
            }
            Err(_) if self.all().len() >= MAX_MODELS => return Err(CatalogError::TooMany),
            _ => {}
        }
        let recipe = Recipe::parse(text, Path::new(&format!("{id}.yaml")))?;
        let revision = self.recipe(id.to_owned(), self.parents.find(recipe)?)?;
        match revision.own_template() {
            Some(template) if !self.templates.iter().any(|known| known == template) => Err(CatalogError::Template),
            _ => Ok(revision),
        }
    }

    /// Makes `revision` what its id stands for.
    pub fn put(&self, revision: Arc<Revision>) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        match models.iter_mut().find(|e| e.current.id == revision.id) {
            Some(entry) => entry.current = revision,
            None => models.push(Entry { initial: Arc::clone(&revision), current: revision, made_here: true }),
        }
    }

    /// Serves the model called `id` no more.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchModel`], [`CatalogError::Permanent`].
    pub fn delete(&self, id: &str) -> Result<(), CatalogError> {
        self.get(Some(id))?;
        if !self.is_made_here(id) {
            return Err(CatalogError::Permanent { id: id.to_owned() });
        }
        self.models.write().unwrap_or_else(PoisonError::into_inner).retain(|e| e.current.id != id);
        Ok(())
    }

    fn read<T>(&self, read: impl FnOnce(&[Entry]) -> T) -> T {
        read(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn file(&self, id: String, path: &Path) -> Result<Revision, CatalogError> {
        let parent = Parent::open(path).map_err(OpenError::from)?;
        let content = digest(&[b"file", self.parents.fingerprint_of(path).unwrap_or_default().as_bytes()]);
        let vocabulary = self.tokenizers.of_file(&parent)?;
        // Nothing takes its place in memory: each file has a shape of its own.
        let shape = self.numbers.load(Ordering::Relaxed) | 1 << 63;
        Ok(self.revision(
            id,
            content,
            shape,
            vocabulary,
            parent.arch_u32("context_length"),
            Source::File(parent.into()),
        ))
    }

    fn recipe(&self, id: String, recipe: Recipe) -> Result<Revision, CatalogError> {
        let (family, mut recipe) = self.parents.family(recipe)?;
        let plan = family.siblings.plan(&recipe).map_err(|source| match source {
            // These name the recipe themselves.
            crate::plan::PlanError::Recipe(error) => CatalogError::Recipe(error),
            source => OpenError::Plan { path: recipe.file.clone(), source }.into(),
        })?;
        recipe.warnings.extend(plan.warnings.iter().cloned());
        let template = &family.siblings.parents()[plan.vocabulary];
        let by_content = |path: &Path| self.parents.fingerprint_of(path).unwrap_or_default().to_owned();
        let content = digest(&[b"recipe", recipe.to_yaml(by_content)?.as_bytes()]);
        let (tokens, vocabulary) = self.tokenizers.of_plan(&plan, family.siblings.parents())?;
        if plan.chat_template.is_some() {
            vocabulary.check_chat_template()?;
        }
        let shape = u64::from_str_radix(&digest(&[&plan.bare_header, &tokens]), 16).unwrap_or(0) >> 1;
        let trained = template.arch_u32("context_length");
        let source = Source::Recipe { recipe: recipe.into(), family: Arc::clone(&family), plan: plan.into() };
        Ok(self.revision(id, content, shape, vocabulary, trained, source))
    }

    fn revision(
        &self,
        id: String,
        content: String,
        shape: u64,
        vocabulary: Arc<Vocabulary>,
        trained: Option<u32>,
        source: Source,
    ) -> Revision {
        let trained = trained.filter(|tokens| *tokens > 0).unwrap_or(DEFAULT_CONTEXT);
        let context = self.context.unwrap_or(trained.min(DEFAULT_CONTEXT));
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        Revision { id, number, fingerprint: format!("fp_{content}"), source, vocabulary, context, shape }
    }
}

/// The path without links and detours; as it is if there is nothing, which opening it then says.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// A model's id is the name of its file without the ending; where two share one, with their folders before it.
fn ids(paths: &[PathBuf]) -> Vec<String> {
    let stems: Vec<PathBuf> = paths.iter().map(|path| real(path).with_extension("")).collect();
    let mut different = stems.clone();
    different.sort();
    different.dedup();
    let names = short_names(&different);
    let name = |stem: &PathBuf| &names[different.binary_search(stem).expect("all stems are among them")];
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let mut ids: Vec<String> = Vec::new();
    for stem in &stems {
        let id: String = name(stem).chars().map(plain).collect();
        let taken = |id: &str| ids.iter().any(|other| other == id);
        // The same file twice, or `a.yaml` beside `a.gguf`.
        let numbered = (2..).map(|n| format!("{id}-{n}"));
        let free = std::iter::once(id.clone()).chain(numbered).find(|id| !taken(id));
        ids.push(free.expect("numbers do not run out"));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stems_and_differ() {
        let ids = |paths: &[&str]| ids(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(ids(&["x/best.yaml", "y.gguf"]), ["best", "y"]);
        assert_eq!(ids(&["x/best.yaml", "y/best.yaml"]), ["x-best", "y-best"]);
        assert_eq!(ids(&["x/a b.yaml", "x/a b.yaml", "x/a b.gguf"]), ["a-b", "a-b-2", "a-b-3"]);
    }
}
