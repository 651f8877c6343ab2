//! What one destination tensor is, as plain data: made by a planner, executed by [`crate::run()`].

use crate::MaskKey;

/// The recipe of one destination tensor over its sources, which programs name by position.
#[derive(Clone, Debug, PartialEq)]
pub enum Program {
    /// The destination is the source, byte for byte; no dequantizing, no error.
    Copy {
        /// Position of the source.
        source: usize,
    },
    /// `constant + sum_i coefficient_i * W_i`: every Gram method ends here.
    Sum {
        /// In the recipe's order, which is the order of f32 accumulation.
        terms: Vec<Term>,
        /// Added to every element; not zero only for norms that GGUF stores with an offset.
        constant: f32,
    },
    /// `base + lambda * mix_i(weight_i * rescale_i * sparsify_i(W_i - base))`: generalised task arithmetic
    /// (Ilharco et al. 2212.04089; TIES, Yadav et al. 2306.01708; DARE, Yu et al. 2311.03099).
    TaskVectors {
        /// Position of the base.
        base: usize,
        /// In the recipe's order, which is the order of f32 accumulation.
        vectors: Vec<TaskVector>,
        /// Whether only the vectors that agree with the sign of the weighted sum count (TIES).
        consensus: bool,
        /// Whether to divide by the weights that count.
        normalize: bool,
        /// Scales the merged task vector.
        lambda: f32,
    },
    /// Another program's result, multiplied: the gain of one hop on a vector.
    Scaled {
        /// What is multiplied.
        program: Box<Program>,
        /// By how much.
        factor: f32,
    },
}

/// One weighted source of a [`Program::Sum`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Position of the source.
    pub source: usize,
    /// What its elements are multiplied by.
    pub coefficient: f32,
}

/// One sparsified, weighted difference of a [`Program::TaskVectors`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskVector {
    /// Position of the source whose difference to the base this is.
    pub source: usize,
    /// The recipe's weight.
    pub weight: f32,
    /// Which elements stay.
    pub keep: Keep,
    /// What kept elements are multiplied by; see [`crate::stats::rescale`].
    pub rescale: f32,
}

/// Which elements of a task vector stay; the others become zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keep {
    /// All of them.
    All,
    /// None of them.
    Nothing,
    /// The largest in magnitude: those above `threshold`, and those equal to it that stand before element `ties_end`.
    /// Quantized parents have many equal differences; the bound keeps exactly the number asked for.
    Largest {
        /// The smallest magnitude kept.
        threshold: f32,
        /// Index in the tensor of the first tie that is dropped.
        ties_end: u64,
    },
    /// Each with the same probability, by the bits of [`MaskKey`].
    Random {
        /// Which mask.
        key: MaskKey,
        /// From [`crate::keep_threshold`].
        threshold: u64,
    },
}

impl Program {
    /// Positions of the sources that the program reads.
    pub fn sources(&self) -> Vec<usize> {
        match self {
            Self::Copy { source } => vec![*source],
            Self::Sum { terms, .. } => terms.iter().map(|t| t.source).collect(),
            Self::TaskVectors { base, vectors, .. } => {
                std::iter::once(*base).chain(vectors.iter().map(|v| v.source)).collect()
            }
            Self::Scaled { program, .. } => program.sources(),
        }
    }
}
