//! Questions with choices in, the log-likelihood of each choice out.

use super::generate::share_prefix;
use super::{Progress, ScoreError};
use crate::generate::{Generator, Output, PromptLikelihoods, Reason, Request, Work};
use crate::model::{Live, LlamaToken, ModelError, Vocabulary};

/// A question in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuations {
    /// What all of its choices follow.
    pub context: Vec<LlamaToken>,
    /// The tokens of each choice.
    pub choices: Vec<Vec<LlamaToken>>,
}

impl Continuations {
    /// Tokens as lm-evaluation-harness takes them: white space at the end of `context` goes to the choices, which tokenizers expect to
    /// begin with it, and a choice is what the tokens of both together have beyond as many as the context has alone. Where the
    /// tokens of the context change because of what follows, the context's own are kept.
    pub fn new(vocabulary: &Vocabulary, context: &str, delimiter: &str, choices: &[String]) -> Self {
        let begin = vocabulary.tokenize(context.trim_end_matches(is_python_space));
        let beyond = |choice: &String| {
            let whole = vocabulary.tokenize(&[context, delimiter, choice].concat());
            whole.get(begin.len()..).unwrap_or_default().to_vec()
        };
        let choices = choices.iter().map(beyond).collect();
        Self { context: begin, choices }
    }

    /// Tokens of the context with its longest choice.
    pub fn longest(&self) -> usize {
        self.context.len() + self.choices.iter().map(Vec::len).max().unwrap_or(0)
    }

    fn request(&self, choice: usize) -> Request {
        let prompt = [&self.context[..], &self.choices[choice]].concat();
        let asked = PromptLikelihoods { from: self.context.len(), top: 0 };
        Request { prompt_likelihoods: Some(asked), ..Request::greedy(prompt, 0) }
    }
}

/// What Python's `str.rstrip` takes away.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// For each question, the sum of `ln p(token | all before it)` over the tokens of each choice, and what that took.
///
/// Questions are asked side by side, the choices of one after another in the same slot: its context is computed once.
///
/// # Errors
/// [`ScoreError::Model`] if a question is too long, has no context, or llama.cpp fails, [`ScoreError::Cancelled`] if `progress` says so.
pub fn log_likelihoods(
    live: &mut Live,
    questions: &[&Continuations],
    progress: &mut Progress,
) -> Result<(Vec<Vec<f64>>, Work), ScoreError> {
    let limit = live.size().tokens;
    if let Some(prompt) = questions.iter().map(|q| q.longest()).find(|length| *length > limit as usize) {
        return Err(ModelError::TooLong { prompt, wanted: 0, limit }.into());
    }
    if questions.iter().any(|q| q.context.is_empty()) {
        return Err(ModelError::EmptyPrompt.into());
    }
    live.forget_all();
    let mut generator = Generator::new(live);
    share_prefix(&mut generator, live, questions.iter().map(|q| &q.context[..]))?;
    let mut sums: Vec<Vec<f64>> = questions.iter().map(|q| vec![0.0; q.choices.len()]).collect();
    // Prompts of equal length are computed as one rectangle; sorting brings them together.
    let mut order: Vec<usize> = (0..questions.len()).filter(|q| !questions[*q].choices.is_empty()).collect();
    order.sort_by_key(|q| questions[*q].context.len() + questions[*q].choices[0].len());
    let mut fresh = order.into_iter();
    // Choices whose question has just been computed: they go first, and into its slot, which has most in common with them.
    let mut next: Vec<(usize, usize)> = Vec::new();
    let mut done = 0;
    let mut failure = None;
    loop {
        while generator.free() > 0 {
            let Some((question, choice)) = next.pop().or_else(|| Some((fresh.next()?, 0))) else { break };
            let request = questions[question].request(choice);
            generator.start(live, (question, choice), request).map_err(|(_, error)| error)?;
        }
        progress.report(done, questions.len())?;
        if generator.running() == 0 {
            break;
        }
        let mut note = |&mut (question, choice): &mut (usize, usize), output| {
            match output {
                Output::Prompt(tokens) => sums[question][choice] = tokens.iter().map(|t| f64::from(t.log)).sum(),
                Output::Token(_) => {}
                Output::End(end) => {
                    if let Reason::Failed(error) = end.reason {
                        failure = Some(error);
                    }
                    if choice + 1 < questions[question].choices.len() {
                        next.push((question, choice + 1));
                    } else {
                        done += 1;
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
    Ok((sums, generator.work()))
}
