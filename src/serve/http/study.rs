//! A finished or running search beside the models: its candidates as recipes to talk to, its report.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::App;
use super::body::Id;
use super::error::ApiError;
use crate::serve::study::{Study, StudyError};

/// The report is a page of its own, without scripts.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'";

impl From<StudyError> for ApiError {
    fn from(error: StudyError) -> Self {
        let status = match &error {
            StudyError::NoSuchCandidate { .. } | StudyError::NoReport => StatusCode::NOT_FOUND,
            StudyError::Parents(_) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

fn of(app: &App) -> Result<&Study, ApiError> {
    let none = || ApiError::new(StatusCode::NOT_FOUND, "the server was started without `--study`");
    app.study.as_deref().ok_or_else(none)
}

pub(super) async fn overview(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let overview = block_in_place(|| of(&app)?.overview().map_err(ApiError::from))?;
    Ok(Json(json!(overview)))
}

pub(super) async fn candidate(State(app): State<App>, Id(id): Id) -> Result<Json<Value>, ApiError> {
    let (recipe, score) = block_in_place(|| of(&app)?.recipe(&id, &app.catalog.parents).map_err(ApiError::from))?;
    let name = |path: &std::path::Path| app.catalog.parents.name_of(path).unwrap_or_default();
    let failed = |e: crate::recipe::RecipeError| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    let (yaml, json) = (recipe.to_yaml(name).map_err(failed)?, recipe.to_json(name).map_err(failed)?);
    Ok(Json(json!({ "id": id, "score": score, "yaml": yaml, "recipe": json })))
}

pub(super) async fn report(State(app): State<App>) -> Result<Response, ApiError> {
    let html = block_in_place(|| of(&app)?.report().map_err(ApiError::from))?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, REPORT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, html).into_response())
}
