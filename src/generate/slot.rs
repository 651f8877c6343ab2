//! One sequence of the context: the request that runs in it, and the tokens whose state it holds.

use std::time::Instant;

use super::text::Text;
use super::{End, Likelihood, Output, PromptLikelihoods, Reason, Request, Token};
use crate::model::{LlamaToken, Sampler, Vocabulary};

/// A sequence of the context.
pub(super) struct Slot<T> {
    /// The tokens that llama.cpp holds the state of, from the first on.
    pub(super) computed: Vec<LlamaToken>,
    /// When it was last used, in steps of the generator.
    pub(super) used: u64,
    pub(super) job: Option<Job<T>>,
}

/// A request under way.
pub(super) struct Job<T> {
    pub(super) tag: T,
    pub(super) request: Request,
    sampler: Sampler,
    text: Text,
    likelihoods: Vec<Likelihood>,
    /// The last token generated, which llama.cpp has not seen yet.
    next: Option<LlamaToken>,
    reused: usize,
    generated: usize,
    start: Instant,
    first_token: Option<Instant>,
}

impl Request {
    /// How many of the prompt's tokens have to be computed: the last one only for what comes after it.
    fn read_length(&self) -> usize {
        match (self.max_tokens, self.prompt_likelihoods) {
            (0, Some(_)) => self.prompt.len().saturating_sub(1).max(1),
            _ => self.prompt.len(),
        }
    }
}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self { computed: Vec::new(), used: 0, job: None }
    }

    /// How many tokens of a prompt are computed already and can stay: none from the first one on whose logits are needed.
    pub(super) fn common_prefix(&self, request: &Request) -> usize {
        let common = self.computed.iter().zip(&request.prompt).take_while(|(a, b)| a == b).count();
        let last = request.read_length().saturating_sub(1);
        let needed = request.prompt_likelihoods.map_or(last, PromptLikelihoods::first_position);
        common.min(needed).min(last)
    }

    /// The tokens that have to be computed next: the rest of the prompt, or the last one generated.
    pub(super) fn pending(&self) -> &[LlamaToken] {
        match &self.job {
            Some(Job { next: Some(token), .. }) => std::slice::from_ref(token),
            Some(job) => &job.request.prompt[self.computed.len()..job.request.read_length()],
            None => &[],
        }
    }

    pub(super) fn reads_prompt(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.next.is_none())
    }
}

impl<T> Job<T> {
    pub(super) fn new(tag: T, mut request: Request, reused: usize, vocabulary: &Vocabulary) -> Self {
        let sampler = Sampler::new(&request.sampling, vocabulary, &request.prompt);
        let text = Text::new(std::mem::take(&mut request.stop));
        let (start, likelihoods) = (Instant::now(), Vec::new());
        let (next, generated, first_token) = (None, 0, None);
        Self { tag, request, sampler, text, likelihoods, next, reused, generated, start, first_token }
    }

    /// What the prompt's positions should tell, if anything.
    pub(super) fn prompt_likelihoods(&self) -> Option<PromptLikelihoods> {
        self.request.prompt_likelihoods.filter(|_| self.next.is_none())
    }

    /// Takes the likelihood of the next prompt token; they come in order.
    pub(super) fn read(&mut self, likelihood: Likelihood) {
        self.likelihoods.push(likelihood);
    }

    /// Chooses the token after the last computed position; returns the end if this is it. `go_on` takes what comes out and says whether
    /// more is wanted.
    pub(super) fn advance(
        &mut self,
        logits: &[f32],
        vocabulary: &Vocabulary,
        go_on: &mut dyn FnMut(&mut T, Output) -> bool,
    ) -> Option<Reason> {
        if self.first_token.is_none() {
            self.first_token = Some(Instant::now());
            if self.request.prompt_likelihoods.is_some() {
                let likelihoods = std::mem::take(&mut self.likelihoods);
                if !go_on(&mut self.tag, Output::Prompt(likelihoods)) {
                    return Some(Reason::Cancelled);
                }
            }
            if self.request.max_tokens == 0 {
                return Some(Reason::Length);
            }
        }
        let id = match self.sampler.sample(logits) {
            Ok(id) => id,
            Err(error) => return Some(Reason::Failed(error)),
        };
        self.generated += 1;
        self.next = Some(id);
        let likelihood = self.request.likelihoods.map(|top| Likelihood::of(logits, id, top));
        let mut piece = Vec::new();
        let end = vocabulary.is_end(id);
        if !end {
            vocabulary.append_piece(id, &mut piece);
        }
        let stopped = self.text.push(Token { id, text: String::new(), likelihood }, &piece) || end;
        let reason = match (stopped, self.generated >= self.request.max_tokens) {
            (true, _) => Some(Reason::Stop),
            (false, true) => Some(Reason::Length),
            (false, false) => None,
        };
        while let Some(token) = self.text.pop(reason.is_some()) {
            if !go_on(&mut self.tag, Output::Token(token)) {
                return Some(Reason::Cancelled);
            }
        }
        reason
    }

    /// Its account, when it is over.
    pub(super) fn end(&self, reason: Reason) -> End {
        let now = Instant::now();
        let first = self.first_token.unwrap_or(now);
        End {
            reason,
            prompt_tokens: self.request.prompt.len(),
            reused_tokens: self.reused,
            generated_tokens: self.generated,
            prompt_time: first - self.start,
            generate_time: now - first,
        }
    }
}
