//! What can go wrong while a merged GGUF is put into memory or a file.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::gguf::GgufError;
use crate::plan::PlanError;

/// Errors of this stage.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The system gave no shared memory for the virtual model.
    #[error(
        "no shared memory for a virtual model of {bytes} bytes: {source}; free some memory, or use smaller parents or `out_type`"
    )]
    Memory {
        /// Size of the image.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The exported file could not be written.
    #[error("cannot write `{}`: {source}; nothing was left behind", path.display())]
    Write {
        /// Where the file was to be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else is there already.
    #[error("`{}` is there already and no GGUF file; remove it first, or choose another name", path.display())]
    Occupied {
        /// Where the file was to be.
        path: PathBuf,
    },
    /// A parent changed under us.
    #[error(transparent)]
    Parent(#[from] GgufError),
    /// The header cannot be written.
    #[error(transparent)]
    Plan(#[from] PlanError),
}
