//! Cache lines asked for some tiles ahead, a few with every block: processors do so themselves only up to the end of a page, and a tile of
//! a quantized tensor is no longer than that. Where there are no such hints, nothing is done.

/// Bytes of a cache line.
const LINE: usize = 64;
/// Tiles between what is read and what is asked for: while one is encoded, the next ones come.
const TILES_AHEAD: usize = 2;

/// Asks for what will be read some tiles of `tile` bytes behind a block, into the second cache: the first has no room for it.
#[inline(always)]
pub(crate) fn to_read<const BYTES: usize>(block: &[u8; BYTES], tile: usize) {
    ask::<false>(block.as_ptr().wrapping_add(TILES_AHEAD * tile), BYTES);
}

/// Asks for what will be written one tile of `tile` bytes behind a block.
#[inline(always)]
pub(crate) fn to_write<const BYTES: usize>(block: &mut [u8; BYTES], tile: usize) {
    ask::<true>(block.as_ptr().wrapping_add(tile), BYTES);
}

#[inline(always)]
fn ask<const TO_WRITE: bool>(start: *const u8, bytes: usize) {
    for at in (0..bytes).step_by(LINE) {
        let line = start.wrapping_add(at);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which is ignored where there is no memory.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T1, _mm_prefetch};
            if TO_WRITE {
                _mm_prefetch::<_MM_HINT_ET0>(line.cast());
            } else {
                _mm_prefetch::<_MM_HINT_T1>(line.cast());
            }
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            use std::arch::asm;
            if TO_WRITE {
                asm!("prfm pstl1keep, [{}]", in(reg) line, options(nomem, nostack, preserves_flags));
            } else {
                asm!("prfm pldl2keep, [{}]", in(reg) line, options(nomem, nostack, preserves_flags));
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = (line, TO_WRITE);
    }
}
