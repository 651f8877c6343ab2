//! `POST /v1/completions`, with the likelihoods of prompts that harnesses score models by.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::App;
use super::answer::{Account, Chunks, Head, Streaming, finish_reason, gather, log, token_text};
use super::body::{Body, Input, Prompt, parse};
use super::error::ApiError;
use super::sampling::{Fields, MAX_TOP, token};
use crate::generate::{End, Likelihood, Request, Token};
use crate::model::{LlamaToken, Vocabulary};

/// Tokens generated unless told otherwise, as in OpenAI's API.
const MAX_TOKENS: i64 = 16;

#[derive(Deserialize)]
pub(super) struct CompletionRequest {
    model: Option<String>,
    prompt: Input,
    max_tokens: Option<i64>,
    echo: Option<bool>,
    logprobs: Option<usize>,
    suffix: Option<String>,
    best_of: Option<usize>,
}

/// A prompt as it came, for the answers that repeat it.
#[derive(Clone)]
struct Asked {
    /// Its text.
    text: String,
    /// Its tokens.
    tokens: Vec<LlamaToken>,
}

pub(super) async fn completions(State(app): State<App>, Body(json): Body<Value>) -> Result<Response, ApiError> {
    let (request, fields): (CompletionRequest, Fields) = (parse(&json)?, parse(&json)?);
    let revision = app.catalog.get(request.model.as_deref())?;
    let vocabulary = Arc::clone(&revision.vocabulary);
    if request.suffix.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(ApiError::field("suffix", "filling in the middle is not supported"));
    }
    if let Some(top) = request.logprobs.filter(|top| *top > MAX_TOP) {
        return Err(ApiError::field("logprobs", format!("{top} is not from 0 to {MAX_TOP}")));
    }
    let echo = request.echo.unwrap_or(false);
    let asked = block_in_place(|| read_prompts(request.prompt, &vocabulary))?;
    let max_tokens = request.max_tokens.unwrap_or(MAX_TOKENS);
    let sampling = fields.sampling(&vocabulary)?;
    let mut requests: Vec<Request> = Vec::new();
    let choices = fields.choices()?;
    if request.best_of.is_some_and(|best_of| best_of > choices) {
        return Err(ApiError::field(
            "best_of",
            "more answers than `n`, of which the best are chosen, are not supported",
        ));
    }
    app.check_count("prompt", asked.len().saturating_mul(choices))?;
    for prompt in &asked {
        let of_prompt = request.logprobs.filter(|_| echo);
        let tokens = prompt.tokens.clone();
        requests.extend(fields.requests(tokens, max_tokens, &sampling, &revision, request.logprobs, of_prompt)?);
    }
    let count = requests.len();
    let events = app.engine.ask(&revision, requests)?;
    let shown = Shown { vocabulary, asked, echo, choices, logprobs: request.logprobs.is_some() };
    let head = Head::new("cmpl", "text_completion", &revision.id);
    if fields.streams() {
        let chunks = CompletionChunks { lengths: vec![0; count], shown };
        let usage = fields.includes_usage();
        return Ok(Streaming { head, chunks, count, per_prompt: choices, usage }.response(events));
    }
    let answers = gather(events, count).await?;
    let mut account = Account::default();
    let listed = answers.choices.iter().enumerate().map(|(index, choice)| {
        choice.end.iter().for_each(|end| account.add(end, index.is_multiple_of(choices)));
        let asked = shown.asked(index);
        let text = if echo { asked.text.clone() + &choice.text() } else { choice.text() };
        let logprobs = shown.logprobs.then(|| {
            let mut table = Table::default();
            if echo {
                table.prompt(asked, &choice.prompt, &shown.vocabulary);
            }
            choice.tokens.iter().for_each(|token| table.token(token, &shown.vocabulary));
            table.to_json()
        });
        json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": choice.finish_reason() })
    });
    let listed: Value = listed.collect();
    let mut object = head.object(Some(&answers.fingerprint), listed);
    object["usage"] = account.usage();
    object["timings"] = account.timings();
    Ok(Json(object).into_response())
}

fn read_prompts(input: Input, vocabulary: &Vocabulary) -> Result<Vec<Asked>, ApiError> {
    let prompts: Vec<Prompt> = input.into();
    if prompts.is_empty() {
        return Err(ApiError::field("prompt", "there is none"));
    }
    prompts.into_iter().map(|prompt| read(prompt, vocabulary).map_err(|m| ApiError::field("prompt", m))).collect()
}

/// Texts get the tokens that the model wants around them; tokens are taken as they are.
fn read(prompt: Prompt, vocabulary: &Vocabulary) -> Result<Asked, String> {
    match prompt {
        Prompt::Text(text) => Ok(Asked { tokens: vocabulary.tokenize(&text), text }),
        Prompt::Tokens(ids) => {
            let tokens = ids.into_iter().map(|id| token(id, vocabulary)).collect::<Result<Vec<_>, _>>()?;
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.piece(*token, true)).collect();
            Ok(Asked { text: String::from_utf8_lossy(&bytes).into_owned(), tokens })
        }
    }
}

/// The tokens of prompts for an embedding, read as those of completions are.
pub(super) fn token_lists(input: Input, vocabulary: &Vocabulary) -> Result<Vec<Vec<LlamaToken>>, ApiError> {
    let prompts: Vec<Prompt> = input.into();
    let list = |prompt| read(prompt, vocabulary).map(|asked| asked.tokens).map_err(|m| ApiError::field("input", m));
    prompts.into_iter().map(list).collect()
}

/// What is needed to show answers.
struct Shown {
    vocabulary: Arc<Vocabulary>,
    asked: Vec<Asked>,
    echo: bool,
    choices: usize,
    logprobs: bool,
}

impl Shown {
    /// The prompt of answer `index`.
    fn asked(&self, index: usize) -> &Asked {
        &self.asked[index / self.choices]
    }
}

/// OpenAI's table of log-probabilities: four lists with an entry for each token.
#[derive(Default)]
struct Table {
    tokens: Vec<String>,
    logs: Vec<Option<f32>>,
    tops: Vec<Option<BTreeMap<String, f32>>>,
    offsets: Vec<usize>,
    /// Characters so far.
    length: usize,
}

impl Table {
    /// The prompt's tokens; nobody can say how likely the first one was.
    fn prompt(&mut self, asked: &Asked, likelihoods: &[Likelihood], vocabulary: &Vocabulary) {
        let known = std::iter::once(None).chain(likelihoods.iter().map(Some));
        for (token, likelihood) in asked.tokens.iter().zip(known) {
            let characters = String::from_utf8_lossy(&vocabulary.piece(*token, false)).chars().count();
            self.push(*token, likelihood, characters, vocabulary);
        }
    }

    fn token(&mut self, token: &Token, vocabulary: &Vocabulary) {
        self.push(token.id, token.likelihood.as_ref(), token.text.chars().count(), vocabulary);
    }

    fn push(&mut self, token: LlamaToken, likelihood: Option<&Likelihood>, characters: usize, vocabulary: &Vocabulary) {
        self.tokens.push(token_text(token, vocabulary));
        self.logs.push(likelihood.map(|l| log(l.log)));
        self.tops.push(likelihood.map(|l| {
            // The token itself comes last, so that it is there with its own value whatever other token has the same text.
            let all = l.top.iter().copied().chain([(l.token, l.log)]);
            all.map(|(token, value)| (token_text(token, vocabulary), log(value))).collect()
        }));
        self.offsets.push(self.length);
        self.length += characters;
    }

    fn to_json(&self) -> Value {
        json!({
            "tokens": self.tokens, "token_logprobs": self.logs, "top_logprobs": self.tops, "text_offset": self.offsets,
        })
    }
}

struct CompletionChunks {
    shown: Shown,
    /// Characters of each answer so far.
    lengths: Vec<usize>,
}

impl CompletionChunks {
    fn chunk(&mut self, index: usize, text: &str, table: Option<Table>) -> Value {
        json!({ "index": index, "text": text, "logprobs": table.map(|t| t.to_json()), "finish_reason": null })
    }

    fn table(&self, index: usize) -> Option<Table> {
        self.shown.logprobs.then(|| Table { length: self.lengths[index], ..Table::default() })
    }
}

impl Chunks for CompletionChunks {
    fn begin(&mut self, index: usize) -> Option<Value> {
        // With likelihoods, the prompt comes when they are known.
        if !self.shown.echo || self.shown.logprobs {
            return None;
        }
        let text = self.shown.asked(index).text.clone();
        Some(self.chunk(index, &text, None))
    }

    fn prompt(&mut self, index: usize, likelihoods: &[Likelihood]) -> Option<Value> {
        let mut table = self.table(index)?;
        let asked = self.shown.asked(index).clone();
        table.prompt(&asked, likelihoods, &self.shown.vocabulary);
        self.lengths[index] = table.length;
        Some(self.chunk(index, &asked.text, Some(table)))
    }

    fn token(&mut self, index: usize, token: &Token) -> Option<Value> {
        let mut table = self.table(index);
        if let Some(table) = &mut table {
            table.token(token, &self.shown.vocabulary);
            self.lengths[index] = table.length;
        } else if token.text.is_empty() {
            return None;
        }
        Some(self.chunk(index, &token.text, table))
    }

    fn end(&mut self, index: usize, end: &End) -> Value {
        json!({ "index": index, "text": "", "logprobs": null, "finish_reason": finish_reason(end) })
    }
}
