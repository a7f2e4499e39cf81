//! The pages around the bubbles.

use chrono_tz::Tz;
use serde_json::Value;

use super::bubble::bubble;
use super::words::Lang;
use crate::domain::friend::Status;
use crate::sandbox::inspect::{ChannelReport, FriendList};
use crate::sandbox::ledger::Received;
use crate::sandbox::settings::SandboxFriend;

/// The one style sheet; the page's policy names it by its digest.
pub(super) const CSS: &str = include_str!("phone.css");

/// Text as HTML text or attribute value.
pub(super) fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // Invisible, and able to turn the text around them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => html.push('\u{fffd}'),
            c => html.push(c),
        }
    }
    html
}

/// One friend's chat with an account.
pub(super) fn chat(
    lang: Lang,
    zone: Tz,
    channel: &ChannelReport,
    (friend, menu): (&SandboxFriend, Option<&str>),
    received: &[Received],
) -> String {
    let name = escape(&channel.name);
    let initial = escape(&channel.name.chars().take(1).collect::<String>());
    let mut lines = String::new();
    let mut day = None;
    for delivery in received {
        let at = delivery.at.in_zone(zone);
        if day.replace(at.date_naive()) != Some(at.date_naive()) {
            lines.push_str(&format!("<li class=\"day\"><span>{}</span></li>", lang.day(at)));
        }
        let messages: Vec<Value> = serde_json::from_str(&delivery.messages).unwrap_or_default();
        for (n, message) in messages.iter().enumerate() {
            let (first, last) = (n == 0, n + 1 == messages.len());
            lines.push_str("<li class=\"message\">");
            if first {
                lines.push_str(&format!(
                    "<span class=\"icon\">{initial}</span><span class=\"who\">{name}</span>"
                ));
            }
            lines.push_str(&format!("<div class=\"line\">{}", bubble(lang, message, &channel.coupons)));
            if last {
                lines.push_str(&time(lang, delivery.silent, &at.format("%-H:%M").to_string()));
            }
            lines.push_str("</div></li>");
        }
    }
    if received.is_empty() {
        lines = format!("<li class=\"day\"><span>{}</span></li>", lang.nothing_yet());
    }
    let (other, other_name) = lang.other();
    let content = format!(
        "<main class=\"stage\"><div class=\"phone\"><header><a href=\"/phone?lang={tag}\" aria-label=\"{back}\">‹</a>\
         <h1>{name}</h1></header><div class=\"chat\"><ol>{lines}</ol></div>\
         <footer><span>{menu}</span></footer></div>\
         <aside><h2>{who}</h2><p class=\"id\">{user}</p>{blocked}<p>{note}</p>\
         <p><a href=\"/phone?lang={tag}\">{back}</a> · <a href=\"?lang={other}&amp;channel={id}\">{other_name}</a></p></aside></main>",
        menu = menu.map_or("Aa".to_owned(), |menu| format!("{} {}", lang.menu(), escape(menu))),
        tag = lang.tag(),
        back = lang.back(),
        who = escape(&shown_name(friend)),
        user = friend.user,
        blocked = blocked(lang, friend.status),
        note = lang.sandbox(),
        other = other.tag(),
        id = escape(&channel.id),
    );
    // New messages appear by themselves, as on a phone.
    document(lang, &channel.name, "<meta http-equiv=\"refresh\" content=\"5\">", &content)
}

/// When a delivery came, beside its last bubble.
fn time(lang: Lang, silent: bool, at: &str) -> String {
    let silent =
        if silent { format!("<span class=\"silent\">{}</span>", lang.silent()) } else { String::new() };
    format!("<time>{silent}{at}</time>")
}

/// The friends of each channel, those with messages first.
pub(super) fn friends(lang: Lang, lists: &[(&ChannelReport, FriendList)], search: &str) -> String {
    let (other, other_name) = lang.other();
    let mut content = format!(
        "<main class=\"list\"><header><h1>{title}</h1><a href=\"?lang={other}\">{other_name}</a></header><p>{note}</p>\
         <form><input type=\"hidden\" name=\"lang\" value=\"{tag}\"><input type=\"search\" name=\"q\" \
         value=\"{search}\" placeholder=\"{hint}\" aria-label=\"{hint}\"><button>{find}</button></form>",
        title = lang.phones(),
        other = other.tag(),
        note = lang.sandbox(),
        tag = lang.tag(),
        search = escape(search),
        hint = lang.search(),
        find = lang.find(),
    );
    for (channel, list) in lists {
        content.push_str(&format!(
            "<section><h2>{} <small>{}</small></h2>",
            escape(&channel.name),
            lang.count(list.friends.len(), list.matching)
        ));
        if list.friends.is_empty() {
            content.push_str(&format!("<p class=\"none\">{}</p>", lang.nobody()));
        }
        content.push_str("<ul>");
        for (friend, messages) in &list.friends {
            content.push_str(&entry(lang, channel, friend, *messages));
        }
        content.push_str("</ul></section>");
    }
    content.push_str("</main>");
    document(lang, lang.phones(), "", &content)
}

fn entry(lang: Lang, channel: &ChannelReport, friend: &SandboxFriend, messages: u32) -> String {
    let badge = if messages > 0 {
        format!("<span class=\"badge\">{}</span>", lang.messages(messages))
    } else {
        String::new()
    };
    let name = shown_name(friend);
    format!(
        "<li><a href=\"/phone/{user}?channel={}&amp;lang={}\"><span class=\"icon\">{}</span>\
         <span class=\"name\">{}<small>{user}</small></span>{}{badge}</a></li>",
        escape(&channel.id),
        lang.tag(),
        escape(&name.chars().take(1).collect::<String>()),
        escape(&name),
        blocked(lang, friend.status),
        user = friend.user,
    )
}

/// Nobody here by that id.
pub(super) fn missing(lang: Lang) -> String {
    let content = format!(
        "<main class=\"list\"><header><h1>{}</h1></header><p><a href=\"/phone?lang={}\">{}</a></p></main>",
        lang.missing(),
        lang.tag(),
        lang.back()
    );
    document(lang, lang.missing(), "", &content)
}

fn blocked(lang: Lang, status: Status) -> String {
    match status {
        Status::Following => String::new(),
        Status::Blocked => format!("<span class=\"blocked\">{}</span>", lang.blocked()),
    }
}

fn shown_name(friend: &SandboxFriend) -> String {
    friend.name.clone().unwrap_or_else(|| {
        let id = friend.user.to_string();
        format!("{}…", id.get(..7).unwrap_or(&id))
    })
}

fn document(lang: Lang, title: &str, head: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"{}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">{head}\
         <title>{}</title><style>{CSS}</style></head><body>{content}</body></html>",
        lang.tag(),
        escape(title)
    )
}
