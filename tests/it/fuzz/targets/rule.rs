//! Segment rules: from TOML to the friends they name, held against the naive evaluator.

use std::sync::LazyLock;

use haishin::audience::Index;
use haishin::config::{Severity, Source, parse};
use haishin::domain::effect::Entry;
use haishin::domain::id::{FriendId, SegmentSlug, Seq};
use haishin::domain::segment::rule::Rule;
use haishin::domain::sends::Sends;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::super::{draw, naive};
use super::NOW;

/// One small account, the same in every run.
struct Account {
    people: Vec<naive::Person>,
    index: Index,
}

static ACCOUNT: LazyLock<Account> = LazyLock::new(|| {
    let mut rng = StdRng::seed_from_u64(0x72_75_6c_65);
    let drawn = (0..24).flat_map(|friend| draw::history(&mut rng, FriendId(friend), NOW));
    let entries: Vec<Entry> = drawn
        .collect::<Vec<_>>()
        .into_iter()
        .zip(1..)
        .map(|(entry, n)| Entry { seq: Seq(n), ..entry })
        .collect();
    let mut index = Index::new();
    entries.iter().for_each(|entry| index.apply(entry));
    Account { people: naive::people(&entries), index }
});

/// The input is the file of a segment.
pub fn run(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let files = super::SHOP.into_iter().chain([("segments/fuzzed.toml", text)]);
    let source: Source = files.collect();
    let checked = parse(&source, NOW);
    let Some(configuration) = checked.configuration else {
        assert!(checked.diagnostics.iter().any(|one| one.severity() == Severity::Error));
        return false;
    };
    let slug = SegmentSlug::parse("fuzzed").unwrap();
    let segments = &configuration.segments;
    let rule = &segments[&slug].rule;
    let Account { people, index } = &*ACCOUNT;
    let sends = Sends::default();
    let evaluated = |rule: &Rule| index.evaluate(rule, segments, &sends, NOW);
    let found = evaluated(rule).unwrap_or_else(|error| panic!("{error}: {rule:?}"));
    assert!(found.is_subset(index.everybody()));
    for person in people.iter().filter(|person| person.row.erased_at.is_none()) {
        let expected = naive::holds(rule, person, segments, NOW);
        assert_eq!(found.contains(person.id()), expected, "{:?}: {rule:?}", person.row);
        let one = index.evaluate_one(rule, segments, &sends, NOW, FriendId(person.id()));
        assert_eq!(one, Ok(expected), "{:?}: {rule:?}", person.row);
    }
    // By its name it is the same, and who is not in it is everybody else. Either may be one level too deep.
    if let Ok(named) = evaluated(&Rule::Segment(slug)) {
        assert_eq!(named, found, "{rule:?}");
    }
    if let Ok(others) = evaluated(&Rule::Not(Box::new(rule.clone()))) {
        assert_eq!(others, index.everybody() - &found, "{rule:?}");
    }
    true
}
