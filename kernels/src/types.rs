//! The tensor types of ggml: their numbers on disk, names and block geometry (ggml.h `enum ggml_type`, ggml.c `type_traits`).

use std::fmt;

/// Elements in one super-block of the K- and IQ-quants (ggml-common.h).
pub const QK_K: usize = 256;

macro_rules! ggml_types {
    ($($variant:ident = $id:literal, $name:literal, $block:expr, $bytes:expr;)*) => {
        /// A tensor type that llama.cpp can load, with ggml's own number as discriminant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        #[allow(non_camel_case_types, reason = "ggml's own spelling, so that one can grep across")]
        pub enum GgmlType {
            $(#[doc = concat!("ggml's `", $name, "`: ", stringify!($bytes), " bytes for each ", stringify!($block), " elements")] $variant = $id,)*
        }

        impl GgmlType {
            /// Every type, in ggml's order.
            pub const ALL: &[GgmlType] = &[$(GgmlType::$variant,)*];

            /// The type with ggml's number `id`, or `None` where ggml has none (removed numbers included).
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// ggml's own name (`ggml_type_name`), for example `q4_K`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Elements in one block (`ggml_blck_size`).
            pub const fn block_size(self) -> usize {
                match self {
                    $(Self::$variant => $block,)*
                }
            }

            /// Bytes of one block (`ggml_type_size`).
            pub const fn type_size(self) -> usize {
                match self {
                    $(Self::$variant => $bytes,)*
                }
            }
        }
    };
}

ggml_types! {
    F32 = 0, "f32", 1, 4;
    F16 = 1, "f16", 1, 2;
    Q4_0 = 2, "q4_0", 32, 2 + 16;
    Q4_1 = 3, "q4_1", 32, 4 + 16;
    Q5_0 = 6, "q5_0", 32, 2 + 4 + 16;
    Q5_1 = 7, "q5_1", 32, 4 + 4 + 16;
    Q8_0 = 8, "q8_0", 32, 2 + 32;
    Q8_1 = 9, "q8_1", 32, 4 + 32;
    Q2_K = 10, "q2_K", QK_K, 4 + QK_K / 16 + QK_K / 4;
    Q3_K = 11, "q3_K", QK_K, 2 + QK_K / 4 + QK_K / 8 + 12;
    Q4_K = 12, "q4_K", QK_K, 4 + 12 + QK_K / 2;
    Q5_K = 13, "q5_K", QK_K, 4 + 12 + QK_K / 2 + QK_K / 8;
    Q6_K = 14, "q6_K", QK_K, 2 + QK_K / 16 + 3 * QK_K / 4;
    Q8_K = 15, "q8_K", QK_K, 4 + QK_K + QK_K / 16 * 2;
    IQ2_XXS = 16, "iq2_xxs", QK_K, 2 + QK_K / 8 * 2;
    IQ2_XS = 17, "iq2_xs", QK_K, 2 + QK_K / 8 * 2 + QK_K / 32;
    IQ3_XXS = 18, "iq3_xxs", QK_K, 2 + 3 * (QK_K / 8);
    IQ1_S = 19, "iq1_s", QK_K, 2 + QK_K / 8 + QK_K / 16;
    IQ4_NL = 20, "iq4_nl", 32, 2 + 16;
    IQ3_S = 21, "iq3_s", QK_K, 2 + 13 * (QK_K / 32) + QK_K / 64;
    IQ2_S = 22, "iq2_s", QK_K, 2 + QK_K / 4 + QK_K / 16;
    IQ4_XS = 23, "iq4_xs", QK_K, 4 + QK_K / 64 + QK_K / 2;
    I8 = 24, "i8", 1, 1;
    I16 = 25, "i16", 1, 2;
    I32 = 26, "i32", 1, 4;
    I64 = 27, "i64", 1, 8;
    F64 = 28, "f64", 1, 8;
    IQ1_M = 29, "iq1_m", QK_K, QK_K / 8 + QK_K / 16 + QK_K / 32;
    BF16 = 30, "bf16", 1, 2;
    TQ1_0 = 34, "tq1_0", QK_K, 2 + QK_K / 64 + (QK_K - 4 * QK_K / 64) / 5;
    TQ2_0 = 35, "tq2_0", QK_K, 2 + QK_K / 4;
    MXFP4 = 39, "mxfp4", 32, 1 + 16;
    NVFP4 = 40, "nvfp4", 64, 4 + 32;
    Q1_0 = 41, "q1_0", 128, 2 + 128 / 8;
    Q2_0 = 42, "q2_0", 64, 2 + 64 / 4;
}

impl GgmlType {
    /// Bytes of one row of `ne0` elements (`ggml_row_size`); `None` if `ne0` is not a whole number of blocks or the size overflows.
    pub const fn row_size(self, ne0: usize) -> Option<usize> {
        if !ne0.is_multiple_of(self.block_size()) {
            return None;
        }
        (ne0 / self.block_size()).checked_mul(self.type_size())
    }

    /// Whether the elements are integers: index tables and the like, which no merge may blend.
    pub const fn is_integer(self) -> bool {
        matches!(self, Self::I8 | Self::I16 | Self::I32 | Self::I64)
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
