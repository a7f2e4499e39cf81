//! Each limit, just met and just missed.

use rstest::rstest;
use serde_json::json;

use super::*;

fn properties(message: Value) -> Vec<String> {
    validate(&json!([message])).into_iter().map(|p| p.property).collect()
}

fn text(n: usize) -> String {
    "あ".repeat(n)
}

#[rstest]
#[case(json!({"type": "text", "text": text(5_000)}))]
#[case(json!({"type": "text", "text": "🎁".repeat(2_500)}))]
#[case(json!({"type": "textV2", "text": "{a}", "substitution": {"a": {"type": "emoji", "productId": "1", "emojiId": "2"}}}))]
#[case(json!({"type": "sticker", "packageId": "446", "stickerId": "1988"}))]
#[case(json!({"type": "image", "originalContentUrl": "https://a.example/a.png", "previewImageUrl": "https://a.example/b.png"}))]
#[case(json!({"type": "video", "originalContentUrl": "https://a.example/a.mp4", "previewImageUrl": "https://a.example/b.png", "trackingId": "t"}))]
#[case(json!({"type": "audio", "originalContentUrl": "https://a.example/a.m4a", "duration": 60_000}))]
#[case(json!({"type": "location", "title": "店", "address": "東京都", "latitude": 35.6, "longitude": 139.7}))]
#[case(json!({"type": "coupon", "couponId": "01JY", "deliveryTag": "winter_1"}))]
#[case(json!({"type": "flex", "altText": "a", "contents": {"type": "bubble", "body": {"type": "box", "layout": "vertical", "contents": []}}}))]
#[case(json!({"type": "imagemap", "baseUrl": "https://a.example/m", "altText": "a", "baseSize": {"width": 1040, "height": 585}, "actions": [{"type": "uri", "linkUri": "https://a.example", "area": {"x": 0, "y": 0, "width": 1040, "height": 585}}]}))]
#[case(json!({"type": "template", "altText": "a", "template": {"type": "confirm", "text": "a", "actions": [{"type": "message", "label": "はい", "text": "はい"}, {"type": "postback", "label": "いいえ", "data": "no"}]}}))]
#[case(json!({"type": "text", "text": "a", "quickReply": {"items": [{"type": "action", "action": {"type": "location", "label": "場所"}}]}, "sender": {"name": "店長"}}))]
fn what_line_takes_is_taken(#[case] message: Value) {
    assert_eq!(properties(message), Vec::<String>::new());
}

#[rstest]
#[case(json!({"type": "text"}), &["messages[0].text"])]
#[case(json!({"type": "text", "text": ""}), &["messages[0].text"])]
#[case(json!({"type": "text", "text": 1}), &["messages[0].text"])]
#[case(json!({"type": "text", "text": text(5_001)}), &["messages[0].text"])]
#[case(json!({"type": "text", "text": "🎁".repeat(2_501)}), &["messages[0].text"])]
#[case(json!({"type": "text", "text": "a", "txet": "b"}), &["messages[0].txet"])]
#[case(json!({"type": "txt", "text": "a"}), &["messages[0].type"])]
#[case(json!({"text": "a"}), &["messages[0].type"])]
#[case(json!("text"), &["messages[0]"])]
#[case(json!({"type": "textV2", "text": "{a}", "substitution": {"a": {"type": "mention"}}}), &["messages[0].substitution.a"])]
#[case(json!({"type": "image", "originalContentUrl": "http://a.example/a.png", "previewImageUrl": "https://a.example/写真.png"}), &["messages[0].originalContentUrl", "messages[0].previewImageUrl"])]
#[case(json!({"type": "audio", "originalContentUrl": "https://a.example/a.m4a"}), &["messages[0].duration"])]
#[case(json!({"type": "location", "title": "店", "address": text(101), "latitude": 91, "longitude": 0}), &["messages[0].address", "messages[0].latitude"])]
#[case(json!({"type": "coupon", "couponId": "01JY", "deliveryTag": "winter-1"}), &["messages[0].deliveryTag"])]
#[case(json!({"type": "coupon", "couponId": "01JY", "deliveryTag": "a".repeat(31)}), &["messages[0].deliveryTag"])]
#[case(json!({"type": "text", "text": "a", "sender": {"name": text(21)}}), &["messages[0].sender.name"])]
#[case(json!({"type": "text", "text": "a", "quickReply": {"items": []}}), &["messages[0].quickReply.items"])]
#[case(json!({"type": "flex", "altText": text(1_501), "contents": {"type": "bubble"}}), &["messages[0].altText"])]
#[case(json!({"type": "flex", "altText": "a", "contents": {"type": "bubble", "x": "y".repeat(30 * 1_024)}}), &["messages[0].contents"])]
#[case(json!({"type": "flex", "altText": "a", "contents": {"type": "carousel", "contents": vec![json!({"type": "bubble"}); 13]}}), &["messages[0].contents.contents"])]
#[case(json!({"type": "flex", "altText": "a", "contents": {"type": "carousel", "contents": [{"type": "bubble"}, {"type": "bubble", "size": "nano"}]}}), &["messages[0].contents.contents"])]
#[case(json!({"type": "template", "altText": "a", "template": {"type": "buttons", "title": "t", "text": text(61), "actions": [{"type": "uri", "label": "a", "uri": "ftp://a"}]}}), &["messages[0].template.text", "messages[0].template.actions[0].uri"])]
#[case(json!({"type": "template", "altText": "a", "template": {"type": "buttons", "text": "a", "actions": [{"type": "uri", "label": "a", "uri": "https://a.example/冬"}]}}), &["messages[0].template.actions[0].uri"])]
#[case(json!({"type": "template", "altText": "a", "template": {"type": "buttons", "text": "a", "actions": [{"type": "uri", "label": text(21), "uri": "https://a.example"}]}}), &["messages[0].template.actions[0].label"])]
#[case(json!({"type": "template", "altText": "a", "template": {"type": "confirm", "text": "a", "actions": []}}), &["messages[0].template.actions"])]
fn what_line_refuses_is_refused_by_name(#[case] message: Value, #[case] expected: &[&str]) {
    assert_eq!(properties(message), expected);
}

/// A family emoji is one grapheme cluster and eleven UTF-16 units: it counts by the rule of its place.
#[test]
fn lengths_count_as_line_counts_them() {
    let family = "👨‍👩‍👧‍👦";
    let button = |label: String| {
        json!({"type": "template", "altText": "a", "template": {"type": "buttons", "text": "a",
            "actions": [{"type": "uri", "label": label, "uri": "https://a.example"}]}})
    };
    assert_eq!(properties(button(family.repeat(20))), Vec::<String>::new());
    assert_eq!(properties(button(family.repeat(21))).len(), 1);
    assert_eq!(properties(json!({"type": "text", "text": family.repeat(454)})), Vec::<String>::new());
    assert_eq!(properties(json!({"type": "text", "text": family.repeat(455)})).len(), 1);
}

#[test]
fn columns_of_a_carousel_have_equally_many_actions() {
    let column = |n: usize| json!({"text": "a", "actions": vec![json!({"type": "uri", "label": "a", "uri": "tel:1"}); n]});
    let carousel = |columns: Vec<Value>| json!({"type": "template", "altText": "a", "template": {"type": "carousel", "columns": columns}});
    assert_eq!(properties(carousel(vec![column(2); 10])), Vec::<String>::new());
    assert_eq!(properties(carousel(vec![column(2), column(1)])), ["messages[0].template.columns"]);
    assert_eq!(properties(carousel(vec![column(1); 11])), ["messages[0].template.columns"]);
}

#[test]
fn one_to_five_messages() {
    let one = json!({"type": "text", "text": "a"});
    assert!(validate(&json!(vec![one.clone(); 5])).is_empty());
    for bad in [json!([]), json!(vec![one.clone(); 6]), one, Value::Null] {
        assert_eq!(validate(&bad).len(), 1, "{bad}");
    }
}
