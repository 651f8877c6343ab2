//! The date for templates that tell it to the model.

use std::ffi::CString;

use minijinja::{Error, ErrorKind};

/// Longest format: every real one has some letters.
const MAX_FORMAT_BYTES: usize = 256;
/// Room for what a format letter can become.
const BYTES_PER_LETTER: usize = 64;

/// The local time now, as Python's `datetime.now().strftime(format)`, which asks the C library too.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    let bad = |what: &str| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {what}"));
    if format.len() > MAX_FORMAT_BYTES {
        return Err(bad(&format!("a format of `{}` bytes, the limit is `{MAX_FORMAT_BYTES}`", format.len())));
    }
    let c_format = CString::new(format).map_err(|_| bad("the format has a NUL in it"))?;
    let mut text = vec![0_u8; BYTES_PER_LETTER * (format.len() + 1)];
    // SAFETY: `localtime_r` fills the fields that it is given, for which zeros are valid, and `strftime` writes at most the length that
    // it is told. The format ends in NUL.
    let length = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const now, &raw mut local).is_null() {
            return Err(bad("the system does not tell the local time"));
        }
        libc::strftime(text.as_mut_ptr().cast(), text.len(), c_format.as_ptr(), &raw const local)
    };
    text.truncate(length);
    String::from_utf8(text).map_err(|_| bad("the time is not UTF-8"))
}
