//! How fast this machine merges: a model, or tensors of every type, in; figures of one run out, memcpy of as many bytes beside them.
//! A recipe's parents may be made up for it.

mod copy;
mod kernels;
mod model;
mod speed;
mod synthetic;

pub use kernels::{Row, dare_ties, linear, measure_kernels, tensor, ties};
pub use model::{BenchError, Figures, OnDevice, measure};
pub use speed::{Asked, Speed};
pub use synthetic::{SHAPES, Shape, Synthetic};
