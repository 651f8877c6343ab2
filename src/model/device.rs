//! llama.cpp's devices in; their names out, and how fast one copies within its own memory.

use std::ffi::{CStr, c_char};
use std::time::{Duration, Instant};

use llama_cpp_sys_2 as sys;

use super::{log, offload_supported};

/// Part of the free memory that one of the two buffers of a copy may take.
const BUFFER_PART: usize = 3;
/// The smallest buffer worth copying.
const MIN_BUFFER: usize = 1 << 20;

/// Something that llama.cpp computes on.
#[derive(Clone, Copy)]
pub struct Device(sys::ggml_backend_dev_t);

/// The devices that layers are offloaded to: those that llama.cpp takes by itself (`llama_prepare_model_devices`), which are processors
/// on a card of their own, or else built-in ones.
pub fn devices() -> Vec<Device> {
    // This loads llama.cpp's backends, too.
    if !offload_supported() {
        return Vec::new();
    }
    let of = |kind| all().filter(|device| device.kind() == kind).collect::<Vec<_>>();
    let cards = of(sys::GGML_BACKEND_DEVICE_TYPE_GPU);
    if cards.is_empty() { of(sys::GGML_BACKEND_DEVICE_TYPE_IGPU) } else { cards }
}

fn all() -> impl Iterator<Item = Device> {
    // SAFETY: ggml's list of devices is made once and only grows; indices below its length are devices, which live as long as the program.
    unsafe { (0..sys::ggml_backend_dev_count()).map(|i| Device(sys::ggml_backend_dev_get(i))) }
}

impl Device {
    fn kind(self) -> sys::ggml_backend_dev_type {
        // SAFETY: a device of ggml's list.
        unsafe { sys::ggml_backend_dev_type(self.0) }
    }

    /// What it is, for example `NVIDIA H100 80GB HBM3`.
    pub fn name(self) -> String {
        // SAFETY: a device of ggml's list, whose description is a C string that lives as long.
        let text = |pointer: *const c_char| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned();
        // SAFETY: as above.
        text(unsafe { sys::ggml_backend_dev_description(self.0) })
    }

    /// Bytes of its memory that nothing is in.
    fn free_bytes(self) -> usize {
        let (mut free, mut total) = (0, 0);
        // SAFETY: a device of ggml's list, and two numbers to write to.
        unsafe { sys::ggml_backend_dev_memory(self.0, &raw mut free, &raw mut total) };
        free
    }

    /// Two buffers in its memory to move `moved` bytes with, half of them read and half of them written: in several rounds if so many are
    /// not free. `None` if there is no room at all.
    pub fn copy(self, moved: u64) -> Option<DeviceCopy> {
        let bytes = usize::try_from(moved / 2).unwrap_or(usize::MAX).max(1);
        // SAFETY: a device of ggml's list; its buffer type lives as long.
        let largest = unsafe { sys::ggml_backend_buft_get_max_size(sys::ggml_backend_dev_buffer_type(self.0)) };
        let mut most = (self.free_bytes() / BUFFER_PART).min(largest).max(MIN_BUFFER);
        loop {
            let rounds = bytes.div_ceil(most);
            let buffers = [(); 2].map(|()| Buffer::new(self, bytes.div_ceil(rounds)));
            if let [Some(from), Some(to)] = buffers {
                return Some(DeviceCopy { from, to, rounds });
            }
            log::take_trouble();
            // What is free may be in pieces.
            most /= 2;
            if most < MIN_BUFFER {
                return None;
            }
        }
    }
}

/// Two buffers to copy between.
pub struct DeviceCopy {
    from: Buffer,
    to: Buffer,
    rounds: usize,
}

impl DeviceCopy {
    /// How long it takes.
    pub fn time(&mut self) -> Duration {
        let start = Instant::now();
        for _ in 0..self.rounds {
            // SAFETY: two tensors of one shape and type in buffers of one device, which `self` owns. It comes back when the copy is done.
            unsafe { sys::ggml_backend_tensor_copy(self.from.tensor, self.to.tensor) };
        }
        start.elapsed()
    }
}

/// A tensor of bytes that fills a buffer of a device.
struct Buffer {
    context: *mut sys::ggml_context,
    buffer: sys::ggml_backend_buffer_t,
    tensor: *mut sys::ggml_tensor,
}

impl Buffer {
    fn new(device: Device, bytes: usize) -> Option<Self> {
        let count = i64::try_from(bytes).ok()?;
        // SAFETY: the context has room for the description of the one tensor made in it, the buffer for its data. Both are owned by what
        // is returned, or freed here if the other one cannot be had.
        unsafe {
            let buffer = sys::ggml_backend_buft_alloc_buffer(sys::ggml_backend_dev_buffer_type(device.0), bytes);
            if buffer.is_null() {
                return None;
            }
            let context = sys::ggml_init(sys::ggml_init_params {
                mem_size: sys::ggml_tensor_overhead(),
                mem_buffer: std::ptr::null_mut(),
                no_alloc: true,
            });
            let tensor = sys::ggml_new_tensor_1d(context, sys::GGML_TYPE_I8, count);
            let made = Self { context, buffer, tensor };
            let placed = sys::ggml_backend_tensor_alloc(buffer, tensor, sys::ggml_backend_buffer_get_base(buffer));
            // Written once, so that no page is first touched while the clock runs.
            sys::ggml_backend_buffer_clear(buffer, 1);
            (placed == sys::GGML_STATUS_SUCCESS).then_some(made)
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: both are its own, and nothing else knows them.
        unsafe {
            sys::ggml_backend_buffer_free(self.buffer);
            sys::ggml_free(self.context);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The processor is a device too, whose memory can be looked into.
    fn processor() -> Device {
        offload_supported();
        all().find(|device| device.kind() == sys::GGML_BACKEND_DEVICE_TYPE_CPU).unwrap()
    }

    #[test]
    fn a_copy_moves_the_bytes_that_it_is_timed_for() {
        let device = processor();
        assert!(!device.name().is_empty() && device.free_bytes() > 0);
        let mut copy = device.copy(10_000_002).unwrap();
        assert_eq!(copy.rounds, 1);
        // SAFETY: the buffers are the test's own, in memory that the processor reads.
        unsafe {
            assert_eq!(sys::ggml_nbytes(copy.to.tensor), 5_000_001);
            sys::ggml_backend_buffer_clear(copy.from.buffer, 7);
            assert!(copy.time() > Duration::ZERO);
            let data = std::slice::from_raw_parts((*copy.to.tensor).data.cast::<u8>(), 5_000_001);
            assert!(data.iter().all(|byte| *byte == 7));
        }
    }
}
