//! What befalls machines, the network and the database.

use std::time::Duration;

use haishin::clock::Clock as _;
use haishin::domain::time::Span;
use haishin::sandbox::{Fault, FaultKind};
use rand::Rng as _;

use super::super::broken::Bug;
use super::super::judge::{SET_BACK, Silence, is_durable};
use super::super::network::Weather;
use super::super::node::Node;
use super::History;
use crate::support::faulty::Mishap;
use crate::support::world::CHANNEL;

impl History {
    pub(super) fn a_node(&mut self) -> usize {
        let up: Vec<usize> = (0..2).filter(|n| self.nodes[*n].is_up()).collect();
        if up.is_empty() { 0 } else { up[self.rng.random_range(0..up.len())] }
    }

    pub(super) async fn crash(&mut self) {
        let n = self.a_node();
        self.note(format!("node {n} is killed"));
        self.nodes[n].kill().await;
        match self.rng.random_range(0..4) {
            0 => {
                let hours = self.rng.random_range(1..30);
                self.note(format!("{hours} h pass"));
                self.sleep(Span::from_hours(hours)).await;
            }
            1 => self.pass(Duration::from_secs(20)).await,
            _ => {}
        }
        self.nodes[n].start();
    }

    /// One of its next writes will go wrong.
    pub(super) fn doom(&mut self) {
        use Mishap::{LostAfter, LostBefore, Refused, StuckAfter, StuckBefore};
        let n = self.a_node();
        for _ in 0..self.rng.random_range(1..4) {
            let all = [Refused, LostBefore, LostAfter, StuckBefore, StuckAfter, StuckBefore, StuckAfter];
            let (nth, mishap) = (self.rng.random_range(1..14), all[self.rng.random_range(0..all.len())]);
            self.note(format!("write {nth} of node {n}: {mishap:?}"));
            self.nodes[n].store.strike(nth, mishap);
        }
    }

    /// Whoever is stuck in the database was killed there, or was only stopped.
    pub(super) async fn attend(&mut self) {
        for n in 0..self.nodes.len() {
            if !self.nodes[n].store.holds() {
                continue;
            }
            if self.rng.random_bool(0.6) {
                self.note(format!("node {n} was killed in a write"));
                self.nodes[n].kill().await;
                self.nodes[n].store.release();
                self.nodes[n].start();
            } else if self.rng.random_bool(0.5) {
                self.note(format!("the write of node {n} goes on"));
                self.nodes[n].store.release();
            }
        }
    }

    pub(super) async fn suspend(&mut self) {
        let n = self.a_node();
        let seconds = match self.rng.random_range(0..6) {
            0..3 => self.rng.random_range(1..30),
            3 | 4 => self.rng.random_range(30..7_200),
            _ => 25 * 3_600,
        };
        self.note(format!("node {n} is stopped for {seconds} s"));
        self.nodes[n].stop();
        if seconds > 60 {
            self.pass(Duration::from_secs(15)).await;
            self.sleep(Span::from_secs(seconds - 15)).await;
        } else {
            self.pass(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
        }
        self.nodes[n].go_on();
        self.pass(Duration::from_secs(2)).await;
    }

    pub(super) fn jump(&mut self) {
        let n = self.a_node();
        // A key lives an hour longer than it is used: by as much the clocks of two machines may differ.
        let far = [1_000, 61_000, 600_000, 6 * 3_600_000];
        let far = far[self.rng.random_range(0..if self.two_machines { 3 } else { 4 })];
        let by = if self.rng.random_bool(0.5) { far } else { -far };
        self.note(format!("the clock of node {n} jumps by {by} ms"));
        self.wrong_clocks = true;
        self.nodes[n].machine.jump(by);
    }

    pub(super) async fn second_node(&mut self) {
        if self.nodes[1].is_up() {
            self.note("node 1 is killed".into());
            self.nodes[1].kill().await;
        } else {
            self.note("node 1 starts".into());
            self.nodes[1].start();
        }
    }

    pub(super) fn change_weather(&mut self) {
        let weather = match self.rng.random_range(0..4) {
            0 => Weather::default(),
            1 => Weather { never: 1.0, ..Weather::default() },
            _ => Weather { never: 0.1, lost: 0.15, unheard: 0.2, late: 0.2, doubled: 0.2 },
        };
        self.note(format!("the network: {weather:?}"));
        self.network.turn(weather);
        let kinds = [
            FaultKind::RateLimited,
            FaultKind::ServerErrorBefore,
            FaultKind::ServerErrorAfter,
            FaultKind::LostAfter,
            FaultKind::HangAfter,
            FaultKind::MonthlyLimit,
            FaultKind::ConflictWithoutId,
            FaultKind::Unauthorized,
            FaultKind::Forbidden,
            FaultKind::BadRequest,
        ];
        let kind = kinds[self.rng.random_range(0..kinds.len())];
        let seconds = self.rng.random_range(1..600);
        let faults = match self.rng.random_range(0..4) {
            0 | 1 => Vec::new(),
            2 => vec![Fault::with_probability(kind, 0.4)],
            _ => {
                let until = Some(self.truth.now() + Span::from_secs(seconds));
                vec![Fault { until, ..Fault::always(kind) }]
            }
        };
        self.note(format!("LINE: {faults:?}"));
        self.sandbox.set_faults(faults);
        if self.rng.random_bool(0.15) {
            let room = self.rng.random_range(0..30);
            let used = self.sandbox.channels(self.truth.now())[0].used;
            self.note(format!("{room} messages are left of the month"));
            self.sandbox.set_quota(CHANNEL, Some(used + room), None, self.truth.now()).unwrap();
        }
    }

    pub(super) fn take_backup(&mut self) {
        self.note("a backup is taken".into());
        self.backup = Some(self.memory.snapshot());
    }

    /// The database is set back below daemons that were killed.
    pub(super) async fn restore_backup(&mut self) {
        let Some(backup) = self.backup.take() else { return };
        self.note("the backup is restored".into());
        let up: Vec<usize> = (0..2).filter(|n| self.nodes[*n].is_up()).collect();
        for n in &up {
            self.nodes[*n].kill().await;
        }
        self.memory.restore(&backup);
        // The machine notes a stride before the first request of it leaves.
        let (store, mut lost) = (self.memory.again(), false);
        for call in self.network.calls() {
            lost |= !is_durable(&store, self.account, &call.key).await;
        }
        self.set_back = true;
        if self.broken.as_ref().is_some_and(|broken| broken.bug == Bug::TicketForgotten) {
            self.nodes.iter().for_each(Node::forget_tickets);
        }
        let now = self.truth.now();
        let slugs: Vec<Option<String>> = self.silences.iter().map(|one| one.campaign.clone()).collect();
        slugs.iter().for_each(|slug| self.end_silences(slug.as_deref(), now));
        // It is noticed.
        if lost {
            let (from, why) = (self.truth.now(), SET_BACK);
            self.silences.push(Silence { campaign: None, from, until: None, frozen_before: None, why });
        }
        up.iter().for_each(|n| self.nodes[*n].start());
    }
}
