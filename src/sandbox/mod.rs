//! The LINE double: as strict as LINE, with faults on demand.
//!
//! [`Sandbox`] is a state machine: a request and an instant in, what to do about it out. It reads no clock.
//! [`serve`] puts HTTP around it, with a control API under `/sandbox/` and a friend's phone under `/phone`;
//! [`InProcess`] puts [`crate::line::Api`] around it, for simulations without a network.

mod channel;
mod control;
mod core;
mod fault;
mod in_process;
mod inspect;
mod journal;
mod ledger;
mod limits;
mod menu;
mod messages;
mod multicast;
mod phone;
mod plan;
mod restore;
mod server;
mod settings;
mod tokens;
mod webhooks;

pub use self::core::Sandbox;
pub use self::fault::{Endpoint, Fault, FaultKind};
pub use self::in_process::InProcess;
pub use self::inspect::{ChannelReport, UnknownChannel};
pub use self::ledger::{Audit, Duplicate, KeyReport, Received, RequestRecord, Totals};
pub use self::plan::{Act, Body, Plan, Reply, Request};
pub use self::server::serve;
pub use self::settings::{
    ChannelSettings, Coupon, KeyLookup, RateLimits, SandboxError, SandboxFriend, Settings, UnknownIds,
};
pub use self::webhooks::{Deed, Signed};
