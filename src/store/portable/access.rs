//! Tokens of the API, and what it answered to requests with a key.

use super::{Connection, bulk, failed};
use crate::domain::access::{Scopes, TokenDigest, TokenId};
use crate::domain::id::AccountId;
use crate::domain::time::Instant;
use crate::store::codec::{InboxCells, corrupt, digest, instant, text};
use crate::store::{ANSWERS_KEPT, ApiAnswer, NewToken, StoreError, TokenRow};

statements! {
    CREATE_TOKEN = "INSERT INTO api_token (account, name, scopes, sha256, created_at, created_by) \
                    VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
    TOKEN = "SELECT id, account, name, scopes, sha256, created_at, created_by, revoked_at, revoked_by \
             FROM api_token WHERE id = $1";
    TOKENS = "SELECT id, account, name, scopes, sha256, created_at, created_by, revoked_at, revoked_by \
              FROM api_token ORDER BY id";
    REVOKE_TOKEN = "UPDATE api_token SET revoked_at = $2, revoked_by = $3 WHERE id = $1 AND revoked_at IS NULL";
    // Takes the key's row where it is new or forgotten; whoever comes second waits here and changes nothing.
    REMEMBER = "INSERT INTO api_answer (account, key, request, at, status, body) \
                VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account, key) DO UPDATE SET \
                request = excluded.request, at = excluded.at, status = excluded.status, body = excluded.body \
                WHERE api_answer.at < $7";
    ANSWERED = "SELECT request, at, status, body FROM api_answer WHERE account = $1 AND key = $2 AND at >= $3";
}

#[derive(sqlx::FromRow)]
struct TokenCells {
    id: i64,
    account: Option<i64>,
    name: String,
    scopes: String,
    sha256: Vec<u8>,
    created_at: i64,
    created_by: String,
    revoked_at: Option<i64>,
    revoked_by: Option<String>,
}

impl TokenCells {
    fn read(self) -> Result<TokenRow, StoreError> {
        let what = format!("api_token {}", self.id);
        let token = NewToken {
            account: self.account.map(AccountId),
            name: self.name,
            scopes: Scopes::parse(&self.scopes).map_err(|error| corrupt(&what, error))?,
            digest: TokenDigest::stored(digest(&what, &self.sha256)?),
            created_at: instant(self.created_at),
            created_by: self.created_by,
        };
        let revoked = self.revoked_at.map(|at| (instant(at), self.revoked_by.unwrap_or_default()));
        Ok(TokenRow { id: TokenId(self.id), token, revoked })
    }
}

pub(super) async fn create_token(conn: &mut Connection, new: &NewToken) -> Result<TokenId, StoreError> {
    let query = sqlx::query_as(CREATE_TOKEN)
        .bind(new.account.map(|account| account.0))
        .bind(text(&new.name).into_owned())
        .bind(new.scopes.to_string())
        .bind(new.digest.bytes().to_vec())
        .bind(new.created_at.as_millis())
        .bind(text(&new.created_by).into_owned());
    let (id,): (i64,) = query.fetch_one(conn).await.map_err(failed("create a token"))?;
    Ok(TokenId(id))
}

pub(super) async fn token_by_id(conn: &mut Connection, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
    let query = sqlx::query_as(TOKEN).bind(id.0);
    let row: Option<TokenCells> = query.fetch_optional(conn).await.map_err(failed("read a token"))?;
    row.map(TokenCells::read).transpose()
}

pub(super) async fn tokens(conn: &mut Connection) -> Result<Vec<TokenRow>, StoreError> {
    let rows: Vec<TokenCells> =
        sqlx::query_as(TOKENS).fetch_all(conn).await.map_err(failed("read the tokens"))?;
    rows.into_iter().map(TokenCells::read).collect()
}

pub(super) async fn revoke_token(
    conn: &mut Connection,
    id: TokenId,
    now: Instant,
    by: &str,
) -> Result<bool, StoreError> {
    let query = sqlx::query(REVOKE_TOKEN).bind(id.0).bind(now.as_millis()).bind(text(by).into_owned());
    let revoked = query.execute(conn).await.map_err(failed("revoke a token"))?;
    Ok(revoked.rows_affected() == 1)
}

pub(super) async fn append_once(
    conn: &mut Connection,
    rows: &[InboxCells],
    answer: &ApiAnswer,
) -> Result<Option<ApiAnswer>, StoreError> {
    const APPENDING: &str = "append to the inbox";
    let remember = sqlx::query(REMEMBER)
        .bind(answer.account.0)
        .bind(text(&answer.key).into_owned())
        .bind(answer.request.to_vec())
        .bind(answer.at.as_millis())
        .bind(i64::from(answer.status))
        .bind(answer.body.clone())
        .bind((answer.at - ANSWERS_KEPT).as_millis());
    if remember.execute(&mut *conn).await.map_err(failed(APPENDING))?.rows_affected() == 0 {
        return answered(conn, answer.account, &answer.key, answer.at).await;
    }
    if !rows.is_empty() {
        bulk::insert_inbox(conn, rows).await.map_err(failed(APPENDING))?;
    }
    Ok(None)
}

pub(super) async fn answered(
    conn: &mut Connection,
    account: AccountId,
    key: &str,
    now: Instant,
) -> Result<Option<ApiAnswer>, StoreError> {
    let query = sqlx::query_as(ANSWERED)
        .bind(account.0)
        .bind(text(key).into_owned())
        .bind((now - ANSWERS_KEPT).as_millis());
    let row: Option<(Vec<u8>, i64, i64, String)> =
        query.fetch_optional(conn).await.map_err(failed("read what was answered"))?;
    let Some((request, at, status, body)) = row else { return Ok(None) };
    let what = "api_answer";
    let request = digest(what, &request)?;
    let status = u16::try_from(status).map_err(|error| corrupt(what, error))?;
    Ok(Some(ApiAnswer { account, key: key.to_owned(), request, at: instant(at), status, body }))
}
