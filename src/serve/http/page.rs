//! The playground: one page with its scripts, all in the program itself.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::Id;
use super::error::ApiError;

/// Nothing from elsewhere, and no script but ours; the report of a study may be shown inside.
pub(super) const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-src 'self'; \
     frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../playground/", $name)))),*]
    };
}

/// Every file of the page.
const ASSETS: &[(&str, &str)] = assets![
    "index.html",
    "style.css",
    "app.js",
    "api.js",
    "dom.js",
    "recipe.js",
    "setting.js",
    "hops.js",
    "editor.js",
    "sliders.js",
    "parameters.js",
    "panel.js",
    "path.js",
    "chat.js",
    "answer.js",
    "composer.js",
    "study.js",
    "theme.js",
];

pub(super) async fn index() -> Result<Response, ApiError> {
    found("index.html")
}

pub(super) async fn asset(Id(name): Id) -> Result<Response, ApiError> {
    found(&name)
}

fn found(name: &str) -> Result<Response, ApiError> {
    let found = ASSETS.iter().find(|(known, _)| *known == name);
    let (_, text) = found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, format!("there is no `{name}`")))?;
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "text/javascript; charset=utf-8",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Another version of the program brings another page.
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, *text).into_response())
}
