//! Tensors that a device cannot make itself: merged on the host piece by piece, each sent while the next one is merged.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::mpsc::channel;
use std::{slice, thread};

use llama_cpp_sys_2 as sys;

use super::Work;
use crate::gguf::Parent;
use crate::image::{chunk, compute};
use crate::model::weights::Weight;
use crate::plan::PlannedTensor;

/// Bytes merged before they are sent, at least one chunk: long enough for a transfer to run at full speed.
const PIECE: usize = 16 << 20;
/// Pieces at a time: one that is merged, one on its way.
const PIECES: usize = 2;

/// Memory that devices read from directly, kept from one recipe to the next.
#[derive(Default)]
pub(super) struct Staging {
    buffers: Vec<HostBuffer>,
}

impl Staging {
    /// Merges every tensor and sends it to where its weight points.
    pub fn send(&mut self, work: &[Work], parents: &[Parent]) {
        let Some(first) = work.first() else { return };
        let longest = work.iter().map(|work| piece_bytes(work.tensor)).max().unwrap_or(0);
        if self.buffers.first().is_none_or(|buffer| buffer.bytes < longest) {
            self.buffers = (0..PIECES).map(|_| HostBuffer::new(&first.weight, longest)).collect();
        }
        let (merged, to_send) = channel::<(&Weight, usize, usize, &mut HostBuffer)>();
        let (give_back, free) = channel();
        for buffer in &mut self.buffers {
            give_back.send(buffer).expect("both ends are here");
        }
        thread::scope(|scope| {
            scope.spawn(move || {
                for (weight, offset, bytes, buffer) in to_send {
                    // SAFETY: the bytes are those of the tensor from `offset` on, and nothing computes with it meanwhile.
                    unsafe { weight.set(offset, &buffer.memory()[..bytes]) };
                    // Nobody takes it any more after the last piece.
                    let _ = give_back.send(buffer);
                }
            });
            for Work { weight, tensor } in work {
                for elements in pieces(tensor) {
                    let at = |element| tensor.info.ty.row_size(element).expect("pieces are whole blocks");
                    let (offset, bytes) = (at(elements.start), at(elements.len()));
                    let buffer = free.recv().expect("the sender gives every buffer back");
                    compute(tensor, elements, &mut buffer.memory()[..bytes], parents);
                    merged.send((weight, offset, bytes, buffer)).expect("the sender waits for the last piece");
                }
            }
            drop(merged);
        });
    }
}

/// Elements of a piece of `tensor`.
fn piece(tensor: &PlannedTensor) -> usize {
    let chunk = chunk(tensor);
    let bytes = tensor.info.ty.row_size(chunk).expect("a chunk is whole blocks of any type");
    (PIECE / bytes).max(1) * chunk
}

fn piece_bytes(tensor: &PlannedTensor) -> usize {
    let elements = piece(tensor).min(tensor.elements());
    tensor.info.ty.row_size(elements).expect("whole blocks")
}

fn pieces(tensor: &PlannedTensor) -> impl Iterator<Item = Range<usize>> {
    let (piece, all) = (piece(tensor), tensor.elements());
    (0..all).step_by(piece).map(move |start| start..(start + piece).min(all))
}

/// Memory on the host: locked where the device's backend has such, so that transfers need no copy of their own.
struct HostBuffer {
    /// Null if the memory is ours.
    buffer: sys::ggml_backend_buffer_t,
    /// That memory.
    _own: Vec<u8>,
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: memory that has one owner, and a handle that only this frees.
unsafe impl Send for HostBuffer {}

impl HostBuffer {
    /// Room for pieces that go to where `weight` is.
    fn new(weight: &Weight, bytes: usize) -> Self {
        // SAFETY: the device is that of a live buffer; ggml gives null where it has no such memory.
        let (buffer, base) = unsafe {
            let device = weight.device();
            let kind = if device.is_null() { ptr::null_mut() } else { sys::ggml_backend_dev_host_buffer_type(device) };
            let buffer =
                if kind.is_null() { ptr::null_mut() } else { sys::ggml_backend_buft_alloc_buffer(kind, bytes) };
            let base: *mut c_void =
                if buffer.is_null() { ptr::null_mut() } else { sys::ggml_backend_buffer_get_base(buffer) };
            (buffer, NonNull::new(base.cast()))
        };
        match base {
            Some(base) => Self { buffer, _own: Vec::new(), base, bytes },
            None => {
                let mut own = vec![0; bytes];
                Self { buffer, base: NonNull::new(own.as_mut_ptr()).expect("never null"), _own: own, bytes }
            }
        }
    }

    fn memory(&mut self) -> &mut [u8] {
        // SAFETY: `bytes` long, ours alone, and initialised: by us, or by the system that locked the pages for ggml.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        if !self.buffer.is_null() {
            // SAFETY: allocated above, freed once.
            unsafe { sys::ggml_backend_buffer_free(self.buffer) };
        }
    }
}
