//! Steps that fell due while the account was stopped: told to the person who starts it again, and left out on request.

use std::collections::BTreeMap;

use crate::domain::drip::{Content, Drip, Enrollment, Standing};
use crate::domain::id::{CampaignSlug, StepName};
use crate::domain::time::Instant;
use crate::store::Write;

use super::Engine;

/// A step that sends, and who fell due at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct FallenStep {
    pub(in crate::engine) drip: CampaignSlug,
    pub(in crate::engine) step: StepName,
    /// The first of them.
    pub(in crate::engine) due_at: Instant,
    pub(in crate::engine) friends: u64,
}

impl Engine {
    /// The steps that send at which friends fell due up to `now`, whatever stands in the way.
    pub(in crate::engine) fn fallen_steps(&self, now: Instant) -> Vec<FallenStep> {
        let mut fallen: BTreeMap<(CampaignSlug, StepName), (Instant, u64)> = BTreeMap::new();
        for way in self.ways_due_at_sends(now) {
            let Standing::Due { step, at } = &way.standing else { continue };
            let (first, friends) = fallen.entry((way.drip.clone(), step.clone())).or_insert((*at, 0));
            *first = (*first).min(*at);
            *friends += 1;
        }
        let step = |((drip, step), (due_at, friends))| FallenStep { drip, step, due_at, friends };
        fallen.into_iter().map(step).collect()
    }

    /// By a person's choice these friends pass the steps that send and fell due by them. Actions are done, late. Memory
    /// changes here.
    pub(in crate::engine) fn skip_steps(&mut self, now: Instant) -> Vec<Write> {
        let due: Vec<Enrollment> = self.ways_due_at_sends(now).cloned().collect();
        let mut passed = Vec::new();
        for mut way in due {
            let configuration = self.configuration_of(way.version);
            let Some(drip) = configuration.drips.get(&way.drip) else { continue };
            while is_due_at_a_send(&way, drip, now) {
                way.pass(drip);
            }
            self.state.ways.put(way.clone());
            passed.push(way);
        }
        if passed.is_empty() { Vec::new() } else { vec![Write::Enrollments(passed)] }
    }

    fn ways_due_at_sends(&self, now: Instant) -> impl Iterator<Item = &Enrollment> {
        let ways = self.state.ways.drips().flat_map(|drip| self.state.ways.of(drip));
        ways.filter(move |way| {
            let configuration = self.configuration_of(way.version);
            configuration.drips.get(&way.drip).is_some_and(|drip| is_due_at_a_send(way, drip, now))
        })
    }
}

fn is_due_at_a_send(way: &Enrollment, drip: &Drip, now: Instant) -> bool {
    let Standing::Due { step, at } = &way.standing else { return false };
    *at <= now && drip.step(step).is_some_and(|step| matches!(step.content, Content::Send(_)))
}
