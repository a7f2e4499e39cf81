//! The Unix socket: one protocol for all commands, and the node that answers them, and what the HTTP API asks of it.

mod address;
pub mod api;
pub mod client;
pub mod node;
pub mod plan;
pub mod server;
mod tokens;
