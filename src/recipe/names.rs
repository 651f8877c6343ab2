//! What a GGUF tensor is called in the Hugging Face checkpoint it came from, so that mergekit filters find it.
//!
//! In: a GGUF name and `general.architecture`. Out: a [`TensorName`] that knows whether a filter means it. The pairs are
//! those of llama.cpp's converter (`gguf-py/gguf/tensor_mapping.py`) for the llama, mistral, qwen, gemma and phi3 families.

/// Modules of a block, and of the model around the blocks.
const MODULES: &[(&str, &str)] = &[
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_exps", "mlp.experts.gate_proj"),
    ("ffn_up_exps", "mlp.experts.up_proj"),
    ("ffn_down_exps", "mlp.experts.down_proj"),
    ("ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
    ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
];

/// Gemma 2 and 3 have four norms to a block, so the one before the feed-forward has a name of its own.
const GEMMA: &[(&str, &str)] = &[("ffn_norm", "pre_feedforward_layernorm")];
/// Phi 3 keeps gate and up in one matrix.
const PHI3: &[(&str, &str)] = &[("ffn_up", "mlp.gate_up_proj")];
/// Mixtral is the mixture of experts that says `llama` in GGUF.
const MIXTRAL: &[(&str, &str)] = &[
    ("ffn_gate_inp", "block_sparse_moe.gate"),
    ("ffn_gate_exps", "block_sparse_moe.experts.w1"),
    ("ffn_up_exps", "block_sparse_moe.experts.w3"),
    ("ffn_down_exps", "block_sparse_moe.experts.w2"),
];

/// A tensor under both of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorName {
    /// Its name in GGUF, such as `blk.3.attn_q.weight`.
    pub gguf: String,
    /// Its name in the Hugging Face checkpoint, such as `model.layers.3.self_attn.q_proj.weight`, where it has one.
    pub hf: Option<String>,
}

impl TensorName {
    /// The names of GGUF tensor `gguf` in a model of architecture `arch`.
    pub fn new(gguf: &str, arch: &str) -> Self {
        Self { gguf: gguf.to_owned(), hf: hf_name(gguf, arch) }
    }

    /// The same tensor in block `layer`; a tensor outside the blocks stays itself.
    pub fn at_layer(gguf: &str, layer: u32, arch: &str) -> Self {
        match split_block(gguf) {
            Some((_, rest)) => Self::new(&format!("blk.{layer}.{rest}"), arch),
            None => Self::new(gguf, arch),
        }
    }

    /// Whether `filter` is part of the Hugging Face name, or of the GGUF name if it is written for GGUF.
    ///
    /// A filter that occurs in any Hugging Face module counts as written for Hugging Face: mergekit's `attn` is a part of
    /// `self_attn` and must not catch `blk.3.attn_norm` too.
    pub fn matches(&self, filter: &str) -> bool {
        let in_gguf = self.gguf.contains(filter);
        match &self.hf {
            Some(hf) => hf.contains(filter) || in_gguf && !is_hf_filter(filter),
            None => in_gguf,
        }
    }
}

/// `blk.<n>.<rest>` taken apart.
pub fn split_block(gguf: &str) -> Option<(u32, &str)> {
    let (number, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

fn is_hf_filter(filter: &str) -> bool {
    [MODULES, GEMMA, PHI3, MIXTRAL].into_iter().flatten().any(|(_, hf)| hf.contains(filter))
}

fn hf_name(gguf: &str, arch: &str) -> Option<String> {
    let (block, rest) = split_block(gguf).map_or((None, gguf), |(n, rest)| (Some(n), rest));
    let (module, suffix) = rest.rsplit_once('.')?;
    let special = match arch {
        "gemma2" | "gemma3" => GEMMA,
        "phi3" => PHI3,
        "llama" => MIXTRAL,
        _ => &[],
    };
    let (_, hf) = special.iter().chain(MODULES).find(|(name, _)| *name == module)?;
    Some(match block {
        Some(n) => format!("model.layers.{n}.{hf}.{suffix}"),
        None => format!("{hf}.{suffix}"),
    })
}
