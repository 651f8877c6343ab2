//! `ggraft run`: a prompt in, a continuation out, streamed as it comes.

use std::io::{self, Write};

use serde_json::json;

use super::args::RunArgs;
use super::output::{duration, open, print, print_json};
use crate::model::{Completion, ContextSize, Sampling, complete};

pub(super) fn run(args: &RunArgs, as_json: bool) -> anyhow::Result<()> {
    let model = open(&args.model, &args.cache)?;
    let vocabulary = model.vocabulary()?;
    let prompt = if args.chat { vocabulary.render_chat(&args.prompt)? } else { args.prompt.clone() };
    let tokens = vocabulary.tokenize(&prompt);
    let needed = u32::try_from(tokens.len() + args.n_predict).unwrap_or(u32::MAX);
    let size = ContextSize { sequences: 1, tokens: args.compute.ctx_size.unwrap_or(needed) };
    let (mut live, swap) = model.start(vocabulary, args.compute.settings(), size)?;
    let sampling = Sampling { temperature: args.temp, seed: args.seed };
    let mut out = io::stdout();
    let mut show = |text: &str| as_json || write!(out, "{text}").and_then(|()| out.flush()).is_ok();
    let done = complete(&mut live, &tokens, args.n_predict, sampling, &mut show)?;
    let Completion { text, prompt_tokens, generated_tokens, prompt_time, generate_time } = done;
    let per_second = |n: usize, t: std::time::Duration| n as f64 / t.as_secs_f64().max(1e-9);
    let (prompt_speed, speed) = (per_second(prompt_tokens, prompt_time), per_second(generated_tokens, generate_time));
    if as_json {
        return print_json(&json!({
            "text": text, "prompt_tokens": prompt_tokens, "generated_tokens": generated_tokens,
            "prompt_tokens_per_second": prompt_speed, "generated_tokens_per_second": speed,
            "swap_seconds": swap.fill.elapsed.as_secs_f64(),
        }));
    }
    print("")?;
    eprintln!(
        "merge {} | prompt {prompt_tokens} tokens, {prompt_speed:.0}/s | generated {generated_tokens} tokens, {speed:.0}/s",
        duration(swap.fill.elapsed)
    );
    Ok(())
}
