//! Decisions: who gets it and whether it goes out, from everything the account knows. They read every friend, so they are
//! computed beside the runtime.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::audience::Index;
use crate::config::Configuration;
use crate::domain::campaign::{Campaign, Dispatch};
use crate::domain::id::{OccurrenceId, VersionId};
use crate::domain::key::Run as RunKind;
use crate::domain::plan::{self, Decision, Friends, Input};
use crate::domain::policy::Policy;
use crate::domain::segment::evaluate::Segments;
use crate::domain::segment::rule::Rule;
use crate::domain::sends::{Reservation, Sends};
use crate::domain::time::{Instant, Span};

use super::beside::beside;
use super::{Engine, Failure};

/// What a freeze takes.
pub(super) struct Reserve {
    /// The places in the caps.
    pub(super) reservation: Reservation,
    /// Whether caps count it.
    pub(super) capped: bool,
}

/// What is about to be decided: an occurrence of a campaign, of a drip's step, or of friends a cap deferred. Owned,
/// since it is decided beside the runtime.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// What goes out.
    pub(super) dispatch: Dispatch,
    /// To whom.
    pub(super) audience: Audience,
    /// When it fell due.
    pub(super) due: Instant,
    /// From when its deliveries will count.
    pub(super) effective: Instant,
    /// How long it may wait for what cannot be known yet.
    pub(super) grace: Span,
    /// Which run of the due instant.
    pub(super) run: RunKind,
    /// The configuration it is decided under.
    pub(super) version: VersionId,
    /// The occurrence whose deferred friends these are, and the number among its children.
    pub(super) parent: Option<(OccurrenceId, u32)>,
}

/// Whom a candidate is for.
#[derive(Debug, Clone)]
pub(super) enum Audience {
    /// Whomever the rule gives at the decision.
    Rule(Arc<Rule>),
    /// Those due at a step, or waiting for room.
    Due(Group),
}

/// Friends who are taken one by one, not by a rule.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    /// All of them.
    pub(super) friends: RoaringBitmap,
    /// Those of them who are not caught up.
    pub(super) missed: RoaringBitmap,
    /// Whom each arm is for, where the arms are branches.
    pub(super) branches: Option<Vec<RoaringBitmap>>,
}

impl Candidate {
    /// A campaign at one of its due instants.
    pub(super) fn of(campaign: &Campaign, version: VersionId, due: Instant, effective: Instant) -> Self {
        Self {
            dispatch: campaign.dispatch.clone(),
            audience: Audience::Rule(campaign.audience.clone()),
            due,
            effective,
            grace: campaign.schedule.grace,
            run: RunKind::Scheduled(campaign.rerun),
            version,
            parent: None,
        }
    }
}

/// Everything a decision reads, shared with the engine that waits for it.
struct Question {
    index: Arc<Index>,
    sends: Arc<Sends>,
    configuration: Arc<Configuration>,
    candidate: Candidate,
    policy: Policy,
    now: Instant,
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

    /// Whom each of these rules holds for, under a version's configuration.
    pub(super) async fn ask_rules(
        &self,
        configuration: &Arc<Configuration>,
        rules: Vec<Arc<Rule>>,
        now: Instant,
    ) -> Result<Vec<RoaringBitmap>, Failure> {
        let (index, sends) = (self.state.index.clone(), self.state.sends.clone());
        let configuration = configuration.clone();
        beside(move || {
            let segments = &configuration.segments;
            rules.iter().map(|rule| evaluate(&index, rule, segments, &sends, now)).collect()
        })
        .await
    }

    /// Decides one occurrence against `sends`, without acting.
    pub(super) async fn decide(
        &self,
        candidate: &Candidate,
        policy: &Policy,
        now: Instant,
        sends: Arc<Sends>,
        quota: plan::Quota,
    ) -> Result<(Decision, Reserve), Failure> {
        let question = Question {
            index: self.state.index.clone(),
            sends,
            configuration: self.configuration_of(candidate.version),
            candidate: candidate.clone(),
            policy: policy.clone(),
            now,
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
        let Self { index, sends, configuration, candidate, policy, now, quota, occurrence } = &self;
        let dispatch = &candidate.dispatch;
        let group = match &candidate.audience {
            Audience::Rule(rule) => {
                let friends = evaluate(index, rule, &configuration.segments, sends, *now)?;
                &Group { friends, ..Group::default() }
            }
            Audience::Due(group) => group,
        };
        let opted_out = self.opted_out();
        let user_of = |friend| index.user(friend);
        let friends = Friends {
            following: index.following(),
            erased: index.erased(),
            quarantined: index.quarantined(),
            opted_out: &opted_out,
        };
        let input = Input {
            dispatch,
            policy,
            due: candidate.due,
            effective: candidate.effective.min(*now),
            now: *now,
            grace: candidate.grace,
            matched: &group.friends,
            missed: &group.missed,
            branches: group.branches.as_deref(),
            friends,
            quota: *quota,
            user_of: &user_of,
        };
        let decision = plan::decide(&input, sends);
        let reservation = decision.reservation(&input, *occurrence);
        Ok((decision, Reserve { reservation, capped: policy.is_capped(&dispatch.category) }))
    }

    /// Holders of the opt-out tag of the campaign or of its category.
    fn opted_out(&self) -> RoaringBitmap {
        let dispatch = &self.candidate.dispatch;
        let category = self.policy.categories.get(&dispatch.category);
        let tags = dispatch.opt_out.iter().chain(category.and_then(|category| category.opt_out.as_ref()));
        tags.fold(RoaringBitmap::new(), |set, tag| set | self.index.tagged(tag, self.now))
    }
}
