//! One message object as the phone draws it.

use serde_json::Value;

use super::page::escape;
use super::words::Lang;
use crate::sandbox::settings::Coupon;

/// Stands where the benefit of a coupon is not known; drawn, since not every machine has a font for it.
const TICKET: &str = "<svg viewBox=\"0 0 48 32\" aria-hidden=\"true\"><path fill=\"#fff\" d=\"M4 2h40a2 2 0 0 1 2 2v7a5 5 0 0 0 0 \
     10v7a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2v-7a5 5 0 0 0 0-10V4a2 2 0 0 1 2-2z\"/><path stroke=\"#06b68b\" stroke-width=\"2\" \
     stroke-dasharray=\"3 3\" d=\"M31 4v24\"/></svg>";

/// The HTML of one message.
pub(super) fn bubble(lang: Lang, message: &Value, coupons: &[Coupon]) -> String {
    let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "text" => format!("<div class=\"bubble\">{}</div>", linked(text("text"))),
        "textV2" => {
            let shown = text("text").replace("{{", "{").replace("}}", "}");
            format!("<div class=\"bubble\">{}</div>", linked(&shown))
        }
        "image" => image(text("originalContentUrl")),
        "coupon" => coupon(lang, text("couponId"), coupons),
        kind => titled_box(lang, kind, message),
    }
}

/// A text with its addresses marked as LINE marks them. They lead nowhere: a rehearsal stays at home.
fn linked(text: &str) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("https://").into_iter().chain(rest.find("http://")).min() {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| c.is_whitespace() || !c.is_ascii()).unwrap_or(from.len());
        let (url, after) = from.split_at(end);
        html.push_str(&escape(before));
        html.push_str(&format!("<span class=\"url\">{}</span>", escape(url)));
        rest = after;
    }
    html.push_str(&escape(rest));
    html
}

/// The picture itself stays outside; its place and name are shown.
fn image(url: &str) -> String {
    let name = url.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    format!(
        "<figure class=\"image\"><svg viewBox=\"0 0 240 180\" aria-hidden=\"true\">\
         <rect width=\"240\" height=\"180\" fill=\"#dfe7ee\"/>\
         <circle cx=\"178\" cy=\"54\" r=\"17\" fill=\"#fbd774\"/>\
         <path d=\"M0 150 70 78l46 48 34-30 90 76v8H0z\" fill=\"#9db9a4\"/>\
         <path d=\"M0 164 58 122l64 46 46-26 72 38H0z\" fill=\"#7d9f88\"/></svg>\
         <figcaption title=\"{}\">{}</figcaption></figure>",
        escape(url),
        escape(name)
    )
}

fn coupon(lang: Lang, id: &str, coupons: &[Coupon]) -> String {
    let known = coupons.iter().find(|coupon| coupon.id == id);
    let title = known.map_or(lang.coupon(), |coupon| &coupon.title);
    let benefit = known.map(|coupon| coupon.benefit.as_str()).filter(|benefit| !benefit.is_empty());
    let until = known.map(|coupon| coupon.until.as_str()).filter(|until| !until.is_empty());
    let until = until
        .map_or_else(|| format!("ID {}", escape(id)), |until| format!("{} {}", lang.until(), escape(until)));
    format!(
        "<section class=\"coupon\"><div class=\"benefit\"><small>COUPON</small><b>{}</b></div>\
         <div class=\"about\"><small>{}</small><h3>{}</h3><p>{until}</p></div>\
         <div class=\"button\">{}</div></section>",
        benefit.map_or_else(|| TICKET.to_owned(), escape),
        lang.coupon(),
        escape(title),
        lang.coupon_button()
    )
}

/// What is not drawn yet, by its name and the words it has for notifications.
fn titled_box(lang: Lang, kind: &str, message: &Value) -> String {
    let words = ["altText", "title", "address"].iter().filter_map(|name| message.get(name)?.as_str());
    let lines: String = words.map(|line| format!("<p>{}</p>", escape(line))).collect();
    format!("<section class=\"box\"><h3>{}</h3>{lines}</section>", escape(&lang.kind(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_marked_and_nothing_escapes() {
        assert_eq!(
            linked("<b>\"見て\" https://a.example/?a=1&b=2\nまた https://b.example。"),
            "&lt;b&gt;&quot;見て&quot; <span class=\"url\">https://a.example/?a=1&amp;b=2</span>\nまた \
             <span class=\"url\">https://b.example</span>。"
        );
        assert_eq!(linked("http://"), "<span class=\"url\">http://</span>");
    }
}
