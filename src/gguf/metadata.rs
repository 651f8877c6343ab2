//! A header's key-value pairs: kept in file order, looked up by key.

use std::collections::HashSet;

use super::error::Fault;
use super::reader::Reader;
use super::value::{Strings, Value};

/// The longest key in bytes (the GGUF specification: 2^16 - 1).
pub(super) const MAX_KEY_LEN: u64 = u16::MAX as u64;
/// The most pairs; real files have a few dozen, and look-ups go through them one by one.
pub(super) const MAX_KEYS: u64 = 1 << 12;
/// The smallest pair: the key's length, a key of one byte, the value's type and a value of one byte.
const MIN_PAIR_BYTES: u64 = 8 + 1 + 4 + 1;

/// Keys and values in file order; no key is there twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
}

impl Metadata {
    /// Reads `count` pairs.
    pub(super) fn read(reader: &mut Reader<'_>, count: u64) -> Result<Self, Fault> {
        let limit = MAX_KEYS.min(reader.remaining() / MIN_PAIR_BYTES);
        if count > limit {
            return Err(Fault::KeyCountAbsurd { count, limit });
        }
        let mut pairs = Vec::with_capacity(count as usize);
        let mut seen = HashSet::new();
        for _ in 0..count {
            let key = reader.name("metadata key")?;
            check_key(key)?;
            if !seen.insert(key) {
                return Err(Fault::DuplicateKey { key: key.into() });
            }
            pairs.push((key.to_owned(), Value::read(reader, key)?));
        }
        Ok(Self { pairs })
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// Sets `key` to `value`: in place if it is there already, at the end if not.
    pub fn insert(&mut self, key: &str, value: impl Into<Value>) {
        match self.pairs.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value.into(),
            None => self.pairs.push((key.to_owned(), value.into())),
        }
    }

    /// Takes `key` out and gives its value.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let index = self.pairs.iter().position(|(k, _)| k == key)?;
        Some(self.pairs.remove(index).1)
    }

    /// The pairs in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value of `key` as an unsigned integer, whatever its width in the file.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// The value of `key` as an unsigned integer of 32 bits, whatever its width in the file.
    pub fn u32(&self, key: &str) -> Option<u32> {
        self.u64(key)?.try_into().ok()
    }

    /// The value of `key` as a number.
    pub fn f64(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    /// The value of `key` as text.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The value of `key` as an array of strings.
    pub fn strings(&self, key: &str) -> Option<&Strings> {
        self.get(key)?.as_strings()
    }
}

/// Refuses a key that is empty or longer than the format allows.
pub(super) fn check_key(key: &str) -> Result<(), Fault> {
    let len = key.len() as u64;
    if len == 0 || len > MAX_KEY_LEN {
        return Err(Fault::KeyLength { len, limit: MAX_KEY_LEN });
    }
    Ok(())
}
