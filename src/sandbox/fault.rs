//! Faults on demand: which request goes wrong, and how. Draws are by retry key and attempt, so that the same
//! seed gives the same faults in whatever order requests arrive.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::time::Instant;

/// What the sandbox answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v2/bot/message/multicast`.
    #[default]
    Multicast,
    /// `POST /oauth2/v3/token`.
    Token,
    /// `POST /v2/bot/message/validate/multicast`.
    ValidateMulticast,
    /// `GET /v2/bot/message/quota`.
    Quota,
    /// `GET /v2/bot/message/quota/consumption`.
    Consumption,
    /// `GET /v2/bot/info`.
    BotInfo,
    /// `POST /v2/bot/richmenu/bulk/link`.
    LinkRichMenu,
    /// `POST /v2/bot/richmenu/bulk/unlink`.
    UnlinkRichMenu,
}

/// How a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The connection ends without an answer; nothing was done.
    LostBefore,
    /// The connection ends without an answer; everything was done.
    LostAfter,
    /// No answer until the client gives up; nothing was done.
    HangBefore,
    /// No answer until the client gives up; everything was done.
    HangAfter,
    /// The answer comes late.
    Slow {
        /// Milliseconds of the machine's time.
        ms: u64,
    },
    /// 500; nothing was done.
    ServerErrorBefore,
    /// 500; everything was done.
    ServerErrorAfter,
    /// 429 with the text for the rate.
    RateLimited,
    /// 429 with the text for the month, whatever is left: LINE's temporary kind.
    MonthlyLimit,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 409 without the accepted request's id; nothing was done.
    ConflictWithoutId,
    /// 400 `Failed to send messages`, without an index.
    BadRequest,
    /// 413, however small the body is.
    PayloadTooLarge,
    /// Done as usual, but the answer's body is no JSON.
    Malformed,
    /// Done as usual, but the answer's body is 8 MB long.
    Huge,
}

/// A rule about which requests go wrong. Every condition given must hold; the first rule that fits applies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// How they go wrong.
    pub kind: FaultKind,
    /// Requests to this endpoint; multicasts unless said.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// Requests of the channel with this id; all channels unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The share of requests, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// These requests, counted from 1 among those of the endpoint and channel since the rule was set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nth: Vec<u64>,
    /// From this instant of the sandbox's clock on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// Until this instant, exclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
    /// At most so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

impl Fault {
    /// Every multicast goes wrong this way; narrow it with the fields.
    pub const fn always(kind: FaultKind) -> Self {
        Self {
            kind,
            endpoint: Endpoint::Multicast,
            channel: None,
            probability: None,
            nth: Vec::new(),
            from: None,
            until: None,
            times: None,
        }
    }
    /// This share of multicasts goes wrong this way.
    pub fn with_probability(kind: FaultKind, probability: f64) -> Self {
        Self { probability: Some(probability), ..Self::always(kind) }
    }
    /// These multicasts, counted from 1, go wrong this way.
    pub fn nth(kind: FaultKind, nth: impl IntoIterator<Item = u64>) -> Self {
        Self { nth: nth.into_iter().collect(), ..Self::always(kind) }
    }
}

/// What a draw is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) channel: &'a str,
    pub(super) now: Instant,
    /// What tells this request from others: its retry key, or its number where it has none.
    pub(super) identity: &'a [u8],
    /// Which attempt under that key.
    pub(super) attempt: u64,
}

/// The rules in force.
#[derive(Debug)]
pub(super) struct Faults {
    seed: u64,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    seen: u64,
    applied: u64,
}

impl Faults {
    pub(super) fn new(seed: u64, faults: Vec<Fault>) -> Self {
        let rules = faults.into_iter().map(|fault| Rule { fault, seen: 0, applied: 0 }).collect();
        Self { seed, rules }
    }

    /// Replaces the rules; counting begins anew.
    pub(super) fn set(&mut self, faults: Vec<Fault>) {
        *self = Self::new(self.seed, faults);
    }

    /// The rules in force, each with how often it applied.
    pub(super) fn list(&self) -> Vec<(Fault, u64)> {
        self.rules.iter().map(|rule| (rule.fault.clone(), rule.applied)).collect()
    }

    /// The fault of this request, if one applies. Every rule counts the requests it looks at.
    pub(super) fn draw(&mut self, draw: Draw<'_>) -> Option<FaultKind> {
        let seed = self.seed;
        let mut chosen = None;
        for (n, rule) in self.rules.iter_mut().enumerate() {
            if rule.looks_at(&draw) && chosen.is_none() && rule.fits(&draw, seed, n) {
                rule.applied += 1;
                chosen = Some(rule.fault.kind);
            }
        }
        chosen
    }
}

impl Rule {
    fn looks_at(&mut self, draw: &Draw<'_>) -> bool {
        let concerns = self.fault.endpoint == draw.endpoint
            && self.fault.channel.as_deref().is_none_or(|channel| channel == draw.channel);
        self.seen += u64::from(concerns);
        concerns
    }

    fn fits(&self, draw: &Draw<'_>, seed: u64, n: usize) -> bool {
        let fault = &self.fault;
        fault.times.is_none_or(|times| self.applied < times)
            && fault.from.is_none_or(|from| from <= draw.now)
            && fault.until.is_none_or(|until| draw.now < until)
            && (fault.nth.is_empty() || fault.nth.contains(&self.seen))
            && fault.probability.is_none_or(|share| draw.number(seed, n) < share)
    }
}

impl Draw<'_> {
    /// A number in [0, 1) that depends on seed, rule, key and attempt alone.
    fn number(&self, seed: u64, rule: usize) -> f64 {
        let mut hash = Sha256::new();
        hash.update(seed.to_be_bytes());
        hash.update(rule.to_be_bytes());
        hash.update(self.attempt.to_be_bytes());
        hash.update(self.identity);
        StdRng::from_seed(hash.finalize().into()).random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(identity: &[u8], attempt: u64, now: i64) -> Draw<'_> {
        let now = Instant::from_millis(now);
        Draw { endpoint: Endpoint::Multicast, channel: "1", now, identity, attempt }
    }

    #[test]
    fn draws_depend_on_key_and_attempt_not_on_the_order_of_arrival() {
        let faults = || vec![Fault::with_probability(FaultKind::LostAfter, 0.3)];
        let mut forward = Faults::new(7, faults());
        let mut backward = Faults::new(7, faults());
        let keys: Vec<[u8; 2]> = (0..2_000_u16).map(u16::to_be_bytes).collect();
        let one: Vec<_> = keys.iter().map(|key| forward.draw(draw(key, 1, 0))).collect();
        let mut two: Vec<_> = keys.iter().rev().map(|key| backward.draw(draw(key, 1, 0))).collect();
        two.reverse();
        assert_eq!(one, two);
        let hit = one.iter().flatten().count();
        assert!((500..700).contains(&hit), "{hit} of 2,000 at 30 %");
        let second: Vec<_> = keys.iter().map(|key| forward.draw(draw(key, 2, 0))).collect();
        assert_ne!(one, second, "another attempt, another draw");
    }

    #[test]
    fn conditions_narrow_a_rule() {
        let nth = Fault { times: Some(1), ..Fault::nth(FaultKind::LostBefore, [2, 3]) };
        let span = Fault {
            from: Some(Instant::from_millis(10)),
            until: Some(Instant::from_millis(20)),
            ..Fault::always(FaultKind::RateLimited)
        };
        let elsewhere = Fault { channel: Some("2".into()), ..Fault::always(FaultKind::Forbidden) };
        let mut faults = Faults::new(0, vec![elsewhere, nth, span]);
        let mut at = |ms| faults.draw(draw(b"k", 1, ms));
        assert_eq!(at(9), None);
        assert_eq!(at(9), Some(FaultKind::LostBefore));
        assert_eq!(at(9), None, "times = 1 is spent");
        assert_eq!(at(10), Some(FaultKind::RateLimited));
        assert_eq!(at(19), Some(FaultKind::RateLimited));
        assert_eq!(at(20), None);
        let applied: Vec<u64> = faults.list().into_iter().map(|(_, applied)| applied).collect();
        assert_eq!(applied, [0, 1, 2]);
    }

    #[test]
    fn a_fault_reads_as_it_is_written() {
        let json = r#"{"kind":{"slow":{"ms":300}},"endpoint":"quota","nth":[1,2],"times":3}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&fault).unwrap(), json);
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"lost_after","probabilty":0.5}"#).is_err());
    }
}
