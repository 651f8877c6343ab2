//! An architecture's name in, out what llama.cpp's graph of it allows: whether blocks may change places, and where a hop's gain goes.
//!
//! Read from src/models/*.cpp of llama.cpp as llama-cpp-sys-2 0.1.161 has it. What is not named here has not been read, and is refused.

/// Decoders whose blocks compute the same in every place: neither graph nor loader asks for a layer's number or the number of layers,
/// other than for what the metadata can say (`schedule::WINDOW_PERIOD`, `schedule::COUNT_MATTERS`, lists by layer).
const FREE: &str = "apertus arcee arctic bailingmoe bitnet bloom chatglm codeshell cohere2 dbrx ernie4_5 exaone exaone4 falcon gemma \
    gemma-embedding gemma2 gemma3 glm4 gpt-oss gpt2 gptneox granite granitemoe grok grovemoe hunyuan-dense \
    hunyuan-moe internlm2 jais jais2 llama maincoder mellum minimax-m2 mistral3 mpt muse-glimmer nemotron olmo olmo2 \
    olmoe openelm orion pangu-embedded phi2 phi3 phimoe plamo plamo3 plm qwen qwen2 qwen2moe qwen2vl qwen3 qwen3moe \
    refact seed_oss stablelm starcoder starcoder2 talkie xverse";

/// Architectures where every block has experts.
const EXPERTS: &str = "arctic bailingmoe dbrx gpt-oss granitemoe grok grovemoe hunyuan-moe mellum minimax-m2 olmoe phimoe qwen2moe \
    qwen3moe";

fn named(list: &str, arch: &str) -> bool {
    list.split(' ').any(|name| name == arch)
}

/// Why blocks of `arch` cannot be taken out of order, if they cannot.
pub(super) fn schedule_obstacle(arch: &str) -> Option<&'static str> {
    if named(FREE, arch) {
        return None;
    }
    Some(match arch {
        // `(il + 1) % n_no_rope_layer_step`
        "smollm3" => "leaves out rotary positions in every fourth layer by number",
        "llama4" | "smallthinker" | "afmoe" => "chooses layers without rotary positions, or with experts, by number",
        // `n_layer_kv_from_start`, `per_layer_tok_embd`
        "gemma3n" | "gemma4" => {
            "keeps an input for each layer in one tensor, and lets later layers read the keys of earlier ones"
        }
        "minicpm" | "minicpm3" => "scales what a layer writes by the number of layers",
        "baichuan" => "takes its kind of position encoding from the number of layers",
        "command-r" => "has norms of queries and keys that llama.cpp expects by the number of layers",
        // `n_layer_dense_lead`
        "bailingmoe2" | "bailingmoe3" | "cohere2moe" | "deepseek" | "deepseek2" | "deepseek2-ocr" | "deepseek32"
        | "dots1" | "dots3note" | "ernie4_5-moe" | "exaone-moe" | "glm-dsa" | "glm4moe" | "laguna" | "lfm2moe"
        | "minimax-m3" | "mistral4" => "has a fixed number of first layers without experts",
        "deepseek4" => "has a fixed number of first layers with routing by hash",
        "falcon-h1" | "granitehybrid" | "jamba" | "kimi-k3" | "kimi-linear" | "lfm2" | "mamba" | "mamba2"
        | "minimax-01" | "nemotron_h" | "nemotron_h_moe" | "plamo2" | "qwen3next" | "qwen35" | "qwen35moe" => {
            "has recurrent layers, which ggraft does not know how to move"
        }
        "arwkv7" | "rwkv6" | "rwkv6qwen2" | "rwkv7" => {
            "has a first layer unlike the others, or rescales by number of layer"
        }
        "qwen3vl" | "qwen3vlmoe" => "adds image features to its first layers by number",
        "t5" | "t5encoder" => "keeps what all layers know of positions in layer 0",
        "modern-bert" | "nomic-bert-moe" => "chooses the kind of a layer by number",
        "deci" => "takes the size of all heads from its first layer, which may have none",
        "hrm_text" | "nanbeige" => "already runs its layers several times, by number",
        _ => "is not an architecture that ggraft knows to compute the same in every order of layers",
    })
}

/// How a hop's gain reaches the two residual writes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GainVia {
    /// The optional tensors `attn_output.scale` and `ffn_down.scale`, which the graph multiplies the outputs by: the first before it
    /// adds `attn_output.bias`, the second after it has added `ffn_down.bias` (`build_attn` and `build_ffn` in src/llama-graph.cpp).
    Scale,
    /// `post_attention_norm.weight` and `post_ffw_norm.weight`, the weights of the norms right before the residual additions. They hold
    /// whatever the graph multiplies by, Gemma's 1 included.
    PostNorms,
}

/// How blocks of `arch` take gains.
///
/// # Errors
/// The reason, as the middle of a sentence "`{arch}` {reason}".
pub(super) fn gain_via(arch: &str) -> Result<GainVia, &'static str> {
    match arch {
        "bitnet" | "cohere2" | "llama" | "mistral3" | "qwen3" | "talkie" => Ok(GainVia::Scale),
        "exaone4" | "gemma-embedding" | "gemma2" | "gemma3" | "glm4" | "muse-glimmer" | "olmo2" => {
            Ok(GainVia::PostNorms)
        }
        // Its tensors lack the suffix `.weight`; everything that reads names by suffix would miss them.
        "plamo3" => Err("names the norms after attention and feed-forward in a way of its own"),
        _ if named(EXPERTS, arch) => Err("has experts, whose outputs ggraft cannot scale"),
        _ if schedule_obstacle(arch).is_none() => {
            Err("does not pass hop scales to its feed-forward network in llama.cpp")
        }
        _ => Err("is not an architecture that ggraft knows how to scale the layers of"),
    }
}
