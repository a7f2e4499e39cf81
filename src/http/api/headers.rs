//! What a request's header says.

use axum::http::{HeaderMap, HeaderName, header};

use crate::control::api::{Code, KEY_MAX, Problem};
use crate::lang::Lang;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The language of texts: Japanese where `Accept-Language` prefers it to English, else English.
pub(super) fn lang(headers: &HeaderMap) -> Lang {
    let mut best = (0.0, Lang::En);
    for list in headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|value| value.to_str().ok()) {
        for range in list.split(',') {
            let (tag, weight) = match range.split_once(';') {
                Some((tag, q)) => (tag, q.trim().strip_prefix("q=").and_then(|q| q.parse::<f64>().ok())),
                None => (range, Some(1.0)),
            };
            let primary = tag.trim().split('-').next().unwrap_or_default();
            let known = [Lang::Ja, Lang::En]
                .into_iter()
                .find(|lang| primary.eq_ignore_ascii_case(lang.pick("ja", "en")));
            // Of two that are equally welcome the first is meant.
            if let (Some(lang), Some(weight)) = (known, weight)
                && weight > best.0
            {
                best = (weight, lang);
            }
        }
    }
    best.1
}

/// The bearer token, where there is exactly one.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = only(headers, &header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h axum::http::HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The key under which the request is taken once.
///
/// # Errors
/// It is empty, too long, has other signs than visible ASCII, or there are several.
pub(super) fn idempotency_key(headers: &HeaderMap, lang: Lang) -> Result<Option<&str>, Problem> {
    if !headers.contains_key(&IDEMPOTENCY_KEY) {
        return Ok(None);
    }
    let key = only(headers, &IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok());
    let fits =
        |key: &&str| (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    key.filter(fits).map(Some).ok_or_else(|| {
        let detail = lang.pick(
            format!(
                "Idempotency-Key は空白なしの ASCII 1〜{KEY_MAX}文字で、1つだけ付けてください（UUID など）"
            ),
            format!(
                "Idempotency-Key is one key of 1 to {KEY_MAX} ASCII characters without blanks, such as a UUID"
            ),
        );
        Problem::new(Code::Malformed, detail)
    })
}

/// The body says that it is JSON, in UTF-8 and as it is.
///
/// # Errors
/// It says something else, or nothing.
pub(super) fn json_in_utf8(headers: &HeaderMap, lang: Lang) -> Result<(), Problem> {
    let plain = only(headers, &header::CONTENT_ENCODING)
        .is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    let said = only(headers, &header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if plain && said.is_some_and(is_json) {
        return Ok(());
    }
    let detail = lang.pick(
        "Content-Type: application/json（UTF-8、圧縮なし）で送ってください",
        "send Content-Type: application/json, in UTF-8 and not compressed",
    );
    Err(Problem::new(Code::UnsupportedMediaType, detail.to_owned()))
}

fn is_json(said: &str) -> bool {
    let mut parts = said.split(';');
    let is_json = parts.next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"));
    let other_charset = |parameter: &str| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().eq_ignore_ascii_case("charset")
            && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    };
    is_json && !parts.any(other_charset)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use rstest::rstest;

    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[rstest]
    #[case(&[], Lang::En)]
    #[case(&["ja"], Lang::Ja)]
    #[case(&["JA-jp,en;q=0.9"], Lang::Ja)]
    #[case(&["en-GB, ja"], Lang::En)]
    #[case(&["fr, ja;q=0.4, en;q=0.5"], Lang::En)]
    #[case(&["fr", "en;q=0.1", "ja;q=0.2"], Lang::Ja)]
    #[case(&["ja;q=0"], Lang::En)]
    #[case(&["jam, *, ja;q=high, ;;,"], Lang::En)]
    fn the_language_is_the_one_preferred(#[case] values: &[&str], #[case] expected: Lang) {
        assert_eq!(lang(&headers(&header::ACCEPT_LANGUAGE, values)), expected);
    }

    #[rstest]
    #[case(&["Bearer abc"], Some("abc"))]
    #[case(&["bEARER  abc "], Some("abc"))]
    #[case(&["Basic abc"], None)]
    #[case(&["Bearer"], None)]
    #[case(&["Bearer a", "Bearer a"], None)]
    fn a_token_is_a_bearer_s(#[case] values: &[&str], #[case] expected: Option<&str>) {
        assert_eq!(token(&headers(&header::AUTHORIZATION, values)), expected);
    }

    #[rstest]
    #[case(&["application/json"], true)]
    #[case(&["Application/JSON; charset=\"UTF-8\"; a=b"], true)]
    #[case(&["application/json;charset=shift_jis"], false)]
    #[case(&["application/json;charset"], false)]
    #[case(&["application/jsonl"], false)]
    #[case(&["text/plain"], false)]
    #[case(&["application/json", "application/json"], false)]
    #[case(&[], false)]
    fn a_body_is_json_in_utf_8(#[case] values: &[&str], #[case] expected: bool) {
        let mut said = headers(&header::CONTENT_TYPE, values);
        assert_eq!(json_in_utf8(&said, Lang::En).is_ok(), expected);
        said.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(json_in_utf8(&said, Lang::En).is_err());
    }

    #[test]
    fn a_key_is_one_short_text_without_blanks() {
        let longest = "k".repeat(KEY_MAX);
        let read = |values: &[&str]| {
            idempotency_key(&headers(&IDEMPOTENCY_KEY, values), Lang::En).map(|key| key.map(str::to_owned))
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[&longest]), Ok(Some(longest.clone())));
        for bad in [&[""][..], &["a b"], &["鍵"], &["a", "a"], &[&format!("{longest}k")]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
