//! HTTP: health, readiness and metrics for ops, an API for the shop's own systems.

pub mod api;
mod health;
mod serve;

pub use health::{Check, Readiness, router};
pub use serve::{Limits, serve};
