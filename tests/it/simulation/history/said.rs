//! What friends do, told as webhooks and calls tell it.

use std::collections::BTreeMap;
use std::time::Duration;

use haishin::clock::Clock as _;
use haishin::domain::effect::{DedupeId, DedupeKind, Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::time::{Instant, Span};
use haishin::store::{NewInbox, Store as _};
use rand::Rng as _;

use super::History;
use crate::support::faulty::Mishap;
use crate::support::world::user;

impl History {
    pub(super) fn intakes(&mut self, said: &[(u32, Effect)]) -> Vec<Intake> {
        let at = self.truth.now();
        let mut intake = |(n, effect): &(u32, Effect)| {
            self.told += 1;
            let mut digest = [0; 16];
            digest[..8].copy_from_slice(&self.told.to_be_bytes());
            let dedupe = effect.is_event().then_some(DedupeId { kind: DedupeKind::Event, digest });
            Intake { friend: user(*n).into(), at, effect: effect.clone(), dedupe }
        };
        said.iter().map(&mut intake).collect()
    }

    /// Told again until it is acknowledged, and now and then once more.
    pub(super) async fn tell(&mut self, source: &str, said: &[(u32, Effect)]) {
        let intakes = self.intakes(said);
        let row =
            NewInbox { account: self.account, received_at: self.truth.now(), source: source.into(), intakes };
        if self.rng.random_bool(0.2) {
            let mishap = [Mishap::Refused, Mishap::LostBefore, Mishap::LostAfter];
            self.door.strike(1, mishap[self.rng.random_range(0..3)]);
        }
        while self.door.append_inbox(vec![row.clone()]).await.is_err() {
            self.pass(Duration::from_millis(200)).await;
        }
        if self.rng.random_bool(0.2) {
            self.door.append_inbox(vec![row]).await.unwrap();
        }
        said.iter().for_each(|(n, effect)| self.known.entry(*n).or_default().hear(effect));
    }

    pub(super) async fn tell_something(&mut self) {
        let mut said = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            let n = self.rng.random_range(0..self.spec.friends);
            let is_there = self.known.get(&n).is_some_and(|known| known.following);
            let tag = |tag: &str| tag.parse().unwrap();
            let effect = match self.rng.random_range(0..20) {
                _ if !is_there => {
                    Effect::Status { status: Status::Following, followed_at: Some(self.truth.now()) }
                }
                0 => Effect::Status { status: Status::Blocked, followed_at: None },
                1 => Effect::Erased,
                2..5 => Effect::TagRemoved { tag: tag(["vip", "trial"][self.rng.random_range(0..2)]) },
                5..10 => Effect::TagAdded { tag: tag("trial") },
                10..14 => Effect::TagAdded { tag: tag("vip") },
                _ => Effect::Event {
                    name: "cart".parse().unwrap(),
                    event_id: None,
                    properties: BTreeMap::new(),
                },
            };
            // What follows it in the same breath would be said of somebody new.
            if said.iter().all(|(other, _)| *other != n) {
                said.push((n, effect));
            }
        }
        self.note(format!("told: {said:?}"));
        let after = self.spec.drips.values().flat_map(|drip| drip.steps.iter().map(|step| step.after));
        let now = self.truth.now();
        let awaited: Vec<Instant> = after.map(|minutes| now + Span::from_mins(minutes.into())).collect();
        self.awaited.extend(awaited);
        self.tell(NewInbox::API, &said).await;
        if self.rng.random_bool(0.5) {
            self.pass(Duration::from_secs(2)).await;
        }
    }
}
