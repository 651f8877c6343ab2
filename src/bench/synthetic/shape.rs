//! A model's shape by its name in, its metadata and tensors out, as a converter would write them.

use ggraft_kernels::GgmlType;

use super::vocabulary;
use crate::gguf::{Metadata, TensorInfo};

/// How large a llama is.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// Whose shape it is.
    pub like: &'static str,
    blocks: u32,
    width: u32,
    feed_forward: u32,
    heads: u32,
    kv_heads: u32,
    tokens: u32,
    /// Whether the table of tokens is the output matrix too.
    tied: bool,
}

/// The shapes there are, the largest first.
#[rustfmt::skip]
pub const SHAPES: [Shape; 4] = [
    Shape { name: "llama-7b", like: "Mistral 7B's", blocks: 32, width: 4096, feed_forward: 14336, heads: 32, kv_heads: 8, tokens: 32_000, tied: false },
    Shape { name: "llama-1b", like: "TinyLlama's", blocks: 22, width: 2048, feed_forward: 5632, heads: 32, kv_heads: 4, tokens: 32_000, tied: false },
    Shape { name: "llama-135m", like: "SmolLM2-135M's", blocks: 30, width: 576, feed_forward: 1536, heads: 9, kv_heads: 3, tokens: 49_152, tied: true },
    Shape { name: "llama-4m", like: "nobody's, to try things out", blocks: 4, width: 256, feed_forward: 768, heads: 4, kv_heads: 2, tokens: 2_048, tied: true },
];

impl Shape {
    /// The shape called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        SHAPES.iter().find(|shape| shape.name == name)
    }

    /// Settings and vocabulary.
    pub(super) fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.insert("general.architecture", "llama");
        metadata.insert("general.name", self.name);
        for (key, value) in [
            ("block_count", self.blocks),
            ("context_length", 8192),
            ("embedding_length", self.width),
            ("feed_forward_length", self.feed_forward),
            ("attention.head_count", self.heads),
            ("attention.head_count_kv", self.kv_heads),
            ("rope.dimension_count", self.width / self.heads),
            ("vocab_size", self.tokens),
        ] {
            metadata.insert(&format!("llama.{key}"), value);
        }
        metadata.insert("llama.attention.layer_norm_rms_epsilon", 1e-5f32);
        vocabulary::add(&mut metadata, self.tokens as usize);
        metadata
    }

    /// Matrices of type `ty` where rows are whole blocks of it, and norms.
    pub(super) fn tensors(&self, ty: GgmlType) -> Vec<TensorInfo> {
        let [width, feed_forward, tokens] = [self.width, self.feed_forward, self.tokens].map(u64::from);
        let kv = width / u64::from(self.heads) * u64::from(self.kv_heads);
        let matrix = |name: String, row: u64, rows: u64| described(name, vec![row, rows], whole_blocks(ty, row));
        let norm = |name: String| described(name, vec![width], GgmlType::F32);
        let block = |i: u32| {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            [
                norm(name("attn_norm")),
                matrix(name("attn_q"), width, width),
                matrix(name("attn_k"), width, kv),
                matrix(name("attn_v"), width, kv),
                matrix(name("attn_output"), width, width),
                norm(name("ffn_norm")),
                matrix(name("ffn_gate"), width, feed_forward),
                matrix(name("ffn_up"), width, feed_forward),
                matrix(name("ffn_down"), feed_forward, width),
            ]
        };
        let mut tensors = vec![matrix("token_embd.weight".into(), width, tokens)];
        tensors.extend((0..self.blocks).flat_map(block));
        tensors.push(norm("output_norm.weight".into()));
        if !self.tied {
            tensors.push(matrix(OUTPUT.into(), width, tokens));
        }
        tensors
    }

    /// The matrix whose rows give the tokens' logits.
    pub(super) fn logits(&self) -> &'static str {
        if self.tied { "token_embd.weight" } else { OUTPUT }
    }
}

const OUTPUT: &str = "output.weight";

/// `ty`, or the next coarser blocks that a row is made of.
fn whole_blocks(ty: GgmlType, row: u64) -> GgmlType {
    let fits = |ty: &GgmlType| row.is_multiple_of(ty.block_size() as u64);
    [ty, GgmlType::Q8_0].into_iter().find(fits).unwrap_or(GgmlType::F16)
}

fn described(name: String, shape: Vec<u64>, ty: GgmlType) -> TensorInfo {
    TensorInfo::new(name, shape, ty).expect("the shapes above are sound")
}
