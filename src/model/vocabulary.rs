//! The tokenizer of a GGUF file, loaded once and shared by every virtual model made from it.

use std::path::Path;

use llama_cpp_2::GrammarError;
use llama_cpp_2::model::{LlamaChatMessage, LlamaChatTemplate, LlamaModel};
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;

use super::ModelError;
use super::load::{Purpose, load};

/// A vocabulary: text to tokens and back.
pub struct Vocabulary {
    model: LlamaModel,
    chat_template: Option<String>,
}

impl Vocabulary {
    /// Loads the tokenizer of the GGUF file at `path`, no weights. `chat_template` overrides the file's own.
    ///
    /// # Errors
    /// [`ModelError::Load`] with llama.cpp's reason.
    pub fn load(path: &Path, chat_template: Option<String>) -> Result<Self, ModelError> {
        let model = load(path, &path.display().to_string(), Purpose::Vocabulary)?;
        Ok(Self { model, chat_template })
    }

    /// Tokens of a prompt: special tokens in the text are recognised, and BOS is added where the model wants one.
    pub fn tokenize(&self, text: &str) -> Vec<LlamaToken> {
        self.model.vocab().tokenize(text.as_bytes(), true, true)
    }

    /// Appends the bytes of one token to `text`; control tokens have none.
    pub fn append_piece(&self, token: LlamaToken, text: &mut Vec<u8>) {
        self.model.vocab().token_to_piece_into(token, text, false, None);
    }

    /// Whether `token` ends a generation.
    pub fn is_end(&self, token: LlamaToken) -> bool {
        self.model.vocab().is_eog(token)
    }

    /// A sampler that lets only tokens through which follow the GBNF grammar `text` from its rule `root` on.
    pub(super) fn grammar(&self, text: &str) -> Result<LlamaSampler, GrammarError> {
        LlamaSampler::grammar(&self.model, text, "root")
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        usize::try_from(self.model.vocab().n_tokens()).unwrap_or(0)
    }

    /// Whether there are no tokens at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Renders `message` as one user turn that the assistant is to answer.
    ///
    /// # Errors
    /// [`ModelError::ChatTemplate`] if there is no template, or none that llama.cpp knows.
    pub fn render_chat(&self, message: &str) -> Result<String, ModelError> {
        let bad = |reason: String| ModelError::ChatTemplate { reason };
        let template = match &self.chat_template {
            Some(text) => LlamaChatTemplate::new(text).map_err(|e| bad(e.to_string()))?,
            None => self.model.chat_template(None).map_err(|e| bad(e.to_string()))?,
        };
        let message = LlamaChatMessage::new("user".into(), message.into()).map_err(|e| bad(e.to_string()))?;
        self.model.apply_chat_template(&template, &[message], true).map_err(|e| bad(e.to_string()))
    }
}
