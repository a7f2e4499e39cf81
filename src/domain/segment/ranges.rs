//! Sets of 64-bit keys as disjoint ranges: what every ordered comparison becomes.

use super::rule::Bound;

/// Disjoint, ascending, non-empty inclusive ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    /// Every key.
    pub fn all() -> Self {
        Self::between(i64::MIN, i64::MAX)
    }

    /// No key.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// `low..=high`; none when they stand the wrong way round.
    pub fn between(low: i64, high: i64) -> Self {
        if low <= high { Self(vec![(low, high)]) } else { Self::none() }
    }

    /// `..=high`, where `high` may lie below or above all keys.
    pub fn at_most(high: i128) -> Self {
        match i64::try_from(high) {
            Ok(high) => Self::between(i64::MIN, high),
            Err(_) if high > 0 => Self::all(),
            Err(_) => Self::none(),
        }
    }

    /// Exactly these keys.
    pub fn points(keys: impl IntoIterator<Item = i64>) -> Self {
        let mut keys: Vec<i64> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        Self(keys.into_iter().map(|key| (key, key)).collect())
    }

    /// Every key not in it.
    pub fn complement(&self) -> Self {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(i64::MIN);
        for &(low, high) in &self.0 {
            if let Some(from) = next.filter(|from| *from < low) {
                gaps.push((from, low - 1));
            }
            next = high.checked_add(1);
        }
        if let Some(from) = next {
            gaps.push((from, i64::MAX));
        }
        Self(gaps)
    }

    /// The keys in both.
    pub fn meet(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&(a_low, a_high)), Some(&&(b_low, b_high))) = (left.peek(), right.peek()) {
            let (low, high) = (a_low.max(b_low), a_high.min(b_high));
            if low <= high {
                both.push((low, high));
            }
            if a_high <= b_high {
                left.next()
            } else {
                right.next()
            };
        }
        Self(both)
    }

    /// Whether the key is in it.
    pub fn contains(&self, key: i64) -> bool {
        match self.0.as_slice() {
            [] => false,
            [(low, high)] => *low <= key && key <= *high,
            many => {
                let after = many.partition_point(|(low, _)| *low <= key);
                after.checked_sub(1).and_then(|i| many.get(i)).is_some_and(|(_, high)| key <= *high)
            }
        }
    }

    /// The only range, if there is exactly one.
    pub fn single(&self) -> Option<(i64, i64)> {
        match self.0.as_slice() {
            [range] => Some(*range),
            _ => None,
        }
    }

    /// Whether no key is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every key is in it.
    pub fn is_all(&self) -> bool {
        self.0 == [(i64::MIN, i64::MAX)]
    }

    /// A number from which on, upwards, membership no longer changes: 0 or more.
    pub fn settled_from(&self) -> i64 {
        let last_edge = self.0.iter().flat_map(|(low, high)| [low.saturating_sub(1), *high]);
        last_edge.filter(|edge| *edge < i64::MAX).max().map_or(0, |edge| edge.saturating_add(1).max(0))
    }

    /// The numbers for which all bounds hold.
    pub fn of_bounds(bounds: &[Bound<i64>]) -> Self {
        bounds.iter().fold(Self::all(), |all, bound| all.meet(&Self::of_bound(*bound)))
    }

    fn of_bound(bound: Bound<i64>) -> Self {
        match bound {
            Bound::Eq(n) => Self::points([n]),
            Bound::Ne(n) => Self::points([n]).complement(),
            Bound::Gt(n) => Self::at_most(n.into()).complement(),
            Bound::Gte(n) => Self::between(n, i64::MAX),
            Bound::Lt(n) => Self::between(n, i64::MAX).complement(),
            Bound::Lte(n) => Self::at_most(n.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_domain_are_inside_it() {
        for key in [i64::MIN, i64::MAX] {
            let point = Ranges::points([key]);
            assert!(point.contains(key) && !point.complement().contains(key));
            assert_eq!(point.complement().complement(), point);
        }
        assert!(Ranges::none().complement().is_all());
        assert!(Ranges::of_bounds(&[Bound::Gt(i64::MAX)]).is_empty());
        assert!(Ranges::of_bounds(&[Bound::Lt(i64::MIN)]).is_empty());
        assert!(Ranges::of_bounds(&[Bound::Lte(i64::MAX)]).is_all());
    }

    proptest! {
        #[test]
        fn sets_of_small_keys(a in prop::collection::vec(-9i64..9, 0..6), b in prop::collection::vec(-9i64..9, 0..6)) {
            let (left, right) = (Ranges::points(a.clone()).complement(), Ranges::points(b.clone()).complement());
            let both = left.meet(&right);
            for key in -10..10 {
                prop_assert_eq!(left.contains(key), !a.contains(&key));
                prop_assert_eq!(both.contains(key), !a.contains(&key) && !b.contains(&key));
            }
            let settled = both.settled_from();
            for beyond in 0..20 {
                prop_assert_eq!(both.contains(settled), both.contains(settled + beyond));
            }
        }
    }
}
