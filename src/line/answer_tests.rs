//! Every status, text and header LINE is documented to use, with what it means.

use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rstest::rstest;

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        })
        .collect()
}

fn bad(message: &str, invalid_to: Option<usize>) -> Answer {
    Answer::BadRequest { message: message.into(), blame: invalid_to.map_or(Blame::Untold, Blame::Recipient) }
}

fn limited(hint: LimitHint) -> Answer {
    Answer::TooManyRequests { hint }
}

/// (status, body, what it is, what it settles when surely nothing was sent before, and when something may be).
#[rstest]
#[case(200, "{}", Answer::Accepted, Settlement::Accepted, Settlement::Accepted)]
#[case(202, "{}", Answer::Accepted, Settlement::Accepted, Settlement::Accepted)]
#[case(200, "no json", Answer::Accepted, Settlement::Accepted, Settlement::Accepted)]
#[case(
    400,
    r#"{"message":"The property, to[1], in the request body is invalid (line: -, column: -)"}"#,
    bad("The property, to[1], in the request body is invalid (line: -, column: -)", Some(1)),
    Settlement::Rejected,
    Settlement::Unknown
)]
#[case(
    400,
    r#"{"message":"The request body has 1 error(s)","details":[{"message":"invalid","property":"to[499]"}]}"#,
    bad("The request body has 1 error(s)", Some(499)),
    Settlement::Rejected,
    Settlement::Unknown
)]
#[case(
    400,
    r#"{"message":"The request body has 1 error(s)","details":[{"property":"messages[0].text"}]}"#,
    bad("The request body has 1 error(s)", None),
    Settlement::Rejected,
    Settlement::Unknown
)]
#[case(
    400,
    r#"{"message":"Failed to send messages"}"#,
    bad("Failed to send messages", None),
    Settlement::Rejected,
    Settlement::Unknown
)]
#[case(400, r#"{"message":null}"#, bad("", None), Settlement::Rejected, Settlement::Unknown)]
#[case(400, "<html>", bad("", None), Settlement::Rejected, Settlement::Unknown)]
#[case(401, "{}", Answer::Unauthorized, Settlement::Open, Settlement::Open)]
#[case(403, "{}", Answer::Forbidden, Settlement::Rejected, Settlement::Unknown)]
#[case(404, "{}", Answer::OtherRefusal(404), Settlement::Rejected, Settlement::Unknown)]
#[case(410, "{}", Answer::OtherRefusal(410), Settlement::Rejected, Settlement::Unknown)]
#[case(413, "{}", Answer::PayloadTooLarge, Settlement::Rejected, Settlement::Unknown)]
#[case(415, "{}", Answer::OtherRefusal(415), Settlement::Rejected, Settlement::Unknown)]
#[case(499, "{}", Answer::OtherRefusal(499), Settlement::Rejected, Settlement::Unknown)]
#[case(
    429,
    r#"{"message":"The API rate limit has been exceeded. Try again later."}"#,
    limited(LimitHint::Rate),
    Settlement::Open,
    Settlement::Open
)]
#[case(
    429,
    r#"{"message":"You have reached your monthly limit."}"#,
    limited(LimitHint::Monthly),
    Settlement::Open,
    Settlement::Open
)]
#[case(429, "", limited(LimitHint::Unclear), Settlement::Open, Settlement::Open)]
#[case(500, "{}", Answer::ServerError(500), Settlement::Open, Settlement::Open)]
#[case(503, "<html>", Answer::ServerError(503), Settlement::Open, Settlement::Open)]
#[case(301, "", Answer::Unexpected(301), Settlement::Open, Settlement::Open)]
#[case(408, "", Answer::Unexpected(408), Settlement::Open, Settlement::Open)]
#[case(425, "", Answer::Unexpected(425), Settlement::Open, Settlement::Open)]
#[case(600, "", Answer::Unexpected(600), Settlement::Open, Settlement::Open)]
fn a_status_decides(
    #[case] status: u16,
    #[case] body: &str,
    #[case] answer: Answer,
    #[case] first: Settlement,
    #[case] after_doubt: Settlement,
) {
    let attempt = Attempt::read(status, &headers(&[("X-LINE-Request-Id", "8f1c-id")]), body.as_bytes());
    assert_eq!(attempt.answer, answer);
    assert_eq!(attempt.request_id.as_deref(), Some("8f1c-id"));
    assert_eq!(attempt.answer.settles(History::SurelyNotSent), first);
    assert_eq!(attempt.answer.settles(History::PossiblySent), after_doubt);
}

#[test]
fn a_conflict_settles_only_with_the_accepted_id_whatever_the_case_of_the_header() {
    for name in ["x-line-accepted-request-id", "X-Line-Accepted-Request-Id", "X-LINE-ACCEPTED-REQUEST-ID"] {
        let attempt = Attempt::read(409, &headers(&[("x-line-request-id", "try"), (name, "first")]), b"{}");
        assert_eq!(attempt.answer, Answer::AlreadyAccepted { accepted_request_id: "first".into() });
        assert_eq!(attempt.accepted_request_id(), Some("first"));
        assert_eq!(attempt.answer.settles(History::PossiblySent), Settlement::Accepted);
    }
    for without in [headers(&[]), headers(&[("x-line-accepted-request-id", " ")])] {
        let attempt = Attempt::read(409, &without, br#"{"message":"The retry key is already accepted"}"#);
        assert_eq!(attempt.answer, Answer::RetryKeyConflictWithoutId);
        assert_eq!(attempt.answer.settles(History::SurelyNotSent), Settlement::Open);
        assert_eq!(History::SurelyNotSent.after(&attempt.answer), History::PossiblySent);
    }
}

/// A refusal after these proves nothing any more; after those it does.
#[test]
fn only_definite_refusals_keep_the_history_clean() {
    for doubtful in [
        Answer::Timeout,
        Answer::ConnectionLost,
        Answer::ServerError(500),
        Answer::Unexpected(301),
        Answer::RetryKeyConflictWithoutId,
    ] {
        let history = History::SurelyNotSent.after(&doubtful);
        assert_eq!(Answer::Forbidden.settles(history), Settlement::Unknown, "{doubtful:?}");
        // Once in doubt, nothing but an acceptance ends it.
        assert_eq!(history.after(&Answer::NeverSent), History::PossiblySent);
    }
    for clean in [
        Answer::NeverSent,
        Answer::Unauthorized,
        Answer::StaleToken,
        Answer::Forbidden,
        Answer::PayloadTooLarge,
        Answer::OtherRefusal(404),
        bad("x", None),
        limited(LimitHint::Rate),
    ] {
        let history = History::SurelyNotSent.after(&clean);
        assert_eq!(Answer::Forbidden.settles(history), Settlement::Rejected, "{clean:?}");
    }
}

#[rstest]
#[case("to[0]", Some(0))]
#[case("The property, 'to[12]', is invalid", Some(12))]
#[case("to[x] and to[7]", Some(7))]
#[case("to[500]", None)]
#[case("to[-1]", None)]
#[case("to[+1]", None)]
#[case("to[]", None)]
#[case("to[99999999999999999999]", None)]
#[case("to[1", None)]
#[case("auto[1]", None)]
#[case("messages[0].to[1]", None)]
fn the_recipient_is_read_leniently_but_not_wildly(#[case] text: &str, #[case] index: Option<usize>) {
    assert_eq!(invalid_recipient(text), index);
}

#[test]
fn texts_and_ids_of_an_answer_are_bounded_and_printable() {
    let long = format!("{{\"message\":\"\\u001b[31m{}\"}}", "あ".repeat(10_000));
    let Answer::BadRequest { message, .. } = Attempt::read(400, &headers(&[]), long.as_bytes()).answer else {
        panic!("a 400 is a bad request")
    };
    assert_eq!(message.chars().count(), MAX_MESSAGE);
    assert!(message.starts_with(" [31mあ"));
    let huge = "x".repeat(MAX_REQUEST_ID + 1);
    assert_eq!(Attempt::read(200, &headers(&[("x-line-request-id", &huge)]), b"").request_id, None);
}

#[rstest]
#[case("30", Some(30))]
#[case("999999", Some(3_600))]
#[case("-1", None)]
#[case("Wed, 21 Oct 2026 07:28:00 GMT", None)]
fn retry_after_is_honoured_within_an_hour(#[case] value: &str, #[case] seconds: Option<i64>) {
    let attempt = Attempt::read(429, &headers(&[("Retry-After", value)]), b"");
    assert_eq!(attempt.retry_after, seconds.map(Span::from_secs));
}

proptest! {
    /// No status and no body panics, and the body never changes what is settled.
    #[test]
    fn the_body_never_changes_what_is_settled(status in 0u16..1_000, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for history in [History::SurelyNotSent, History::PossiblySent] {
            let with = Attempt::read(status, &HeaderMap::new(), &body).answer;
            let without = Attempt::read(status, &HeaderMap::new(), b"").answer;
            prop_assert_eq!(with.settles(history), without.settles(history));
            prop_assert_eq!(with.as_str(), without.as_str());
        }
    }
}
