//! What a store does, each behaviour on both databases and in memory.

mod access;
mod checkpoint;
mod commit;
mod configuration;
mod drips;
mod equal;
mod fence;
mod forgetting;
mod inbox;
mod isolation;
mod lost;
mod memory;
mod migration;
mod outbox;
mod prune;
mod relay;
mod rows;
mod samples;
mod schema;

use haishin::domain::effect::{Effect, Entry};
use haishin::domain::id::{AccountId, AccountSlug, FriendId, Seq, TagName};
use haishin::domain::sends::Sent;
use haishin::domain::time::{Instant, Span};
use haishin::store::{CheckpointChunk, Claim, Fence, OccurrenceFilter, SentFilter, Store};
use tokio::sync::mpsc;

/// A day nobody's clock shows any more.
const T0: Instant = Instant::from_millis(1_796_374_800_000);
const TEN: Span = Span::from_secs(10);

async fn new_account(store: &dyn Store, slug: &str) -> AccountId {
    let channel = format!("channel-{slug}");
    store.ensure_account(&AccountSlug::parse(slug).unwrap(), &channel, T0).await.unwrap()
}

/// The fence of a holder that may claim.
async fn granted(store: &dyn Store, account: AccountId, holder: &str, now: Instant) -> Fence {
    match store.claim(account, holder, now, TEN).await.unwrap() {
        Claim::Granted { fence, .. } => fence,
        held => panic!("not granted: {held:?}"),
    }
}

/// An entry by its number: friend and tag follow from it.
fn tagged(seq: i64) -> Entry {
    let tag = TagName::parse(&format!("タグ{seq}")).unwrap();
    let friend = FriendId(u32::try_from(seq).unwrap());
    Entry { seq: Seq(seq), friend, at: T0, effect: Effect::TagAdded { tag } }
}

/// The complete checkpoint: as of which entry, and its chunks.
async fn chunks(store: &dyn Store, account: AccountId) -> Option<(Seq, Vec<CheckpointChunk>)> {
    let checkpoint = store.checkpoint(account).await.unwrap()?;
    Some((checkpoint.seq, store.checkpoint_chunks(account, &checkpoint.chunks).await.unwrap()))
}

/// Past sends in the order they come.
pub async fn sent(store: &dyn Store, account: AccountId, filter: SentFilter) -> Vec<Sent> {
    let (pages, mut incoming) = mpsc::channel(1);
    let mut all = Vec::new();
    let taking = async {
        while let Some(page) = incoming.recv().await {
            all.extend(page);
        }
    };
    let (read, ()) = tokio::join!(store.sent(account, filter, pages), taking);
    read.unwrap();
    all
}

/// Everything the store tells of an account, to be compared.
async fn dump(store: &dyn Store, account: AccountId) -> String {
    let mut text = format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n",
        store.account(account).await.unwrap(),
        store.lease(account).await.unwrap(),
        store.inbox(account, 1000).await.unwrap(),
        store.strays(account, 1000).await.unwrap(),
        store.friends(account, None, 1000).await.unwrap(),
        store.entries(account, Seq(0), 1000).await.unwrap(),
        chunks(store, account).await,
        store.campaigns(account).await.unwrap(),
        store.quota(account).await.unwrap(),
        store.acts(account, 1000).await.unwrap(),
    );
    let all = OccurrenceFilter::Newest { campaign: None, limit: 1000 };
    for row in store.occurrences(account, all).await.unwrap() {
        text += &format!("{row:#?}\n{:#?}\n", store.variants(account, row.id).await.unwrap());
        text += &format!("{:#?}\n", store.exclusions(account, row.id).await.unwrap());
        text += &format!("{:#?}\n", store.deliveries(account, row.id).await.unwrap());
        text += &format!("{:#?}\n", store.received(account, &row.campaign).await.unwrap());
        text += &format!("{:#?}\n", store.strides(account, row.id).await.unwrap());
        text += &format!("{:#?}\n", store.batches(account, row.id).await.unwrap());
    }
    text + &drips::dump(store, account).await
        + &outbox::dump(store, account).await
        + &forgetting::dump(store, account).await
}
