//! LINE's answers: status, headers and body to what they prove.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use haishin::line::{
    Answer, Attempt, Blame, BotInfo, CallError, Grant, History, MAX_RECIPIENTS, Quota, Settlement,
    Validation, read_consumption,
};

/// An answer as it goes over the wire, all but its first word: the status, headers, an empty line, the body.
fn split(bytes: &[u8]) -> (u16, HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = bytes;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = rest[..end].trim_ascii_end();
        rest = rest.get(end + 1..).unwrap_or_default();
        line
    };
    let status = std::str::from_utf8(line()).ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    loop {
        let line = line();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    (status, headers, rest)
}

pub fn run(bytes: &[u8]) -> bool {
    let (status, headers, body) = split(bytes);
    let attempt = Attempt::read(status, &headers, body);
    assert_bounded(&attempt);
    assert_proves(status, &headers, &attempt);
    // A broken body changes words, and nothing else.
    for other in [&b""[..], &body[..body.len() / 2], b"{\"message\": <br> \xff"] {
        let other = Attempt::read(status, &headers, other);
        assert_eq!(other.answer.as_str(), attempt.answer.as_str());
        assert_eq!((&other.request_id, other.retry_after), (&attempt.request_id, attempt.retry_after));
        assert_eq!(other.accepted_request_id(), attempt.accepted_request_id());
    }
    questions(status, body);
    attempt.answer.settles(History::SurelyNotSent) == Settlement::Accepted
}

fn assert_bounded(attempt: &Attempt) {
    assert!(Answer::WORDS.contains(&attempt.answer.as_str()));
    let ids = [attempt.request_id.as_deref(), attempt.accepted_request_id()];
    for id in ids.into_iter().flatten() {
        assert!((1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
    }
    if let Some(wait) = attempt.retry_after {
        assert!((0..=3_600_000).contains(&wait.as_millis()), "{wait}");
    }
    if let Answer::BadRequest { message, blame } = &attempt.answer {
        assert!(message.is_empty() || message.chars().count() <= 500);
        assert!(!message.chars().any(char::is_control), "{message:?}");
        match blame {
            Blame::Recipient(index) => assert!(*index < MAX_RECIPIENTS),
            Blame::Untold => {}
            Blame::SomeRecipient | Blame::Messages => panic!("LINE was not asked: {blame:?}"),
        }
    }
}

/// Only LINE's own yes is one, and only its own no where nothing can have been taken.
fn assert_proves(status: u16, headers: &HeaderMap, attempt: &Attempt) {
    let accepted =
        matches!(status, 200..=299) || (status == 409 && headers.contains_key("x-line-accepted-request-id"));
    for history in [History::SurelyNotSent, History::PossiblySent] {
        match attempt.answer.settles(history) {
            Settlement::Accepted => assert!(accepted, "{status}: {attempt:?}"),
            Settlement::Rejected => {
                assert!(history == History::SurelyNotSent && matches!(status, 400..=499), "{attempt:?}");
                assert!(!matches!(status, 401 | 408 | 409 | 425 | 429), "{attempt:?}");
            }
            Settlement::Unknown => assert_eq!(history, History::PossiblySent, "{attempt:?}"),
            Settlement::Open => assert!(!matches!(status, 200..=299), "{attempt:?}"),
        }
    }
    // What may have been taken is never forgotten by a later no.
    if attempt.answer.may_have_been_taken() {
        assert_eq!(History::SurelyNotSent.after(&attempt.answer), History::PossiblySent);
    }
    assert_eq!(History::PossiblySent.after(&attempt.answer), History::PossiblySent);
}

/// The same bytes as an answer to each question: no panic, and nothing known where LINE did not say so.
fn questions(status: u16, body: &[u8]) {
    assert_asked(status, body, Quota::read(status, body));
    assert_asked(status, body, read_consumption(status, body));
    assert_asked(status, body, BotInfo::read(status, body));
    assert_asked(status, body, Grant::read(status, body));
    match Validation::read(status, body) {
        Ok(Validation::Valid) => assert_eq!(status, 200),
        Ok(Validation::Invalid { message, problems }) => {
            assert_eq!(status, 400);
            assert!(message.chars().count() <= 500 && problems.len() <= 20);
        }
        Err(error) => assert_asked(status, body, Err::<(), _>(error)),
    }
    if let Ok(grant) = Grant::read(status, body) {
        assert!(grant.lives.as_millis() >= 0 && grant.header.is_sensitive());
    }
}

fn assert_asked<T>(status: u16, body: &[u8], answer: Result<T, CallError>) {
    match answer {
        // An answer takes JSON.
        Ok(_) => {
            assert_eq!(status, 200);
            assert!(serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok());
        }
        Err(error) => super::assert_readable(&error.to_string()),
    }
}
