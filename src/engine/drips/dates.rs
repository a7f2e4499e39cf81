//! Starts on a local day at a distance from a friend's date: "7 days before `booking_at` at 18:00".

use chrono::{Datelike, Days, NaiveDate};
use roaring::RoaringBitmap;

use crate::domain::attribute::{AttributeType, Value};
use crate::domain::drip::{DateStart, Drip, Enrollment, Start};
use crate::domain::schedule::{Every, Pattern, Planned, Recurrence};
use crate::domain::segment::rule::{AttributeTest, Calendar, Comparison, Condition, Rule};
use crate::domain::time::{Instant, Span};
use crate::store::{Priority, StoreError, Write};

use super::Engine;

/// After a longer break the days before are passed over, with a word: their steps would all be missed.
const LOOK_BACK: Span = Span::from_days(31);

impl Engine {
    /// Starts whoever's day has come in a drip that starts by date.
    pub(in crate::engine) async fn start_by_date(&mut self, now: Instant) -> Result<(), StoreError> {
        let by_date = |drip: &&Drip| !drip.draft && matches!(drip.start, Start::Date(_));
        let drips: Vec<Drip> = self.drips().filter(by_date).cloned().collect();
        for drip in &drips {
            let Start::Date(start) = &drip.start else { continue };
            let Some(days) = every_day(start, drip) else { continue };
            let Some(after) = self.dates_after(drip, &days) else { continue };
            let instants: Vec<Instant> =
                std::iter::successors(days.next_after(after), |at| days.next_after(*at))
                    .take_while(|at| *at <= now)
                    .collect();
            let Some(last) = instants.last().copied() else { continue };
            let mut started = Vec::new();
            for at in instants.iter().filter(|at| now - **at <= LOOK_BACK) {
                let friends = self.whose_day(start, drip, *at);
                started.extend(friends.into_iter().map(|friend| {
                    let friend = crate::domain::id::FriendId(friend);
                    Enrollment::starting(drip.slug.clone(), friend, *at, self.active.version)
                }));
            }
            if let Some(first) = instants.first().filter(|at| now - **at > LOOK_BACK) {
                tracing::warn!(account = %self.slug, drip = %drip.slug, due_at = %first, "too long ago: nobody is started for those days");
            }
            let mut writes: Vec<Write> = self.drip_planned(drip, last).into_iter().collect();
            if !started.is_empty() {
                writes.push(Write::Enrollments(started.clone()));
            }
            self.commit(Priority::Freeze, writes).await?;
            started.into_iter().for_each(|way| self.state.ways.put(way));
        }
        // Whom the day starts is looked at before any step.
        self.enter_drips().await
    }

    /// The first instant after `now` at which some drip starts by date.
    pub(in crate::engine) fn next_date(&self) -> Option<Instant> {
        self.drips().filter_map(|drip| self.next_start(drip)).min()
    }

    /// The next day a drip starts friends by a date, whoever they will be; none where it starts otherwise.
    pub(super) fn next_start(&self, drip: &Drip) -> Option<Instant> {
        let Start::Date(start) = &drip.start else { return None };
        let days = every_day(start, drip).filter(|_| !drip.draft)?;
        days.next_after(self.dates_after(drip, &days)?)
    }

    fn dates_after(&self, drip: &Drip, days: &Recurrence) -> Option<Instant> {
        let row = self.state.campaigns.get(&drip.slug)?;
        let planned = row.last_planned.map_or(Instant::MIN, |planned| planned.until(days));
        Some(planned.max(row.activated_at))
    }

    fn drip_planned(&mut self, drip: &Drip, at: Instant) -> Option<Write> {
        let row = self.state.campaigns.get_mut(&drip.slug)?;
        row.last_planned = Some(Planned::later(at, Some(drip.zone), row.last_planned));
        Some(Write::Campaign(row.clone()))
    }

    /// The friends whose day it is at `at`.
    fn whose_day(&self, start: &DateStart, drip: &Drip, at: Instant) -> RoaringBitmap {
        let today = at.day_in(drip.zone);
        let back = Days::new(start.days.unsigned_abs());
        let day = if start.days < 0 { today.checked_add_days(back) } else { today.checked_sub_days(back) };
        let kind = self.active.configuration.attributes.get(&start.attribute).copied();
        let (Some(day), Some(kind)) = (day, kind) else { return RoaringBitmap::new() };
        let rule = Rule::Any(
            tests(start, kind, day, drip)
                .into_iter()
                .map(|tests| {
                    Rule::All(
                        tests
                            .into_iter()
                            .map(|test| {
                                Rule::Is(Condition::Attribute { name: start.attribute.clone(), test })
                            })
                            .collect(),
                    )
                })
                .collect(),
        );
        self.evaluate(&rule, &self.state.sends, at).unwrap_or_default()
    }
}

fn every_day(start: &DateStart, drip: &Drip) -> Option<Recurrence> {
    let every = Every::new(crate::domain::schedule::Days::Day, [start.at]).ok()?;
    Some(Recurrence {
        pattern: Pattern::Every(every),
        zone: drip.zone,
        from: None,
        until: None,
        except: Vec::new(),
    })
}

/// What an attribute must pass for `day` to be its day: one of these, all of each.
fn tests(start: &DateStart, kind: AttributeType, day: NaiveDate, drip: &Drip) -> Vec<Vec<AttributeTest>> {
    if start.yearly {
        let of = |month, date| {
            vec![AttributeTest::Month(Calendar::Number(month)), AttributeTest::Day(Calendar::Number(date))]
        };
        let mut days = vec![of(day.month(), day.day())];
        // In a common year a 29 February is 1 March, as for ages.
        if (day.month(), day.day()) == (3, 1) && !day.leap_year() {
            days.push(of(2, 29));
        }
        return days;
    }
    if kind == AttributeType::Instant {
        let from = Instant::start_of_day(day, drip.zone);
        let until = day.succ_opt().map_or(Instant::MAX, |next| Instant::start_of_day(next, drip.zone));
        let within = vec![Comparison::Gte(Value::Instant(from)), Comparison::Lt(Value::Instant(until))];
        return vec![vec![AttributeTest::Compare(within)]];
    }
    vec![vec![AttributeTest::Compare(vec![Comparison::Eq(Value::Date(day))])]]
}
