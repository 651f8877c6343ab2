//! The bound: memcpy of as many bytes, on the threads that merges run on.

use std::time::{Duration, Instant};

use rayon::prelude::*;

/// Most bytes of one of the two buffers; more bytes are copied in several rounds.
const MAX_BUFFER: usize = 1 << 30;

/// Two buffers to copy between.
pub(super) struct Copy {
    from: Vec<u8>,
    to: Vec<u8>,
    bytes: usize,
}

impl Copy {
    /// What moves `moved` bytes: half of them read, half of them written.
    pub fn of(moved: u64) -> Self {
        let bytes = usize::try_from(moved / 2).unwrap_or(usize::MAX);
        let buffer = bytes.clamp(1, MAX_BUFFER);
        // Written once, so that no page is first touched while the clock runs.
        Self { from: vec![1; buffer], to: vec![2; buffer], bytes }
    }

    /// How long it takes.
    pub fn time(&mut self) -> Duration {
        let start = Instant::now();
        let mut left = self.bytes;
        while left > 0 {
            let now = left.min(self.to.len());
            // One call on each thread: what it does with pieces of some size is the C library's choice.
            let share = now.div_ceil(rayon::current_num_threads());
            let shares = self.to[..now].par_chunks_mut(share).zip(self.from[..now].par_chunks(share));
            shares.for_each(|(to, from)| to.copy_from_slice(from));
            std::hint::black_box(&mut self.to);
            left -= now;
        }
        start.elapsed()
    }
}
