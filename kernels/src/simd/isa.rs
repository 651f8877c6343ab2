//! Instruction sets by name, and which one the kernels use: the best that the processor has, unless another is selected.

use std::sync::atomic::{AtomicU8, Ordering};

/// What kernels are compiled for; of those that one processor has, the slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// No vectors but those that the compiler makes of plain loops: SSE2 on x86-64, NEON on 64-bit ARM.
    Scalar = 1,
    /// AVX2 and F16C: x86-64 processors since 2013.
    Avx2,
    /// AVX-512 with F, BW, DQ and VL.
    Avx512,
    /// NEON: all 64-bit ARM processors.
    Neon,
}

/// The one in use; 0 before the first question.
static CURRENT: AtomicU8 = AtomicU8::new(0);

#[cfg(test)]
thread_local! {
    /// The one that a test's thread uses, whatever others do.
    pub(crate) static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

impl Isa {
    /// Every one, whether it is there or not.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon];

    /// What `GGRAFT_ISA` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("f16c")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }

    /// Makes it the one that kernels use, on all threads; false, and no change, if the processor does not have it.
    pub fn select(self) -> bool {
        let available = self.is_available();
        if available {
            CURRENT.store(self as u8, Ordering::Relaxed);
        }
        available
    }

    /// The one that kernels use.
    pub fn current() -> Self {
        #[cfg(test)]
        if let Some(isa) = FORCED.get() {
            return isa;
        }
        match CURRENT.load(Ordering::Relaxed) {
            1 => Self::Scalar,
            2 => Self::Avx2,
            3 => Self::Avx512,
            4 => Self::Neon,
            _ => {
                let best = Self::ALL.into_iter().rfind(|isa| isa.is_available()).unwrap_or(Self::Scalar);
                best.select();
                best
            }
        }
    }
}
