//! haishin (配信): scheduled, segmented, capped multicasts for LINE Official Accounts.
//!
//! `ARCHITECTURE.md` draws how the modules depend on each other and walks one campaign through them.
//! Dependencies point one way: `domain` and `clock` know nobody; `store`, `line`, `config`, `audience` and
//! `import` know the domain; `sender` and `engine` use those; `http`, `control`, `sandbox`, `demo` and `cli`
//! stand above; `app` alone knows the concrete types.
#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod app;
pub mod audience;
pub mod cli;
pub mod clock;
pub mod concern;
pub mod config;
pub mod control;
pub mod demo;
pub mod domain;
pub mod engine;
pub mod http;
pub mod import;
pub mod lang;
pub mod lifecycle;
pub mod line;
pub mod protocol;
pub mod sandbox;
pub mod sender;
pub mod store;
pub mod systems;
pub mod telemetry;
pub mod text;
