//! Occurrences as people and programs see them: lists, books, batches.

use std::collections::BTreeMap;

use serde_json::json;

use crate::domain::delivery::Outcome;
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::key::Run as RunKind;
use crate::domain::plan::Warning;
use crate::lang::Lang;
use crate::protocol::Answer;
use crate::store::{BatchEnding, BatchRow, OccurrenceFilter, OccurrenceRow};
use crate::text::Table;

use super::Engine;
use super::acts::{Answered, not_found};
use super::books::Books;
use super::words::{Subject, exclusion_words, outcome_words, state_words};

impl Engine {
    pub(super) async fn occurrence_list(
        &self,
        campaign: Option<CampaignSlug>,
        limit: u32,
        lang: Lang,
    ) -> Answered {
        if let Some(Err(failure)) = campaign.as_ref().map(|campaign| self.known_campaign(campaign, lang)) {
            return Ok(Err(failure));
        }
        let filter = OccurrenceFilter::Newest { campaign, limit: limit.clamp(1, 10_000) };
        let rows = self.deps.store.occurrences(self.account, filter).await?;
        let mut table = Table::new(&[
            "#",
            lang.pick("キャンペーン", "campaign"),
            lang.pick("配信時刻", "due"),
            lang.pick("状態", "state"),
            lang.pick("一致", "matched"),
            lang.pick("配信", "recipients"),
            lang.pick("理由", "reason"),
        ]);
        let mut list = Vec::new();
        for row in &rows {
            table.row(vec![
                row.id.to_string(),
                name_of(row, lang),
                self.at(row.due_at),
                state_words(row.state, lang).to_owned(),
                row.matched.to_string(),
                row.recipients.to_string(),
                self.occurrence_reason(row, lang).unwrap_or_default(),
            ]);
            list.push(self.occurrence_json(row, lang));
        }
        Ok(Ok(Answer {
            text: table.render(),
            json: json!({ "account": self.slug, "occurrences": list }),
            exit: 0,
        }))
    }

    pub(super) async fn occurrence_show(&self, id: OccurrenceId, lang: Lang) -> Answered {
        let found = self.deps.store.occurrences(self.account, OccurrenceFilter::Id(id)).await?;
        let Some(row) = found.into_iter().next() else {
            return Ok(Err(not_found(match lang {
                Lang::Ja => format!("配信回 {id} はありません。一覧: haishin occurrence list"),
                Lang::En => format!("there is no occurrence {id}. See: haishin occurrence list"),
            })));
        };
        let run = self.state.runs.get(&id);
        let tally = self.deps.store.tally(self.account, id).await?;
        let batches = self.deps.store.batches(self.account, id).await?;
        let again = batches
            .iter()
            .filter(|batch| batch.ended.as_ref().is_some_and(|end| end.accepted_request_id.is_some()))
            .count();
        let arms: Vec<_> = tally
            .arms
            .iter()
            .map(|arm| json!({ "variant": arm.name, "recipients": arm.friends, "unit": arm.unit }))
            .collect();
        let books = Books::of(&row, tally, run);
        let batch_list: Vec<_> = batches.iter().map(batch_json).collect();
        let mut json = self.occurrence_json(&row, lang);
        if let Some(object) = json.as_object_mut() {
            object.insert("books".into(), json!({ "balanced": books.balance(), "counts": books }));
            object.insert("variants".into(), arms.into());
            object.insert("batches".into(), batch_list.into());
            object.insert("already_accepted".into(), again.into());
            if let Some(run) = run {
                object.insert("open".into(), self.run_json(run, lang));
            }
        }
        let mut text = self.occurrence_text(&row, &books, again, lang);
        let warnings = self.occurrence_warnings(&row, lang).into_iter();
        for line in warnings.chain(self.batch_lines(&row, &batches, lang)) {
            text += &format!("\n  ⚠ {line}");
        }
        Ok(Ok(Answer { text, json, exit: 0 }))
    }

    /// Why an occurrence stands where it does, and what to do next.
    pub(super) fn occurrence_reason(&self, row: &OccurrenceRow, lang: Lang) -> Option<String> {
        let of = Subject::Occurrence(&row.campaign, row.id);
        row.reason.as_ref().map(|reason| self.words(lang).reason(reason, of))
    }

    /// What a person should hear of a decision although it went out.
    pub(super) fn occurrence_warnings(&self, row: &OccurrenceRow, lang: Lang) -> Vec<String> {
        let warnings = row.detail.get("warnings").cloned().unwrap_or_default();
        // Of a decision of another version of haishin, what this one does not know stays in the JSON.
        let warnings: Vec<Warning> = serde_json::from_value(warnings).unwrap_or_default();
        warnings.iter().map(|warning| self.words(lang).warning(warning)).collect()
    }

    /// What LINE refused and what nobody knows of, with how many friends each concerns.
    fn batch_lines(&self, row: &OccurrenceRow, batches: &[BatchRow], lang: Lang) -> Vec<String> {
        let of = Subject::Occurrence(&row.campaign, row.id);
        let mut told: BTreeMap<(Outcome, String), u64> = BTreeMap::new();
        for batch in batches {
            let Some(end) = &batch.ended else { continue };
            let BatchEnding::Outcome(outcome @ (Outcome::Rejected | Outcome::Unknown)) = end.how else {
                continue;
            };
            let why = end.detail.as_ref().map(|detail| self.words(lang).batch(outcome, detail, of));
            *told.entry((outcome, why.unwrap_or_default())).or_default() += u64::from(batch.friend_count);
        }
        let line = |((outcome, why), friends)| {
            let outcome = outcome_words(outcome, lang);
            lang.pick(format!("{outcome} {friends}人: {why}"), format!("{outcome} {friends}: {why}"))
        };
        told.into_iter().map(line).collect()
    }

    fn occurrence_json(&self, row: &OccurrenceRow, lang: Lang) -> serde_json::Value {
        let (run, test_at) = match row.run {
            RunKind::Scheduled(rerun) => (rerun, None),
            RunKind::Test(at) => (0, Some(at)),
        };
        json!({
            "occurrence": row.id, "campaign": row.campaign, "due_at": row.due_at, "rerun": run, "test_at": test_at,
            "state": row.state, "reason": self.occurrence_reason(row, lang), "why": row.reason,
            "detail": row.detail, "category": row.category, "frozen_at": row.frozen_at,
            "deadline_at": row.deadline_at, "matched": row.matched, "recipients": row.recipients,
            "parts": row.parts, "finished_at": row.finished_at, "config_version": row.version,
        })
    }

    fn occurrence_text(&self, row: &OccurrenceRow, books: &Books, again: usize, lang: Lang) -> String {
        let mut lines = vec![format!(
            "#{} {}  {}  {}",
            row.id,
            name_of(row, lang),
            self.at(row.due_at),
            state_words(row.state, lang)
        )];
        lines.extend(self.occurrence_reason(row, lang).map(|reason| format!("  {reason}")));
        lines.push(format!("  {} {}", lang.pick("条件に一致", "matched"), books.matched));
        for (exclusion, count) in &books.excluded {
            lines.push(format!("   − {} {count}", exclusion_words(exclusion, lang)));
        }
        lines.push(format!("  {} {}", lang.pick("配信する", "recipients"), row.recipients));
        if again > 0 {
            lines.push(match lang {
                Lang::Ja => format!("  再送に LINE が「受付済み」と答えたもの {again}件"),
                Lang::En => format!("  {again} retries were answered: already accepted"),
            });
        }
        lines.push(format!("  {}", books.line(lang)));
        lines.join("\n")
    }
}

/// The campaign, and whether it is only a test of it.
fn name_of(row: &OccurrenceRow, lang: Lang) -> String {
    match row.run {
        RunKind::Scheduled(_) => row.campaign.to_string(),
        RunKind::Test(_) => format!("{} {}", row.campaign, lang.pick("(テスト送信)", "(test send)")),
    }
}

fn batch_json(batch: &crate::store::BatchRow) -> serde_json::Value {
    let ended = batch.ended.as_ref().map(|end| {
        let how = match end.how {
            BatchEnding::Outcome(outcome) => outcome.as_str(),
            BatchEnding::Superseded => "superseded",
        };
        json!({
            "how": how, "at": end.at, "attempts": end.attempts, "request_id": end.request_id,
            "accepted_request_id": end.accepted_request_id, "detail": end.detail,
        })
    });
    json!({ "n": batch.n, "generation": batch.generation, "parent": batch.parent, "friends": batch.friend_count, "ended": ended })
}
