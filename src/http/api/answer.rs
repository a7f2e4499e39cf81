//! Answers: problem details after RFC 9457, and what every answer says of itself.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::control::api::{Code, Problem};
use crate::lang::Lang;

const PROBLEM: &str = "application/problem+json";

/// The answer, or the problem.
pub(super) fn answer(lang: Lang, result: Result<Response, Problem>) -> Response {
    match result {
        Ok(response) => about(lang, response),
        Err(found) => problem(lang, &found),
    }
}

/// A problem as an answer.
pub(super) fn problem(lang: Lang, problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = problem.json(lang).to_string();
    let mut response = (status, [(header::CONTENT_TYPE, PROBLEM)], body).into_response();
    let mut say = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    match problem.code {
        Code::Unauthorized => say(header::WWW_AUTHENTICATE, "Bearer realm=\"haishin\""),
        Code::InsufficientScope(scope) => say(
            header::WWW_AUTHENTICATE,
            &format!("Bearer realm=\"haishin\", error=\"insufficient_scope\", scope=\"{}\"", scope.as_str()),
        ),
        Code::Busy => say(header::RETRY_AFTER, "1"),
        Code::Unavailable => say(header::RETRY_AFTER, "5"),
        _ => {}
    }
    about(lang, response)
}

/// Customers' data is kept by nobody on the way, and the words depend on who asks.
fn about(lang: Lang, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Language"));
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(lang.pick("ja", "en")));
    response
}
