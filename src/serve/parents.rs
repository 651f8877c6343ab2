//! The model files that the server was started with, by the names that recipes over HTTP call them by. No other file is ever read.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use thiserror::Error;

use super::family::Families;
use crate::gguf::{GgufError, Parent};
use crate::open::OpenError;
use crate::recipe::{ModelRef, Recipe};
use crate::yaml::hint;

/// One file.
pub struct Known {
    /// What recipes call it: the file's name, with those of its folders before it where two files share one.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its content, in hexadecimal.
    pub fingerprint: String,
    /// Its size on disk.
    pub size_bytes: u64,
    /// For an adapter, the bytes that it takes in memory.
    pub factor_bytes: Option<u64>,
}

/// A model by its files' indexes among the known ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub model: usize,
    /// On it, in this order.
    pub adapters: Vec<usize>,
}

/// A model that the server was started with: a file, or a file with adapters on it.
pub struct Served {
    pub(super) member: Member,
    /// What recipes call it.
    pub name: String,
    /// As a search knows it.
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

/// Every file of the server.
#[derive(Default)]
pub struct Parents {
    known: Vec<Known>,
    served: Vec<Served>,
    pub(super) families: Mutex<Families>,
}

/// Why a recipe cannot be opened here.
#[derive(Debug, Error)]
pub enum ParentsError {
    /// A file that the server was not started with.
    #[error("the server has no {what} called `{name}`{hint}")]
    Unknown {
        /// `model` or `adapter`.
        what: &'static str,
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
    /// No room.
    #[error(
        "the adapters of all recipes would take {bytes} bytes of memory, and {limit} is the limit; delete a model first"
    )]
    Memory {
        /// What they would take.
        bytes: u64,
        /// The most they may.
        limit: u64,
    },
    /// The recipe does not fit its parents.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Parents {
    /// Opens all `models`, each once, and names their files.
    ///
    /// # Errors
    /// [`GgufError`] naming the file at fault.
    pub fn open(models: impl IntoIterator<Item = ModelRef>) -> Result<Self, GgufError> {
        let mut parents = Self::default();
        let mut opened: Vec<ModelRef> = Vec::new();
        for model in models {
            // Recipes over HTTP may take an adapter off.
            for model in [ModelRef::plain("", &model.path), model] {
                if !opened.iter().any(|other| other.is(&model)) {
                    parents.add(&model)?;
                    opened.push(model);
                }
            }
        }
        let paths: Vec<PathBuf> = parents.known.iter().map(|k| k.path.clone()).collect();
        for (known, name) in parents.known.iter_mut().zip(short_names(&paths)) {
            known.name = name;
        }
        let names: Vec<String> = parents.served.iter().map(|s| parents.model(&s.member).written).collect();
        parents.served.iter_mut().zip(names).for_each(|(served, name)| served.name = name);
        Ok(parents)
    }

    fn add(&mut self, model: &ModelRef) -> Result<(), GgufError> {
        let parent = Parent::open_with(&model.path, &model.adapters)?;
        let own = std::iter::once((parent.path(), parent.model_bytes(), None));
        let files = own.chain(parent.adapters().map(|(path, size, factors)| (path, size, Some(factors))));
        let mut numbers = Vec::new();
        for ((path, size_bytes, factor_bytes), print) in files.zip(parent.fingerprints()) {
            let number = self.known.iter().position(|k| k.path == path).unwrap_or_else(|| {
                let (name, path) = (String::new(), path.to_owned());
                self.known.push(Known { name, path, fingerprint: hex(&print), size_bytes, factor_bytes });
                self.known.len() - 1
            });
            numbers.push(number);
        }
        self.served.push(Served {
            member: Member { model: numbers.remove(0), adapters: numbers },
            name: String::new(),
            fingerprint: hex(&parent.fingerprint()),
            architecture: parent.architecture().to_owned(),
            block_count: parent.block_count(),
            parameters: parent.parameters(),
            size_bytes: parent.size_bytes(),
        });
        Ok(())
    }

    /// All files.
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// All models.
    pub fn served(&self) -> &[Served] {
        &self.served
    }

    /// What the file at `path` is called.
    pub fn name_of(&self, path: &Path) -> Option<String> {
        self.known.iter().find(|k| k.path == path).map(|k| k.name.clone())
    }

    /// The content of the file at `path`.
    pub fn fingerprint_of(&self, path: &Path) -> Option<&str> {
        self.known.iter().find(|k| k.path == path).map(|k| k.fingerprint.as_str())
    }

    /// The model of which a search keeps this fingerprint.
    pub fn searched(&self, fingerprint: &str) -> Option<ModelRef> {
        self.served.iter().find(|s| s.fingerprint == fingerprint).map(|s| self.model(&s.member))
    }

    /// A model as recipes name it.
    pub(super) fn model(&self, member: &Member) -> ModelRef {
        let file = |number: usize| &self.known[number];
        let names = std::iter::once(member.model).chain(member.adapters.iter().copied()).map(|n| &*file(n).name);
        ModelRef {
            written: names.collect::<Vec<&str>>().join("+"),
            path: file(member.model).path.clone(),
            adapters: member.adapters.iter().map(|adapter| file(*adapter).path.clone()).collect(),
        }
    }

    /// The models of `recipe`, which calls all files by our names, as files.
    ///
    /// # Errors
    /// [`ParentsError::Unknown`].
    pub fn find(&self, mut recipe: Recipe) -> Result<Recipe, ParentsError> {
        for model in &mut recipe.models {
            for (file, is_adapter) in model.files_mut().zip(std::iter::once(false).chain(std::iter::repeat(true))) {
                // A recipe without a folder takes its paths from `.`; what else it wrote there is no name.
                let found = file.to_string_lossy();
                let name = found.strip_prefix("./").unwrap_or(&found).to_owned();
                let fitting = self.known.iter().filter(|k| k.factor_bytes.is_some() == is_adapter);
                match fitting.clone().find(|k| k.name == name) {
                    Some(known) => file.clone_from(&known.path),
                    None => {
                        let hint = hint(&name, fitting.map(|k| k.name.as_str()));
                        let what = if is_adapter { "adapter" } else { "model" };
                        return Err(ParentsError::Unknown { what, name, hint });
                    }
                }
            }
        }
        Ok(recipe)
    }

    /// A model that [`Parents::find`] has found, or that was there at the start.
    pub(super) fn member(&self, model: &ModelRef) -> Result<Member, ParentsError> {
        let number = |path: &Path| self.known.iter().position(|k| k.path == path);
        let mut numbers = model
            .files()
            .map(number)
            .collect::<Option<Vec<usize>>>()
            .ok_or_else(|| ParentsError::Unknown { what: "model", name: model.written.clone(), hint: String::new() })?;
        Ok(Member { model: numbers.remove(0), adapters: numbers })
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

pub(super) fn hex(bytes: &[u8]) -> String {
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
