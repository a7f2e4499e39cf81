//! Configuration and `check`.

mod diagnostics;
mod drip_fixtures;
mod drips;
mod fixtures;
mod limits;
mod meaning;
mod report;
mod shipped;

use haishin::config::{Checked, Source, Style, parse, render};
use haishin::domain::time::Instant;
use haishin::lang::Lang;

/// The day before the demo's campaigns.
fn now() -> Instant {
    "2026-12-03T00:00:00Z".to_owned().try_into().unwrap()
}

fn check(source: &Source) -> Checked {
    parse(source, now())
}

fn rendered(source: &Source, lang: Lang) -> String {
    render(&check(source).diagnostics, source, "config/", lang, Style::Plain)
}

const MAIN: &str = r#"
[accounts.koharu]
channel_id = "2000000001"
channel_secret = { env = "KOHARU_SECRET" }
"#;

const ATTRIBUTES: &str = r#"
prefecture = "text"
points = "integer"
spend = "number"
newsletter = "boolean"
birthday = "date"
last_login = "instant"
"#;

const MEMBERS: &str = "title = \"会員\"\ntag = \"member\"\n";

/// A small shop without problems, and these files besides or instead.
fn shop(files: &[(&str, &str)]) -> Source {
    let base = [("haishin.toml", MAIN), ("attributes.toml", ATTRIBUTES), ("segments/members.toml", MEMBERS)];
    base.into_iter().chain(files.iter().copied()).collect()
}

/// A campaign to members with these lines in front of its schedule and message.
fn campaign(lines: &str) -> String {
    format!(
        "title = \"t\"\nsegment = \"members\"\n{lines}\nschedule = {{ at = \"2026-12-04 18:00\" }}\n\
         message = [{{ type = \"text\", text = \"こんにちは\" }}]\n"
    )
}

/// A campaign to members with this schedule.
fn scheduled(schedule: &str) -> String {
    format!(
        "title = \"t\"\nsegment = \"members\"\n\n[schedule]\n{schedule}\n\n[[message]]\ntype = \"text\"\n\
         text = \"こんにちは\"\n"
    )
}

/// A drip of one step, with these lines in front of it and in it.
fn drip(lines: &str, step: &str) -> String {
    let start = if lines.contains("start =") { "" } else { "start = { tag_added = \"体験\" }\n" };
    format!("title = \"t\"\n{start}{lines}\n\n[[step]]\nname = \"a\"\n{step}\n{HELLO}")
}

/// The message of a drip's step.
const HELLO: &str = "message = [{ type = \"text\", text = \"こんにちは\" }]\n";

/// A campaign with these messages.
fn with_messages(messages: &str) -> String {
    format!("title = \"t\"\nsegment = \"members\"\nschedule = {{ at = \"2026-12-04 18:00\" }}\n\n{messages}")
}
