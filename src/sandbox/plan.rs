//! What comes in, and what is to be done about it.

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;

/// A request as the server read it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The HTTP method, upper case.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: Body<'a>,
}

/// A request's body.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// More than the 2 MB LINE takes.
    TooLarge,
}

impl Request<'_> {
    /// A header's text; one that is no text counts as missing.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the body says to be of this media type, whatever its parameters.
    pub(super) fn is_media_type(&self, wanted: &str) -> bool {
        let given = self.header("content-type").unwrap_or_default();
        given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
    }
}

/// What the server is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Wait this long first, in milliseconds of the machine's time.
    pub wait_ms: u64,
    /// Then do this.
    pub act: Act,
}

/// How a request ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// With an answer.
    Answer(Reply),
    /// Without one: the connection is closed.
    Close,
    /// Without one: the connection stays open until the client gives up.
    Hang,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `x-line-request-id`; every answer has one.
    pub request_id: String,
    /// `x-line-accepted-request-id`, on a retry key that was taken.
    pub accepted_request_id: Option<String>,
    /// JSON, unless a fault made it something else.
    pub body: Bytes,
}

impl Reply {
    /// The headers every answer of LINE's has.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put("content-type", "application/json");
        put("x-line-request-id", &self.request_id);
        if let Some(accepted) = &self.accepted_request_id {
            put("x-line-accepted-request-id", accepted);
        }
        headers
    }
}

/// The status and body of an answer, before it has its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Say {
    pub(super) status: u16,
    pub(super) accepted: Option<RequestId>,
    pub(super) body: Bytes,
}

impl Say {
    /// 200 with a JSON value.
    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self { status: 200, accepted: None, body: value.to_string().into() }
    }
    /// 200 with `{}`.
    pub(super) const fn done() -> Self {
        Self { status: 200, accepted: None, body: Bytes::from_static(b"{}") }
    }
    /// 202 with `{}`.
    pub(super) const fn accepted() -> Self {
        Self { status: 202, accepted: None, body: Bytes::from_static(b"{}") }
    }
    /// An error with its text.
    pub(super) fn error(status: u16, message: &str) -> Self {
        let body = serde_json::json!({ "message": message }).to_string().into();
        Self { status, accepted: None, body }
    }
    /// 400 with the problems of the body, each with its property.
    pub(super) fn problems(problems: &[Problem]) -> Self {
        let details: Vec<_> = problems
            .iter()
            .map(|p| serde_json::json!({ "message": p.message, "property": p.property }))
            .collect();
        let message = format!("The request body has {} error(s)", problems.len());
        let body = serde_json::json!({ "message": message, "details": details }).to_string().into();
        Self { status: 400, accepted: None, body }
    }
    /// 409: the key was taken by that request.
    pub(super) fn taken(by: RequestId) -> Self {
        Self { accepted: Some(by), ..Self::error(409, "The retry key is already accepted") }
    }
    /// 429 for the rate.
    pub(super) fn rate_limited() -> Self {
        Self::error(429, "The API rate limit has been exceeded. Try again later.")
    }
    /// 429 for the month.
    pub(super) fn monthly_limit() -> Self {
        Self::error(429, "You have reached your monthly limit.")
    }
    /// 401.
    pub(super) fn unauthorized() -> Self {
        Self::error(
            401,
            "Authentication failed. Confirm that the access token in the authorization header is valid.",
        )
    }
    /// 400 without any hint at what is wrong.
    pub(super) fn failed_to_send() -> Self {
        Self::error(400, "Failed to send messages")
    }
    /// 400 for one property.
    pub(super) fn invalid_property(property: &str) -> Self {
        let message =
            format!("The property, {property}, in the request body is invalid (line: -, column: -)");
        Self::error(400, &message)
    }
}

/// One thing that is wrong with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) property: String,
    pub(super) message: String,
}

/// A request id: 16 bytes, shown as a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RequestId(pub(super) [u8; 16]);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&uuid_text(&self.0))
    }
}

/// 16 bytes as a hexadecimal UUID.
pub(super) fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&hex::encode([*byte]));
    }
    text
}

/// A hexadecimal UUID, in the one form LINE documents: 8-4-4-4-12 digits, of either case.
pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    let mut bytes = [0; 16];
    hex::decode_to_slice(groups.concat(), &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_key_is_a_hexadecimal_uuid() {
        let text = "123e4567-e89b-12d3-a456-426614174000";
        assert_eq!(uuid_text(&parse_uuid(text).unwrap()), text);
        assert_eq!(parse_uuid(&text.to_uppercase()), parse_uuid(text));
        for bad in
            ["", "123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g", "1-2-3-4-5"]
        {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
    }
}
