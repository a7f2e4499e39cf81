//! A friend's phone.

use axum::body::Body as HttpBody;
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};

use super::core::Sandbox;
use super::server::plain;
use crate::domain::time::Instant;

pub(super) fn respond(_sandbox: &Sandbox, _head: &Parts, _now: Instant) -> Response<HttpBody> {
    plain(StatusCode::NOT_FOUND, "")
}
