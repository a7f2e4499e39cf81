//! Strategies for everything the store keeps.

pub mod drip;

use std::collections::BTreeMap;

use chrono::NaiveDate;
use haishin::domain::attribute::Value;
use haishin::domain::campaign::Pace;
use haishin::domain::delivery::{Exclusion, OccurrenceState, Outcome};
use haishin::domain::effect::{DedupeId, DedupeKind, Effect, Entry, Intake};
use haishin::domain::friend::{Friend, FriendRef, Miss, Status};
use haishin::domain::id::{
    AttributeName, CampaignSlug, CategoryName, EventName, FriendId, OccurrenceId, PropertyName, Seq,
    StepName, TagName, UserId, VariantName, VersionId,
};
use haishin::domain::key::Run;
use haishin::domain::message::ContentDigest;
use haishin::domain::plan::{Budget, Refusal};
use haishin::domain::reason::{Reason, Said};
use haishin::domain::schedule::{LocalTime, Planned};
use haishin::domain::time::{Instant, Span};
use haishin::store::*;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use roaring::RoaringBitmap;

/// Texts as people and LINE write them: Japanese, emoji, quotes, JSON, control characters; never U+0000, which a
/// plain column cannot keep.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,8}",
        "[ぁ-ん一-龠🎂🎁\"'\\\\{}\\[\\],:%$?\u{1}-\u{1f}\u{7f}\u{2028}\u{ffff}\u{10ffff}]{0,12}",
        Just("007".to_owned()),
        Just("null".to_owned()),
        Just(String::new()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", "[ぁ-ん一-龠🎂\"'\\\\{}\\[\\],:.$% ]{1,12}", Just("体験".to_owned())]
}

fn slug() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9_-]{1,12}", "[ぁ-ん一-龠]{1,5}"]
}

pub fn instant() -> impl Strategy<Value = Instant> {
    prop_oneof![
        (0_i64..4_000_000_000_000).prop_map(Instant::from_millis),
        Just(Instant::MIN),
        Just(Instant::MAX),
        Just(Instant::from_millis(-1)),
    ]
}

fn span() -> impl Strategy<Value = Span> {
    (0_i64..1_000_000_000_000).prop_map(Span::from_millis)
}

/// Text inside JSON keeps every character, U+0000 too.
pub fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|text| Value::Text(text.into())),
        Just(Value::Text("nul \0 inside".into())),
        any::<i64>().prop_map(Value::Integer),
        proptest::num::f64::NORMAL.prop_map(Value::Number),
        proptest::num::f64::SUBNORMAL.prop_map(Value::Number),
        (-1000_i32..1000).prop_map(|whole| Value::Number(whole.into())),
        Just(Value::Number(-0.0)),
        any::<bool>().prop_map(Value::Boolean),
        (1_i32..3_000, 1_u32..366)
            .prop_map(|(year, day)| { Value::Date(NaiveDate::from_yo_opt(year, day).unwrap()) }),
        instant().prop_map(Value::Instant),
    ]
}

pub fn user() -> impl Strategy<Value = UserId> {
    any::<[u8; 16]>().prop_map(UserId)
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![Just(Status::Following), Just(Status::Blocked)]
}

fn parsed<T>(text: impl Strategy<Value = String>) -> impl Strategy<Value = T>
where
    T: TryFrom<String> + std::fmt::Debug,
    T::Error: std::fmt::Debug,
{
    text.prop_map(|text| T::try_from(text).unwrap())
}

pub fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        user().prop_map(|user| Effect::Joined { user }),
        (status(), option::of(instant()))
            .prop_map(|(status, followed_at)| Effect::Status { status, followed_at }),
        option::of(text()).prop_map(|external_id| Effect::ExternalId { external_id }),
        parsed::<TagName>(name()).prop_map(|tag| Effect::TagAdded { tag }),
        parsed::<TagName>(name()).prop_map(|tag| Effect::TagRemoved { tag }),
        (parsed::<AttributeName>(name()), option::of(value()))
            .prop_map(|(name, value)| Effect::Attribute { name, value }),
        (
            parsed::<EventName>(name()),
            option::of(text()),
            btree_map(parsed::<PropertyName>(name()), value(), 0..4)
        )
            .prop_map(|(name, event_id, properties)| Effect::Event { name, event_id, properties }),
        Just(Effect::Quarantined),
        Just(Effect::Erased),
    ]
}

/// Entries numbered from 1 on.
pub fn entries() -> impl Strategy<Value = Vec<Entry>> {
    vec((any::<u32>(), instant(), effect()), 1..20).prop_map(|entries| {
        let numbered = entries.into_iter().zip(1..);
        numbered
            .map(|((friend, at, effect), seq)| Entry { seq: Seq(seq), friend: FriendId(friend), at, effect })
            .collect()
    })
}

pub fn intakes() -> impl Strategy<Value = Vec<Intake>> {
    let kind = prop_oneof![Just(DedupeKind::Event), Just(DedupeKind::Webhook)];
    let dedupe = (kind, any::<[u8; 16]>()).prop_map(|(kind, digest)| DedupeId { kind, digest });
    let dedupe = option::of(dedupe);
    vec((friend_ref(), instant(), effect(), dedupe), 0..5).prop_map(|intakes| {
        let intake = |(friend, at, effect, dedupe)| Intake { friend, at, effect, dedupe };
        intakes.into_iter().map(intake).collect()
    })
}

pub fn friend_ref() -> impl Strategy<Value = FriendRef> {
    prop_oneof![user().prop_map(FriendRef::User), text().prop_map(FriendRef::External)]
}

pub fn strays() -> impl Strategy<Value = Vec<NewStray>> {
    let reason = prop_oneof![Just(Miss::Unknown), (2..9_u64).prop_map(|friends| Miss::Shared { friends })];
    let intake = intakes().prop_filter_map("one", |intakes| intakes.into_iter().next());
    let stray = (instant(), text(), reason, intake).prop_map(|(received_at, source, reason, intake)| {
        NewStray { received_at, source: source.replace('\0', "␀"), reason, intake }
    });
    vec(stray, 0..5)
}

/// Friends with distinct ids and user ids, in order.
pub fn friends() -> impl Strategy<Value = Vec<Friend>> {
    let friend = (
        (status(), instant(), option::of(instant()), option::of(text())),
        btree_map(parsed::<TagName>(name()), instant(), 0..4),
        btree_map(parsed::<AttributeName>(name()), value(), 0..4),
        option::of(instant()),
        option::of(instant()),
    );
    (btree_map(any::<u32>(), friend, 1..12), vec(any::<bool>(), 12)).prop_map(|(friends, erased)| {
        let numbered = friends.into_iter().zip(erased);
        numbered
            .map(|((id, (said, tags, attributes, erased_at, quarantined_at)), erased)| Friend {
                friend: FriendId(id),
                user: (!erased).then(|| UserId(u128::from(id).to_be_bytes())),
                status: said.0,
                status_at: said.1,
                followed_at: said.2,
                external_id: said.3,
                tags,
                attributes,
                erased_at,
                quarantined_at,
            })
            .collect()
    })
}

pub fn bitmap() -> impl Strategy<Value = RoaringBitmap> {
    prop_oneof![
        btree_set(any::<u32>(), 0..50).prop_map(RoaringBitmap::from_iter),
        (0_u32..200_000, 0_u32..200_000).prop_map(|(from, len)| {
            let mut set = RoaringBitmap::new();
            set.insert_range(from..from + len);
            set
        }),
    ]
}

/// Every kind of reason with whatever texts; JSON keeps U+0000 too.
pub fn reason() -> impl Strategy<Value = Reason> {
    let said = (any::<u16>(), text()).prop_map(|(status, message)| Said { status, message });
    let texts = prop_oneof![text(), Just("nul \0 inside".to_owned())];
    (0..21, said, texts, any::<u32>(), any::<[u64; 4]>(), instant()).prop_map(
        |(which, said, text, few, many, at)| match which {
            0 => Reason::DatabaseWentBack,
            1 => Reason::TokenRefused,
            2 => Reason::AccountForbidden,
            3 => Reason::PausedByPerson,
            4 => Reason::BatchRefused(said),
            5 => Reason::RejectedInARow { batches: few, said },
            6 => Reason::ManyQuarantined { friends: few },
            7 => Reason::MonthlyLimit { limit: many[0] },
            8 => Reason::CancelledByPerson { by: text },
            9 => Reason::SkippedByPerson { by: text },
            10 => Reason::NotCaughtUp,
            11 => Reason::LineRefused(said),
            12 => Reason::RecipientRefused(said),
            13 => Reason::RefusedAfterDoubt(said),
            14 => Reason::KeyExpired,
            15 => Reason::BodyChanged,
            16 => Reason::Expired { deadline: at },
            17 => Reason::ResolvedByPerson { by: text },
            18 => Refusal::MaxRecipients { recipients: many[0], max: many[1] }.into(),
            19 => {
                let [recipients, available, limit, kept] = many;
                Refusal::Quota(Budget { recipients, available, limit, kept }).into()
            }
            _ => Reason::Words { words: text },
        },
    )
}

pub fn halt() -> impl Strategy<Value = Halt> {
    (instant(), text(), reason()).prop_map(|(at, by, reason)| Halt { at, by, reason })
}

fn planned() -> impl Strategy<Value = Planned> {
    let zone = prop_oneof![Just("Asia/Tokyo"), Just("America/Argentina/ComodRivadavia"), Just("Etc/GMT+5")];
    (instant(), option::of(zone)).prop_map(|(at, zone)| {
        let zone = zone.map(|zone| zone.parse().unwrap());
        let local = zone.map(|zone| LocalTime { clock: at.in_zone(zone).naive_local(), zone });
        Planned { at, local }
    })
}

pub fn campaign() -> impl Strategy<Value = CampaignRow> {
    (
        parsed::<CampaignSlug>(slug()),
        option::of(parsed::<StepName>(slug())),
        any::<[u8; 32]>(),
        instant(),
        option::of(planned()),
        option::of(halt()),
    )
        .prop_map(|(campaign, step, schedule_digest, activated_at, last_planned, paused)| CampaignRow {
            campaign,
            step,
            schedule_digest,
            activated_at,
            last_planned,
            paused,
        })
}

fn run() -> impl Strategy<Value = Run> {
    prop_oneof![any::<u32>().prop_map(Run::Scheduled), instant().prop_map(Run::Test)]
}

fn state() -> impl Strategy<Value = OccurrenceState> {
    use OccurrenceState::*;
    proptest::sample::select(vec![Refused, Missed, Sending, Paused, Held, Finished, Cancelled])
}

fn detail() -> impl Strategy<Value = serde_json::Value> {
    btree_map(text(), text(), 0..4).prop_map(|map: BTreeMap<String, String>| serde_json::json!(map))
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    btree_map(instant(), any::<u32>(), 0..4).prop_map(|parts| {
        parts.into_iter().map(|(effective_at, from_batch)| Part { from_batch, effective_at }).collect()
    })
}

pub fn occurrence_row() -> impl Strategy<Value = OccurrenceRow> {
    let step = option::of(parsed::<StepName>(slug()));
    let identity = (1_i64..1_000_000, parsed::<CampaignSlug>(slug()), step, instant(), run());
    let family = (option::of(1_i64..1_000_000), any::<u32>(), 1_i64..1_000);
    let decision =
        (state(), option::of(reason()), detail(), parsed::<CategoryName>(slug()), any::<[bool; 3]>());
    let pace = option::of((any::<u32>(), span()).prop_map(|(friends, per)| Pace { friends, per }));
    let times = (instant(), option::of(instant()), option::of(instant()), pace, parts());
    let counts = (0_u64..1 << 40, 0_u64..1 << 40);
    (identity, family, decision, times, counts).prop_map(|(identity, family, decision, times, counts)| {
        let (frozen_at, deadline_at, finished_at, pace, parts) = times;
        OccurrenceRow {
            id: OccurrenceId(identity.0),
            campaign: identity.1,
            step: identity.2,
            due_at: identity.3,
            run: identity.4,
            parent: family.0.map(OccurrenceId),
            child: family.1,
            version: VersionId(family.2),
            state: decision.0,
            reason: decision.1,
            detail: decision.2,
            category: decision.3,
            capped: decision.4[0],
            immediate: decision.4[1],
            notify: decision.4[2],
            frozen_at,
            deadline_at,
            pace,
            matched: counts.0,
            recipients: counts.1,
            parts,
            finished_at,
        }
    })
}

fn variants() -> impl Strategy<Value = Vec<VariantRow>> {
    let variant = (parsed::<VariantName>(slug()), text(), any::<[u8; 32]>(), option::of(text()), bitmap());
    vec(variant, 0..3).prop_map(|variants| {
        let numbered = variants.into_iter().zip(0..);
        numbered
            .map(|((name, messages, content, unit, recipients), position)| VariantRow {
                position,
                name,
                messages,
                content: ContentDigest(content),
                unit,
                recipients,
            })
            .collect()
    })
}

fn exclusion() -> impl Strategy<Value = Exclusion> {
    use Exclusion::*;
    let plain = vec![
        NotFollowing,
        Erased,
        Quarantined,
        OptedOut,
        Missed,
        SameContent,
        Once,
        ValueMissing,
        PoolEmpty,
        NotSampled,
        Holdout,
    ];
    prop_oneof![proptest::sample::select(plain), text().prop_map(|cap| Capped { cap }),]
}

/// Exclusions in their order.
pub fn sets() -> impl Strategy<Value = Vec<ExcludedSet>> {
    let set = |(exclusion, friends)| ExcludedSet { exclusion, friends };
    btree_map(exclusion(), bitmap(), 0..5).prop_map(move |sets| sets.into_iter().map(set).collect())
}

/// Deliveries of some of these arms, in their order.
pub fn deliveries(arms: u32) -> impl Strategy<Value = Vec<DeliverySet>> {
    let outcome = proptest::sample::select(Outcome::ALL.to_vec());
    let set = |((position, effective_at, outcome), friends)| DeliverySet {
        position,
        effective_at,
        outcome,
        friends,
    };
    let places = btree_map((0..arms, instant(), outcome), bitmap(), 0..6);
    places.prop_map(move |sets| sets.into_iter().map(set).collect())
}

pub fn occurrence() -> impl Strategy<Value = NewOccurrence> {
    (occurrence_row(), variants(), sets()).prop_map(|(row, variants, sets)| NewOccurrence {
        row,
        variants,
        sets,
    })
}

pub fn stride(occurrence: OccurrenceId) -> impl Strategy<Value = StrideRow> {
    (any::<u16>(), instant(), text(), span(), vec(any::<[u8; 32]>(), 1..12)).prop_map(
        move |(first, opened_at, boot_id, since_boot, digests)| StrideRow {
            occurrence,
            first: first.into(),
            upto: u32::from(first) + u32::try_from(digests.len()).unwrap(),
            opened_at,
            boot_id,
            since_boot,
            digests,
        },
    )
}

fn ended() -> impl Strategy<Value = BatchEnd> {
    let how = prop_oneof![
        proptest::sample::select(Outcome::ALL.to_vec()).prop_map(BatchEnding::Outcome),
        Just(BatchEnding::Superseded),
    ];
    (how, instant(), any::<u32>(), option::of(text()), option::of(text()), option::of(reason())).prop_map(
        |(how, at, attempts, request_id, accepted_request_id, detail)| BatchEnd {
            how,
            at,
            attempts,
            request_id,
            accepted_request_id,
            detail,
        },
    )
}

/// Batches of distinct (n, generation), in order.
pub fn batches(occurrence: OccurrenceId) -> impl Strategy<Value = Vec<BatchRow>> {
    let opened =
        (instant(), text(), span()).prop_map(|(at, boot_id, since_boot)| Opened { at, boot_id, since_boot });
    let batch = (
        option::of(any::<u32>()),
        option::of(bitmap()),
        any::<u32>(),
        option::of(opened),
        any::<[u8; 32]>(),
        option::of(ended()),
    );
    btree_map((any::<u32>(), 0_u32..3), batch, 0..6).prop_map(move |batches| {
        batches
            .into_iter()
            .map(|((n, generation), (parent, friends, friend_count, opened, body_sha256, ended))| BatchRow {
                occurrence,
                n,
                generation,
                parent,
                friends,
                friend_count,
                opened,
                body_sha256,
                ended,
            })
            .collect()
    })
}

/// A configuration of small files.
pub fn files() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[a-zぁ-ん/]{1,20}\\.toml", text(), 0..4)
}

/// A number of runs small enough for a database behind each.
pub fn few() -> ProptestConfig {
    ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() }
}
