//! The Unix socket: one protocol for all commands; and the node that answers them, and takes in what comes from outside.

mod address;
pub mod client;
pub mod node;
pub mod plan;
pub mod server;
mod take_in;
mod webhooks;

pub use take_in::{Arrival, TakeInError};
pub use webhooks::WebhookError;
