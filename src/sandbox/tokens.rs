//! Channel access tokens: configured ones for ever, issued ones for their 15 minutes.

use std::collections::HashMap;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::core::{Context, Rules, State};
use super::plan::{Body, Request, Say};
use crate::domain::time::{Instant, Span};

/// The tokens in force.
#[derive(Debug, Default)]
pub(super) struct Tokens(HashMap<String, Token>);

#[derive(Debug, Clone, Copy)]
struct Token {
    channel: u32,
    /// `None`: never.
    ends: Option<Instant>,
}

impl Tokens {
    /// Takes a configured token up; false if another channel has the same.
    pub(super) fn configure(&mut self, token: String, channel: u32) -> bool {
        self.0.insert(token, Token { channel, ends: None }).is_none()
    }

    /// The channel of the bearer token.
    pub(super) fn channel(&self, request: &Request<'_>, now: Instant) -> Option<u32> {
        let (scheme, token) = request.header("authorization")?.split_once(' ')?;
        let token = self.0.get(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
        token.ends.is_none_or(|ends| now < ends).then_some(token.channel)
    }

    fn issue(&mut self, channel: u32, lives: Span, context: Context) -> String {
        let text = format!("sandbox.{}", hex::encode(Sha256::digest(format!("token {}", context.id))));
        self.0.retain(|_, token| token.ends.is_none_or(|ends| context.now < ends));
        self.0.insert(text.clone(), Token { channel, ends: Some(context.now + lives) });
        text
    }
}

/// The form of the token endpoint.
pub(super) struct Grant {
    media_type_is_wrong: bool,
    grant_type: String,
    pub(super) id: String,
    secret: String,
}

impl Grant {
    pub(super) fn read(request: &Request<'_>) -> Self {
        let body = match request.body {
            Body::Whole(body) => std::str::from_utf8(body).unwrap_or_default(),
            Body::TooLarge => "",
        };
        // A form is written as a URL's query is.
        let url = reqwest::Url::parse(&format!("http://form/?{body}")).ok();
        let field = |name: &str| {
            let mut pairs = url.iter().flat_map(|url| url.query_pairs());
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        Self {
            media_type_is_wrong: !request.is_media_type("application/x-www-form-urlencoded"),
            grant_type: field("grant_type"),
            id: field("client_id"),
            secret: field("client_secret"),
        }
    }
}

impl State {
    /// The token endpoint's answer.
    pub(super) fn issue(&mut self, rules: &Rules, grant: &Grant, context: Context) -> Say {
        let refuse = |error: &str, description: &str| {
            let body = json!({ "error": error, "error_description": description });
            Say { status: 400, ..Say::json(&body) }
        };
        if grant.media_type_is_wrong {
            return Say::error(415, "Unsupported media type");
        }
        if grant.grant_type != "client_credentials" {
            return refuse("unsupported_grant_type", "grant_type must be client_credentials");
        }
        let Some(place) = self.channel(&grant.id) else {
            return refuse("invalid_client", "invalid client_id");
        };
        if self.channels.get(place as usize).is_none_or(|channel| channel.secret != grant.secret) {
            return refuse("invalid_client", "invalid client_secret");
        }
        let token = self.tokens.issue(place, rules.token_lifetime, context);
        let lives = rules.token_lifetime.as_millis() / 1_000;
        Say::json(&json!({ "token_type": "Bearer", "access_token": token, "expires_in": lives }))
    }
}
