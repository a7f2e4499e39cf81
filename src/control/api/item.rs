//! One item of a request to what the inbox takes. Nothing of an item is taken that is not right as a whole.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde_json::Value as Json;

use super::fields::{Field, Fields, Wanted};
use super::problem::{Code, Problem};
use crate::domain::attribute::{AttributeType, Value};
use crate::domain::effect::{Effect, Intake};
use crate::domain::friend::{FriendRef, Status};
use crate::domain::id::{EventName, PropertyName, TagName};
use crate::domain::identity::Identities;
use crate::domain::time::Instant;
use crate::import::{Reason, value as typed};
use crate::lang::Lang;
use crate::protocol::Terms;
use crate::text::{no_such, one_line};

/// Tags one item may give, and take away.
pub const TAGS_MAX: usize = 100;
/// Attributes one item may set or unset.
pub const ATTRIBUTES_MAX: usize = 200;
/// Properties of one event.
pub const PROPERTIES_MAX: usize = 100;

/// What an item is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What a friend is.
    Friends,
    /// What happened to a friend.
    Events,
}

impl Kind {
    /// The last part of the address.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Friends => "friends",
            Self::Events => "events",
        }
    }
}

/// Reads items of one request by the running configuration.
pub(super) struct Reader<'t> {
    terms: &'t Terms,
    lang: Lang,
    identities: Identities,
}

impl<'t> Reader<'t> {
    pub(super) fn new(terms: &'t Terms, lang: Lang) -> Self {
        Self { terms, lang, identities: Identities::default() }
    }

    /// What an item at a place of the body says: one thing at least.
    pub(super) fn read(&mut self, kind: Kind, json: Json, pointer: String) -> Result<Vec<Intake>, Problem> {
        let item = Field { pointer, json, lang: self.lang };
        match kind {
            Kind::Friends => self.friend(item),
            Kind::Events => self.event(item).map(|intake| vec![intake]),
        }
    }

    fn friend(&self, item: Field) -> Result<Vec<Intake>, Problem> {
        let known = ["user", "external_id", "status", "followed_at", "tags", "attributes"];
        let mut fields = Fields::of(item, &known)?;
        let user = fields.take("user").map(|field| field.user()).transpose()?;
        let external_id = fields.take("external_id").map(id_or_null).transpose()?;
        let mut said = Vec::new();
        let now = self.terms.now;
        let friend = match (user, external_id) {
            (Some(user), external_id) => {
                said.extend(external_id.map(|external_id| (now, Effect::ExternalId { external_id })));
                FriendRef::User(user)
            }
            (None, Some(Some(id))) => FriendRef::External(id),
            (None, Some(None) | None) => {
                return Err(fields.wrong(
                    "user か external_id で友だちを示してください",
                    "say which friend is meant: user or external_id",
                ));
            }
        };
        said.extend(self.status(&mut fields)?);
        if let Some(attributes) = fields.take("attributes") {
            for (name, field) in attributes.entries(ATTRIBUTES_MAX)? {
                said.push((now, self.attribute(&name, &field)?));
            }
        }
        if let Some(tags) = fields.take("tags") {
            said.extend(self.tags(tags)?);
        }
        if said.is_empty() {
            return Err(fields.wrong(
                "友だちについての内容がありません",
                "it says which friend is meant, and nothing else",
            ));
        }
        let intake = |(at, effect)| Intake { friend: friend.clone(), at, effect, dedupe: None };
        Ok(said.into_iter().map(intake).collect())
    }

    /// A status holds from now on: what LINE tells later is later.
    fn status(&self, fields: &mut Fields) -> Result<Option<(Instant, Effect)>, Problem> {
        let status = match fields.take("status") {
            None => None,
            Some(field) => Some(match field.text()? {
                "following" => Status::Following,
                "blocked" => Status::Blocked,
                other => return Err(field.because(&Reason::Status(other.to_owned()))),
            }),
        };
        let followed_at = fields.take("followed_at").map(|field| field.instant()).transpose()?;
        let status = status.or(followed_at.map(|_| Status::Following));
        Ok(status.map(|status| (self.terms.now, Effect::Status { status, followed_at })))
    }

    fn attribute(&self, name: &str, field: &Field) -> Result<Effect, Problem> {
        let Some((name, declared)) = self.terms.attributes.get_key_value(name) else {
            let known = self.terms.attributes.keys().map(|known| known.as_str());
            let detail = no_such(self.lang, "属性", "attribute", &one_line(name, 60), known);
            return Err(Problem::at(&field.pointer, Code::UndeclaredAttribute, detail));
        };
        let value = match &field.json {
            Json::Null => None,
            Json::String(text) if text.contains('\0') => return Err(field.nul()),
            json => Some(self.value(json, *declared).ok_or_else(|| {
                let detail = other_type(name.as_str(), *declared, json, self.lang);
                Problem::at(&field.pointer, Code::AttributeType, detail)
            })?),
        };
        Ok(Effect::Attribute { name: name.clone(), value })
    }

    /// A JSON value of the declared type; dates and instants are texts as in an import.
    fn value(&self, json: &Json, declared: AttributeType) -> Option<Value> {
        match (declared, json) {
            (AttributeType::Integer, Json::Number(number)) => {
                number.as_i64().or_else(|| whole(number.as_f64()?)).map(Value::Integer)
            }
            (AttributeType::Number, Json::Number(number)) => number.as_f64().map(Value::Number),
            (AttributeType::Boolean, Json::Bool(flag)) => Some(Value::Boolean(*flag)),
            (AttributeType::Text | AttributeType::Date | AttributeType::Instant, Json::String(text)) => {
                typed(text, declared, self.terms.zone).ok()
            }
            _ => None,
        }
    }

    /// What is taken away goes first: a tag in both lists is given anew.
    fn tags(&self, tags: Field) -> Result<Vec<(Instant, Effect)>, Problem> {
        let mut lists = Fields::of(tags, &["add", "remove"])?;
        let mut said = Vec::new();
        if let Some(remove) = lists.take("remove") {
            for field in remove.list(TAGS_MAX)? {
                said.push((self.terms.now, Effect::TagRemoved { tag: field.name(tag)? }));
            }
        }
        if let Some(add) = lists.take("add") {
            for field in add.list(TAGS_MAX)? {
                said.push(self.given(field)?);
            }
        }
        if said.is_empty() {
            return Err(lists.wrong("add か remove を書いてください", "write add or remove"));
        }
        Ok(said)
    }

    fn given(&self, field: Field) -> Result<(Instant, Effect), Problem> {
        match field.json {
            Json::String(_) => Ok((self.terms.now, Effect::TagAdded { tag: field.name(tag)? })),
            Json::Object(_) => {
                let mut fields = Fields::of(field, &["tag", "at"])?;
                let tag = fields.need("tag")?.name(tag)?;
                let at = fields.take("at").map(|field| field.instant()).transpose()?;
                Ok((at.unwrap_or(self.terms.now), Effect::TagAdded { tag }))
            }
            _ => Err(field.is(Wanted::Tag)),
        }
    }

    fn event(&mut self, item: Field) -> Result<Intake, Problem> {
        let known = ["user", "external_id", "name", "at", "event_id", "properties"];
        let mut fields = Fields::of(item, &known)?;
        let user = fields.take("user").map(|field| field.user()).transpose()?;
        let external_id = fields.take("external_id").map(|field| field.id()).transpose()?;
        let friend = match (user, external_id) {
            (Some(user), None) => FriendRef::User(user),
            (None, Some(id)) => FriendRef::External(id),
            (Some(_), Some(_)) | (None, None) => {
                return Err(fields.wrong(
                    "user と external_id のどちらか1つで友だちを示してください",
                    "say which friend is meant: either user or external_id",
                ));
            }
        };
        let name = fields.need("name")?.name(|text| EventName::parse(text).ok())?;
        let at = fields.take("at").map(|field| field.instant()).transpose()?;
        let event_id = fields.take("event_id").map(|field| field.id()).transpose()?;
        let mut properties = BTreeMap::new();
        if let Some(given) = fields.take("properties") {
            for (name, field) in given.entries(PROPERTIES_MAX)? {
                let named = PropertyName::parse(&name).map_err(|_| field.because(&Reason::Name(name)))?;
                properties.insert(named, property(&field)?);
            }
        }
        // Without an instant of its own, what is sent again is told by nothing but its id.
        let has_identity = at.is_some() || event_id.is_some();
        let effect = Effect::Event { name, event_id, properties };
        let mut intake = Intake { friend, at: at.unwrap_or(self.terms.now), effect, dedupe: None };
        if has_identity {
            intake.dedupe = self.identities.of(&intake);
        }
        Ok(intake)
    }
}

/// Says of which type an attribute is, with an example in JSON.
fn other_type(name: &str, declared: AttributeType, found: &Json, lang: Lang) -> String {
    let (ja, en, example) = match declared {
        AttributeType::Text => ("文字列", "a text", "\"東京都\""),
        AttributeType::Integer => ("整数", "an integer", "1234"),
        AttributeType::Number => ("数値", "a number", "1234.5"),
        AttributeType::Boolean => ("真偽値", "a boolean", "true"),
        AttributeType::Date => ("日付", "a date", "\"2026-01-31\""),
        AttributeType::Instant => ("日時", "an instant", "\"2026-01-31T18:00:00+09:00\""),
    };
    let found = one_line(&found.to_string(), 60);
    lang.pick(
        format!("属性「{name}」は{ja}です。{example} のように書いてください（いまの値: {found}）"),
        format!("`{name}` is {en}: write it like {example}, not {found}"),
    )
}

fn tag(text: &str) -> Option<TagName> {
    TagName::parse(text).ok()
}

fn id_or_null(field: Field) -> Result<Option<String>, Problem> {
    if field.json.is_null() { Ok(None) } else { field.id().map(Some) }
}

/// 7.0 is 7, as far as a double knows every whole number.
fn whole(number: f64) -> Option<i64> {
    const EVERY: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
    let whole = number as i64;
    (number.fract() == 0.0 && number.abs() <= EVERY).then_some(whole)
}

/// A value of a property says its own type.
fn property(field: &Field) -> Result<Value, Problem> {
    let wrong = || field.is(Wanted::Property);
    match &field.json {
        Json::String(text) if text.contains('\0') => Err(field.nul()),
        Json::String(text) => Ok(Value::Text(text.as_str().into())),
        Json::Bool(flag) => Ok(Value::Boolean(*flag)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Value::Integer(whole)),
            (None, Some(double)) => Ok(Value::Number(double)),
            (None, None) => Err(wrong()),
        },
        Json::Object(tagged) => match tagged.iter().next() {
            Some((kind, Json::String(text))) if tagged.len() == 1 => match kind.as_str() {
                "date" => date(text).map(Value::Date).ok_or_else(wrong),
                "instant" => Instant::try_from(text.clone()).map(Value::Instant).map_err(|_| wrong()),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        },
        Json::Null | Json::Array(_) => Err(wrong()),
    }
}

/// `2026-01-31`, and nothing like it.
fn date(text: &str) -> Option<NaiveDate> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    (day.to_string() == text).then_some(day)
}
