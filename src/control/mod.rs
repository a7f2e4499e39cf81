//! The Unix socket: one protocol for all commands; and the node that answers them, and takes in what comes from outside:
//! LINE's webhooks, and what the shop's systems ask of the API.

mod address;
pub mod api;
pub mod backups;
pub mod client;
pub mod machine;
pub mod node;
pub mod plan;
pub mod server;
mod take_in;
mod tokens;
mod webhooks;

pub use take_in::{Arrival, TakeInError};
pub use webhooks::WebhookError;
