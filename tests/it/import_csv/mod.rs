//! CSV import: what goes in comes out, nothing stops it, and people can act on what it says.

mod driver;
mod hillstrom;
mod properties;
mod rows;
mod words;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use async_trait::async_trait;
use haishin::domain::attribute::{AttributeType, Value};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::{FriendRef, Miss};
use haishin::domain::id::AttributeName;
use haishin::domain::time::{Instant, Tz};
use haishin::import::{
    AttributeTypes, Kind, Mapping, OpenError, Reader, Reject, RejectsFile, Report, RowError, RunError,
    Silent, Sink, run, texts,
};
use haishin::lang::Lang;

const TOKYO: Tz = chrono_tz::Asia::Tokyo;
/// 2026-02-01T00:00:00Z: the import's own instant in all these tests.
const NOW: Instant = Instant::from_millis(1_769_904_000_000);
const ANN: &str = "U0123456789abcdef0123456789abcdef";
const BOB: &str = "Ufedcba9876543210fedcba9876543210";

fn declared(types: &[(&str, AttributeType)]) -> AttributeTypes {
    types.iter().map(|(name, kind)| (AttributeName::parse(name).unwrap(), *kind)).collect()
}

fn shop() -> AttributeTypes {
    declared(&[
        ("prefecture", AttributeType::Text),
        ("points", AttributeType::Integer),
        ("birthday", AttributeType::Date),
        ("member_since", AttributeType::Instant),
    ])
}

fn mapping(kind: Kind, toml: &str) -> Mapping {
    Mapping::from_toml(toml, kind).unwrap_or_else(|problems| panic!("{}", texts(&problems, Lang::En)))
}

/// All rows: what each said, or why it said nothing.
fn read(input: impl Read, mapping: &Mapping, types: &AttributeTypes) -> Vec<Result<Vec<Intake>, Reject>> {
    let reader = Reader::open(input, mapping, types, TOKYO, NOW).unwrap();
    reader
        .map(|row| match row {
            Ok(intakes) => Ok(intakes),
            Err(RowError::Reject(reject)) => Err(reject),
            Err(RowError::Io(error)) => panic!("{error}"),
        })
        .collect()
}

fn problems(input: &[u8], mapping: &Mapping, types: &AttributeTypes) -> String {
    match Reader::open(input, mapping, types, TOKYO, NOW) {
        Err(OpenError::Problems(problems)) => {
            format!("{}\n{}", texts(&problems, Lang::En), texts(&problems, Lang::Ja))
        }
        Err(OpenError::Io(error)) => panic!("{error}"),
        Ok(_) => panic!("opened"),
    }
}

/// One line an intake, readable: instants in UTC.
fn shown(rows: &[Result<Vec<Intake>, Reject>]) -> String {
    let mut text = String::new();
    for row in rows {
        match row {
            Ok(intakes) => {
                for Intake { friend, at, effect, dedupe } in intakes {
                    let effect = serde_json::to_string(effect).unwrap();
                    let friend = match friend {
                        FriendRef::User(user) => user.to_string()[..3].to_owned(),
                        FriendRef::External(id) => format!("#{id}"),
                    };
                    text +=
                        &format!("{friend} {at} {effect}{}\n", if dedupe.is_some() { " once" } else { "" });
                }
            }
            Err(reject) => text += &format!("line {}: {}\n", reject.line, reject.text(Lang::En)),
        }
    }
    text
}

fn attribute(name: &str, text: &str) -> Effect {
    Effect::Attribute { name: AttributeName::parse(name).unwrap(), value: Some(Value::Text(text.into())) }
}

/// Keeps what it gets; fails once `fail_after` chunks are in.
#[derive(Default)]
struct Inbox {
    chunks: Vec<Vec<Intake>>,
    fail_after: Option<usize>,
    /// Customer ids that are no one friend's.
    misses: BTreeMap<String, Miss>,
}

#[async_trait]
impl Sink for Inbox {
    type Error = std::io::Error;
    async fn append(&mut self, intakes: Vec<Intake>) -> Result<Vec<(usize, Miss)>, Self::Error> {
        if self.fail_after == Some(self.chunks.len()) {
            return Err(std::io::Error::other("the daemon is gone"));
        }
        let (mut found, mut missed) = (Vec::new(), Vec::new());
        for (n, intake) in intakes.into_iter().enumerate() {
            match &intake.friend {
                FriendRef::External(id) if self.misses.contains_key(id) => missed.push((n, self.misses[id])),
                _ => found.push(intake),
            }
        }
        self.chunks.push(found);
        Ok(missed)
    }
}

async fn import(
    file: Vec<u8>,
    map: &Mapping,
    types: &AttributeTypes,
    folder: &Path,
    inbox: &mut Inbox,
) -> Result<Report, RunError<std::io::Error>> {
    let total = Some(file.len() as u64);
    let reader = Reader::open(std::io::Cursor::new(file), map, types, TOKYO, NOW).unwrap();
    run(
        map.kind,
        reader,
        total,
        RejectsFile::new(RejectsFile::path_for(&folder.join("friends.csv")), Lang::En),
        inbox,
        &mut Silent,
    )
    .await
}

/// Gives what it has in pieces of drawn lengths, as pipes do.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(buffer.len()).min(self.0.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}
