//! What becomes of instants that passed while nothing could run.

use haishin::domain::policy::QuietHours;
use haishin::domain::schedule::{Delay, IfMissed, Schedule, Verdict, When, judge};
use haishin::domain::time::{Instant, Span};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rstest::rstest;

use super::{at, cron, zone};

const NIGHT: fn() -> QuietHours = || QuietHours {
    start: chrono::NaiveTime::from_hms_opt(22, 0, 0).unwrap(),
    end: chrono::NaiveTime::from_hms_opt(8, 0, 0).unwrap(),
    zone: zone("Asia/Tokyo"),
};

fn schedule(text: &str, if_missed: IfMissed, grace: &str) -> Schedule {
    let when = When::Recurring(cron(text, "Asia/Tokyo"));
    Schedule { when, if_missed, grace: Span::parse(grace).unwrap() }
}

fn tokyo(text: &str) -> Instant {
    at(&format!("2026-12-{text}:00+09:00"))
}

/// What runs and what is missed, as `DAY TIME`.
fn judged(schedule: &Schedule, planned: &str, up_since: &str, now: &str, quiet: bool) -> (String, String) {
    let dues: Vec<Instant> =
        schedule.when.after(tokyo(planned)).take_while(|due| *due <= tokyo(now)).collect();
    let night = NIGHT();
    let delay = Delay { quiet_hours: quiet.then_some(&night), up_since: tokyo(up_since) };
    let verdicts = judge(schedule, &dues, delay, tokyo(now));
    let shown = |wanted: Verdict| {
        let due = verdicts.iter().filter(|(_, verdict)| *verdict == wanted);
        due.map(|(due, _)| due.in_zone(zone("Asia/Tokyo")).format("%d %H:%M").to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    (shown(Verdict::Run), shown(Verdict::Missed))
}

#[rstest]
// On time, whatever if_missed says.
#[case("0 10 * * *", IfMissed::None, "2h", "04T09:59", "01T00:00", "04T10:00", ("04 10:00", ""))]
// Three days asleep, with a due instant an hour ago.
#[case("0 10 * * *", IfMissed::Latest, "2h", "01T10:00", "04T11:00", "04T11:00", ("04 10:00", "02 10:00, 03 10:00"))]
#[case("0 10 * * *", IfMissed::All, "2h", "01T10:00", "04T11:00", "04T11:00", ("04 10:00", "02 10:00, 03 10:00"))]
#[case("0 10 * * *", IfMissed::All, "30d", "01T10:00", "04T11:00", "04T11:00", ("02 10:00, 03 10:00, 04 10:00", ""))]
#[case("0 10 * * *", IfMissed::None, "30d", "01T10:00", "04T11:00", "04T11:00", ("", "02 10:00, 03 10:00, 04 10:00"))]
// Grace ends to the minute: two hours late still runs.
#[case("0 10 * * *", IfMissed::Latest, "2h", "03T10:00", "04T12:00", "04T12:00", ("04 10:00", ""))]
#[case("0 10 * * *", IfMissed::Latest, "2h", "03T10:00", "04T12:01", "04T12:01", ("", "04 10:00"))]
// One fell due in downtime, one just now: the latest supersedes.
#[case("0,30 10 * * *", IfMissed::Latest, "2h", "04T09:00", "04T10:20", "04T10:30", ("04 10:30", "04 10:00"))]
#[case("0,30 10 * * *", IfMissed::None, "2h", "04T09:00", "04T10:20", "04T10:30", ("04 10:30", "04 10:00"))]
// A slow planner is no downtime: both run.
#[case("0,30 10 * * *", IfMissed::Latest, "2h", "04T09:00", "01T00:00", "04T10:31", ("04 10:00, 04 10:30", ""))]
fn after_downtime(
    #[case] text: &str,
    #[case] if_missed: IfMissed,
    #[case] grace: &str,
    #[case] planned: &str,
    #[case] up_since: &str,
    #[case] now: &str,
    #[case] (runs, missed): (&str, &str),
) {
    let got = judged(&schedule(text, if_missed, grace), planned, up_since, now, false);
    assert_eq!(got, (runs.to_owned(), missed.to_owned()));
}

#[rstest]
// Nothing is judged before the night ends.
#[case(IfMissed::All, "04T22:00", "01T00:00", "05T07:59", "", "")]
// Grace runs from the end of the night, for each that fell into it.
#[case(IfMissed::Latest, "04T21:30", "01T00:00", "05T08:00", "05 07:00", "04 23:00, 05 03:00")]
#[case(IfMissed::All, "04T21:30", "01T00:00", "05T08:00", "04 23:00, 05 03:00, 05 07:00", "")]
#[case(IfMissed::None, "04T21:30", "01T00:00", "05T08:00", "", "04 23:00, 05 03:00, 05 07:00")]
// Asleep beyond the night's end: two hours after it is still in grace.
#[case(IfMissed::All, "04T21:30", "05T10:00", "05T10:00", "04 23:00, 05 03:00, 05 07:00", "")]
#[case(IfMissed::All, "04T21:30", "05T10:01", "05T10:01", "", "04 23:00, 05 03:00, 05 07:00")]
// 19:00 fell due in downtime before the night: its grace ran from 19:00.
#[case(IfMissed::All, "04T15:30", "04T23:30", "05T08:00", "04 23:00, 05 03:00, 05 07:00", "04 19:00")]
fn after_quiet_hours(
    #[case] if_missed: IfMissed,
    #[case] planned: &str,
    #[case] up_since: &str,
    #[case] now: &str,
    #[case] runs: &str,
    #[case] missed: &str,
) {
    let got = judged(&schedule("0 3,7,11,15,19,23 * * *", if_missed, "2h"), planned, up_since, now, true);
    assert_eq!(got, (runs.to_owned(), missed.to_owned()));
}

#[test]
fn a_one_shot_is_caught_up_within_its_grace() {
    let once =
        |if_missed| Schedule { when: When::Once(tokyo("04T18:00")), if_missed, grace: Span::from_hours(2) };
    let latest = once(IfMissed::Latest);
    assert_eq!(judged(&latest, "01T00:00", "04T19:00", "04T19:00", false), ("04 18:00".into(), "".into()));
    assert_eq!(judged(&latest, "01T00:00", "04T21:00", "04T21:00", false), ("".into(), "04 18:00".into()));
    assert_eq!(judged(&latest, "04T18:00", "04T19:00", "04T19:00", false), ("".into(), "".into()));
    let none = once(IfMissed::None);
    assert_eq!(judged(&none, "01T00:00", "04T18:01", "04T18:01", false), ("".into(), "04 18:00".into()));
}

#[rstest]
#[case("04T10:00", "01T00:00", "04T10:00")]
#[case("04T10:00", "04T11:00", "04T11:00")]
#[case("04T23:00", "01T00:00", "05T08:00")]
#[case("04T23:00", "05T09:30", "05T09:30")]
#[case("04T21:00", "04T23:30", "05T08:00")]
fn the_effective_instant_is_where_the_delay_ended(
    #[case] due: &str,
    #[case] up_since: &str,
    #[case] effective: &str,
) {
    let night = NIGHT();
    let delay = Delay { quiet_hours: Some(&night), up_since: tokyo(up_since) };
    assert_eq!(delay.effective(tokyo(due)), tokyo(effective));
}

/// A planner that keeps the last planned instant, under a wall clock that jumps both ways: each due instant up to
/// the furthest the clock has been is judged exactly once, in order.
#[test]
fn clock_jumps_repeat_and_lose_nothing() {
    let mut rng = StdRng::seed_from_u64(3);
    let schedule = schedule("*/7 * * * *", IfMissed::All, "30d");
    let start = tokyo("01T00:00");
    for _ in 0..200 {
        let (mut now, mut planned, mut furthest) = (start, start, start);
        let mut seen = Vec::new();
        for _ in 0..40 {
            now = now
                + Span::from_millis(match rng.random_range(0..10) {
                    0 => rng.random_range(-7_200_000..7_200_000),
                    1 => rng.random_range(0..86_400_000),
                    _ => rng.random_range(0..120_000),
                });
            furthest = furthest.max(now);
            let dues: Vec<Instant> = schedule.when.after(planned).take_while(|due| *due <= now).collect();
            let delay = Delay { quiet_hours: None, up_since: start };
            seen.extend(judge(&schedule, &dues, delay, now));
            planned = dues.last().copied().unwrap_or(planned);
        }
        let expected: Vec<(Instant, Verdict)> = schedule
            .when
            .between(start + Span::from_millis(1), furthest + Span::from_millis(1))
            .map(|due| (due, Verdict::Run))
            .collect();
        assert_eq!(seen, expected);
    }
}
