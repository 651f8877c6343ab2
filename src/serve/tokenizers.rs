//! Tokenizers by their content, each loaded once: who has the same tokens has the same tokenizer, whichever file it came from.

use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::gguf::Parent;
use crate::image::ImageError;
use crate::model::{ModelError, Vocabulary};
use crate::open;
use crate::plan::{Plan, PlanError, vocabulary_header};

/// Tokenizers that stay loaded; with all of them used, the one least recently added goes.
const MAX_TOKENIZERS: usize = 64;

/// A digest of all that a tokenizer is loaded from.
pub type Content = [u8; 32];

/// What has been loaded.
#[derive(Default)]
pub struct Tokenizers(Mutex<Vec<(Content, Arc<Vocabulary>)>>);

impl Tokenizers {
    /// That of a file.
    ///
    /// # Errors
    /// [`ModelError::Load`] with llama.cpp's reason.
    pub fn of_file(&self, parent: &Parent) -> Result<Arc<Vocabulary>, ModelError> {
        let header = vocabulary_header(parent, parent.metadata());
        self.load(header, || Vocabulary::load(parent.path(), None)).map(|(_, vocabulary)| vocabulary)
    }

    /// That of a merged model, with the recipe's chat template, and its content without that.
    ///
    /// # Errors
    /// [`ModelError::Load`] with llama.cpp's reason.
    pub fn of_plan(&self, plan: &Plan, parents: &[Parent]) -> Result<(Content, Arc<Vocabulary>), ModelError> {
        let load = || Ok(open::vocabulary(plan, parents)?.with_chat_template(None));
        let (content, vocabulary) = self.load(plan.vocabulary_header(parents), load)?;
        let vocabulary = match &plan.chat_template {
            Some(template) => Arc::new(vocabulary.with_chat_template(Some(template.clone()))),
            None => vocabulary,
        };
        Ok((content, vocabulary))
    }

    fn load(
        &self,
        header: Result<Vec<u8>, PlanError>,
        load: impl FnOnce() -> Result<Vocabulary, ModelError>,
    ) -> Result<(Content, Arc<Vocabulary>), ModelError> {
        let content = Sha256::digest(header.map_err(ImageError::from)?).into();
        let mut loaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, vocabulary)) = loaded.iter().find(|(known, _)| *known == content) {
            return Ok((content, Arc::clone(vocabulary)));
        }
        let vocabulary = Arc::new(load()?);
        if loaded.len() == MAX_TOKENIZERS {
            loaded.remove(0);
        }
        loaded.push((content, Arc::clone(&vocabulary)));
        Ok((content, vocabulary))
    }
}
