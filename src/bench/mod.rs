//! How fast this machine merges: a model, or tensors of every type, in; figures of one run out, memcpy of as many bytes beside them.

mod copy;
mod kernels;
mod model;

pub use kernels::{Row, dare_ties, linear, measure_kernels, tensor, ties};
pub use model::{BenchError, Figures, measure};
