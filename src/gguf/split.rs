//! Split sets: the header of one piece goes in, its place in the set and the paths of the other pieces come out.
//!
//! llama.cpp names piece `no` (from 0) of `count` `<prefix>-%05d-of-%05d.gguf`, counted from 1, and puts both numbers
//! into each piece's metadata (`llama_split_path` in src/llama.cpp, src/llama-model-loader.cpp).

use std::path::{Path, PathBuf};

use super::error::Fault;
use super::metadata::Metadata;

/// This piece's number, from 0.
pub(super) const SPLIT_NO: &str = "split.no";
/// The number of pieces.
pub(super) const SPLIT_COUNT: &str = "split.count";
/// The number of tensors in all pieces together.
pub(super) const SPLIT_TENSORS_COUNT: &str = "split.tensors.count";

/// The paths of the pieces after the first, given the first piece; none for a file that is whole.
pub(super) fn later_pieces(first: &Path, metadata: &Metadata) -> Result<Vec<PathBuf>, Fault> {
    let count = match metadata.get(SPLIT_COUNT) {
        None => return Ok(Vec::new()),
        // llama.cpp keeps the count in 16 bits.
        Some(value) => value.as_u64().filter(|&count| count <= u64::from(u16::MAX)).ok_or_else(|| Fault::BadKey {
            key: SPLIT_COUNT.into(),
            found: value.to_string(),
            wanted: "a number of pieces below 65536",
        })?,
    };
    if count < 2 {
        return Ok(Vec::new());
    }
    let no = metadata.u64(SPLIT_NO).ok_or_else(|| Fault::MissingKey { key: SPLIT_NO.into() })?;
    let path_of = |other| piece_path(first, no, other, count);
    if no != 0 {
        return Err(Fault::NotFirstPiece { no, count, first: path_of(0)? });
    }
    (1..count).map(path_of).collect()
}

/// Refuses a piece whose metadata do not say that it is piece `no` of `count`.
pub(super) fn check_piece(metadata: &Metadata, no: u64, count: u64) -> Result<(), Fault> {
    for (key, wanted) in [(SPLIT_NO, no), (SPLIT_COUNT, count)] {
        if metadata.u64(key) != Some(wanted) {
            let found = metadata.get(key).map_or("nothing".into(), ToString::to_string);
            return Err(Fault::PieceMismatch { key, found, wanted });
        }
    }
    Ok(())
}

/// The path of piece `other`, given the path of piece `no`.
fn piece_path(path: &Path, no: u64, other: u64, count: u64) -> Result<PathBuf, Fault> {
    let wanted = ending(no, count);
    let prefix = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(&wanted));
    match prefix {
        Some(prefix) => Ok(path.with_file_name(format!("{prefix}{}", ending(other, count)))),
        None => Err(Fault::PieceName { wanted }),
    }
}

fn ending(no: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", no.saturating_add(1))
}
