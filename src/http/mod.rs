//! HTTP for ops: health, readiness, metrics.

mod health;
mod serve;
mod webhook;

pub use health::{Check, Readiness, router};
pub use serve::{Limits, serve};
pub use webhook::{Taken, Webhooks, webhooks};
