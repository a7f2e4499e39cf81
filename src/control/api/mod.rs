//! What the HTTP API does, without HTTP: who may ask, what is taken into the inbox, one friend's record, and a friend
//! who is forgotten.

mod fields;
mod item;
mod problem;

use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

use super::node::{Node, ask_engine};
use super::take_in::INTAKES_A_ROW;
use crate::domain::access::{Scope, Token};
use crate::domain::effect::{Effect, Intake};
use crate::domain::friend::FriendRef;
use crate::domain::id::{AccountId, AccountSlug, UserId};
use crate::engine::{Event, Handle, LookUp};
use crate::lang::Lang;
use crate::protocol::{Command, Missed, Terms};
use crate::store::{ApiAnswer, NewInbox, StoreError};
use crate::text::no_such;

use item::Reader;
pub use item::{ATTRIBUTES_MAX, Kind, PROPERTIES_MAX, TAGS_MAX};
pub use problem::{Code, Problem};

/// Items of one request.
pub const ITEMS_MAX: usize = 1_000;
/// What all items of one request may say together: each tag, attribute, status and event is one.
pub const INTAKES_MAX: usize = 10_000;
/// The longest idempotency key, in bytes.
pub const KEY_MAX: usize = 200;
/// With so many rows waiting in an account's inbox nothing more is taken: it is a while behind.
pub const INBOX_ROWS_MAX: u64 = 20_000;
/// How long the owner may take to have applied what came before.
const PATIENCE: Duration = Duration::from_secs(5);

/// Somebody whose token is good for what they ask of an account.
pub struct Admitted {
    /// Whose token it is, for the log: its number and name.
    pub by: String,
    account: AccountId,
    slug: AccountSlug,
    /// The account's owner, where it is this process.
    owner: Option<Handle>,
}

/// What became of a request that says things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// 202, or 207 where some items of a batch were not taken.
    pub status: u16,
    /// The results, as JSON.
    pub body: String,
}

/// When a friend is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// It is.
    Now,
    /// It is durable that it will be, as soon as what came before is applied.
    Soon,
}

/// What one item says, or what is wrong with it.
pub type Said = Result<Vec<Intake>, Problem>;

/// What each item of a body says by these terms, before anybody is asked whom it means.
///
/// # Errors
/// Nothing of the body can be taken.
pub fn said(kind: Kind, body: &[u8], terms: &Terms, lang: Lang) -> Result<Vec<Said>, Problem> {
    Envelope::read(body, lang)?.said(kind, terms, lang)
}

/// The items of a body.
struct Envelope<'b> {
    items: Vec<&'b RawValue>,
    is_batch: bool,
}

impl Node {
    /// Whether this token may do this to this account. Without a good token nothing is told of accounts.
    ///
    /// # Errors
    /// 401, 403, 404, or 503 while the database is away.
    pub async fn admit(
        &self,
        token: Option<&str>,
        scope: Scope,
        account: &str,
        lang: Lang,
    ) -> Result<Admitted, Problem> {
        let unauthorized = || {
            let detail = lang.pick(
                "Authorization: Bearer に有効なトークンを付けてください（haishin token create）",
                "send a token that works as Authorization: Bearer (haishin token create)",
            );
            Problem::new(Code::Unauthorized, detail.to_owned())
        };
        let token = token.and_then(Token::parse).ok_or_else(unauthorized)?;
        let row = self.store.token(token.id).await.map_err(|error| away(&error, lang))?;
        let row = row.filter(|row| row.token.digest.is_of(&token.secret) && row.revoked.is_none());
        let row = row.ok_or_else(unauthorized)?;
        if !row.token.scopes.contains(scope) {
            let (missing, has) = (scope.as_str(), &row.token.scopes);
            let detail = lang.pick(
                format!("権限 {missing} がありません（このトークンの権限: {has}）"),
                format!("it lacks {missing} (it has: {has})"),
            );
            return Err(Problem::new(Code::InsufficientScope(scope), detail));
        }
        let accounts = self.store.accounts().await.map_err(|error| away(&error, lang))?;
        let found = accounts.iter().find(|row| row.slug.as_str() == account);
        let configured = &self.active().configuration.accounts;
        let found = found.filter(|row| configured.contains_key(&row.slug));
        if row.token.account.is_some() && row.token.account != found.map(|row| row.id) {
            let detail = lang.pick(
                "このトークンは別のアカウント用です",
                "the token is for another account than the address says",
            );
            return Err(Problem::new(Code::Forbidden, detail.to_owned()));
        }
        let found = found.ok_or_else(|| {
            let known = configured.keys().map(AccountSlug::as_str);
            let shown = crate::text::one_line(account, 64);
            Problem::new(Code::NotFound, no_such(lang, "アカウント", "account", &shown, known))
        })?;
        let owner = self.engines().remove(&found.slug);
        let by = format!("token {} {}", row.id, row.token.name).trim_end().to_owned();
        Ok(Admitted { by, account: found.id, slug: found.slug.clone(), owner })
    }

    /// Takes what a body says into the inbox: one item, or a batch with a result for each. Returns once it is durable.
    /// With a key the same request is taken once, however often it comes.
    ///
    /// # Errors
    /// Nothing was taken; for a single item, why it was not.
    pub async fn take(
        &self,
        kind: Kind,
        of: &Admitted,
        key: Option<&str>,
        body: &[u8],
        lang: Lang,
    ) -> Result<Taken, Problem> {
        let envelope = Envelope::read(body, lang)?;
        let request = digest(kind, body);
        let now = self.clock.now();
        if let Some(key) = key {
            let said = self.store.answered(of.account, key, now).await.map_err(|error| away(&error, lang))?;
            if let Some(said) = said {
                return again(said, &request, lang);
            }
        }
        let waiting = self.store.inbox_len(of.account).await.map_err(|error| away(&error, lang))?;
        if waiting >= INBOX_ROWS_MAX {
            return Err(Problem::busy(lang));
        }
        let terms = self.terms(&of.slug, lang).map_err(Problem::of)?;
        let items = envelope.said(kind, &terms, lang)?;
        let items = self.found(of, items, &envelope, lang).await?;
        if let (false, [Err(problem)]) = (envelope.is_batch, items.as_slice()) {
            return Err(problem.clone());
        }
        let taken = results(&items, lang);
        let rows = rows(items, |intakes| NewInbox {
            account: of.account,
            received_at: now,
            source: NewInbox::API.into(),
            intakes,
        });
        let appended = match key {
            None if rows.is_empty() => Ok(None),
            None => self.store.append_inbox(rows).await.map(|()| None),
            Some(key) => {
                let (status, body) = (taken.status, taken.body.clone());
                let (account, key) = (of.account, key.to_owned());
                let answer = ApiAnswer { account, key, request, at: now, status, body };
                self.store.append_once(rows, &answer).await
            }
        };
        let said = appended.map_err(|error| away(&error, lang))?;
        if let Some(owner) = &of.owner {
            owner.nudge();
        }
        said.map_or(Ok(taken), |said| again(said, &request, lang))
    }

    /// One friend's record, as of everything acknowledged before.
    ///
    /// # Errors
    /// There is no such friend, or more than one; or the owner does not answer.
    pub async fn friend(&self, of: &Admitted, id: &str, lang: Lang) -> Result<Json, Problem> {
        let owner = of.owner.as_ref().ok_or_else(|| Problem::unavailable(lang))?;
        meant(owner, Vec::new(), lang).await?;
        let (rows, _) = mpsc::channel(1);
        let command = Command::FriendShow { friend: id.to_owned() };
        let asked = ask_engine(owner, command, lang, "api".to_owned(), rows);
        let mut record = asked.await.map(|answer| answer.json).map_err(Problem::of)?;
        // The story is for people; systems know what they said themselves.
        if let Some(record) = record.as_object_mut() {
            record.remove("story");
        }
        Ok(record)
    }

    /// Has a friend forgotten, and waits a moment for it.
    ///
    /// # Errors
    /// There is no such friend, or more than one; or nothing could be stored.
    pub async fn forget(&self, of: &Admitted, id: &str, lang: Lang) -> Result<Forgotten, Problem> {
        let record = self.friend(of, id, lang).await?;
        let user = record.get("user").and_then(Json::as_str).and_then(|user| UserId::parse(user).ok());
        let user = user.ok_or_else(|| Problem::unavailable(lang))?;
        let now = self.clock.now();
        let intake = Intake { friend: FriendRef::User(user), at: now, effect: Effect::Erased, dedupe: None };
        let row = NewInbox {
            account: of.account,
            received_at: now,
            source: NewInbox::API.into(),
            intakes: vec![intake],
        };
        self.store.append_inbox(vec![row]).await.map_err(|error| away(&error, lang))?;
        tracing::info!(account = %of.slug, by = of.by, "a friend is forgotten");
        let Some(owner) = &of.owner else { return Ok(Forgotten::Soon) };
        owner.nudge();
        let applied = meant(owner, Vec::new(), lang).await.is_ok();
        Ok(if applied { Forgotten::Now } else { Forgotten::Soon })
    }

    /// Leaves out what names no one friend. A node that does not own the account cannot ask: what is wrong then is kept
    /// as a stray.
    async fn found(
        &self,
        of: &Admitted,
        items: Vec<Said>,
        envelope: &Envelope<'_>,
        lang: Lang,
    ) -> Result<Vec<Said>, Problem> {
        let named = |intake: &Intake| matches!(intake.friend, FriendRef::External(_));
        let Some(owner) = of.owner.as_ref().filter(|_| items.iter().flatten().flatten().any(named)) else {
            return Ok(items);
        };
        let lengths: Vec<Result<usize, Problem>> =
            items.iter().map(|item| item.as_ref().map(Vec::len).map_err(Clone::clone)).collect();
        let (intakes, missed) = meant(owner, items.into_iter().flatten().flatten().collect(), lang).await?;
        let (mut intakes, mut missed) = (intakes.into_iter(), missed.into_iter().peekable());
        let (mut end, mut found) = (0, Vec::new());
        for (n, length) in lengths.into_iter().enumerate() {
            let Ok(length) = length else {
                found.push(length.map(|_| Vec::new()));
                continue;
            };
            end += length;
            let said: Vec<Intake> = intakes.by_ref().take(length).collect();
            let mut miss = None;
            while let Some(next) = missed.next_if(|missed| missed.intake < end) {
                miss = Some(next.miss);
            }
            found.push(match (miss, said.first().map(|intake| &intake.friend)) {
                (Some(miss), Some(FriendRef::External(id))) => {
                    Err(Problem::nobody(&format!("{}/external_id", envelope.pointer(n)), id, miss, lang))
                }
                _ => Ok(said),
            });
        }
        Ok(found)
    }
}

impl<'b> Envelope<'b> {
    /// Reads the outside of a body: its items stay texts.
    fn read(body: &'b [u8], lang: Lang) -> Result<Self, Problem> {
        let malformed = |error: serde_json::Error| {
            let detail = lang.pick(
                format!("本文が JSON ではありません: {error}"),
                format!("the body is not JSON: {error}"),
            );
            Problem::new(Code::Malformed, detail)
        };
        let is_batch = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        let items: Vec<&RawValue> = match is_batch {
            true => serde_json::from_slice(body).map_err(malformed)?,
            false => vec![serde_json::from_slice(body).map_err(malformed)?],
        };
        if items.is_empty() || items.len() > ITEMS_MAX {
            let detail = lang.pick(
                format!("一度に送れるのは1〜{ITEMS_MAX}件です"),
                format!("send 1 to {ITEMS_MAX} items at a time"),
            );
            return Err(Problem::at("", Code::Invalid, detail));
        }
        Ok(Self { items, is_batch })
    }

    /// What each item says, or what is wrong with it.
    fn said(&self, kind: Kind, terms: &Terms, lang: Lang) -> Result<Vec<Said>, Problem> {
        let mut reader = Reader::new(terms, lang);
        let (mut items, mut said) = (Vec::new(), 0);
        for (n, item) in self.items.iter().enumerate() {
            // One at a time, so that only one is ever spread out in memory.
            let read = serde_json::from_str(item.get()).map_err(|_| too_deep(&self.pointer(n), lang));
            let read = read.and_then(|json: Json| reader.read(kind, json, self.pointer(n)));
            said += read.as_ref().map_or(0, Vec::len);
            if said > INTAKES_MAX {
                let detail = lang.pick(
                    format!("1回のリクエストに書けるのは合計{INTAKES_MAX}件までです。分けて送ってください"),
                    format!("a request may say {INTAKES_MAX} things at the most; send it in parts"),
                );
                return Err(Problem::new(Code::TooLarge, detail));
            }
            items.push(read);
        }
        Ok(items)
    }

    /// Where an item is in the body.
    fn pointer(&self, n: usize) -> String {
        if self.is_batch { format!("/{n}") } else { String::new() }
    }
}

fn too_deep(pointer: &str, lang: Lang) -> Problem {
    let detail = lang
        .pick("入れ子が深すぎるか、数値が大きすぎます", "it is nested too deeply, or a number is too large");
    Problem::at(pointer, Code::Invalid, detail.to_owned())
}

/// What makes two requests the same: address and body, byte by byte.
fn digest(kind: Kind, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(kind.as_str());
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

/// What was answered before, if it was to the same request.
fn again(said: ApiAnswer, request: &[u8; 32], lang: Lang) -> Result<Taken, Problem> {
    if said.request == *request {
        return Ok(Taken { status: said.status, body: said.body });
    }
    let detail = lang.pick(
        "この Idempotency-Key は24時間以内に別の内容で使われています。新しいキーを付けてください",
        "this Idempotency-Key was used for another request within the last 24 hours; send a new one",
    );
    Err(Problem::new(Code::KeyReused, detail.to_owned()))
}

/// A result for each item.
fn results(items: &[Said], lang: Lang) -> Taken {
    let result = |(index, item): (usize, &Said)| match item {
        Ok(_) => json!({ "index": index, "ok": true }),
        Err(problem) => json!({ "index": index, "ok": false, "problem": problem.json(lang) }),
    };
    let results: Vec<Json> = items.iter().enumerate().map(result).collect();
    let accepted = items.iter().filter(|item| item.is_ok()).count();
    let rejected = items.len() - accepted;
    let status = if rejected == 0 { 202 } else { 207 };
    let body = json!({ "accepted": accepted, "rejected": rejected, "results": results });
    Taken { status, body: body.to_string() }
}

/// Rows are applied whole, so an item is never divided between two.
fn rows(items: Vec<Said>, row: impl Fn(Vec<Intake>) -> NewInbox) -> Vec<NewInbox> {
    let (mut rows, mut next) = (Vec::new(), Vec::new());
    for said in items.into_iter().flatten() {
        if next.len() + said.len() > INTAKES_A_ROW && !next.is_empty() {
            rows.push(row(std::mem::take(&mut next)));
        }
        next.extend(said);
    }
    if !next.is_empty() {
        rows.push(row(next));
    }
    rows
}

/// Asks the owner which of these name no one friend, once it has applied everything acknowledged before.
async fn meant(
    owner: &Handle,
    intakes: Vec<Intake>,
    lang: Lang,
) -> Result<(Vec<Intake>, Vec<Missed>), Problem> {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        if !owner.send(Event::LookUp(LookUp { intakes, answer })).await {
            return Err(Problem::unavailable(lang));
        }
        // An owner that reloads drops what it was asked.
        answered.await.map_err(|_| Problem::unavailable(lang))
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(Problem::busy(lang)))
}

/// The log has the causes; what comes from outside names none of them.
fn away(error: &StoreError, lang: Lang) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "the API cannot use the database");
    Problem::unavailable(lang)
}
