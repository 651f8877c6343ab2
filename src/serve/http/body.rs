//! The JSON of a request into a checked value, with errors that name the field.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::App;
use super::error::ApiError;

/// The JSON body of a request.
pub(super) struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        // A page of another origin can only send other types without asking first (CORS), so this keeps them out as well.
        if !has_type(request.headers(), &["application/json"]) {
            let message = "send JSON with `content-type: application/json`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let bytes = read(request, app).await?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| ApiError::bad(error.to_string()))?;
        // Structures could be read from lists as well, which nobody means.
        if !json.is_object() {
            return Err(ApiError::bad("the body must be a JSON object"));
        }
        parse(&json).map(Self)
    }
}

/// What `json` says; the error names the field.
pub(super) fn parse<T: DeserializeOwned>(json: &Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        if path == "." { ApiError::bad(message) } else { ApiError::field(&path, message) }
    })
}

/// A recipe as text: YAML, or JSON, which is YAML too.
pub(super) struct Text(pub String);

impl FromRequest<App> for Text {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let types = ["application/yaml", "application/x-yaml", "text/yaml", "application/json"];
        let typed = has_type(request.headers(), &types);
        let bytes = read(request, app).await?;
        if !typed && !bytes.is_empty() {
            let message = "send the recipe with `content-type: application/yaml` or `application/json`";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        String::from_utf8(bytes.into()).map(Self).map_err(|_| ApiError::bad("the recipe is not UTF-8"))
    }
}

async fn read(request: Request, app: &App) -> Result<Bytes, ApiError> {
    let most = app.options.max_body;
    let too_long =
        || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {most} bytes (`--max-body`)"));
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > most as u64) {
        return Err(too_long());
    }
    Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_long(),
        // Who has hung up does not read this; the others have paused for too long.
        _ => ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    })
}

/// A model's or candidate's id in the path.
pub(super) struct Id(pub String);

impl FromRequestParts<App> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let id = Path::<String>::from_request_parts(parts, app).await;
        id.map(|Path(id)| Self(id)).map_err(|rejection| ApiError::bad(rejection.body_text()))
    }
}

/// What stands behind the `?`.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, app).await;
        query.map(|Query(value)| Self(value)).map_err(|rejection| ApiError::bad(rejection.body_text()))
    }
}

fn has_type(headers: &HeaderMap, types: &[&str]) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    types.iter().any(|ty| essence.eq_ignore_ascii_case(ty))
}

/// One value or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "text or a list of texts belongs here")]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(value: OneOrMany) -> Self {
        match value {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// What completions and embeddings take: texts, or tokens as they are.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "text, a list of texts, a list of token ids, or a list of such lists belongs here")]
pub(super) enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<i32>),
    TokenLists(Vec<Vec<i32>>),
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) enum Prompt {
    Text(String),
    Tokens(Vec<i32>),
}

impl From<Input> for Vec<Prompt> {
    fn from(input: Input) -> Self {
        match input {
            Input::Text(text) => vec![Prompt::Text(text)],
            Input::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
            Input::Tokens(tokens) => vec![Prompt::Tokens(tokens)],
            Input::TokenLists(lists) => lists.into_iter().map(Prompt::Tokens).collect(),
        }
    }
}
