//! Tokens: who may do what to which account, and that nobody else learns anything.

use axum::body::Body;
use axum::http::Request;
use haishin::domain::access::Scope;
use haishin::protocol::Command;
use serde_json::json;

use super::{Said, Stand, user};
use crate::support::store::Database;

/// Every route that needs a token, with what it needs.
const ROUTES: [(&str, &str, Scope); 4] = [
    ("POST", "/v1/accounts/{}/friends", Scope::FriendsWrite),
    ("POST", "/v1/accounts/{}/events", Scope::EventsWrite),
    ("GET", "/v1/accounts/{}/friends/nobody", Scope::FriendsRead),
    ("DELETE", "/v1/accounts/{}/friends/nobody", Scope::FriendsDelete),
];

async fn ask(stand: &Stand, method: &str, path: &str, account: &str, authorization: Option<&str>) -> Said {
    let mut request = Request::builder().method(method).uri(path.replace("{}", account));
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    stand.call(request.header("content-type", "application/json").body(Body::from("[1]")).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_good_token_nothing_is_told() {
    let stand = Stand::new(Database::Sqlite).await;
    let digits = stand.token.rsplit('_').next().unwrap().to_owned();
    let mut wrong = digits.clone();
    wrong.replace_range(63.., if digits.ends_with('0') { "1" } else { "0" });
    let bad = [
        None,
        Some("Bearer".to_owned()),
        Some("Bearer x".to_owned()),
        Some(stand.token.clone()),
        Some(format!("Basic {}", stand.token)),
        // The right number with another secret, the right secret with another number.
        Some(format!("Bearer haishin_1_{wrong}")),
        Some(format!("Bearer haishin_2_{digits}")),
    ];
    let mut answers = Vec::new();
    for (method, path, _) in ROUTES {
        for account in ["shop", "other", "none"] {
            for authorization in &bad {
                let said = ask(&stand, method, path, account, authorization.as_deref()).await;
                assert_eq!(said.problem(), (401, "unauthorized"), "{method} {path} {authorization:?}");
                assert_eq!(said.header("www-authenticate"), "Bearer realm=\"haishin\"");
                answers.push((said.body, said.headers));
            }
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "all the same, whatever there is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_for_its_account_and_its_scopes() {
    let stand = Stand::new(Database::Sqlite).await;
    for scope in Scope::ALL {
        let one = format!("Bearer {}", stand.make_token(Some("shop"), &[scope]).await);
        let all = format!("Bearer {}", stand.make_token(None, &[scope]).await);
        for (method, path, needed) in ROUTES {
            if needed != scope {
                for (token, account) in [(&one, "shop"), (&one, "other"), (&one, "none"), (&all, "none")] {
                    let said = ask(&stand, method, path, account, Some(token)).await;
                    assert_eq!(said.problem(), (403, "insufficient_scope"));
                    let missing = format!(
                        "Bearer realm=\"haishin\", error=\"insufficient_scope\", scope=\"{}\"",
                        needed.as_str()
                    );
                    assert_eq!(said.header("www-authenticate"), missing);
                }
                continue;
            }
            // It gets as far as the account goes: nobody is there, and 1 is no item.
            let reached = |said: &Said| matches!(said.status, 207 | 404);
            assert!(reached(&ask(&stand, method, path, "shop", Some(&one)).await));
            let mut elsewhere = Vec::new();
            for account in ["other", "none", "%20", "..%2F"] {
                let said = ask(&stand, method, path, account, Some(&one)).await;
                assert_eq!(said.problem(), (403, "forbidden"), "{account}");
                elsewhere.push(said);
            }
            elsewhere.dedup();
            assert_eq!(elsewhere.len(), 1, "the same, whether there is such an account");
            for account in ["shop", "other"] {
                assert!(reached(&ask(&stand, method, path, account, Some(&all)).await));
            }
            let nowhere = ask(&stand, method, path, "none", Some(&all)).await;
            assert_eq!(nowhere.problem(), (404, "not_found"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_works_from_its_creation_to_its_revocation() {
    let mut stand = Stand::new(Database::Sqlite).await;
    let create = |all_accounts| Command::TokenCreate {
        scopes: [Scope::FriendsWrite].into_iter().collect(),
        title: "EC\nサイト".into(),
        all_accounts,
    };
    let refused = stand.command(None, create(false)).await.unwrap_err();
    assert_eq!(refused.code, "ambiguous_account");
    let none =
        Command::TokenCreate { scopes: [].into_iter().collect(), title: String::new(), all_accounts: true };
    assert_eq!(stand.command(None, none).await.unwrap_err().code, "invalid");

    let made = stand.command(Some("shop"), create(false)).await.unwrap();
    stand.token = made.json["token"].as_str().unwrap().to_owned();
    assert!(made.text.starts_with(&stand.token));
    let friend = json!({ "user": user(1), "status": "following" });
    assert_eq!(stand.friends(friend.clone()).await.status, 202);
    let everywhere = stand.command(None, create(true)).await.unwrap();

    let listed = stand.command(None, Command::TokenList).await.unwrap();
    let rows = listed.json["tokens"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "with the one of this test");
    assert_eq!(
        (&rows[1]["account"], &rows[1]["name"], &rows[1]["scopes"], &rows[1]["created_by"]),
        (&json!("shop"), &json!("EC サイト"), &json!(["friends:write"]), &json!("hana"))
    );
    assert_eq!(rows[2]["account"], json!(null));
    let secrets = [&stand.token, everywhere.json["token"].as_str().unwrap()];
    for secret in secrets {
        let secret = secret.rsplit('_').next().unwrap();
        assert!(!listed.text.contains(secret) && !listed.json.to_string().contains(secret));
    }

    let id = serde_json::from_value(made.json["id"].clone()).unwrap();
    stand.command(None, Command::TokenRevoke { token: id }).await.unwrap();
    assert_eq!(stand.friends(friend).await.problem(), (401, "unauthorized"));
    let again = stand.command(None, Command::TokenRevoke { token: id }).await.unwrap_err();
    assert_eq!(again.code, "not_found");
    let listed = stand.command(None, Command::TokenList).await.unwrap();
    assert_eq!(listed.json["tokens"][1]["revoked_by"], "hana");
}
