//! Merge kernels: a [`Program`] and source bytes in, destination bytes out. Nothing here knows a tensor's name or file.
//!
//! - [`GgmlType`] is ggml's type table; [`Codecs`] turns blocks into f32 and back, with ggml's own functions handed in
//!   for the types that have no code here.
//! - A [`Source`] is what programs read: a tensor, perhaps with a difference of low rank, or rows gathered from several.
//! - A [`Program`] says what one destination tensor is: a byte copy, a weighted sum, a sum of sparsified task vectors, and so on.
//! - [`run()`] executes a program over any range of blocks; equal ranges give equal bytes on any number of threads.
//! - [`cuda`] describes the same for a GPU's kernels, which give the same bytes.
//! - [`stats`] has the passes whose results go *into* programs: inner products and order statistics of the sources.
#![deny(unsafe_op_in_unsafe_fn)]

mod codec;
mod combine;
pub mod cuda;
mod decode;
mod encode;
mod fold;
mod half;
mod keep;
mod mask;
mod mix;
mod philox;
mod plain;
mod prefetch;
mod program;
mod run;
mod simd;
mod source;
pub mod stats;
mod types;

pub use codec::Codecs;
pub use keep::{Cut, Keep, Ranks};
pub use philox::{MaskKey, keep_threshold};
pub use program::{LineTerm, Lines, Program, TaskVector, Term};
pub use run::{TILE, run};
pub use simd::Isa;
pub use source::{LowRank, RowMap, Source, Tensor};
pub use types::{GgmlType, QK_K};

#[cfg(test)]
mod tests;
