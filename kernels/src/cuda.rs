//! Programs as launches of the kernels in `cuda/`: a [`Program`] and addresses in a GPU's memory in, a [`Launch`] out.
//!
//! Nothing here needs a GPU or its driver. Who has them loads the kernels by their names in [`KERNELS`] and launches them with a [`Job`] as
//! the one parameter, by value. The bytes are those of [`crate::run()`].

use std::ffi::CStr;

use crate::mask::below;
use crate::mix::Mix;
use crate::{GgmlType, Keep, Program, TaskVector, Term, decode, fold};

/// Sources of a launch at most, the base of task vectors included.
pub const SOURCES: usize = 16;
/// Bytes of shared memory that a block may ask for: what every GPU of compute capability 7.5 and up has. More than 48 KiB must be allowed
/// of a kernel first (`CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`).
pub const SHARED_BYTES: usize = 64 << 10;

/// Bytes that may be asked for without leave.
const SHARED_FREELY: usize = 48 << 10;
/// Elements of a thread.
const CHUNK: usize = 32;
/// Bytes of a thread's merged elements: one float more than they are, so that no two threads are in one bank.
const COLUMN: usize = (CHUNK + 1) * size_of::<f32>();
/// Bytes of what a thread finds out for the other threads of its super-block.
const FIT: usize = 4 * size_of::<f32>();
/// Threads of a block, from the most to the fewest. No fewer: the tiles of all types are to be multiples of [`ALIGNMENT`].
const THREADS: [usize; 2] = [128, 64];
/// What addresses are multiples of.
const ALIGNMENT: u64 = 16;

// Bits of `Job::flags`.
const COPY: u32 = 1;
const SCALED: u32 = 2;
const CONSENSUS: u32 = 4;
const NORMALIZE: u32 = 8;
const DRAWN: u32 = 16;
const LISTED: u32 = 32;

macro_rules! kernels {
    (
        one { $($variant:ident $sum:literal $task_vectors:literal;)* }
        two { $($a:ident $b:ident $to:ident $name:literal;)* }
    ) => {
        /// The names of all kernels.
        pub const KERNELS: &[&CStr] = &[$($sum, $task_vectors,)* $($name,)*];

        fn sum(to: GgmlType) -> Option<&'static CStr> {
            match to {
                $(GgmlType::$variant => Some($sum),)*
                _ => None,
            }
        }

        fn task_vectors(to: GgmlType) -> Option<&'static CStr> {
            match to {
                $(GgmlType::$variant => Some($task_vectors),)*
                _ => None,
            }
        }

        /// The kernel that sums two sources of just these types, by the most threads and without a constant.
        fn two(a: GgmlType, b: GgmlType, to: GgmlType) -> Option<&'static CStr> {
            match (a, b, to) {
                $((GgmlType::$a, GgmlType::$b, GgmlType::$to) => Some($name),)*
                _ => None,
            }
        }
    };
}

kernels! {
    one {
        F32 c"merge_sum_f32" c"merge_task_vectors_f32";
        F16 c"merge_sum_f16" c"merge_task_vectors_f16";
        BF16 c"merge_sum_bf16" c"merge_task_vectors_bf16";
        Q4_0 c"merge_sum_q4_0" c"merge_task_vectors_q4_0";
        Q4_1 c"merge_sum_q4_1" c"merge_task_vectors_q4_1";
        Q5_0 c"merge_sum_q5_0" c"merge_task_vectors_q5_0";
        Q5_1 c"merge_sum_q5_1" c"merge_task_vectors_q5_1";
        Q8_0 c"merge_sum_q8_0" c"merge_task_vectors_q8_0";
        Q4_K c"merge_sum_q4_k" c"merge_task_vectors_q4_k";
        Q5_K c"merge_sum_q5_k" c"merge_task_vectors_q5_k";
        Q6_K c"merge_sum_q6_k" c"merge_task_vectors_q6_k";
    }
    two {
        Q8_0 Q8_0 Q8_0 c"merge_two_q8_0_q8_0";
        Q4_1 Q4_1 Q8_0 c"merge_two_q4_1_q8_0";
        Q4_K Q4_K Q8_0 c"merge_two_q4_k_q8_0";
        F16 F16 Q8_0 c"merge_two_f16_q8_0";
        F16 F16 F16 c"merge_two_f16_f16";
        BF16 BF16 BF16 c"merge_two_bf16_bf16";
    }
}

/// A whole tensor in a GPU's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How the bytes are to be read.
    pub ty: GgmlType,
    /// Where they are.
    pub address: u64,
}

/// A kernel and what it is started with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Launch {
    /// One of [`KERNELS`].
    pub kernel: &'static CStr,
    /// Its parameter.
    pub job: Job,
    /// Blocks.
    pub grid: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, at most [`SHARED_BYTES`].
    pub shared_bytes: u32,
}

/// The parameter of all kernels, `Job` in `cuda/job.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Job {
    elements: u64,
    destination: u64,
    count: u32,
    flags: u32,
    columns: u32,
    constant: f32,
    factor: f32,
    lambda: f32,
    share: f32,
    unused: u32,
    weights: [f32; 3],
    shares: [f32; 3],
    sources: [JobSource; SOURCES],
}

/// One source of a [`Job`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct JobSource {
    address: u64,
    bytes: u64,
    ties_end: [u64; 2],
    from: [i32; 2],
    to: [i32; 2],
    ty: u32,
    tile_bytes: u32,
    at: u32,
    mask: u32,
    coefficient: f32,
    weight: f32,
    seed: [u32; 2],
    stream: [u32; 2],
    threshold: u32,
    unused: u32,
}

const _: () = assert!(size_of::<JobSource>() == 96 && size_of::<Job>() == 72 + SOURCES * 96);

impl Launch {
    /// How `elements` elements of type `destination.ty` are made by a GPU of whole sources without anything on top. `None` if there is no
    /// kernel for it, or a tensor is not whole blocks from an address on that is a multiple of 16.
    pub fn of(program: &Program, sources: &[Place], destination: Place, elements: usize) -> Option<Self> {
        if let Some((source, _)) = program.multiple()
            && fold::knows(destination.ty)
            && sources.get(source)?.ty == destination.ty
        {
            // `run` has a way of its own for these.
            return None;
        }
        let mut job =
            Job { elements: elements as u64, destination: destination.address, factor: 1.0, ..Job::default() };
        let kernel = match program {
            Program::Scaled { program, factor } => {
                (job.factor, job.flags) = (*factor, SCALED);
                match &**program {
                    Program::Copy { source } => {
                        job.flags |= COPY;
                        job.sum(&[Term { source: *source, coefficient: 1.0 }], sources)?;
                        sum(destination.ty)?
                    }
                    program => job.program(program, sources, destination.ty)?,
                }
            }
            program => job.program(program, sources, destination.ty)?,
        };
        let places = job.sources[..job.count as usize].iter().map(|s| s.address).chain([destination.address]);
        if elements == 0 || !places.into_iter().all(|address| address.is_multiple_of(ALIGNMENT)) {
            return None;
        }
        destination.ty.row_size(elements)?;
        for source in &mut job.sources[..job.count as usize] {
            source.bytes = source.ty()?.row_size(elements)? as u64;
        }
        THREADS
            .into_iter()
            .map(|threads| Self::with(kernel, job, destination.ty, threads))
            .zip([SHARED_FREELY, SHARED_BYTES])
            .find_map(|(launch, most)| launch.filter(|launch| launch.shared_bytes as usize <= most))
    }

    /// Lays out a block's shared memory: the tiles of the sources, which that of the destination takes the place of later on; masks; and
    /// what is merged.
    fn with(kernel: &'static CStr, mut job: Job, to: GgmlType, threads: usize) -> Option<Self> {
        let tile = threads * CHUNK;
        let mut used = 0;
        for source in &mut job.sources[..job.count as usize] {
            let bytes = source.ty()?.row_size(tile)?;
            (source.at, source.tile_bytes) = (used as u32, bytes as u32);
            used += bytes;
        }
        let encoded = to.row_size(tile)?;
        let merged = match to.block_size() {
            _ if kernel.to_bytes().starts_with(b"merge_two") => encoded,
            1 => threads * COLUMN,
            block => {
                used = used.max(encoded + if block == CHUNK { 0 } else { threads * FIT });
                threads * COLUMN
            }
        };
        for source in job.sources[..job.count as usize].iter_mut().filter(|source| source.mask != 0) {
            source.mask = used as u32;
            used += tile / 8;
        }
        job.columns = used as u32;
        let grid = u32::try_from(job.elements.div_ceil(tile as u64)).ok().filter(|grid| *grid <= i32::MAX as u32)?;
        Some(Self { kernel, job, grid, threads: threads as u32, shared_bytes: (used + merged) as u32 })
    }
}

impl Job {
    fn program(&mut self, program: &Program, sources: &[Place], to: GgmlType) -> Option<&'static CStr> {
        match program {
            Program::Sum { terms, constant } => {
                self.constant = *constant;
                self.sum(terms, sources)?;
                match terms[..] {
                    [a, b] if self.flags == 0 && *constant == 0.0 => {
                        two(sources[a.source].ty, sources[b.source].ty, to).or_else(|| sum(to))
                    }
                    _ => sum(to),
                }
            }
            Program::TaskVectors { base, vectors, consensus, normalize, lambda } => {
                let how = Mix { consensus: *consensus, normalize: *normalize, lambda: *lambda };
                self.push(*sources.get(*base)?)?;
                for v in vectors {
                    self.task_vector(v, *sources.get(v.source)?)?;
                }
                if let [a, b] = vectors[..] {
                    self.weights = [a.weight, b.weight, a.weight + b.weight];
                    self.shares = self.weights.map(|weights| how.share(weights));
                    self.flags |= LISTED;
                }
                let drawn = vectors.len() == 2 && vectors.iter().all(|v| matches!(v.keep, Keep::Random { .. }));
                for (flag, set) in [(CONSENSUS, *consensus), (NORMALIZE, *normalize), (DRAWN, drawn)] {
                    self.flags |= if set { flag } else { 0 };
                }
                (self.lambda, self.share) = (*lambda, how.share(vectors.iter().map(|v| v.weight).sum()));
                task_vectors(to)
            }
            _ => None,
        }
    }

    fn sum(&mut self, terms: &[Term], sources: &[Place]) -> Option<()> {
        for term in terms {
            self.push(*sources.get(term.source)?)?.coefficient = term.coefficient;
        }
        Some(())
    }

    fn task_vector(&mut self, v: &TaskVector, place: Place) -> Option<()> {
        let source = self.push(place)?;
        (source.coefficient, source.weight) = (v.rescale * v.weight, v.weight);
        match v.keep {
            Keep::All => {}
            Keep::Nothing => source.from = [i32::MAX; 2],
            Keep::Largest(outer) => {
                (source.from, source.ties_end[0]) = ([below(outer, 0), below(outer, u64::MAX)], outer.ties_end)
            }
            Keep::Band { inner, outer } => {
                (source.from, source.to) =
                    ([below(outer, 0), below(outer, u64::MAX)], [below(inner, 0), below(inner, u64::MAX)]);
                source.ties_end = [outer.ties_end, inner.ties_end];
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
    fn push(&mut self, place: Place) -> Option<&mut JobSource> {
        if !decode::knows(place.ty) {
            return None;
        }
        let source = self.sources.get_mut(self.count as usize)?;
        self.count += 1;
        *source = JobSource {
            address: place.address,
            ty: place.ty as u32,
            from: [-1; 2],
            to: [i32::MAX; 2],
            ..JobSource::default()
        };
        Some(source)
    }
}

impl JobSource {
    fn ty(&self) -> Option<GgmlType> {
        GgmlType::from_id(self.ty)
    }
}
