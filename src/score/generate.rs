//! Many prompts in, their answers out, in the order given.

use super::{Progress, ScoreError};
use crate::generate::{Generator, Output, Reason, Request, Work};
use crate::model::{Live, LlamaToken, ModelError};

/// The continuation of one prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Up to the first stop string, which is left out.
    pub text: String,
    /// Tokens generated, the last one included where it ended the answer.
    pub tokens: usize,
    /// Whether it ends because the model computed no numbers.
    pub failed: bool,
}

/// Answers every request, and tells what that took. `settled` is asked whether an answer may end where it is: it takes the request's
/// index, the text so far and how many tokens may follow. The answers depend on the number of slots only through rounding in llama.cpp's
/// batched products.
///
/// # Errors
/// [`ScoreError::Model`] if a prompt is too long or llama.cpp fails, [`ScoreError::Cancelled`] if `progress` says so.
pub fn generate(
    live: &mut Live,
    requests: &[Request],
    settled: &dyn Fn(usize, &str, usize) -> bool,
    progress: &mut Progress,
) -> Result<(Vec<Answer>, Work), ScoreError> {
    let limit = live.size().tokens;
    if let Some(r) = requests.iter().find(|r| r.prompt.len() + r.max_tokens > limit as usize) {
        return Err(ModelError::TooLong { prompt: r.prompt.len(), wanted: r.max_tokens, limit }.into());
    }
    live.forget_all();
    let mut generator = Generator::new(live);
    share_prefix(&mut generator, live, requests.iter().map(|r| &r.prompt[..]))?;
    let mut answers = vec![Answer::default(); requests.len()];
    // Prompts of equal length are computed as one rectangle; sorting brings them together.
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|r| requests[*r].prompt.len());
    let mut queue = order.into_iter();
    let mut done = 0;
    let mut failure = None;
    loop {
        for index in queue.by_ref().take(generator.free()) {
            generator.start(live, index, requests[index].clone()).map_err(|(_, error)| error)?;
        }
        progress.report(done, requests.len())?;
        if generator.running() == 0 {
            break;
        }
        let mut note = |index: &mut usize, output| {
            match output {
                Output::Prompt(_) => {}
                Output::Token(token) => {
                    let answer = &mut answers[*index];
                    answer.text += &token.text;
                    // Tokens that are held back for a stop string or a character are not counted yet: they may follow.
                    answer.tokens += 1;
                    let left = requests[*index].max_tokens.saturating_sub(answer.tokens);
                    return token.text.is_empty() || !settled(*index, &answer.text, left);
                }
                Output::End(end) => {
                    answers[*index].tokens = end.generated_tokens;
                    done += 1;
                    match end.reason {
                        // A model that computes no numbers gives no answer, which is a score too.
                        Reason::Failed(ModelError::NotANumber) => answers[*index].failed = true,
                        Reason::Failed(error) => failure = Some(error),
                        _ => {}
                    }
                }
            }
            true
        };
        generator.step(live, &mut note)?;
        if let Some(error) = failure.take() {
            return Err(error.into());
        }
    }
    live.forget_all();
    Ok((answers, generator.work()))
}

/// Fewest tokens that are worth copying.
const SHORTEST_PREFIX: usize = 8;

/// Computes what all `prompts` begin with (instructions, examples) once, for all slots.
pub(super) fn share_prefix<'a, T>(
    generator: &mut Generator<T>,
    live: &mut Live,
    prompts: impl Iterator<Item = &'a [LlamaToken]>,
) -> Result<(), ScoreError> {
    let mut prefix: Option<&[LlamaToken]> = None;
    let mut count = 0;
    for prompt in prompts {
        count += 1;
        // Of each prompt, something has to be left to compute.
        let known = prefix.unwrap_or(prompt);
        let most = prompt.len().saturating_sub(1);
        let common = known.iter().zip(prompt).take(most).take_while(|(a, b)| a == b).count();
        prefix = Some(&known[..common]);
    }
    match prefix {
        Some(prefix) if count > 1 && prefix.len() >= SHORTEST_PREFIX => Ok(generator.share(live, prefix, count)?),
        _ => Ok(()),
    }
}
