//! The body of a multicast, read as strictly as LINE reads it.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ledger::Sha;
use super::messages;
use super::plan::{Problem, Say};
use crate::domain::id::UserId;
use crate::line::MAX_RECIPIENTS;

/// A multicast that is valid in itself; whether its recipients can be reached is the channel's matter.
#[derive(Debug)]
pub(super) struct Multicast {
    pub(super) to: Vec<UserId>,
    /// The messages as canonical JSON, and the digest of that.
    pub(super) messages: String,
    pub(super) content: Sha,
    pub(super) silent: bool,
    pub(super) unit: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    to: Recipients,
    messages: Value,
    notification_disabled: Option<bool>,
    custom_aggregation_units: Option<Vec<String>>,
}

/// The user ids before the first that is none, how many there are, and which is that first.
struct Recipients {
    users: Vec<UserId>,
    count: usize,
    invalid: Option<usize>,
}

impl<'de> Deserialize<'de> for Recipients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seq;
        impl<'de> Visitor<'de> for Seq {
            type Value = Recipients;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of user ids")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Recipients, A::Error> {
                let mut read =
                    Recipients { users: Vec::with_capacity(MAX_RECIPIENTS), count: 0, invalid: None };
                while read.invalid.is_none() && read.count <= MAX_RECIPIENTS {
                    match seq.next_element::<Recipient>()? {
                        None => return Ok(read),
                        Some(Recipient(Some(user))) => read.users.push(user),
                        Some(Recipient(None)) => read.invalid = Some(read.count),
                    }
                    read.count += 1;
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    read.count += 1;
                }
                Ok(read)
            }
        }
        deserializer.deserialize_seq(Seq)
    }
}

struct Recipient(Option<UserId>);

impl<'de> Deserialize<'de> for Recipient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Recipient;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a user id")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Recipient, E> {
                Ok(Recipient(UserId::parse(text).ok()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Multicast {
    /// Reads and validates a body; the error is LINE's answer to it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Say> {
        let raw: Raw = serde_json::from_slice(body).map_err(|error| unreadable(body, &error))?;
        let mut problems = Vec::new();
        if !(1..=MAX_RECIPIENTS).contains(&raw.to.count) {
            problems.push(Problem {
                property: "to".into(),
                message: format!("Size must be between 1 and {MAX_RECIPIENTS}"),
            });
        }
        problems.extend(messages::validate(&raw.messages));
        let unit = unit(raw.custom_aggregation_units, &mut problems);
        if !problems.is_empty() {
            return Err(Say::problems(&problems));
        }
        if let Some(n) = raw.to.invalid {
            return Err(Say::invalid_property(&format!("to[{n}]")));
        }
        let messages = raw.messages.to_string();
        Ok(Self {
            content: Sha256::digest(&messages).into(),
            messages,
            to: raw.to.users,
            silent: raw.notification_disabled.unwrap_or(false),
            unit,
        })
    }
}

/// The body of the validation endpoint: `messages` alone.
pub(super) fn validate(body: &[u8]) -> Say {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        messages: Value,
    }
    match serde_json::from_slice::<Raw>(body) {
        Err(error) => unreadable(body, &error),
        Ok(raw) => match messages::validate(&raw.messages) {
            problems if problems.is_empty() => Say::done(),
            problems => Say::problems(&problems),
        },
    }
}

fn unit(units: Option<Vec<String>>, problems: &mut Vec<Problem>) -> Option<Arc<str>> {
    let units = units?;
    let mut problem = |property: String, message: &str| {
        problems.push(Problem { property, message: message.into() });
    };
    if units.len() > 1 {
        problem("customAggregationUnits".into(), "Size must be between 0 and 1");
    }
    for (n, unit) in units.iter().enumerate() {
        let fits =
            (1..=30).contains(&unit.len()) && unit.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fits {
            problem(format!("customAggregationUnits[{n}]"), "Must match the pattern ^[a-zA-Z0-9_]{1,30}$");
        }
    }
    units.into_iter().next().map(Arc::from)
}

/// LINE's answer to a body that is no JSON, lacks a property or has one of the wrong type.
fn unreadable(body: &[u8], error: &serde_json::Error) -> Say {
    let place = format!("(line: {}, column: {})", error.line(), error.column());
    if !error.is_data() {
        return Say::error(400, &format!("The request body could not be parsed as JSON {place}"));
    }
    // serde names only the missing property; the others are found by looking.
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(body) else {
        return Say::error(400, &format!("The request body could not be parsed as JSON {place}"));
    };
    for required in ["to", "messages"] {
        if !object.contains_key(required) && error.to_string().contains(required) {
            let problem = Problem { property: required.into(), message: "May not be empty".into() };
            return Say::problems(&[problem]);
        }
    }
    let invalid = object.iter().find_map(|(name, value)| match (name.as_str(), value) {
        ("to", Value::Array(to)) => to.iter().position(|id| !id.is_string()).map(|n| format!("to[{n}]")),
        ("to", _) => Some("to".to_owned()),
        ("messages", _) => None,
        ("notificationDisabled", value) => (!value.is_boolean()).then(|| name.clone()),
        ("customAggregationUnits", Value::Array(units)) => {
            units.iter().position(|unit| !unit.is_string()).map(|n| format!("{name}[{n}]"))
        }
        _ => Some(name.clone()),
    });
    Say::invalid_property(&invalid.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ID: &str = "U0123456789abcdef0123456789abcdef";
    const TEXT: &str = r#"[{"type":"text","text":"a"}]"#;

    fn refusal(body: &str) -> String {
        let say = Multicast::parse(body.as_bytes()).unwrap_err();
        assert_eq!(say.status, 400);
        String::from_utf8(say.body.to_vec()).unwrap()
    }

    #[test]
    fn a_valid_one_is_read() {
        let body = format!(
            r#"{{"to":["{ID}"],"messages":{TEXT},"notificationDisabled":true,"customAggregationUnits":["a_1"]}}"#
        );
        let read = Multicast::parse(body.as_bytes()).unwrap();
        assert_eq!((read.to, read.silent), (vec![UserId::parse(ID).unwrap()], true));
        assert_eq!(read.unit.as_deref(), Some("a_1"));
        assert_eq!(read.content, <Sha>::from(Sha256::digest(&read.messages)));
    }

    #[rstest]
    #[case("", "could not be parsed as JSON (line: 1, column: 0)")]
    #[case("{\"to\":[}", "could not be parsed as JSON (line: 1, column: 8)")]
    #[case("[]", "could not be parsed as JSON")]
    #[case(r#"{"messages":[{"type":"text","text":"a"}]}"#, r#""message":"May not be empty","property":"to""#)]
    #[case(r#"{"to":["ID"]}"#, r#""message":"May not be empty","property":"messages""#)]
    #[case(r#"{"to":[],"messages":TEXT}"#, r#""message":"Size must be between 1 and 500","property":"to""#)]
    #[case(r#"{"to":"ID","messages":TEXT}"#, "The property, to, in")]
    #[case(r#"{"to":["ID",7],"messages":TEXT}"#, "The property, to[1], in the request body is invalid")]
    #[case(
        r#"{"to":["ID","u123"],"messages":TEXT}"#,
        "The property, to[1], in the request body is invalid (line: -, column: -)"
    )]
    #[case(r#"{"to":["C0123456789abcdef0123456789abcdef"],"messages":TEXT}"#, "The property, to[0],")]
    #[case(
        r#"{"to":["ID"],"messages":TEXT,"notificationDisabled":"yes"}"#,
        "The property, notificationDisabled,"
    )]
    #[case(
        r#"{"to":["ID"],"messages":TEXT,"customAggregationUnits":[1]}"#,
        "The property, customAggregationUnits[0],"
    )]
    #[case(
        r#"{"to":["ID"],"messages":TEXT,"customAggregationUnits":["a","b"]}"#,
        "Size must be between 0 and 1"
    )]
    #[case(
        r#"{"to":["ID"],"messages":TEXT,"customAggregationUnits":["a-b"]}"#,
        r#""property":"customAggregationUnits[0]""#
    )]
    #[case(
        r#"{"to":["ID"],"messages":TEXT,"notifcationDisabled":true}"#,
        "The property, notifcationDisabled,"
    )]
    #[case(
        r#"{"to":["ID"],"messages":[]}"#,
        r#""message":"Size must be between 1 and 5","property":"messages""#
    )]
    #[case(r#"{"to":["ID"],"messages":TEXT} x"#, "could not be parsed as JSON")]
    fn a_refusal_names_the_place(#[case] body: &str, #[case] says: &str) {
        let answer = refusal(&body.replace("ID", ID).replace("TEXT", TEXT));
        assert!(answer.contains(says), "{answer}");
    }

    #[test]
    fn five_hundred_recipients_are_the_most() {
        let body = |n: usize| {
            let ids: Vec<String> = (0..n).map(|i| format!("\"U{i:032x}\"")).collect();
            format!(r#"{{"to":[{}],"messages":{TEXT}}}"#, ids.join(","))
        };
        assert_eq!(Multicast::parse(body(500).as_bytes()).unwrap().to.len(), 500);
        assert!(refusal(&body(501)).contains("Size must be between 1 and 500"));
        assert!(refusal(&body(5_000)).contains("Size must be between 1 and 500"));
    }
}
