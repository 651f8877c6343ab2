//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::task::block_in_place;

use super::App;
use super::answer::{Account, Chunks, Head, Streaming, finish_reason, gather, log};
use super::body::{Body, parse};
use super::error::ApiError;
use super::sampling::{Fields, MAX_TOP};
use crate::generate::{End, Likelihood, Token};
use crate::model::{LlamaToken, Message, Vocabulary};

#[derive(Deserialize)]
pub(super) struct ChatRequest {
    model: Option<String>,
    messages: Vec<ChatMessage>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    tools: Option<Value>,
    chat_template_kwargs: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct ChatMessage {
    role: String,
    content: Option<Content>,
    /// Names, tool calls and whatever else templates know of.
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "text or a list of parts belongs here")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

pub(super) async fn chat(State(app): State<App>, Body(json): Body<Value>) -> Result<Response, ApiError> {
    let (request, fields): (ChatRequest, Fields) = (parse(&json)?, parse(&json)?);
    let revision = app.catalog.get(request.model.as_deref())?;
    let vocabulary = Arc::clone(&revision.vocabulary);
    let messages = messages(request.messages)?;
    let mut variables = request.chat_template_kwargs.unwrap_or_default();
    if let Some(tools) = request.tools.filter(|tools| !tools.is_null()) {
        variables.insert("tools".to_owned(), tools);
    }
    // Long prompts take their time.
    let prompt =
        block_in_place(|| vocabulary.render_chat(&messages, &variables).map(|text| vocabulary.tokenize(&text)));
    let prompt = prompt.map_err(|e| ApiError::bad(e.to_string()).code("chat_template"))?;
    let max_tokens = request.max_completion_tokens.or(request.max_tokens).unwrap_or(-1);
    let top = request.top_logprobs.unwrap_or(0);
    if top > MAX_TOP {
        return Err(ApiError::field("top_logprobs", format!("{top} is not from 0 to {MAX_TOP}")));
    }
    let likelihoods = request.logprobs.unwrap_or(false).then_some(top);
    let sampling = fields.sampling(&vocabulary)?;
    let requests = fields.requests(prompt, max_tokens, &sampling, &revision, likelihoods, None)?;
    let count = requests.len();
    let events = app.engine.ask(&revision, requests)?;
    if fields.streams() {
        let head = Head::new("chatcmpl", "chat.completion.chunk", &revision.id);
        let chunks = ChatChunks { vocabulary };
        let usage = fields.includes_usage();
        return Ok(Streaming { head, chunks, count, per_prompt: count, usage }.response(events));
    }
    let head = Head::new("chatcmpl", "chat.completion", &revision.id);
    let answers = gather(events, count).await?;
    let mut account = Account::default();
    let choices = answers.choices.iter().enumerate().map(|(index, choice)| {
        choice.end.iter().for_each(|end| account.add(end, index == 0));
        let logprobs = likelihoods.map(|_| logprobs(&choice.tokens, &vocabulary));
        json!({
            "index": index, "message": { "role": "assistant", "content": choice.text() }, "logprobs": logprobs,
            "finish_reason": choice.finish_reason(),
        })
    });
    let choices: Value = choices.collect();
    let mut object = head.object(Some(&answers.fingerprint), choices);
    object["usage"] = account.usage();
    object["timings"] = account.timings();
    Ok(Json(object).into_response())
}

fn messages(messages: Vec<ChatMessage>) -> Result<Vec<Message>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "there is none"));
    }
    let text = |content: Option<Content>| match content {
        None => Ok(String::new()),
        Some(Content::Text(text)) => Ok(text),
        Some(Content::Parts(parts)) => parts.into_iter().map(part).collect(),
    };
    let message = |m: ChatMessage| {
        let mut message = Message::new(m.role, text(m.content)?);
        message.more = m.more;
        message.more.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten().for_each(open_arguments);
        Ok(message)
    };
    messages.into_iter().map(message).collect()
}

/// OpenAI's clients send the arguments of a call as JSON in a string; templates want the object.
fn open_arguments(call: &mut Value) {
    if let Some(arguments) = call.pointer_mut("/function/arguments")
        && let Some(object) = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
    {
        *arguments = object;
    }
}

fn part(part: Part) -> Result<String, ApiError> {
    match (part.kind.as_str(), part.text) {
        ("text", Some(text)) => Ok(text),
        (kind, _) => Err(ApiError::field("messages", format!("a part of type `{kind}`: only `text` is understood"))),
    }
}

/// The tokens of an answer with their likelihoods; the one that ends it is no part of it.
fn logprobs(tokens: &[Token], vocabulary: &Vocabulary) -> Value {
    let entry = |token: LlamaToken, value: f32| {
        let bytes = vocabulary.piece(token, true);
        json!({ "token": String::from_utf8_lossy(&bytes), "logprob": log(value), "bytes": bytes })
    };
    let shown = tokens.iter().filter_map(|token| token.likelihood.as_ref());
    let content = shown.filter(|l| !vocabulary.is_end(l.token)).map(|likelihood| {
        let mut object = entry(likelihood.token, likelihood.log);
        object["top_logprobs"] = likelihood.top.iter().map(|(token, value)| entry(*token, *value)).collect();
        object
    });
    json!({ "content": content.collect::<Vec<_>>() })
}

struct ChatChunks {
    vocabulary: Arc<Vocabulary>,
}

impl Chunks for ChatChunks {
    fn begin(&mut self, index: usize) -> Option<Value> {
        Some(json!({ "index": index, "delta": { "role": "assistant", "content": "" }, "finish_reason": null }))
    }

    fn prompt(&mut self, _index: usize, _likelihoods: &[Likelihood]) -> Option<Value> {
        None
    }

    fn token(&mut self, index: usize, token: &Token) -> Option<Value> {
        if token.text.is_empty() && token.likelihood.is_none() {
            return None;
        }
        let logprobs = token.likelihood.is_some().then(|| logprobs(std::slice::from_ref(token), &self.vocabulary));
        Some(json!({ "index": index, "delta": { "content": token.text }, "logprobs": logprobs, "finish_reason": null }))
    }

    fn end(&mut self, index: usize, end: &End) -> Value {
        json!({ "index": index, "delta": {}, "finish_reason": finish_reason(end) })
    }
}
