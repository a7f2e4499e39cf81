//! What a demo is set up with: its time, its account at LINE, and what goes wrong on purpose.

use crate::domain::time::{Instant, Span};
use crate::sandbox::{ChannelSettings, Coupon, Fault, FaultKind, SandboxFriend, Settings};

/// The shop's account in the shipped configuration.
pub(super) const ACCOUNT: &str = "koharu";
/// Where the demo's clock begins: before the campaigns of the days before. 2026-11-30 11:55 in Tokyo.
pub(super) const BEGIN: Instant = Instant::from_millis(1_796_007_300_000);
/// Where the terminal begins to tell: shortly before the first campaign. 2026-12-04 17:59:40 in Tokyo.
pub(super) const STAGE: Instant = Instant::from_millis(1_796_374_780_000);
/// The first campaign: 18:00.
const COUPON_AT: Instant = Instant::from_millis(1_796_374_800_000);
/// The paced one: 18:01.
const FAIR_AT: Instant = Instant::from_millis(1_796_374_860_000);
/// It has long ended: 19:01.
const FAIR_OVER: Instant = Instant::from_millis(1_796_378_460_000);

/// Until then the clock skips from one due instant to the next, once the evening is told: what drips send on the days
/// after. 2026-12-07 00:00 in Tokyo.
pub(super) const LATER: Instant = Instant::from_millis(1_796_569_200_000);

/// LINE's light plan.
const MONTHLY_MESSAGES: u64 = 5_000;
/// How long the sandbox takes for an answer to the paced campaign, at the clock's own speed: so long that whoever
/// kills the demo kills it in the middle of a request.
pub(super) const SLOW: Span = Span::from_secs(4);
const SEED: u64 = 3_020;

/// The LINE double: the shop's channel, an answer that gets lost, and slow ones.
pub(super) fn sandbox(
    friends: Vec<SandboxFriend>,
    name: String,
    speed: u32,
    state_file: std::path::PathBuf,
) -> Settings {
    let coupon = |id: &str, title: &str, benefit: &str| Coupon {
        id: id.into(),
        title: title.into(),
        benefit: benefit.into(),
        until: "2026/12/31".into(),
    };
    let channel = ChannelSettings {
        friends,
        quota: Some(MONTHLY_MESSAGES),
        coupons: vec![
            coupon("01KOHARUWINTER10", "冬の10%OFFクーポン", "10%OFF"),
            coupon("01KOHARUTRIAL500", "体験後の500円クーポン", "500円OFF"),
            coupon("01KOHARUOKAERI10", "おかえりクーポン", "10%OFF"),
        ],
        ..ChannelSettings::new("2000000001", "sandbox-only", name)
    };
    let lost = Fault {
        from: Some(COUPON_AT),
        until: Some(FAIR_AT),
        times: Some(1),
        ..Fault::always(FaultKind::LostAfter)
    };
    let ms = SLOW.as_millis().unsigned_abs() / u64::from(speed.max(1));
    let slow = Fault { from: Some(FAIR_AT), until: Some(FAIR_OVER), ..Fault::always(FaultKind::Slow { ms }) };
    Settings {
        faults: vec![lost, slow],
        seed: SEED,
        state_file: Some(state_file),
        ..Settings::new(vec![channel])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_those_of_the_shipped_campaigns() {
        let tokyo = |at: Instant| at.rfc3339(chrono_tz::Asia::Tokyo);
        assert_eq!(tokyo(BEGIN), "2026-11-30T11:55:00+09:00");
        assert_eq!(tokyo(STAGE), "2026-12-04T17:59:40+09:00");
        assert_eq!(tokyo(LATER), "2026-12-07T00:00:00+09:00");
        let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/campaigns");
        for (file, at) in [("winter-coupon.toml", COUPON_AT), ("gift-fair.toml", FAIR_AT)] {
            let text = std::fs::read_to_string(shipped.join(file)).unwrap();
            let local = at.in_zone(chrono_tz::Asia::Tokyo).format("at = \"%Y-%m-%d %H:%M\"").to_string();
            assert!(text.contains(&local), "{file}: {local}");
        }
    }
}
