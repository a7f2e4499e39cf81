//! HTTP: LINE's webhooks, an API for the shop's own systems, and for ops health, readiness and metrics.

pub mod api;
mod health;
mod places;
mod serve;
mod webhook;

pub use health::{Check, Readiness, router};
pub use serve::{Limits, serve};
pub use webhook::{Taken, Webhooks, webhooks};
