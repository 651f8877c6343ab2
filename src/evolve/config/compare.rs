//! `compare` in: recipes that are tested beside the best one, over the search's models. Opens recipe files.

use std::path::{Path, PathBuf};

use super::{Config, EvolveError, invalid};
use crate::recipe::{ModelRef, Recipe};
use crate::yaml::Place;

/// A recipe beside the search.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its file as written, which is what it is called.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Where the evolve file names it.
    pub place: Place,
}

impl Config {
    /// The recipes that `compare` names and their texts, which say the same whatever becomes of the files.
    ///
    /// # Errors
    /// A recipe that cannot be read, merges other models than the search does, or has a tokenizer or chat template of its own.
    pub fn recipes_to_compare(&self) -> Result<Vec<(String, String)>, EvolveError> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let text = |compared: &Compared| {
            let recipe = Recipe::load(&compared.path)?;
            let refuse =
                |problem: String| invalid(&self.file, compared.place, format!("`{}` {problem}", compared.name));
            if recipe.tokenizer.is_some() || recipe.chat_template.is_some() {
                let problem =
                    "has a tokenizer or chat template of its own; recipes are compared in those of the search";
                return Err(refuse(problem.to_owned()));
            }
            let recipe = self.over_models(recipe, are_same_files).map_err(refuse)?;
            let text = recipe.to_yaml(|path| path.strip_prefix(folder).unwrap_or(path).display().to_string())?;
            Ok((compared.name.clone(), text))
        };
        self.compare.iter().map(text).collect()
    }

    /// The recipe that such a text is, over the search's models and with the tokenizer of `like`.
    ///
    /// # Errors
    /// [`EvolveError`] for a text that [`Config::recipes_to_compare`] did not make.
    pub fn compared(&self, (name, text): &(String, String), like: &Recipe) -> Result<Recipe, EvolveError> {
        let refuse = |problem| invalid(&self.file, Place { line: 1, column: 1 }, format!("`{name}` {problem}"));
        let mut recipe = self.over_models(Recipe::parse(text, &self.file)?, ModelRef::is).map_err(refuse)?;
        recipe.tokenizer.clone_from(&like.tokenizer);
        recipe.chat_template.clone_from(&like.chat_template);
        Ok(recipe)
    }

    /// The same recipe over the search's models, or what keeps it from that.
    fn over_models(&self, recipe: Recipe, same: fn(&ModelRef, &ModelRef) -> bool) -> Result<Recipe, String> {
        let number = |model: &ModelRef| {
            self.models.iter().position(|ours| same(ours, model)).ok_or_else(|| {
                let names: Vec<String> = self.models.iter().map(|model| format!("`{}`", model.written)).collect();
                format!("merges `{}`, and the models of this search are {}", model.written, names.join(", "))
            })
        };
        let numbers = recipe.models.iter().map(number).collect::<Result<Vec<usize>, String>>()?;
        Ok(recipe.renumbered(self.models.clone(), &numbers))
    }
}

/// Whether both are made of the same files, however these are reached.
fn are_same_files(a: &ModelRef, b: &ModelRef) -> bool {
    let same = |a: &Path, b: &Path| a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    a.adapters.len() == b.adapters.len() && a.files().zip(b.files()).all(|(a, b)| same(a, b))
}
