//! Strategies for what drips, deferrals, timed tags and the outbox keep. Keys come from few values, so that rows
//! meet: those written twice, those dropped.

use haishin::domain::drip::{Ending, Enrollment, RichMenuId, Standing};
use haishin::domain::id::{CampaignSlug, FriendId, OccurrenceId, StepName, TagName, UserId, VersionId};
use haishin::domain::outbox::{Failure, Lane, Request};
use haishin::domain::reason::Said;
use haishin::domain::time::Instant;
use haishin::store::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{bitmap, instant, name, parsed, slug, text};

/// Drips in the order of their code points, which no linguistic order keeps.
pub const DRIPS: [&str; 9] = ["-", "A", "Z-1", "_", "a", "a-b", "ab", "あ", "体験"];
pub const FRIENDS: [u32; 5] = [0, 1, 2, 40_000, u32::MAX];
/// One of which no database may take for another.
const SYSTEMS: [&str; 3] = ["crm", "Crm", "在庫"];
const TAGS: [&str; 5] = ["Z", "a", "ア", "体験", "🎂"];

fn drip() -> impl Strategy<Value = CampaignSlug> {
    select(&DRIPS[..]).prop_map(|slug| slug.parse().unwrap())
}

fn friend() -> impl Strategy<Value = FriendId> {
    select(&FRIENDS[..]).prop_map(FriendId)
}

pub fn few_instants() -> impl Strategy<Value = Instant> {
    select(vec![
        Instant::MIN,
        Instant::from_millis(-1),
        Instant::from_millis(0),
        super::super::T0,
        Instant::MAX,
    ])
}

fn standing() -> impl Strategy<Value = Standing> {
    use Ending::*;
    let how = select(vec![Finished, Stopped, Reached, Cancelled, Erased]);
    let step = || parsed::<StepName>(slug());
    prop_oneof![
        proptest::option::of((how.clone(), instant())).prop_map(|ends| Standing::Starting { ends }),
        (step(), instant()).prop_map(|(step, at)| Standing::Due { step, at }),
        (step(), any::<i64>().prop_map(OccurrenceId))
            .prop_map(|(step, occurrence)| Standing::Waiting { step, occurrence }),
        (how, instant()).prop_map(|(how, at)| Standing::Ended { how, at }),
    ]
}

pub type EnrollmentKey = (CampaignSlug, FriendId, Instant);

pub fn enrollment_keys() -> impl Strategy<Value = Vec<EnrollmentKey>> {
    vec((drip(), friend(), few_instants()), 0..20)
}

pub fn enrollments() -> impl Strategy<Value = Vec<Enrollment>> {
    let key = (drip(), friend(), few_instants());
    let done = vec(parsed::<StepName>(slug()), 0..4);
    let way = (1_i64..1_000, instant(), instant(), done, standing());
    vec((key, way), 0..60).prop_map(|ways| {
        ways.into_iter()
            .map(|((drip, friend, started_at), (version, counts_from, not_before, done, standing))| {
                Enrollment {
                    drip,
                    friend,
                    started_at,
                    version: VersionId(version),
                    counts_from,
                    not_before,
                    done,
                    standing,
                }
            })
            .collect()
    })
}

pub fn deferrals() -> impl Strategy<Value = Vec<DeferralRow>> {
    let sets = (option::of(bitmap()), bitmap(), bitmap(), bitmap());
    let step = option::of(parsed::<StepName>(slug()));
    let row = (1_i64..5, parsed::<CampaignSlug>(slug()), step, instant(), instant(), any::<u32>(), sets);
    vec(row, 0..6).prop_map(|rows| {
        rows.into_iter()
            .map(|(occurrence, campaign, step, until, looked_at, children, sets)| DeferralRow {
                occurrence: OccurrenceId(occurrence),
                campaign,
                step,
                version: VersionId(i64::from(children) + 1),
                until,
                looked_at,
                children,
                waiting: sets.0.unwrap_or_default(),
                left: sets.1,
                lapsed: sets.2,
                replaced: sets.3,
            })
            .collect()
    })
}

fn tag() -> impl Strategy<Value = TagName> {
    prop_oneof![select(&TAGS[..]).prop_map(|tag| tag.parse().unwrap()), parsed::<TagName>(name())]
}

pub fn tag_keys() -> impl Strategy<Value = Vec<(FriendId, TagName)>> {
    vec((friend(), tag()), 0..12)
}

pub fn tag_expiries() -> impl Strategy<Value = Vec<TagExpiry>> {
    vec((friend(), tag(), instant(), few_instants()), 0..20).prop_map(|rows| {
        rows.into_iter().map(|(friend, tag, given_at, at)| TagExpiry { friend, tag, given_at, at }).collect()
    })
}

/// Text inside JSON keeps every character, U+0000 too.
fn payload() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        text().prop_map(serde_json::Value::from),
        Just("nul \0 inside".into()),
        any::<i64>().prop_map(serde_json::Value::from),
        proptest::num::f64::NORMAL.prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            vec((text(), inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

pub fn lanes() -> impl Iterator<Item = Lane> {
    let systems = SYSTEMS.map(|name| Lane::System(name.parse().unwrap()));
    [Lane::RichMenus].into_iter().chain(systems)
}

fn request() -> impl Strategy<Value = Request> {
    let menu = option::of(Just(RichMenuId::parse("richmenu-8a1b").unwrap()));
    let users = vec(any::<[u8; 16]>().prop_map(UserId), 1..4);
    let menus = (menu, users).prop_map(|(menu, users)| Request::RichMenu { menu, users });
    let told = |(system, told): (&str, _)| Request::Webhook {
        system: system.parse().unwrap(),
        body: [("told".to_owned(), told)].into_iter().collect(),
    };
    prop_oneof![menus, (select(&SYSTEMS[..]), payload()).prop_map(told)]
}

fn failure() -> impl Strategy<Value = Failure> {
    let answered =
        (any::<u16>(), text()).prop_map(|(status, message)| Failure::Answered(Said { status, message }));
    prop_oneof![answered, Just(Failure::Timeout), Just(Failure::NotConfigured)]
}

pub fn outbox() -> impl Strategy<Value = Vec<OutboxRow>> {
    let given_up = (instant(), failure()).prop_map(|(at, why)| GivenUp { at, why });
    let id = prop_oneof![1_i64..8, Just(i64::MAX)];
    let row = (id, request(), instant(), few_instants(), any::<u32>(), option::of(given_up));
    vec(row, 0..12).prop_map(|rows| {
        rows.into_iter()
            .map(|(id, request, created_at, not_before, attempts, given_up)| OutboxRow {
                id,
                request,
                created_at,
                not_before,
                attempts,
                given_up,
            })
            .collect()
    })
}
