//! What can go wrong between ggraft and llama.cpp.

use std::path::PathBuf;

use thiserror::Error;

use crate::image::ImageError;

/// Errors of this stage.
#[derive(Debug, Error)]
pub enum ModelError {
    /// llama.cpp refused a model; what it logged is the reason.
    #[error("llama.cpp cannot load `{name}`: {reason}")]
    Load {
        /// The file, or what the virtual model was made from.
        name: String,
        /// Its own words.
        reason: String,
    },
    /// A path that cannot be handed to C.
    #[error("the path `{}` is not UTF-8 or has a NUL in it; rename the file", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// No context of the wanted size.
    #[error(
        "llama.cpp cannot make a context for {sequences} sequences of {tokens} tokens: {reason}; try a smaller `-np` or `-c`"
    )]
    Context {
        /// Sequences side by side.
        sequences: u32,
        /// Tokens of each.
        tokens: u32,
        /// Its own words.
        reason: String,
    },
    /// An accelerator failed while tensors were merged on it.
    #[error("the device could not merge: {reason}; try again with `--gpu-layers 0`, or fewer layers")]
    Device {
        /// Its own words.
        reason: String,
    },
    /// A hop's gain that has no effect in llama.cpp.
    #[error(
        "llama.cpp does not read `{tensor}` in this architecture, so the hop's scale would be lost; leave out `scale`"
    )]
    Unread {
        /// Its name.
        tensor: String,
    },
    /// A decode failed.
    #[error("llama.cpp could not decode a batch of {tokens} tokens: {reason}")]
    Decode {
        /// Size of the batch.
        tokens: usize,
        /// Its own words.
        reason: String,
    },
    /// Nothing to continue.
    #[error("the prompt is empty, and this model adds no token of its own; give some text")]
    EmptyPrompt,
    /// A prompt does not fit.
    #[error(
        "a prompt of {prompt} tokens and {wanted} more does not fit the context of {limit}; raise `-c` or shorten it"
    )]
    TooLong {
        /// Prompt tokens.
        prompt: usize,
        /// Tokens asked for.
        wanted: usize,
        /// Tokens of one sequence.
        limit: u32,
    },
    /// The model has no chat template, or it does not render.
    #[error("chat template: {reason}")]
    ChatTemplate {
        /// Why.
        reason: String,
    },
    /// A grammar or JSON schema that cannot steer an answer.
    #[error("the answer cannot follow this grammar: {reason}")]
    Grammar {
        /// Why.
        reason: String,
    },
    /// Weights from which no number comes.
    #[error(
        "the model computes NaN or infinity: its weights are damaged, or its recipe takes them too far, and smaller ones would help"
    )]
    NotANumber,
    /// The memory behind a virtual model.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl ModelError {
    /// Whether the fault lies in what the user gave, not in the work.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::EmptyPrompt | Self::ChatTemplate { .. })
    }
}
