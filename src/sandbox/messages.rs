//! Message objects against LINE's limits, written from LINE's documents and on purpose without a line shared with
//! haishin's own check: what that lets through by mistake is refused here.

mod action;
mod node;
mod rich;

use serde_json::Value;

use self::node::{Count, Node};
use super::plan::Problem;

/// Everything wrong with a `messages` array.
pub(super) fn validate(messages: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(list) = messages.as_array().filter(|list| (1..=5).contains(&list.len())) else {
        let message = if messages.is_array() { "Size must be between 1 and 5" } else { "Must be an array" };
        return vec![Problem { property: "messages".into(), message: message.into() }];
    };
    for (n, value) in list.iter().enumerate() {
        if let Some(node) = Node::open(value, format!("messages[{n}]"), &mut problems) {
            message(node);
        }
    }
    problems
}

fn message(mut node: Node<'_, '_>) {
    match node.one_of(
        "type",
        &[
            "text", "textV2", "sticker", "image", "video", "audio", "location", "imagemap", "template",
            "flex", "coupon",
        ],
    ) {
        Some("text") => text(&mut node),
        Some("textV2") => text_v2(&mut node),
        Some("sticker") => {
            node.text("packageId", 1, 20, Count::Utf16);
            node.text("stickerId", 1, 20, Count::Utf16);
            node.optional_text("quoteToken", 1, 2_000, Count::Utf16);
        }
        Some("image") => {
            node.https("originalContentUrl");
            node.https("previewImageUrl");
        }
        Some("video") => {
            node.https("originalContentUrl");
            node.https("previewImageUrl");
            node.optional_text("trackingId", 1, 100, Count::Utf16);
        }
        Some("audio") => {
            node.https("originalContentUrl");
            node.integer("duration", 1, i64::MAX);
        }
        Some("location") => {
            node.text("title", 1, 100, Count::Utf16);
            node.text("address", 1, 100, Count::Utf16);
            node.number("latitude", -90.0, 90.0);
            node.number("longitude", -180.0, 180.0);
        }
        Some("imagemap") => rich::imagemap(&mut node),
        Some("template") => rich::template(&mut node),
        Some("flex") => rich::flex(&mut node),
        Some("coupon") => coupon(&mut node),
        _ => return,
    }
    if let Some(mut quick_reply) = node.optional_object("quickReply") {
        action::quick_reply(&mut quick_reply);
        quick_reply.close();
    }
    if let Some(mut sender) = node.optional_object("sender") {
        sender.optional_text("name", 1, 20, Count::Utf16);
        if sender.has("iconUrl") {
            sender.https("iconUrl");
        }
        sender.close();
    }
    node.close();
}

fn text(node: &mut Node<'_, '_>) {
    node.text("text", 1, 5_000, Count::Utf16);
    node.optional_text("quoteToken", 1, 2_000, Count::Utf16);
    node.optional_array("emojis", 0, 20, |mut emoji| {
        emoji.integer("index", 0, 5_000);
        emoji.text("productId", 1, 100, Count::Utf16);
        emoji.text("emojiId", 1, 100, Count::Utf16);
        emoji.close();
    });
}

fn text_v2(node: &mut Node<'_, '_>) {
    node.text("text", 1, 5_000, Count::Utf16);
    node.optional_text("quoteToken", 1, 2_000, Count::Utf16);
    let Some(mut substitution) = node.optional_object("substitution") else { return };
    substitution.entries(100, |key, mut entry| {
        let fits =
            (1..=20).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fits {
            entry.problem("Key must match the pattern ^[0-9a-zA-Z_]{1,20}$");
        }
        match entry.one_of("type", &["mention", "emoji"]) {
            Some("emoji") => {
                entry.text("productId", 1, 100, Count::Utf16);
                entry.text("emojiId", 1, 100, Count::Utf16);
            }
            // Mentions work in groups only, and a multicast never reaches one.
            Some(_) => entry.problem("Mention is not available for this endpoint"),
            None => {}
        }
    });
}

fn coupon(node: &mut Node<'_, '_>) {
    node.text("couponId", 1, 100, Count::Utf16);
    let tag = node.optional_text("deliveryTag", 1, 30, Count::Utf16);
    if tag.is_some_and(|tag| !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
        node.problem_at("deliveryTag", "Must match the pattern ^[a-zA-Z0-9_]{1,30}$");
    }
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
