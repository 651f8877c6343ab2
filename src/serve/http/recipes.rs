//! `/v1/recipes`: recipes shown, changed live, and what a change would cost.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::App;
use super::body::{Id, Text};
use super::error::ApiError;
use crate::recipe::methods::{BaseRule, Kind};
use crate::recipe::{METHODS, MethodSpec, OutType, PathScale};
use crate::serve::catalog::CatalogError;
use crate::serve::revision::{Revision, Source};

/// All recipes, and what can be written into one.
pub(super) async fn list(State(app): State<App>) -> Json<Value> {
    let entry = |r: &Arc<Revision>| {
        json!({
            "id": r.id, "fingerprint": r.fingerprint, "kind": r.kind(), "live": app.engine.is_live(r),
            "created_here": app.catalog.is_made_here(&r.id),
        })
    };
    let parents = app.catalog.parents.served().iter().map(|s| {
        json!({
            "name": s.name, "architecture": s.architecture, "block_count": s.block_count, "parameters": s.parameters,
            "size_bytes": s.size_bytes,
        })
    });
    let adapters = app.catalog.parents.known().iter().filter(|k| k.factor_bytes.is_some());
    let adapters = adapters.map(|k| json!({ "name": k.name, "size_bytes": k.size_bytes }));
    Json(json!({
        "data": app.catalog.all().iter().map(entry).collect::<Vec<_>>(), "parents": parents.collect::<Vec<_>>(),
        "adapters": adapters.collect::<Vec<_>>(),
        "methods": METHODS.iter().map(method).collect::<Vec<_>>(), "out_types": OutType::ALL.map(OutType::name),
        "path_scales": PathScale::ALL.map(PathScale::name), "study": app.study.is_some(),
    }))
}

fn method(spec: &MethodSpec) -> Value {
    let base = match spec.base {
        BaseRule::Required => "required",
        BaseRule::Optional => "optional",
        BaseRule::Ignored => "ignored",
    };
    let parameters = spec.parameters.iter().map(|p| {
        let kind = match p.kind {
            Kind::Float => "float",
            Kind::Int => "int",
            Kind::Bool => "bool",
        };
        let bound = |value: f64| (value.abs() < f64::MAX).then_some(value);
        json!({
            "name": p.name, "per_model": p.per_model, "kind": kind, "default": p.default, "min": bound(p.range.0),
            "max": bound(p.range.1), "doc": p.doc,
        })
    });
    json!({
        "name": spec.name, "summary": spec.summary, "reference": spec.reference, "base": base,
        "counts_base": spec.inputs.with_base, "min_models": spec.inputs.min, "max_models": spec.inputs.max,
        "parameters": parameters.collect::<Vec<_>>(),
    })
}

/// One recipe.
pub(super) async fn get(State(app): State<App>, Id(id): Id) -> Result<Json<Value>, ApiError> {
    let revision = app.catalog.get(Some(&id))?;
    shown(&app, &revision).map(Json)
}

fn shown(app: &App, revision: &Revision) -> Result<Value, ApiError> {
    let written = |revision: &Revision| revision.written(&app.catalog.parents).map_err(CatalogError::from);
    let (yaml, recipe) = written(revision)?;
    let initial = app.catalog.initial(&revision.id).map(|initial| written(&initial)).transpose()?;
    Ok(json!({
        "id": revision.id, "fingerprint": revision.fingerprint, "kind": revision.kind(), "yaml": yaml, "recipe": recipe,
        "initial": initial.map(|(_, recipe)| recipe),
        "architecture": revision.template().architecture(), "block_count": revision.block_count(),
        "live": app.engine.is_live(revision), "chat": revision.vocabulary.has_chat_template(),
        "created_here": app.catalog.is_made_here(&revision.id), "warnings": revision.warnings(),
    }))
}

/// Replaces a recipe, or makes a new one; answers when its weights are live.
pub(super) async fn put(
    State(app): State<App>,
    Id(id): Id,
    Text(text): Text,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let status = if app.catalog.get(Some(&id)).is_ok() { StatusCode::OK } else { StatusCode::CREATED };
    // Planning reads weights where a method needs statistics of them.
    let revision = Arc::new(block_in_place(|| app.catalog.prepare(&id, &text))?);
    let swapped = app.engine.put(Arc::clone(&revision)).await?;
    let mut object = shown(&app, &revision)?;
    let swap = swapped.swap;
    object["swap"] = json!({
        "seconds": swap.elapsed.as_secs_f64(), "merge_seconds": swap.fill.elapsed.as_secs_f64(),
        "waited_seconds": swapped.waited.as_secs_f64(), "bytes_read": swap.fill.bytes_read,
        "bytes_written": swap.fill.bytes_written, "reloaded": swap.reloaded,
    });
    Ok((status, Json(object)))
}

/// Serves a model no more that came by [`put`].
pub(super) async fn delete(State(app): State<App>, Id(id): Id) -> Result<StatusCode, ApiError> {
    app.catalog.delete(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a change would cost, nothing changed.
pub(super) async fn plan(State(app): State<App>, Id(id): Id, Text(text): Text) -> Result<Json<Value>, ApiError> {
    let current = app.catalog.get(Some(&id));
    let (next, same_shape) = if text.trim().is_empty() {
        (current?, true)
    } else {
        let next = Arc::new(block_in_place(|| app.catalog.prepare(&id, &text))?);
        let same_shape = current.is_ok_and(|current| next.shape == current.shape);
        (next, same_shape)
    };
    let Source::Recipe { family, plan, .. } = &next.source else {
        return Err(CatalogError::ReadOnly { id }.into());
    };
    let parents = family.siblings.parents();
    let (bytes_read, bytes_written) = (plan.source_bytes(parents), plan.written_bytes());
    let speed = app.metrics.bytes_per_second();
    Ok(Json(json!({
        "fingerprint": next.fingerprint, "same_shape": same_shape, "reload": !same_shape, "bytes_read": bytes_read,
        "bytes_written": bytes_written, "weight_bytes": plan.weight_bytes(), "block_count": plan.block_count(),
        "unique_blocks": plan.unique_blocks(), "warnings": next.warnings(),
        "estimated_seconds": speed.map(|speed| (bytes_read + bytes_written) as f64 / speed),
    })))
}
