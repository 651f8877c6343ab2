//! What this process writes to disk: how many bytes, as the kernel counts them, and that a write too many is an error.

use std::fs;

/// `write_bytes` of `/proc/self/io`, or `None` where the system does not say.
pub fn written_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

/// Does `work` and adds to `total`, if that is known, what is written meanwhile.
pub fn counted<T>(total: &mut Option<u64>, work: impl FnOnce() -> T) -> T {
    let before = written_bytes();
    let done = work();
    if let (Some(total), Some(before), Some(after)) = (total, before, written_bytes()) {
        *total += after.saturating_sub(before);
    }
    done
}

/// Makes a write beyond the limit on file sizes (`ulimit -f`) an error like that of a full disk, where it would end the process.
pub fn survive_size_limit() {
    #[cfg(unix)]
    // SAFETY: a signal that is ignored runs no code of ours; the write that it would have announced fails with `EFBIG`.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
