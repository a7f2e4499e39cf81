//! What LINE takes, as a table. Lengths count UTF-16 units unless LINE counts graphemes.

use crate::config::problem::{LengthUnit, MessageRule};

/// What may stand under a key.
pub(super) enum Shape {
    /// A text of 1 to `max`.
    Text {
        max: usize,
        unit: LengthUnit,
    },
    /// A text in which `{key}` names a substitution.
    TextV2 {
        max: usize,
    },
    /// A text of digits; a bare number will do.
    Digits,
    /// An https URL of an image, a video or a sound.
    Media,
    /// Where a tap leads.
    ActionUri,
    /// `#RRGGBB`.
    Colour,
    /// `[a-zA-Z0-9_]{1,30}`.
    UnitName,
    Whole {
        min: i64,
        max: i64,
    },
    /// A number within bounds.
    Decimal {
        min: i64,
        max: i64,
    },
    Word(&'static [&'static str]),
    /// An object with these keys, and constants that LINE wants and nobody needs to write.
    Object {
        fields: &'static [Field],
        constant: Option<(&'static str, &'static str)>,
    },
    /// An object whose `type` says which keys it has.
    Typed(&'static [Variant]),
    List {
        of: &'static Shape,
        min: usize,
        max: usize,
    },
    /// Names of the marketer's own, each with an object.
    Named {
        of: &'static Shape,
        max: usize,
    },
    /// Never in a multicast.
    Never(fn() -> MessageRule),
}

/// A key and what may stand there.
pub(super) struct Field {
    pub key: &'static str,
    pub needed: bool,
    pub shape: Shape,
}

/// The keys of one `type`.
pub(super) struct Variant {
    pub name: &'static str,
    pub fields: &'static [Field],
}

const fn must(key: &'static str, shape: Shape) -> Field {
    Field { key, needed: true, shape }
}

const fn may(key: &'static str, shape: Shape) -> Field {
    Field { key, needed: false, shape }
}

const fn utf16(max: usize) -> Shape {
    Shape::Text { max, unit: LengthUnit::Utf16 }
}

const fn graphemes(max: usize) -> Shape {
    Shape::Text { max, unit: LengthUnit::Graphemes }
}

const PIXEL: Shape = Shape::Whole { min: 0, max: 10_000 };
const SIZE: Shape = Shape::Whole { min: 1, max: 10_000 };

/// Actions; the label's length depends on where the action stands.
macro_rules! actions {
    ($label:expr, $needed:expr) => {
        &[
            Variant {
                name: "uri",
                fields: &[
                    Field { key: "label", needed: $needed, shape: graphemes($label) },
                    must("uri", Shape::ActionUri),
                    may(
                        "alt_uri",
                        Shape::Object { fields: &[must("desktop", Shape::ActionUri)], constant: None },
                    ),
                ],
            },
            Variant {
                name: "message",
                fields: &[
                    Field { key: "label", needed: $needed, shape: graphemes($label) },
                    must("text", graphemes(300)),
                ],
            },
            Variant {
                name: "postback",
                fields: &[
                    Field { key: "label", needed: $needed, shape: graphemes($label) },
                    must("data", utf16(300)),
                    may("display_text", graphemes(300)),
                    may(
                        "input_option",
                        Shape::Word(&["closeRichMenu", "openRichMenu", "openKeyboard", "openVoice"]),
                    ),
                    may("fill_in_text", graphemes(300)),
                ],
            },
            Variant {
                name: "datetimepicker",
                fields: &[
                    Field { key: "label", needed: $needed, shape: graphemes($label) },
                    must("data", utf16(300)),
                    must("mode", Shape::Word(&["date", "time", "datetime"])),
                    may("initial", utf16(20)),
                    may("max", utf16(20)),
                    may("min", utf16(20)),
                ],
            },
            Variant {
                name: "clipboard",
                fields: &[
                    Field { key: "label", needed: $needed, shape: graphemes($label) },
                    must("clipboard_text", utf16(1_000)),
                ],
            },
            Variant {
                name: "richmenuswitch",
                fields: &[
                    may("label", graphemes($label)),
                    must("rich_menu_alias_id", utf16(32)),
                    must("data", utf16(300)),
                ],
            },
            Variant { name: "camera", fields: &[must("label", graphemes($label))] },
            Variant { name: "cameraRoll", fields: &[must("label", graphemes($label))] },
            Variant { name: "location", fields: &[must("label", graphemes($label))] },
        ]
    };
}

const TEMPLATE_ACTION: Shape = Shape::Typed(actions!(20, true));
const IMAGE_COLUMN_ACTION: Shape = Shape::Typed(actions!(12, false));
/// In flex contents, checked where an `action` stands.
pub(super) const FLEX_LABEL_MAX: usize = 40;

const QUICK_REPLY: Shape = Shape::Object {
    fields: &[must(
        "items",
        Shape::List {
            of: &Shape::Object {
                fields: &[may("image_url", Shape::Media), must("action", TEMPLATE_ACTION)],
                constant: Some(("type", "action")),
            },
            min: 1,
            max: 13,
        },
    )],
    constant: None,
};

const SENDER: Shape =
    Shape::Object { fields: &[may("name", utf16(20)), may("icon_url", Shape::Media)], constant: None };

/// Keys that every message object may have.
pub(super) const COMMON: &[Field] = &[may("quick_reply", QUICK_REPLY), may("sender", SENDER)];

const QUOTE_TOKEN: Field = may("quote_token", Shape::Never(|| MessageRule::QuoteToken));

const EMOJI: Shape = Shape::Object {
    fields: &[
        must("index", Shape::Whole { min: 0, max: 5_000 }),
        must("product_id", utf16(100)),
        must("emoji_id", utf16(100)),
    ],
    constant: None,
};

const AREA: Shape = Shape::Object {
    fields: &[must("x", PIXEL), must("y", PIXEL), must("width", SIZE), must("height", SIZE)],
    constant: None,
};

const IMAGEMAP_ACTION: Shape = Shape::Typed(&[
    Variant {
        name: "uri",
        fields: &[may("label", utf16(100)), must("link_uri", Shape::ActionUri), must("area", AREA)],
    },
    Variant {
        name: "message",
        fields: &[may("label", utf16(100)), must("text", utf16(400)), must("area", AREA)],
    },
    Variant {
        name: "clipboard",
        fields: &[may("label", utf16(100)), must("clipboard_text", utf16(1_000)), must("area", AREA)],
    },
]);

const IMAGEMAP_VIDEO: Shape = Shape::Object {
    fields: &[
        must("original_content_url", Shape::Media),
        must("preview_image_url", Shape::Media),
        must("area", AREA),
        may(
            "external_link",
            Shape::Object {
                fields: &[must("link_uri", Shape::ActionUri), must("label", utf16(30))],
                constant: None,
            },
        ),
    ],
    constant: None,
};

const COLUMN: Shape = Shape::Object {
    fields: &[
        may("thumbnail_image_url", Shape::Media),
        may("image_background_color", Shape::Colour),
        may("title", graphemes(40)),
        must("text", graphemes(120)),
        may("default_action", TEMPLATE_ACTION),
        must("actions", Shape::List { of: &TEMPLATE_ACTION, min: 1, max: 3 }),
    ],
    constant: None,
};

const IMAGE_RATIO: Shape = Shape::Word(&["rectangle", "square"]);
const IMAGE_FIT: Shape = Shape::Word(&["cover", "contain"]);

const TEMPLATE: Shape = Shape::Typed(&[
    Variant {
        name: "buttons",
        fields: &[
            may("thumbnail_image_url", Shape::Media),
            may("image_aspect_ratio", IMAGE_RATIO),
            may("image_size", IMAGE_FIT),
            may("image_background_color", Shape::Colour),
            may("title", graphemes(40)),
            must("text", graphemes(160)),
            may("default_action", TEMPLATE_ACTION),
            must("actions", Shape::List { of: &TEMPLATE_ACTION, min: 1, max: 4 }),
        ],
    },
    Variant {
        name: "confirm",
        fields: &[
            must("text", graphemes(240)),
            must("actions", Shape::List { of: &TEMPLATE_ACTION, min: 2, max: 2 }),
        ],
    },
    Variant {
        name: "carousel",
        fields: &[
            must("columns", Shape::List { of: &COLUMN, min: 1, max: 10 }),
            may("image_aspect_ratio", IMAGE_RATIO),
            may("image_size", IMAGE_FIT),
        ],
    },
    Variant {
        name: "image_carousel",
        fields: &[must(
            "columns",
            Shape::List {
                of: &Shape::Object {
                    fields: &[must("image_url", Shape::Media), must("action", IMAGE_COLUMN_ACTION)],
                    constant: None,
                },
                min: 1,
                max: 10,
            },
        )],
    },
]);

const SUBSTITUTION: Shape = Shape::Typed(&[
    Variant { name: "emoji", fields: &[must("product_id", utf16(100)), must("emoji_id", utf16(100))] },
    Variant { name: "mention", fields: &[may("mentionee", Shape::Never(|| MessageRule::Mention))] },
]);

/// Every message object.
pub(super) const MESSAGES: &[Variant] = &[
    Variant {
        name: "text",
        fields: &[
            must("text", utf16(5_000)),
            may("emojis", Shape::List { of: &EMOJI, min: 1, max: 20 }),
            QUOTE_TOKEN,
        ],
    },
    Variant {
        name: "textV2",
        fields: &[
            must("text", Shape::TextV2 { max: 5_000 }),
            may("substitution", Shape::Named { of: &SUBSTITUTION, max: 100 }),
            QUOTE_TOKEN,
        ],
    },
    Variant {
        name: "sticker",
        fields: &[must("package_id", Shape::Digits), must("sticker_id", Shape::Digits), QUOTE_TOKEN],
    },
    Variant {
        name: "image",
        fields: &[must("original_content_url", Shape::Media), must("preview_image_url", Shape::Media)],
    },
    Variant {
        name: "video",
        fields: &[
            must("original_content_url", Shape::Media),
            must("preview_image_url", Shape::Media),
            may("tracking_id", utf16(100)),
        ],
    },
    Variant {
        name: "audio",
        fields: &[
            must("original_content_url", Shape::Media),
            must("duration", Shape::Whole { min: 1, max: 86_400_000 }),
        ],
    },
    Variant {
        name: "location",
        fields: &[
            must("title", utf16(100)),
            must("address", utf16(100)),
            must("latitude", Shape::Decimal { min: -90, max: 90 }),
            must("longitude", Shape::Decimal { min: -180, max: 180 }),
        ],
    },
    Variant {
        name: "imagemap",
        fields: &[
            must("base_url", Shape::Media),
            must("alt_text", utf16(1_500)),
            must(
                "base_size",
                Shape::Object {
                    fields: &[must("width", Shape::Whole { min: 1_040, max: 1_040 }), must("height", SIZE)],
                    constant: None,
                },
            ),
            may("video", IMAGEMAP_VIDEO),
            must("actions", Shape::List { of: &IMAGEMAP_ACTION, min: 1, max: 50 }),
        ],
    },
    Variant { name: "template", fields: &[must("alt_text", utf16(1_500)), must("template", TEMPLATE)] },
    Variant { name: "flex", fields: &[must("alt_text", utf16(1_500))] },
    Variant {
        name: "coupon",
        fields: &[must("coupon_id", utf16(200)), may("delivery_tag", Shape::UnitName)],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_message_and_its_keys() {
        const PAGE: &str = include_str!("../../../docs/configuration.md");
        let names = MESSAGES.iter().map(|variant| variant.name);
        let keys = MESSAGES.iter().flat_map(|variant| variant.fields).chain(COMMON).map(|field| field.key);
        let missing: Vec<&str> = names.chain(keys).filter(|it| !PAGE.contains(&format!("`{it}`"))).collect();
        assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
    }
}
