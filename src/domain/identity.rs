//! What makes an event that comes a second time the same event: its `event_id`, else its content and which of the
//! equal ones of its file or request it is (two equal purchases are two).

use std::collections::HashMap;

use super::attribute::Value;
use super::effect::{DedupeId, Effect, Intake};
use super::friend::FriendRef;

/// Tells the events of one file or request apart.
///
/// Keys are half a digest: where two different contents met in one, the later would only get a higher ordinal,
/// the same one at each import, and its id still holds its whole content. So 20 bytes an event are enough.
#[derive(Debug, Default)]
pub struct Identities {
    /// How many there were of each content without an id.
    seen: HashMap<u64, u32>,
    /// A digest of the content that each id first came with.
    named: HashMap<u64, u32>,
    /// How often an id came again with another content: the first counts.
    pub repeated: u64,
}

impl Identities {
    /// The dedupe id of an event; state is absolute and needs none.
    pub fn of(&mut self, intake: &Intake) -> Option<DedupeId> {
        let Effect::Event { name, event_id, properties } = &intake.effect else { return None };
        let mut content = Vec::new();
        match &intake.friend {
            FriendRef::User(user) => part(&mut content, &user.0),
            // Its first part is never as long as a user's 16 bytes, so the two can write no equal content.
            FriendRef::External(id) => {
                part(&mut content, b"external id");
                part(&mut content, id.as_bytes());
            }
        }
        part(&mut content, &intake.at.as_millis().to_be_bytes());
        part(&mut content, name.as_str().as_bytes());
        for (name, value) in properties {
            part(&mut content, name.as_str().as_bytes());
            value_parts(&mut content, value);
        }
        let (key, rest) = halves(DedupeId::of("event content", &content));
        if let Some(event_id) = event_id {
            let id = DedupeId::of("event", event_id.as_bytes());
            let first = *self.named.entry(halves(id).0).or_insert(rest);
            self.repeated += u64::from(first != rest);
            return Some(id);
        }
        let ordinal = self.seen.entry(key).or_insert(0);
        part(&mut content, &ordinal.to_be_bytes());
        *ordinal = ordinal.saturating_add(1);
        Some(DedupeId::of("event content", &content))
    }
}

/// Half of a digest, and a quarter more.
fn halves(id: DedupeId) -> (u64, u32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = id.digest;
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
}

/// Length-prefixed, so that no two contents write the same bytes.
fn part(content: &mut Vec<u8>, bytes: &[u8]) {
    content.extend((bytes.len() as u64).to_be_bytes());
    content.extend(bytes);
}

/// The type's number stands before the value: the text "7" is not the integer 7. Never change them.
fn value_parts(content: &mut Vec<u8>, value: &Value) {
    let mut typed = |number: u8, bytes: &[u8]| {
        content.push(number);
        part(content, bytes);
    };
    match value {
        Value::Text(text) => typed(0, text.as_bytes()),
        Value::Integer(number) => typed(1, &number.to_be_bytes()),
        // −0 equals 0.
        Value::Number(number) => typed(2, &(number + 0.0).to_be_bytes()),
        Value::Boolean(flag) => typed(3, &[u8::from(*flag)]),
        Value::Date(day) => typed(4, day.to_string().as_bytes()),
        Value::Instant(at) => typed(5, &at.as_millis().to_be_bytes()),
    }
}
