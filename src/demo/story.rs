//! The narrator: watches the daemon through the node's own answers and tells what it sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::ask::{Desk, Open, Shown, Status};
use super::screen::Screen;
use super::script::{LATER, SLOW, STAGE};
use super::words::{Place, Sending, Words};
use crate::clock::{Clock as _, SetClock};
use crate::control::node::Node;
use crate::domain::delivery::OccurrenceState;
use crate::domain::id::{AccountSlug, OccurrenceId};
use crate::domain::time::{Instant, Span};
use crate::sandbox::Sandbox;

/// How often the narrator looks.
const LOOK: Duration = Duration::from_millis(100);
/// The clock is set so long before what it skips to.
const SHORTLY: Span = Span::from_secs(1);
/// How long a restarted daemon gets to plan what fell due, before the clock skips.
const SETTLE: Span = Span::from_secs(2);
/// Nothing due within this time: the story is told.
const SOON: Span = Span::from_mins(30);

/// What an earlier process left open.
#[derive(Debug, Clone)]
pub(super) struct Left {
    pub(super) open: Open,
    /// Batches that were possibly sent.
    pub(super) doubtful: Vec<u32>,
}

/// What an earlier process left open, by occurrence, as a node that sends nothing tells it.
pub(super) async fn left_open(desk: &Desk, status: &Status) -> anyhow::Result<BTreeMap<OccurrenceId, Left>> {
    let mut left = BTreeMap::new();
    for open in &status.open {
        let shown = desk.occurrence(open.occurrence).await?;
        let ended: BTreeSet<u32> =
            shown.batches.iter().filter(|batch| batch.ended.is_some()).map(|batch| batch.n).collect();
        let doubtful = (0..open.mark).filter(|n| !ended.contains(n)).collect();
        left.insert(open.occurrence, Left { open: open.clone(), doubtful });
    }
    Ok(left)
}

/// The narrator.
pub(super) struct Story {
    pub(super) node: Arc<Node>,
    pub(super) desk: Desk,
    pub(super) account: AccountSlug,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) clock: Arc<SetClock>,
    pub(super) screen: Screen,
    pub(super) words: Words,
    pub(super) phone: String,
    pub(super) config: String,
    pub(super) dir: String,
    pub(super) speed: u32,
    pub(super) once: bool,
    pub(super) left: BTreeMap<OccurrenceId, Left>,
    pub(super) stop: CancellationToken,
}

/// What was told of an occurrence that goes on.
#[derive(Debug, Default)]
struct Told {
    /// Occurrences whose beginning was told.
    begun: BTreeSet<OccurrenceId>,
    /// Occurrences that need no more words.
    ended: BTreeSet<OccurrenceId>,
    /// Accepted friends at the last line of progress, where lines stay.
    progress: BTreeMap<OccurrenceId, u64>,
}

impl Story {
    /// Tells until the end is asked for, or with `--once` until the first occurrence has ended.
    pub(super) async fn tell(mut self) -> anyhow::Result<()> {
        if self.clock.now() < STAGE {
            self.days_before().await?;
        }
        let mut told = self.open().await?;
        let mut over = false;
        while !self.stop.is_cancelled() {
            let ended = self.look(&mut told).await?;
            if ended.is_some() && self.once {
                break;
            }
            let status = self.desk.status().await?;
            let next = self.desk.next_due().await?;
            let now = self.clock.now();
            if status.open.is_empty() {
                self.screen.live(&self.words.waiting(now, next));
                let idle = next.is_none_or(|next| next - now > SOON);
                if idle && !over && self.all_told(&told).await? {
                    if let Some(next) = next.filter(|next| *next < LATER && !self.once) {
                        self.screen.print(&self.words.later(next));
                        self.clock.skip_to(next - SHORTLY);
                        self.node.nudge();
                        continue;
                    }
                    over = true;
                    self.screen.print(&self.words.told(next));
                    if self.once {
                        break;
                    }
                }
                over &= idle;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.screen.wipe();
        Ok(())
    }

    /// Runs what is due before the stage, skipping the time between: the same daemon, campaigns and LINE double.
    async fn days_before(&mut self) -> anyhow::Result<()> {
        // What a killed demo left due or open comes first.
        self.clock_passes(SETTLE).await;
        loop {
            self.until_quiet().await?;
            let (campaign, drips) = (self.desk.next_campaign().await?, self.desk.next_of_drips().await?);
            let next = [campaign, drips].into_iter().flatten().min().filter(|next| *next < STAGE);
            let Some(next) = next.filter(|_| !self.stop.is_cancelled()) else { break };
            self.screen.live(&self.words.before(next));
            self.clock.skip_to(next - SHORTLY);
            let of_campaign = campaign == Some(next);
            while !self.stop.is_cancelled() && !self.is_over(next, of_campaign).await? {
                self.node.nudge();
                tokio::time::sleep(LOOK / 4).await;
            }
        }
        if !self.stop.is_cancelled() {
            self.clock.skip_to(STAGE);
            self.node.nudge();
        }
        Ok(())
    }

    async fn clock_passes(&self, span: Span) {
        let until = self.clock.now() + span;
        while self.clock.now() < until && !self.stop.is_cancelled() {
            tokio::time::sleep(LOOK / 4).await;
        }
    }

    async fn until_quiet(&self) -> anyhow::Result<()> {
        while !self.stop.is_cancelled() && !self.desk.status().await?.open.is_empty() {
            tokio::time::sleep(LOOK / 4).await;
        }
        Ok(())
    }

    /// Whether everything due at an instant has been dealt with.
    async fn is_over(&self, due: Instant, of_campaign: bool) -> anyhow::Result<bool> {
        let drips_ahead = self.desk.next_of_drips().await?.is_none_or(|next| next > due);
        Ok(drips_ahead && (!of_campaign || self.has_ended(due).await?))
    }

    async fn has_ended(&self, due: Instant) -> anyhow::Result<bool> {
        let occurrences = self.desk.occurrences().await?;
        Ok(occurrences.iter().any(|listed| listed.due_at == due && listed.finished_at.is_some()))
    }

    /// The opening words: the shop, what went before, what was left open.
    async fn open(&mut self) -> anyhow::Result<Told> {
        let status = self.desk.status().await?;
        let now = self.clock.now();
        let shop = self.account_settings().map(|account| account.title.clone()).unwrap_or_default();
        let opening = self.words.opening(&shop, status.friends, status.following, now, self.place());
        self.screen.print(&opening);
        let mut told = Told::default();
        let mut lines = vec![self.words.earlier_heading().to_owned()];
        for listed in self.desk.occurrences().await? {
            let id = listed.occurrence;
            if listed.finished_at.is_some() && !self.left.contains_key(&id) {
                let shown = self.desk.occurrence(id).await?;
                lines.push(self.words.earlier(&self.title(&shown), &shown));
                told.begun.insert(id);
                told.ended.insert(id);
            }
        }
        if lines.len() > 1 {
            self.screen.print(&lines.join("\n"));
        }
        for (id, left) in &self.left {
            let shown = self.desk.occurrence(*id).await?;
            let title = self.title(&shown);
            self.screen.print(&self.words.left_open(&title, now, &left.open, left.doubtful.len()));
            told.begun.insert(*id);
        }
        Ok(told)
    }

    /// One look at all occurrences; the last one that ended.
    async fn look(&mut self, told: &mut Told) -> anyhow::Result<Option<OccurrenceId>> {
        let mut ended = None;
        for listed in self.desk.occurrences().await? {
            let id = listed.occurrence;
            if told.ended.contains(&id) {
                continue;
            }
            let shown = self.desk.occurrence(id).await?;
            if told.begun.insert(id) {
                self.begin(&shown);
            }
            if shown.finished_at.is_some() {
                told.ended.insert(id);
                self.end(&shown);
                ended = Some(id);
            } else if let Some(open) = &shown.open {
                self.progress(told, open);
            }
        }
        Ok(ended)
    }

    fn begin(&mut self, shown: &Shown) {
        let price = shown
            .detail
            .quota
            .and_then(|quota| self.account_settings()?.plan.additional_yen(quota.used, shown.recipients));
        let text = self.words.frozen(&self.title(shown), self.segment(shown).as_deref(), shown, price);
        self.screen.print(&text);
        let seconds = SLOW.as_millis().unsigned_abs() / 1_000 / u64::from(self.speed.max(1));
        if seconds > 0 && self.is_slow(shown) {
            self.screen.print(&self.words.slow(seconds));
        }
    }

    /// Whether a fault of the sandbox makes answers to it slow.
    fn is_slow(&self, shown: &Shown) -> bool {
        let slow = |fault: &crate::sandbox::Fault| {
            matches!(fault.kind, crate::sandbox::FaultKind::Slow { .. })
                && fault.from.is_none_or(|from| from <= shown.frozen_at)
        };
        shown.state == OccurrenceState::Sending && self.sandbox.faults().iter().any(|(fault, _)| slow(fault))
    }

    fn progress(&mut self, told: &mut Told, open: &Open) {
        let text = self.words.progress(self.clock.now(), open);
        if self.screen.is_terminal() {
            self.screen.live(&text);
        } else if told
            .progress
            .insert(open.occurrence, open.accepted)
            .is_some_and(|last| last != open.accepted)
        {
            self.screen.print(&text);
        }
    }

    fn end(&mut self, shown: &Shown) {
        if shown.state == OccurrenceState::Finished || shown.state == OccurrenceState::Cancelled {
            let sending = self.sending(shown);
            self.screen.print(&self.words.ended(shown, sending));
            let hints = self.words.hints(shown.occurrence, self.place(), !self.once);
            self.screen.print(&hints);
        }
    }

    fn sending(&self, shown: &Shown) -> Sending {
        let ended = || shown.batches.iter().filter_map(|batch| Some((batch.n, batch.ended.as_ref()?)));
        let doubtful = self.left.get(&shown.occurrence).map(|left| &left.doubtful);
        let left = doubtful.map(|doubtful| {
            let known = |n: &u32| ended().any(|(of, end)| of == *n && end.accepted_request_id.is_some());
            let conflicts = doubtful.iter().filter(|n| known(n)).count();
            (doubtful.len() as u64, (doubtful.len() - conflicts) as u64)
        });
        Sending {
            again: ended().map(|(_, end)| end.attempts.saturating_sub(1)).sum(),
            conflicts: ended().filter(|(_, end)| end.accepted_request_id.is_some()).count() as u64,
            left,
            twice: self.sandbox.audit().duplicate_pairs,
        }
    }

    /// Whether nothing waits to be told that is due already.
    async fn all_told(&self, told: &Told) -> anyhow::Result<bool> {
        let occurrences = self.desk.occurrences().await?;
        Ok(occurrences.iter().all(|listed| told.ended.contains(&listed.occurrence)))
    }

    fn account_settings(&self) -> Option<crate::config::Account> {
        self.node.active().configuration.accounts.get(&self.account).cloned()
    }

    fn title(&self, shown: &Shown) -> String {
        let active = self.node.active();
        let campaign = active.configuration.campaigns.get(&shown.campaign);
        if let Some(campaign) = campaign {
            return campaign.dispatch.title.clone();
        }
        let drip = active.configuration.drips.get(&shown.campaign);
        let title = drip.map_or_else(|| shown.campaign.to_string(), |drip| drip.title.clone());
        match &shown.step {
            Some(step) => format!("{title} / {step}"),
            None => title,
        }
    }

    fn segment(&self, shown: &Shown) -> Option<String> {
        let active = self.node.active();
        let segment = active.configuration.campaigns.get(&shown.campaign)?.segment.clone()?;
        active.configuration.segments.get(&segment).map(|segment| segment.title.clone())
    }

    fn place(&self) -> Place<'_> {
        Place { phone: &self.phone, config: &self.config, dir: &self.dir, pid: std::process::id() }
    }
}
