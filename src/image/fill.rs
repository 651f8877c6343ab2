//! A plan, its parents and the bytes of a data section in; every merged tensor in its place out. All cores, no other memory.

use std::ops::Range;
use std::time::Instant;

use ggraft_kernels::{Source, TILE, run};
use rayon::prelude::*;

use super::{Fill, ImageError};
use crate::ggml::CODECS;
use crate::gguf::Parent;
use crate::plan::{Plan, PlannedTensor};

/// Elements merged by one task: small enough to spread one embedding matrix over all cores.
const CHUNK: usize = 64 * TILE;

/// Runs the programs of all tensors into `data`, the data section.
pub(super) fn fill(plan: &Plan, parents: &[Parent], data: &mut [u8]) -> Result<Fill, ImageError> {
    let start = Instant::now();
    for parent in parents {
        // Reading a mapped file past an end that moved kills the process; asking first turns that into an error.
        parent.verify_unchanged()?;
    }
    let mut chunks = Vec::new();
    let mut rest = data;
    let mut position = 0;
    for tensor in &plan.tensors {
        let (_, from) = rest.split_at_mut((tensor.info.offset - position) as usize);
        let (out, later) = from.split_at_mut(tensor.info.bytes as usize);
        chunks.extend(cut(tensor, out));
        rest = later;
        position = tensor.info.offset + tensor.info.bytes;
    }
    chunks.into_par_iter().for_each(|Chunk { tensor, elements, out }| {
        let sources: Vec<Source> = tensor.source_data(parents);
        run(&tensor.program, &sources, tensor.info.ty, elements, out, &CODECS);
    });
    Ok(Fill { bytes_read: plan.source_bytes(parents), bytes_written: plan.data_bytes, elapsed: start.elapsed() })
}

/// A run of elements of one tensor and the bytes they go to.
struct Chunk<'a> {
    tensor: &'a PlannedTensor,
    elements: Range<usize>,
    out: &'a mut [u8],
}

fn cut<'a>(tensor: &'a PlannedTensor, out: &'a mut [u8]) -> impl Iterator<Item = Chunk<'a>> {
    let total = tensor.elements();
    let bytes = tensor.info.ty.row_size(CHUNK).expect("a chunk is whole blocks of any type");
    out.chunks_mut(bytes).enumerate().map(move |(i, out)| {
        let elements = i * CHUNK..((i + 1) * CHUNK).min(total);
        Chunk { tensor, elements, out }
    })
}
