//! What a comparison means, compiled once per rule and type of value: ordered values become 64-bit keys, and every
//! ordered comparison a set of ranges of keys, exact across integers and doubles.

use chrono::{Datelike, NaiveDate};

use super::ranges::Ranges;
use super::rule::{Age, AttributeTest, Bound, Calendar, Comparison, Number};
use crate::domain::attribute::{AttributeType, Value};
use crate::domain::time::{Instant, Span};

const DAY: i64 = 86_400_000;

/// The key of a value other than a text: within one type, keys are equal and ordered as the values are.
/// `None` for a text or a double that is not finite.
pub fn key_of(value: &Value) -> Option<i64> {
    match value {
        Value::Text(_) => None,
        Value::Integer(whole) => Some(*whole),
        Value::Number(double) => double.is_finite().then(|| key_of_double(*double)),
        Value::Boolean(flag) => Some((*flag).into()),
        Value::Date(day) => Some(key_of_day(*day)),
        Value::Instant(at) => Some(at.as_millis()),
    }
}

/// The number a key stands for, if its type is a number.
pub fn number_of_key(of: AttributeType, key: i64) -> Option<Number> {
    match of {
        AttributeType::Integer => Some(Number::Integer(key)),
        AttributeType::Number => Some(Number::Double(double_of_key(key))),
        _ => None,
    }
}

/// Doubles in the order of their bits; negative ones stand the other way round, −0 is 0.
fn key_of_double(double: f64) -> i64 {
    flip_negative((double + 0.0).to_bits().cast_signed())
}

fn double_of_key(key: i64) -> f64 {
    f64::from_bits(flip_negative(key).cast_unsigned())
}

fn flip_negative(bits: i64) -> i64 {
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

fn key_of_day(day: NaiveDate) -> i64 {
    day.num_days_from_ce().into()
}

/// A test of values of one type. A friend without a value of that type passes none.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueTest<'r> {
    /// Keys in these ranges.
    Keys(Ranges),
    /// Days with this number in a field of the calendar.
    Calendar(Field, u32),
    /// Texts for which all of these hold.
    Text(&'r [Comparison]),
}

/// A field of a calendar day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// 1 to 12.
    Month,
    /// 1 to 31.
    Day,
}

impl<'r> ValueTest<'r> {
    /// The values of type `of` for which all comparisons hold.
    pub fn of_comparisons(comparisons: &'r [Comparison], of: AttributeType) -> Self {
        if of == AttributeType::Text {
            return Self::Text(comparisons);
        }
        let all = comparisons.iter().map(|comparison| ranges_of(comparison, of));
        Self::Keys(all.fold(Ranges::all(), |all, one| all.meet(&one)))
    }

    /// The values of type `of` that pass at `now`; for `IsSet(false)` as for `IsSet(true)`, which only absence fails.
    pub fn of_attribute_test(test: &'r AttributeTest, of: AttributeType, now: Instant) -> Self {
        let days = of == AttributeType::Date;
        match test {
            AttributeTest::Compare(comparisons) => Self::of_comparisons(comparisons, of),
            AttributeTest::IsSet(_) => Self::Keys(Ranges::all()),
            AttributeTest::Age { bounds, zone } if days => Self::Keys(born(bounds, now.day_in(*zone))),
            AttributeTest::Month(month) if days => {
                Self::Calendar(Field::Month, number(*month, Field::Month, now))
            }
            AttributeTest::Day(day) if days => Self::Calendar(Field::Day, number(*day, Field::Day, now)),
            AttributeTest::OnDay { offset, zone } if days => Self::Keys(
                key_of_day(now.day_in(*zone))
                    .checked_add(*offset)
                    .map_or_else(Ranges::none, |day| Ranges::points([day])),
            ),
            AttributeTest::Past { within, zone } => Self::Keys(distance(of, |instants| {
                if instants {
                    return Age::Within(*within).window(now).ranges();
                }
                let today = key_of_day(now.day_in(*zone));
                Ranges::between(today.saturating_sub(whole_days_up(*within)).saturating_add(1), today)
            })),
            AttributeTest::Ahead { within, zone } => Self::Keys(distance(of, |instants| {
                let (from, length) = if instants {
                    (now.as_millis(), within.as_millis())
                } else {
                    (key_of_day(now.day_in(*zone)), within.as_millis().div_euclid(DAY))
                };
                Ranges::between(from.saturating_add(1), from.saturating_add(length))
            })),
            AttributeTest::AgoAtLeast { span, zone } => Self::Keys(distance(of, |instants| {
                if instants {
                    return Age::ForAtLeast(*span).window(now).ranges();
                }
                let today = key_of_day(now.day_in(*zone));
                Ranges::between(i64::MIN, today.saturating_sub(whole_days_up(*span).max(0)))
            })),
            AttributeTest::Age { .. }
            | AttributeTest::Month(_)
            | AttributeTest::Day(_)
            | AttributeTest::OnDay { .. } => Self::Keys(Ranges::none()),
        }
    }

    /// Whether no value can pass.
    pub fn is_never(&self) -> bool {
        matches!(self, Self::Keys(ranges) if ranges.is_empty())
    }

    /// Whether a value other than a text, by its key, passes.
    pub fn passes_key(&self, key: i64) -> bool {
        match self {
            Self::Keys(ranges) => ranges.contains(key),
            Self::Calendar(field, number) => i32::try_from(key)
                .ok()
                .and_then(NaiveDate::from_num_days_from_ce_opt)
                .is_some_and(|day| field_of(day, *field) == *number),
            Self::Text(_) => false,
        }
    }

    /// Whether a text passes.
    pub fn passes_text(&self, text: &str) -> bool {
        match self {
            Self::Text(comparisons) => comparisons.iter().all(|comparison| holds_for_text(comparison, text)),
            Self::Keys(ranges) => ranges.is_all(),
            Self::Calendar(..) => false,
        }
    }
}

/// Whether a value passes all comparisons.
pub fn passes(value: &Value, comparisons: &[Comparison]) -> bool {
    let test = ValueTest::of_comparisons(comparisons, value.type_of());
    match value {
        Value::Text(text) => test.passes_text(text),
        other => key_of(other).is_some_and(|key| test.passes_key(key)),
    }
}

impl AttributeTest {
    /// Whether a friend without any value passes: only what asks for that.
    pub fn holds_without_value(&self) -> bool {
        matches!(self, Self::IsSet(false))
    }
}

/// Distances are measured for dates and instants only.
fn distance(of: AttributeType, ranges: impl FnOnce(bool) -> Ranges) -> Ranges {
    match of {
        AttributeType::Date => ranges(false),
        AttributeType::Instant => ranges(true),
        _ => Ranges::none(),
    }
}

fn whole_days_up(span: Span) -> i64 {
    let ms = span.as_millis();
    ms.div_euclid(DAY) + i64::from(ms.rem_euclid(DAY) != 0)
}

fn field_of(day: NaiveDate, field: Field) -> u32 {
    match field {
        Field::Month => day.month(),
        Field::Day => day.day(),
    }
}

fn number(calendar: Calendar, field: Field, now: Instant) -> u32 {
    match calendar {
        Calendar::Number(number) => number,
        Calendar::This(zone) => field_of(now.day_in(zone), field),
    }
}

/// The birthdays with an age inside all bounds. A day after today has no age.
fn born(bounds: &[Bound<i64>], today: NaiveDate) -> Ranges {
    let at_least = |years: i128| Ranges::at_most(born_by(years, today).into());
    let lived = at_least(0);
    let range = |bound: &Bound<i64>| match *bound {
        Bound::Gte(n) => at_least(n.into()),
        Bound::Gt(n) => at_least(i128::from(n) + 1),
        Bound::Lt(n) => at_least(n.into()).complement(),
        Bound::Lte(n) => at_least(i128::from(n) + 1).complement(),
        Bound::Eq(n) => at_least(n.into()).meet(&at_least(i128::from(n) + 1).complement()),
        Bound::Ne(n) => at_least(n.into()).meet(&at_least(i128::from(n) + 1).complement()).complement(),
    };
    bounds.iter().fold(lived, |all, bound| all.meet(&range(bound)))
}

/// The last birthday with which somebody has completed so many years today: the same day, so many years ago. Where
/// today is 29 February and that year had none, it is the day before. On 28 February of a common year it is the 28th,
/// so whoever was born on the 29th waits for 1 March.
fn born_by(years: i128, today: NaiveDate) -> i64 {
    if years <= 0 {
        return key_of_day(today);
    }
    let year = i32::try_from(i128::from(today.year()) - years).ok();
    let same_day = year.and_then(|year| {
        NaiveDate::from_ymd_opt(year, today.month(), today.day())
            .or_else(|| NaiveDate::from_ymd_opt(year, today.month(), today.day() - 1))
    });
    same_day.map_or(i64::MIN, key_of_day)
}

/// The keys of type `of` for which the comparison holds. Another kind of value never equals and has no order.
fn ranges_of(comparison: &Comparison, of: AttributeType) -> Ranges {
    let points = |values: &[Value]| {
        Ranges::points(values.iter().filter_map(|value| place(value, of)).filter_map(Place::exactly))
    };
    // Where the constant stands among the keys: those at most as large, and those smaller.
    let order = |value: &Value| place(value, of).filter(|_| of != AttributeType::Boolean);
    let up_to = |value: &Value| order(value).map(|place| Ranges::at_most(place.floor));
    let below =
        |value: &Value| order(value).map(|place| Ranges::at_most(place.floor - i128::from(place.exact)));
    let ranges = match comparison {
        Comparison::Eq(value) => Some(points(std::slice::from_ref(value))),
        Comparison::Ne(value) => Some(points(std::slice::from_ref(value)).complement()),
        Comparison::In(values) => Some(points(values)),
        Comparison::NotIn(values) => Some(points(values).complement()),
        Comparison::Lt(value) => below(value),
        Comparison::Lte(value) => up_to(value),
        Comparison::Gt(value) => up_to(value).map(|ranges| ranges.complement()),
        Comparison::Gte(value) => below(value).map(|ranges| ranges.complement()),
        Comparison::Contains(_) | Comparison::StartsWith(_) => None,
    };
    ranges.unwrap_or_else(Ranges::none)
}

/// Where a constant stands among the keys of a type: the largest key not above it, and whether that is the constant.
struct Place {
    floor: i128,
    exact: bool,
}

impl Place {
    fn exactly(self) -> Option<i64> {
        if self.exact { i64::try_from(self.floor).ok() } else { None }
    }
}

fn place(value: &Value, of: AttributeType) -> Option<Place> {
    match (value, of) {
        (Value::Number(double), AttributeType::Integer) => integer_below(*double),
        (Value::Integer(whole), AttributeType::Number) => Some(double_below(*whole)),
        _ if value.type_of() == of => key_of(value).map(|key| Place { floor: key.into(), exact: true }),
        _ => None,
    }
}

fn integer_below(double: f64) -> Option<Place> {
    if !double.is_finite() {
        return None;
    }
    // `as` saturates at the ends of 128 bits, beyond every key.
    let floor = double.floor();
    Some(Place { floor: floor as i128, exact: floor == double })
}

fn double_below(whole: i64) -> Place {
    let near = whole as f64;
    let key = i128::from(key_of_double(near));
    match (near as i128).cmp(&whole.into()) {
        std::cmp::Ordering::Equal => Place { floor: key, exact: true },
        std::cmp::Ordering::Less => Place { floor: key, exact: false },
        std::cmp::Ordering::Greater => Place { floor: key - 1, exact: false },
    }
}

/// UTF-8 orders texts by code point, byte by byte.
fn holds_for_text(comparison: &Comparison, text: &str) -> bool {
    let same = |value: &Value| matches!(value, Value::Text(other) if other.as_ref() == text);
    let order = |value: &Value| match value {
        Value::Text(other) => Some(text.cmp(other.as_ref())),
        _ => None,
    };
    match comparison {
        Comparison::Eq(value) => same(value),
        Comparison::Ne(value) => !same(value),
        Comparison::In(values) => values.iter().any(same),
        Comparison::NotIn(values) => !values.iter().any(same),
        Comparison::Gt(value) => order(value).is_some_and(|order| order.is_gt()),
        Comparison::Gte(value) => order(value).is_some_and(|order| order.is_ge()),
        Comparison::Lt(value) => order(value).is_some_and(|order| order.is_lt()),
        Comparison::Lte(value) => order(value).is_some_and(|order| order.is_le()),
        Comparison::Contains(part) => text.contains(part.as_str()),
        Comparison::StartsWith(start) => text.starts_with(start.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Asia::Tokyo;
    use proptest::prelude::*;

    use super::*;

    fn passes(comparison: Comparison, value: &Value) -> bool {
        let comparisons = [comparison];
        let test = ValueTest::of_comparisons(&comparisons, value.type_of());
        match value {
            Value::Text(text) => test.passes_text(text),
            other => key_of(other).is_some_and(|key| test.passes_key(key)),
        }
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn noon(text: &str) -> Instant {
        Instant::from_local(day(text).and_hms_opt(12, 0, 0).unwrap(), Tokyo)
    }

    fn dated(test: &AttributeTest, date: &str, now: Instant) -> bool {
        ValueTest::of_attribute_test(test, AttributeType::Date, now).passes_key(key_of_day(day(date)))
    }

    #[test]
    fn numbers_of_both_kinds_compare_exactly() {
        let odd = Value::Integer((1 << 53) + 1);
        let even = Value::Number(9_007_199_254_740_992.0);
        assert!(!passes(Comparison::Eq(even.clone()), &odd));
        assert!(passes(Comparison::Gt(even.clone()), &odd));
        assert!(passes(Comparison::Lt(odd.clone()), &even));
        assert!(passes(Comparison::Ne(odd), &even));
        // 2^63 as a double is beyond every integer; −2^63 is the smallest.
        let beyond = Value::Number(9_223_372_036_854_775_808.0);
        assert!(passes(Comparison::Lt(beyond.clone()), &Value::Integer(i64::MAX)));
        assert!(!passes(Comparison::Gte(beyond), &Value::Integer(i64::MAX)));
        let smallest = Value::Number(-9_223_372_036_854_775_808.0);
        assert!(passes(Comparison::Eq(smallest), &Value::Integer(i64::MIN)));
        assert!(passes(Comparison::Gt(Value::Number(-1e300)), &Value::Integer(i64::MIN)));
        assert!(passes(Comparison::Gte(Value::Number(2.5)), &Value::Integer(3)));
        assert!(!passes(Comparison::Gte(Value::Number(2.5)), &Value::Integer(2)));
        assert!(passes(Comparison::Eq(Value::Integer(0)), &Value::Number(-0.0)));
        assert!(!passes(Comparison::Lt(Value::Number(0.0)), &Value::Number(-0.0)));
        assert!(!passes(Comparison::Lte(Value::Number(f64::NAN)), &Value::Number(1.0)));
    }

    #[test]
    fn texts_compare_by_code_point_and_never_with_numbers() {
        let text = |text: &str| Value::Text(text.into());
        // In UTF-16 the order would be the other way round.
        assert!(passes(Comparison::Gt(text("\u{fffd}")), &text("𠮷")));
        assert!(!passes(Comparison::Eq(text("e\u{301}")), &text("é")));
        assert!(!passes(Comparison::Eq(Value::Integer(7)), &text("7")));
        assert!(passes(Comparison::Ne(Value::Integer(7)), &text("7")));
        assert!(!passes(Comparison::Gt(Value::Integer(7)), &text("8")));
        assert!(!passes(Comparison::Contains("7".into()), &Value::Integer(7)));
    }

    #[test]
    fn booleans_have_no_order() {
        assert!(passes(Comparison::Eq(Value::Boolean(true)), &Value::Boolean(true)));
        assert!(passes(Comparison::Ne(Value::Boolean(false)), &Value::Boolean(true)));
        assert!(!passes(Comparison::Gte(Value::Boolean(false)), &Value::Boolean(true)));
        assert!(!passes(Comparison::Eq(Value::Integer(1)), &Value::Boolean(true)));
    }

    #[test]
    fn who_was_born_on_a_leap_day_ages_on_the_first_of_march() {
        let at_least_20 = AttributeTest::Age { bounds: vec![Bound::Gte(20)], zone: Tokyo };
        let leap_day = "2004-02-29";
        assert!(dated(&at_least_20, leap_day, noon("2024-02-29")));
        assert!(!dated(&at_least_20, leap_day, noon("2024-02-28")));
        let at_least_21 = AttributeTest::Age { bounds: vec![Bound::Gte(21)], zone: Tokyo };
        assert!(!dated(&at_least_21, leap_day, noon("2025-02-28")));
        assert!(dated(&at_least_21, leap_day, noon("2025-03-01")));
        assert!(dated(&at_least_20, "2003-02-28", noon("2024-02-29")));
        assert!(!dated(&at_least_20, "2004-03-01", noon("2024-02-29")));
    }

    #[test]
    fn who_is_not_born_yet_has_no_age() {
        for bound in [Bound::Lt(40), Bound::Gte(-5), Bound::Ne(7)] {
            let test = AttributeTest::Age { bounds: vec![bound], zone: Tokyo };
            assert!(dated(&test, "2026-12-04", noon("2026-12-04")));
            assert!(!dated(&test, "2026-12-05", noon("2026-12-04")));
        }
    }

    #[test]
    fn absurd_ages_select_nobody_or_everybody_born() {
        for (bound, holds) in [
            (Bound::Gte(i64::MAX), false),
            (Bound::Gt(i64::MAX), false),
            (Bound::Gte(i64::MIN), true),
            (Bound::Lte(i64::MAX), true),
            (Bound::Lt(i64::MIN), false),
        ] {
            let test = AttributeTest::Age { bounds: vec![bound], zone: Tokyo };
            assert_eq!(dated(&test, "1990-01-01", noon("2026-12-04")), holds, "{bound:?}");
        }
    }

    #[test]
    fn a_local_day_turns_at_local_midnight() {
        let today = AttributeTest::OnDay { offset: 0, zone: Tokyo };
        let midnight = Instant::start_of_day(day("2026-12-04"), Tokyo);
        assert!(dated(&today, "2026-12-04", midnight));
        assert!(!dated(&today, "2026-12-04", midnight - Span::from_millis(1)));
        assert!(dated(&today, "2026-12-03", midnight - Span::from_millis(1)));
        let never = AttributeTest::OnDay { offset: i64::MAX, zone: Tokyo };
        assert!(!dated(&never, "2026-12-04", midnight));
    }

    #[test]
    fn parts_of_days_count_by_their_length() {
        let (now, zone) = (noon("2026-12-04"), Tokyo);
        let past = AttributeTest::Past { within: Span::from_hours(36), zone };
        let ahead = AttributeTest::Ahead { within: Span::from_hours(36), zone };
        let ago = AttributeTest::AgoAtLeast { span: Span::from_hours(36), zone };
        let holds = |test: &AttributeTest| -> Vec<&str> {
            ["2026-12-01", "2026-12-02", "2026-12-03", "2026-12-04", "2026-12-05", "2026-12-06"]
                .into_iter()
                .filter(|date| dated(test, date, now))
                .collect()
        };
        assert_eq!(holds(&past), ["2026-12-03", "2026-12-04"]);
        assert_eq!(holds(&ahead), ["2026-12-05"]);
        assert_eq!(holds(&ago), ["2026-12-01", "2026-12-02"]);
    }

    proptest! {
        #[test]
        fn keys_of_doubles_keep_their_order(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            prop_assert_eq!(key_of_double(a).cmp(&key_of_double(b)), a.partial_cmp(&b).unwrap());
            prop_assert_eq!(double_of_key(key_of_double(a)), a);
        }
    }
}
