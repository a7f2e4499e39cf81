//! LINE's webhooks: a signed body to what it says of friends.

use haishin::domain::effect::Effect;
use haishin::domain::time::Span;
use haishin::line::webhook::{Callback, EVENTS_MAX, is_signed, read, sign};

pub fn run(bytes: &[u8]) -> bool {
    let secrets = [&b"an older secret"[..], b"the channel's secret"];
    let signature = sign(bytes, secrets[1]);
    assert!(is_signed(bytes, signature.as_bytes(), secrets));
    assert!(!is_signed(bytes, signature.as_bytes(), [secrets[0]]));
    // What is signed is no signature.
    assert!(!is_signed(bytes, bytes, secrets));

    let Ok(callback) = read(bytes, None) else {
        // Whether it is one does not depend on how old its events may be.
        assert!(read(bytes, Some(super::NOW)).is_err());
        return false;
    };
    let json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let events = json.get("events").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    assert_said(&callback, events);
    assert_eq!(callback.events.too_old, 0);

    // The same JSON in other bytes says the same.
    let written = serde_json::to_vec(&json).unwrap();
    assert_eq!(read(&written, None).unwrap(), callback);

    // Without those that are too old the others stay as they were.
    let oldest = super::NOW - Span::from_days(3);
    let mut younger = read(bytes, Some(oldest)).unwrap();
    assert_said(&younger, events);
    let mut expected = callback;
    expected.active.retain(|intake| intake.at >= oldest);
    expected.standby.retain(|intake| intake.at >= oldest);
    younger.events = expected.events;
    let good = expected.events.taken > 0;
    assert_eq!(younger, expected);
    good
}

/// Each event is counted once, and says little.
fn assert_said(callback: &Callback, events: usize) {
    let counts = callback.events;
    assert!(events <= EVENTS_MAX);
    assert_eq!(counts.taken + counts.ignored + counts.too_old, events as u64, "{counts:?}");
    let said = callback.active.len() + callback.standby.len();
    assert!(said as u64 <= 2 * counts.taken, "{said} of {counts:?}");
    for intake in callback.active.iter().chain(&callback.standby) {
        assert!(intake.dedupe.is_some(), "{intake:?}");
        super::assert_same_json(intake);
    }
    // While another module holds the chat nothing is answered.
    let statuses = callback.standby.iter().all(|intake| matches!(intake.effect, Effect::Status { .. }));
    assert!(statuses, "{:?}", callback.standby);
}
