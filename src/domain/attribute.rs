//! Typed attributes of friends. `config/attributes.toml` declares each; nothing is inferred ("007" stays a text).

use std::sync::Arc;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::time::Instant;

/// The declared type of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttributeType {
    /// Any text, compared code point by code point.
    Text,
    /// A 64-bit whole number.
    Integer,
    /// A finite double.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A calendar day without a zone.
    Date,
    /// A point in time.
    Instant,
}

/// A value of an attribute or of an event's property.
///
/// As JSON it says its own type: `"text"`, `7`, `7.0`, `true`, `{"date":"1990-01-02"}`,
/// `{"instant":"2026-01-01T00:00:00.000Z"}`, so a stored row can be read without the declarations of its day.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any text.
    Text(Arc<str>),
    /// A 64-bit whole number.
    Integer(i64),
    /// A finite double; −0 equals 0.
    Number(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A calendar day.
    Date(NaiveDate),
    /// A point in time.
    Instant(Instant),
}

impl Value {
    /// The type this value has.
    pub fn type_of(&self) -> AttributeType {
        match self {
            Value::Text(_) => AttributeType::Text,
            Value::Integer(_) => AttributeType::Integer,
            Value::Number(_) => AttributeType::Number,
            Value::Boolean(_) => AttributeType::Boolean,
            Value::Date(_) => AttributeType::Date,
            Value::Instant(_) => AttributeType::Instant,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tagged {
    Date(NaiveDate),
    Instant(Instant),
}

impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Number(number) => serializer.serialize_f64(*number),
            Value::Boolean(flag) => serializer.serialize_bool(*flag),
            Value::Date(day) => Tagged::Date(*day).serialize(serializer),
            Value::Instant(at) => Tagged::Instant(*at).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        Ok(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Value::Text(text.into()),
            serde_json::Value::Bool(flag) => Value::Boolean(flag),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Value::Integer(whole),
                (None, Some(double)) => Value::Number(double),
                (None, None) => return Err(D::Error::custom("a number beyond 64 bits")),
            },
            tagged @ serde_json::Value::Object(_) => {
                match Tagged::deserialize(tagged).map_err(D::Error::custom)? {
                    Tagged::Date(day) => Value::Date(day),
                    Tagged::Instant(at) => Value::Instant(at),
                }
            }
            other => return Err(D::Error::custom(format!("a value cannot be {other}"))),
        })
    }
}
