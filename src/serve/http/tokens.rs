//! `/tokenize`, `/detokenize` and `/tokenizer_info`, in the words of both vLLM's and llama.cpp's servers.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::App;
use super::answer::token_text;
use super::body::{Asked, Body};
use super::error::ApiError;
use super::sampling::token;
use crate::model::LlamaToken;

#[derive(Deserialize)]
pub(super) struct Tokenize {
    model: Option<String>,
    #[serde(alias = "content")]
    prompt: String,
    #[serde(alias = "add_special")]
    add_special_tokens: Option<bool>,
    parse_special: Option<bool>,
    with_pieces: Option<bool>,
}

pub(super) async fn tokenize(State(app): State<App>, Body(request): Body<Tokenize>) -> Result<Json<Value>, ApiError> {
    let revision = app.catalog.get(request.model.as_deref())?;
    let vocabulary = &revision.vocabulary;
    let (special, parse) = (request.add_special_tokens.unwrap_or(true), request.parse_special.unwrap_or(true));
    let tokens = block_in_place(|| vocabulary.tokenize_with(&request.prompt, special, parse));
    let ids: Vec<i32> = tokens.iter().map(|token| token.0).collect();
    let mut object = json!({ "tokens": ids, "count": ids.len(), "max_model_len": revision.context });
    if request.with_pieces.unwrap_or(false) {
        object["pieces"] = tokens.iter().map(|token| token_text(*token, vocabulary)).collect();
    }
    Ok(Json(object))
}

#[derive(Deserialize)]
pub(super) struct Detokenize {
    model: Option<String>,
    tokens: Vec<i32>,
}

pub(super) async fn detokenize(
    State(app): State<App>,
    Body(request): Body<Detokenize>,
) -> Result<Json<Value>, ApiError> {
    let vocabulary = &app.catalog.get(request.model.as_deref())?.vocabulary.clone();
    let piece = |id: i32| token(id, vocabulary).map(|token| vocabulary.piece(token, true));
    let pieces: Result<Vec<Vec<u8>>, String> = request.tokens.into_iter().map(piece).collect();
    let bytes = pieces.map_err(|message| ApiError::field("tokens", message))?.concat();
    let text = String::from_utf8_lossy(&bytes);
    Ok(Json(json!({ "prompt": text, "content": text })))
}

#[derive(Deserialize)]
pub(super) struct Which {
    model: Option<String>,
}

pub(super) async fn tokenizer_info(
    State(app): State<App>,
    Asked(which): Asked<Which>,
) -> Result<Json<Value>, ApiError> {
    let revision = app.catalog.get(which.model.as_deref())?;
    let vocabulary = &revision.vocabulary;
    let text = |token: Option<LlamaToken>| token.map(|token| token_text(token, vocabulary));
    Ok(Json(json!({
        "tokenizer_class": "llama.cpp", "bos_token": text(vocabulary.bos()), "eos_token": text(vocabulary.eos()),
        "pad_token": text(vocabulary.pad()), "chat_template": vocabulary.chat_template(),
        "vocabulary_size": vocabulary.len(), "add_bos": vocabulary.adds_bos(),
    })))
}
