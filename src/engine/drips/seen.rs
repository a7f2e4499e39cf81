//! Drips as people and programs see them: who is where on which way.

use std::collections::BTreeMap;

use serde_json::json;

use crate::domain::drip::{Content, Drip, Ending, Standing};
use crate::domain::id::{CampaignSlug, StepName};
use crate::domain::time::Instant;
use crate::lang::Lang;
use crate::protocol::{Answer, Failure};
use crate::store::StepTotals;
use crate::text::{Table, no_such};

use super::super::acts::{Answered, not_found};
use super::super::words::Subject;
use super::Engine;

/// Open ways, counted.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// Due at a step, now or later.
    due: u64,
    /// Due now, or before, and not dealt with yet.
    late: u64,
    /// Waiting for room under a cap.
    waiting: u64,
    /// When the next of them is due.
    next: Option<Instant>,
}

impl Count {
    fn add(&mut self, standing: &Standing, now: Instant) {
        match standing {
            Standing::Due { at, .. } => {
                self.due += 1;
                self.late += u64::from(*at <= now);
                self.next = Some(self.next.map_or(*at, |next| next.min(*at)));
            }
            Standing::Waiting { .. } => self.waiting += 1,
            Standing::Starting { .. } | Standing::Ended { .. } => {}
        }
    }
}

impl Engine {
    /// All drips, those that have gone with friends still on their way too.
    pub(in crate::engine) async fn drip_list(&self, lang: Lang) -> Answered {
        let mut endings: BTreeMap<CampaignSlug, BTreeMap<Ending, u64>> = BTreeMap::new();
        for (drip, ending, ways) in self.deps.store.enrollment_endings(self.account).await? {
            endings.entry(drip).or_default().insert(ending, ways);
        }
        let mut table = Table::new(&[
            lang.pick("シナリオ", "drip"),
            lang.pick("状態", "state"),
            lang.pick("途中", "on their way"),
            lang.pick("遅れ", "late"),
            lang.pick("上限待ち", "waiting"),
            lang.pick("終了", "over"),
            lang.pick("次の配信", "next"),
            lang.pick("名前", "title"),
        ]);
        let (mut rows, mut halts) = (Vec::new(), Vec::new());
        for slug in self.drip_slugs() {
            let drip = self.drips().find(|drip| drip.slug == slug);
            let count = self.count_ways(&slug);
            let over = endings.remove(&slug).unwrap_or_default();
            let (state, shown) = self.drip_state(&slug, drip, lang);
            let title = drip.map_or("", |drip| &drip.title);
            table.row(vec![
                slug.to_string(),
                shown.to_owned(),
                (count.due + count.waiting).to_string(),
                count.late.to_string(),
                count.waiting.to_string(),
                over.values().sum::<u64>().to_string(),
                count.next.map_or("–".to_owned(), |at| self.at(at)),
                title.to_owned(),
            ]);
            let paused = self.state.campaigns.get(&slug).and_then(|row| row.paused.as_ref());
            let (words, of) = (self.words(lang), Subject::Campaign(&slug));
            halts.extend(paused.map(|halt| format!("\n⚠ {slug} {}", words.halt(halt, of))));
            rows.push(json!({
                "drip": slug, "title": title, "state": state, "on_their_way": count.due + count.waiting,
                "due": count.due, "late": count.late, "waiting": count.waiting, "next_due_at": count.next,
                "next_start_at": drip.and_then(|drip| self.next_start(drip)), "ended": ended_json(&over), "paused": paused.map(|halt| words.halt_json(halt, of)),
            }));
        }
        let text = table.render() + &halts.concat();
        Ok(Ok(Answer { text, json: json!({ "account": self.slug, "drips": rows }), exit: 0 }))
    }

    /// One drip, step by step.
    pub(in crate::engine) async fn drip_show(&self, slug: &CampaignSlug, lang: Lang) -> Answered {
        let slugs = self.drip_slugs();
        if !slugs.contains(slug) {
            let known = slugs.iter().map(CampaignSlug::as_str);
            return Ok(Err(not_found(no_such(lang, "シナリオ", "drip", slug.as_str(), known))));
        }
        let totals = self.deps.store.step_totals(self.account, slug).await?;
        let all = self.deps.store.enrollment_endings(self.account).await?;
        let over: BTreeMap<Ending, u64> =
            all.into_iter().filter(|(drip, ..)| drip == slug).map(|(_, how, ways)| (how, ways)).collect();
        let drip = self.drips().find(|drip| drip.slug == *slug);
        let counts = self.count_steps(slug);
        let mut table = Table::new(&[
            lang.pick("ステップ", "step"),
            lang.pick("待つ人", "to come"),
            lang.pick("遅れ", "late"),
            lang.pick("上限待ち", "waiting"),
            lang.pick("次回", "next"),
            lang.pick("配信回", "occurrences"),
            lang.pick("対象", "matched"),
            lang.pick("配信", "recipients"),
        ]);
        let mut rows = Vec::new();
        for step in steps_of(drip, counts.keys(), &totals) {
            let count = counts.get(&step).copied().unwrap_or_default();
            let sent = totals.iter().find(|total| total.step.as_ref() == Some(&step));
            let acts =
                drip.and_then(|drip| drip.step(&step)).is_some_and(|s| matches!(s.content, Content::Act(_)));
            let number = |of: fn(&StepTotals) -> u64| match sent {
                None if acts => "–".to_owned(),
                sent => sent.map_or(0, of).to_string(),
            };
            table.row(vec![
                step.to_string(),
                count.due.to_string(),
                count.late.to_string(),
                count.waiting.to_string(),
                count.next.map_or("–".to_owned(), |at| self.at(at)),
                number(|total| total.occurrences),
                number(|total| total.matched),
                number(|total| total.recipients),
            ]);
            rows.push(json!({
                "step": step, "due": count.due, "late": count.late, "waiting": count.waiting, "next_due_at": count.next,
                "occurrences": sent.map_or(0, |total| total.occurrences), "matched": sent.map_or(0, |total| total.matched),
                "recipients": sent.map_or(0, |total| total.recipients),
            }));
        }
        let (state, shown) = self.drip_state(slug, drip, lang);
        let title = drip.map_or("", |drip| &drip.title);
        let mut text = format!("{slug}  {title}  {shown}\n{}", table.render());
        if !over.is_empty() {
            let ended: Vec<String> =
                over.iter().map(|(how, ways)| format!("{} {ways}", ending_words(*how, lang))).collect();
            text += &format!("\n{}: {}", lang.pick("終了", "over"), ended.join(lang.pick("・", ", ")));
        }
        let paused = self.state.campaigns.get(slug).and_then(|row| row.paused.as_ref());
        let (words, of) = (self.words(lang), Subject::Campaign(slug));
        if let Some(halt) = paused {
            text += &format!("\n⚠ {}", words.halt(halt, of));
        }
        let json = json!({
            "account": self.slug, "drip": slug, "title": title, "state": state, "steps": rows,
            "ended": ended_json(&over), "paused": paused.map(|halt| words.halt_json(halt, of)),
        });
        Ok(Ok(Answer { text, json, exit: 0 }))
    }

    /// A drip of this account, or why there is none.
    pub(in crate::engine) fn known_drip(&self, slug: &CampaignSlug, lang: Lang) -> Result<(), Failure> {
        let slugs = self.drip_slugs();
        if slugs.contains(slug) {
            return Ok(());
        }
        let known = slugs.iter().map(CampaignSlug::as_str);
        Err(not_found(no_such(lang, "シナリオ", "drip", slug.as_str(), known)))
    }

    /// Those of the configuration, and those that friends are still on their way through.
    fn drip_slugs(&self) -> Vec<CampaignSlug> {
        let mut slugs: Vec<CampaignSlug> = self.drips().map(|drip| drip.slug.clone()).collect();
        slugs.extend(self.state.ways.drips().cloned());
        slugs.sort();
        slugs.dedup();
        slugs
    }

    fn drip_state(
        &self,
        slug: &CampaignSlug,
        drip: Option<&Drip>,
        lang: Lang,
    ) -> (&'static str, &'static str) {
        match drip {
            None => ("gone", lang.pick("ファイルなし", "no file")),
            Some(drip) if drip.draft => ("draft", lang.pick("下書き", "draft")),
            Some(_) if self.is_paused(slug) => ("paused", lang.pick("一時停止", "paused")),
            Some(_) => ("active", lang.pick("有効", "active")),
        }
    }

    fn count_ways(&self, drip: &CampaignSlug) -> Count {
        let (mut count, now) = (Count::default(), self.deps.clock.now());
        self.state.ways.of(drip).for_each(|way| count.add(&way.standing, now));
        count
    }

    fn count_steps(&self, drip: &CampaignSlug) -> BTreeMap<StepName, Count> {
        let (mut counts, now) = (BTreeMap::<_, Count>::new(), self.deps.clock.now());
        for way in self.state.ways.of(drip) {
            if let Standing::Due { step, .. } | Standing::Waiting { step, .. } = &way.standing {
                counts.entry(step.clone()).or_default().add(&way.standing, now);
            }
        }
        counts
    }
}

/// The steps of the file in its order, then those of earlier versions.
fn steps_of<'a>(
    drip: Option<&Drip>,
    open: impl Iterator<Item = &'a StepName>,
    totals: &'a [StepTotals],
) -> Vec<StepName> {
    let mut steps: Vec<StepName> =
        drip.into_iter().flat_map(|drip| &drip.steps).map(|step| step.name.clone()).collect();
    for step in open.chain(totals.iter().filter_map(|total| total.step.as_ref())) {
        if !steps.contains(step) {
            steps.push(step.clone());
        }
    }
    steps
}

fn ended_json(over: &BTreeMap<Ending, u64>) -> serde_json::Value {
    over.iter()
        .map(|(how, ways)| (how.as_str().to_owned(), json!(ways)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// How a way ended, in words.
pub(in crate::engine) fn ending_words(how: Ending, lang: Lang) -> &'static str {
    match how {
        Ending::Finished => lang.pick("完了", "finished"),
        Ending::Stopped => lang.pick("中止条件", "stopped"),
        Ending::Reached => lang.pick("目標達成", "goal reached"),
        Ending::Cancelled => lang.pick("取り消し", "cancelled"),
        Ending::Erased => lang.pick("削除", "erased"),
    }
}
