//! Random masks without storage: Philox4x32-10 bits addressed by (key, element index).
//!
//! Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). One counter block serves four neighbouring elements; any
//! element can be asked alone, so a mask is the same for any slice and any number of threads.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: u32 = 10;

/// Names one mask: every (recipe seed, tensor, parent) has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskKey {
    /// The recipe's seed, as Philox's key.
    pub seed: [u32; 2],
    /// Which mask of that seed, as the upper half of Philox's counter.
    pub stream: [u32; 2],
}

/// The four 32-bit outputs of Philox4x32-10 for one counter and key.
pub(crate) fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter =
            [(p1 >> 32) as u32 ^ counter[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ counter[3] ^ key[1], p0 as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// The bound below which a 32-bit draw keeps its element, so that a share `density` of them is kept; 2^32 keeps all.
pub fn keep_threshold(density: f64) -> u64 {
    (density.clamp(0.0, 1.0) * 4_294_967_296.0).round() as u64
}

impl MaskKey {
    /// Sets `draws[k]` to the random bits of element `first + k`, which is kept if they are below some threshold.
    pub(crate) fn fill(self, first: u64, draws: &mut [u32]) {
        let mut index = first;
        let mut rest = draws;
        while !rest.is_empty() {
            let block = index / 4;
            let counter = [block as u32, (block >> 32) as u32, self.stream[0], self.stream[1]];
            let lanes = philox4x32(counter, self.seed);
            let lane = (index % 4) as usize;
            let (now, later) = rest.split_at_mut((4 - lane).min(rest.len()));
            now.copy_from_slice(&lanes[lane..lane + now.len()]);
            index += now.len() as u64;
            rest = later;
        }
    }
}
