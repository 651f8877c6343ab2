//! The parameter of all kernels: a [`Program`] and where its sources are in, a [`Job`] out.

use std::ops::Range;

use super::{ALIGNMENT, Data, SOURCES};
use crate::mask::below;
use crate::mix::Mix;
use crate::{Cut, GgmlType, Keep, Lines, LowRank, Program, Source, TaskVector, Tensor, Term, decode};

/// Differences of low rank on top of the sources of a launch at most, all together.
const LOW_RANKS: usize = 32;
/// Elements that a thread takes from one row of a factor.
const EIGHT: usize = 8;

// Bits of `Job::flags`.
const COPY: u32 = 1;
const SCALED: u32 = 2;
const CONSENSUS: u32 = 4;
const NORMALIZE: u32 = 8;
const DRAWN: u32 = 16;
const LISTED: u32 = 32;
const COLUMNS: u32 = 64;

// Values of `Job::program`.
const SUM: u32 = 0;
const TASK_VECTORS: u32 = 1;
const LINE_SUM: u32 = 2;
const ELECTED: u32 = 3;
const OVERLAP: u32 = 4;
const NEAR: u32 = 5;
const IMPORTANT: u32 = 6;

/// A source whose bytes have their places.
pub(super) struct Input<'a> {
    tensor: Tensor<'a>,
    address: u64,
    /// What is on top of it, and where both factors of that are.
    low_rank: Vec<(&'a LowRank, [u64; 2])>,
}

/// `Job` in `cuda/job.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Job {
    pub(super) elements: u64,
    pub(super) destination: u64,
    count: u32,
    flags: u32,
    pub(super) columns: u32,
    program: u32,
    constant: f32,
    factor: f32,
    lambda: f32,
    share: f32,
    threshold: f32,
    row: u32,
    weights: [f32; 3],
    shares: [f32; 3],
    sources: [JobSource; SOURCES],
    low_rank: [JobLowRank; LOW_RANKS],
}

/// One source of a [`Job`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct JobSource {
    address: u64,
    bytes: u64,
    lines: u64,
    ties_end: [u64; 2],
    from: [i32; 2],
    to: [i32; 2],
    ty: u32,
    pub tile_bytes: u32,
    pub at: u32,
    pub mask: u32,
    coefficient: f32,
    weight: f32,
    seed: [u32; 2],
    stream: [u32; 2],
    threshold: u32,
    low_rank: [u16; 2],
}

/// What is on top of one source.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct JobLowRank {
    a: u64,
    b: u64,
    rank: u32,
    width: u32,
    rows: u32,
    first: u32,
}

const _: () = assert!(size_of::<JobSource>() == 104 && size_of::<JobLowRank>() == 32);
const _: () = assert!(size_of::<Job>() == 80 + SOURCES * 104 + LOW_RANKS * 32 && size_of::<Job>() < 4096);

/// What kind of kernel a job needs.
pub(super) enum Kind {
    /// A sum of sources with nothing on top.
    Sum,
    /// The same of two sources, without a constant.
    Two([GgmlType; 2]),
    /// Task vectors of sources with nothing on top.
    TaskVectors,
    /// Anything else.
    Any,
}

impl<'a> Input<'a> {
    /// None for rows that stand in other places.
    pub fn of(source: &Source<'a>, at: &mut dyn FnMut(Data<'a>) -> u64) -> Option<Self> {
        let Source::Tensor(tensor) = source else { return None };
        let address = at(Data::Parent(tensor.data));
        let mut low_rank = Vec::with_capacity(tensor.low_rank.len());
        for on_top in tensor.low_rank {
            let (_, _, a, b) = on_top.factors();
            low_rank.push((on_top, [aligned(at(Data::Parent(bytes(a))))?, aligned(at(Data::Parent(bytes(b))))?]));
        }
        Some(Self { tensor: *tensor, address, low_rank })
    }
}

/// An address that kernels can read from, and write to, in whole vectors.
pub(super) fn aligned(address: u64) -> Option<u64> {
    address.is_multiple_of(ALIGNMENT).then_some(address)
}

fn bytes(numbers: &[f32]) -> &[u8] {
    // SAFETY: any number is four bytes.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

impl Job {
    /// Elements `range` of whole inputs, which the program counts from the range's start, times `factor`. Where they go is left open.
    pub(super) fn of<'a>(
        program: &'a Program,
        factor: Option<f32>,
        inputs: &[Input],
        range: Range<usize>,
        at: &mut dyn FnMut(Data<'a>) -> u64,
    ) -> Option<Self> {
        let mut job = Self { elements: range.len() as u64, factor: 1.0, ..Self::default() };
        if let Some(factor) = factor {
            (job.factor, job.flags) = (factor, SCALED);
        }
        let mut builder = Builder { job, inputs, range, low_ranks: 0 };
        match program {
            Program::Copy { source } => {
                builder.job.flags |= COPY;
                builder.sum(&[Term { source: *source, coefficient: 1.0 }])?;
            }
            Program::Sum { terms, constant } => {
                builder.job.constant = *constant;
                builder.sum(terms)?;
            }
            Program::TaskVectors { base, vectors, consensus, normalize, lambda } => {
                let how = Mix { consensus: *consensus, normalize: *normalize, lambda: *lambda };
                builder.task_vectors(*base, vectors, how)?;
            }
            Program::LineSum { terms, lines, row } => {
                builder.job.program = LINE_SUM;
                builder.job.flags |= if *lines == Lines::Columns { COLUMNS } else { 0 };
                for term in terms {
                    let lines = builder.lines(&term.coefficients, *lines, *row, at)?;
                    builder.push(term.source)?.lines = lines;
                }
            }
            Program::Elected { base, vectors, select } => {
                builder.job.program = ELECTED;
                builder.push(*base)?.keep_from(*select);
                builder.sum(vectors)?;
            }
            Program::Overlap { base, vectors, epsilon } => {
                (builder.job.program, builder.job.threshold) = (OVERLAP, *epsilon);
                builder.push(*base)?;
                builder.sum(vectors)?;
            }
            Program::Near { base, source, t } => {
                (builder.job.program, builder.job.threshold) = (NEAR, *t);
                builder.push(*base)?;
                builder.push(*source)?;
            }
            Program::Important { base, source, row, divergences, threshold } => {
                (builder.job.program, builder.job.threshold) = (IMPORTANT, *threshold);
                let lines = builder.lines(divergences, Lines::Rows, *row, at)?;
                builder.push(*base)?;
                builder.push(*source)?.lines = lines;
            }
            Program::Slices { .. } | Program::Scaled { .. } => return None,
        }
        Some(builder.job)
    }

    pub(super) fn kind(&self) -> Kind {
        let plain = self.sources().iter().all(|source| source.low_rank[0] == source.low_rank[1]);
        match (self.program, self.sources()) {
            (SUM, [a, b]) if plain && self.flags == 0 && self.constant == 0.0 => Kind::Two([a.ty(), b.ty()]),
            (SUM, _) if plain => Kind::Sum,
            (TASK_VECTORS, _) if plain => Kind::TaskVectors,
            _ => Kind::Any,
        }
    }

    pub(super) fn sources(&self) -> &[JobSource] {
        &self.sources[..self.count as usize]
    }

    pub(super) fn sources_mut(&mut self) -> &mut [JobSource] {
        &mut self.sources[..self.count as usize]
    }
}

/// A job to which sources are added.
struct Builder<'j, 'a> {
    job: Job,
    inputs: &'j [Input<'a>],
    range: Range<usize>,
    low_ranks: usize,
}

impl Builder<'_, '_> {
    fn sum(&mut self, terms: &[Term]) -> Option<()> {
        for term in terms {
            self.push(term.source)?.coefficient = term.coefficient;
        }
        Some(())
    }

    /// Where the numbers of lines are, one for each.
    fn lines<'a>(
        &mut self,
        numbers: &'a [f32],
        lines: Lines,
        row: usize,
        at: &mut dyn FnMut(Data<'a>) -> u64,
    ) -> Option<u64> {
        self.job.row = u32::try_from(row).ok().filter(|row| *row > 0)?;
        let needed = if lines == Lines::Columns { row } else { self.range.len().div_ceil(row) };
        if numbers.len() < needed {
            return None;
        }
        aligned(at(Data::Recipe(bytes(numbers))))
    }

    fn task_vectors(&mut self, base: usize, vectors: &[TaskVector], how: Mix) -> Option<()> {
        self.push(base)?;
        for v in vectors {
            self.task_vector(v)?;
        }
        let job = &mut self.job;
        job.program = TASK_VECTORS;
        if let [a, b] = vectors[..] {
            job.weights = [a.weight, b.weight, a.weight + b.weight];
            job.shares = job.weights.map(|weights| how.share(weights));
            job.flags |= LISTED;
        }
        let drawn = vectors.len() == 2 && vectors.iter().all(|v| matches!(v.keep, Keep::Random { .. }));
        for (flag, set) in [(CONSENSUS, how.consensus), (NORMALIZE, how.normalize), (DRAWN, drawn)] {
            job.flags |= if set { flag } else { 0 };
        }
        (job.lambda, job.share) = (how.lambda, how.share(vectors.iter().map(|v| v.weight).sum()));
        Some(())
    }

    fn task_vector(&mut self, v: &TaskVector) -> Option<()> {
        let source = self.push(v.source)?;
        (source.coefficient, source.weight) = (v.rescale * v.weight, v.weight);
        match v.keep {
            Keep::All => {}
            Keep::Nothing => source.from = [i32::MAX; 2],
            Keep::Largest(outer) => source.keep_from(outer),
            Keep::Band { inner, outer } => {
                source.keep_from(outer);
                (source.to, source.ties_end[1]) = ([below(inner, 0), below(inner, u64::MAX)], inner.ties_end);
            }
            Keep::Random { key, threshold } => {
                (source.seed, source.stream, source.threshold) = (key.seed, key.stream, threshold);
                // That there is a mask; where it is comes later.
                source.mask = 1;
            }
            Keep::Ranked { .. } => return None,
        }
        Some(())
    }

    /// One more source, of which everything stays.
    fn push(&mut self, number: usize) -> Option<&mut JobSource> {
        let Input { tensor, address, low_rank } = self.inputs.get(number)?;
        let [start, end] = [self.range.start, self.range.end].map(|element| tensor.ty.row_size(element));
        let (start, end) = (start?, end?);
        if !decode::knows(tensor.ty) || end > tensor.data.len() {
            return None;
        }
        let first_on_top = self.low_ranks;
        for (low_rank, factors) in low_rank {
            let first = tensor.first + self.range.start;
            *self.job.low_rank.get_mut(self.low_ranks)? = JobLowRank::of(low_rank, *factors, first, self.range.len())?;
            self.low_ranks += 1;
        }
        let source = self.job.sources.get_mut(self.job.count as usize)?;
        self.job.count += 1;
        *source = JobSource {
            address: aligned(address + start as u64)?,
            bytes: (end - start) as u64,
            ty: tensor.ty as u32,
            from: [-1; 2],
            to: [i32::MAX; 2],
            low_rank: [first_on_top as u16, self.low_ranks as u16],
            ..JobSource::default()
        };
        Some(source)
    }
}

impl JobLowRank {
    /// For `len` elements from `first` on. None where rows are no multiples of what a thread takes, or do not begin at `first`.
    fn of(low_rank: &LowRank, [a, b]: [u64; 2], first: usize, len: usize) -> Option<Self> {
        let (width, rows, ..) = low_rank.factors();
        if !width.is_multiple_of(EIGHT) || !first.is_multiple_of(width) || first + len > low_rank.elements() {
            return None;
        }
        // Elements are counted in 32 bits.
        u32::try_from(len).ok()?;
        let [rank, width, rows, first] = [low_rank.rank(), width, rows, first / width].map(u32::try_from);
        Some(Self { a, b, rank: rank.ok()?, width: width.ok()?, rows: rows.ok()?, first: first.ok()? })
    }
}

impl JobSource {
    /// Only magnitudes before the cut stay.
    fn keep_from(&mut self, outer: Cut) {
        (self.from, self.ties_end[0]) = ([below(outer, 0), below(outer, u64::MAX)], outer.ties_end);
    }

    pub fn ty(&self) -> GgmlType {
        GgmlType::from_id(self.ty).expect("set from a type")
    }
}
