//! A plan and its parents in, a whole GGUF file out: on disk, or in memory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use tempfile::NamedTempFile;

use super::{Fill, Image, ImageError, fill};
use crate::gguf::Parent;
use crate::plan::Plan;

/// Writes `plan` as a GGUF file that any program can load: the same tensors as the image, with the vocabulary in the header.
///
/// The bytes go to a temporary file beside `path` that is renamed over it at the end, so that a failure leaves no half file.
///
/// # Errors
/// [`ImageError::Occupied`] where something else than a GGUF file would be lost; [`ImageError::Write`] naming the path, for example when
/// the disk is full; [`ImageError::Parent`] as in [`Image::fill`].
pub fn export(plan: &Plan, parents: &[Parent], path: &Path) -> Result<Fill, ImageError> {
    let write = |source: io::Error| ImageError::Write { path: path.to_owned(), source };
    if holds_other(path).map_err(write)? {
        return Err(ImageError::Occupied { path: path.to_owned() });
    }
    let header = plan.full_header(parents)?;
    let size = header.len() as u64 + plan.data_bytes;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = temporary_in(folder).map_err(write)?;
    reserve(temporary.as_file(), size).map_err(write)?;
    let mut image = Image::map(temporary.as_file().try_clone().map_err(write)?, header).map_err(write)?;
    let filled = fill_whole(&mut image, plan, parents)?;
    image.map.flush().map_err(write)?;
    temporary.as_file().sync_all().map_err(write)?;
    temporary.persist(path).map_err(|e| write(e.error))?;
    Ok(filled)
}

/// The same in memory that goes with the image.
///
/// # Errors
/// As [`Image::in_memory`] and [`Image::fill`].
pub fn export_in_memory(plan: &Plan, parents: &[Parent]) -> Result<Image, ImageError> {
    let mut image = Image::anonymous(plan.full_header(parents)?, plan.data_bytes)?;
    fill_whole(&mut image, plan, parents)?;
    Ok(image)
}

/// Computes every tensor into its own place.
fn fill_whole(image: &mut Image, plan: &Plan, parents: &[Parent]) -> Result<Fill, ImageError> {
    let start = Instant::now();
    let jobs = plan.tensors.iter().map(|tensor| (tensor.info.offset, tensor)).collect();
    fill::verify_unchanged(parents)?;
    fill::fill(vec![(jobs, image.data_mut())], parents);
    let bytes_read = plan.tensors.iter().map(|t| t.source_bytes(parents)).sum();
    Ok(Fill { bytes_read, bytes_written: plan.data_bytes, elapsed: start.elapsed() })
}

/// Whether something is at `path` that a new model is not meant to replace: neither a GGUF file nor an empty one.
fn holds_other(path: &Path) -> io::Result<bool> {
    let kind = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        kind => kind?,
    };
    if !kind.is_file() {
        return Ok(true);
    }
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(!magic.is_empty() && magic != b"GGUF")
}

/// A temporary file with the mode that the user's umask gives any new file; left to itself it would be private.
fn temporary_in(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ggraft-export-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Gives `file` its size on disk at once, so that a full disk is an error here and not a signal while the mapping is written.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    file.set_len(size)?;
    #[cfg(target_os = "linux")]
    {
        let size = size.try_into().map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: the descriptor is open for writing; the call touches no memory of ours.
        match unsafe { libc::posix_fallocate(std::os::fd::AsRawFd::as_raw_fd(file), 0, size) } {
            0 => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
    Ok(())
}
