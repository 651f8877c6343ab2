//! The model files that the server was started with, by the names that recipes over HTTP call them by. No other file is ever read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::gguf::{GgufError, Parent};
use crate::model::{ModelError, Vocabulary};
use crate::open::OpenError;
use crate::plan::Siblings;
use crate::recipe::{ModelRef, Recipe};
use crate::yaml::hint;

/// Sets of parents that stay open; with all of them used, the one least recently added goes.
const MAX_FAMILIES: usize = 64;

/// One file.
pub struct Known {
    /// What recipes call it: the file's name, with those of its folders before it where two files share one.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its content, in hexadecimal.
    pub fingerprint: String,
    /// What it is.
    pub architecture: String,
    /// Its blocks.
    pub block_count: u32,
    /// Its weights.
    pub parameters: u64,
    /// Its size on disk.
    pub size_bytes: u64,
}

/// Parents that recipes mix, opened and proven to be siblings once.
pub struct Family {
    /// Index of each among the known files, in the order of the siblings.
    members: Vec<usize>,
    /// The parents.
    pub siblings: Siblings,
}

/// Every file of the server.
#[derive(Default)]
pub struct Parents {
    known: Vec<Known>,
    families: Mutex<Vec<Arc<Family>>>,
    vocabularies: Mutex<HashMap<PathBuf, Arc<Vocabulary>>>,
}

/// Why a recipe cannot be opened here.
#[derive(Debug, Error)]
pub enum ParentsError {
    /// A model that the server was not started with.
    #[error("the server has no model called `{name}`{hint}")]
    Unknown {
        /// As the recipe calls it.
        name: String,
        /// What it could mean.
        hint: String,
    },
    /// A file is not the one it was.
    #[error("`{name}` is another file than when the server was started; start it again")]
    Replaced {
        /// What it is called.
        name: String,
    },
    /// The recipe does not fit its parents.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Parents {
    /// Opens all files at `paths`, each once, and names them.
    ///
    /// # Errors
    /// [`GgufError`] naming the file at fault.
    pub fn open(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, GgufError> {
        let mut known: Vec<Known> = Vec::new();
        for path in paths {
            if known.iter().any(|k| k.path == path) {
                continue;
            }
            let parent = Parent::open(&path)?;
            known.push(Known {
                name: String::new(),
                fingerprint: hex(&parent.fingerprint()),
                architecture: parent.architecture().to_owned(),
                block_count: parent.block_count(),
                parameters: parent.parameters(),
                size_bytes: parent.size_bytes(),
                path,
            });
        }
        let paths: Vec<PathBuf> = known.iter().map(|k| k.path.clone()).collect();
        for (known, name) in known.iter_mut().zip(short_names(&paths)) {
            known.name = name;
        }
        Ok(Self { known, ..Self::default() })
    }

    /// All files.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// What the file at `path` is called.
    pub fn name_of(&self, path: &Path) -> Option<String> {
        self.known.iter().find(|k| k.path == path).map(|k| k.name.clone())
    }

    /// The content of the file at `path`.
    pub fn fingerprint_of(&self, path: &Path) -> Option<&str> {
        self.known.iter().find(|k| k.path == path).map(|k| k.fingerprint.as_str())
    }

    /// The models of `recipe`, which calls them by our names, as files.
    ///
    /// # Errors
    /// [`ParentsError::Unknown`].
    pub fn find(&self, mut recipe: Recipe) -> Result<Recipe, ParentsError> {
        for model in &mut recipe.models {
            let found = self.known.iter().find(|k| k.name == model.written);
            let unknown = || ParentsError::Unknown {
                name: model.written.clone(),
                hint: hint(&model.written, self.known.iter().map(|k| k.name.as_str())),
            };
            model.path.clone_from(&found.ok_or_else(unknown)?.path);
        }
        Ok(recipe)
    }

    /// Parents that have all models of `recipe`, and the recipe as one over these.
    ///
    /// # Errors
    /// [`ParentsError`] if they are no siblings or no longer the same files.
    pub fn family(&self, recipe: Recipe) -> Result<(Arc<Family>, Recipe), ParentsError> {
        let index = |model: &ModelRef| {
            let unknown = || ParentsError::Unknown { name: model.written.clone(), hint: String::new() };
            self.known.iter().position(|k| k.path == model.path).ok_or_else(unknown)
        };
        let wanted: Vec<usize> = recipe.models.iter().map(index).collect::<Result<_, _>>()?;
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let has_all = |family: &&Arc<Family>| wanted.iter().all(|model| family.members.contains(model));
        let family = match families.iter().filter(has_all).min_by_key(|family| family.members.len()) {
            Some(family) => Arc::clone(family),
            None => {
                let family = Arc::new(self.new_family(&recipe, wanted.clone())?);
                if families.len() == MAX_FAMILIES {
                    families.remove(0);
                }
                families.push(Arc::clone(&family));
                family
            }
        };
        let place = |model: &usize| family.members.iter().position(|m| m == model).expect("it has all of them");
        let numbers: Vec<usize> = wanted.iter().map(place).collect();
        let refs = family.members.iter().map(|m| &self.known[*m]);
        let models = refs.map(|k| ModelRef { written: k.name.clone(), path: k.path.clone() }).collect();
        Ok((Arc::clone(&family), recipe.renumbered(models, &numbers)))
    }

    fn new_family(&self, recipe: &Recipe, members: Vec<usize>) -> Result<Family, ParentsError> {
        let in_recipe = |source| OpenError::Plan { path: recipe.file.clone(), source };
        let siblings = Siblings::open(members.iter().map(|m| self.known[*m].path.as_path())).map_err(in_recipe)?;
        for (member, parent) in members.iter().zip(siblings.parents()) {
            if hex(&parent.fingerprint()) != self.known[*member].fingerprint {
                return Err(ParentsError::Replaced { name: self.known[*member].name.clone() });
            }
        }
        Ok(Family { members, siblings })
    }

    /// The tokenizer of the file at `path`, loaded once.
    ///
    /// # Errors
    /// [`ModelError::Load`] with llama.cpp's reason.
    pub fn vocabulary(&self, path: &Path, chat_template: Option<String>) -> Result<Arc<Vocabulary>, ModelError> {
        let mut loaded = self.vocabularies.lock().unwrap_or_else(PoisonError::into_inner);
        let vocabulary = match loaded.get(path) {
            Some(vocabulary) => Arc::clone(vocabulary),
            None => {
                let vocabulary = Arc::new(Vocabulary::load(path, None)?);
                loaded.insert(path.to_owned(), Arc::clone(&vocabulary));
                vocabulary
            }
        };
        Ok(match chat_template {
            Some(template) => Arc::new(vocabulary.with_chat_template(Some(template))),
            None => vocabulary,
        })
    }
}

/// For each of `paths`, its last components, as few as tell it from all others.
pub(super) fn short_names(paths: &[PathBuf]) -> Vec<String> {
    let last = |path: &Path, count: usize| {
        let parts: Vec<_> = path.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        parts[parts.len().saturating_sub(count)..].join("/")
    };
    let name = |path: &PathBuf| {
        let alone = |count: &usize| paths.iter().filter(|p| last(p, *count) == last(path, *count)).count() == 1;
        let most = path.components().count();
        last(path, (1..most).find(alone).unwrap_or(most))
    };
    paths.iter().map(name).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_can_be() {
        let names = |paths: &[&str]| short_names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["/m/a.gguf", "/m/b.gguf"]), ["a.gguf", "b.gguf"]);
        assert_eq!(names(&["/m/x/a.gguf", "/m/y/a.gguf", "/m/b.gguf"]), ["x/a.gguf", "y/a.gguf", "b.gguf"]);
        assert_eq!(names(&["/one/m/a.gguf", "/two/m/a.gguf"]), ["one/m/a.gguf", "two/m/a.gguf"]);
        assert_eq!(names(&["a.gguf", "x/a.gguf"]), ["a.gguf", "x/a.gguf"]);
    }
}
