//! HTTP for ops: health, readiness, metrics.

mod health;
mod serve;

pub use health::{Check, Readiness, router};
pub use serve::{Limits, serve};
