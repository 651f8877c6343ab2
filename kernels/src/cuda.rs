//! Programs as launches of the kernels in `cuda/`: a [`Program`] and addresses in a GPU's memory in, a [`Launch`] out, or one for each slice.
//!
//! Nothing here needs a GPU or its driver. Who has them loads the kernels by their names in [`KERNELS`] and launches them with a [`Job`] as
//! the one parameter, by value. The bytes are those of [`crate::run()`].

mod job;

use std::ffi::CStr;
use std::ops::Range;

pub use self::job::Job;
use self::job::{Input, Kind, aligned};
use crate::{GgmlType, Program, Source, Tensor, fold};

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
pub const ALIGNMENT: u64 = 16;

macro_rules! kernels {
    (
        one { $($variant:ident $sum:literal $task_vectors:literal $any:literal;)* }
        two { $($a:ident $b:ident $to:ident $name:literal;)* }
    ) => {
        /// The names of all kernels.
        pub const KERNELS: &[&CStr] = &[$($sum, $task_vectors, $any,)* $($name,)*];

        /// The kernels that make tensors of this type: sums, task vectors, and every program, also over sources with something on top.
        fn all(to: GgmlType) -> Option<[&'static CStr; 3]> {
            match to {
                $(GgmlType::$variant => Some([$sum, $task_vectors, $any]),)*
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
        F32 c"merge_sum_f32" c"merge_task_vectors_f32" c"merge_any_f32";
        F16 c"merge_sum_f16" c"merge_task_vectors_f16" c"merge_any_f16";
        BF16 c"merge_sum_bf16" c"merge_task_vectors_bf16" c"merge_any_bf16";
        Q4_0 c"merge_sum_q4_0" c"merge_task_vectors_q4_0" c"merge_any_q4_0";
        Q4_1 c"merge_sum_q4_1" c"merge_task_vectors_q4_1" c"merge_any_q4_1";
        Q5_0 c"merge_sum_q5_0" c"merge_task_vectors_q5_0" c"merge_any_q5_0";
        Q5_1 c"merge_sum_q5_1" c"merge_task_vectors_q5_1" c"merge_any_q5_1";
        Q8_0 c"merge_sum_q8_0" c"merge_task_vectors_q8_0" c"merge_any_q8_0";
        Q4_K c"merge_sum_q4_k" c"merge_task_vectors_q4_k" c"merge_any_q4_k";
        Q5_K c"merge_sum_q5_k" c"merge_task_vectors_q5_k" c"merge_any_q5_k";
        Q6_K c"merge_sum_q6_k" c"merge_task_vectors_q6_k" c"merge_any_q6_k";
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

/// Bytes that kernels read.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// The same for all recipes: a parent's blocks, or a factor of what is on top of them.
    Parent(&'a [u8]),
    /// Of this recipe alone.
    Recipe(&'a [u8]),
}

impl<'a> Data<'a> {
    /// What they are.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Parent(bytes) | Self::Recipe(bytes) => bytes,
        }
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

impl Launch {
    /// How a GPU makes `elements` elements of type `destination.ty`, in any order of launches. `at` says where the device has what they are
    /// made of. It is asked for the same whenever all else is the same, so that a first call may find out what to bring there.
    ///
    /// `None` if there are no kernels for it, or a tensor or a slice is not whole blocks from an address on that is a multiple of
    /// [`ALIGNMENT`].
    pub fn of<'a>(
        program: &'a Program,
        sources: &[Source<'a>],
        destination: Place,
        elements: usize,
        at: &mut dyn FnMut(Data<'a>) -> u64,
    ) -> Option<Vec<Self>> {
        let ty = destination.ty;
        if elements == 0 || matches!(program, Program::Copy { .. }) {
            return None;
        }
        if let Some((source, _)) = program.multiple()
            && fold::knows(ty)
            && let Source::Tensor(Tensor { ty: from, low_rank: [], .. }) = sources.get(source)?
            && *from == ty
        {
            // `run` has a way of its own for these.
            return None;
        }
        let inputs: Vec<Input> = sources.iter().map(|source| Input::of(source, at)).collect::<Option<_>>()?;
        let mut one = |program, factor, range| {
            let job = Job::of(program, factor, &inputs, Range::clone(&range), at)?;
            Self::one(job, destination, range)
        };
        let (program, factor) = unscaled(program);
        let Program::Slices { elements: each, programs } = program else {
            return Some(vec![one(program, factor, 0..elements)?]);
        };
        if each * programs.len() != elements {
            return None;
        }
        let slice = |(number, program)| {
            let range = number * each..(number + 1) * each;
            match (factor, unscaled(program)) {
                (factor, (program, None)) | (None, (program, factor)) => one(program, factor, range),
                _ => None,
            }
        };
        programs.iter().enumerate().map(slice).collect()
    }

    /// What makes elements `range` of the destination.
    fn one(mut job: Job, destination: Place, range: Range<usize>) -> Option<Self> {
        let ty = destination.ty;
        ty.row_size(range.len())?;
        job.destination = aligned(destination.address + ty.row_size(range.start)? as u64)?;
        let [sum, task_vectors, any] = all(ty)?;
        let (kernel, in_registers) = match job.kind() {
            Kind::Two([a, b]) => two(a, b, ty).map_or((sum, false), |kernel| (kernel, true)),
            Kind::Sum => (sum, false),
            Kind::TaskVectors => (task_vectors, false),
            Kind::Any => (any, false),
        };
        THREADS
            .into_iter()
            .map(|threads| Self::with(kernel, job, ty, threads, in_registers))
            .zip([SHARED_FREELY, SHARED_BYTES])
            .find_map(|(launch, most)| launch.filter(|launch| launch.shared_bytes as usize <= most))
    }

    /// Lays out a block's shared memory: the tiles of the sources, which that of the destination takes the place of later on; masks; and
    /// what is merged, unless that stays in registers.
    fn with(kernel: &'static CStr, mut job: Job, to: GgmlType, threads: usize, in_registers: bool) -> Option<Self> {
        let tile = threads * CHUNK;
        let mut used = 0;
        for source in job.sources_mut() {
            let bytes = source.ty().row_size(tile)?;
            (source.at, source.tile_bytes) = (used as u32, bytes as u32);
            used += bytes;
        }
        let encoded = to.row_size(tile)?;
        let merged = match to.block_size() {
            _ if in_registers => encoded,
            1 => threads * COLUMN,
            block => {
                used = used.max(encoded + if block == CHUNK { 0 } else { threads * FIT });
                threads * COLUMN
            }
        };
        for source in job.sources_mut().iter_mut().filter(|source| source.mask != 0) {
            source.mask = used as u32;
            used += tile / 8;
        }
        job.columns = used as u32;
        let grid = u32::try_from(job.elements.div_ceil(tile as u64)).ok().filter(|grid| *grid <= i32::MAX as u32)?;
        Some(Self { kernel, job, grid, threads: threads as u32, shared_bytes: (used + merged) as u32 })
    }
}

/// What is multiplied, and by how much.
fn unscaled(program: &Program) -> (&Program, Option<f32>) {
    match program {
        Program::Scaled { program, factor } => (program, Some(*factor)),
        program => (program, None),
    }
}
