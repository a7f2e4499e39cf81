//! Quiet hours across midnight and changes of the clock.

use chrono::NaiveTime;
use haishin::domain::policy::QuietHours;
use haishin::domain::time::{Instant, Span};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rstest::rstest;

use super::{at, zone};

fn hours(start: &str, end: &str, zone_name: &str) -> QuietHours {
    let time = |text: &str| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
    QuietHours { start: time(start), end: time(end), zone: zone(zone_name) }
}

#[rstest]
#[case("22:00", "08:00", "Asia/Tokyo", "2026-12-04T22:00:00+09:00", "2026-12-05T08:00:00+09:00")]
#[case("22:00", "08:00", "Asia/Tokyo", "2026-12-04T21:59:59.999+09:00", "2026-12-04T21:59:59.999+09:00")]
#[case("22:00", "08:00", "Asia/Tokyo", "2026-12-05T07:59:59.999+09:00", "2026-12-05T08:00:00+09:00")]
#[case("22:00", "08:00", "Asia/Tokyo", "2026-12-05T08:00:00+09:00", "2026-12-05T08:00:00+09:00")]
#[case("12:00", "13:00", "Asia/Tokyo", "2026-12-05T12:30:00+09:00", "2026-12-05T13:00:00+09:00")]
#[case("08:00", "08:00", "Asia/Tokyo", "2026-12-05T08:00:00+09:00", "2026-12-05T08:00:00+09:00")]
// The night is an hour shorter, or longer.
#[case("22:00", "08:00", "Europe/Berlin", "2026-03-28T22:00:00+01:00", "2026-03-29T08:00:00+02:00")]
#[case("22:00", "08:00", "Europe/Berlin", "2026-10-24T22:00:00+02:00", "2026-10-25T08:00:00+01:00")]
// The end lies in the gap; the hours lie in it whole.
#[case("22:00", "02:30", "Europe/Berlin", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00")]
#[case("02:00", "03:00", "Europe/Berlin", "2026-03-29T01:59:59+01:00", "2026-03-29T01:59:59+01:00")]
// The end is passed twice: quiet again in between.
#[case("22:00", "02:30", "Europe/Berlin", "2026-10-25T01:00:00+02:00", "2026-10-25T02:30:00+02:00")]
#[case("22:00", "02:30", "Europe/Berlin", "2026-10-25T02:10:00+01:00", "2026-10-25T02:30:00+01:00")]
// The clock set back over the start opens the hours.
#[case("02:30", "06:00", "Europe/Berlin", "2026-10-25T02:45:00+02:00", "2026-10-25T02:00:00+01:00")]
// Apia goes to sleep on the 29th and wakes on the 31st.
#[case("22:00", "08:00", "Pacific/Apia", "2011-12-29T23:00:00-10:00", "2011-12-31T08:00:00+14:00")]
fn quiet_ends(
    #[case] start: &str,
    #[case] end: &str,
    #[case] zone: &str,
    #[case] from: &str,
    #[case] expected: &str,
) {
    assert_eq!(hours(start, end, zone).end_after(at(from)), at(expected));
}

#[test]
fn the_end_is_the_first_minute_that_is_not_quiet() {
    let mut rng = StdRng::seed_from_u64(7);
    let days = [
        ("Europe/Berlin", "2026-10-24T12:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T12:00:00Z"),
        ("America/Santiago", "2026-04-04T12:00:00Z"),
        ("Africa/Cairo", "2026-04-23T12:00:00Z"),
        ("Pacific/Apia", "2011-12-29T12:00:00Z"),
        ("Asia/Tokyo", "2026-01-01T00:00:00Z"),
    ];
    let mut held = 0;
    for (zone_name, day) in days {
        for _ in 0..100 {
            let time = |rng: &mut StdRng| {
                format!("{:02}:{:02}", rng.random_range(0..24), rng.random_range(0..4) * 15)
            };
            let quiet = hours(&time(&mut rng), &time(&mut rng), zone_name);
            let from = at(day) + Span::from_mins(rng.random_range(0..1_440));
            let minutes = (0..4_000).map(|minute| from + Span::from_mins(minute));
            let expected = minutes.into_iter().find(|minute| !quiet.is_quiet(*minute)).unwrap();
            assert_eq!(quiet.end_after(from), expected, "{quiet:?} from {from}");
            held += usize::from(expected > from);
        }
    }
    assert!(held > 200, "{held}");
    let sleepy = hours("22:00", "08:00", "Asia/Tokyo");
    assert_eq!(sleepy.end_after(Instant::MAX), Instant::MAX);
}
