//! LINE's rules about messages that are more than a length or a count.

use serde::Serialize;

use crate::lang::Lang;

/// A rule of LINE's about message objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum MessageRule {
    /// Only the last message's quick reply is shown.
    QuickReplyNotLast,
    /// The columns of a carousel must have equally many actions.
    UnequalActions {
        /// Of the first column.
        first: usize,
        /// Of this one.
        this: usize,
    },
    /// The columns of a carousel all have a title or none has, and the same of images.
    UnequalColumns {
        /// `title` or `thumbnail_image_url`.
        key: String,
    },
    /// A `{key}` in a textV2 without its substitution.
    NoSubstitution {
        /// The key.
        key: String,
    },
    /// A substitution whose `{key}` is not in the text.
    UnusedSubstitution {
        /// The key.
        key: String,
    },
    /// A lone `{` or `}` in a textV2.
    LoneBrace,
    /// A mention works in groups only, by push or reply.
    Mention,
    /// `index` of an emoji does not point at a `$`.
    EmojiIndex {
        /// The index, in UTF-16 code units.
        index: i64,
    },
    /// `uri` and `text` … a quote token belongs to a reply.
    QuoteToken,
    /// The bubbles of a flex carousel must have one width.
    UnequalBubbles,
    /// Flex `contents` is a bubble or a carousel.
    NotAContainer,
    /// LINE refuses its own name as a sender.
    ReservedSender,
    /// A whole image map's area lies outside its base size.
    OutsideImage,
}

impl MessageRule {
    pub(super) fn is_warning(&self) -> bool {
        matches!(self, MessageRule::QuickReplyNotLast | MessageRule::UnusedSubstitution { .. })
    }

    /// Title, label and help.
    pub(super) fn texts(&self, lang: Lang) -> [String; 3] {
        let say = |ja: [&str; 3], en: [&str; 3]| lang.pick(ja, en).map(str::to_owned);
        match self {
            MessageRule::QuickReplyNotLast => say(
                [
                    "表示されないクイックリプライです",
                    "最後のメッセージではありません",
                    "LINEは最後のメッセージの quick_reply だけを表示します。最後に移してください",
                ],
                [
                    "this quick reply is never shown",
                    "not in the last message",
                    "LINE shows the quick reply of the last message only; move it there",
                ],
            ),
            MessageRule::UnequalActions { first, this } => {
                let (ja, en) = (
                    format!("最初の列は{first}個、この列は{this}個"),
                    format!("{this} here, {first} in the first column"),
                );
                say(
                    [
                        "カルーセルのボタンの数がそろっていません",
                        &ja,
                        "全ての列に同じ数の actions を書いてください",
                    ],
                    [
                        "the columns of a carousel need equally many actions",
                        &en,
                        "give each column the same number of actions",
                    ],
                )
            }
            MessageRule::UnequalColumns { key } => {
                let ja = format!("全ての列に `{key}` を書くか、どの列にも書かないでください");
                let en = format!("give every column a `{key}`, or none");
                say(
                    ["カルーセルの列の形がそろっていません", "他の列と違います", &ja],
                    ["the columns of a carousel need one shape", "differs from the other columns", &en],
                )
            }
            MessageRule::NoSubstitution { key } => {
                let (ja, en) = (
                    format!("{{{key}}} に入れるものがありません"),
                    format!("nothing to put in for {{{key}}}"),
                );
                let (ja_help, en_help) = (
                    format!(
                        "[message.substitution.{key}] を書くか、文字としての括弧なら {{{{ と }}}} にしてください"
                    ),
                    format!("add [message.substitution.{key}], or write {{{{ and }}}} for braces as text"),
                );
                say([&ja, "この文章の中", &ja_help], [&en, "in this text", &en_help])
            }
            MessageRule::UnusedSubstitution { key } => {
                let (ja, en) =
                    (format!("文章に {{{key}}} がありません"), format!("the text has no {{{key}}}"));
                say(
                    [&ja, "使われません", "文章に書き足すか、消してください"],
                    [&en, "never used", "put it into the text or remove it"],
                )
            }
            MessageRule::LoneBrace => say(
                ["括弧の片方だけがあります", "この文章の中", "文字としての括弧は {{ と }} と書きます"],
                ["a brace without its partner", "in this text", "braces as text are written {{ and }}"],
            ),
            MessageRule::Mention => say(
                [
                    "メンションはグループでしか使えません",
                    "multicastでは送れません",
                    "この項目を消してください",
                ],
                ["mentions work in groups only", "cannot be sent by multicast", "remove it"],
            ),
            MessageRule::EmojiIndex { index } => {
                let (ja, en) = (
                    format!("{index} 番目の文字は $ ではありません"),
                    format!("there is no $ at index {index}"),
                );
                say(
                    [
                        &ja,
                        "絵文字の位置",
                        "index は文章の先頭を0として、$ の位置をUTF-16の数で書きます(ほとんどの絵文字は2)",
                    ],
                    [
                        &en,
                        "an emoji's place",
                        "index counts UTF-16 units from 0 and must point at a $ (most emoji are two)",
                    ],
                )
            }
            MessageRule::QuoteToken => say(
                ["quote_token は返信でしか使えません", "multicastでは送れません", "この行を消してください"],
                ["a quote token belongs to a reply", "cannot be sent by multicast", "remove this line"],
            ),
            MessageRule::UnequalBubbles => say(
                [
                    "カルーセルのバブルの幅がそろっていません",
                    "size が最初のバブルと違います",
                    "全てのバブルに同じ size を書いてください",
                ],
                [
                    "the bubbles of a carousel need one width",
                    "another size than the first bubble",
                    "give all bubbles the same size",
                ],
            ),
            MessageRule::NotAContainer => say(
                [
                    "flexの中身は bubble か carousel です",
                    "どちらでもありません",
                    "contents の先頭に type = \"bubble\" を書いてください",
                ],
                [
                    "flex contents are a bubble or a carousel",
                    "neither",
                    "begin contents with type = \"bubble\"",
                ],
            ),
            MessageRule::ReservedSender => say(
                ["LINEを名乗る送信者名は使えません", "LINEが拒否します", "お店の名前などにしてください"],
                ["a sender may not call itself LINE", "LINE refuses it", "use the shop's own name"],
            ),
            MessageRule::OutsideImage => say(
                [
                    "押せる範囲が画像の外にあります",
                    "base_size に収まりません",
                    "x + width と y + height を base_size 以下にしてください",
                ],
                [
                    "the area lies outside the image",
                    "beyond base_size",
                    "keep x + width and y + height within base_size",
                ],
            ),
        }
    }
}
