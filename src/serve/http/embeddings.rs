//! `POST /v1/embeddings`: the mean of the last layer's states, scaled to length 1.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::App;
use super::body::{Body, Input};
use super::completions::token_lists;
use super::error::ApiError;
use crate::model::ModelError;

#[derive(Deserialize)]
pub(super) struct EmbeddingRequest {
    model: Option<String>,
    input: Input,
    encoding_format: Option<String>,
    dimensions: Option<usize>,
}

pub(super) async fn embeddings(
    State(app): State<App>,
    Body(request): Body<EmbeddingRequest>,
) -> Result<Json<Value>, ApiError> {
    let revision = app.catalog.get(request.model.as_deref())?;
    let in_base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(ApiError::field("encoding_format", format!("`{other}` is not `float` or `base64`")));
        }
    };
    let prompts = block_in_place(|| token_lists(request.input, &revision.vocabulary))?;
    app.check_count("input", prompts.len())?;
    if prompts.iter().any(Vec::is_empty) {
        return Err(ModelError::EmptyPrompt.into());
    }
    if let Some(long) = prompts.iter().find(|prompt| prompt.len() > revision.context as usize) {
        return Err(ModelError::TooLong { prompt: long.len(), wanted: 0, limit: revision.context }.into());
    }
    let tokens: usize = prompts.iter().map(Vec::len).sum();
    let vectors = app.engine.embed(&revision, prompts).await?.vectors;
    if let (Some(wanted), Some(width)) = (request.dimensions, vectors.first().map(Vec::len))
        && wanted != width
    {
        return Err(ApiError::field("dimensions", format!("this model's embeddings have {width}")));
    }
    let shown = |vector: &[f32]| {
        if in_base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            json!(BASE64_STANDARD.encode(bytes))
        } else {
            json!(vector)
        }
    };
    let data: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| json!({ "object": "embedding", "index": index, "embedding": shown(vector) }))
        .collect();
    Ok(Json(json!({
        "object": "list", "data": data, "model": revision.id,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })))
}
