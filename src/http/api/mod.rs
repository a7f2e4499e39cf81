//! The API for the shop's own systems: `/v1/accounts/{account}/friends` and `/events`. HTTP in, HTTP out; what it does
//! is [`crate::control::api`]'s, and `docs/api.md` tells it to its users.

mod answer;
mod headers;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use futures_util::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::control::api::{Admitted, Code, Forgotten, Kind, Problem};
use crate::control::node::Node;
use crate::domain::access::Scope;
use crate::lang::Lang;
use crate::telemetry::metric;
use answer::{answer, problem};

/// Bytes of a body.
pub const BODY_MAX: usize = 1 << 20;
/// Requests in hand at once; further ones are told to come again.
pub const REQUESTS_MAX: usize = 32;

/// The API as OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

struct Api {
    node: Arc<Node>,
    places: Semaphore,
}

/// The routes under `/v1`, and `/openapi.json`.
pub fn router(node: Arc<Node>) -> Router {
    let api = Arc::new(Api { node, places: Semaphore::new(REQUESTS_MAX) });
    Router::new()
        .route("/v1/accounts/{account}/friends", post(friends))
        .route("/v1/accounts/{account}/friends/{friend}", get(show).delete(forget))
        .route("/v1/accounts/{account}/events", post(events))
        .route("/v1/{*nowhere}", any(nowhere))
        .route("/openapi.json", get(openapi))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(api.clone(), within_bounds))
        .with_state(api)
}

type Account = Result<Path<String>, PathRejection>;
type Friend = Result<Path<(String, String)>, PathRejection>;

async fn friends(State(api): State<Arc<Api>>, path: Account, headers: HeaderMap, body: Body) -> Response {
    let lang = headers::lang(&headers);
    answer(lang, api.take(Kind::Friends, Scope::FriendsWrite, path, &headers, body, lang).await)
}

async fn events(State(api): State<Arc<Api>>, path: Account, headers: HeaderMap, body: Body) -> Response {
    let lang = headers::lang(&headers);
    answer(lang, api.take(Kind::Events, Scope::EventsWrite, path, &headers, body, lang).await)
}

async fn show(State(api): State<Arc<Api>>, path: Friend, headers: HeaderMap) -> Response {
    let lang = headers::lang(&headers);
    answer(lang, api.show(path, &headers, lang).await)
}

async fn forget(State(api): State<Arc<Api>>, path: Friend, headers: HeaderMap) -> Response {
    let lang = headers::lang(&headers);
    answer(lang, api.forget(path, &headers, lang).await)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn nowhere(headers: HeaderMap) -> Response {
    let lang = headers::lang(&headers);
    problem(lang, &not_there(lang))
}

async fn wrong_method(headers: HeaderMap) -> Response {
    let lang = headers::lang(&headers);
    let detail = lang.pick("Allow にあるメソッドを使ってください", "use a method that Allow names");
    problem(lang, &Problem::new(Code::MethodNotAllowed, detail.to_owned()))
}

fn not_there(lang: Lang) -> Problem {
    let detail = lang.pick(
        "このアドレスはありません。/openapi.json を見てください",
        "there is no such address; see /openapi.json",
    );
    Problem::new(Code::NotFound, detail.to_owned())
}

/// Bounds how many requests are in hand, and counts them.
async fn within_bounds(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = route(&request);
    let response = match api.places.try_acquire() {
        Ok(_place) => next.run(request).await,
        Err(_) => {
            let lang = headers::lang(request.headers());
            let detail = lang.pick(
                format!("同時に処理できるのは{REQUESTS_MAX}件までです。少し待ってもう一度送ってください"),
                format!("{REQUESTS_MAX} requests are under way, as many as are taken at once; send it again in a moment"),
            );
            problem(lang, &Problem::new(Code::Busy, detail))
        }
    };
    let status = response.status().as_str().to_owned();
    metrics::counter!(metric::HTTP_REQUESTS, "route" => route.clone(), "status" => status).increment(1);
    metrics::histogram!(metric::HTTP_REQUEST_SECONDS, "route" => route).record(began.elapsed().as_secs_f64());
    response
}

/// The route as a label: of a bounded number, whatever clients send.
fn route(request: &Request) -> String {
    let method = match *request.method() {
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    format!("{method} {path}")
}

impl Api {
    async fn admit(
        &self,
        account: &str,
        scope: Scope,
        headers: &HeaderMap,
        lang: Lang,
    ) -> Result<Admitted, Problem> {
        self.node.admit(headers::token(headers), scope, account, lang).await
    }

    async fn take(
        &self,
        kind: Kind,
        scope: Scope,
        path: Account,
        headers: &HeaderMap,
        body: Body,
        lang: Lang,
    ) -> Result<Response, Problem> {
        let Path(account) = path.map_err(|_| not_there(lang))?;
        // Nobody's body is read before it is known whose it is.
        let admitted = self.admit(&account, scope, headers, lang).await?;
        headers::json_in_utf8(headers, lang)?;
        let key = headers::idempotency_key(headers, lang)?;
        let body = read(body, lang).await?;
        let taken = self.node.take(kind, &admitted, key, &body, lang).await?;
        let status = StatusCode::from_u16(taken.status).unwrap_or(StatusCode::ACCEPTED);
        Ok((status, [(header::CONTENT_TYPE, "application/json")], taken.body).into_response())
    }

    async fn show(&self, path: Friend, headers: &HeaderMap, lang: Lang) -> Result<Response, Problem> {
        let Path((account, friend)) = path.map_err(|_| not_there(lang))?;
        let admitted = self.admit(&account, Scope::FriendsRead, headers, lang).await?;
        let record = self.node.friend(&admitted, &friend, lang).await?;
        Ok(axum::Json(record).into_response())
    }

    async fn forget(&self, path: Friend, headers: &HeaderMap, lang: Lang) -> Result<Response, Problem> {
        let Path((account, friend)) = path.map_err(|_| not_there(lang))?;
        let admitted = self.admit(&account, Scope::FriendsDelete, headers, lang).await?;
        let forgotten = self.node.forget(&admitted, &friend, lang).await?;
        Ok(match forgotten {
            Forgotten::Now => StatusCode::NO_CONTENT.into_response(),
            Forgotten::Soon => StatusCode::ACCEPTED.into_response(),
        })
    }
}

/// The whole body, as far as it may be.
async fn read(body: Body, lang: Lang) -> Result<Bytes, Problem> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            let detail = lang.pick("本文が途中で切れました", "the body ended in the middle");
            Problem::new(Code::Malformed, detail.to_owned())
        })?;
        if bytes.len() + chunk.len() > BODY_MAX {
            let detail = lang.pick(
                format!("本文は{BODY_MAX}バイトまでです。分けて送ってください"),
                format!("a body has at most {BODY_MAX} bytes; send it in parts"),
            );
            return Err(Problem::new(Code::TooLarge, detail));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}
