//! What there is to plan, in the order of precedence.

use std::cmp::Reverse;

use roaring::RoaringBitmap;

use crate::domain::drip::{Content, DueStep, Step};
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::schedule::Verdict;
use crate::domain::time::Instant;
use crate::store::DeferralRow;

use super::Engine;
use super::due::Due;

/// One thing to plan.
pub(super) enum Job {
    /// A campaign's due instants.
    Campaign(Box<Due>),
    /// A drip's step, for the friends due at it.
    Step(DueStep, RoaringBitmap),
    /// The friends a cap deferred in this occurrence.
    TakeUp(OccurrenceId),
}

/// Higher priority first, then the slug by code point; whoever was deferred before whoever is due only now; of a drip
/// the earlier step first.
type Precedence = (Reverse<u8>, CampaignSlug, u8, usize);

impl Engine {
    /// What comes first of all there is to do now, and by which campaign or drip it waits.
    pub(super) fn first_job(&self, now: Instant) -> Option<(CampaignSlug, Job)> {
        let open = |(key, _): &(Precedence, Job)| !self.waiting.contains(&key.1);
        let first = self.jobs(now).into_iter().filter(open).min_by(|(one, _), (other, _)| one.cmp(other));
        first.map(|((_, slug, ..), job)| (slug, job))
    }

    /// Whether it may send, so that LINE's numbers are needed.
    pub(super) fn sends(&self, job: &Job) -> bool {
        match job {
            Job::Campaign(due) => due.instants.iter().any(|(_, verdict)| *verdict == Verdict::Run),
            Job::Step(due, _) => {
                let configuration = self.configuration_of(due.version);
                let step = configuration.drips.get(&due.drip).and_then(|drip| drip.step(&due.step));
                step.is_some_and(|step| matches!(step.content, Content::Send(_)))
            }
            Job::TakeUp(_) => true,
        }
    }

    fn jobs(&self, now: Instant) -> Vec<(Precedence, Job)> {
        let mut jobs = Vec::new();
        for due in self.dues(now) {
            let dispatch = &due.campaign.dispatch;
            let key = (Reverse(dispatch.priority), dispatch.slug.clone(), 1, 0);
            jobs.push((key, Job::Campaign(Box::new(due))));
        }
        for parent in self.due_deferrals(now) {
            let Some(deferral) = self.state.deferrals.get(&parent) else { continue };
            let key = (Reverse(self.priority_of(deferral)), deferral.campaign.clone(), 0, 0);
            jobs.push((key, Job::TakeUp(parent)));
        }
        for (due, friends) in self.state.ways.due_by(now, |drip| self.is_paused(drip)) {
            if self.step_waits(&due, now).is_none() {
                let (priority, place) = self.step_precedence(&due);
                jobs.push(((priority, due.drip.clone(), 1, place), Job::Step(due, friends)));
            }
        }
        jobs
    }

    /// The priority of a campaign or drip whose friends wait, in the version that deferred them.
    fn priority_of(&self, deferral: &DeferralRow) -> u8 {
        let (configuration, slug) = (self.configuration_of(deferral.version), &deferral.campaign);
        let campaign = configuration.campaigns.get(slug).map(|campaign| &campaign.dispatch);
        let step = || configuration.drips.get(slug)?.steps.iter().find_map(Step::dispatch);
        campaign.or_else(step).map_or(50, |dispatch| dispatch.priority)
    }

    /// When a step is due that nothing holds up. Due ones are held up by quiet hours, or else would have been dealt
    /// with.
    pub(super) fn next_step(&self, now: Instant) -> Option<Instant> {
        let first = self.state.ways.first_due()?;
        if first > now {
            return Some(first);
        }
        let due = self.state.ways.due_by(now, |drip| self.is_paused(drip));
        let held = due.keys().filter_map(|due| self.step_waits(due, now)).min();
        // What comes next lies behind those that are held up.
        held.into_iter().chain(self.state.ways.next_due_after(now)).min()
    }
}
