//! A `Plan` and its parents in, the bytes of the merged GGUF out: in memory for llama.cpp to compute from, or in a file to keep.
//!
//! The in-memory form is an anonymous file (`memfd_create`), which llama.cpp maps shared: new bytes written through our own mapping are
//! the running model's weights at once. Nothing reaches a disk.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

use crate::gguf::Parent;
use crate::plan::{Home, Plan};

mod error;
mod export;
mod fill;
mod pool;
#[cfg(test)]
mod tests;

pub use error::ImageError;
pub use export::{export, export_in_memory};
pub(crate) use fill::{CHUNK, chunk, compute, verify_unchanged};
pub use pool::Pool;

/// A merged GGUF in shared memory, re-filled in place for the next recipe of the same shape.
///
/// Tensors that live elsewhere ([`Home`]) have their place in it too, as the format wants, but no bytes there.
pub struct Image {
    file: File,
    map: MmapMut,
    header: Vec<u8>,
}

/// What one fill cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill {
    /// Bytes of parents that the programs read.
    pub bytes_read: u64,
    /// Bytes of merged tensors written to memory.
    pub bytes_written: u64,
    /// Wall time.
    pub elapsed: Duration,
}

impl Image {
    /// A new anonymous image with room for `plan`, its header written and its tensors still zero.
    ///
    /// # Errors
    /// [`ImageError::Memory`] if the system has no room, or no `memfd_create` (it is Linux's own).
    pub fn in_memory(plan: &Plan) -> Result<Self, ImageError> {
        Self::anonymous(plan.bare_header.clone(), plan.data_bytes)
    }

    /// An anonymous GGUF of a header alone: a vocabulary that no file has.
    ///
    /// # Errors
    /// As [`Image::in_memory`].
    pub fn of_header(header: Vec<u8>) -> Result<Self, ImageError> {
        Self::anonymous(header, 0)
    }

    /// An anonymous GGUF of a header and as many bytes of data, still zero: a model that no plan makes.
    ///
    /// # Errors
    /// As [`Image::in_memory`].
    pub fn anonymous(header: Vec<u8>, data_bytes: u64) -> Result<Self, ImageError> {
        let size = header.len() as u64 + data_bytes;
        let memory = |source| ImageError::Memory { bytes: size, source };
        let file = anonymous_file().map_err(memory)?;
        file.set_len(size).map_err(memory)?;
        Self::map(file, header).map_err(memory)
    }

    fn map(file: File, header: Vec<u8>) -> io::Result<Self> {
        // SAFETY: the file is ours alone: anonymous, or a fresh temporary that nobody else has been told of. llama.cpp maps it too, but
        // reads only inside `llama_decode`, and `fill` borrows the image mutably, which its owner cannot do while a decode runs.
        let mut map = unsafe { MmapMut::map_mut(&file)? };
        // Where the system has large pages for such files, a first fill takes a fault for every 2 MB; elsewhere it is as it was.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        map[..header.len()].copy_from_slice(&header);
        Ok(Self { file, map, header })
    }

    /// Whether `plan` has the same tensors, types and metadata, so that it can be filled in without loading anew.
    pub fn has_shape_of(&self, plan: &Plan) -> bool {
        self.header == plan.bare_header
    }

    /// A path under which this process, and llama.cpp inside it, can open the image.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Total size in bytes, header included.
    pub fn size(&self) -> u64 {
        self.map.len() as u64
    }

    /// The data section, to be written.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.header.len()..]
    }

    /// Computes what `plan` needs and is not there yet: tensors in their own places into the image, shared ones into `pool`.
    ///
    /// # Errors
    /// [`ImageError::Parent`] if a parent file changed since it was opened, [`ImageError::Memory`] if there is no room; image and pool
    /// then hold what they held.
    ///
    /// # Panics
    /// If the plan has another shape; ask [`Image::has_shape_of`] first.
    pub fn fill(&mut self, plan: &Plan, parents: &[Parent], pool: &mut Pool) -> Result<Fill, ImageError> {
        assert!(self.has_shape_of(plan), "the image was made for a plan of another shape");
        let start = Instant::now();
        verify_unchanged(parents)?;
        pool.fit(plan).map_err(|source| ImageError::Memory { bytes: plan.pool_bytes, source })?;
        let own = plan.tensors.iter().filter(|t| t.home == Home::Own).map(|t| (t.info.offset, t)).collect::<Vec<_>>();
        let shared = pool.missing(plan);
        let jobs = || own.iter().chain(&shared).map(|(_, tensor)| *tensor);
        let (bytes_read, bytes_written) =
            (jobs().map(|t| t.source_bytes(parents)).sum(), jobs().map(|t| t.info.bytes).sum());
        fill::fill(vec![(own, self.data_mut()), (shared.clone(), pool.memory())], parents);
        pool.remember(&shared);
        Ok(Fill { bytes_read, bytes_written, elapsed: start.elapsed() })
    }

    /// Gives back the memory of all tensors of `plan` that live elsewhere: llama.cpp touches every page of a model while it loads.
    pub fn release_shared(&self, plan: &Plan) {
        let start = self.header.len() as u64;
        let mut free = start;
        for tensor in plan.tensors.iter().filter(|t| t.home == Home::Own) {
            self.release(free, start + tensor.info.offset);
            free = start + tensor.info.offset + tensor.info.bytes;
        }
        self.release(free, self.size());
    }

    /// Gives back the whole pages between two offsets; they read as zeros then.
    #[cfg(target_os = "linux")]
    fn release(&self, from: u64, to: u64) {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        if let (Ok(offset), Ok(length @ 1..)) = (from.try_into(), to.saturating_sub(from).try_into()) {
            // SAFETY: the descriptor is ours. Nothing points into the range, and if the call fails, memory is all that is lost.
            unsafe { libc::fallocate(self.file.as_raw_fd(), mode, offset, length) };
        }
    }

    /// Gives back nothing: there are no images here.
    #[cfg(not(target_os = "linux"))]
    fn release(&self, _from: u64, _to: u64) {}
}

/// An anonymous file that lives in memory and goes with the process.
#[cfg(target_os = "linux")]
fn anonymous_file() -> io::Result<File> {
    // SAFETY: the name is a C string; the descriptor that comes back is checked and then owned by the file alone.
    unsafe {
        match libc::memfd_create(c"ggraft".as_ptr(), libc::MFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

/// An anonymous file that lives in memory and goes with the process.
#[cfg(not(target_os = "linux"))]
fn anonymous_file() -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "virtual models need Linux's memfd_create"))
}
