//! Names for answers that mean the same in every run: what was asked, and a digest of what it was asked about.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ggraft_kernels::{RowMap, Source, Tensor};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Question, SourceRef, Sources};

/// SHA-256.
pub(super) type Name = [u8; 32];

/// Goes into every name; to be changed when an answer to the same question changes.
const VERSION: &str = "1";
/// Bytes that one thread digests at a time.
const CHUNK: usize = 1 << 20;

/// Digests of the sources, each worked out once.
#[derive(Default)]
pub(super) struct Contents(Mutex<HashMap<(SourceRef, usize), Name>>);

impl Contents {
    /// The name of a question about these sources.
    pub fn name(&self, question: &Question, of: &Sources) -> Name {
        let mut name = Sha256::new();
        name.update(format!("{VERSION} {question:?} {} {}", of.elements, of.row));
        for (source, data) in of.refs.iter().zip(&of.data) {
            name.update(self.digest((*source, of.slice), data));
        }
        name.finalize().into()
    }

    fn digest(&self, of: (SourceRef, usize), source: &Source) -> Name {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&of) {
            return *known;
        }
        let digest = digest(source);
        lock().insert(of, digest);
        digest
    }
}

/// A digest of all that a source decodes to its elements from. Each kind of source has lengths of its own in front.
fn digest(source: &Source) -> Name {
    match source {
        Source::Tensor(tensor) => of_tensor(tensor),
        Source::Rows { width, tables, map, first } => {
            let mut digest = Sha256::new();
            digest.update(format!("rows {width} {} {first} {}", tables.len(), map.len()));
            tables.iter().for_each(|table| digest.update(of_tensor(table)));
            of_map(map, &mut digest);
            digest.finalize().into()
        }
    }
}

fn of_tensor(Tensor { ty, data, low_rank, first }: &Tensor) -> Name {
    let mut digest = Sha256::new();
    digest.update(format!("tensor {} {}", ty.name(), low_rank.len()));
    let chunks: Vec<Name> = data.par_chunks(CHUNK).map(|chunk| Sha256::digest(chunk).into()).collect();
    digest.update(Sha256::digest(chunks.as_flattened()));
    for low_rank in *low_rank {
        let (width, rows, a, b) = low_rank.factors();
        digest.update(format!("{width} {rows} {} {} {first}", a.len(), b.len()));
        a.iter().chain(b).for_each(|factor| digest.update(factor.to_le_bytes()));
    }
    digest.finalize().into()
}

fn of_map(map: &RowMap, digest: &mut Sha256) {
    for row in (0..map.len()).map(|row| map.row(row)) {
        digest.update((row.len() as u64).to_le_bytes());
        for (table, row) in row {
            digest.update(table.to_le_bytes());
            digest.update(row.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use ggraft_kernels::{GgmlType, LowRank};

    use super::*;

    /// Whatever changes an element changes the digest; a plain slice is what it is wherever it lies.
    #[test]
    fn adapters_rows_and_places_are_part_of_the_content() {
        let bytes: Vec<u8> = (0..128).collect();
        let low_rank = |scale| [LowRank::new(1, 4, vec![1.0; 4], vec![2.0; 8], scale).unwrap()];
        let [once, twice] = [low_rank(1.0), low_rank(2.0)];
        let tensor = |data, low_rank| Source::Tensor(Tensor::new(GgmlType::F32, data, low_rank));
        let map = |rows: &[&[(u32, u32)]]| {
            let mut map = RowMap::default();
            rows.iter().for_each(|row| map.push(row.iter().copied()));
            map
        };
        let maps = [map(&[&[(0, 1)], &[(0, 2)]]), map(&[&[(0, 1), (0, 2)], &[]]), map(&[&[(0, 2)], &[(0, 1)]])];
        let rows = |map, low_rank, first| Source::Rows {
            width: 4,
            tables: vec![Tensor::new(GgmlType::F32, &bytes, low_rank)],
            map,
            first,
        };
        let halves = [&once[..], &once].concat();
        let sources = [
            tensor(&bytes, &[]),
            tensor(&bytes[..64], &[]),
            Source::new(GgmlType::I32, &bytes),
            tensor(&bytes, &once),
            tensor(&bytes, &twice),
            tensor(&bytes, &halves),
            tensor(&bytes, &once).part(0..16),
            tensor(&bytes, &once).part(4..20),
            rows(&maps[0], &[], 0),
            rows(&maps[0], &[], 4),
            rows(&maps[0], &once, 0),
            rows(&maps[1], &[], 0),
            rows(&maps[2], &[], 0),
        ];
        let digests: Vec<Name> = sources.iter().map(digest).collect();
        for (i, one) in digests.iter().enumerate() {
            assert!(!digests[..i].contains(one), "source {i} is taken for another");
        }
        assert_eq!(digest(&tensor(&bytes, &[]).part(0..16)), digests[1]);
        let twin = [&bytes[..64], &bytes[..64]].concat();
        assert_eq!(digest(&tensor(&twin, &[]).part(16..32)), digest(&tensor(&twin, &[]).part(0..16)));
    }
}
