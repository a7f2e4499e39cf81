//! LINE's Messaging API: client, answers and what they mean.
//!
//! [`Api`] is what the sender asks of LINE; [`HttpApi`] does it over HTTP. What one attempt came to is data
//! ([`Attempt`]), and what it proves about a batch is a pure function of it ([`Answer::settles`]).

mod answer;
mod api;
mod body;
mod http;
pub mod relay;
mod token;
pub mod webhook;

pub use answer::{Answer, Attempt, Blame, History, LimitHint, Settlement};
pub use api::{Api, BotInfo, CallError, Quota, Validation, read_consumption, rich_menu_body};
pub use body::{body_digest, messages_of, multicast_body};
pub use http::{BuildError, HttpApi, HttpSettings, is_loopback};
pub(crate) use http::{Lost, client, exchange};
pub use token::{Credentials, Grant};

/// Largest number of recipients of one multicast.
pub const MAX_RECIPIENTS: usize = 500;
