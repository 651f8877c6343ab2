//! Who may ask at all: the key, and the host that a browser was told to talk to.

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::App;
use super::error::ApiError;

/// What anybody may see: the page, which asks for the key, and whether the server runs.
fn is_public(path: &str) -> bool {
    path == "/" || path == "/health" || path.starts_with("/playground/")
}

/// Lets a request through if it brings the key, where there is one.
pub(super) async fn key(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(key) = &app.options.api_key else { return next.run(request).await };
    let preflight = request.method() == Method::OPTIONS;
    if preflight || is_public(request.uri().path()) || is_key(bearer(request.headers()), key) {
        return next.run(request).await;
    }
    let message = "this server wants its API key: `Authorization: Bearer KEY`";
    ApiError::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key").into_response()
}

fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.strip_prefix("Bearer ").unwrap_or_default()
}

/// Digests are compared, so that neither content nor length shows in the time that it takes.
fn is_key(given: &str, key: &str) -> bool {
    Sha256::digest(given).ct_eq(&Sha256::digest(key)).into()
}

/// Refuses requests to a name that is not this machine's, where only this machine is served: a page elsewhere can point a name of its own
/// at 127.0.0.1 and would then count as this server's own page.
pub(super) async fn host(State(app): State<App>, request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !app.local_only || app.options.api_key.is_some() || is_local(named) {
        return next.run(request).await;
    }
    let message = format!(
        "this server answers to `localhost` only, not to `{named}`; start it with `--api-key` to serve other names"
    );
    ApiError::new(StatusCode::FORBIDDEN, message).into_response()
}

/// Whether `host`, with or without a port, is a number or `localhost`. HTTP/1.0 has none.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Counts requests and the time until their answer, or its first piece, is there.
pub(super) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    app.metrics.answered(&route, response.status().as_u16(), start.elapsed());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080", "::1", ""] {
            assert!(is_local(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example:80"] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn only_the_key_is_the_key() {
        assert!(is_key("secret", "secret"));
        for wrong in ["", "secre", "secret ", "Secret"] {
            assert!(!is_key(wrong, "secret"), "{wrong:?}");
        }
    }
}
