//! What the server says of itself: `/v1/models`, `/props`, `/health`, `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::App;
use super::body::Id;
use super::error::ApiError;
use crate::model::Sampling;
use crate::serve::revision::Revision;

pub(super) async fn models(State(app): State<App>) -> Json<Value> {
    let data: Vec<Value> = app.catalog.all().iter().map(|revision| shown(&app, revision)).collect();
    Json(json!({ "object": "list", "data": data }))
}

pub(super) async fn model(State(app): State<App>, Id(id): Id) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&app, &*app.catalog.get(Some(&id))?)))
}

fn shown(app: &App, revision: &Revision) -> Value {
    json!({
        "id": revision.id, "object": "model", "created": app.started, "owned_by": "ggraft",
        "meta": {
            "kind": revision.kind(), "fingerprint": revision.fingerprint, "architecture": revision.template().architecture(),
            "block_count": revision.block_count(), "parameters": revision.parameters(),
            "context_length": revision.context, "vocabulary_size": revision.vocabulary.len(),
            "live": app.engine.is_live(revision), "chat": revision.vocabulary.has_chat_template(),
        },
    })
}

pub(super) async fn props(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let first = app.catalog.get(None)?;
    let defaults = Sampling::llama_cpp();
    let limits = app.engine.limits;
    Ok(Json(json!({
        "default_generation_settings": {
            "n_ctx": first.context, "temperature": defaults.temperature, "top_k": defaults.top_k,
            "top_p": defaults.top_p, "min_p": defaults.min_p, "repeat_penalty": defaults.repeat_penalty,
            "repeat_last_n": defaults.repeat_last_n, "frequency_penalty": defaults.frequency_penalty,
            "presence_penalty": defaults.presence_penalty,
        },
        "total_slots": limits.parallel, "n_ctx": first.context, "max_live": limits.max_live,
        "model": first.id, "models": app.catalog.all().iter().map(|r| r.id.clone()).collect::<Vec<_>>(),
        "chat_template": first.vocabulary.chat_template(),
        "build_info": concat!("ggraft ", env!("CARGO_PKG_VERSION")),
    })))
}

pub(super) async fn health(State(app): State<App>) -> Response {
    if app.engine.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "stopping" }))).into_response()
    } else {
        Json(json!({ "status": "ok" })).into_response()
    }
}

pub(super) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = app.metrics.text().map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
