//! A mapping tied to one file's columns and the declared attributes: what makes intakes of a row.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::cell;
use super::encoding::Row;
use super::mapping::{Field, Kind, Mapping, Property, Source, When};
use super::problem::{Problem, most_similar};
use super::reject::Reason;
use crate::domain::attribute::{AttributeType, Value};
use crate::domain::effect::{Effect, Intake};
use crate::domain::friend::{FriendRef, Status};
use crate::domain::id::{AttributeName, EventName, PropertyName, TagName, UserId};
use crate::domain::identity::Identities;
use crate::domain::time::{Instant, Tz};

/// The declared type of each attribute (`config/attributes.toml`).
pub type AttributeTypes = BTreeMap<AttributeName, AttributeType>;

/// A value per row: read from a column, or the same for all.
enum Given<T> {
    Column(usize),
    Fixed(T),
}

/// A row that cannot be imported: the column at fault, where it is one, and why.
pub(super) type Fault = (Option<usize>, Reason);

impl<T: Clone> Given<T> {
    /// The row's value; an empty cell is none.
    fn of(&self, row: &Row, parse: impl Fn(&str) -> Result<T, Reason>) -> Result<Option<T>, Fault> {
        match self {
            Given::Fixed(value) => Ok(Some(value.clone())),
            Given::Column(column) => match row.get(*column) {
                "" => Ok(None),
                text => parse(text).map(Some).map_err(|reason| (Some(*column), reason)),
            },
        }
    }

    /// The row's value; an empty cell is a fault.
    fn needed(&self, row: &Row, parse: impl Fn(&str) -> Result<T, Reason>) -> Result<T, Fault> {
        let column = if let Given::Column(column) = self { Some(*column) } else { None };
        self.of(row, parse)?.ok_or((column, Reason::Empty))
    }
}

/// How a row names its friend.
enum Who {
    User(Given<UserId>),
    Md5(Vec<Piece>),
    External(Given<String>),
}

enum Piece {
    Text(String),
    Row,
    Column(usize),
}

struct Condition {
    column: usize,
    equals: Option<String>,
}

impl Condition {
    fn holds(&self, row: &Row) -> bool {
        let cell = row.get(self.column);
        self.equals.as_ref().map_or(!cell.is_empty(), |text| cell == text)
    }
}

struct Tagging {
    when: Option<Condition>,
    tag: Given<TagName>,
    at: Option<Given<Instant>>,
}

struct Happening {
    when: Option<Condition>,
    name: Given<EventName>,
    at: Given<Instant>,
    event_id: Option<Given<String>>,
    properties: Vec<(PropertyName, AttributeType, Given<Value>)>,
}

/// What each row becomes.
pub(super) struct Plan {
    zone: Tz,
    /// The instant of what has none of its own.
    now: Instant,
    who: Who,
    status: Option<Given<Status>>,
    followed_at: Option<Given<Instant>>,
    external_id: Option<Given<String>>,
    attributes: Vec<(AttributeName, AttributeType, Given<Value>)>,
    tags: Vec<Tagging>,
    events: Vec<Happening>,
    /// Headers that nothing reads.
    pub ignored: Vec<String>,
}

impl Plan {
    /// Ties a mapping to a header.
    ///
    /// # Errors
    /// All that does not fit.
    pub fn bind(
        mapping: &Mapping,
        header: &[String],
        declared: &AttributeTypes,
        zone: Tz,
        now: Instant,
    ) -> Result<Self, Vec<Problem>> {
        let mut binder = Binder::new(mapping, header, mapping.zone.unwrap_or(zone));
        let who = binder.who();
        let zone = binder.zone;
        let (mut tags, mut events) = (binder.tag_rules(), binder.event_rules());
        match mapping.kind {
            Kind::Friends => {}
            Kind::Tags => {
                let tag = binder.needed(Field::Tag, cell::tag);
                let at = binder.field(Field::At, |text| cell::instant(text, zone));
                tags.extend(tag.map(|tag| Tagging { when: None, tag, at }));
            }
            Kind::Events => events.extend(binder.event()),
        }
        let status = binder.field(Field::Status, cell::status);
        let followed_at = binder.field(Field::FollowedAt, |text| cell::instant(text, zone));
        let external_id = match who {
            // What names the friend is not also said of it.
            Some(Who::External(_)) => None,
            _ if mapping.kind == Kind::Friends => binder.field(Field::ExternalId, cell::id),
            _ => None,
        };
        let attributes = binder.attributes(declared);
        let (true, Some(who)) = (binder.problems.is_empty(), who) else { return Err(binder.problems) };
        let ignored = binder.ignored();
        let plan =
            Self { zone, now, who, status, followed_at, external_id, attributes, tags, events, ignored };
        if plan.says_anything() {
            Ok(plan)
        } else {
            Err(vec![Problem::NothingMapped { ignored: plan.ignored }])
        }
    }

    fn says_anything(&self) -> bool {
        let state = self.status.is_some() || self.followed_at.is_some() || self.external_id.is_some();
        state || !(self.attributes.is_empty() && self.tags.is_empty() && self.events.is_empty())
    }

    /// The column of the customer id that rows name their friends by; `None` where they name users.
    pub fn external_column(&self) -> Option<Option<usize>> {
        match &self.who {
            Who::External(Given::Column(column)) => Some(Some(*column)),
            Who::External(Given::Fixed(_)) => Some(None),
            Who::User(_) | Who::Md5(_) => None,
        }
    }

    /// What a row says; `number` counts rows from 0.
    pub fn intakes(&self, row: &Row, number: u64, identities: &mut Identities) -> Result<Vec<Intake>, Fault> {
        let friend = self.friend_of(row, number)?;
        let mut intakes = Vec::new();
        let mut say = |at, effect| intakes.push(Intake { friend: friend.clone(), at, effect, dedupe: None });
        let followed_at =
            self.optional(self.followed_at.as_ref(), row, |text| cell::instant(text, self.zone))?;
        let status = self.optional(self.status.as_ref(), row, cell::status)?;
        if let Some(status) = status.or(followed_at.map(|_| Status::Following)) {
            say(followed_at.unwrap_or(self.now), Effect::Status { status, followed_at });
        }
        if let Some(given) = &self.external_id {
            say(self.now, Effect::ExternalId { external_id: given.of(row, cell::id)? });
        }
        for (name, declared, given) in &self.attributes {
            let value = given.of(row, |text| cell::value(text, *declared, self.zone))?;
            say(self.now, Effect::Attribute { name: name.clone(), value });
        }
        for tagging in self.tags.iter().filter(|t| t.when.as_ref().is_none_or(|when| when.holds(row))) {
            let tag = tagging.tag.needed(row, cell::tag)?;
            let at = self.optional(tagging.at.as_ref(), row, |text| cell::instant(text, self.zone))?;
            say(at.unwrap_or(self.now), Effect::TagAdded { tag });
        }
        for event in self.events.iter().filter(|e| e.when.as_ref().is_none_or(|when| when.holds(row))) {
            let (at, effect) = self.event(event, row)?;
            say(at, effect);
        }
        // Last, when nothing can go wrong any more: a rejected row takes no ordinal.
        for intake in &mut intakes {
            intake.dedupe = identities.of(intake);
        }
        Ok(intakes)
    }

    fn optional<T: Clone>(
        &self,
        given: Option<&Given<T>>,
        row: &Row,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Result<Option<T>, Fault> {
        given.map_or(Ok(None), |given| given.of(row, parse))
    }

    fn event(&self, event: &Happening, row: &Row) -> Result<(Instant, Effect), Fault> {
        let name = event.name.needed(row, cell::event)?;
        let at = event.at.needed(row, |text| cell::instant(text, self.zone))?;
        let event_id = self.optional(event.event_id.as_ref(), row, cell::id)?;
        let mut properties = BTreeMap::new();
        for (name, declared, given) in &event.properties {
            if let Some(value) = given.of(row, |text| cell::value(text, *declared, self.zone))? {
                properties.insert(name.clone(), value);
            }
        }
        Ok((at, Effect::Event { name, event_id, properties }))
    }

    fn friend_of(&self, row: &Row, number: u64) -> Result<FriendRef, Fault> {
        match &self.who {
            Who::User(given) => given.needed(row, cell::user).map(FriendRef::User),
            Who::External(given) => given.needed(row, cell::id).map(FriendRef::External),
            Who::Md5(pieces) => {
                let mut hash = Md5::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => hash.update(text),
                        Piece::Row => hash.update(number.to_string()),
                        Piece::Column(column) => hash.update(row.get(*column)),
                    }
                }
                Ok(FriendRef::User(UserId(hash.finalize().into())))
            }
        }
    }
}

/// A header, what of it is used, and what is wrong.
struct Binder<'a> {
    mapping: &'a Mapping,
    header: &'a [String],
    used: Vec<bool>,
    zone: Tz,
    problems: Vec<Problem>,
}

impl<'a> Binder<'a> {
    fn new(mapping: &'a Mapping, header: &'a [String], zone: Tz) -> Self {
        Self { mapping, header, used: vec![false; header.len()], zone, problems: Vec::new() }
    }

    fn ignored(&self) -> Vec<String> {
        let unused = self.header.iter().zip(&self.used).filter(|(name, used)| !**used && !name.is_empty());
        unused.map(|(name, _)| name.clone()).collect()
    }

    fn index(&mut self, column: &str) -> Option<usize> {
        let index = self.header.iter().position(|name| name == column)?;
        if let Some(used) = self.used.get_mut(index) {
            *used = true;
        }
        Some(index)
    }

    fn column(&mut self, key: &str, column: &str) -> Option<usize> {
        let index = self.index(column);
        if index.is_none() {
            let similar = most_similar(column, self.header.iter()).cloned();
            self.problems.push(Problem::Column { key: key.to_owned(), column: column.to_owned(), similar });
        }
        index
    }

    fn given<T>(
        &mut self,
        key: &str,
        source: &Source,
        parse: impl Fn(&str) -> Result<T, Reason>,
    ) -> Option<Given<T>> {
        match source {
            Source::Column(column) => self.column(key, column).map(Given::Column),
            Source::Constant(text) | Source::Md5(text) => match parse(text) {
                Ok(value) => Some(Given::Fixed(value)),
                Err(reason) => {
                    self.problems.push(Problem::Constant { key: key.to_owned(), reason });
                    None
                }
            },
        }
    }

    /// A field of this kind of file: as mapped, else the column of its own name.
    fn field<T>(&mut self, field: Field, parse: impl Fn(&str) -> Result<T, Reason>) -> Option<Given<T>> {
        if !self.mapping.kind.fields().contains(&field) {
            return None;
        }
        match self.mapping.fields.get(&field) {
            Some(source) => self.given(field.as_str(), source, parse),
            None => self.index(field.as_str()).map(Given::Column),
        }
    }

    fn needed<T>(&mut self, field: Field, parse: impl Fn(&str) -> Result<T, Reason>) -> Option<Given<T>> {
        let before = self.problems.len();
        let given = self.field(field, parse);
        if given.is_none() && self.problems.len() == before {
            self.problems.push(Problem::Needed { key: field.as_str(), columns: self.header.to_vec() });
        }
        given
    }

    /// A user id, as mapped or in the column of that name, else a customer id. Where friends have no fields of their
    /// own, a customer id that is mapped beats a column that is only there.
    fn who(&mut self) -> Option<Who> {
        let (mapping, header) = (self.mapping, self.header);
        let mapped = |field| mapping.fields.get(&field);
        let there =
            |field: Field| mapped(field).is_some() || header.iter().any(|name| name == field.as_str());
        let one_name = mapping.kind != Kind::Friends;
        let by_external_id = match (mapped(Field::User), mapped(Field::ExternalId)) {
            (Some(_), Some(_)) if one_name => {
                self.problems.push(Problem::TwoNames(mapping.kind));
                return None;
            }
            (None, Some(_)) if one_name => true,
            _ => !there(Field::User),
        };
        if by_external_id && !there(Field::ExternalId) {
            self.problems.push(Problem::NoName { columns: header.to_vec() });
            return None;
        }
        match mapped(Field::User) {
            _ if by_external_id => self.needed(Field::ExternalId, cell::id).map(Who::External),
            Some(Source::Md5(template)) => self.template(template).map(Who::Md5),
            _ => self.needed(Field::User, cell::user).map(Who::User),
        }
    }

    fn template(&mut self, template: &str) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                self.problems.push(Problem::Template(template.to_owned()));
                return None;
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(if name == "row" { Piece::Row } else { Piece::Column(self.column("user", name)?) });
            rest = after;
        }
        if pieces.is_empty() {
            self.problems.push(Problem::Template(template.to_owned()));
            return None;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Some(pieces)
    }

    fn attributes(&mut self, declared: &AttributeTypes) -> Vec<(AttributeName, AttributeType, Given<Value>)> {
        let mapping = self.mapping;
        for name in mapping.attributes.keys().filter(|name| !declared.contains_key(*name)) {
            let similar = most_similar(name.as_str(), declared.keys().map(AttributeName::as_str));
            let similar = similar.map(str::to_owned);
            self.problems.push(Problem::Attribute { name: name.to_string(), similar });
        }
        let mut attributes = Vec::new();
        for (name, declared) in declared.iter().filter(|_| mapping.kind == Kind::Friends) {
            let zone = self.zone;
            let given = match mapping.attributes.get(name) {
                Some(source) => self
                    .given(&format!("attributes.{name}"), source, |text| cell::value(text, *declared, zone)),
                // A column that something else reads is not an attribute as well, unless a mapping says so.
                None if self.is_used(name.as_str()) => None,
                None => self.index(name.as_str()).map(Given::Column),
            };
            attributes.extend(given.map(|given| (name.clone(), *declared, given)));
        }
        attributes
    }

    fn is_used(&self, column: &str) -> bool {
        self.header.iter().zip(&self.used).any(|(name, used)| *used && name == column)
    }

    fn condition(&mut self, key: &str, when: &When) -> Option<Condition> {
        let column = self.column(key, &when.column)?;
        Some(Condition { column, equals: when.equals.clone() })
    }

    fn tag_rules(&mut self) -> Vec<Tagging> {
        let (mapping, zone) = (self.mapping, self.zone);
        let mut tags = Vec::new();
        for rule in &mapping.to_tags {
            let when = self.condition("to_tag.column", &rule.when);
            let at =
                rule.at.as_ref().and_then(|at| self.given("to_tag.at", at, |text| cell::instant(text, zone)));
            tags.push(Tagging { when, tag: Given::Fixed(rule.tag.clone()), at });
        }
        tags
    }

    fn event_rules(&mut self) -> Vec<Happening> {
        let (mapping, zone) = (self.mapping, self.zone);
        let mut events = Vec::new();
        for rule in &mapping.to_events {
            let when = self.condition("to_event.column", &rule.when);
            let at = self.given("to_event.at", &rule.at, |text| cell::instant(text, zone));
            let event_id =
                rule.event_id.as_ref().and_then(|id| self.given("to_event.event_id", id, cell::id));
            let properties = self.properties("to_event.properties", &rule.properties);
            let name = Given::Fixed(rule.name.clone());
            events.extend(at.map(|at| Happening { when, name, at, event_id, properties }));
        }
        events
    }

    /// The one event of a row of an events file. Its instant is needed: one that moves from import to import
    /// would make a second import a second event.
    fn event(&mut self) -> Option<Happening> {
        let (mapping, zone) = (self.mapping, self.zone);
        let name = self.needed(Field::Name, cell::event);
        let at = self.needed(Field::At, |text| cell::instant(text, zone));
        let event_id = self.field(Field::EventId, cell::id);
        let properties = self.properties("properties", &mapping.properties);
        Some(Happening { when: None, name: name?, at: at?, event_id, properties })
    }

    fn properties(
        &mut self,
        place: &str,
        properties: &BTreeMap<PropertyName, Property>,
    ) -> Vec<(PropertyName, AttributeType, Given<Value>)> {
        let zone = self.zone;
        let mut given = Vec::new();
        for (name, Property { source, declared }) in properties {
            let key = format!("{place}.{name}");
            let value = self.given(&key, source, |text| cell::value(text, *declared, zone));
            given.extend(value.map(|value| (name.clone(), *declared, value)));
        }
        given
    }
}
