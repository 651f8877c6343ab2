//! What one destination tensor is, as plain data: made by a planner, executed by [`crate::run()`].

use std::iter;
use std::sync::Arc;

use crate::{Cut, Keep, TILE};

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
    /// (Ilharco et al. 2212.04089; TIES, Yadav et al. 2306.01708; DARE, Yu et al. 2311.03099; DELLA, Deep et al. 2406.11617).
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
    /// A weighted sum whose coefficients differ by row or column.
    LineSum {
        /// In the recipe's order.
        terms: Vec<LineTerm>,
        /// What a line is.
        lines: Lines,
        /// Elements of a row.
        row: usize,
    },
    /// Of the selected elements, the average of the differences that have the sign of their sum, plus the base
    /// (SCE, Wan et al. 2408.07990).
    Elected {
        /// Position of the base.
        base: usize,
        /// The sources and the weight of each, in the recipe's order.
        vectors: Vec<Term>,
        /// Which elements are selected, by the variance of their differences.
        select: Cut,
    },
    /// The base plus the average of the differences above `epsilon`; those that stand alone are multiplied by their coefficient
    /// (RAM, 2601.13572).
    Overlap {
        /// Position of the base.
        base: usize,
        /// The sources and the factor on what they alone change, in the recipe's order.
        vectors: Vec<Term>,
        /// Differences up to this one count as none.
        epsilon: f32,
    },
    /// From the base towards the source by `t / |difference|` of the way: the nearer, the more of the source.
    Near {
        /// Position of the base.
        base: usize,
        /// Position of the source.
        source: usize,
        /// The difference up to which the source replaces the base.
        t: f32,
    },
    /// The source where its difference to the base, times the divergence of its row, reaches a threshold; elsewhere the base.
    Important {
        /// Position of the base.
        base: usize,
        /// Position of the source.
        source: usize,
        /// Elements of a row.
        row: usize,
        /// From [`crate::stats::divergences`], one for each row.
        divergences: Arc<[f32]>,
        /// The least importance that is taken.
        threshold: f32,
    },
    /// Slices of equal size, each with a program of its own that counts elements from the slice's start: stacked experts.
    Slices {
        /// Elements of a slice, which are whole rows.
        elements: usize,
        /// One for each slice.
        programs: Vec<Program>,
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
    /// What kept elements are multiplied by, to bring back the vector's L1 norm.
    pub rescale: f32,
}

/// One weighted source of a [`Program::LineSum`].
#[derive(Clone, Debug, PartialEq)]
pub struct LineTerm {
    /// Position of the source.
    pub source: usize,
    /// What the elements of each line are multiplied by.
    pub coefficients: Arc<[f32]>,
}

/// Which elements of a matrix make a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lines {
    /// Those of a row.
    Rows,
    /// Those at the same place in every row.
    Columns,
}

impl Program {
    /// Positions of the sources that the program reads.
    pub fn sources(&self) -> Vec<usize> {
        let with = |base: usize, others: &[Term]| iter::once(base).chain(others.iter().map(|t| t.source)).collect();
        match self {
            Self::Copy { source } => vec![*source],
            Self::Sum { terms, .. } => terms.iter().map(|t| t.source).collect(),
            Self::LineSum { terms, .. } => terms.iter().map(|t| t.source).collect(),
            Self::TaskVectors { base, vectors, .. } => {
                iter::once(*base).chain(vectors.iter().map(|v| v.source)).collect()
            }
            Self::Elected { base, vectors, .. } | Self::Overlap { base, vectors, .. } => with(*base, vectors),
            Self::Near { base, source, .. } | Self::Important { base, source, .. } => vec![*base, *source],
            Self::Slices { programs, .. } => programs.first().map(Self::sources).unwrap_or_default(),
            Self::Scaled { program, .. } => program.sources(),
        }
    }

    /// Every number that elements are computed with.
    pub fn factors(&self) -> Vec<f32> {
        let of = |terms: &[Term]| -> Vec<f32> { terms.iter().map(|t| t.coefficient).collect() };
        match self {
            Self::Copy { .. } => vec![],
            Self::Sum { terms, constant } => [of(terms), vec![*constant]].concat(),
            Self::LineSum { terms, .. } => terms.iter().flat_map(|t| t.coefficients.iter().copied()).collect(),
            Self::TaskVectors { vectors, lambda, .. } => {
                vectors.iter().flat_map(|v| [v.weight, v.rescale]).chain([*lambda]).collect()
            }
            Self::Elected { vectors, .. } => of(vectors),
            Self::Overlap { vectors, epsilon, .. } => [of(vectors), vec![*epsilon]].concat(),
            Self::Near { t, .. } => vec![*t],
            Self::Important { divergences, threshold, .. } => [&divergences[..], &[*threshold]].concat(),
            Self::Slices { programs, .. } => programs.iter().flat_map(Self::factors).collect(),
            Self::Scaled { program, factor } => [program.factors(), vec![*factor]].concat(),
        }
    }

    /// The source and the factor of a program that only multiplies.
    pub(crate) fn multiple(&self) -> Option<(usize, f32)> {
        match self {
            Self::Sum { terms, constant: 0.0 } => match terms[..] {
                [Term { source, coefficient }] => Some((source, coefficient)),
                _ => None,
            },
            Self::Scaled { program, factor } => match **program {
                Self::Copy { source } => Some((source, *factor)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Elements that are best computed together: work on any fewer would be done again for the others.
    pub fn unit(&self) -> usize {
        match self {
            Self::TaskVectors { vectors, .. } => {
                vectors.iter().filter_map(|v| v.keep.row()).max().map_or(1, |row| (TILE / row).max(1) * row)
            }
            Self::Slices { programs, .. } => programs.iter().map(Self::unit).max().unwrap_or(1),
            Self::Scaled { program, .. } => program.unit(),
            _ => 1,
        }
    }
}
