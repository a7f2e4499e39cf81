//! Every limit of sending reached once, and what people do about it.

mod changed;
mod clock;
mod erased;
mod guards;
mod lost;
mod outage;
mod pace;
mod people;
mod quiet;
mod stage;
mod went_back;

use haishin::domain::campaign::Pace;
use haishin::domain::delivery::OccurrenceState;
use haishin::domain::id::{
    CampaignSlug, CategoryName, FriendId, OccurrenceId, UserId, VariantName, VersionId,
};
use haishin::domain::key::Run as RunKind;
use haishin::domain::message::ContentDigest;
use haishin::domain::time::Instant;
use haishin::store::{OccurrenceRow, Part, VariantRow};
use serde_json::{Value, json};

use crate::support::world::World;

const BEFORE: &str = "2026-12-04T17:59:59+09:00";
const PLAIN: &str = "quiet_hours = \"off\"\nrate = 20\n";
/// Five friends every ten seconds.
const SLOWLY: &str = "pace = \"5/10s\"";

/// A one-shot to everybody at six.
fn campaign(more: &str) -> String {
    format!(
        "{more}\ntitle = \"gift\"\naudience = {{ status = \"following\" }}\nreach = \"everyone\"\n\
         schedule = {{ at = \"2026-12-04 18:00\" }}\nmessage = [{{ type = \"text\", text = \"a gift\" }}]\n"
    )
}

async fn gift(more: &str, friends: u8) -> World {
    World::new(BEFORE, PLAIN, &[("gift", &campaign(more))], friends).await
}

/// The outcomes of some counts that are not zero.
fn outcomes(counts: &Value) -> Value {
    let names = ["accepted", "rejected", "unknown", "cancelled", "expired", "erased", "not_yet_sent"];
    let some = names.into_iter().filter(|name| counts[name] != 0);
    some.map(|name| (name.to_owned(), counts[name].clone())).collect::<serde_json::Map<_, _>>().into()
}

async fn books(world: &World, occurrence: i64) -> Value {
    outcomes(&world.counts(occurrence).await)
}

/// Why the campaign is paused, by its code.
async fn paused_for(world: &World) -> Value {
    let list = world.done(haishin::protocol::Command::CampaignList).await;
    list["campaigns"][0]["paused"]["why"].clone()
}

fn rejected(friends: u64, open: u64) -> Value {
    json!({ "rejected": friends, "not_yet_sent": open })
}

const START: Instant = Instant::from_millis(1_796_000_000_000);

fn user_of(friend: FriendId) -> Option<UserId> {
    Some(UserId(u128::from(friend.0).to_be_bytes()))
}

/// An occurrence as a freeze leaves it, at [`START`].
fn frozen(pace: Option<Pace>, recipients: u64) -> OccurrenceRow {
    OccurrenceRow {
        id: OccurrenceId(1),
        campaign: CampaignSlug::parse("gift").unwrap(),
        step: None,
        due_at: START,
        run: RunKind::Scheduled(0),
        parent: None,
        child: 0,
        version: VersionId(1),
        state: OccurrenceState::Sending,
        reason: None,
        detail: Value::Null,
        category: CategoryName::parse("promotion").unwrap(),
        capped: true,
        immediate: false,
        frozen_at: START,
        deadline_at: None,
        pace,
        notify: true,
        matched: recipients,
        recipients,
        parts: vec![Part { from_batch: 0, effective_at: START }],
        finished_at: None,
    }
}

fn arm(position: u32, friends: std::ops::Range<u32>) -> VariantRow {
    VariantRow {
        position,
        name: VariantName::parse(&format!("v{position}")).unwrap(),
        messages: "[]".into(),
        content: ContentDigest([0; 32]),
        unit: None,
        recipients: friends.collect(),
    }
}
