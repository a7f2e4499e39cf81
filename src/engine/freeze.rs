//! The freeze: a decision made durable, with everything the sending will need (protocol §4).

use roaring::RoaringBitmap;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::clock::Reading;
use crate::domain::campaign::{Campaign, Dispatch};
use crate::domain::delivery::{Exclusion, OccurrenceState};
use crate::domain::id::{OccurrenceId, VariantName, VersionId};
use crate::domain::key::Run as RunKind;
use crate::domain::plan::{self, Decision, Friends, Input, Reach, Refusal, Verdict, Wait, Warning};
use crate::domain::policy::Policy;
use crate::domain::segment::rule::Rule;
use crate::domain::sends::{Reservation, Sends};
use crate::domain::time::{Instant, Span, Tz};
use crate::lang::Lang;
use crate::sender::run::Run;
use crate::store::{
    NewOccurrence, OccurrenceRow, OccurrenceSet, Part, Priority, SetKind, StoreError, VariantRow, Write,
};

use super::drips::deferred;
use super::{Engine, Failure};

/// What is about to be decided: an occurrence of a campaign, of a drip's step, or of friends a cap deferred.
#[derive(Debug, Clone)]
pub(super) struct Candidate<'a> {
    /// What goes out.
    pub(super) dispatch: &'a Dispatch,
    /// To whom.
    pub(super) audience: Audience<'a>,
    /// Whom each arm is for, where the arms are branches.
    pub(super) branches: Option<&'a [RoaringBitmap]>,
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
#[derive(Debug, Clone, Copy)]
pub(super) enum Audience<'a> {
    /// Whoever the rule gives at the decision.
    Rule(&'a Rule),
    /// These, of whom some missed their time.
    Due {
        /// All of them.
        friends: &'a RoaringBitmap,
        /// Those who are not caught up.
        missed: &'a RoaringBitmap,
    },
}

impl<'a> Candidate<'a> {
    /// A campaign at one of its due instants.
    pub(super) fn of(campaign: &'a Campaign, version: VersionId, due: Instant, effective: Instant) -> Self {
        Self {
            dispatch: &campaign.dispatch,
            audience: Audience::Rule(&campaign.audience),
            branches: None,
            due,
            effective,
            grace: campaign.schedule.grace,
            run: RunKind::Scheduled(campaign.rerun),
            version,
            parent: None,
        }
    }
}

/// What judging a candidate came to.
pub(super) enum Judged {
    /// It has to wait and is still due; nothing is recorded.
    Waits,
    /// It can be frozen, sent or refused.
    Decided(Box<Frozen>),
}

/// A decision ready to be made durable.
pub(super) struct Frozen {
    begun: Reading,
    /// The occurrence.
    pub(super) row: OccurrenceRow,
    /// Who gets what.
    pub(super) decision: Decision,
    reservation: Reservation,
}

impl Frozen {
    /// Takes those excluded for such a reason out of the audience.
    pub(super) fn leave_out(&mut self, reason: impl Fn(&Exclusion) -> bool) {
        let decision = &mut self.decision;
        for (_, friends) in decision.exclusions.iter().filter(|(excluded, _)| reason(excluded)) {
            decision.matched -= friends;
        }
        decision.exclusions.retain(|(excluded, _)| !reason(excluded));
        self.row.matched = decision.matched.len();
    }
}

/// What a freeze takes.
pub(super) struct Reserve {
    /// The places in the caps.
    pub(super) reservation: Reservation,
    /// Whether caps count it.
    pub(super) capped: bool,
}

impl Engine {
    /// Evaluates a rule over the account's friends.
    pub(super) fn evaluate(
        &self,
        rule: &Rule,
        sends: &Sends,
        now: Instant,
    ) -> Result<RoaringBitmap, Failure> {
        let segments = &self.active.configuration.segments;
        let evaluated = self.state.index.evaluate(rule, segments, sends, now);
        evaluated.map_err(|error| Failure { code: "invalid".into(), message: error.to_string() })
    }

    /// Decides one occurrence against `sends`, without acting.
    pub(super) fn decide(
        &self,
        candidate: &Candidate<'_>,
        policy: &Policy,
        now: Instant,
        sends: &Sends,
        quota: plan::Quota,
    ) -> Result<(Decision, Reserve), Failure> {
        let dispatch = candidate.dispatch;
        let none = RoaringBitmap::new();
        let evaluated;
        let (matched, missed) = match candidate.audience {
            Audience::Rule(rule) => {
                evaluated = self.evaluate(rule, sends, now)?;
                (&evaluated, &none)
            }
            Audience::Due { friends, missed } => (friends, missed),
        };
        let opted_out = self.opted_out(dispatch, policy, now);
        let index = &self.state.index;
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
            effective: candidate.effective.min(now),
            now,
            grace: candidate.grace,
            matched,
            missed,
            branches: candidate.branches,
            friends,
            quota,
            user_of: &user_of,
        };
        let decision = plan::decide(&input, sends);
        let reservation = decision.reservation(&input, OccurrenceId(self.state.next_occurrence));
        Ok((decision, Reserve { reservation, capped: policy.is_capped(&dispatch.category) }))
    }

    /// Holders of the opt-out tag of the campaign or of its category.
    fn opted_out(&self, dispatch: &Dispatch, policy: &Policy, now: Instant) -> RoaringBitmap {
        let category =
            policy.categories.get(&dispatch.category).and_then(|category| category.opt_out.as_ref());
        let tags = dispatch.opt_out.iter().chain(category);
        tags.fold(RoaringBitmap::new(), |set, tag| set | self.state.index.tagged(tag, now))
    }

    /// Decides and freezes one occurrence of a campaign; `false` when it has to wait and is still due.
    pub(super) async fn freeze(
        &mut self,
        campaign: &Campaign,
        due: Instant,
        effective: Instant,
        quota: &mut plan::Quota,
    ) -> Result<bool, StoreError> {
        if self.has_run(campaign).await? {
            let write = self.planned(campaign, due);
            self.commit(Priority::Freeze, write.into_iter().collect()).await?;
            return Ok(true);
        }
        let Some(policy) = self.config().map(|config| config.policy.clone()) else { return Ok(false) };
        let candidate = Candidate::of(campaign, self.active.version, due, effective);
        let Judged::Decided(frozen) = self.judge_candidate(&candidate, &policy, *quota)? else {
            return Ok(false);
        };
        let waits = frozen.row.state == OccurrenceState::Sending;
        let deferred = deferred(&frozen.decision).filter(|_| waits);
        let mut writes = self.wait_for_room(&frozen.row, candidate.dispatch, deferred);
        writes.extend(self.planned(campaign, due));
        self.commit_frozen(*frozen, candidate.dispatch, quota, writes).await.map(|()| true)
    }

    /// Decides a candidate: whether it waits, or what its freeze would write.
    pub(super) fn judge_candidate(
        &mut self,
        candidate: &Candidate<'_>,
        policy: &Policy,
        quota: plan::Quota,
    ) -> Result<Judged, StoreError> {
        let begun = self.deps.clock.read();
        let (dispatch, now) = (candidate.dispatch, begun.now);
        let (decision, reserve) = match self.decide(candidate, policy, now, &self.state.sends, quota) {
            Ok(decided) => decided,
            Err(failure) => {
                tracing::error!(account = %self.slug, campaign = %dispatch.slug, error = failure.message, "the rule cannot be evaluated");
                return Ok(Judged::Waits);
            }
        };
        if let Verdict::Wait(wait) = &decision.verdict {
            tracing::warn!(account = %self.slug, campaign = %dispatch.slug, reason = wait_words(*wait, Lang::En), "waits");
            return Ok(Judged::Waits);
        }
        let mut row = self.blank_row(dispatch, candidate.due, OccurrenceState::Sending, candidate.run);
        row.version = candidate.version;
        (row.parent, row.child) = candidate.parent.map_or((None, 0), |(parent, child)| (Some(parent), child));
        row.capped = reserve.capped;
        row.immediate = policy.quiet_hours_for(&dispatch.category, dispatch.immediate).is_none();
        row.parts = vec![Part { from_batch: 0, effective_at: candidate.effective.min(now) }];
        row.detail = detail(&decision, quota);
        row.matched = decision.matched.len();
        row.recipients = decision.recipients();
        if let Verdict::Refuse(refusal) = &decision.verdict {
            row.state = OccurrenceState::Refused;
            row.reason = Some(refusal_words(refusal, Lang::En));
            row.recipients = 0;
            row.finished_at = Some(now);
        }
        let reservation = reserve.reservation;
        Ok(Judged::Decided(Box::new(Frozen { begun, row, decision, reservation })))
    }

    /// Makes a decision durable, with what else its freeze changes.
    pub(super) async fn commit_frozen(
        &mut self,
        frozen: Frozen,
        dispatch: &Dispatch,
        quota: &mut plan::Quota,
        also: Vec<Write>,
    ) -> Result<(), StoreError> {
        let Frozen { begun, row, decision, reservation } = frozen;
        let mut variants = Vec::new();
        if row.state == OccurrenceState::Sending {
            let zone = self.config().map_or(Tz::UTC, |config| config.policy.zone);
            variants = variant_rows(dispatch, &decision, row.due_at, zone);
            if let plan::Quota::Known { used, .. } = quota {
                *used = used.saturating_add(row.recipients);
            }
            self.state.sends.reserve(reservation);
        }
        let excluded = decision.exclusions.into_iter();
        let sets = excluded
            .map(|(exclusion, friends)| OccurrenceSet { kind: SetKind::Excluded(exclusion), friends });
        let new = NewOccurrence { row: row.clone(), variants: variants.clone(), sets: sets.collect() };
        let mut writes = vec![Write::Occurrence(Box::new(new))];
        writes.extend(also);
        self.commit(Priority::Freeze, writes).await?;
        self.write_ticket();
        tracing::info!(
            account = %self.slug, campaign = %row.campaign, occurrence = %row.id, due_at = %row.due_at,
            step = row.step.as_ref().map(tracing::field::display),
            state = row.state.as_str(), matched = row.matched, recipients = row.recipients, reason = row.reason, "frozen"
        );
        let took = self.deps.clock.boot().since_boot.as_millis() - begun.boot.since_boot.as_millis();
        self.count_occurrence(&row, Span::from_millis(took));
        self.state.next_occurrence += 1;
        if row.state == OccurrenceState::Sending {
            let run = Run::new(row, self.state.row.channel_id.clone(), variants);
            self.state.runs.insert(run.row.id, run);
        }
        Ok(())
    }

    /// A row with everything that does not depend on the decision.
    pub(super) fn blank_row(
        &mut self,
        dispatch: &Dispatch,
        due: Instant,
        state: OccurrenceState,
        run: RunKind,
    ) -> OccurrenceRow {
        let now = self.deps.clock.now();
        let id = OccurrenceId(self.state.next_occurrence);
        if state == OccurrenceState::Missed {
            self.state.next_occurrence += 1;
        }
        OccurrenceRow {
            id,
            campaign: dispatch.slug.clone(),
            step: dispatch.step.clone(),
            due_at: due,
            run,
            parent: None,
            child: 0,
            version: self.active.version,
            state,
            reason: None,
            detail: json!({}),
            category: dispatch.category.clone(),
            capped: true,
            immediate: dispatch.immediate,
            frozen_at: now,
            deadline_at: dispatch.deadline.map(|deadline| deadline.instant(due)),
            pace: dispatch.pace,
            notify: dispatch.notify,
            matched: 0,
            recipients: 0,
            parts: Vec::new(),
            finished_at: (state == OccurrenceState::Missed).then_some(now),
        }
    }
}

/// The arms as they go into the ledger.
fn variant_rows(dispatch: &Dispatch, decision: &Decision, due: Instant, zone: Tz) -> Vec<VariantRow> {
    let arms = dispatch.variants.iter().zip(&decision.variants).zip(0..);
    arms.map(|((arm, (_, recipients)), position)| VariantRow {
        position,
        name: arm.name.clone(),
        messages: arm.messages.json.to_string(),
        content: arm.messages.content,
        unit: Some(unit_name(dispatch, &arm.name, due, zone)),
        recipients: recipients.clone(),
    })
    .collect()
}

/// The statistics unit of a variant and day, of a drip's step and month: `[A-Za-z0-9_]{1,30}`, readable where the slug is
/// ASCII, distinct by a hash where it is cut.
fn unit_name(dispatch: &Dispatch, variant: &VariantName, due: Instant, zone: Tz) -> String {
    let mut hash = Sha256::new();
    hash.update(dispatch.slug.as_str());
    hash.update([0]);
    hash.update(variant.as_str());
    if let Some(step) = &dispatch.step {
        hash.update([0]);
        hash.update(step.as_str());
    }
    let hash = hex::encode(&hash.finalize()[..4]);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let slug: String = dispatch.slug.as_str().chars().filter(|c| c.is_ascii()).map(plain).take(14).collect();
    let format = if dispatch.step.is_some() { "%y%m" } else { "%y%m%d" };
    format!("{slug}_{hash}_{}", due.day_in(zone).format(format))
}

/// What the decision came to, in JSON: kept with the occurrence so that "why" can always be told.
pub(super) fn detail(decision: &Decision, quota: plan::Quota) -> serde_json::Value {
    let exclusions = decision
        .exclusions
        .iter()
        .map(|(exclusion, friends)| json!({ "exclusion": exclusion, "friends": friends.len() }));
    let variants =
        decision.variants.iter().map(|(name, friends)| json!({ "variant": name, "friends": friends.len() }));
    let quota = match quota {
        plan::Quota::Known { limit, used } => json!({ "limit": limit, "used": used }),
        plan::Quota::Unlimited | plan::Quota::Unreadable => serde_json::Value::Null,
    };
    let warnings: Vec<_> = decision.warnings.iter().map(|warning| warning_words(warning, Lang::En)).collect();
    json!({
        "matched": decision.matched.len(),
        "quota": quota,
        "exclusions": exclusions.collect::<Vec<_>>(),
        "variants": variants.collect::<Vec<_>>(),
        "warnings": warnings,
    })
}

/// A refusal in words.
pub(super) fn refusal_words(refusal: &Refusal, lang: Lang) -> String {
    match (refusal, lang) {
        (Refusal::DeadlinePassed { deadline }, Lang::Ja) => {
            format!("期限 {deadline} を過ぎたか、配信しない時間帯のうちに過ぎます")
        }
        (Refusal::DeadlinePassed { deadline }, Lang::En) => {
            format!("the deadline {deadline} has passed, or passes in quiet hours")
        }
        (Refusal::MaxRecipients { recipients, max }, Lang::Ja) => {
            format!(
                "配信対象 {recipients}人が max_recipients = {max} を超えています。減らして送ることはしません"
            )
        }
        (Refusal::MaxRecipients { recipients, max }, Lang::En) => {
            format!("{recipients} recipients are more than max_recipients = {max}; nothing is truncated")
        }
        (Refusal::Blanket(reach), Lang::Ja) => {
            format!("{}。そのつもりなら reach = \"everyone\" と書いてください", reach_words(reach, lang))
        }
        (Refusal::Blanket(reach), Lang::En) => {
            format!("{}; say reach = \"everyone\" if that is meant", reach_words(reach, lang))
        }
        (Refusal::Quota(budget), Lang::Ja) => format!(
            "配信対象 {}人が今月使える {}通を超えています(上限 {}通、うち予約・発送用に {}通)",
            budget.recipients, budget.available, budget.limit, budget.kept
        ),
        (Refusal::Quota(budget), Lang::En) => format!(
            "{} recipients are more than the {} messages left this month (limit {}, {} kept for service)",
            budget.recipients, budget.available, budget.limit, budget.kept
        ),
        (Refusal::QuotaUnreadable, Lang::Ja) => "猶予のうちにLINEの残り通数を読み取れませんでした".into(),
        (Refusal::QuotaUnreadable, Lang::En) => "LINE's quota could not be read within the grace".into(),
    }
}

fn reach_words(reach: &Reach, lang: Lang) -> String {
    match lang {
        Lang::Ja => format!(
            "条件が、届く友だち {}人のうち {}人に一致しています({} を超えます)",
            reach.reachable, reach.matched, reach.share
        ),
        Lang::En => format!(
            "the rule matches {} of {} reachable friends, more than {}",
            reach.matched, reach.reachable, reach.share
        ),
    }
}

/// A warning in words.
pub(super) fn warning_words(warning: &Warning, lang: Lang) -> String {
    match (warning, lang) {
        (Warning::Blanket(reach), _) => reach_words(reach, lang),
        (Warning::Quota(budget), Lang::Ja) => format!(
            "今月の残りは {}通(上限 {}通)で、この配信は {}通です",
            budget.available, budget.limit, budget.recipients
        ),
        (Warning::Quota(budget), Lang::En) => format!(
            "{} messages are left of {} this month before this send of {}",
            budget.available, budget.limit, budget.recipients
        ),
    }
}

/// What an occurrence waits for, in words.
pub(super) fn wait_words(wait: Wait, lang: Lang) -> &'static str {
    match wait {
        Wait::QuietHours { .. } => lang.pick("配信しない時間帯です", "quiet hours"),
        Wait::QuotaUnreadable => {
            lang.pick("LINEの残り通数をまだ読み取れていません", "LINE's monthly quota has not been read yet")
        }
    }
}
