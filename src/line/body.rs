//! The body of a multicast: a fixed serialisation, so that a batch has the same bytes, digest and key on every
//! attempt, after every restart.
//!
//! ```text
//! {"to":["U…",…],"messages":[…]}                       always, in this order, without spaces
//! ,"notificationDisabled":true                         only when the delivery is silent
//! ,"customAggregationUnits":["…"]                      only when the batch has a statistics unit
//! ```
//! Changing any of it stops every batch that is open during the upgrade (its digest differs), so it is pinned.

use sha2::{Digest, Sha256};

use crate::domain::id::UserId;

/// Writes the body. `messages` is the JSON array fixed at the freeze and goes in byte for byte; `notify` false is
/// a silent delivery; `unit` is the statistics unit name.
pub fn multicast_body(to: &[UserId], messages: &str, notify: bool, unit: Option<&str>) -> Vec<u8> {
    let mut body = Vec::with_capacity(to.len() * 36 + messages.len() + 128);
    body.extend_from_slice(b"{\"to\":[");
    for (n, user) in to.iter().enumerate() {
        let mut quoted = *b",\"U00000000000000000000000000000000\"";
        for (byte, digits) in user.0.iter().zip(quoted[3..].chunks_exact_mut(2)) {
            digits.copy_from_slice(&HEX[usize::from(*byte)]);
        }
        // The first has no comma in front.
        body.extend_from_slice(if n == 0 { &quoted[1..] } else { &quoted });
    }
    body.extend_from_slice(b"],\"messages\":");
    body.extend_from_slice(messages.as_bytes());
    if !notify {
        body.extend_from_slice(b",\"notificationDisabled\":true");
    }
    if let Some(unit) = unit {
        body.extend_from_slice(b",\"customAggregationUnits\":[");
        // Unit names need no escapes; a text that did would still not break out of its string.
        body.extend_from_slice(serde_json::Value::from(unit).to_string().as_bytes());
        body.push(b']');
    }
    body.push(b'}');
    body
}

/// The `messages` of a body that [`multicast_body`] wrote.
pub fn messages_of(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        messages: &'a serde_json::value::RawValue,
    }
    serde_json::from_slice::<Body<'_>>(body).ok().map(|body| body.messages.get().to_owned())
}

/// SHA-256 of a body: what a batch keeps, and what every attempt compares.
pub fn body_digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

/// Both digits of every byte: a body has sixteen thousand of them.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut all = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        all[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGES: &str = r#"[{"type":"text","text":"冬の新作が届きました 🎁"}]"#;

    fn users() -> Vec<UserId> {
        vec![UserId([0; 16]), UserId([0xab; 16]), UserId(*b"\x01\x23\x45\x67\x89\xab\xcd\xef haishin")]
    }

    /// Pinned: a change here stops every open batch as unknown after an upgrade.
    #[test]
    fn the_bytes_are_pinned() {
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(
            text(&multicast_body(&users(), MESSAGES, true, None)),
            r#"{"to":["U00000000000000000000000000000000","Uabababababababababababababababab","U0123456789abcdef206861697368696e"],"messages":[{"type":"text","text":"冬の新作が届きました 🎁"}]}"#
        );
        let silent = multicast_body(&users()[..1], MESSAGES, false, Some("winter_coupon_20261204"));
        assert_eq!(
            text(&silent),
            r#"{"to":["U00000000000000000000000000000000"],"messages":[{"type":"text","text":"冬の新作が届きました 🎁"}],"notificationDisabled":true,"customAggregationUnits":["winter_coupon_20261204"]}"#
        );
        assert_eq!(
            hex::encode(body_digest(&silent)),
            "dbb34ae596ad9504154cbe4481de1453873346d4f9c0f4f2c5435ed96bfdca92"
        );
    }

    proptest! {
        /// An independent reader finds in the body what went in.
        #[test]
        fn the_body_is_json_of_what_went_in(
            ids in proptest::collection::vec(any::<[u8; 16]>(), 0..40),
            notify in any::<bool>(),
            unit in proptest::option::of("[A-Za-z0-9_]{1,30}"),
        ) {
            let to: Vec<UserId> = ids.into_iter().map(UserId).collect();
            let body = multicast_body(&to, MESSAGES, notify, unit.as_deref());
            let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(read["to"].clone(), serde_json::to_value(&to).unwrap());
            prop_assert_eq!(read["messages"][0]["text"].as_str(), Some("冬の新作が届きました 🎁"));
            prop_assert_eq!(read.get("notificationDisabled").is_some(), !notify);
            prop_assert_eq!(read["customAggregationUnits"][0].as_str(), unit.as_deref());
        }
    }
}
