//! Message objects with a structure of their own: imagemap, template and flex.

use serde_json::Value;

use super::action::{Label, action};
use super::node::{Count, Node};

pub(super) fn imagemap(node: &mut Node<'_, '_>) {
    node.https("baseUrl");
    node.text("altText", 1, 1_500, Count::Utf16);
    if let Some(mut size) = node.object("baseSize") {
        size.integer("width", 1_040, 1_040);
        size.integer("height", 1, i64::MAX);
        size.close();
    }
    if let Some(mut video) = node.optional_object("video") {
        video.https("originalContentUrl");
        video.https("previewImageUrl");
        if let Some(node) = video.object("area") {
            area(node);
        }
        if let Some(mut link) = video.optional_object("externalLink") {
            link.text("linkUri", 1, 1_000, Count::Utf16);
            link.text("label", 1, 30, Count::Utf16);
            link.close();
        }
        video.close();
    }
    node.array("actions", 0, 50, |mut action| {
        let kind = action.one_of("type", &["uri", "message", "clipboard"]);
        action.optional_text("label", 1, 100, Count::Graphemes);
        match kind {
            Some("uri") => action.text("linkUri", 1, 1_000, Count::Utf16),
            Some("message") => action.text("text", 1, 400, Count::Utf16),
            Some(_) => action.text("clipboardText", 1, 1_000, Count::Utf16),
            None => None,
        };
        if let Some(node) = action.object("area") {
            area(node);
        }
        action.close();
    });
}

fn area(mut node: Node<'_, '_>) {
    for name in ["x", "y", "width", "height"] {
        node.integer(name, 0, i64::MAX);
    }
    node.close();
}

pub(super) fn template(node: &mut Node<'_, '_>) {
    node.text("altText", 1, 1_500, Count::Utf16);
    let Some(mut template) = node.object("template") else { return };
    match template.one_of("type", &["buttons", "confirm", "carousel", "image_carousel"]) {
        Some("buttons") => {
            image_options(&mut template);
            column(&mut template, 160, 4);
        }
        Some("confirm") => {
            template.text("text", 1, 240, Count::Graphemes);
            template.array("actions", 2, 2, |node| action(node, Label::Required(20)));
        }
        Some("carousel") => {
            image_options(&mut template);
            let mut counts = Vec::new();
            template.array("columns", 1, 10, |mut node| {
                node.optional_text("imageBackgroundColor", 7, 7, Count::Utf16);
                counts.push(column(&mut node, 120, 3));
                node.close();
            });
            if counts.windows(2).any(|pair| pair.first() != pair.last()) {
                template.problem_at("columns", "All columns must have the same number of actions");
            }
        }
        Some(_) => {
            template.array("columns", 1, 10, |mut column| {
                column.https("imageUrl");
                if let Some(node) = column.object("action") {
                    action(node, Label::Optional(12));
                }
                column.close();
            });
        }
        None => return,
    }
    template.close();
}

fn image_options(node: &mut Node<'_, '_>) {
    if node.has("imageAspectRatio") {
        node.one_of("imageAspectRatio", &["rectangle", "square"]);
    }
    if node.has("imageSize") {
        node.one_of("imageSize", &["cover", "contain"]);
    }
    if node.has("imageBackgroundColor") {
        node.optional_text("imageBackgroundColor", 7, 7, Count::Utf16);
    }
}

/// What buttons and the columns of a carousel share; how many actions there are. The text is shorter beside a
/// title or an image.
fn column(node: &mut Node<'_, '_>, alone: usize, actions: usize) -> usize {
    let beside = node.has("title") || node.has("thumbnailImageUrl");
    node.optional_text("title", 1, 40, Count::Graphemes);
    if node.has("thumbnailImageUrl") {
        node.https("thumbnailImageUrl");
    }
    node.text("text", 1, if beside { 60 } else { alone }, Count::Graphemes);
    if let Some(default) = node.optional_object("defaultAction") {
        action(default, Label::Optional(20));
    }
    node.array("actions", 1, actions, |node| action(node, Label::Required(20)))
}

/// A flex message is checked for its frame and sizes; what its components may hold is left to LINE's simulator.
pub(super) fn flex(node: &mut Node<'_, '_>) {
    const KB: usize = 1_024;
    node.text("altText", 1, 1_500, Count::Utf16);
    let size = node.value("contents").map_or(0, |contents| contents.to_string().len());
    let Some(mut container) = node.object("contents") else { return };
    match container.one_of("type", &["bubble", "carousel"]) {
        Some("bubble") => {
            if size > 30 * KB {
                container.problem("Must be no larger than 30 KB");
            }
            bubble(&mut container);
        }
        Some(_) => {
            if size > 50 * KB {
                container.problem("Must be no larger than 50 KB");
            }
            let mut widths = Vec::new();
            container.array("contents", 1, 12, |mut node| {
                node.one_of("type", &["bubble"]);
                widths.push(node.value("size").and_then(Value::as_str).unwrap_or("mega"));
                bubble(&mut node);
            });
            if widths.windows(2).any(|pair| pair.first() != pair.last()) {
                container.problem_at("contents", "All bubbles must have the same width");
            }
        }
        None => {}
    }
}

fn bubble(node: &mut Node<'_, '_>) {
    if node.has("size") {
        node.one_of("size", &["nano", "micro", "deca", "hecto", "kilo", "mega", "giga"]);
    }
    for block in ["header", "hero", "body", "footer"] {
        if let Some(mut component) = node.optional_object(block) {
            let allowed: &[&'static str] =
                if block == "hero" { &["box", "image", "video"] } else { &["box"] };
            if component.one_of("type", allowed) == Some("box") {
                component.one_of("layout", &["horizontal", "vertical", "baseline"]);
            }
        }
    }
}
