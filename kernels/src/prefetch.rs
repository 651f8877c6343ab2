//! Cache lines asked for some tiles ahead, a few with every block: processors do so themselves only up to the end of a page, and a tile of
//! a quantized tensor is no longer than that. Where there are no such hints, nothing is done.

/// Bytes of a cache line.
const LINE: usize = 64;
/// Tiles between what is read and what is asked for: while one is encoded, the next ones come.
const TILES_AHEAD: usize = 2;

/// Asks for what will be read some tiles of `tile` bytes behind a block, into the second cache: the first has no room for it.
#[inline(always)]
pub(crate) fn to_read<const BYTES: usize>(block: &[u8; BYTES], tile: usize) {
    let distance = TILES_AHEAD * tile;
    for at in (0..BYTES).step_by(LINE) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which is ignored where there is no memory.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T1>(block.as_ptr().wrapping_add(distance + at).cast());
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            let line = block.as_ptr().addr().wrapping_add(distance + at);
            std::arch::asm!("prfm pldl2keep, [{}]", in(reg) line, options(nomem, nostack, preserves_flags));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = (block, distance, at);
    }
}

/// Asks for what will be written one tile of `tile` bytes behind a block.
#[inline(always)]
pub(crate) fn to_write<const BYTES: usize>(block: &mut [u8; BYTES], tile: usize) {
    for at in (0..BYTES).step_by(LINE) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_ET0>(block.as_ptr().wrapping_add(tile + at).cast());
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            let line = block.as_ptr().addr().wrapping_add(tile + at);
            std::arch::asm!("prfm pstl1keep, [{}]", in(reg) line, options(nomem, nostack, preserves_flags));
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = (&block, tile, at);
    }
}
