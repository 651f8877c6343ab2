//! HTTP: requests in, the catalog and the engine asked, OpenAI's JSON out. Nothing here waits but for others.

mod answer;
mod body;
mod chat;
mod completions;
mod embeddings;
mod error;
mod guard;
mod page;
mod recipes;
mod sampling;
mod status;
mod study;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::Options;
use super::catalog::Catalog;
use super::engine::Engine;
use super::metrics::Metrics;
use super::study::Study;
use error::ApiError;

/// How long a client may pause while it sends a body.
const BODY_PAUSE: Duration = Duration::from_secs(30);

/// What every handler has at hand.
#[derive(Clone)]
pub(super) struct App {
    pub catalog: Arc<Catalog>,
    pub engine: Engine,
    pub metrics: Arc<Metrics>,
    pub study: Option<Arc<Study>>,
    pub options: Arc<Options>,
    /// Whether the server listens to this machine alone.
    pub local_only: bool,
    /// When it was started, in seconds since 1970.
    pub started: u64,
}

impl App {
    /// Refuses more sequences in one request than may ever wait.
    fn check_count(&self, field: &str, count: usize) -> Result<(), ApiError> {
        let most = self.engine.limits.max_waiting;
        match count {
            0 => Err(ApiError::field(field, "there is none")),
            count if count > most => {
                Err(ApiError::field(field, format!("{count} sequences, the limit is {most} (`--max-waiting`)")))
            }
            _ => Ok(()),
        }
    }
}

/// Every route, with what guards them.
pub(super) fn router(app: App) -> Router {
    let origins: Vec<HeaderValue> = app.options.cors_origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    let recipe = get(recipes::get).put(recipes::put).delete(recipes::delete);
    let router = Router::new()
        .route("/v1/models", get(status::models))
        .route("/v1/models/{id}", get(status::model))
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/recipes", get(recipes::list))
        .route("/v1/recipes/{id}", recipe)
        .route("/v1/recipes/{id}/plan", post(recipes::plan))
        .route("/v1/study", get(study::overview))
        .route("/v1/study/{id}", get(study::candidate))
        .route("/study/report", get(study::report))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/tokenizer_info", get(tokens::tokenizer_info))
        .route("/health", get(status::health))
        .route("/metrics", get(status::metrics))
        .route("/props", get(status::props))
        .route("/", get(page::index))
        .route("/playground/{name}", get(page::asset))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is nothing here; see the README for the routes"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not take this method")
        })
        .layer(DefaultBodyLimit::max(app.options.max_body))
        .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE))
        .route_layer(from_fn_with_state(app.clone(), guard::count))
        .layer(from_fn_with_state(app.clone(), guard::key))
        .layer(from_fn_with_state(app.clone(), guard::host))
        .layer(CatchPanicLayer::custom(|_| {
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the server made a mistake; please report it")
                .into_response()
        }))
        .with_state(app);
    if origins.is_empty() {
        return router;
    }
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
    let headers = [header::AUTHORIZATION, header::CONTENT_TYPE];
    router.layer(CorsLayer::new().allow_origin(origins).allow_methods(methods).allow_headers(headers))
}
