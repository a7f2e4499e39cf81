//! To whom: the planner's gates, guards, draws and batches.

mod batches;
mod caps_hold;
mod draws;
mod guards;
mod oracle;

use haishin::domain::campaign::{Dispatch, Variant, VariantShare, WhenCapped};
use haishin::domain::id::{AccountSlug, CampaignSlug, CategoryName, FriendId, UserId, VariantName};
use haishin::domain::message::{ContentDigest, MessageSet};
use haishin::domain::policy::{BlanketGuard, Category, Policy, QuietHours, QuotaPolicy, Share};
use haishin::domain::time::{Instant, Tz};

const NOW: Instant = Instant::from_millis(1_796_374_800_000); // 2026-12-04T18:00+09:00, a Friday

fn variant(name: &str, share: VariantShare, content: u8) -> Variant {
    let messages = MessageSet { json: "[]".into(), content: ContentDigest([content; 32]) };
    Variant { name: VariantName::parse(name).unwrap(), share, messages }
}

/// A campaign with one arm, due now, that nothing but the policy holds back.
fn campaign(slug: &str) -> Dispatch {
    Dispatch {
        slug: CampaignSlug::parse(slug).unwrap(),
        title: slug.into(),
        account: AccountSlug::parse("koharu").unwrap(),
        step: None,
        category: category("promotion"),
        priority: 50,
        deadline: None,
        max_recipients: None,
        holdout: Share::NONE,
        once: None,
        repeat_after: None,
        reach_everyone: true,
        immediate: false,
        variants: vec![variant("main", VariantShare::Equal, 0)],
        pace: None,
        notify: true,
        sample: None,
        when_capped: WhenCapped::Skip,
        opt_out: None,
    }
}

fn category(name: &str) -> CategoryName {
    CategoryName::parse(name).unwrap()
}

/// No caps, no quiet hours, nothing kept: each test adds what it is about.
fn policy() -> Policy {
    let category_of = |capped: bool| Category {
        title: String::new(),
        capped,
        may_be_immediate: !capped,
        uses_reserve: !capped,
        opt_out: None,
    };
    Policy {
        zone: Tz::Asia__Tokyo,
        categories: [("promotion", true), ("news", true), ("service", false)]
            .map(|(name, capped)| (category(name), category_of(capped)))
            .into(),
        caps: Vec::new(),
        quiet_hours: None,
        blanket: BlanketGuard { share: Share::parse("50%"), warn_below: 200 },
        same_content: None,
        quota: QuotaPolicy { warn_at: Share::parse("80%").unwrap(), keep: Share::parse("5%").unwrap() },
    }
}

fn night() -> QuietHours {
    let hour = |hour| chrono::NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    QuietHours { start: hour(22), end: hour(8), zone: Tz::Asia__Tokyo }
}

/// A user id that looks as random as LINE's.
fn user_of(friend: FriendId) -> Option<UserId> {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(friend.0.to_be_bytes());
    Some(UserId(digest[..16].try_into().unwrap()))
}
