//! Tensors to compute and the bytes they go to in; every one of them in its place out. All cores, no other memory.

use std::ops::Range;

use ggraft_kernels::{Source, TILE, run};
use rayon::prelude::*;

use super::ImageError;
use crate::ggml::CODECS;
use crate::gguf::Parent;
use crate::plan::PlannedTensor;

/// Elements merged by one task: small enough to spread one embedding matrix over all cores.
pub(crate) const CHUNK: usize = 64 * TILE;

/// A tensor to compute and where it starts in some memory.
pub(super) type Job<'a> = (u64, &'a PlannedTensor);

/// Asks before every fill: reading a mapped file past an end that moved kills the process.
pub(crate) fn verify_unchanged(parents: &[Parent]) -> Result<(), ImageError> {
    Ok(parents.iter().try_for_each(Parent::verify_unchanged)?)
}

/// Runs the programs of all jobs, each list with the memory that its offsets count in and in ascending order.
pub(super) fn fill(work: Vec<(Vec<Job>, &mut [u8])>, parents: &[Parent]) {
    let chunks: Vec<Chunk> = work.into_iter().flat_map(|(jobs, data)| cut(jobs, data)).collect();
    run_all(chunks.into_iter(), parents);
}

/// Computes elements `range` of one tensor, which begin and end where chunks do, on all cores.
pub(crate) fn compute(tensor: &PlannedTensor, range: Range<usize>, out: &mut [u8], parents: &[Parent]) {
    run_all(chunks(tensor, range, out), parents);
}

/// One after the other to whichever thread is free: parents that are not in memory are read from the disk from front to back.
fn run_all<'a>(chunks: impl Iterator<Item = Chunk<'a>> + Send, parents: &[Parent]) {
    chunks.par_bridge().for_each(|Chunk { tensor, elements, out }| {
        let sources: Vec<Source> = tensor.source_data(parents);
        run(&tensor.program, &sources, tensor.info.ty, elements, out, &CODECS);
    });
}

/// Elements of `tensor` that are computed together.
pub(crate) fn chunk(tensor: &PlannedTensor) -> usize {
    // A unit is whole rows, which are whole blocks.
    CHUNK.next_multiple_of(tensor.program.unit())
}

/// A run of elements of one tensor and the bytes they go to.
struct Chunk<'a> {
    tensor: &'a PlannedTensor,
    elements: Range<usize>,
    out: &'a mut [u8],
}

fn cut<'a>(jobs: Vec<Job<'a>>, data: &'a mut [u8]) -> Vec<Chunk<'a>> {
    let mut all = Vec::new();
    let mut rest = data;
    let mut position = 0;
    for (offset, tensor) in jobs {
        let (_, from) = rest.split_at_mut((offset - position) as usize);
        let (out, later) = from.split_at_mut(tensor.info.bytes as usize);
        all.extend(chunks(tensor, 0..tensor.elements(), out));
        rest = later;
        position = offset + tensor.info.bytes;
    }
    all
}

/// Cuts elements `range` of one tensor, and the bytes they go to, where chunks end.
fn chunks<'a>(
    tensor: &'a PlannedTensor,
    range: Range<usize>,
    out: &'a mut [u8],
) -> impl Iterator<Item = Chunk<'a>> + Send {
    let chunk = chunk(tensor);
    let bytes = tensor.info.ty.row_size(chunk).expect("a chunk is whole blocks of any type");
    out.chunks_mut(bytes).zip(range.clone().step_by(chunk)).map(move |(out, start)| {
        let elements = start..(start + chunk).min(range.end);
        Chunk { tensor, elements, out }
    })
}
