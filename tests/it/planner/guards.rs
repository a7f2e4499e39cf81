//! Refusals, waits and warnings of a whole occurrence, each at its very edge.

use haishin::domain::campaign::{Deadline, Dispatch};
use haishin::domain::delivery::Exclusion;
use haishin::domain::plan::{
    Budget, Decision, Friends, Input, Quota, Reach, Refusal, Verdict, Wait, Warning, decide, precedence,
};
use haishin::domain::policy::{Policy, QuietHours, Share};
use haishin::domain::sends::Sends;
use haishin::domain::time::{Instant, Span};
use roaring::RoaringBitmap;

use super::{NOW, campaign, night, policy, user_of};

struct Case {
    campaign: Dispatch,
    policy: Policy,
    now: Instant,
    matched: u32,
    following: u32,
    quota: Quota,
}

impl Case {
    fn new() -> Self {
        let (campaign, policy) = (campaign("spring"), policy());
        Self { campaign, policy, now: NOW, matched: 100, following: 1_000, quota: Quota::Unlimited }
    }

    fn decide(&self) -> Decision {
        let none = RoaringBitmap::new();
        let friends = Friends {
            following: &(0..self.following).collect(),
            erased: &none,
            quarantined: &none,
            opted_out: &none,
        };
        let input = Input {
            dispatch: &self.campaign,
            grace: Span::from_hours(2),
            missed: &RoaringBitmap::new(),
            branches: None,
            policy: &self.policy,
            due: NOW,
            effective: NOW,
            now: self.now,
            matched: &(0..self.matched).collect(),
            friends,
            quota: self.quota,
            user_of: &user_of,
        };
        decide(&input, &Sends::default())
    }

    fn verdict(&self) -> Verdict {
        self.decide().verdict
    }
}

#[test]
fn more_recipients_than_the_maximum_refuse_the_whole() {
    let mut case = Case::new();
    case.campaign.max_recipients = Some(100);
    assert_eq!(case.verdict(), Verdict::Send);
    case.matched = 101;
    let refused = Refusal::MaxRecipients { recipients: 101, max: 100 };
    assert_eq!(case.verdict(), Verdict::Refuse(refused));
    // After all exclusions: whoever is held out is no recipient.
    case.campaign.holdout = Share::parse("50%").unwrap();
    assert_eq!(case.verdict(), Verdict::Send);
}

#[test]
fn a_blanket_is_refused_above_the_share_of_reachable_friends() {
    let mut case = Case::new();
    case.campaign.reach_everyone = false;
    case.matched = 500;
    assert_eq!(case.decide().verdict, Verdict::Send);
    case.matched = 501;
    let reach = |matched, reachable| Reach { matched, reachable, share: Share::parse("50%").unwrap() };
    assert_eq!(case.verdict(), Verdict::Refuse(Refusal::Blanket(reach(501, 1_000))));
    case.campaign.reach_everyone = true;
    assert_eq!(case.verdict(), Verdict::Send);
    case.campaign.reach_everyone = false;
    case.policy.blanket.share = None;
    assert_eq!(case.verdict(), Verdict::Send);

    // Below 200 reachable friends it only warns; blocked matches reach nobody.
    let mut small = Case::new();
    small.campaign.reach_everyone = false;
    (small.matched, small.following) = (1_000, 199);
    let decision = small.decide();
    assert_eq!(decision.verdict, Verdict::Send);
    assert_eq!(decision.warnings, [Warning::Blanket(reach(199, 199))]);
    small.following = 200;
    assert_eq!(small.verdict(), Verdict::Refuse(Refusal::Blanket(reach(200, 200))));
    let mut blocked = Case::new();
    blocked.campaign.reach_everyone = false;
    (blocked.matched, blocked.following) = (0, 1_000);
    assert_eq!(blocked.verdict(), Verdict::Send);
}

#[test]
fn the_quota_must_last_for_all_of_it_and_five_percent_more() {
    let mut case = Case::new();
    let known = |used| Quota::Known { limit: 1_000, used };
    // 1,000 less 5 % less 850 used leaves 100.
    case.quota = known(850);
    let budget = |recipients, available, kept| Budget { recipients, available, limit: 1_000, kept };
    assert_eq!(case.decide().verdict, Verdict::Send);
    assert_eq!(case.decide().warnings, [Warning::Quota(budget(100, 100, 50))]);
    case.quota = known(851);
    assert_eq!(case.verdict(), Verdict::Refuse(Refusal::Quota(budget(100, 99, 50))));
    case.campaign.category = super::category("service");
    assert_eq!(case.verdict(), Verdict::Send);
    case.quota = known(901);
    assert_eq!(case.verdict(), Verdict::Refuse(Refusal::Quota(budget(100, 99, 0))));
    case.quota = known(u64::MAX);
    assert_eq!(case.verdict(), Verdict::Refuse(Refusal::Quota(budget(100, 0, 0))));
    case.matched = 0;
    assert_eq!(case.verdict(), Verdict::Send, "nobody needs no quota");

    // The warning begins at 80 %.
    let mut warns = Case::new();
    warns.quota = known(699);
    assert_eq!(warns.decide().warnings, []);
    warns.quota = known(700);
    assert_eq!(warns.decide().warnings, [Warning::Quota(budget(100, 250, 50))]);
}

#[test]
fn an_unreadable_quota_waits_for_the_grace() {
    let mut case = Case::new();
    case.quota = Quota::Unreadable;
    assert_eq!(case.verdict(), Verdict::Wait(Wait::QuotaUnreadable));
    case.now = NOW + Span::from_hours(2);
    assert_eq!(case.verdict(), Verdict::Wait(Wait::QuotaUnreadable));
    case.now = case.now + Span::from_millis(1);
    assert_eq!(case.verdict(), Verdict::Refuse(Refusal::QuotaUnreadable));
    case.quota = Quota::Unlimited;
    assert_eq!(case.verdict(), Verdict::Send, "the guard is about the quota, not about lateness");
}

#[test]
fn where_it_falls_due_in_the_night_that_grace_begins_in_the_morning() {
    let mut case = Case::new();
    case.quota = Quota::Unreadable;
    let hour = |hour| chrono::NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    case.policy.quiet_hours = Some(QuietHours { start: hour(17), end: hour(21), ..night() });
    for (hours, verdict) in [
        (0, Verdict::Wait(Wait::QuietHours { until: NOW + Span::from_hours(3) })),
        (3, Verdict::Wait(Wait::QuotaUnreadable)),
        (5, Verdict::Wait(Wait::QuotaUnreadable)),
    ] {
        case.now = NOW + Span::from_hours(hours);
        assert_eq!(case.verdict(), verdict, "after {hours} h");
    }
    case.now = case.now + Span::from_millis(1);
    assert_eq!(case.verdict(), Verdict::Refuse(Refusal::QuotaUnreadable));
}

#[test]
fn the_larger_of_two_counts_is_used_and_own_unsettled_sends_with_it() {
    let known = |used| Quota::Known { limit: 1_000, used };
    assert_eq!(Quota::of(1_000, Some(500), Some(450), 30, 7), known(507));
    assert_eq!(Quota::of(1_000, Some(470), Some(450), 30, 7), known(487));
    assert_eq!(Quota::of(1_000, None, Some(450), 30, 0), known(480));
    assert_eq!(Quota::of(1_000, Some(0), None, 30, 0), known(0));
    assert_eq!(Quota::of(1_000, None, None, 30, 7), Quota::Unreadable);
}

#[test]
fn quiet_hours_hold_all_but_the_immediate() {
    let mut case = Case::new();
    case.policy.quiet_hours = Some(night());
    assert_eq!(case.verdict(), Verdict::Send);
    case.now = NOW + Span::from_hours(4);
    let until = NOW + Span::from_hours(14);
    assert_eq!(case.verdict(), Verdict::Wait(Wait::QuietHours { until }));
    // A category that may not be immediate is held whatever the campaign says.
    case.campaign.immediate = true;
    assert_eq!(case.verdict(), Verdict::Wait(Wait::QuietHours { until }));
    case.campaign.category = super::category("service");
    assert_eq!(case.verdict(), Verdict::Send);
}

#[test]
fn a_deadline_that_passes_in_the_night_refuses_at_once() {
    let mut case = Case::new();
    case.policy.quiet_hours = Some(night());
    case.now = NOW + Span::from_hours(4);
    let morning = Span::from_hours(14);
    let later = Span::from_millis(morning.as_millis() + 1);
    case.campaign.deadline = Some(Deadline::After(later));
    assert!(matches!(case.verdict(), Verdict::Wait(_)));
    case.campaign.deadline = Some(Deadline::After(morning));
    let refused = Refusal::DeadlinePassed { deadline: NOW + morning };
    assert_eq!(case.verdict(), Verdict::Refuse(refused));
    case.campaign.deadline = Some(Deadline::At(NOW));
    case.now = NOW;
    assert_eq!(case.verdict(), Verdict::Refuse(Refusal::DeadlinePassed { deadline: NOW }));
}

#[test]
fn higher_priority_first_then_the_slug_by_code_point() {
    let with = |slug: &str, priority| Dispatch { priority, ..campaign(slug) };
    let mut due = [with("b", 50), with("Z", 50), with("冬", 50), with("a", 50), with("z", 60), with("é", 50)];
    due.sort_by(|one, other| precedence(one).cmp(&precedence(other)));
    assert_eq!(due.map(|campaign| campaign.slug.to_string()), ["z", "Z", "a", "b", "é", "冬"]);
}

#[test]
fn a_friend_without_a_user_id_is_forgotten_already() {
    let (campaign, policy, none) = (campaign("spring"), policy(), RoaringBitmap::new());
    let all: RoaringBitmap = (0..10).collect();
    let input = Input {
        dispatch: &campaign,
        grace: Span::from_hours(2),
        missed: &RoaringBitmap::new(),
        branches: None,
        policy: &policy,
        due: NOW,
        effective: NOW,
        now: NOW,
        matched: &all,
        friends: Friends { following: &all, erased: &none, quarantined: &none, opted_out: &none },
        quota: Quota::Unlimited,
        user_of: &|friend| user_of(friend).filter(|_| friend.0 != 3),
    };
    let decision = decide(&input, &Sends::default());
    assert_eq!(decision.exclusions, [(Exclusion::Erased, RoaringBitmap::from_iter([3]))]);
    assert_eq!(decision.recipients(), 9);
}
