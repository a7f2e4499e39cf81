//! Tokens of the API, and what it answered to requests with a key.

use super::data::{Account, Data, next};
use super::inbox;
use crate::domain::access::TokenId;
use crate::domain::time::Instant;
use crate::store::codec::{InboxCells, text};
use crate::store::{ANSWERS_KEPT, ApiAnswer, NewToken, StoreError, TokenRow};

pub(super) fn create_token(data: &mut Data, new: &NewToken) -> TokenId {
    let id = TokenId(next(&mut data.numbers.token));
    let token = NewToken {
        name: text(&new.name).into_owned(),
        created_by: text(&new.created_by).into_owned(),
        ..new.clone()
    };
    data.tokens.set(id.0, TokenRow { id, token, revoked: None });
    id
}

pub(super) fn tokens(data: &Data) -> Vec<TokenRow> {
    data.tokens.rows().map(|(_, row)| row.clone()).collect()
}

pub(super) fn revoke_token(data: &mut Data, id: TokenId, now: Instant, by: &str) -> bool {
    let stands = data.tokens.get(&id.0).is_some_and(|row| row.revoked.is_none());
    stands && data.tokens.change(&id.0, |row| row.revoked = Some((now, text(by).into_owned())))
}

pub(super) fn append_once(
    data: &mut Data,
    rows: Vec<InboxCells>,
    answer: &ApiAnswer,
) -> Result<Option<ApiAnswer>, StoreError> {
    let (account, _) = data.of_mut(answer.account);
    let key = text(&answer.key).into_owned();
    let remembered = account.answers.get(&key).is_some_and(|known| known.at >= answer.at - ANSWERS_KEPT);
    if remembered {
        return Ok(answered(account, &answer.key, answer.at));
    }
    account.answers.set(key, answer.clone());
    inbox::append(data, rows);
    Ok(None)
}

/// What is remembered at an instant, under the key that was asked for.
pub(super) fn answered(account: &Account, key: &str, now: Instant) -> Option<ApiAnswer> {
    let known = account.answers.get(&text(key).into_owned())?;
    (known.at >= now - ANSWERS_KEPT).then(|| ApiAnswer { key: key.to_owned(), ..known.clone() })
}
