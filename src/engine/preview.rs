//! Who would get what if everything due at an instant froze then, in its order, without acting.

use serde_json::json;

use crate::domain::campaign::Campaign;
use crate::domain::id::{CampaignSlug, FriendId};
use crate::domain::plan::{self, Decision, Verdict};
use crate::domain::schedule::{Delay, Verdict as Due};
use crate::domain::time::Instant;
use crate::lang::Lang;
use crate::protocol::Answer;

use super::Engine;
use super::acts::Answered;
use super::books::exclusion_words;
use super::due::campaigns_of;
use super::freeze::{Candidate, detail, refusal_words, wait_words, warning_words};

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
        let mut sends = self.state.sends.clone();
        let (mut texts, mut list) = (Vec::new(), Vec::new());
        for (n, (campaign, due, effective)) in self.candidates(wanted, now).into_iter().enumerate() {
            let candidate = Candidate::of(&campaign, self.active.version, due, effective);
            let decided = self.decide(&candidate, &policy, now, &sends, quota);
            let (decision, mut reserve) = match decided {
                Ok(decided) => decided,
                Err(failure) => return Ok(Err(failure)),
            };
            if decision.verdict == Verdict::Send {
                let number = i64::try_from(n).unwrap_or(i64::MAX);
                reserve.reservation.occurrence.0 = self.state.next_occurrence.saturating_add(number);
                sends.reserve(reserve.reservation);
            }
            texts.push(self.decision_text(&campaign, due, &decision, lang));
            list.push(self.decision_json(&campaign, due, &decision, quota, friends));
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
            for due in self.dues(now) {
                let delay = Delay { quiet_hours: self.quiet_hours(&due.campaign), up_since: due.up_since };
                for (at, _) in due.instants.iter().filter(|(_, verdict)| *verdict == Due::Run) {
                    candidates.push((due.campaign.clone(), *at, delay.effective(*at).min(now)));
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
        let mut lines = vec![format!(
            "{} {}  ({})",
            due.rfc3339(campaign_zone(self)),
            campaign.dispatch.title,
            campaign.dispatch.slug
        )];
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
            lines.push(format!("  ⚠ {}", warning_words(warning, lang)));
        }
        match &decision.verdict {
            Verdict::Send => {}
            Verdict::Refuse(refusal) => lines.push(format!(
                "  ✗ {}: {}",
                lang.pick("見送り", "refused"),
                refusal_words(refusal, lang)
            )),
            Verdict::Wait(wait) => {
                lines.push(format!("  … {}: {}", lang.pick("待機", "waits"), wait_words(*wait, lang)))
            }
        }
        lines.join("\n")
    }

    fn decision_json(
        &self,
        campaign: &Campaign,
        due: Instant,
        decision: &Decision,
        quota: plan::Quota,
        friends: bool,
    ) -> serde_json::Value {
        let mut json = detail(decision, quota);
        let verdict = match &decision.verdict {
            Verdict::Send => json!({ "send": true }),
            Verdict::Refuse(refusal) => json!({ "send": false, "refused": refusal_words(refusal, Lang::En) }),
            Verdict::Wait(wait) => json!({ "send": false, "waits": wait_words(*wait, Lang::En) }),
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

fn campaign_zone(engine: &Engine) -> crate::domain::time::Tz {
    engine.config().map_or(crate::domain::time::Tz::UTC, |config| config.policy.zone)
}
