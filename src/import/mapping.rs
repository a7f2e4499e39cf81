//! Which column means what: a small TOML file, the command line, or both (the command line wins).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::cell;
use super::encoding::Encoding;
use super::problem::Problem;
use crate::domain::attribute::AttributeType;
use crate::domain::id::{AttributeName, EventName, PropertyName, TagName};
use crate::domain::time::Tz;

/// What a row of the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A friend: status, customer id, attributes.
    Friends,
    /// A tag given to a friend.
    Tags,
    /// Something that happened to a friend.
    Events,
}

impl Kind {
    /// Parses the word of the command line.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Friends, Self::Tags, Self::Events].into_iter().find(|kind| kind.as_str() == word)
    }

    /// The word of the command line and of `kind` in a mapping.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Friends => "friends",
            Self::Tags => "tags",
            Self::Events => "events",
        }
    }

    /// The fields such a file may have.
    pub(super) fn fields(self) -> &'static [Field] {
        match self {
            Self::Friends => &[Field::User, Field::Status, Field::FollowedAt, Field::ExternalId],
            Self::Tags => &[Field::User, Field::ExternalId, Field::Tag, Field::At],
            Self::Events => &[Field::User, Field::ExternalId, Field::Name, Field::At, Field::EventId],
        }
    }
}

/// A field that is not an attribute or a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    User,
    Status,
    FollowedAt,
    ExternalId,
    Tag,
    Name,
    At,
    EventId,
}

impl Field {
    const ALL: [Field; 8] = [
        Field::User,
        Field::Status,
        Field::FollowedAt,
        Field::ExternalId,
        Field::Tag,
        Field::Name,
        Field::At,
        Field::EventId,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Status => "status",
            Self::FollowedAt => "followed_at",
            Self::ExternalId => "external_id",
            Self::Tag => "tag",
            Self::Name => "name",
            Self::At => "at",
            Self::EventId => "event_id",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == text)
    }
}

/// Where a text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The cell under this header.
    Column(String),
    /// The same text for each row.
    Constant(String),
    /// `U` and the MD5 of this template, where `{row}` is the row's number from 0 and `{header}` a cell:
    /// user ids for a rehearsal with files that have none.
    Md5(String),
}

/// A property of an event and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Property {
    pub source: Source,
    pub declared: AttributeType,
}

/// When a row gives a tag or becomes an event: the cell equals the text, or is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct When {
    pub column: String,
    pub equals: Option<String>,
}

/// `[[to_tag]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToTag {
    pub tag: TagName,
    pub when: When,
    pub at: Option<Source>,
}

/// `[[to_event]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToEvent {
    pub name: EventName,
    pub when: When,
    pub at: Source,
    pub event_id: Option<Source>,
    pub properties: BTreeMap<PropertyName, Property>,
}

/// Which column means what. A field or declared attribute that is not mentioned is read from the column of its
/// own name, if there is one; other columns are ignored, and the report names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// What a row is.
    pub kind: Kind,
    /// The file's encoding; found out when `None`.
    pub encoding: Option<Encoding>,
    /// The zone of instants without offset; the account's when `None`.
    pub zone: Option<Tz>,
    pub(super) fields: BTreeMap<Field, Source>,
    pub(super) attributes: BTreeMap<AttributeName, Source>,
    pub(super) properties: BTreeMap<PropertyName, Property>,
    pub(super) to_tags: Vec<ToTag>,
    pub(super) to_events: Vec<ToEvent>,
}

impl Mapping {
    /// Columns are called like the fields.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            encoding: None,
            zone: None,
            fields: BTreeMap::new(),
            attributes: BTreeMap::new(),
            properties: BTreeMap::new(),
            to_tags: Vec::new(),
            to_events: Vec::new(),
        }
    }

    /// Reads a mapping file for an import of `kind`.
    ///
    /// # Errors
    /// All that is wrong with it; a syntax error or an unknown key alone, with line and column.
    pub fn from_toml(text: &str, kind: Kind) -> Result<Self, Vec<Problem>> {
        let raw: Raw = toml::from_str(text)
            .map_err(|error| vec![Problem::Toml(error.to_string().trim_end().to_owned())])?;
        raw.check(kind)
    }

    /// Takes `FIELD=HEADER` of the command line: a field, `attribute.NAME` or `property.NAME:TYPE`.
    ///
    /// # Errors
    /// What is not understood.
    pub fn column(&mut self, assignment: &str) -> Result<(), Problem> {
        self.assign(assignment, Source::Column)
    }

    /// Takes `FIELD=TEXT` of the command line: the same text for each row.
    ///
    /// # Errors
    /// What is not understood.
    pub fn value(&mut self, assignment: &str) -> Result<(), Problem> {
        self.assign(assignment, Source::Constant)
    }

    /// Refuses made-up user ids for an account whose messages leave this machine: such ids must never meet LINE.
    ///
    /// # Errors
    /// Ids are made up and `loopback` is false.
    pub fn check_users(&self, loopback: bool) -> Result<(), Problem> {
        let made_up = matches!(self.fields.get(&Field::User), Some(Source::Md5(_)));
        if made_up && !loopback { Err(Problem::DerivedUsers) } else { Ok(()) }
    }

    fn assign(&mut self, assignment: &str, source: fn(String) -> Source) -> Result<(), Problem> {
        let (target, text) =
            assignment.split_once('=').ok_or_else(|| Problem::Assignment(assignment.to_owned()))?;
        let source = source(text.to_owned());
        if let Some(name) = target.strip_prefix("attribute.").filter(|_| self.kind == Kind::Friends) {
            let name = cell::attribute_name(name).ok_or_else(|| Problem::Name(name.to_owned()))?;
            self.attributes.insert(name, source);
        } else if let Some(typed) = target.strip_prefix("property.").filter(|_| self.kind == Kind::Events) {
            let (name, declared) =
                typed.rsplit_once(':').ok_or_else(|| Problem::PropertyType(target.to_owned()))?;
            let declared = type_named(declared).ok_or_else(|| Problem::PropertyType(target.to_owned()))?;
            let name = cell::property_name(name).ok_or_else(|| Problem::Name(name.to_owned()))?;
            self.properties.insert(name, Property { source, declared });
        } else {
            let field = Field::parse(target).filter(|field| self.kind.fields().contains(field));
            let field = field.ok_or_else(|| Problem::field(target, self.kind))?;
            self.fields.insert(field, source);
        }
        Ok(())
    }
}

fn type_named(word: &str) -> Option<AttributeType> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let word: StrDeserializer<'_, Error> = word.into_deserializer();
    AttributeType::deserialize(word).ok()
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    kind: Option<Kind>,
    encoding: Option<Encoding>,
    zone: Option<String>,
    user: Option<RawSource>,
    status: Option<RawSource>,
    followed_at: Option<RawSource>,
    external_id: Option<RawSource>,
    tag: Option<RawSource>,
    name: Option<RawSource>,
    at: Option<RawSource>,
    event_id: Option<RawSource>,
    #[serde(default)]
    attributes: BTreeMap<AttributeName, RawSource>,
    #[serde(default)]
    properties: BTreeMap<PropertyName, RawProperty>,
    #[serde(default)]
    to_tag: Vec<RawToTag>,
    #[serde(default)]
    to_event: Vec<RawToEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToTag {
    tag: TagName,
    column: String,
    equals: Option<RawText>,
    at: Option<RawSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawToEvent {
    name: EventName,
    column: String,
    equals: Option<RawText>,
    at: RawSource,
    event_id: Option<RawSource>,
    #[serde(default)]
    properties: BTreeMap<PropertyName, RawProperty>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProperty {
    column: Option<String>,
    value: Option<RawText>,
    #[serde(rename = "type")]
    declared: AttributeType,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSourceTable {
    column: Option<String>,
    value: Option<RawText>,
    md5: Option<String>,
}

/// A text that may stand without quotes where TOML has a notation for it: a whole number, `true`, a date. Not a
/// number with a fraction, of which TOML does not keep how it was written.
struct RawText(String);

impl RawText {
    fn of(value: &toml::Value) -> Option<Self> {
        Some(Self(match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Datetime(at) => at.to_string(),
            _ => return None,
        }))
    }
}

impl<'de> Deserialize<'de> for RawText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        Self::of(&value)
            .ok_or_else(|| unexpected(&value, "a text in quotes, a whole number, true, false or a date"))
    }
}

fn unexpected<E: serde::de::Error>(value: &toml::Value, expected: &str) -> E {
    E::custom(format!("this is a TOML {}; expected {expected}", value.type_str()))
}

/// A header as a string, a date as it is, or `{ column = … }`, `{ value = … }`, `{ md5 = … }`.
struct RawSource(RawSourceTable);

impl<'de> Deserialize<'de> for RawSource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let none = RawSourceTable { column: None, value: None, md5: None };
        Ok(Self(match toml::Value::deserialize(deserializer)? {
            toml::Value::String(header) => RawSourceTable { column: Some(header), ..none },
            date @ toml::Value::Datetime(_) => RawSourceTable { value: RawText::of(&date), ..none },
            toml::Value::Table(table) => table
                .try_into()
                .map_err(|error: toml::de::Error| serde::de::Error::custom(error.message()))?,
            other => {
                let expected = "the header of a column, { value = \"…\" } or { md5 = \"…{row}\" }";
                return Err(unexpected(&other, expected));
            }
        }))
    }
}

impl Raw {
    fn check(self, kind: Kind) -> Result<Mapping, Vec<Problem>> {
        let mut problems = Problems(Vec::new());
        if let Some(own) = self.kind.filter(|own| *own != kind) {
            problems.0.push(Problem::Kind { own, asked: kind });
        }
        let mut mapping = Mapping::new(kind);
        mapping.encoding = self.encoding;
        mapping.zone = self.zone.and_then(|zone| match zone.parse() {
            Ok(zone) => Some(zone),
            Err(_) => problems.none(Problem::Zone(zone)),
        });
        let fields = [
            (Field::User, self.user),
            (Field::Status, self.status),
            (Field::FollowedAt, self.followed_at),
            (Field::ExternalId, self.external_id),
            (Field::Tag, self.tag),
            (Field::Name, self.name),
            (Field::At, self.at),
            (Field::EventId, self.event_id),
        ];
        for (field, raw) in fields.into_iter().filter_map(|(field, raw)| Some((field, raw?))) {
            if !kind.fields().contains(&field) {
                problems.0.push(Problem::field(field.as_str(), kind));
            } else if let Some(source) = problems.source(field.as_str(), raw, field == Field::User) {
                mapping.fields.insert(field, source);
            }
        }
        let friends_only = [
            ("attributes", !self.attributes.is_empty()),
            ("to_tag", !self.to_tag.is_empty()),
            ("to_event", !self.to_event.is_empty()),
        ];
        for (key, _) in friends_only.into_iter().filter(|(_, used)| *used && kind != Kind::Friends) {
            problems.0.push(Problem::field(key, kind));
        }
        if !self.properties.is_empty() && kind != Kind::Events {
            problems.0.push(Problem::field("properties", kind));
        }
        for (name, raw) in self.attributes {
            if let Some(source) = problems.source(&format!("attributes.{name}"), raw, false) {
                mapping.attributes.insert(name, source);
            }
        }
        mapping.properties = problems.properties("properties", self.properties);
        mapping.to_tags = self.to_tag.into_iter().map(|raw| problems.tag_rule(raw)).collect();
        mapping.to_events = self.to_event.into_iter().filter_map(|raw| problems.event_rule(raw)).collect();
        if problems.0.is_empty() { Ok(mapping) } else { Err(problems.0) }
    }
}

/// Problems found so far, and the conversions that find them.
struct Problems(Vec<Problem>);

impl Problems {
    fn none<T>(&mut self, problem: Problem) -> Option<T> {
        self.0.push(problem);
        None
    }

    fn source(&mut self, place: &str, RawSource(raw): RawSource, md5_allowed: bool) -> Option<Source> {
        match (raw.column, raw.value, raw.md5) {
            (Some(column), None, None) => Some(Source::Column(column)),
            (None, Some(RawText(value)), None) => Some(Source::Constant(value)),
            (None, None, Some(template)) if md5_allowed => Some(Source::Md5(template)),
            (None, None, Some(_)) => self.none(Problem::Md5Place(place.to_owned())),
            _ => self.none(Problem::OneSource(place.to_owned())),
        }
    }

    fn properties(
        &mut self,
        place: &str,
        raw: BTreeMap<PropertyName, RawProperty>,
    ) -> BTreeMap<PropertyName, Property> {
        let mut properties = BTreeMap::new();
        for (name, RawProperty { column, value, declared }) in raw {
            let source = RawSource(RawSourceTable { column, value, md5: None });
            if let Some(source) = self.source(&format!("{place}.{name}"), source, false) {
                properties.insert(name, Property { source, declared });
            }
        }
        properties
    }

    fn tag_rule(&mut self, raw: RawToTag) -> ToTag {
        let at = raw.at.and_then(|at| self.source("to_tag.at", at, false));
        let equals = raw.equals.map(|RawText(text)| text);
        ToTag { tag: raw.tag, when: When { column: raw.column, equals }, at }
    }

    fn event_rule(&mut self, raw: RawToEvent) -> Option<ToEvent> {
        let properties = self.properties("to_event.properties", raw.properties);
        let event_id = raw.event_id.and_then(|id| self.source("to_event.event_id", id, false));
        let at = self.source("to_event.at", raw.at, false)?;
        let equals = raw.equals.map(|RawText(text)| text);
        let when = When { column: raw.column, equals };
        Some(ToEvent { name: raw.name, when, at, event_id, properties })
    }
}
