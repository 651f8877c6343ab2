//! What makes the bytes of a tensor: equal contents have equal bytes, whatever the tensors are called and wherever they live.

use ggraft_kernels::{GgmlType, Program};

use super::{PlannedTensor, SourceRef};

/// A program, what it reads and what it writes.
#[derive(Clone, Debug)]
pub struct Content {
    ty: GgmlType,
    program: Program,
    sources: Vec<SourceRef>,
}

impl Content {
    /// That of `tensor`.
    pub fn of(tensor: &PlannedTensor) -> Self {
        Self { ty: tensor.info.ty, program: tensor.program.clone(), sources: tensor.sources.clone() }
    }

    /// Whether it is that of `tensor`.
    pub fn is_of(&self, tensor: &PlannedTensor) -> bool {
        self.ty == tensor.info.ty && self.sources == tensor.sources && self.program == tensor.program
    }

    /// What is read.
    pub fn sources(&self) -> &[SourceRef] {
        &self.sources
    }
}
