//! A JSON object field by field: each is known, of the right type, and told by its JSON pointer where it is not.

use serde_json::{Map, Value as Json};

use super::problem::{Code, Problem};
use crate::domain::id::UserId;
use crate::domain::time::Instant;
use crate::import::{ID_CHARS_MAX, Reason};
use crate::lang::Lang;
use crate::text::{no_such, one_line};

/// What a field has to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    Text,
    Object,
    /// One to so many elements.
    List(usize),
    /// A text, or an object with `tag` and `at`.
    Tag,
    Instant,
    Property,
}

impl Wanted {
    fn words(self) -> (String, String) {
        let (ja, en) = match self {
            Self::Text => ("文字列", "a text"),
            Self::Object => ("オブジェクト（{…}）", "an object"),
            Self::List(most) => {
                return (format!("1〜{most}個の配列"), format!("a list of 1 to {most}"));
            }
            Self::Tag => {
                ("タグの名前、または {\"tag\": …, \"at\": …}", "a tag's name, or {\"tag\": …, \"at\": …}")
            }
            Self::Instant => {
                ("日時（例 2026-01-31T18:00:00+09:00）", "an instant such as 2026-01-31T18:00:00+09:00")
            }
            Self::Property => (
                "文字列・数値・真偽値・{\"date\": …}・{\"instant\": …}",
                "a text, a number, a boolean, {\"date\": …} or {\"instant\": …}",
            ),
        };
        (ja.to_owned(), en.to_owned())
    }

    /// Says what belongs at a place.
    pub(super) fn at(self, pointer: &str, lang: Lang) -> Problem {
        let (ja, en) = self.words();
        let detail = lang.pick(format!("{ja}を書いてください"), format!("write {en}"));
        Problem::at(pointer, Code::Invalid, detail)
    }
}

/// A field that is there, and where.
pub(super) struct Field {
    pub pointer: String,
    pub json: Json,
    pub lang: Lang,
}

impl Field {
    pub(super) fn is(&self, wanted: Wanted) -> Problem {
        wanted.at(&self.pointer, self.lang)
    }

    /// A reason an import would give.
    pub(super) fn because(&self, reason: &Reason) -> Problem {
        Problem::at(&self.pointer, Code::Invalid, reason.text(self.lang))
    }

    /// A text that no database keeps.
    pub(super) fn nul(&self) -> Problem {
        let detail = self
            .lang
            .pick("NUL 文字が含まれています。取り除いてください", "it contains a NUL character; remove it");
        Problem::at(&self.pointer, Code::Invalid, detail.to_owned())
    }

    pub(super) fn text(&self) -> Result<&str, Problem> {
        self.json.as_str().ok_or_else(|| self.is(Wanted::Text))
    }

    pub(super) fn user(&self) -> Result<UserId, Problem> {
        let text = self.text()?;
        UserId::parse(text).map_err(|_| self.because(&Reason::User(text.to_owned())))
    }

    /// A customer id or event id: what a database can index.
    pub(super) fn id(&self) -> Result<String, Problem> {
        let text = self.text()?;
        let fits = (1..=ID_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits { Ok(text.to_owned()) } else { Err(self.because(&Reason::Id(text.to_owned()))) }
    }

    /// A name of a tag, an event or a property.
    pub(super) fn name<T>(&self, parse: impl Fn(&str) -> Option<T>) -> Result<T, Problem> {
        let text = self.text()?;
        parse(text).ok_or_else(|| self.because(&Reason::Name(text.to_owned())))
    }

    pub(super) fn instant(&self) -> Result<Instant, Problem> {
        let read = self.json.as_str().and_then(|text| Instant::try_from(text.to_owned()).ok());
        read.ok_or_else(|| self.is(Wanted::Instant))
    }

    /// The elements, each with its place.
    pub(super) fn list(self, most: usize) -> Result<Vec<Field>, Problem> {
        let wrong = self.is(Wanted::List(most));
        let Json::Array(elements) = self.json else { return Err(wrong) };
        if elements.is_empty() || elements.len() > most {
            return Err(wrong);
        }
        let element = |(n, json)| Field { pointer: format!("{}/{n}", self.pointer), json, lang: self.lang };
        Ok(elements.into_iter().enumerate().map(element).collect())
    }

    /// The fields of an object, whatever they are called; one to so many.
    pub(super) fn entries(self, most: usize) -> Result<Vec<(String, Field)>, Problem> {
        let Json::Object(map) = self.json else { return Err(Wanted::Object.at(&self.pointer, self.lang)) };
        if map.is_empty() || map.len() > most {
            let detail =
                self.lang.pick(format!("1〜{most}個書いてください"), format!("write 1 to {most} of them"));
            return Err(Problem::at(&self.pointer, Code::Invalid, detail));
        }
        let entry = |(name, json): (String, Json)| {
            let pointer = format!("{}/{}", self.pointer, escaped(&name));
            (name, Field { pointer, json, lang: self.lang })
        };
        Ok(map.into_iter().map(entry).collect())
    }
}

/// A name as it stands in a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// An object whose fields are known.
pub(super) struct Fields {
    pointer: String,
    map: Map<String, Json>,
    lang: Lang,
}

impl Fields {
    /// Takes an object that has no other fields than these.
    pub(super) fn of(field: Field, known: &[&str]) -> Result<Self, Problem> {
        let Field { pointer, json, lang } = field;
        let Json::Object(map) = json else { return Err(Wanted::Object.at(&pointer, lang)) };
        if let Some(stranger) = map.keys().find(|name| !known.contains(&name.as_str())) {
            let shown = one_line(stranger, 60);
            let detail = no_such(lang, "項目", "field", &shown, known.iter().copied());
            let pointer = format!("{pointer}/{}", escaped(stranger));
            return Err(Problem::at(&pointer, Code::Invalid, detail));
        }
        Ok(Self { pointer, map, lang })
    }

    /// A field, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Option<Field> {
        let json = self.map.remove(name)?;
        Some(Field { pointer: format!("{}/{name}", self.pointer), json, lang: self.lang })
    }

    /// A field that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<Field, Problem> {
        self.take(name)
            .ok_or_else(|| self.wrong(&format!("{name} がありません"), &format!("{name} is missing")))
    }

    /// Something wrong with the object as a whole.
    pub(super) fn wrong(&self, ja: &str, en: &str) -> Problem {
        Problem::at(&self.pointer, Code::Invalid, self.lang.pick(ja, en).to_owned())
    }
}
