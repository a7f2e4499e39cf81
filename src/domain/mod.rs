//! The pure core: what a friend, a segment, a campaign, a cap and a plan are. No I/O, no tokio, no sqlx;
//! a test keeps it so. Time and randomness come in as parameters.

pub mod access;
pub mod attribute;
pub mod campaign;
pub mod delivery;
pub mod drip;
pub mod effect;
pub mod friend;
pub mod id;
pub mod identity;
pub mod key;
pub mod lookback;
pub mod message;
pub mod outbox;
pub mod plan;
pub mod policy;
pub mod reason;
pub mod schedule;
pub mod segment;
pub mod sends;
pub mod time;
