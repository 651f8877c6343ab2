//! ggraft evolves, runs and measures merges of quantized GGUF models without ever writing one.
//!
//! Data flows one way, one module per stage, and each stage knows only the stages before it:
//!
//! [`gguf`] → [`recipe`] → [`plan`] → kernels → [`image`] → [`model`] → [`generate`] → [`tasks`], [`score`] → [`evolve`]; [`cli`] is a thin end.
//! [`ggml`] holds ggml's block codecs, which the plan measures with and the image merges with.

pub mod bench;
pub mod cli;
pub mod disk;
pub mod duration;
pub mod evolve;
pub mod generate;
pub mod ggml;
pub mod gguf;
pub mod image;
pub mod model;
pub mod open;
pub mod plan;
pub mod recipe;
pub mod score;
pub mod serve;
pub mod tasks;
pub mod yaml;
