//! Names for answers that mean the same in every run: what was asked, and a digest of the bytes it was asked about.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Question, SourceRef, Sources};

/// SHA-256.
pub(super) type Name = [u8; 32];

/// Goes into every name; to be changed when an answer to the same question changes.
const VERSION: &str = "1";
/// Bytes that one thread digests at a time.
const CHUNK: usize = 1 << 20;

/// Digests of the sources' bytes, each worked out once.
#[derive(Default)]
pub(super) struct Contents(Mutex<HashMap<(SourceRef, usize), Name>>);

impl Contents {
    /// The name of a question about these sources.
    pub fn name(&self, question: &Question, of: &Sources) -> Name {
        let mut name = Sha256::new();
        name.update(format!("{VERSION} {question:?} {} {}", of.elements, of.row));
        for (source, data) in of.refs.iter().zip(&of.data) {
            name.update(data.ty.name());
            name.update(self.digest((*source, of.slice), data.data));
        }
        name.finalize().into()
    }

    fn digest(&self, of: (SourceRef, usize), data: &[u8]) -> Name {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&of) {
            return *known;
        }
        let chunks: Vec<Name> = data.par_chunks(CHUNK).map(|chunk| Sha256::digest(chunk).into()).collect();
        let digest = Sha256::digest(chunks.as_flattened()).into();
        lock().insert(of, digest);
        digest
    }
}
