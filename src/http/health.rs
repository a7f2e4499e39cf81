//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;

/// A check that does not answer within this is not passed.
const CHECKS_AT_MOST: Duration = Duration::from_secs(5);

/// One thing that must be so before the daemon can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What: `database`, `lease shop-a`, …
    pub name: String,
    /// Whether it is so.
    pub ok: bool,
    /// How it stands, in words for ops; no secrets, for anybody may ask.
    pub detail: String,
}

/// Who knows whether the daemon can do its work.
#[async_trait]
pub trait Readiness: Send + Sync + 'static {
    /// All checks, passed or not.
    async fn checks(&self) -> Vec<Check>;
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

struct Health {
    readiness: Arc<dyn Readiness>,
    metrics: PrometheusHandle,
}

/// The routes: `/healthz` says that the process answers, `/readyz` that it can work (200, else 503, with the
/// checks as JSON), `/metrics` is Prometheus' text.
pub fn router(readiness: Arc<dyn Readiness>, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Arc::new(Health { readiness, metrics }))
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let checks = tokio::time::timeout(CHECKS_AT_MOST, health.readiness.checks()).await;
    let checks = checks.unwrap_or_else(|_| {
        let detail = format!("no answer within {} s", CHECKS_AT_MOST.as_secs());
        vec![Check { name: "checks".to_owned(), ok: false, detail }]
    });
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, checks })).into_response()
}

async fn render(State(health): State<Arc<Health>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], health.metrics.render())
        .into_response()
}
