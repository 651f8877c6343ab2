//! A live model and prompts in, tokens out: the sequences of one context decoded side by side, a slot refilled as soon as its answer ends.
//!
//! Who runs a model (`run`, `score`, `serve`) owns a [`Generator`] beside it, starts requests as slots become free, and calls
//! [`Generator::step`] until nothing runs. Prompts are computed in pieces between the steps of running answers, and a prompt that begins
//! like what its slot has computed last is computed from where they part.

mod generator;
mod likelihood;
mod slot;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

pub use generator::Generator;
pub use likelihood::{Likelihood, negative_log_likelihood};

use crate::model::{LlamaToken, ModelError, Sampling};

/// A prompt to be continued.
#[derive(Clone, Debug)]
pub struct Request {
    /// Tokens of the prompt, at least one.
    pub prompt: Vec<LlamaToken>,
    /// Most tokens to generate; 0 for only reading the prompt.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Strings that end the answer and do not belong to it.
    pub stop: Vec<String>,
    /// Asks how likely each generated token was, and as many of the most likely ones beside it.
    pub likelihoods: Option<usize>,
    /// The same for tokens of the prompt.
    pub prompt_likelihoods: Option<PromptLikelihoods>,
}

/// Which of a prompt's tokens should be told how likely they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptLikelihoods {
    /// Index of the first one. Nothing comes before a prompt's first token to predict it, so 0 means the same as 1; what stands before
    /// the token at `from - 1` may have been computed for an earlier request.
    pub from: usize,
    /// As many of the most likely tokens beside each.
    pub top: usize,
}

impl PromptLikelihoods {
    /// Those of every token after the first.
    pub fn all(top: usize) -> Self {
        Self { from: 1, top }
    }

    /// Position of the first token whose logits are needed.
    fn first_position(self) -> usize {
        self.from.saturating_sub(1)
    }
}

impl Request {
    /// The most likely continuation of `prompt`, by at most `max_tokens`.
    pub fn greedy(prompt: Vec<LlamaToken>, max_tokens: usize) -> Self {
        Self {
            prompt,
            max_tokens,
            sampling: Sampling::greedy(),
            stop: Vec::new(),
            likelihoods: None,
            prompt_likelihoods: None,
        }
    }
}

/// What comes of a request, in this order: the prompt if asked for, tokens, an end.
#[derive(Debug)]
pub enum Output {
    /// How likely the tokens of the prompt are that were asked for.
    Prompt(Vec<Likelihood>),
    /// A generated token.
    Token(Token),
    /// It is over; the slot is free.
    End(End),
}

/// A generated token.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Which.
    pub id: LlamaToken,
    /// What the answer's text grows by: whole characters, so it may be empty or hold what an earlier token began. What could be the
    /// beginning of a stop string comes later or never.
    pub text: String,
    /// If asked for.
    pub likelihood: Option<Likelihood>,
}

/// How a request ended.
#[derive(Debug)]
pub struct End {
    /// Why.
    pub reason: Reason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, how many the slot had computed before.
    pub reused_tokens: usize,
    /// Tokens generated, the one that ended it included.
    pub generated_tokens: usize,
    /// From the start to the first token.
    pub prompt_time: Duration,
    /// From there to the end.
    pub generate_time: Duration,
}

/// What a generator has computed, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Time for prompts. A batch that goes on with answers as well is divided by its tokens.
    pub prompt_time: Duration,
    /// Time for what comes after prompts.
    pub generate_time: Duration,
    /// Tokens of prompts computed; those that a slot had computed before cost nothing.
    pub prompt_tokens: usize,
    /// Tokens of answers computed.
    pub generated_tokens: usize,
}

impl Work {
    /// Adds what a batch of `prompt` and `generated` tokens took.
    pub fn add(&mut self, prompt: usize, generated: usize, took: Duration) {
        let all = (prompt + generated).max(1);
        let for_prompts = took.mul_f64(prompt as f64 / all as f64);
        self.prompt_time += for_prompts;
        self.generate_time += took.saturating_sub(for_prompts);
        self.prompt_tokens += prompt;
        self.generated_tokens += generated;
    }
}

/// Why a request ended.
#[derive(Debug)]
pub enum Reason {
    /// The model ended it, or a stop string did.
    Stop,
    /// As many tokens as were asked for.
    Length,
    /// The receiver wants no more.
    Cancelled,
    /// No token could be chosen, or llama.cpp failed.
    Failed(ModelError),
}
