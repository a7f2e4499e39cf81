//! What steps do without sending: journal entries of our own, timed tags, requests that leave through the outbox.

use roaring::RoaringBitmap;
use serde_json::json;

use crate::domain::drip::{Action, Drip, Enrollment, Step};
use crate::domain::effect::{Effect, Entry};
use crate::domain::id::{FriendId, Seq, UserId};
use crate::domain::outbox::Request;
use crate::domain::time::Instant;
use crate::store::{Priority, StoreError, TagExpiry, Write};

use super::Engine;

/// Timed tags that fall off in one transaction.
const EXPIRIES: u32 = 1_000;

/// The effects of a step, gathered before they are committed.
#[derive(Default)]
struct Effects {
    entries: Vec<(FriendId, Effect)>,
    expiries: Vec<TagExpiry>,
    outbox: Vec<Request>,
}

impl Engine {
    /// Does a step's actions for those who take part, and moves everybody's way on.
    pub(super) async fn act_on(
        &mut self,
        drip: &Drip,
        step: &Step,
        actions: &[Action],
        part: RoaringBitmap,
        mut ways: Vec<Enrollment>,
    ) -> Result<bool, StoreError> {
        let now = self.deps.clock.now();
        let mut effects = Effects::default();
        for action in actions {
            self.gather_effects(drip, step, action, &part, now, &mut effects);
        }
        for way in ways.iter_mut().filter(|way| part.contains(way.friend.0)) {
            way.pass(drip);
        }
        ways.iter().for_each(|way| self.state.ways.put(way.clone()));
        let mut writes = vec![Write::Enrollments(ways)];
        writes.extend(self.own_entries(effects.entries, now));
        if !effects.expiries.is_empty() {
            let first = effects.expiries.iter().map(|expiry| expiry.at).min();
            self.state.first_expiry = [self.state.first_expiry, first].into_iter().flatten().min();
            writes.push(Write::TagExpiries(effects.expiries));
        }
        writes.extend(self.enqueue(effects.outbox, now));
        self.commit(Priority::Freeze, writes).await?;
        self.next_due = None;
        // Whom that starts is looked at before anything else happens to them.
        self.enter_drips().await?;
        Ok(true)
    }

    fn gather_effects(
        &self,
        drip: &Drip,
        step: &Step,
        action: &Action,
        part: &RoaringBitmap,
        now: Instant,
        effects: &mut Effects,
    ) {
        let each = |effect: Effect| part.iter().map(move |friend| (FriendId(friend), effect.clone()));
        match action {
            Action::Tag { tag, lasts } => {
                effects.entries.extend(each(Effect::TagAdded { tag: tag.clone() }));
                effects.expiries.extend(lasts.iter().flat_map(|lasts| {
                    part.iter().map(|friend| TagExpiry {
                        friend: FriendId(friend),
                        tag: tag.clone(),
                        given_at: now,
                        at: now + *lasts,
                    })
                }));
            }
            Action::Untag(tag) => effects.entries.extend(each(Effect::TagRemoved { tag: tag.clone() })),
            Action::Attribute { name, value } => {
                let effect = Effect::Attribute { name: name.clone(), value: value.clone() };
                effects.entries.extend(each(effect));
            }
            Action::RichMenu(menu) => {
                let users: Vec<_> =
                    part.iter().filter_map(|friend| self.state.index.user(FriendId(friend))).collect();
                let request =
                    |users: &[UserId]| Request::RichMenu { menu: menu.clone(), users: users.to_vec() };
                effects.outbox.extend(users.chunks(Request::MENU_USERS).map(request));
            }
            Action::Webhook(name) => {
                effects.outbox.extend(part.iter().map(|friend| {
                    let body = self.step_told(drip, step, FriendId(friend), now);
                    Request::Webhook { system: name.clone(), body }
                }));
            }
        }
    }

    /// What a system of the shop's is told when a friend comes by a step.
    fn step_told(
        &self,
        drip: &Drip,
        step: &Step,
        friend: FriendId,
        now: Instant,
    ) -> serde_json::Map<String, serde_json::Value> {
        let told = [
            ("type", json!("drip_step")),
            ("account", json!(self.slug)),
            ("drip", json!(drip.slug)),
            ("step", json!(step.name)),
            ("user", json!(self.state.index.user(friend))),
            ("external_id", json!(self.state.index.external_id(friend))),
            ("at", json!(now)),
        ];
        told.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Entries the owner writes itself: numbered, heard by drips like any other, applied to the index. Memory
    /// changes here, so what is given back must be committed, or everything reloaded.
    pub(in crate::engine) fn own_entries(
        &mut self,
        effects: Vec<(FriendId, Effect)>,
        at: Instant,
    ) -> Vec<Write> {
        if effects.is_empty() {
            return Vec::new();
        }
        let first = self.state.row.journal_seq.0;
        let numbered = effects.into_iter().zip(1..);
        let entries: Vec<Entry> = numbered
            .map(|((friend, effect), n)| Entry { seq: Seq(first.saturating_add(n)), friend, at, effect })
            .collect();
        let mut writes = self.hear_drips(&entries, |_| false);
        for entry in &entries {
            self.state.index_mut().apply(entry);
            self.state.row.journal_seq = entry.seq;
        }
        writes.insert(0, Write::Entries(entries));
        writes
    }

    /// Takes off the tags whose time is over, unless they were given anew meanwhile.
    pub(in crate::engine) async fn expire_tags(&mut self, now: Instant) -> Result<(), StoreError> {
        if self.state.first_expiry.is_none_or(|first| first > now) {
            return Ok(());
        }
        let over = self.deps.store.tag_expiries(self.account, now, EXPIRIES).await?;
        let due = over
            .iter()
            .filter(|expiry| self.state.index.tag_given(expiry.friend, &expiry.tag) == Some(expiry.given_at));
        let effects: Vec<_> =
            due.map(|expiry| (expiry.friend, Effect::TagRemoved { tag: expiry.tag.clone() })).collect();
        let mut writes = self.own_entries(effects, now);
        writes.push(Write::DropTagExpiries(
            over.into_iter().map(|expiry| (expiry.friend, expiry.tag)).collect(),
        ));
        self.commit(Priority::Freeze, writes).await?;
        self.state.first_expiry = self.deps.store.first_tag_expiry(self.account).await?;
        self.enter_drips().await
    }
}
