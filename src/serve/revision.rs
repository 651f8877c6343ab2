//! What a model's name stands for at one moment: a file or a recipe, opened, planned, and named by its content. Never changes.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::family::Family;
use super::parents::Parents;
use crate::gguf::Parent;
use crate::model::{ContextSize, Live, ModelError, Settings, Swap, Vocabulary};
use crate::plan::Plan;
use crate::recipe::{Recipe, RecipeError};

/// A model as requests find it.
pub struct Revision {
    /// The name that requests use.
    pub id: String,
    /// Tells revisions apart within this process.
    pub number: u64,
    /// Tells what it computes apart from everything else: equal for equal recipes over equal parents, whatever they are called.
    pub fingerprint: String,
    /// What it is made of.
    pub source: Source,
    /// Its tokenizer and chat template.
    pub vocabulary: Arc<Vocabulary>,
    /// Tokens that one sequence may have.
    pub context: u32,
    /// Models of one shape take each other's place in memory; others are loaded anew.
    pub shape: u64,
}

/// What a revision is made of.
pub enum Source {
    /// A GGUF file as it is.
    File(Arc<Parent>),
    /// A merge.
    Recipe {
        /// Its models are those of `family`.
        recipe: Box<Recipe>,
        /// The parents, opened.
        family: Arc<Family>,
        /// What to compute.
        plan: Box<Plan>,
    },
}

impl Revision {
    /// `file` or `recipe`.
    pub fn kind(&self) -> &'static str {
        match self.source {
            Source::File(_) => "file",
            Source::Recipe { .. } => "recipe",
        }
    }

    /// The parent that the vocabulary follows, which speaks for the whole model.
    pub fn template(&self) -> &Parent {
        match &self.source {
            Source::File(parent) => parent,
            Source::Recipe { family, plan, .. } => &family.siblings.parents()[plan.vocabulary],
        }
    }

    /// The chat template that the recipe brings, if it does.
    pub fn own_template(&self) -> Option<&str> {
        match &self.source {
            Source::File(_) => None,
            Source::Recipe { plan, .. } => plan.chat_template.as_deref(),
        }
    }

    /// Number of blocks.
    pub fn block_count(&self) -> usize {
        match &self.source {
            Source::File(parent) => parent.block_count() as usize,
            Source::Recipe { plan, .. } => plan.block_count(),
        }
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        match &self.source {
            Source::File(parent) => parent.parameters(),
            Source::Recipe { plan, .. } => plan.tensors.iter().map(|t| t.info.elements()).sum(),
        }
    }

    /// Bytes of memory that its weights take of their own; mapped files take none.
    pub fn weight_bytes(&self) -> u64 {
        match &self.source {
            Source::File(_) => 0,
            Source::Recipe { plan, .. } => plan.written_bytes(),
        }
    }

    /// What the recipe asks for in vain, one sentence each.
    pub fn warnings(&self) -> &[String] {
        match &self.source {
            Source::File(_) => &[],
            Source::Recipe { recipe, .. } => &recipe.warnings,
        }
    }

    /// The recipe as YAML and as JSON, its models called as in `parents`. A file is the recipe that passes it through.
    ///
    /// # Errors
    /// [`RecipeError`], as [`Recipe::to_yaml`].
    pub fn written(&self, parents: &Parents) -> Result<(String, serde_json::Value), RecipeError> {
        let name = |path: &Path| parents.name_of(path).unwrap_or_default();
        match &self.source {
            Source::Recipe { recipe, .. } => Ok((recipe.to_yaml(name)?, recipe.to_json(name)?)),
            Source::File(parent) => {
                let json = serde_json::json!({
                    "merge_method": "passthrough", "models": [{ "model": name(parent.path()) }],
                });
                let yaml = format!("merge_method: passthrough\nmodels:\n- model: {}\n", name(parent.path()));
                Ok((yaml, json))
            }
        }
    }

    /// Whether tokens mean the same to both.
    pub fn speaks_like(&self, other: &Self) -> bool {
        self.vocabulary.same_tokenizer(&other.vocabulary)
    }

    /// Starts it in llama.cpp.
    ///
    /// # Errors
    /// [`ModelError`] with llama.cpp's reason.
    pub fn start(&self, settings: Settings, sequences: u32) -> Result<(Live, Swap), ModelError> {
        let size = ContextSize { sequences, tokens: self.context };
        let vocabulary = Arc::clone(&self.vocabulary);
        match &self.source {
            Source::File(parent) => {
                Live::of_file(parent.path(), vocabulary, settings, size).map(|live| (live, Swap::default()))
            }
            Source::Recipe { family, plan, .. } => {
                Live::of_plan(plan, family.siblings.parents(), vocabulary, settings, size)
            }
        }
    }
}

/// The first bytes of a SHA-256 as hexadecimal digits.
pub(super) fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
