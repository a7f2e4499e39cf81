//! Walks a message through the table of what LINE takes and builds its JSON, texts as written.

use serde_json::{Map, Number, Value};
use toml::de::DeValue;
use unicode_segmentation::UnicodeSegmentation;

use super::rules;
use super::spec::{COMMON, Field, MESSAGES, Shape, Variant};
use super::template::{self, Place};
use crate::config::problem::{Expected, LengthUnit, MessageRule, Problem};
use crate::config::tree::{Item, Table};

/// LINE's limit for URLs of media.
const MEDIA_URL_MAX: usize = 2_000;

/// One message object.
pub(super) fn message(item: &Item<'_>) -> Option<Value> {
    let table = item.table("message")?.with_homes();
    let Some(variant) = variant(&table, MESSAGES) else {
        table.finish();
        return None;
    };
    let common = fields(&table, COMMON);
    let own = fields(&table, variant.fields);
    let contents = if variant.name == "flex" { Some(rules::flex_contents(&table)) } else { None };
    rules::after(&table, variant.name);
    table.finish();
    let mut object = own?;
    object.extend(common?);
    if let Some(contents) = contents {
        object.insert("contents".to_owned(), contents?);
    }
    object.insert("type".to_owned(), variant.name.into());
    Some(Value::Object(object))
}

/// The variant that `type` names.
fn variant(table: &Table<'_>, variants: &'static [Variant]) -> Option<&'static Variant> {
    let words: Vec<(&str, &Variant)> = variants.iter().map(|variant| (variant.name, variant)).collect();
    let found = table.need("type").and_then(|item| item.word(&words));
    if found.is_none() {
        // Without its type no key can be judged.
        table.forgive();
    }
    found
}

fn fields(table: &Table<'_>, fields: &'static [Field]) -> Option<Map<String, Value>> {
    let mut object = Some(Map::new());
    for field in fields {
        let item = if field.needed { table.need(field.key) } else { table.get(field.key) };
        let built = match item {
            Some(item) => build(&item, &field.shape).map(Some),
            None if field.needed => None,
            None => Some(None),
        };
        match (built, &mut object) {
            (Some(Some(value)), Some(object)) => {
                object.insert(camel(field.key), value);
            }
            (Some(None), _) => {}
            _ => object = None,
        }
    }
    object
}

fn build(item: &Item<'_>, shape: &'static Shape) -> Option<Value> {
    match shape {
        Shape::Text { max, unit } => text(item, *max, *unit, Place::Plain),
        Shape::TextV2 { max } => text(item, *max, LengthUnit::Utf16, Place::TextV2),
        Shape::Digits => digits(item),
        Shape::Media => url(item, Expected::HttpsUrl, is_media_url),
        Shape::ActionUri => url(item, Expected::ActionUri, is_action_uri),
        Shape::Colour => url(item, Expected::Colour, is_colour),
        Shape::UnitName => url(item, Expected::UnitName, is_unit_name),
        Shape::Whole { min, max } => Some(item.whole(*min, *max)?.into()),
        Shape::Decimal { min, max } => decimal(item, *min, *max),
        Shape::Word(words) => {
            let words: Vec<(&str, &str)> = words.iter().map(|word| (*word, *word)).collect();
            Some(item.word(&words)?.into())
        }
        Shape::Object { fields: of, constant } => {
            let table = item.table("message part")?;
            let object = fields(&table, of);
            rules::object_after(&table, of);
            table.finish();
            let mut object = object?;
            object.extend(constant.map(|(key, value)| (key.to_owned(), value.into())));
            Some(Value::Object(object))
        }
        Shape::Typed(variants) => {
            let table = item.table("message part")?;
            let object = variant(&table, variants).and_then(|variant| {
                if variant.name == "mention" {
                    item.report(Problem::Message { rule: MessageRule::Mention });
                    table.forgive();
                    return None;
                }
                let mut object = fields(&table, variant.fields)?;
                object.insert("type".to_owned(), variant.name.into());
                Some(Value::Object(object))
            });
            rules::typed_after(&table);
            table.finish();
            object
        }
        Shape::List { of, min, max } => {
            let items = item.list()?;
            if !(*min..=*max).contains(&items.len()) {
                item.report(Problem::WrongCount { min: *min, max: *max, is: items.len() });
            }
            let built: Vec<Option<Value>> = items.iter().map(|item| build(item, of)).collect();
            Some(Value::Array(built.into_iter().collect::<Option<_>>()?))
        }
        Shape::Named { of, max } => named(item, of, *max),
        Shape::Never(rule) => {
            item.report(Problem::Message { rule: rule() });
            None
        }
    }
}

fn text(item: &Item<'_>, max: usize, unit: LengthUnit, place: Place) -> Option<Value> {
    let text = item.text()?;
    if text.is_empty() {
        return item.bad(Expected::Text, text);
    }
    let rendered = rendered(item, text, place)?;
    let is = match unit {
        LengthUnit::Graphemes => rendered.graphemes(true).count(),
        LengthUnit::Utf16 | LengthUnit::Bytes => rendered.encode_utf16().count(),
    };
    if is > max {
        item.report(Problem::TooLong { max, is, unit });
        return None;
    }
    Some(text.into())
}

fn rendered(item: &Item<'_>, text: &str, place: Place) -> Option<String> {
    match template::render(text, place) {
        Ok(rendered) => Some(rendered.into_owned()),
        Err(problem) => {
            item.report(problem);
            None
        }
    }
}

fn url(item: &Item<'_>, expected: Expected, fits: fn(&str) -> bool) -> Option<Value> {
    let text = item.text_as(expected.clone())?;
    if fits(&rendered(item, text, Place::Plain)?) {
        return Some(text.into());
    }
    item.bad_but(expected, text, encoded(text, fits))
}

/// The URL as LINE wants it, where it only has characters beyond ASCII that should be percent-encoded.
pub(super) fn encoded(url: &str, fits: fn(&str) -> bool) -> Option<String> {
    let encode = |c: char| -> String {
        if c.is_ascii() {
            return c.to_string();
        }
        c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect()
    };
    // A host has another spelling (punycode), which nobody guesses.
    let path = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
    let (host, rest) = url.split_at(path);
    let encoded: String = host.chars().map(|c| c.to_string()).chain(rest.chars().map(encode)).collect();
    (encoded != url && fits(&encoded)).then_some(encoded)
}

fn is_media_url(url: &str) -> bool {
    let host = url.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| !host.is_empty()) && is_clean(url) && url.encode_utf16().count() <= MEDIA_URL_MAX
}

pub(super) fn is_action_uri(uri: &str) -> bool {
    let scheme = ["https://", "http://", "line:", "tel:"].iter().find_map(|scheme| uri.strip_prefix(scheme));
    scheme.is_some_and(|rest| !rest.is_empty()) && is_clean(uri) && uri.encode_utf16().count() <= 1_000
}

/// LINE takes URLs percent-encoded.
fn is_clean(url: &str) -> bool {
    url.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_colour(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_unit_name(text: &str) -> bool {
    (1..=30).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn digits(item: &Item<'_>) -> Option<Value> {
    if let DeValue::Integer(_) = item.value {
        return Some(item.whole(0, i64::MAX)?.to_string().into());
    }
    let text = item.text()?;
    let fits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if fits { Some(text.into()) } else { item.bad(Expected::Whole { min: 0, max: i64::MAX }, text) }
}

fn decimal(item: &Item<'_>, min: i64, max: i64) -> Option<Value> {
    let expected = Expected::NumberWithin { min, max };
    let digits = match item.value {
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.as_str().to_owned(),
        _ => return item.wrong_type(expected),
    };
    let within = |number: &f64| (min as f64..=max as f64).contains(number);
    let number = digits.parse::<f64>().ok().filter(within);
    let number = number.and_then(Number::from_f64).map(Value::Number);
    number.or_else(|| item.bad(expected, &digits))
}

/// Substitutions of a textV2: keys of up to 20 letters, digits and `_`.
fn named(item: &Item<'_>, of: &'static Shape, max: usize) -> Option<Value> {
    let entries = item.table("names")?.entries();
    if entries.len() > max {
        item.report(Problem::WrongCount { min: 0, max, is: entries.len() });
    }
    let mut object = Some(Map::new());
    for (key, at, item) in entries {
        let fits =
            (1..=20).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fits {
            let found = key.to_owned();
            item.file.report(at, Problem::BadValue { expected: Expected::UnitName, found, suggestion: None });
        }
        match (build(&item, of), &mut object) {
            (Some(value), Some(object)) => {
                object.insert(key.to_owned(), value);
            }
            _ => object = None,
        }
    }
    object.map(Value::Object)
}

/// Any TOML as JSON, keys in LINE's camelCase.
pub(super) fn plain(item: &Item<'_>) -> Value {
    match item.value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(_) => item.whole(i64::MIN, i64::MAX).map_or(Value::Null, Value::from),
        DeValue::Float(digits) => {
            digits.as_str().parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        }
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(native) => native.to_string().into(),
        DeValue::Array(_) => item.list().unwrap_or_default().iter().map(plain).collect::<Vec<_>>().into(),
        DeValue::Table(_) => {
            let entries = item.table("flex").map(|table| table.entries()).unwrap_or_default();
            entries.into_iter().map(|(key, _, item)| (camel(key), plain(&item))).collect::<Map<_, _>>().into()
        }
    }
}

/// `alt_text` as `altText`.
fn camel(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut upper = false;
    for c in key.chars() {
        match c {
            '_' => upper = true,
            _ if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            _ => out.push(c),
        }
    }
    out
}
