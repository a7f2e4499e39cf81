//! LINE's rules that are more than a length or a count of one key.

use serde_json::Value;
use toml::de::DeValue;
use unicode_segmentation::UnicodeSegmentation;

use super::build::{encoded, is_action_uri, plain};
use super::json;
use super::spec::{FLEX_LABEL_MAX, Field};
use super::template::{self, Place};
use crate::config::diagnostic::At;
use crate::config::problem::{Expected, LengthUnit, MessageRule, Problem};
use crate::config::tree::{Item, Table};

const BUBBLE_BYTES_MAX: usize = 30 * 1024;
const CAROUSEL_BYTES_MAX: usize = 50 * 1024;
const BUBBLES_MAX: usize = 12;
/// A template's text beside a title or an image.
const SHORT_TEXT_MAX: usize = 60;

fn broken(item: &Item<'_>, rule: MessageRule) {
    item.report(Problem::Message { rule });
}

/// Only the last message's quick reply is shown.
pub(super) fn quick_reply_last(items: &[Item<'_>]) {
    for item in items.iter().rev().skip(1) {
        if let DeValue::Table(table) = item.value
            && let Some((key, _)) = table.get_key_value("quick_reply")
        {
            item.file.report(key.span().into(), Problem::Message { rule: MessageRule::QuickReplyNotLast });
        }
    }
}

/// What holds between the keys of one message object.
pub(super) fn after(table: &Table<'_>, name: &str) {
    match name {
        "text" => emojis(table),
        "textV2" => substitutions(table),
        "imagemap" => areas(table),
        _ => {}
    }
    let sender = table.peek("sender").and_then(|sender| sender.part("name"));
    if let Some(name) = sender.filter(|name| text_of(name).is_some_and(names_line)) {
        broken(&name, MessageRule::ReservedSender);
    }
}

fn names_line(name: &str) -> bool {
    name.split(|c: char| !c.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case("line"))
}

/// What holds between the keys of an object within a message.
pub(super) fn object_after(table: &Table<'_>, fields: &[Field]) {
    if fields.iter().any(|field| field.key == "thumbnail_image_url") {
        short_text(table, 120);
    }
}

/// What holds between the keys of a template.
pub(super) fn typed_after(table: &Table<'_>) {
    if table.peek("type").as_ref().and_then(text_of) == Some("buttons") {
        short_text(table, 160);
    }
    let columns = table.peek("columns");
    let Some(DeValue::Array(_)) = columns.map(|columns| columns.value) else { return };
    let columns = columns.and_then(|columns| columns.list()).unwrap_or_default();
    let Some(first) = columns.first() else { return };
    for column in columns.iter().skip(1) {
        if let (Some(first), Some(this)) = (actions(first), actions(column))
            && first != this
        {
            broken(column, MessageRule::UnequalActions { first, this });
        }
        for key in ["title", "thumbnail_image_url"] {
            if first.part(key).is_some() != column.part(key).is_some() {
                broken(column, MessageRule::UnequalColumns { key: key.to_owned() });
            }
        }
    }
}

fn actions(column: &Item<'_>) -> Option<usize> {
    match column.part("actions")?.value {
        DeValue::Array(items) => Some(items.len()),
        _ => None,
    }
}

/// A text of at most `max` is shorter still beside a title or an image.
fn short_text(table: &Table<'_>, max: usize) {
    let beside = table.peek("title").is_some() || table.peek("thumbnail_image_url").is_some();
    let Some(item) = table.peek("text").filter(|_| beside) else { return };
    let Some(text) = text_of(&item) else { return };
    let Ok(text) = template::render(text, Place::Plain) else { return };
    let is = text.graphemes(true).count();
    // Beyond the general limit it has been said already.
    if is > SHORT_TEXT_MAX && is <= max {
        item.report(Problem::TooLong { max: SHORT_TEXT_MAX, is, unit: LengthUnit::Graphemes });
    }
}

fn text_of<'a>(item: &Item<'a>) -> Option<&'a str> {
    item.value.as_str()
}

fn whole_of(item: &Item<'_>) -> Option<i64> {
    match item.value {
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok(),
        _ => None,
    }
}

fn list_of<'a>(item: &Item<'a>) -> Vec<Item<'a>> {
    if let DeValue::Array(_) = item.value { item.list().unwrap_or_default() } else { Vec::new() }
}

/// Each emoji's index must point at a `$` of the text as it is sent.
fn emojis(table: &Table<'_>) {
    let text = table.peek("text");
    let Some(text) = text.as_ref().and_then(text_of) else { return };
    let Ok(text) = template::render(text, Place::Plain) else { return };
    let units: Vec<u16> = text.encode_utf16().collect();
    for emoji in table.peek("emojis").as_ref().map(list_of).unwrap_or_default() {
        let Some(item) = emoji.part("index") else { continue };
        let Some(index) = whole_of(&item) else { continue };
        let unit = usize::try_from(index).ok().and_then(|index| units.get(index));
        if unit != Some(&u16::from(b'$')) {
            broken(&item, MessageRule::EmojiIndex { index });
        }
    }
}

/// Each `{key}` of a textV2 has its substitution and each substitution its `{key}`.
fn substitutions(table: &Table<'_>) {
    let Some(item) = table.peek("text") else { return };
    let Some(text) = text_of(&item) else { return };
    let Ok(text) = template::render(text, Place::TextV2) else { return };
    let names = table.peek("substitution").and_then(|names| match names.value {
        DeValue::Table(_) => names.table("names").map(|names| names.entries()),
        _ => None,
    });
    let names = names.unwrap_or_default();
    let Some(placeholders) = placeholders(&text) else {
        broken(&item, MessageRule::LoneBrace);
        return;
    };
    for key in &placeholders {
        if !names.iter().any(|(name, ..)| name == key) {
            broken(&item, MessageRule::NoSubstitution { key: (*key).to_owned() });
        }
    }
    for (name, at, named) in names {
        if !placeholders.contains(&name) {
            let rule = MessageRule::UnusedSubstitution { key: name.to_owned() };
            named.file.report(at, Problem::Message { rule });
        }
    }
}

/// The keys in `{ }`; `{{` and `}}` are braces. `None` where a brace stands alone.
fn placeholders(text: &str) -> Option<Vec<&str>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let here = rest.get(at..)?;
        rest = if let Some(behind) = here.strip_prefix("{{").or_else(|| here.strip_prefix("}}")) {
            behind
        } else {
            let (key, behind) = here.strip_prefix('{')?.split_once('}')?;
            if !found.contains(&key) {
                found.push(key);
            }
            behind
        };
    }
    Some(found)
}

/// Each tappable area lies within the image.
fn areas(table: &Table<'_>) {
    let size = table.peek("base_size");
    let side = |key| size.as_ref().and_then(|size| size.part(key)).as_ref().and_then(whole_of);
    let (Some(width), Some(height)) = (side("width"), side("height")) else { return };
    for action in table.peek("actions").as_ref().map(list_of).unwrap_or_default() {
        let Some(area) = action.part("area") else { continue };
        let edge = |from, length| {
            let value = |key| area.part(key).as_ref().and_then(whole_of).unwrap_or(0);
            value(from).saturating_add(value(length))
        };
        if edge("x", "width") > width || edge("y", "height") > height {
            broken(&area, MessageRule::OutsideImage);
        }
    }
}

/// `contents` as tables or `contents_json` as LINE's own JSON.
pub(super) fn flex_contents(table: &Table<'_>) -> Option<Value> {
    let which = table.one_of(&["contents", "contents_json"], true)?;
    let item = table.get(which)?;
    let contents = if which == "contents" { plain(&item) } else { parse_json(&item)? };
    container(&item, &contents)?;
    actions_in(&item, &contents)?;
    Some(contents)
}

fn parse_json(item: &Item<'_>) -> Option<Value> {
    match serde_json::from_str(item.text()?) {
        Ok(contents) => Some(contents),
        Err(error) => {
            let text = error.to_string();
            let detail = text.split(" at line ").next().unwrap_or("").to_owned();
            let problem = Problem::BadJson { line: error.line(), column: error.column(), detail };
            item.file.report(json_place(item, error.line(), error.column()), problem);
            None
        }
    }
}

/// Where a line and column (in bytes, as serde_json counts) of a text in `'''` stand in the file; the whole
/// value where escapes would shift them.
fn json_place(item: &Item<'_>, line: usize, column: usize) -> At {
    let raw = item.file.text.get(item.at.start..item.at.end).unwrap_or("");
    let Some(body) = raw.strip_prefix("'''") else { return item.at };
    let body = body.strip_prefix("\r\n").or_else(|| body.strip_prefix('\n')).unwrap_or(body);
    let before: usize = body.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let start = item.at.end - body.len() + before + column.saturating_sub(1);
    if start < item.at.end { At { start, end: start + 1 } } else { item.at }
}

fn container(item: &Item<'_>, contents: &Value) -> Option<()> {
    let too_large = |value: &Value, max: usize| {
        let is = json::canonical(&template::render_all(value)).len();
        if is > max {
            item.report(Problem::TooLong { max, is, unit: LengthUnit::Bytes });
        }
        is > max
    };
    match contents.get("type").and_then(Value::as_str) {
        Some("bubble") => (!too_large(contents, BUBBLE_BYTES_MAX)).then_some(()),
        Some("carousel") => {
            let bubbles = contents.get("contents").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if !(1..=BUBBLES_MAX).contains(&bubbles.len()) {
                item.report(Problem::WrongCount { min: 1, max: BUBBLES_MAX, is: bubbles.len() });
                return None;
            }
            let size =
                |bubble: &Value| bubble.get("size").and_then(Value::as_str).unwrap_or("mega").to_owned();
            if bubbles.iter().any(|bubble| Some(size(bubble)) != bubbles.first().map(size)) {
                broken(item, MessageRule::UnequalBubbles);
                return None;
            }
            let too_large_bubble = bubbles.iter().any(|bubble| too_large(bubble, BUBBLE_BYTES_MAX));
            (!too_large_bubble && !too_large(contents, CAROUSEL_BYTES_MAX)).then_some(())
        }
        _ => {
            broken(item, MessageRule::NotAContainer);
            None
        }
    }
}

/// Texts can be rendered, and every action's label and address fit, however deep they lie.
fn actions_in(item: &Item<'_>, value: &Value) -> Option<()> {
    match value {
        Value::String(text) => match template::render(text, Place::Plain) {
            Ok(_) => Some(()),
            Err(problem) => {
                item.report(problem);
                None
            }
        },
        Value::Array(items) => items.iter().try_for_each(|inner| actions_in(item, inner).ok_or(())).ok(),
        Value::Object(entries) => {
            if let Some(action) = entries.get("action") {
                flex_action(item, action)?;
            }
            entries.values().try_for_each(|inner| actions_in(item, inner).ok_or(())).ok()
        }
        _ => Some(()),
    }
}

fn flex_action(item: &Item<'_>, action: &Value) -> Option<()> {
    let text = |key: &str| action.get(key).and_then(Value::as_str);
    let label = text("label").map_or(0, |label| label.graphemes(true).count());
    if label > FLEX_LABEL_MAX {
        item.report(Problem::TooLong { max: FLEX_LABEL_MAX, is: label, unit: LengthUnit::Graphemes });
        return None;
    }
    let uri = text("uri").filter(|_| text("type") == Some("uri"));
    let rendered = uri.and_then(|uri| template::render(uri, Place::Plain).ok());
    match rendered.filter(|uri| !is_action_uri(uri)) {
        Some(uri) => item.bad_but(Expected::ActionUri, &uri, encoded(&uri, is_action_uri)),
        None => Some(()),
    }
}
