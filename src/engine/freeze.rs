//! The freeze: a decision made durable, with everything the sending will need (protocol §4).

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::clock::Reading;
use crate::domain::campaign::{Campaign, Dispatch};
use crate::domain::delivery::OccurrenceState;
use crate::domain::id::{OccurrenceId, VariantName};
use crate::domain::key::Run as RunKind;
use crate::domain::plan::{self, Decision, Verdict};
use crate::domain::time::{Instant, Span, Tz};
use crate::lang::Lang;
use crate::sender::run::Run;
use crate::store::{
    ExcludedSet, NewOccurrence, OccurrenceRow, Part, Priority, StoreError, VariantRow, Write,
};

use super::Engine;
use super::decide::Candidate;

impl Engine {
    /// Decides and freezes one occurrence; `false` when it has to wait and is still due.
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
        let begun = self.deps.clock.read();
        let now = begun.now;
        let Some(policy) = self.config().map(|config| config.policy.clone()) else { return Ok(false) };
        let candidate = Candidate::of(campaign, due, effective);
        let decided = self.decide(&candidate, &policy, now, self.state.sends.clone(), quota).await;
        let (decision, reserve) = match decided {
            Ok(decided) => decided,
            Err(failure) => {
                tracing::error!(account = %self.slug, campaign = %campaign.dispatch.slug, error = failure.message, "the rule cannot be evaluated");
                return Ok(false);
            }
        };
        if let Verdict::Wait(wait) = &decision.verdict {
            let reason = self.words(Lang::En).wait(*wait);
            tracing::warn!(account = %self.slug, campaign = %campaign.dispatch.slug, reason, "waits");
            return Ok(false);
        }
        let dispatch = &candidate.dispatch;
        let mut row = self.blank_row(dispatch, due, OccurrenceState::Sending, candidate.run);
        row.capped = reserve.capped;
        row.immediate = policy.quiet_hours_for(&dispatch.category, dispatch.immediate).is_none();
        row.parts = vec![Part { from_batch: 0, effective_at: effective.min(now) }];
        row.detail = detail(&decision, quota);
        row.matched = decision.matched.len();
        if let Verdict::Refuse(refusal) = &decision.verdict {
            row.state = OccurrenceState::Refused;
            row.reason = Some(refusal.clone().into());
            row.recipients = 0;
            row.finished_at = Some(now);
            return self.commit_frozen(campaign, &begun, row, decision, Vec::new()).await.map(|()| true);
        }
        row.recipients = decision.recipients();
        let variants = variant_rows(dispatch, &decision, due, policy.zone);
        self.state.sends_mut().reserve(reserve.reservation);
        self.commit_frozen(campaign, &begun, row, decision, variants).await.map(|()| true)
    }

    async fn commit_frozen(
        &mut self,
        campaign: &Campaign,
        begun: &Reading,
        row: OccurrenceRow,
        decision: Decision,
        variants: Vec<VariantRow>,
    ) -> Result<(), StoreError> {
        let excluded = decision.exclusions.into_iter();
        let sets = excluded.map(|(exclusion, friends)| ExcludedSet { exclusion, friends });
        let new = NewOccurrence { row: row.clone(), variants: variants.clone(), sets: sets.collect() };
        let mut writes = vec![Write::Occurrence(Box::new(new))];
        writes.extend(self.planned(campaign, row.due_at));
        let turnstile = self.deps.turnstile.clone();
        let slice = turnstile.slice().await;
        self.commit(Priority::Freeze, writes).await?;
        drop(slice);
        self.write_ticket();
        let reason = self.occurrence_reason(&row, Lang::En);
        tracing::info!(
            account = %self.slug, campaign = %row.campaign, occurrence = %row.id, due_at = %row.due_at,
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

/// The statistics unit of a variant and day: `[A-Za-z0-9_]{1,30}`, readable where the slug is ASCII, distinct by a
/// hash where it is cut.
fn unit_name(dispatch: &Dispatch, variant: &VariantName, due: Instant, zone: Tz) -> String {
    let mut hash = Sha256::new();
    hash.update(dispatch.slug.as_str());
    hash.update([0]);
    hash.update(variant.as_str());
    let hash = hex::encode(&hash.finalize()[..4]);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let slug: String = dispatch.slug.as_str().chars().filter(|c| c.is_ascii()).map(plain).take(14).collect();
    format!("{slug}_{hash}_{}", due.day_in(zone).format("%y%m%d"))
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
