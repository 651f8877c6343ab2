//! An image or a GGUF file in, a llama.cpp model with one context out. Swaps recipes; knows nothing of what they mean.
//!
//! All `unsafe` towards llama.cpp is here and in [`crate::ggml`].

mod chat;
mod device;
mod error;
mod grammar;
mod live;
mod load;
mod log;
mod offloaded;
mod sampler;
mod vocabulary;
mod weights;

use std::ffi::CStr;

pub use chat::Message;
pub use device::{Device, DeviceCopy, devices};
pub use error::ModelError;
pub use grammar::{Grammar, MAX_GRAMMAR_BYTES};
pub use live::{Live, Swap};
pub use llama_cpp_2::llama_batch::LlamaBatch;
pub use llama_cpp_2::token::LlamaToken;
pub use sampler::{Sampler, Sampling, most_likely};
pub use vocabulary::Vocabulary;

/// How llama.cpp computes; llama.cpp's own flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `--threads`.
    pub threads: u32,
    /// `--batch-size`: most tokens handed over at once.
    pub batch: u32,
    /// `--ubatch-size`: most tokens computed at once.
    pub ubatch: u32,
    /// `--gpu-layers`.
    pub gpu_layers: i32,
    /// `--gpu-parents`.
    pub gpu_parents: ParentsOn,
}

/// Where accelerators that merge themselves have the parents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParentsOn {
    /// On the device while there is room for them, else on the host.
    #[default]
    Auto,
    /// On the device, sent once.
    Device,
    /// On the host, sent for each merge.
    Host,
}

impl Settings {
    /// Whether any layer is kept on an accelerator: asked for, and llama.cpp was built for one.
    pub fn offloads(&self) -> bool {
        self.gpu_layers != 0 && offload_supported()
    }
}

/// What a context has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextSize {
    /// Sequences side by side.
    pub sequences: u32,
    /// Tokens of each.
    pub tokens: u32,
}

/// Whether llama.cpp was built for an accelerator, and finds one.
pub fn offload_supported() -> bool {
    load::backend().supports_gpu_offload()
}

/// Why it finds none.
pub fn no_offload() -> String {
    if !cfg!(any(feature = "cuda", feature = "vulkan", feature = "metal")) {
        return "this ggraft was built for the CPU alone".to_owned();
    }
    let trouble = load::library_trouble().map(|trouble| format!(": {trouble}"));
    format!("llama.cpp finds no GPU here{}", trouble.unwrap_or_default())
}

/// llama.cpp's version, as it says itself.
pub fn llama_version() -> String {
    // SAFETY: a static C string that llama.cpp was built with.
    unsafe { CStr::from_ptr(llama_cpp_sys_2::llama_version()) }.to_string_lossy().into_owned()
}

/// Routes llama.cpp's logs: kept to explain failures, and with `verbose` shown on stderr.
pub fn log_to_stderr(verbose: bool) {
    log::install(verbose);
}
