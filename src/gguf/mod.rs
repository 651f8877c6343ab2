//! Parents: paths go in, [`Parent`]s come out, their headers proven and their tensors readable in place on a map.
//!
//! A header is untrusted until [`Header::parse`] has proven it: every count, length, offset and type is checked once,
//! and after that slicing a tensor cannot fail. [`differences`] says what keeps several parents from being merged, and
//! [`encode_header`] writes the header of a file that does not exist yet. Nothing here computes on weights; of LoRA adapters,
//! which a parent may have on it, the factors are decoded.
//!
//! The format is llama.cpp's (`ggml/src/gguf.cpp`, `src/llama-model-loader.cpp`), versions 2 and 3, little-endian.

mod adapter;
mod compatible;
mod error;
mod header;
mod hyperparameters;
mod metadata;
mod parent;
mod reader;
mod split;
mod value;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use compatible::{Blocks, Difference, differences};
pub use error::{Fault, GgufError};
pub use header::{Header, MAX_DIMS, MAX_TENSOR_NAME, TensorInfo, block_of};
pub use metadata::Metadata;
pub use parent::{MAX_BLOCKS, Parent, TensorView};
pub use value::{Array, Strings, Value};
pub use write::{Encoded, encode_header};
