//! A friend's phone, as LINE draws it: server-rendered, nothing from outside, nothing that runs.

mod bubble;
mod page;
mod words;

use axum::body::Body as HttpBody;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use base64::Engine as _;
use sha2::{Digest, Sha256};

use self::page::{chat, friends, missing};
use self::words::Lang;
use super::core::Sandbox;
use crate::domain::id::UserId;
use crate::domain::time::Instant;

/// How many friends the list shows at once.
const LISTED: usize = 200;

/// What the query of a page says.
#[derive(Debug, Default)]
struct Query {
    lang: Option<String>,
    channel: Option<String>,
    search: String,
}

/// `/phone`: the friends; `/phone/{userId}`: one friend's chat; `/` leads to the first.
pub(super) fn respond(sandbox: &Sandbox, head: &Parts, now: Instant) -> Response<HttpBody> {
    if head.method != Method::GET && head.method != Method::HEAD {
        return html(StatusCode::METHOD_NOT_ALLOWED, String::new());
    }
    let query = Query::read(head.uri.query().unwrap_or_default());
    let lang = Lang::choose(
        query.lang.as_deref(),
        head.headers.get("accept-language").and_then(|value| value.to_str().ok()),
    );
    match head.uri.path().trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        [""] | ["phone"] => {
            let channels = sandbox.channels(now);
            let lists: Vec<_> = channels
                .iter()
                .filter(|channel| query.channel.as_ref().is_none_or(|wanted| *wanted == channel.id))
                .map(|channel| (channel, sandbox.list_friends(&channel.id, &query.search, LISTED)))
                .collect();
            html(StatusCode::OK, friends(lang, &lists, &query.search))
        }
        ["phone", user] => match one_chat(sandbox, user, query.channel.as_deref(), lang, now) {
            Some(page) => html(StatusCode::OK, page),
            None => html(StatusCode::NOT_FOUND, missing(lang)),
        },
        _ => html(StatusCode::NOT_FOUND, missing(lang)),
    }
}

/// The chat with the channel asked for, else the first that knows the user.
fn one_chat(sandbox: &Sandbox, user: &str, wanted: Option<&str>, lang: Lang, now: Instant) -> Option<String> {
    let user = UserId::parse(user).ok()?;
    let channels = sandbox.channels(now);
    let mut candidates = channels.iter().filter(|channel| wanted.is_none_or(|wanted| wanted == channel.id));
    let (channel, friend) =
        candidates.find_map(|channel| Some((channel, sandbox.friend(&channel.id, &user)?)))?;
    let received = sandbox.received(&channel.id, &user).ok()?;
    let menu = sandbox.rich_menu(&channel.id, &user);
    Some(chat(lang, sandbox.rules.zone, channel, (&friend, menu.as_deref()), &received))
}

impl Query {
    fn read(query: &str) -> Self {
        let mut read = Self::default();
        // The path is of no matter; only a URL knows how to undo its escapes.
        let Ok(url) = reqwest::Url::parse(&format!("http://page/?{query}")) else { return read };
        for (key, value) in url.query_pairs() {
            match &*key {
                "lang" => read.lang = Some(value.into_owned()),
                "channel" => read.channel = Some(value.into_owned()),
                "q" => read.search = value.trim().to_owned(),
                _ => {}
            }
        }
        read
    }
}

/// A page that may load nothing, run nothing and be framed by nobody; its one style sheet is named by its digest.
fn html(status: StatusCode, body: String) -> Response<HttpBody> {
    let style = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(page::CSS));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    let mut response = Response::new(HttpBody::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert("content-security-policy", policy);
    }
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
