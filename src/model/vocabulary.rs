//! The tokenizer of a GGUF file, loaded once and shared by every virtual model made from it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llguidance::ParserFactory;
use serde_json::{Map, Value as Json};

use super::chat::{ChatTemplate, Message};
use super::load::{Purpose, load};
use super::{ModelError, grammar};

/// A vocabulary: text to tokens and back, and chats to text. A clone shares the tokenizer.
#[derive(Clone)]
pub struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    /// Instead of the file's own.
    chat_template: Option<Arc<ChatTemplate>>,
}

/// What is read from the file.
struct Tokenizer {
    model: LlamaModel,
    chat_template: Option<ChatTemplate>,
    trained_context: Option<u32>,
    /// What grammars are compiled with, once there is one.
    grammars: OnceLock<Result<ParserFactory, String>>,
}

impl Vocabulary {
    /// Loads the tokenizer of the GGUF file at `path`, no weights. `chat_template` overrides the file's own.
    ///
    /// # Errors
    /// [`ModelError::Load`] with llama.cpp's reason.
    pub fn load(path: &Path, chat_template: Option<String>) -> Result<Self, ModelError> {
        let model = load(path, &path.display().to_string(), Purpose::Vocabulary)?;
        let own_template = model.chat_template(None).ok().and_then(|template| template.to_string().ok());
        // Without weights, llama.cpp reads no hyperparameters, but it keeps the metadata.
        let trained_context = model
            .meta_val_str("general.architecture")
            .and_then(|architecture| model.meta_val_str(&format!("{architecture}.context_length")))
            .ok()
            .and_then(|length| length.parse().ok());
        let chat_template_of_file = own_template.map(ChatTemplate::new);
        let tokenizer =
            Tokenizer { model, chat_template: chat_template_of_file, trained_context, grammars: OnceLock::new() };
        Ok(Self { tokenizer: Arc::new(tokenizer), chat_template: None }.with_chat_template(chat_template))
    }

    /// The same tokenizer with another chat template; with the file's own if `None`.
    #[must_use]
    pub fn with_chat_template(&self, chat_template: Option<String>) -> Self {
        let chat_template = chat_template.map(|source| Arc::new(ChatTemplate::new(source)));
        Self { tokenizer: Arc::clone(&self.tokenizer), chat_template }
    }

    /// Whether both came from one load.
    pub fn same_tokenizer(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tokenizer, &other.tokenizer)
    }

    /// Tokens of a prompt: special tokens in the text are recognised, and BOS is added where the model wants one.
    pub fn tokenize(&self, text: &str) -> Vec<LlamaToken> {
        self.tokenize_with(text, true, true)
    }

    /// Tokens of a text. `add_special` adds BOS and EOS where the model wants them, `parse_special` recognises special tokens in the text.
    pub fn tokenize_with(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<LlamaToken> {
        self.tokenizer.model.vocab().tokenize(text.as_bytes(), add_special, parse_special)
    }

    /// Appends the bytes of one token to `text`; control tokens have none.
    pub fn append_piece(&self, token: LlamaToken, text: &mut Vec<u8>) {
        self.tokenizer.model.vocab().token_to_piece_into(token, text, false, None);
    }

    /// The text of every token, as far as it is text by itself.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        (0..).map(LlamaToken).take(self.len()).map(|t| String::from_utf8_lossy(&self.piece(t, false)).into_owned())
    }

    /// The bytes of one token; those of control tokens only with `special`, and none of a number that is no token's.
    pub fn piece(&self, token: LlamaToken, special: bool) -> Vec<u8> {
        if self.known(token).is_none() {
            return Vec::new();
        }
        self.tokenizer.model.vocab().token_to_piece(token, special, None)
    }

    /// Whether `token` ends a generation.
    pub fn is_end(&self, token: LlamaToken) -> bool {
        self.tokenizer.model.vocab().is_eog(token)
    }

    /// Begins a sequence.
    pub fn bos(&self) -> Option<LlamaToken> {
        self.known(self.tokenizer.model.vocab().bos())
    }

    /// Ends a sequence.
    pub fn eos(&self) -> Option<LlamaToken> {
        self.known(self.tokenizer.model.vocab().eos())
    }

    /// Fills up a sequence.
    pub fn pad(&self) -> Option<LlamaToken> {
        self.known(self.tokenizer.model.vocab().pad())
    }

    /// Whether [`Self::tokenize`] puts BOS before a text.
    pub fn adds_bos(&self) -> bool {
        self.tokenizer.model.vocab().should_add_bos()
    }

    /// llama.cpp's number for a token that the model does not have is negative.
    fn known(&self, token: LlamaToken) -> Option<LlamaToken> {
        usize::try_from(token.0).is_ok_and(|number| number < self.len()).then_some(token)
    }

    /// What grammars for this vocabulary are compiled with.
    pub(super) fn grammars(&self) -> Result<&ParserFactory, ModelError> {
        let build = || {
            let tokens = (0..).map(LlamaToken).take(self.len());
            let ends: Vec<u32> =
                tokens.clone().filter(|token| self.is_end(*token)).map(|t| t.0.cast_unsigned()).collect();
            // Control tokens have no text, and what ends an answer is no part of it, whatever its text.
            let text = |token| if self.is_end(token) { Vec::new() } else { self.piece(token, false) };
            let mut pieces: Vec<Vec<u8>> = tokens.map(text).collect();
            pieces.iter_mut().filter(|piece| piece.len() > grammar::MAX_TOKEN_BYTES).for_each(Vec::clear);
            grammar::factory(&pieces, &ends)
        };
        let built = self.tokenizer.grammars.get_or_init(build).as_ref();
        built.map_err(|reason| ModelError::Grammar { reason: format!("not over this vocabulary: {reason}") })
    }

    /// llama.cpp's own sampler for a GBNF grammar, which must be a good one.
    #[cfg(test)]
    pub(super) fn llama_cpp_grammar(&self, text: &str) -> llama_cpp_2::sampling::LlamaSampler {
        llama_cpp_2::sampling::LlamaSampler::grammar(&self.tokenizer.model, text, "root").unwrap()
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        usize::try_from(self.tokenizer.model.vocab().n_tokens()).unwrap_or(0)
    }

    /// Whether there are no tokens at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of the longest sequence that the model of the file was trained on, if the file says so.
    pub fn trained_context(&self) -> Option<u32> {
        self.tokenizer.trained_context
    }

    /// The Jinja text that chats are rendered with.
    pub fn chat_template(&self) -> Option<&str> {
        self.template().map(ChatTemplate::source)
    }

    /// Whether chats can be rendered.
    pub fn has_chat_template(&self) -> bool {
        self.template().is_some()
    }

    /// Looks whether the chat template, if there is one, is Jinja at all.
    ///
    /// # Errors
    /// [`ModelError::ChatTemplate`] with line and reason.
    pub fn check_chat_template(&self) -> Result<(), ModelError> {
        let check = self.template().map_or(Ok(()), ChatTemplate::check);
        check.map_err(|reason| ModelError::ChatTemplate { reason })
    }

    fn template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_deref().or(self.tokenizer.chat_template.as_ref())
    }

    /// Renders `messages` as the prompt of the assistant's answer; if the last one is the assistant's, as the prompt that continues it.
    /// `variables` are more that the template may read, such as `tools` or `enable_thinking`.
    ///
    /// # Errors
    /// [`ModelError::ChatTemplate`] if there is no template, it is not Jinja, it refuses the messages, or it exceeds a limit.
    pub fn render_chat(&self, messages: &[Message], variables: &Map<String, Json>) -> Result<String, ModelError> {
        let bad = |reason| ModelError::ChatTemplate { reason };
        let none = || bad("the model has none; set `chat_template` in a recipe".to_owned());
        let template = self.template().ok_or_else(none)?;
        let text = |token| self.known(token).map(|t| String::from_utf8_lossy(&self.piece(t, true)).into_owned());
        let vocab = self.tokenizer.model.vocab();
        let tokens = [("bos_token", vocab.bos()), ("eos_token", vocab.eos()), ("pad_token", vocab.pad())];
        let mut variables = variables.clone();
        variables.extend(tokens.into_iter().filter_map(|(name, token)| Some((name.to_owned(), text(token)?.into()))));
        let mut prompt = template.render(messages, variables).map_err(bad)?;
        // Templates write BOS themselves, and tokenizing adds it once more where the vocabulary says so.
        if let Some(bos) = self.bos().and_then(text).filter(|bos| self.adds_bos() && prompt.starts_with(bos)) {
            prompt.drain(..bos.len());
        }
        Ok(prompt)
    }
}
