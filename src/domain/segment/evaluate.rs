//! The one evaluator: a fold of a rule over whatever answers its leaves, sets of friends or one friend.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::rule::{Age, Condition, Rule, Segment};
use crate::domain::id::SegmentSlug;
use crate::domain::time::Instant;

/// How deep rules may nest, segments by name included. Beyond it a rule is refused, so that no configuration can
/// exhaust a thread's stack.
pub const MAX_DEPTH: usize = 64;

/// Segments by name.
pub type Segments = BTreeMap<SegmentSlug, Segment>;

/// Why a rule cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// A name without a segment.
    #[error("there is no segment `{0}`; add config/segments/{0}.toml or correct the name")]
    UnknownSegment(SegmentSlug),
    /// A segment that asks itself.
    #[error("segment `{0}` refers to itself, perhaps through others; take it out of one of them")]
    Cycle(SegmentSlug),
    /// Too many levels.
    #[error("the rule nests deeper than {MAX_DEPTH} levels, segments by name included; flatten it")]
    TooDeep,
}

/// A set of friends, or whether one friend is in it.
pub trait FriendSet: Clone {
    /// The empty set.
    fn nobody() -> Self;
    /// Whether it is empty.
    fn is_nobody(&self) -> bool;
    /// What is in both.
    fn and(self, other: &Self) -> Self;
    /// What is in either.
    fn or(self, other: &Self) -> Self;
    /// What is in this one only.
    fn minus(self, other: &Self) -> Self;
}

impl FriendSet for bool {
    fn nobody() -> Self {
        false
    }
    fn is_nobody(&self) -> bool {
        !self
    }
    fn and(self, other: &Self) -> Self {
        self && *other
    }
    fn or(self, other: &Self) -> Self {
        self || *other
    }
    fn minus(self, other: &Self) -> Self {
        self && !other
    }
}

impl FriendSet for RoaringBitmap {
    fn nobody() -> Self {
        Self::new()
    }
    fn is_nobody(&self) -> bool {
        self.is_empty()
    }
    fn and(mut self, other: &Self) -> Self {
        self &= other;
        self
    }
    fn or(mut self, other: &Self) -> Self {
        self |= other;
        self
    }
    fn minus(mut self, other: &Self) -> Self {
        self -= other;
        self
    }
}

/// What answers the leaves of a rule.
pub trait Facts {
    /// Many friends, or one.
    type Set: FriendSet;
    /// Every friend of the account, blocked ones included.
    fn everybody(&self) -> Self::Set;
    /// Those of `among` for whom the condition holds. Narrowing is the caller's way to spare a scan its work.
    fn condition(&self, condition: &Condition, now: Instant, among: Self::Set) -> Self::Set;
    /// The others of `among`; overridden where that is quicker than asking who is not among the others.
    fn except(&self, condition: &Condition, now: Instant, among: Self::Set) -> Self::Set {
        let holds = self.condition(condition, now, among.clone());
        among.minus(&holds)
    }
}

/// Those for whom the rule holds at `now`. An error names what is wrong with the rule, whatever the friends are.
pub fn evaluate<F: Facts>(
    rule: &Rule,
    segments: &Segments,
    now: Instant,
    facts: &F,
) -> Result<F::Set, EvaluateError> {
    check(rule, segments)?;
    Fold { facts, segments, now, named: BTreeMap::new() }.rule(rule, facts.everybody())
}

/// Those of `among` that are in at least `k` of the sets.
pub fn at_least<S: FriendSet>(k: usize, sets: &[S], among: S) -> S {
    if k > sets.len() {
        return S::nobody();
    }
    // reached[j]: in at least j of the sets seen so far.
    let mut reached = vec![S::nobody(); k + 1];
    if let Some(first) = reached.first_mut() {
        *first = among;
    }
    for set in sets {
        for j in (1..=k).rev() {
            if let [.., fewer, more] = &mut reached[..=j] {
                let step = fewer.clone().and(set);
                *more = std::mem::replace(more, S::nobody()).or(&step);
            }
        }
    }
    reached.pop().unwrap_or_else(S::nobody)
}

struct Fold<'a, F: Facts> {
    facts: &'a F,
    segments: &'a Segments,
    now: Instant,
    /// Each segment by name is evaluated once, over everybody: names may be used exponentially often.
    named: BTreeMap<&'a SegmentSlug, F::Set>,
}

impl<'a, F: Facts> Fold<'a, F> {
    fn rule(&mut self, rule: &'a Rule, among: F::Set) -> Result<F::Set, EvaluateError> {
        match rule {
            Rule::All(rules) => self.all(rules, among),
            Rule::Any(rules) => {
                let mut either = F::Set::nobody();
                for rule in rules {
                    either = either.or(&self.rule(rule, among.clone())?);
                }
                Ok(either)
            }
            Rule::Not(rule) if let Rule::Is(condition) = rule.as_ref() => {
                Ok(self.facts.except(condition, self.now, among))
            }
            Rule::Not(rule) => {
                let holds = self.rule(rule, among.clone())?;
                Ok(among.minus(&holds))
            }
            Rule::AtLeast { k, of } => {
                let mut sets = Vec::with_capacity(of.len());
                for (i, rule) in of.iter().enumerate() {
                    if !of[..i].contains(rule) {
                        sets.push(self.rule(rule, among.clone())?);
                    }
                }
                Ok(at_least(usize::try_from(*k).unwrap_or(usize::MAX), &sets, among))
            }
            Rule::Is(condition) => Ok(self.facts.condition(condition, self.now, among)),
            Rule::Segment(slug) => {
                if !self.named.contains_key(slug) {
                    let named = self.rule(&find(self.segments, slug)?.rule, self.facts.everybody())?;
                    self.named.insert(slug, named);
                }
                Ok(self.named.get(slug).map_or_else(F::Set::nobody, |named| among.and(named)))
            }
        }
    }

    /// Cheap rules first: each narrows what the next has to look at.
    fn all(&mut self, rules: &'a [Rule], mut among: F::Set) -> Result<F::Set, EvaluateError> {
        let mut by_cost: Vec<&Rule> = rules.iter().collect();
        by_cost.sort_by_key(|rule| cost(rule));
        for rule in by_cost {
            if among.is_nobody() {
                break;
            }
            among = self.rule(rule, among)?;
        }
        Ok(among)
    }
}

/// What a rule costs over many friends, roughly: set operations, then columns read only at those left, then
/// columns read in full.
fn cost(rule: &Rule) -> u8 {
    match rule {
        Rule::All(rules) | Rule::Any(rules) | Rule::AtLeast { of: rules, .. } => {
            rules.iter().map(cost).max().unwrap_or(0)
        }
        Rule::Not(rule) => cost(rule),
        Rule::Is(
            Condition::Tag { held: Age::Any, .. } | Condition::Status(_) | Condition::Received { .. },
        ) => 0,
        Rule::Is(Condition::Attribute { .. } | Condition::Followed(_)) => 1,
        Rule::Is(Condition::Tag { .. }) => 2,
        Rule::Is(Condition::Event(_)) => 3,
        Rule::Segment(_) => 3,
    }
}

fn find<'a>(segments: &'a Segments, slug: &SegmentSlug) -> Result<&'a Segment, EvaluateError> {
    segments.get(slug).ok_or_else(|| EvaluateError::UnknownSegment(slug.clone()))
}

/// Whether the rule can be evaluated: every name is known, none refers to itself, and it is not too deep.
pub fn check(rule: &Rule, segments: &Segments) -> Result<(), EvaluateError> {
    Heights { segments, known: BTreeMap::new() }.of(rule, 1).map(|_| ())
}

struct Heights<'a> {
    segments: &'a Segments,
    /// `None` while a segment is being measured: meeting it again then is a cycle.
    known: BTreeMap<&'a SegmentSlug, Option<usize>>,
}

impl<'a> Heights<'a> {
    fn of(&mut self, rule: &'a Rule, depth: usize) -> Result<usize, EvaluateError> {
        if depth > MAX_DEPTH {
            return Err(EvaluateError::TooDeep);
        }
        let below = match rule {
            Rule::Is(_) => 0,
            Rule::Not(rule) => self.of(rule, depth + 1)?,
            Rule::All(rules) | Rule::Any(rules) | Rule::AtLeast { of: rules, .. } => {
                let mut highest = 0;
                for rule in rules {
                    highest = highest.max(self.of(rule, depth + 1)?);
                }
                highest
            }
            Rule::Segment(slug) => self.named(slug, depth)?,
        };
        if depth + below > MAX_DEPTH { Err(EvaluateError::TooDeep) } else { Ok(below + 1) }
    }

    fn named(&mut self, slug: &'a SegmentSlug, depth: usize) -> Result<usize, EvaluateError> {
        match self.known.get(slug) {
            Some(Some(height)) => return Ok(*height),
            Some(None) => return Err(EvaluateError::Cycle(slug.clone())),
            None => {}
        }
        self.known.insert(slug, None);
        let height = self.of(&find(self.segments, slug)?.rule, depth + 1)?;
        self.known.insert(slug, Some(height));
        Ok(height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::friend::Status;

    /// Everybody there is follows.
    struct Two;
    impl Facts for Two {
        type Set = RoaringBitmap;
        fn everybody(&self) -> RoaringBitmap {
            RoaringBitmap::from([0, 1])
        }
        fn condition(&self, condition: &Condition, _: Instant, among: RoaringBitmap) -> RoaringBitmap {
            if *condition == Condition::Status(Status::Following) { among } else { RoaringBitmap::new() }
        }
    }

    fn slug(text: &str) -> SegmentSlug {
        SegmentSlug::parse(text).unwrap()
    }
    fn segment(name: &str, rule: Rule) -> (SegmentSlug, Segment) {
        (slug(name), Segment { slug: slug(name), title: name.into(), rule })
    }
    fn count(rule: &Rule, segments: &Segments) -> Result<u64, EvaluateError> {
        evaluate(rule, segments, Instant::from_millis(0), &Two).map(|set| set.len())
    }
    const YES: Rule = Rule::Is(Condition::Status(Status::Following));
    const NO: Rule = Rule::Is(Condition::Status(Status::Blocked));

    #[test]
    fn empty_lists_have_their_neutral_meaning() {
        let none = Segments::new();
        assert_eq!(count(&Rule::All(vec![]), &none), Ok(2));
        assert_eq!(count(&Rule::Any(vec![]), &none), Ok(0));
        assert_eq!(count(&Rule::AtLeast { k: 0, of: vec![] }, &none), Ok(2));
        assert_eq!(count(&Rule::AtLeast { k: 1, of: vec![] }, &none), Ok(0));
    }

    #[test]
    fn at_least_counts_equal_rules_once() {
        let none = Segments::new();
        assert_eq!(count(&Rule::AtLeast { k: 2, of: vec![YES, YES] }, &none), Ok(0));
        let different = Rule::Not(Box::new(NO));
        assert_eq!(count(&Rule::AtLeast { k: 2, of: vec![YES, NO, different] }, &none), Ok(2));
        assert_eq!(count(&Rule::AtLeast { k: u32::MAX, of: vec![YES] }, &none), Ok(0));
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_told_though_no_friend_would_need_it() {
        let lazy = |named: &str| Rule::All(vec![NO, Rule::Segment(slug(named))]);
        let unknown = count(&lazy("gone"), &Segments::new());
        assert_eq!(unknown, Err(EvaluateError::UnknownSegment(slug("gone"))));
        let round = Segments::from([
            segment("a", Rule::Segment(slug("b"))),
            segment("b", Rule::Not(Box::new(Rule::Segment(slug("a"))))),
        ]);
        assert_eq!(count(&lazy("a"), &round), Err(EvaluateError::Cycle(slug("a"))));
    }

    #[test]
    fn depth_is_bounded_through_names_too() {
        let nested = |levels: usize| (1..levels).fold(YES, |rule, _| Rule::Not(Box::new(rule)));
        assert_eq!(count(&nested(MAX_DEPTH), &Segments::new()), Ok(0));
        assert_eq!(count(&nested(MAX_DEPTH + 1), &Segments::new()), Err(EvaluateError::TooDeep));
        // The second use of a name stands deeper than the first, which was fine.
        let named = Segments::from([segment("a", nested(40))]);
        let a = Rule::Segment(slug("a"));
        let deep = (0..30).fold(a.clone(), |rule, _| Rule::All(vec![rule]));
        assert_eq!(count(&Rule::Any(vec![a, deep]), &named), Err(EvaluateError::TooDeep));
    }

    #[test]
    fn names_used_exponentially_often_cost_one_evaluation_each() {
        let mut segments = Segments::from([segment("s0", YES)]);
        for i in 1..MAX_DEPTH / 2 {
            let below = Rule::Segment(slug(&format!("s{}", i - 1)));
            segments.extend([segment(&format!("s{i}"), Rule::All(vec![below.clone(), below]))]);
        }
        assert_eq!(count(&Rule::Segment(slug("s31")), &segments), Ok(2));
    }
}
