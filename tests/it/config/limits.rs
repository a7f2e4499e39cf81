//! LINE's limits on message objects, each just met and just missed. What `check` lets through the sandbox takes as
//! well, whose own rules share no line with ours.

use std::sync::Arc;

use haishin::clock::ManualClock;
use haishin::domain::time::Span;
use haishin::line::{Api, Validation};
use haishin::sandbox::{ChannelSettings, InProcess, Sandbox, Settings};

use super::{check, now, shop, with_messages};

/// One UTF-16 unit, one grapheme cluster.
const KANA: &str = "あ";
/// Two UTF-16 units, one grapheme cluster.
const CAKE: &str = "🎂";
/// Eight UTF-16 units, one grapheme cluster.
const FAMILY: &str = "👨‍👩‍👧";

fn message(of: &str, keys: &str) -> String {
    format!("[[message]]\ntype = \"{of}\"\n{keys}\n")
}

fn text(text: &str) -> String {
    message("text", &format!("text = \"{text}\""))
}

fn image(url: &str) -> String {
    message(
        "image",
        &format!("original_content_url = \"{url}\"\npreview_image_url = \"https://a.example/p.png\""),
    )
}

fn template(of: &str, keys: &str) -> String {
    message("template", &format!("alt_text = \"a\"\n[message.template]\ntype = \"{of}\"\n{keys}"))
}

fn action(label: &str) -> String {
    format!("{{ type = \"camera\", label = \"{label}\" }}")
}

fn actions(n: usize) -> String {
    format!("actions = [{}]", vec![action("x"); n].join(", "))
}

fn buttons(keys: &str) -> String {
    template("buttons", &format!("{keys}\n{}", actions(1)))
}

fn tap(action: &str) -> String {
    template("buttons", &format!("text = \"a\"\nactions = [{action}]"))
}

fn column(keys: &str, n: usize) -> String {
    format!("[[message.template.columns]]\n{keys}\n{}\n", actions(n))
}

fn carousel(columns: usize, keys: &str, n: usize) -> String {
    template("carousel", &column(keys, n).repeat(columns))
}

fn image_carousel(columns: usize, label: &str) -> String {
    let column = format!(
        "[[message.template.columns]]\nimage_url = \"https://a.example/p.png\"\naction = {}\n",
        action(label)
    );
    template("image_carousel", &column.repeat(columns))
}

fn quick_reply(items: usize, label: &str) -> String {
    let item = format!("{{ action = {} }}", action(label));
    format!("{}[message.quick_reply]\nitems = [{}]\n", text("a"), vec![item; items].join(", "))
}

fn imagemap(actions: usize, x: i64) -> String {
    let area = format!("area = {{ x = {x}, y = 0, width = 100, height = 100 }}");
    let tap = format!("{{ type = \"uri\", link_uri = \"https://a.example\", {area} }}");
    message(
        "imagemap",
        &format!(
            "alt_text = \"a\"\nbase_url = \"https://a.example/m\"\nbase_size = {{ width = 1040, height = 500 }}\n\
             actions = [{}]",
            vec![tap; actions].join(", ")
        ),
    )
}

fn flex(alt: &str, contents: &str) -> String {
    message("flex", &format!("alt_text = \"{alt}\"\ncontents_json = '{contents}'"))
}

/// A bubble of so many bytes.
fn bubble(bytes: usize) -> String {
    let padded = |n: usize| format!(r#"{{"altUrl":"{}","type":"bubble"}}"#, "a".repeat(n));
    padded(bytes - padded(0).len())
}

fn bubbles(n: usize, bytes: usize) -> String {
    let all = vec![bubble(bytes); n].join(",");
    flex("a", &format!(r#"{{"contents":[{all}],"type":"carousel"}}"#))
}

fn substitutions(n: usize) -> String {
    let names: Vec<String> = (0..n).map(|n| format!("k{n}")).collect();
    let text: String = names.iter().map(|name| format!("{{{name}}}")).collect();
    let of =
        |name: &String| format!("{name} = {{ type = \"emoji\", product_id = \"p\", emoji_id = \"e\" }}\n");
    let table: String = names.iter().map(of).collect();
    format!("{}[message.substitution]\n{table}", message("textV2", &format!("text = \"{text}\"")))
}

fn emojis(n: usize) -> String {
    let emoji = |n: usize| format!("{{ index = {n}, product_id = \"p\", emoji_id = \"e\" }}");
    let list: Vec<String> = (0..n).map(emoji).collect();
    message("text", &format!("text = \"{}\"\nemojis = [{}]", "$".repeat(n), list.join(", ")))
}

fn location(title: &str, address: &str) -> String {
    message(
        "location",
        &format!("title = \"{title}\"\naddress = \"{address}\"\nlatitude = 35\nlongitude = 139.7"),
    )
}

/// What LINE takes, and what is too much by one.
fn limits() -> Vec<(String, String)> {
    let n = |unit: &str, times: usize| unit.repeat(times);
    let url =
        |length: usize| format!("https://a.example/{}", "a".repeat(length - "https://a.example/".len()));
    let uri = |uri: &str| tap(&format!("{{ type = \"uri\", label = \"x\", uri = \"{uri}\" }}"));
    let postback = |key: &str, value: &str| {
        tap(&format!("{{ type = \"postback\", label = \"x\", data = \"d\", {key} = \"{value}\" }}"))
    };
    let data = |data: &str| tap(&format!("{{ type = \"postback\", label = \"x\", data = \"{data}\" }}"));
    let says = |words: &str| tap(&format!("{{ type = \"message\", label = \"x\", text = \"{words}\" }}"));
    let copies = |words: &str| {
        tap(&format!("{{ type = \"clipboard\", label = \"x\", clipboard_text = \"{words}\" }}"))
    };
    let sender = |name: &str| format!("{}sender = {{ name = \"{name}\" }}\n", text("a"));
    let coupon = |tag: &str| message("coupon", &format!("coupon_id = \"01J\"\ndelivery_tag = \"{tag}\""));
    let video = |id: &str| {
        let urls = "original_content_url = \"https://a.example/v.mp4\"\npreview_image_url = \"https://a.example/p.png\"";
        message("video", &format!("{urls}\ntracking_id = \"{id}\""))
    };
    let confirm = |words: &str, n: usize| template("confirm", &format!("text = \"{words}\"\n{}", actions(n)));
    let picture = "thumbnail_image_url = \"https://a.example/p.png\"";
    let flex_label = |label: &str| {
        let button = format!(r#"{{"action":{{"label":"{label}","type":"camera"}},"type":"button"}}"#);
        flex(
            "a",
            &format!(
                r#"{{"body":{{"contents":[{button}],"layout":"vertical","type":"box"}},"type":"bubble"}}"#
            ),
        )
    };
    vec![
        (n(&text("a"), 5), n(&text("a"), 6)),
        (text(&n(KANA, 5_000)), text(&n(KANA, 5_001))),
        (text(&n(CAKE, 2_500)), text(&(n(CAKE, 2_500) + "a"))),
        (emojis(20), emojis(21)),
        (
            message("textV2", &format!("text = \"{}\"", n(CAKE, 2_500))),
            message("textV2", &format!("text = \"{}\"", n(KANA, 5_001))),
        ),
        (substitutions(100), substitutions(101)),
        (image(&url(2_000)), image(&url(2_001))),
        (image("https://a.example/%E5%86%AC.png"), image("https://a.example/冬.png")),
        (image("https://a.example"), image("http://a.example")),
        (video(&n(CAKE, 50)), video(&(n(CAKE, 50) + "a"))),
        (location(&n(CAKE, 50), &n(KANA, 100)), location(&n(KANA, 101), "a")),
        (location("a", &n(CAKE, 50)), location("a", &(n(CAKE, 50) + "a"))),
        (imagemap(50, 940), imagemap(51, 940)),
        (imagemap(1, 940), imagemap(1, 941)),
        (flex(&n(CAKE, 750), &bubble(100)), flex(&n(KANA, 1_501), &bubble(100))),
        (flex("a", &bubble(30 * 1_024)), flex("a", &bubble(30 * 1_024 + 1))),
        (bubbles(12, 1_000), bubbles(13, 1_000)),
        (bubbles(2, 25_000), bubbles(2, 26_000)),
        (flex_label(&n(FAMILY, 40)), flex_label(&n(KANA, 41))),
        (coupon(&n("a", 30)), coupon(&n("a", 31))),
        (
            buttons(&format!("text = \"{}\"", n(FAMILY, 160))),
            buttons(&format!("text = \"{}\"", n(KANA, 161))),
        ),
        (
            buttons(&format!("title = \"{}\"\ntext = \"{}\"", n(FAMILY, 40), n(FAMILY, 60))),
            buttons(&format!("title = \"a\"\ntext = \"{}\"", n(KANA, 61))),
        ),
        (
            buttons(&format!("{picture}\ntext = \"{}\"", n(KANA, 60))),
            buttons(&format!("{picture}\ntext = \"{}\"", n(KANA, 130))),
        ),
        (
            buttons("title = \"a\"\ntext = \"a\""),
            buttons(&format!("title = \"{}\"\ntext = \"a\"", n(KANA, 41))),
        ),
        (
            template("buttons", &format!("text = \"a\"\n{}", actions(4))),
            template("buttons", &format!("text = \"a\"\n{}", actions(5))),
        ),
        (confirm(&n(FAMILY, 240), 2), confirm(&n(KANA, 241), 2)),
        (confirm("a", 2), confirm("a", 1)),
        (confirm("a", 2), confirm("a", 3)),
        (carousel(10, &format!("text = \"{}\"", n(FAMILY, 120)), 3), carousel(11, "text = \"a\"", 3)),
        (carousel(1, "text = \"a\"", 3), carousel(1, "text = \"a\"", 4)),
        (carousel(1, "text = \"a\"", 1), carousel(1, &format!("text = \"{}\"", n(KANA, 121)), 1)),
        (
            carousel(1, &format!("title = \"a\"\ntext = \"{}\"", n(KANA, 60)), 1),
            carousel(1, &format!("title = \"a\"\ntext = \"{}\"", n(KANA, 61)), 1),
        ),
        (
            carousel(2, "text = \"a\"", 1),
            template("carousel", &(column("text = \"a\"", 1) + &column("text = \"a\"", 2))),
        ),
        (image_carousel(10, &n(FAMILY, 12)), image_carousel(11, "a")),
        (image_carousel(1, "a"), image_carousel(1, &n(KANA, 13))),
        (tap(&action(&n(FAMILY, 20))), tap(&action(&n(KANA, 21)))),
        (quick_reply(13, &n(FAMILY, 20)), quick_reply(14, "a")),
        (quick_reply(1, "a"), quick_reply(1, &n(KANA, 21))),
        (sender(&n(CAKE, 10)), sender(&(n(CAKE, 10) + "a"))),
        (sender("あいん"), sender("LINE")),
        (uri(&url(1_000)), uri(&url(1_001))),
        (uri("https://a.example/%E5%86%AC"), uri("https://a.example/冬")),
        (uri("tel:0312345678"), uri("mailto:a@a.example")),
        (data(&n(CAKE, 150)), data(&(n(CAKE, 150) + "a"))),
        (postback("display_text", &n(FAMILY, 300)), postback("display_text", &n(KANA, 301))),
        (postback("fill_in_text", &n(FAMILY, 300)), postback("fill_in_text", &n(KANA, 301))),
        (says(&n(FAMILY, 300)), says(&n(KANA, 301))),
        (copies(&n(CAKE, 500)), copies(&n(KANA, 1_001))),
    ]
}

#[tokio::test]
async fn each_limit_is_met_and_missed_and_line_agrees() {
    let channel =
        ChannelSettings { access_token: Some("t".into()), ..ChannelSettings::new("1", "s", "shop") };
    let sandbox = Arc::new(Sandbox::new(Settings::new(vec![channel])).unwrap());
    let line = InProcess::new(sandbox, Arc::new(ManualClock::new(now())), "t", Span::from_secs(1));
    let checked = |messages: &str| check(&shop(&[("campaigns/a.toml", &with_messages(messages))]));
    for (fits, too_much) in limits() {
        let clean = checked(&fits);
        let shown = || fits.chars().take(300).collect::<String>();
        let configuration =
            clean.configuration.unwrap_or_else(|| panic!("{}\n{:#?}", shown(), clean.diagnostics));
        let messages = &configuration.campaigns["a"].dispatch.variants[0].messages.json;
        let validation = line.validate_multicast(messages).await.unwrap();
        assert!(matches!(validation, Validation::Valid), "{}\n{validation:?}", shown());
        let shown = too_much.chars().take(300).collect::<String>();
        assert!(checked(&too_much).configuration.is_none(), "let through: {shown}");
    }
}
