//! The Unix socket: one protocol for all commands.
