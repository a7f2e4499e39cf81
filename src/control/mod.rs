//! The Unix socket: one protocol for all commands, and the node that answers them.

mod address;
pub mod client;
pub mod node;
pub mod plan;
pub mod server;
mod webhooks;

pub use webhooks::WebhookError;
