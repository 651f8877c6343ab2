//! Many prompts in, their answers out, in the order given.

use super::{Progress, ScoreError};
use crate::generate::{Generator, Output, Reason, Request, Work};
use crate::model::{Live, ModelError};

/// The continuation of one prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Up to the first stop string, which is left out.
    pub text: String,
    /// Tokens generated, the last one included where it ended the answer.
    pub tokens: usize,
}

/// Answers every request, and tells what that took. The answers depend on the number of slots only through rounding in llama.cpp's batched products.
///
/// # Errors
/// [`ScoreError::Model`] if a prompt is too long or llama.cpp fails, [`ScoreError::Cancelled`] if `progress` says so.
pub fn generate(
    live: &mut Live,
    requests: &[Request],
    progress: &mut Progress,
) -> Result<(Vec<Answer>, Work), ScoreError> {
    let limit = live.size().tokens;
    if let Some(r) = requests.iter().find(|r| r.prompt.len() + r.max_tokens > limit as usize) {
        return Err(ModelError::TooLong { prompt: r.prompt.len(), wanted: r.max_tokens, limit }.into());
    }
    live.forget_all();
    let mut generator = Generator::new(live);
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
                Output::Token(token) => answers[*index].text += &token.text,
                Output::End(end) => {
                    answers[*index].tokens = end.generated_tokens;
                    done += 1;
                    match end.reason {
                        // A model that computes no numbers gives no answer, which is a score too.
                        Reason::Failed(ModelError::NotANumber) => {}
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
