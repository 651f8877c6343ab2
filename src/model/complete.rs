//! One prompt in, one continuation out, token by token: what `ggraft run` shows.

use std::time::{Duration, Instant};

use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;

use super::{Live, ModelError};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// For temperatures above 0.
    pub seed: u32,
}

/// What came of a prompt.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The continuation.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Time for the prompt.
    pub prompt_time: Duration,
    /// Time for the tokens after the first.
    pub generate_time: Duration,
}

/// Continues `prompt` by at most `max_tokens`; `on_text` sees each piece of whole characters as it comes and says whether to go on.
///
/// # Errors
/// [`ModelError::EmptyPrompt`], [`ModelError::TooLong`] if it cannot fit, [`ModelError::Decode`] if llama.cpp fails.
pub fn complete(
    live: &mut Live,
    prompt: &[LlamaToken],
    max_tokens: usize,
    sampling: Sampling,
    on_text: &mut dyn FnMut(&str) -> bool,
) -> Result<Completion, ModelError> {
    let limit = live.size().tokens;
    if prompt.is_empty() {
        return Err(ModelError::EmptyPrompt);
    }
    if prompt.len().saturating_add(max_tokens) > limit as usize {
        return Err(ModelError::TooLong { prompt: prompt.len(), wanted: max_tokens, limit });
    }
    let mut sampler = if sampling.temperature > 0.0 {
        LlamaSampler::chain_simple([LlamaSampler::temp(sampling.temperature), LlamaSampler::dist(sampling.seed)])
    } else {
        LlamaSampler::greedy()
    };
    live.forget_all();
    let mut batch = LlamaBatch::new(live.batch_size(), 1);
    let start = Instant::now();
    let mut position = 0;
    for chunk in prompt.chunks(live.batch_size()) {
        batch.clear();
        for (i, token) in chunk.iter().enumerate() {
            batch.add(*token, position, &[0], i + 1 == chunk.len()).expect("chunks fit the batch");
            position += 1;
        }
        live.decode(&mut batch)?;
    }
    let prompt_time = start.elapsed();
    let start = Instant::now();
    let mut bytes = Vec::new();
    let mut shown = 0;
    let mut generated_tokens = 0;
    while generated_tokens < max_tokens {
        let token = live.sample(&mut sampler);
        if live.vocabulary().is_end(token) {
            break;
        }
        generated_tokens += 1;
        live.vocabulary().append_piece(token, &mut bytes);
        let whole = shown + whole_characters(&bytes[shown..]);
        let more = on_text(&String::from_utf8_lossy(&bytes[shown..whole]));
        shown = whole;
        if !more || generated_tokens == max_tokens {
            break;
        }
        batch.clear();
        batch.add(token, position, &[0], true).expect("one token fits");
        position += 1;
        live.decode(&mut batch)?;
    }
    on_text(&String::from_utf8_lossy(&bytes[shown..]));
    live.forget_all();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Completion { text, prompt_tokens: prompt.len(), generated_tokens, prompt_time, generate_time: start.elapsed() })
}

/// Length of `bytes` without a character that has only begun: tokens may end in the middle of one.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(e) if e.error_len().is_none() => e.valid_up_to(),
        Err(_) => bytes.len(),
    }
}
