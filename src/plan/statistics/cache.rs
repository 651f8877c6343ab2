//! Answers kept in a file, so that the next run over the same parents need not look at them: `--cache`.
//!
//! The file is read whole and believed only if its digest is right; each answer is checked again by whoever asks. It is written beside its
//! final name and renamed, so that a run that dies or a run beside this one leaves a whole file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use thiserror::Error;

use super::content::Name;

/// How such a file begins.
const MAGIC: &[u8] = b"ggraft statistics 2\n";
/// Bytes of a name and a digest.
const NAME: usize = 32;
/// The longest file that is read or written.
const MAX_BYTES: u64 = 8 << 30;

/// What is in a cache file, and what is to be added to it.
pub struct Cache {
    path: PathBuf,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    known: HashMap<Name, Vec<f64>>,
    /// Whether some are not in the file yet.
    new: bool,
}

/// Why a cache file cannot be used.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The file cannot be read or written.
    #[error("cannot use the cache `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else is in the file.
    #[error("`{}` is not a cache of ggraft, or is damaged; delete it, or give another name to `--cache`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is longer than any cache.
    #[error("the cache `{}` is longer than {limit} bytes; delete it", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
}

impl Cache {
    /// Reads the cache at `path`; a file that is not there yet is empty.
    ///
    /// # Errors
    /// [`CacheError`] if there is something else, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Io { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path: path.to_owned(), entries: Mutex::default() });
            }
            file => file.and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?,
        };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(CacheError::TooLong { path: path.to_owned(), limit: MAX_BYTES });
        }
        let known = parse(&bytes).ok_or_else(|| CacheError::Foreign { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), entries: Mutex::new(Entries { known, new: false }) })
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn recall(&self, name: &Name) -> Option<Vec<f64>> {
        self.entries().known.get(name).cloned()
    }

    pub(super) fn learn(&self, name: Name, numbers: Vec<f64>) {
        let mut entries = self.entries();
        entries.known.insert(name, numbers);
        entries.new = true;
    }

    /// Writes what has been learnt, if anything has, beside what a run at the same time may have written.
    ///
    /// # Errors
    /// [`CacheError`] if the file cannot be written, or has become something else.
    pub fn save(&self) -> Result<(), CacheError> {
        let mut entries = self.entries();
        if !entries.new {
            return Ok(());
        }
        let others = Self::open(&self.path)?.entries.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (name, numbers) in others.known {
            entries.known.entry(name).or_insert(numbers);
        }
        write(&self.path, &entries.known).map_err(|source| CacheError::Io { path: self.path.clone(), source })?;
        entries.new = false;
        Ok(())
    }
}

/// Name, length and numbers of each entry, then a digest of all that.
fn write(path: &Path, known: &HashMap<Name, Vec<f64>>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = io::BufWriter::new(NamedTempFile::new_in(folder)?);
    let mut digest = Sha256::new();
    let mut size = (MAGIC.len() + NAME) as u64;
    let mut put = |bytes: &[u8]| {
        digest.update(bytes);
        file.write_all(bytes)
    };
    put(MAGIC)?;
    for (name, numbers) in known {
        size += (NAME + 8 + 8 * numbers.len()) as u64;
        if size > MAX_BYTES {
            break;
        }
        put(name)?;
        put(&(numbers.len() as u64).to_le_bytes())?;
        for number in numbers {
            put(&number.to_le_bytes())?;
        }
    }
    file.write_all(&digest.finalize())?;
    file.into_inner()?.persist(path)?;
    Ok(())
}

/// The entries of a file whose digest is right.
fn parse(bytes: &[u8]) -> Option<HashMap<Name, Vec<f64>>> {
    let (content, digest) = bytes.split_last_chunk::<NAME>()?;
    let mut rest = content.strip_prefix(MAGIC)?;
    if Sha256::digest(content)[..] != digest[..] {
        return None;
    }
    let mut known = HashMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_first_chunk::<NAME>()?;
        let (count, after) = after.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*count)).ok()?.checked_mul(8)?;
        let (numbers, after) = after.split_at_checked(length)?;
        known.insert(*name, numbers.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect());
        rest = after;
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(i: u8) -> Vec<f64> {
        (0..i).map(|k| f64::from(k) / 3.0).collect()
    }

    #[test]
    fn what_is_learnt_is_there_in_the_next_run_and_beside_what_others_learnt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/cache");
        let (first, second) = (Cache::open(&path).unwrap(), Cache::open(&path).unwrap());
        first.save().unwrap();
        assert!(!path.exists(), "nothing to write");
        first.learn([1; 32], numbers(5));
        second.learn([2; 32], numbers(0));
        first.save().unwrap();
        second.save().unwrap();
        let third = Cache::open(&path).unwrap();
        assert_eq!(third.recall(&[1; 32]), Some(numbers(5)));
        assert_eq!(third.recall(&[2; 32]), Some(numbers(0)));
        assert_eq!(third.recall(&[3; 32]), None);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn damaged_and_foreign_files_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let cache = Cache::open(&path).unwrap();
        cache.learn([1; 32], numbers(200));
        cache.save().unwrap();
        let whole = fs::read(&path).unwrap();
        for at in [0, 25, MAGIC.len() + NAME, whole.len() / 2, whole.len() - 1] {
            let mut bent = whole.clone();
            bent[at] ^= 1;
            for bytes in [&bent[..], &whole[..at]] {
                fs::write(&path, bytes).unwrap();
                assert!(matches!(Cache::open(&path), Err(CacheError::Foreign { .. })), "byte {at}");
                cache.learn([2; 32], numbers(1));
                assert!(cache.save().is_err());
                assert_eq!(fs::read(&path).unwrap(), bytes);
            }
        }
        // A right digest over a length beyond the file, which must not be allocated.
        let mut lies = [MAGIC, &[1; NAME], &u64::MAX.to_le_bytes()].concat();
        lies.extend(Sha256::digest(&lies));
        fs::write(&path, lies).unwrap();
        assert!(matches!(Cache::open(&path), Err(CacheError::Foreign { .. })));
        assert!(matches!(Cache::open(folder.path()), Err(CacheError::Io { .. })));
    }
}
