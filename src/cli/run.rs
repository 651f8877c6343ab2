//! `ggraft run`: a prompt in, a continuation out, streamed as it comes.

use std::io::{self, Write};

use serde_json::{Map, json};

use super::args::RunArgs;
use super::output::{of_model, open, print, print_json};
use crate::duration::duration;
use crate::generate::{End, Generator, Output, Reason, Request};
use crate::model::{ContextSize, Message, Sampling};

/// Most tokens of an answer of any length, unless `-c` says otherwise.
const OPEN_END: usize = 4096;

pub(super) fn run(args: &RunArgs, as_json: bool) -> anyhow::Result<()> {
    let model = open(&args.model, &args.cache)?;
    let vocabulary = model.vocabulary()?;
    let prompt = if args.chat {
        let messages = [Message::new("user", &args.prompt)];
        vocabulary.render_chat(&messages, &Map::new()).map_err(|error| of_model(&model.path, error))?
    } else {
        args.prompt.clone()
    };
    let tokens = vocabulary.tokenize(&prompt);
    let wanted = usize::try_from(args.n_predict).ok();
    let needed = u32::try_from(tokens.len().saturating_add(wanted.unwrap_or(OPEN_END))).unwrap_or(u32::MAX);
    let size = ContextSize { sequences: 1, tokens: args.compute.ctx_size.unwrap_or(needed) };
    let wanted = wanted.unwrap_or((size.tokens as usize).saturating_sub(tokens.len()));
    let (mut live, swap) = model.start(vocabulary, args.compute.settings(), size)?;
    let sampling = Sampling { temperature: args.temp, seed: args.seed, ..Sampling::plain() };
    let request = Request { sampling, ..Request::greedy(tokens, wanted) };

    let mut generator = Generator::new(&live);
    generator.start(&mut live, (), request).map_err(|((), error)| error)?;
    let mut out = io::stdout();
    let (mut text, mut end) = (String::new(), None);
    let mut show = |(): &mut (), output| match output {
        Output::Token(token) => {
            text += &token.text;
            as_json || write!(out, "{}", token.text).and_then(|()| out.flush()).is_ok()
        }
        Output::End(account) => {
            end = Some(account);
            true
        }
        Output::Prompt(_) => true,
    };
    while generator.running() > 0 {
        generator.step(&mut live, &mut show)?;
    }
    let End { reason, prompt_tokens, generated_tokens, prompt_time, generate_time, .. } =
        end.expect("a request that runs no more has ended");
    if let Reason::Failed(error) = reason {
        return Err(error.into());
    }
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
        duration(swap.fill.elapsed.as_secs_f64())
    );
    Ok(())
}
