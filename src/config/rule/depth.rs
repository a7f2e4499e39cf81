//! How deep rules nest, segments by name counted in: evaluation recurses, so it must end.

use std::collections::BTreeMap;

use crate::domain::id::SegmentSlug;
use crate::domain::segment::rule::{Rule, Segment};

/// The deepest rule that is evaluated, in levels, each named segment's own included.
pub(in crate::config) const DEPTH_MAX: usize = 64;

/// The levels of each segment that is in no circle.
pub(in crate::config) struct Depths<'s> {
    segments: &'s BTreeMap<SegmentSlug, Segment>,
    known: BTreeMap<&'s SegmentSlug, usize>,
}

impl<'s> Depths<'s> {
    /// Of these segments, which must contain no circle.
    pub fn new(segments: &'s BTreeMap<SegmentSlug, Segment>) -> Self {
        Depths { segments, known: BTreeMap::new() }
    }

    /// The levels of a rule; counting stops soon beyond [`DEPTH_MAX`].
    pub fn of(&mut self, rule: &'s Rule) -> usize {
        self.levels(rule, 0)
    }

    fn levels(&mut self, rule: &'s Rule, above: usize) -> usize {
        if above > DEPTH_MAX {
            return 1;
        }
        let below = match rule {
            Rule::Is(_) => 0,
            Rule::Not(rule) => self.levels(rule, above + 1),
            Rule::All(rules) | Rule::Any(rules) | Rule::AtLeast { of: rules, .. } => {
                rules.iter().map(|rule| self.levels(rule, above + 1)).max().unwrap_or(0)
            }
            Rule::Segment(slug) => self.named(slug, above),
        };
        below + 1
    }

    fn named(&mut self, slug: &SegmentSlug, above: usize) -> usize {
        if let Some(levels) = self.known.get(slug) {
            return *levels;
        }
        let Some((slug, segment)) = self.segments.get_key_value(slug) else { return 0 };
        let levels = self.levels(&segment.rule, above + 1);
        // Beyond the limit the count was cut short, which only another path may tell apart.
        if above + levels <= DEPTH_MAX {
            self.known.insert(slug, levels);
        }
        levels
    }
}
