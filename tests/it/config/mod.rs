//! Configuration and `check`.

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
