//! What the document says is what there is; every problem in both languages.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use haishin::control::api::{Code, Problem};
use haishin::domain::access::Scope;
use haishin::http::api::OPENAPI;
use haishin::lang::Lang;
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::{Stand, user};
use crate::support::store::Database;

const CODES: [Code; 15] = [
    Code::Malformed,
    Code::Unauthorized,
    Code::InsufficientScope(Scope::FriendsRead),
    Code::Forbidden,
    Code::NotFound,
    Code::MethodNotAllowed,
    Code::Conflict,
    Code::UndeclaredAttribute,
    Code::AttributeType,
    Code::TooLarge,
    Code::UnsupportedMediaType,
    Code::Invalid,
    Code::KeyReused,
    Code::Busy,
    Code::Unavailable,
];

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn the_document_and_the_page_know_every_code() {
    let codes: BTreeSet<&str> = CODES.iter().map(|code| code.as_str()).collect();
    let document = document();
    let documented = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array();
    let documented: BTreeSet<&str> = documented.unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    assert_eq!(documented, codes);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
    let table = page.split_once("| status | `code` |").unwrap().1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut told = BTreeSet::new();
    for row in rows {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (status, code) = (cells.next().unwrap(), cells.next().unwrap().trim_matches('`'));
        let known = CODES.iter().find(|known| known.as_str() == code).unwrap_or_else(|| panic!("{code}"));
        assert_eq!(status, known.status().to_string(), "{code}");
        told.insert(known.as_str());
    }
    assert_eq!(told, codes);
}

/// Each documented method is there, no other is, and 405 names them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_has_every_route_and_method() {
    let stand = Stand::new(Database::Sqlite).await;
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    for (path, operations) in paths {
        let real = path.replace("{account}", "shop").replace("{friend}", "nobody");
        let mut allowed: BTreeSet<String> =
            operations.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD".into());
        }
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            let request = Request::builder().method(method).uri(&real).body(Body::empty()).unwrap();
            let said = stand.call(request).await;
            assert_eq!(said.status != 405, allowed.contains(method), "{method} {path}");
            if said.status == 405 {
                // An answer to HEAD has no body.
                if method != "HEAD" {
                    assert_eq!(said.problem(), (405, "method_not_allowed"));
                }
                let told = said.header("allow").split(',').map(|method| method.trim().to_owned());
                assert_eq!(told.collect::<BTreeSet<_>>(), allowed, "{path}");
            }
        }
    }
    for nowhere in
        ["/v1/accounts", "/v1/accounts/shop", "/v1/accounts/shop/tags", "/v1/accounts/shop/friends/a/b"]
    {
        let said = stand.call(stand.request("GET", nowhere).body(Body::empty()).unwrap()).await;
        assert_eq!(said.problem(), (404, "not_found"), "{nowhere}");
    }
    let said = stand.call(Request::builder().uri("/openapi.json").body(Body::empty()).unwrap()).await;
    assert_eq!((said.status, said.body), (200, document));
    let broken =
        stand.call(stand.request("GET", "/v1/accounts/%ff/friends/a").body(Body::empty()).unwrap()).await;
    assert_eq!(broken.problem(), (404, "not_found"));
}

/// Customers' data stays in no cache, and every answer says its language.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_what_it_is() {
    let stand = Stand::new(Database::Sqlite).await;
    stand.friends(json!({ "user": user(1), "status": "following" })).await;
    for (asked, language) in [("ja-JP,en;q=0.5", "ja"), ("fr", "en")] {
        for (path, status) in [(user(1), 200), ("c-9".into(), 404)] {
            let path = format!("/v1/accounts/shop/friends/{path}");
            let request = stand.request("GET", &path).header("accept-language", asked);
            let said = stand.call(request.body(Body::empty()).unwrap()).await;
            assert_eq!(said.status, status);
            assert_eq!(said.header("content-language"), language);
            assert_eq!((said.header("cache-control"), said.header("vary")), ("no-store", "Accept-Language"));
        }
    }
}

/// What one meets when one writes it wrong, in both languages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mistake_is_told_in_both_languages() {
    let stand = Stand::new(Database::Sqlite).await;
    stand
        .friends(
            json!([{ "user": user(1), "external_id": "twice" }, { "user": user(2), "external_id": "twice" }]),
        )
        .await;
    let item = |rest: Value| {
        let mut item = json!({ "user": user(1) });
        item.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        item
    };
    let friends = json!([
        7,
        {},
        { "usr": "x" },
        { "user": 7 },
        { "user": "U1" },
        { "user": user(1) },
        item(json!({ "external_id": "" })),
        item(json!({ "status": "gone" })),
        item(json!({ "followed_at": "yesterday" })),
        item(json!({ "tags": [] })),
        item(json!({ "tags": {} })),
        item(json!({ "tags": { "add": [] } })),
        item(json!({ "tags": { "add": [7] } })),
        item(json!({ "tags": { "add": [{ "at": "2026-12-04T18:00:00Z" }] } })),
        item(json!({ "tags": { "remove": ["a\nb"] } })),
        item(json!({ "attributes": {} })),
        item(json!({ "attributes": { "prefectur": "x" } })),
        item(json!({ "attributes": { "prefecture": "\u{0}" } })),
        item(json!({ "attributes": { "prefecture": 7 } })),
        item(json!({ "attributes": { "points": 7.5 } })),
        item(json!({ "attributes": { "weight": "7" } })),
        item(json!({ "attributes": { "newsletter": "true" } })),
        item(json!({ "attributes": { "birthday": "2026-02-30" } })),
        item(json!({ "attributes": { "booking_at": "soon" } })),
        { "external_id": "nobody", "status": "following" },
        { "external_id": "twice", "status": "following" },
    ]);
    let events = json!([
        { "name": "x" },
        { "user": user(1) },
        item(json!({ "name": "x", "properties": { "a": [] } })),
    ]);
    let mut text = String::new();
    for (path, body) in [("/v1/accounts/shop/friends", friends), ("/v1/accounts/shop/events", events)] {
        let ask = async |lang: &str| {
            stand.post_text(path, &[("accept-language", lang)], body.to_string()).await.body
        };
        let (en, ja) = (ask("en").await, ask("ja").await);
        for (n, said) in body.as_array().unwrap().iter().enumerate() {
            let (en, ja) = (&en["results"][n]["problem"], &ja["results"][n]["problem"]);
            text += &format!(
                "{said}\n  {} {} {}\n  {}\n  {}\n",
                en["status"],
                en["code"].as_str().unwrap(),
                en["pointer"],
                en["detail"].as_str().unwrap(),
                ja["detail"].as_str().unwrap()
            );
        }
    }
    assert_snapshot!("mistakes", text.replace(&user(1), "U…1"));
}

#[test]
fn every_title_is_in_both_languages() {
    let title = |code: &Code| {
        let problem = Problem::new(*code, String::new());
        let (en, ja) = (problem.json(Lang::En), problem.json(Lang::Ja));
        format!(
            "{} {}: {} / {}\n",
            en["status"],
            code.as_str(),
            en["title"].as_str().unwrap(),
            ja["title"].as_str().unwrap()
        )
    };
    assert_snapshot!("titles", CODES.iter().map(title).collect::<String>());
}
