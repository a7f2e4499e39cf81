//! The end: nothing goes wrong any more, until nothing is left to do.

use std::time::Duration;

use haishin::clock::Clock as _;
use haishin::domain::drip::Standing;
use haishin::domain::time::{Instant, Span};
use haishin::protocol::{Command, Resolution};
use haishin::store::{OccurrenceFilter, Store as _};

use super::super::judge::is_held;
use super::super::network::Weather;
use super::{AWAKE, History, LOOKS};
use crate::support::world::CHANNEL;

impl History {
    /// Nothing goes wrong any more, and everybody does what has to be done, until nothing is left to do.
    pub(super) async fn come_to_rest(&mut self) -> Instant {
        self.note("from here on nothing goes wrong".into());
        self.network.turn(Weather::default());
        self.sandbox.set_faults(Vec::new());
        self.sandbox.set_quota(CHANNEL, None, None, self.truth.now()).unwrap();
        for n in 0..self.nodes.len() {
            self.nodes[n].kill().await;
            self.nodes[n].store.calm();
            self.nodes[n].machine.set_right();
        }
        // Whatever lease there was runs out.
        self.pass(Duration::from_secs(15)).await;
        self.nodes[0].start();
        for _ in 0..20 {
            self.pass(Duration::from_secs(4)).await;
            if self.is_released().await {
                break;
            }
        }
        let noon = self.go_to_noon().await;
        self.pass(Duration::from_secs(30)).await;
        self.spec.drafts = true;
        self.apply().await;
        for look in 0..LOOKS {
            self.pass(Duration::from_secs(4)).await;
            if self.is_released().await && self.is_at_rest().await {
                break;
            }
            if look % 3 == 2 {
                self.go_to_what_comes().await;
            }
        }
        self.nodes[0].kill().await;
        noon
    }

    /// Asleep until shortly before somebody's next step, where nobody waits for room under a cap.
    pub(super) async fn go_to_what_comes(&mut self) {
        let now = self.truth.now();
        let ways = self.memory.open_enrollments(self.account, None, 1_000).await.unwrap();
        let due = ways.iter().filter_map(|way| match way.standing {
            Standing::Due { at, .. } => Some(at - AWAKE),
            _ => None,
        });
        let waits = !self.memory.deferrals(self.account).await.unwrap().is_empty();
        let next = due.filter(|at| *at > now).min().map(|at| at - now);
        let half_an_hour = Span::from_mins(31);
        let span = if waits { half_an_hour } else { next.unwrap_or(half_an_hour) };
        self.sleep(span).await;
    }

    /// A time of no quiet hours, when nothing of the last hours is left to be planned.
    pub(super) async fn go_to_noon(&mut self) -> Instant {
        let now = self.truth.now();
        let day = now.in_zone(self.spec.zone).date_naive() + chrono::Days::new(1);
        let noon = Instant::from_local(day.and_hms_opt(12, 1, 0).unwrap(), self.spec.zone);
        self.sleep(noon - now).await;
        noon
    }

    /// Lets go what waits for a person; true when nothing does.
    pub(super) async fn is_released(&mut self) -> bool {
        let Some(status) = self.ask(&Command::Status).await else { return false };
        let json = status.json;
        if json["clock_behind"] == true {
            let due = Some(self.due_choice());
            self.do_it("", Command::AcceptClock { due }).await;
            return false;
        }
        if !json["stopped"].is_null() || !json["paused"].is_null() {
            let due = Some(self.due_choice());
            self.do_it("", Command::Start { due }).await;
            return false;
        }
        let mut rows = self.memory.campaigns(self.account).await.unwrap();
        rows.retain(|row| row.paused.is_some());
        for row in &rows {
            let name = row.campaign.to_string();
            self.do_it(&name, Command::CampaignResume { campaign: row.campaign.clone() }).await;
        }
        let mut open = self.memory.occurrences(self.account, OccurrenceFilter::Open).await.unwrap();
        open.retain(|row| is_held(row.state));
        for row in &open {
            let resolution = if self.set_back { Resolution::Cancel } else { Resolution::Send };
            let name = row.campaign.to_string();
            self.end_silences(Some(&name), self.truth.now());
            self.do_it(&name, Command::OccurrenceResolve { occurrence: row.id, resolution }).await;
        }
        rows.is_empty() && open.is_empty()
    }

    /// Whether nothing is on its way or waits.
    pub(super) async fn is_at_rest(&mut self) -> bool {
        let Some(status) = self.ask(&Command::Status).await else { return false };
        let open = self.memory.occurrences(self.account, OccurrenceFilter::Open).await.unwrap();
        let waiting = self.memory.deferrals(self.account).await.unwrap();
        let ways = self.memory.open_enrollments(self.account, None, 1_000).await.unwrap();
        open.is_empty()
            && waiting.is_empty()
            && ways.is_empty()
            && status.json["inbox"] == 0
            && status.json["unfolded"] == 0
    }
}
