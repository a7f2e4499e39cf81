//! The freeze: a decision made durable, with everything the sending will need.

use roaring::RoaringBitmap;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::clock::Reading;
use crate::domain::campaign::{Campaign, Dispatch};
use crate::domain::delivery::{Exclusion, OccurrenceState};
use crate::domain::id::{OccurrenceId, VariantName};
use crate::domain::key::Run as RunKind;
use crate::domain::plan::{self, Decision, Verdict};
use crate::domain::policy::Policy;
use crate::domain::sends::Reservation;
use crate::domain::time::{Instant, Span, Tz};
use crate::lang::Lang;
use crate::sender::run::Run;
use crate::store::{
    ExcludedSet, NewOccurrence, OccurrenceRow, Part, Priority, StoreError, VariantRow, Write,
};

use super::Engine;
use super::decide::Candidate;

/// A decision ready to be made durable.
pub(super) struct Frozen {
    begun: Reading,
    /// The occurrence.
    pub(super) row: OccurrenceRow,
    /// Who gets what.
    pub(super) decision: Decision,
    reservation: Reservation,
    quota: plan::Quota,
    zone: Tz,
}

impl Frozen {
    /// Whom a cap keeps waiting.
    pub(super) fn capped(&self) -> RoaringBitmap {
        let deferred = self.decision.exclusions.iter().filter(|(reason, _)| is_deferred(reason));
        deferred.fold(RoaringBitmap::new(), |all, (_, friends)| all | friends)
    }

    /// Takes them out of the books: they are in those of the occurrence that deferred them.
    pub(super) fn leave_out_capped(&mut self) {
        self.decision.matched -= self.capped();
        self.decision.exclusions.retain(|(reason, _)| !is_deferred(reason));
        self.row.matched = self.decision.matched.len();
        self.row.detail = detail(&self.decision, self.quota);
    }

    /// Who waits for room from now on: nobody where nothing goes out.
    pub(super) fn deferred(&self) -> RoaringBitmap {
        match self.row.state {
            OccurrenceState::Sending => self.capped(),
            _ => RoaringBitmap::new(),
        }
    }
}

fn is_deferred(reason: &Exclusion) -> bool {
    matches!(reason, Exclusion::Deferred { .. })
}

impl Engine {
    /// Decides and freezes one occurrence of a campaign; `false` when it has to wait and is still due.
    pub(super) async fn freeze(
        &mut self,
        campaign: &Campaign,
        due: Instant,
        effective: Instant,
        quota: plan::Quota,
    ) -> Result<bool, StoreError> {
        if self.has_run(campaign).await? {
            let write = self.planned(campaign, due);
            self.commit(Priority::Freeze, write.into_iter().collect()).await?;
            return Ok(true);
        }
        let Some(policy) = self.config().map(|config| config.policy.clone()) else { return Ok(false) };
        let candidate = Candidate::of(campaign, self.active.version, due, effective);
        let Some(frozen) = self.judge_candidate(&candidate, &policy, quota).await else { return Ok(false) };
        let mut writes = self.wait_for_room(&frozen, &candidate.dispatch);
        writes.extend(self.planned(campaign, due));
        self.commit_frozen(frozen, &candidate.dispatch, writes).await.map(|()| true)
    }

    /// Decides a candidate: what its freeze writes, or nothing when it has to wait and is still due.
    pub(super) async fn judge_candidate(
        &mut self,
        candidate: &Candidate,
        policy: &Policy,
        quota: plan::Quota,
    ) -> Option<Frozen> {
        let begun = self.deps.clock.read();
        // The clock may have been set since the turn began. Within what is still believed it goes back no further than
        // what was seen: caps count up to the instant of the decision.
        if self.clock_behind(begun.now) {
            return None;
        }
        let (dispatch, now) = (&candidate.dispatch, begun.now.max(self.state.seen_at));
        let decided = self.decide(candidate, policy, now, self.state.sends.clone(), quota).await;
        let (decision, reserve) = match decided {
            Ok(decided) => decided,
            Err(failure) => {
                tracing::error!(account = %self.slug, campaign = %dispatch.slug, error = failure.message, "the rule cannot be evaluated");
                return None;
            }
        };
        if let Verdict::Wait(wait) = &decision.verdict {
            let reason = self.words(Lang::En).wait(*wait);
            tracing::warn!(account = %self.slug, campaign = %dispatch.slug, reason, "waits");
            return None;
        }
        let mut row = self.blank_row(dispatch, candidate.due, OccurrenceState::Sending, candidate.run);
        row.version = candidate.version;
        row.frozen_at = now;
        (row.parent, row.child) = candidate.parent.map_or((None, 0), |(parent, child)| (Some(parent), child));
        row.capped = reserve.capped;
        row.immediate = policy.quiet_hours_for(&dispatch.category, dispatch.immediate).is_none();
        row.parts = vec![Part { from_batch: 0, effective_at: candidate.effective.min(now) }];
        row.detail = detail(&decision, quota);
        row.matched = decision.matched.len();
        row.recipients = decision.recipients();
        if let Verdict::Refuse(refusal) = &decision.verdict {
            row.state = OccurrenceState::Refused;
            row.reason = Some(refusal.clone().into());
            row.recipients = 0;
            row.finished_at = Some(now);
        }
        let reservation = reserve.reservation;
        Some(Frozen { begun, row, decision, reservation, quota, zone: policy.zone })
    }

    /// Makes a decision durable, with what else its freeze changes.
    pub(super) async fn commit_frozen(
        &mut self,
        frozen: Frozen,
        dispatch: &Dispatch,
        also: Vec<Write>,
    ) -> Result<(), StoreError> {
        let Frozen { begun, row, decision, reservation, zone, .. } = frozen;
        let mut variants = Vec::new();
        if row.state == OccurrenceState::Sending {
            variants = variant_rows(dispatch, &decision, row.due_at, zone);
            self.state.sends_mut().reserve(reservation);
        }
        let excluded = decision.exclusions.into_iter();
        let sets = excluded.map(|(exclusion, friends)| ExcludedSet { exclusion, friends });
        let new = NewOccurrence { row: row.clone(), variants: variants.clone(), sets: sets.collect() };
        let mut writes = vec![Write::Occurrence(Box::new(new))];
        writes.extend(also);
        let turnstile = self.deps.turnstile.clone();
        let slice = turnstile.slice().await;
        self.commit(Priority::Freeze, writes).await?;
        drop(slice);
        self.write_ticket();
        let reason = self.occurrence_reason(&row, Lang::En);
        tracing::info!(
            account = %self.slug, campaign = %row.campaign, occurrence = %row.id, due_at = %row.due_at,
            step = row.step.as_ref().map(tracing::field::display),
            state = row.state.as_str(), matched = row.matched, recipients = row.recipients, reason, "frozen"
        );
        for reason in self.occurrence_warnings(&row, Lang::En) {
            tracing::warn!(account = %self.slug, campaign = %row.campaign, occurrence = %row.id, reason, "frozen with a warning");
        }
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
    json!({
        "matched": decision.matched.len(),
        "quota": quota,
        "exclusions": exclusions.collect::<Vec<_>>(),
        "variants": variants.collect::<Vec<_>>(),
        "warnings": decision.warnings,
    })
}
