//! What an attempt settles, held against who really got the message: a sender that follows `Answer::settles` to the
//! letter, through every fault, both orders of key look-up and recipients that turn bad in between.

use axum::http::{HeaderMap, HeaderValue};
use haishin::domain::id::UserId;
use haishin::domain::time::{Instant, Span};
use haishin::line::{Answer, Attempt, History, Settlement, multicast_body};
use haishin::sandbox::{
    Act, Body, ChannelSettings, Fault, FaultKind, KeyLookup, RateLimits, Request, Sandbox, Settings,
    UnknownIds,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::line_http::key_of;

const FAULTS: [FaultKind; 14] = [
    FaultKind::LostBefore,
    FaultKind::LostAfter,
    FaultKind::HangBefore,
    FaultKind::HangAfter,
    FaultKind::ServerErrorBefore,
    FaultKind::ServerErrorAfter,
    FaultKind::RateLimited,
    FaultKind::MonthlyLimit,
    FaultKind::Unauthorized,
    FaultKind::Forbidden,
    FaultKind::ConflictWithoutId,
    FaultKind::BadRequest,
    FaultKind::Malformed,
    FaultKind::Slow { ms: 1 },
];

fn sandbox(seed: u64) -> Sandbox {
    let channel = ChannelSettings {
        access_token: Some("t".into()),
        unknown_ids: UnknownIds::Befriend,
        ..ChannelSettings::new("1234567890", "s", "こはる珈琲")
    };
    let faults = FAULTS.map(|kind| Fault::with_probability(kind, 0.06)).to_vec();
    let order = if seed.is_multiple_of(2) { KeyLookup::BeforeValidation } else { KeyLookup::AfterValidation };
    let settings =
        Settings { faults, seed, key_lookup: order, rates: RateLimits::Off, ..Settings::new(vec![channel]) };
    Sandbox::new(settings).unwrap()
}

fn attempt(sandbox: &Sandbox, body: &[u8], now: Instant) -> Answer {
    let key = key_of(body).to_string();
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("authorization", "Bearer t"), ("content-type", "application/json"), ("x-line-retry-key", &key)]
    {
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let path = "/v2/bot/message/multicast";
    let request = Request { method: "POST", path, headers: &headers, body: Body::Whole(body) };
    match sandbox.handle(&request, now).act {
        Act::Close => Answer::ConnectionLost,
        Act::Hang => Answer::Timeout,
        Act::Answer(reply) => Attempt::read(reply.status, &reply.headers(), &reply.body).answer,
    }
}

/// Sends one batch as the protocol says, until something is settled or 23 h are over.
fn settle(sandbox: &Sandbox, user: UserId, messages: &str, rng: &mut StdRng) -> Settlement {
    let body = multicast_body(&[user], messages, true, None);
    let mut history = History::SurelyNotSent;
    let mut now = Instant::from_millis(1_796_374_800_000);
    let opened = now;
    while now - opened < Span::from_hours(23) {
        if rng.random_bool(0.05) {
            // LINE stops, or begins again, to like the recipient.
            let refused: &[UserId] = if rng.random_bool(0.5) { &[user] } else { &[] };
            sandbox.refuse_users("1234567890", refused, &[]).unwrap();
        }
        let answer = attempt(sandbox, &body, now);
        if rng.random_bool(0.05) {
            // A crash before the answer was stored: all that is known is that the batch was open.
            history = History::PossiblySent;
        } else {
            match answer.settles(history) {
                Settlement::Open => history = history.after(&answer),
                settled => return settled,
            }
        }
        now = now + Span::from_mins(rng.random_range(1..120));
    }
    Settlement::Unknown
}

#[test]
fn what_is_settled_is_true() {
    let mut seen = [0_u32; 3];
    for seed in 0..40 {
        let sandbox = sandbox(seed);
        let mut rng = StdRng::seed_from_u64(seed);
        for n in 0..100_u128 {
            let user = UserId((n + 1).to_be_bytes());
            sandbox.refuse_users("1234567890", &[], &[]).unwrap();
            let settled = settle(&sandbox, user, r#"[{"type":"text","text":"a"}]"#, &mut rng);
            let got = sandbox.received("1234567890", &user).unwrap().len();
            let (place, fits) = match settled {
                Settlement::Accepted => (0, got == 1),
                Settlement::Rejected => (1, got == 0),
                Settlement::Unknown => (2, got <= 1),
                Settlement::Open => panic!("nothing stays open"),
            };
            assert!(fits, "seed {seed}, friend {n}: {settled:?} but got {got}");
            seen[place] += 1;
        }
        let audit = sandbox.audit();
        assert_eq!((audit.keys, audit.keys_with_two_bodies.len(), audit.duplicate_pairs), (100, 0, 0));
        assert_eq!((audit.keys_taken_twice.len(), audit.without_key), (0, 0));
    }
    // Each kind of end is really reached.
    assert!(seen.iter().all(|n| *n > 100), "{seen:?}");
}
