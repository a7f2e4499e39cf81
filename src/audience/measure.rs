//! From events to friends: counted, summed, or by the latest.

use roaring::RoaringBitmap;

use super::column::bitmap_of_words;
use super::events::Events;
use crate::domain::attribute::{AttributeType, Value};
use crate::domain::id::PropertyName;
use crate::domain::segment::ranges::Ranges;
use crate::domain::segment::rule::{Age, Bound, Comparison, EventCondition, Measure, Number};
use crate::domain::segment::sum::ExactSum;
use crate::domain::segment::value_test::ValueTest;
use crate::domain::segment::window::Window;
use crate::domain::time::Instant;

/// Those of `among` for whom the condition holds; `friends` is how many dense ids there are.
pub(super) fn select(
    events: &Events,
    condition: &EventCondition,
    now: Instant,
    friends: u32,
    among: RoaringBitmap,
) -> RoaringBitmap {
    let scan = Scan { events, condition, friends };
    let window = Window::within(condition.within, now);
    match &condition.measure {
        Measure::Count(bounds) => among & scan.counted(window, &Ranges::of_bounds(bounds)),
        Measure::Sum { of, bounds } => scan.summed(window, of, bounds, &among),
        Measure::Last(age) => {
            // The latest is of that age if there is one of it, and none since.
            let (age, since) = last_windows(*age, now);
            let some = Ranges::between(1, i64::MAX);
            let had = among & scan.counted(window.meet(age), &some);
            let since = window.meet(since);
            if had.is_empty() || since.is_empty() { had } else { had - scan.counted(since, &some) }
        }
    }
}

/// The window an age means, and the time after it up to now.
fn last_windows(age: Age, now: Instant) -> (Window, Window) {
    let window = age.window(now);
    (window, Window { after: window.until, until: now.as_millis() })
}

/// Whether the condition holds for one friend.
pub(super) fn holds(events: &Events, condition: &EventCondition, now: Instant, friend: u32) -> bool {
    let (mut count, mut sum, mut latest) = (0, ExactSum::default(), None);
    let of = match &condition.measure {
        Measure::Sum { of, .. } => events.property(of),
        _ => None,
    };
    if let Some(tests) = events.tests(&condition.properties) {
        events.each(Window::within(condition.within, now), &tests, |event| {
            if event.friend == friend {
                count += 1;
                latest = latest.max(Some(event.at()));
                if let Some(number) = of.and_then(|of| event.number(of)) {
                    sum.add(number);
                }
            }
        });
    }
    match &condition.measure {
        Measure::Count(bounds) => Ranges::of_bounds(bounds).contains(count),
        Measure::Sum { bounds, .. } => sum.satisfies(bounds),
        Measure::Last(age) => latest.is_some_and(|at| age.window(now).contains(at)),
    }
}

/// Whether a friend without events is of those a condition holds for.
pub(super) fn holds_without_events(condition: &EventCondition) -> bool {
    match &condition.measure {
        Measure::Count(bounds) => Ranges::of_bounds(bounds).contains(0),
        Measure::Sum { bounds, .. } => ExactSum::default().satisfies(bounds),
        Measure::Last(_) => false,
    }
}

struct Scan<'a> {
    events: &'a Events,
    condition: &'a EventCondition,
    friends: u32,
}

impl Scan<'_> {
    /// Ids with a number of events in `counts`, some of them perhaps of no friend.
    fn counted(&self, window: Window, counts: &Ranges) -> RoaringBitmap {
        // Counts from here on are all alike, so counting may stop there.
        match counts.settled_from() {
            0 if counts.contains(0) => self.ids(),
            0 => RoaringBitmap::new(),
            1 => self.planes::<1>(window, counts),
            2..=3 => self.planes::<2>(window, counts),
            4..=15 => self.planes::<4>(window, counts),
            _ => self.counters(window, counts),
        }
    }

    fn ids(&self) -> RoaringBitmap {
        let mut ids = RoaringBitmap::new();
        ids.insert_range(0..self.friends);
        ids
    }

    fn words(&self) -> usize {
        self.friends.div_ceil(64) as usize
    }

    fn each_friend(&self, window: Window, mut visit: impl FnMut(usize)) {
        if let Some(tests) = self.events.tests(&self.condition.properties) {
            self.events.each(window, &tests, |event| visit(event.friend as usize));
        }
    }

    /// A saturating count of `BITS` bits a friend, bit by bit in planes: what fits the processor's cache.
    fn planes<const BITS: usize>(&self, window: Window, counts: &Ranges) -> RoaringBitmap {
        let mut planes = vec![[0u64; BITS]; self.words()];
        self.each_friend(window, |friend| {
            let Some(word) = planes.get_mut(friend / 64) else { return };
            let mut carry = 1u64 << (friend % 64);
            for plane in word.iter_mut() {
                (*plane, carry) = (*plane ^ carry, *plane & carry);
            }
            // What ran over was full, and stays so.
            for plane in word.iter_mut() {
                *plane |= carry;
            }
        });
        let wanted: Vec<u32> = (0..1u32 << BITS).filter(|count| counts.contains((*count).into())).collect();
        let words: Vec<u64> = planes
            .iter()
            .map(|word| {
                wanted.iter().fold(0, |any, count| {
                    let digits = word.iter().enumerate();
                    any | digits.fold(u64::MAX, |all, (bit, plane)| {
                        all & if count >> bit & 1 == 1 { *plane } else { !plane }
                    })
                })
            })
            .collect();
        bitmap_of_words(0, &words)
    }

    fn counters(&self, window: Window, counts: &Ranges) -> RoaringBitmap {
        let mut counters = vec![0u32; self.friends as usize];
        self.each_friend(window, |friend| {
            if let Some(counter) = counters.get_mut(friend) {
                *counter = counter.saturating_add(1);
            }
        });
        let words: Vec<u64> = counters
            .chunks(64)
            .map(|counters| bits(counters.iter().map(|c| counts.contains((*c).into()))))
            .collect();
        bitmap_of_words(0, &words)
    }

    /// Sums are exact: whole numbers that fit in 64 bits in a column, everything else aside, as single terms.
    fn summed(
        &self,
        window: Window,
        of: &PropertyName,
        bounds: &[Bound<Number>],
        among: &RoaringBitmap,
    ) -> RoaringBitmap {
        let mut whole = vec![0i64; self.friends as usize];
        let mut aside: Vec<(u32, Number)> = Vec::new();
        if let (Some(tests), Some(of)) =
            (self.events.tests(&self.condition.properties), self.events.property(of))
        {
            self.events.each(window, &tests, |event| {
                let Some(number) = event.number(of) else { return };
                let Some(sum) = whole.get_mut(event.friend as usize) else { return };
                match as_integer(number).and_then(|integer| sum.checked_add(integer)) {
                    Some(total) => *sum = total,
                    None => aside.push((event.friend, number)),
                }
            });
        }
        let comparisons = comparisons(bounds);
        let test = ValueTest::of_comparisons(&comparisons, AttributeType::Integer);
        let words: Vec<u64> =
            whole.chunks(64).map(|sums| bits(sums.iter().map(|sum| test.passes_key(*sum)))).collect();
        let mut selected = bitmap_of_words(0, &words) & among;
        aside.sort_unstable_by_key(|(friend, _)| *friend);
        for terms in aside.chunk_by(|(left, _), (right, _)| left == right) {
            let Some(&(friend, _)) = terms.first() else { continue };
            let mut sum = ExactSum::default();
            sum.add_integer(whole.get(friend as usize).copied().unwrap_or(0).into());
            terms.iter().for_each(|(_, number)| sum.add(*number));
            if sum.satisfies(bounds) && among.contains(friend) {
                selected.insert(friend);
            } else {
                selected.remove(friend);
            }
        }
        selected
    }
}

/// A number as a 64-bit integer, where that is exact.
fn as_integer(number: Number) -> Option<i64> {
    match number {
        Number::Integer(whole) => Some(whole),
        // Below 2^62 a whole double converts without loss; `as` of others saturates and differs.
        Number::Double(double) => {
            (double.abs() < 4.6e18 && double.trunc() == double).then_some(double as i64)
        }
    }
}

fn comparisons(bounds: &[Bound<Number>]) -> Vec<Comparison> {
    let value = |number: Number| match number {
        Number::Integer(whole) => Value::Integer(whole),
        Number::Double(double) => Value::Number(double),
    };
    bounds
        .iter()
        .map(|bound| match *bound {
            Bound::Eq(n) => Comparison::Eq(value(n)),
            Bound::Ne(n) => Comparison::Ne(value(n)),
            Bound::Gt(n) => Comparison::Gt(value(n)),
            Bound::Gte(n) => Comparison::Gte(value(n)),
            Bound::Lt(n) => Comparison::Lt(value(n)),
            Bound::Lte(n) => Comparison::Lte(value(n)),
        })
        .collect()
}

fn bits(flags: impl Iterator<Item = bool>) -> u64 {
    flags.zip(0..).fold(0, |all, (flag, bit)| all | u64::from(flag) << bit)
}
