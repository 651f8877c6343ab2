//! The engine's events into what OpenAI's API shows of them: choices, log-probabilities, an account, whole or piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::IntoResponse;
use axum::response::Response;
use axum::response::sse::{self, KeepAlive, Sse};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::Stream;

use super::error::ApiError;
use crate::generate::{End, Likelihood, Output, Reason, Token};
use crate::model::{LlamaToken, Vocabulary};
use crate::serve::engine::{Event, Problem};

/// How often a silent stream says that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// What OpenAI's API has for the logarithm of 0, which JSON cannot say.
const LOG_OF_ZERO: f32 = -9999.0;

/// What answers to one request have in common.
#[derive(Clone)]
pub(super) struct Head {
    pub id: String,
    pub created: u64,
    pub model: String,
    /// OpenAI's name for what this is: `chat.completion` and so on.
    pub object: &'static str,
}

impl Head {
    pub fn new(prefix: &str, object: &'static str, model: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("{prefix}-{:x}{:06x}", since.as_micros(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { id, created: since.as_secs(), model: model.to_owned(), object }
    }

    /// An object with these and `choices`.
    pub fn object(&self, fingerprint: Option<&str>, choices: Value) -> Value {
        json!({
            "id": self.id, "object": self.object, "created": self.created, "model": self.model,
            "system_fingerprint": fingerprint, "choices": choices,
        })
    }
}

/// One answer, complete.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub prompt: Vec<Likelihood>,
    pub tokens: Vec<Token>,
    pub end: Option<End>,
}

impl Choice {
    pub fn text(&self) -> String {
        self.tokens.iter().map(|token| token.text.as_str()).collect()
    }

    pub fn finish_reason(&self) -> Option<&'static str> {
        finish_reason(self.end.as_ref()?)
    }
}

/// OpenAI's word for why an answer ended.
pub(super) fn finish_reason(end: &End) -> Option<&'static str> {
    match end.reason {
        Reason::Stop => Some("stop"),
        Reason::Length => Some("length"),
        Reason::Cancelled | Reason::Failed(_) => None,
    }
}

/// All answers to a request, and who gave them.
pub(super) struct Answers {
    pub choices: Vec<Choice>,
    pub fingerprint: String,
}

/// Waits for all `count` answers.
///
/// # Errors
/// The first problem; the other answers are given up.
pub(super) async fn gather(mut events: UnboundedReceiver<(usize, Event)>, count: usize) -> Result<Answers, ApiError> {
    let mut answers =
        Answers { choices: std::iter::repeat_with(Choice::default).take(count).collect(), fingerprint: String::new() };
    let mut open = count;
    while open > 0 {
        let Some((index, event)) = events.recv().await else { return Err(Problem::Stopping.into()) };
        let choice = &mut answers.choices[index];
        match event {
            Event::Started(fingerprint) => answers.fingerprint = fingerprint,
            Event::Output(Output::Prompt(likelihoods)) => choice.prompt = likelihoods,
            Event::Output(Output::Token(token)) => choice.tokens.push(token),
            Event::Output(Output::End(End { reason: Reason::Failed(error), .. })) => return Err(error.into()),
            Event::Output(Output::End(end)) => {
                choice.end = Some(end);
                open -= 1;
            }
            Event::Failed(problem) => return Err(problem.into()),
        }
    }
    Ok(answers)
}

/// Tokens read and written, summed over all answers; prompts that several answers share count once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    prompt: usize,
    reused: usize,
    generated: usize,
    prompt_time: Duration,
    generate_time: Duration,
}

impl Account {
    /// Adds an answer; `first` if it is the first one of its prompt.
    pub fn add(&mut self, end: &End, first: bool) {
        if first {
            self.prompt += end.prompt_tokens;
            self.reused += end.reused_tokens;
            self.prompt_time += end.prompt_time;
        }
        self.generated += end.generated_tokens;
        self.generate_time += end.generate_time;
    }

    /// As OpenAI has it.
    pub fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt, "completion_tokens": self.generated, "total_tokens": self.prompt + self.generated,
            "prompt_tokens_details": { "cached_tokens": self.reused },
        })
    }

    /// As llama.cpp's server has it.
    pub fn timings(&self) -> Value {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let per_second = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        let computed = self.prompt - self.reused;
        json!({
            "cache_n": self.reused, "prompt_n": computed, "prompt_ms": milliseconds(self.prompt_time),
            "prompt_per_second": per_second(computed, self.prompt_time), "predicted_n": self.generated,
            "predicted_ms": milliseconds(self.generate_time),
            "predicted_per_second": per_second(self.generated, self.generate_time),
        })
    }
}

/// What a stream shows of an answer's parts. Two implementors: chat and completions.
pub(super) trait Chunks: Send + Unpin + 'static {
    /// When answer `index` begins.
    fn begin(&mut self, index: usize) -> Option<Value>;
    /// Of the prompt's tokens.
    fn prompt(&mut self, index: usize, likelihoods: &[Likelihood]) -> Option<Value>;
    /// Of a token.
    fn token(&mut self, index: usize, token: &Token) -> Option<Value>;
    /// At the end of answer `index`.
    fn end(&mut self, index: usize, end: &End) -> Value;
}

/// How the pieces of an answer are sent.
pub(super) struct Streaming<C> {
    pub head: Head,
    pub chunks: C,
    /// Answers to come, and how many each prompt has.
    pub count: usize,
    pub per_prompt: usize,
    pub usage: bool,
}

impl<C: Chunks> Streaming<C> {
    /// The stream of `events` as server-sent events.
    pub fn response(self, events: UnboundedReceiver<(usize, Event)>) -> Response {
        let open = self.count;
        let pieces = Pieces {
            events,
            open,
            what: self,
            pending: Vec::new().into_iter(),
            account: Account::default(),
            fingerprint: None,
            done: false,
        };
        Sse::new(pieces).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    }
}

/// The stream itself.
struct Pieces<C> {
    events: UnboundedReceiver<(usize, Event)>,
    what: Streaming<C>,
    open: usize,
    pending: std::vec::IntoIter<String>,
    account: Account,
    fingerprint: Option<String>,
    done: bool,
}

impl<C: Chunks> Pieces<C> {
    /// What an event adds to the stream.
    fn on(&mut self, index: usize, event: Event) -> Vec<String> {
        let chunks = &mut self.what.chunks;
        let chunk = match event {
            Event::Started(fingerprint) => {
                self.fingerprint = Some(fingerprint);
                chunks.begin(index)
            }
            Event::Output(Output::Prompt(likelihoods)) => chunks.prompt(index, &likelihoods),
            Event::Output(Output::Token(token)) => chunks.token(index, &token),
            Event::Output(Output::End(End { reason: Reason::Failed(error), .. })) => return self.fail(error.into()),
            Event::Output(Output::End(end)) => {
                self.account.add(&end, index.is_multiple_of(self.what.per_prompt));
                let last = chunks.end(index, &end);
                return self.finish(last);
            }
            Event::Failed(problem) => return self.fail(problem.into()),
        };
        chunk.map(|choice| self.line(json!([choice]))).into_iter().collect()
    }

    fn line(&self, choices: Value) -> String {
        self.what.head.object(self.fingerprint.as_deref(), choices).to_string()
    }

    /// The last chunk of one answer, and after all of them what ends the stream.
    fn finish(&mut self, choice: Value) -> Vec<String> {
        self.open -= 1;
        let mut object = self.what.head.object(self.fingerprint.as_deref(), json!([choice]));
        if self.open > 0 {
            return vec![object.to_string()];
        }
        self.done = true;
        object["timings"] = self.account.timings();
        let mut lines = vec![object.to_string()];
        if self.what.usage {
            let mut object = self.what.head.object(self.fingerprint.as_deref(), json!([]));
            object["usage"] = self.account.usage();
            lines.push(object.to_string());
        }
        lines.push("[DONE]".to_owned());
        lines
    }

    fn fail(&mut self, error: ApiError) -> Vec<String> {
        self.done = true;
        vec![error.body().to_string()]
    }
}

impl<C: Chunks> Stream for Pieces<C> {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(line) = self.pending.next() {
                return Poll::Ready(Some(Ok(sse::Event::default().data(line))));
            }
            if self.done {
                return Poll::Ready(None);
            }
            let lines = match self.events.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some((index, event))) => self.on(index, event),
                Poll::Ready(None) => self.fail(Problem::Stopping.into()),
            };
            self.pending = lines.into_iter();
        }
    }
}

/// A logarithm that JSON can say.
pub(super) fn log(value: f32) -> f32 {
    if value.is_finite() { value } else { LOG_OF_ZERO }
}

/// A token as text that no other token has: bytes that are no text by themselves are spelled out, as OpenAI's API does.
pub(super) fn token_text(token: LlamaToken, vocabulary: &Vocabulary) -> String {
    match String::from_utf8(vocabulary.piece(token, true)) {
        Ok(text) => text,
        Err(error) => {
            let escaped: String = error.as_bytes().iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{escaped}")
        }
    }
}
