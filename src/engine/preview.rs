//! Who would get what if everything due at an instant froze then, in its order, without acting.

use std::sync::Arc;

use serde_json::json;

use crate::domain::campaign::Campaign;
use crate::domain::id::{CampaignSlug, FriendId};
use crate::domain::plan::{self, Decision, Verdict};
use crate::domain::schedule::{Delay, IfMissed, Verdict as Due};
use crate::domain::time::Instant;
use crate::lang::Lang;
use crate::protocol::Answer;

use super::Engine;
use super::acts::Answered;
use super::decide::Candidate;
use super::due::campaigns_of;
use super::freeze::detail;
use super::words::{Subject, exclusion_words};

impl Engine {
    /// Decides the named campaigns as if due now, or all that are due, one after the other with their reservations.
    pub(super) async fn preview(
        &mut self,
        wanted: &[CampaignSlug],
        now: Option<Instant>,
        friends: bool,
        lang: Lang,
    ) -> Answered {
        for slug in wanted {
            if let Err(failure) = self.own_campaign(slug, lang) {
                return Ok(Err(failure));
            }
        }
        let clock = self.deps.clock.read();
        let now = now.unwrap_or(clock.now);
        let quota = self.stored_quota(clock.now).await?;
        let Some(policy) = self.config().map(|config| config.policy.clone()) else {
            return Ok(Err(super::acts::not_found(self.slug.to_string())));
        };
        let mut sends = self.sends_at(now).await?;
        let (mut texts, mut list) = (Vec::new(), Vec::new());
        for (n, (campaign, due, effective)) in self.candidates(wanted, now).into_iter().enumerate() {
            let candidate = Candidate::of(&campaign, self.active.version, due, effective);
            let decided = self.decide(&candidate, &policy, now, sends.clone(), quota).await;
            let (decision, mut reserve) = match decided {
                Ok(decided) => decided,
                Err(failure) => return Ok(Err(failure)),
            };
            if decision.verdict == Verdict::Send {
                let number = i64::try_from(n).unwrap_or(i64::MAX);
                reserve.reservation.occurrence.0 = self.state.next_occurrence.saturating_add(number);
                Arc::make_mut(&mut sends).reserve(reserve.reservation);
            }
            texts.push(self.decision_text(&campaign, due, &decision, lang));
            list.push(self.decision_json(&campaign, due, &decision, (quota, friends), lang));
        }
        if texts.is_empty() {
            texts.push(
                lang.pick("この時刻に配信するものはありません。", "nothing is due at this instant.").into(),
            );
        }
        let json = json!({ "account": self.slug, "now": now, "decisions": list });
        Ok(Ok(Answer { text: texts.join("\n"), json, exit: 0 }))
    }

    /// What freezes at `now`, in order, with due and effective instants.
    fn candidates(&self, wanted: &[CampaignSlug], now: Instant) -> Vec<(Campaign, Instant, Instant)> {
        let mut candidates: Vec<(Campaign, Instant, Instant)> = Vec::new();
        if wanted.is_empty() {
            let ahead = now > self.deps.clock.now();
            for due in self.dues(now) {
                let delay = Delay { quiet_hours: self.quiet_hours(&due.campaign), up_since: due.up_since };
                let mut runs: Vec<Instant> = due
                    .instants
                    .iter()
                    .filter(|(_, verdict)| *verdict == Due::Run)
                    .map(|(at, _)| *at)
                    .collect();
                // What is planned as it comes until then is not there any more: one instant of each freezes at `now`.
                if ahead && due.campaign.schedule.if_missed == IfMissed::Latest {
                    runs.drain(..runs.len().saturating_sub(1));
                }
                for at in runs {
                    candidates.push((due.campaign.clone(), at, delay.effective(at).min(now)));
                }
            }
        } else {
            let named = campaigns_of(&self.active, &self.slug)
                .filter(|campaign| wanted.contains(&campaign.dispatch.slug));
            candidates.extend(named.map(|campaign| (campaign.clone(), now, now)));
        }
        candidates.sort_by(|a, b| plan::precedence(&a.0.dispatch).cmp(&plan::precedence(&b.0.dispatch)));
        candidates
    }

    fn decision_text(&self, campaign: &Campaign, due: Instant, decision: &Decision, lang: Lang) -> String {
        let words = self.words(lang);
        let mut lines =
            vec![format!("{} {}  ({})", words.at(due), campaign.dispatch.title, campaign.dispatch.slug)];
        lines.push(format!("  {} {}", lang.pick("条件に一致", "matched"), decision.matched.len()));
        for (exclusion, friends) in &decision.exclusions {
            lines.push(format!("   − {} {}", exclusion_words(exclusion, lang), friends.len()));
        }
        lines.push(format!("  {} {}", lang.pick("配信する", "recipients"), decision.recipients()));
        if decision.variants.len() > 1 {
            for (name, friends) in &decision.variants {
                lines.push(format!("     {name} {}", friends.len()));
            }
        }
        for warning in &decision.warnings {
            lines.push(format!("  ⚠ {}", words.warning(warning)));
        }
        match &decision.verdict {
            Verdict::Send => {}
            Verdict::Refuse(refusal) => lines.push(format!(
                "  ✗ {}: {}",
                lang.pick("見送り", "refused"),
                words.reason(&refusal.clone().into(), Subject::Campaign(&campaign.dispatch.slug))
            )),
            Verdict::Wait(wait) => {
                lines.push(format!("  … {}: {}", lang.pick("待機", "waits"), words.wait(*wait)))
            }
        }
        lines.join("\n")
    }

    fn decision_json(
        &self,
        campaign: &Campaign,
        due: Instant,
        decision: &Decision,
        (quota, friends): (plan::Quota, bool),
        lang: Lang,
    ) -> serde_json::Value {
        let mut json = detail(decision, quota);
        let words = self.words(lang);
        let verdict = match &decision.verdict {
            Verdict::Send => json!({ "send": true }),
            Verdict::Refuse(refusal) => {
                let text = words.reason(&refusal.clone().into(), Subject::Campaign(&campaign.dispatch.slug));
                json!({ "send": false, "refused": text, "why": refusal })
            }
            Verdict::Wait(wait) => json!({ "send": false, "waits": words.wait(*wait), "why": wait }),
        };
        let Some(object) = json.as_object_mut() else { return json };
        object.insert("campaign".into(), json!(campaign.dispatch.slug));
        object.insert("due_at".into(), json!(due));
        object.insert("recipients".into(), json!(decision.recipients()));
        object.insert("verdict".into(), verdict);
        if friends {
            let users = |set: &roaring::RoaringBitmap| -> Vec<String> {
                set.iter()
                    .filter_map(|friend| self.state.index.user(FriendId(friend)))
                    .map(|user| user.to_string())
                    .collect()
            };
            let excluded: Vec<_> = decision
                .exclusions
                .iter()
                .map(|(exclusion, set)| json!({ "exclusion": exclusion, "users": users(set) }))
                .collect();
            let variants: Vec<_> = decision
                .variants
                .iter()
                .map(|(name, set)| json!({ "variant": name, "users": users(set) }))
                .collect();
            object.insert("excluded".into(), json!(excluded));
            object.insert("recipients_by_variant".into(), json!(variants));
        }
        json
    }
}
