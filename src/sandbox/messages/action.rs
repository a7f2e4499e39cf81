//! Actions: what a tap does.

use super::node::{Count, Node};

const TYPES: [&str; 9] = [
    "postback",
    "message",
    "uri",
    "datetimepicker",
    "camera",
    "cameraRoll",
    "location",
    "clipboard",
    "richmenuswitch",
];

/// How long an action's label may be there, and whether it must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Label {
    /// Must be there, at most so many grapheme clusters.
    Required(usize),
    /// May be there, at most so many grapheme clusters.
    Optional(usize),
}

/// `quickReply`: up to 13 buttons.
pub(super) fn quick_reply(node: &mut Node<'_, '_>) {
    node.array("items", 1, 13, |mut item| {
        item.one_of("type", &["action"]);
        if item.has("imageUrl") {
            item.https("imageUrl");
        }
        if let Some(node) = item.object("action") {
            action(node, Label::Required(20));
        }
        item.close();
    });
}

/// One action object.
pub(super) fn action(mut node: Node<'_, '_>, label: Label) {
    let kind = node.one_of("type", &TYPES);
    match label {
        Label::Required(max) => node.text("label", 1, max, Count::Graphemes),
        Label::Optional(max) => node.optional_text("label", 0, max, Count::Graphemes),
    };
    match kind {
        Some("postback") => {
            node.text("data", 1, 300, Count::Utf16);
            node.optional_text("displayText", 1, 300, Count::Graphemes);
            // Older than displayText, still taken.
            node.optional_text("text", 1, 300, Count::Graphemes);
            node.optional_text("fillInText", 1, 300, Count::Graphemes);
            if node.has("inputOption") {
                node.one_of("inputOption", &["closeRichMenu", "openRichMenu", "openKeyboard", "openVoice"]);
            }
        }
        Some("message") => {
            node.text("text", 1, 300, Count::Graphemes);
        }
        Some("uri") => uri(&mut node),
        Some("datetimepicker") => {
            node.text("data", 1, 300, Count::Utf16);
            node.one_of("mode", &["date", "time", "datetime"]);
            for name in ["initial", "max", "min"] {
                node.optional_text(name, 1, 16, Count::Utf16);
            }
        }
        Some("clipboard") => {
            node.text("clipboardText", 1, 1_000, Count::Utf16);
        }
        Some("richmenuswitch") => {
            node.text("richMenuAliasId", 1, 32, Count::Utf16);
            node.text("data", 1, 300, Count::Utf16);
        }
        _ => {}
    }
    node.close();
}

fn uri(node: &mut Node<'_, '_>) {
    let uri = node.text("uri", 1, 1_000, Count::Utf16).unwrap_or_default();
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
    if !uri.is_empty() && !matches!(scheme, Some("http" | "https" | "line" | "tel")) {
        node.problem_at("uri", "Invalid action URI: the scheme must be http, https, line or tel");
    }
    if !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        node.problem_at("uri", "Invalid action URI: characters other than ASCII must be percent-encoded");
    }
    if let Some(mut alternative) = node.optional_object("altUri") {
        alternative.text("desktop", 1, 1_000, Count::Utf16);
        alternative.close();
    }
}
