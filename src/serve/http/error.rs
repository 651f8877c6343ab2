//! Every error of the server as HTTP says it and as OpenAI's clients read it.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::model::ModelError;
use crate::serve::catalog::CatalogError;
use crate::serve::engine::Problem;
use crate::serve::parents::ParentsError;

/// Seconds after which a client that was turned away may try again.
const RETRY_AFTER: &str = "1";

/// An error to answer with.
#[derive(Debug)]
pub(super) struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// A word for programs.
    pub code: Option<&'static str>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    /// A request that cannot be answered as it is.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The same, for one field.
    pub fn field(param: &str, message: impl std::fmt::Display) -> Self {
        Self { param: Some(param.to_owned()), ..Self::bad(format!("`{param}`: {message}")) }
    }

    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// What is in the answer's body, or in a stream that has begun.
    pub fn body(&self) -> Value {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "authentication_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}

impl From<ModelError> for ApiError {
    fn from(error: ModelError) -> Self {
        Problem::from(error).into()
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        let message = problem.to_string();
        match problem {
            Problem::Busy { .. } => Self::new(StatusCode::TOO_MANY_REQUESTS, message),
            Problem::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, message),
            Problem::TooLate { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, message).code("timeout"),
            Problem::Refused(error) => match *error {
                ModelError::TooLong { .. } => Self::bad(message).code("context_length_exceeded"),
                ModelError::Grammar { .. } => Self::bad(message).code("invalid_grammar"),
                _ => Self::bad(message),
            },
            // The weights are the client's own choice.
            Problem::Failed(error) if matches!(*error, ModelError::NotANumber) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, message).code("not_a_number")
            }
            Problem::Failed(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, message),
        }
    }
}

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        let message = error.to_string();
        match error {
            CatalogError::NoSuchModel { .. } => Self::new(StatusCode::NOT_FOUND, message).code("model_not_found"),
            CatalogError::ReadOnly { .. } | CatalogError::Permanent { .. } => Self::new(StatusCode::CONFLICT, message),
            CatalogError::TooMany => Self::new(StatusCode::CONFLICT, message),
            CatalogError::Template => Self { param: Some("chat_template".to_owned()), ..Self::bad(message) },
            CatalogError::Parents(ParentsError::Replaced { .. } | ParentsError::Memory { .. }) => {
                Self::new(StatusCode::CONFLICT, message)
            }
            CatalogError::BadId { .. } => Self { param: Some("id".to_owned()), ..Self::bad(message) },
            CatalogError::Recipe(_) | CatalogError::Parents(_) => Self::bad(message).code("invalid_recipe"),
            CatalogError::Model(error) => error.into(),
        }
    }
}
