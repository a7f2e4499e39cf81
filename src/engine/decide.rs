//! Decisions: who gets it and whether it goes out, from everything the account knows. They read every friend, so they are
//! computed beside the runtime.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::audience::Index;
use crate::domain::campaign::Campaign;
use crate::domain::id::OccurrenceId;
use crate::domain::plan::{self, Decision, Friends, Input};
use crate::domain::policy::Policy;
use crate::domain::segment::evaluate::Segments;
use crate::domain::segment::rule::Rule;
use crate::domain::sends::{Reservation, Sends};
use crate::domain::time::Instant;

use super::beside::beside;
use super::{Active, Engine, Failure};

/// What a freeze takes.
pub(super) struct Reserve {
    /// The places in the caps.
    pub(super) reservation: Reservation,
    /// Whether caps count it.
    pub(super) capped: bool,
}

/// When something is decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    /// The due instant.
    pub(super) due: Instant,
    /// From when its deliveries count.
    pub(super) effective: Instant,
    /// The instant of the decision.
    pub(super) now: Instant,
}

/// Everything a decision reads, shared with the engine that waits for it.
struct Question {
    index: Arc<Index>,
    sends: Arc<Sends>,
    active: Active,
    campaign: Campaign,
    policy: Policy,
    when: When,
    quota: plan::Quota,
    occurrence: OccurrenceId,
}

impl Engine {
    /// Evaluates a rule over the account's friends.
    pub(super) fn evaluate(
        &self,
        rule: &Rule,
        sends: &Sends,
        now: Instant,
    ) -> Result<RoaringBitmap, Failure> {
        evaluate(&self.state.index, rule, &self.active.configuration.segments, sends, now)
    }

    /// Decides one occurrence against `sends`, without acting.
    pub(super) async fn decide(
        &self,
        campaign: &Campaign,
        policy: &Policy,
        when: When,
        sends: Arc<Sends>,
        quota: plan::Quota,
    ) -> Result<(Decision, Reserve), Failure> {
        let question = Question {
            index: self.state.index.clone(),
            sends,
            active: self.active.clone(),
            campaign: campaign.clone(),
            policy: policy.clone(),
            when,
            quota,
            occurrence: OccurrenceId(self.state.next_occurrence),
        };
        // By the time it is answered the question is dropped, so that what it read is the engine's alone again.
        beside(move || question.answer()).await
    }
}

fn evaluate(
    index: &Index,
    rule: &Rule,
    segments: &Segments,
    sends: &Sends,
    now: Instant,
) -> Result<RoaringBitmap, Failure> {
    let evaluated = index.evaluate(rule, segments, sends, now);
    evaluated.map_err(|error| Failure { code: "invalid".into(), message: error.to_string() })
}

impl Question {
    fn answer(self) -> Result<(Decision, Reserve), Failure> {
        let Self { index, sends, active, campaign, policy, when, quota, occurrence } = &self;
        let segments = &active.configuration.segments;
        let matched = evaluate(index, &campaign.audience, segments, sends, when.now)?;
        let opted_out = self.opted_out();
        let user_of = |friend| index.user(friend);
        let friends = Friends {
            following: index.following(),
            erased: index.erased(),
            quarantined: index.quarantined(),
            opted_out: &opted_out,
        };
        let input = Input {
            campaign,
            policy,
            due: when.due,
            effective: when.effective,
            now: when.now,
            matched: &matched,
            friends,
            quota: *quota,
            user_of: &user_of,
        };
        let decision = plan::decide(&input, sends);
        let reservation = decision.reservation(&input, *occurrence);
        Ok((decision, Reserve { reservation, capped: policy.is_capped(&campaign.category) }))
    }

    /// Holders of the opt-out tag of the campaign or of its category.
    fn opted_out(&self) -> RoaringBitmap {
        let category = self.policy.categories.get(&self.campaign.category);
        let tags =
            self.campaign.opt_out.iter().chain(category.and_then(|category| category.opt_out.as_ref()));
        tags.fold(RoaringBitmap::new(), |set, tag| set | self.index.tagged(tag, self.when.now))
    }
}
