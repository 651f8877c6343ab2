//! A cursor over header bytes: takes the bytes at hand, gives numbers and strings, and never reads past what is there.

use ggus::GGufReader;

use super::error::Fault;

/// The most bytes a header may have. Real ones stay below 20 MB; a sparse file can claim any size for free.
pub(super) const MAX_HEADER_BYTES: u64 = 1 << 30;

/// Where the next part of a header is read from.
pub(super) struct Reader<'a> {
    rest: GGufReader<'a>,
    window: u64,
    cut: bool,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`, up to [`MAX_HEADER_BYTES`] of them.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let limit = usize::try_from(MAX_HEADER_BYTES).unwrap_or(usize::MAX);
        let window = bytes.get(..limit).unwrap_or(bytes);
        Self { rest: GGufReader::new(window), window: window.len() as u64, cut: window.len() < bytes.len() }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.window - self.remaining()
    }

    /// Bytes that are left.
    pub(super) fn remaining(&self) -> u64 {
        self.rest.remaining().len() as u64
    }

    /// The next `N` bytes; `what` is named in the error if they are not there.
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Fault> {
        let (at, have) = (self.position(), self.remaining());
        let bytes = self.rest.read::<[u8; N]>();
        bytes.map_err(|_| self.short(Fault::TruncatedHeader { what: what.into(), at, need: N as u64, have }))
    }

    /// The next four bytes as a number.
    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Fault> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// The next eight bytes as a number.
    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Fault> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// The bytes of an array of `len` elements of `size` bytes each.
    pub(super) fn elements(&mut self, key: &str, len: u64, size: usize) -> Result<&'a [u8], Fault> {
        let have = self.remaining();
        let total = usize::try_from(len).ok().and_then(|len| len.checked_mul(size));
        let taken = total.and_then(|total| self.take(total));
        taken.ok_or_else(|| self.short(Fault::ArrayLength { key: key.into(), len, have }))
    }

    /// A string: its length as `u64`, then its bytes, which need not be UTF-8.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a [u8], Fault> {
        let len = self.u64(what)?;
        let have = self.remaining();
        let taken = usize::try_from(len).ok().and_then(|len| self.take(len));
        taken.ok_or_else(|| self.short(Fault::StringLength { what: what.into(), len, have }))
    }

    /// A string that names something: UTF-8 and no NUL.
    pub(super) fn name(&mut self, what: &'static str) -> Result<&'a str, Fault> {
        let bytes = self.string(what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(Fault::NameNotText { what, bytes: bytes.iter().copied().take(80).collect() }),
        }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.remaining().split_at_checked(len)?;
        self.rest = GGufReader::new(rest);
        Some(taken)
    }

    /// Running out of bytes means a long header, not a short file, if there were more bytes than a header may have.
    pub(super) fn short(&self, fault: Fault) -> Fault {
        if self.cut { Fault::HeaderTooLong { limit: MAX_HEADER_BYTES } } else { fault }
    }
}
