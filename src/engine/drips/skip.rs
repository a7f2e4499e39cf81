//! Steps that fell due while the account was stopped: told to the person who starts it again, and left out on request.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::drip::{Content, Drip, Enrollment, Standing};
use crate::domain::id::{CampaignSlug, StepName};
use crate::domain::time::Instant;
use crate::store::{DeferralRow, Write};

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

/// Friends who wait for room under a cap in a database that forgets: they may have had it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct DoubtfulWait {
    pub(in crate::engine) campaign: CampaignSlug,
    /// They wait at most until then.
    pub(in crate::engine) until: Instant,
    pub(in crate::engine) friends: u64,
}

impl Engine {
    /// Whether the account stands still because its database is older than what it did.
    pub(in crate::engine) fn database_forgets(&self) -> bool {
        self.state.row.stopped.as_ref().is_some_and(|halt| halt.reason.forgets())
    }

    /// Whoever waits in such a database.
    pub(in crate::engine) fn doubtful_waits(&self) -> Vec<DoubtfulWait> {
        let forgets = self.database_forgets();
        let waits = self.state.deferrals.values().filter(|_| forgets);
        let wait = |one: &DeferralRow| DoubtfulWait {
            campaign: one.campaign.clone(),
            until: one.until,
            friends: one.waiting.len(),
        };
        waits.map(wait).collect()
    }

    /// By a person's choice they wait no longer. Memory changes here.
    pub(in crate::engine) fn end_doubtful_waits(&mut self, now: Instant) -> Vec<Write> {
        let campaigns: BTreeSet<CampaignSlug> =
            self.doubtful_waits().into_iter().map(|wait| wait.campaign).collect();
        campaigns.iter().flat_map(|campaign| self.end_waits(campaign, now).1).collect()
    }

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
