//! HTTP: LINE's webhooks, and for ops health, readiness and metrics.

mod health;
mod serve;
mod webhook;

pub use health::{Check, Readiness, router};
pub use serve::{Limits, serve};
pub use webhook::{Taken, Webhooks, webhooks};
