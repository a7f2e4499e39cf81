//! What a sandbox is told at its start.

use std::path::PathBuf;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::domain::friend::Status;
use crate::domain::id::UserId;
use crate::domain::time::Span;

/// Everything a sandbox is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The LINE channels it plays; each has its own friends, quota, rate limits and books.
    pub channels: Vec<ChannelSettings>,
    /// Whether a retry key is looked up before or after the body is validated: LINE does not say.
    pub key_lookup: KeyLookup,
    /// LINE's rate limits, or none.
    pub rates: RateLimits,
    /// Faults from the start.
    pub faults: Vec<Fault>,
    /// Seeds request ids, tokens and the draws of faults.
    pub seed: u64,
    /// Keeps accepted requests across restarts: an append-only file of JSON lines.
    pub state_file: Option<PathBuf>,
    /// How many requests are remembered one by one; older ones stay in the totals.
    pub keep_requests: usize,
    /// How long a stateless token lives; LINE's live 15 minutes.
    pub token_lifetime: Span,
    /// The zone of the times on the phone page and of the month the quota counts.
    pub zone: Tz,
}

impl Settings {
    /// A strict sandbox of these channels: LINE's rate limits, no faults, nothing kept across restarts.
    pub fn new(channels: Vec<ChannelSettings>) -> Self {
        Self {
            channels,
            key_lookup: KeyLookup::BeforeValidation,
            rates: RateLimits::Line,
            faults: Vec::new(),
            seed: 0,
            state_file: None,
            keep_requests: 1_000_000,
            token_lifetime: Span::from_secs(899),
            zone: chrono_tz::Asia::Tokyo,
        }
    }
}

/// One LINE channel.
#[derive(Debug, Clone)]
pub struct ChannelSettings {
    /// The channel id: `client_id` of the token endpoint.
    pub id: String,
    /// The channel secret: `client_secret` of the token endpoint. A sandbox's secrets protect nothing.
    pub secret: String,
    /// A long-lived access token that is accepted beside issued ones.
    pub access_token: Option<String>,
    /// The account's name, on the phone page and in the bot info.
    pub name: String,
    /// The account's friends.
    pub friends: Vec<SandboxFriend>,
    /// What happens to a well-formed user id that is no friend.
    pub unknown_ids: UnknownIds,
    /// The monthly limit in messages; `None` is no limit.
    pub quota: Option<u64>,
    /// Messages of this month that others sent (LINE Official Account Manager).
    pub used: u64,
    /// Coupons the phone page can draw with their title.
    pub coupons: Vec<Coupon>,
}

impl ChannelSettings {
    /// A channel without friends and without a limit.
    pub fn new(id: impl Into<String>, secret: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: secret.into(),
            access_token: None,
            name: name.into(),
            friends: Vec::new(),
            unknown_ids: UnknownIds::Skip,
            quota: None,
            used: 0,
            coupons: Vec::new(),
        }
    }
}

/// A LINE user as one channel knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxFriend {
    /// LINE's id.
    pub user: UserId,
    /// The display name, for the phone page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Blocked users are skipped in silence and not billed.
    pub status: Status,
}

/// A coupon as the shop made it in LINE Official Account Manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coupon {
    /// The id messages name it by.
    pub id: String,
    /// Its title, up to 60 characters.
    pub title: String,
    /// The benefit in a few characters, such as `10%OFF`.
    #[serde(default)]
    pub benefit: String,
    /// Until when it can be used, as the phone shows it.
    #[serde(default)]
    pub until: String,
}

/// When a retry key is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyLookup {
    /// A taken key is a 409 whatever the body has become.
    BeforeValidation,
    /// A body that is no longer valid is a 400 even under a taken key.
    AfterValidation,
}

/// Which rate limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateLimits {
    /// LINE's: 200 multicasts a second, 2,000 of everything else, for each channel.
    Line,
    /// None: to measure the sender.
    Off,
}

/// What happens to a well-formed user id the channel does not know: LINE's documents say both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownIds {
    /// Skipped in silence, not billed.
    Skip,
    /// 400 `Failed to send messages` for the whole request.
    Refuse,
    /// Taken as a friend from then on: rehearsals whose friends need not be listed.
    Befriend,
}

/// Why a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Two channels share an id or a token.
    #[error("two channels have the id or access token of channel `{0}`; give each its own")]
    DuplicateChannel(String),
    /// The state file cannot be read or written.
    #[error("failed to use the sandbox's state file `{path}`; delete it to begin anew")]
    StateFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line before the last is damaged: only the last can be torn by a kill.
    #[error(
        "line {line} of the sandbox's state file `{path}` is damaged: {reason}; delete the file to begin anew"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}
