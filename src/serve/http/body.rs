//! The JSON of a request into a checked value, with errors that name the field.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

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
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = parse(&mut json)?;
        json.end().map_err(|error| ApiError::bad(error.to_string()))?;
        Ok(Self(value))
    }
}

/// What `json` says; the error names the field.
pub(super) fn parse<'a, T: DeserializeOwned, D>(json: D) -> Result<T, ApiError>
where
    D: Deserializer<'a, Error = serde_json::Error>,
{
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
    Bytes::from_request(request, app).await.map_err(|rejection| {
        let status = rejection.status();
        let message = match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                format!("the body is longer than {} bytes (`--max-body`)", app.options.max_body)
            }
            _ => rejection.body_text(),
        };
        ApiError::new(status, message)
    })
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
