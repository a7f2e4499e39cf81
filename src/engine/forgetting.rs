//! Erased friends are forgotten: what is stored of them goes, a bounded slice a turn.
//!
//! An erased friend is hidden at once and has a row of `erasure` until nothing of them is left. A **sweep** takes away
//! what there is of all who have one, in this order: their events from the index, a checkpoint that holds nothing of
//! them any more, the journal before it, what names them, what is kept under their numbers, the chunks that the checkpoint
//! displaced. How far it came is in memory only: one that is cut short begins again. Of whoever it swept the row goes,
//! and with it the user id, once no batch holds them.

use std::collections::BTreeSet;

use roaring::RoaringBitmap;
use serde_json::Value;

use crate::clock::Reading;
use crate::domain::effect::Intake;
use crate::domain::friend::FriendRef;
use crate::domain::id::{FriendId, Seq};
use crate::domain::outbox::Request;
use crate::domain::time::Span;
use crate::store::{Erasure, Naming, Priority, Prune, StoreError, Write};

use super::{Engine, Mode};

/// An erasure waits so long at the least, so that a sweep takes many…
const WAITS: Span = Span::from_hours(1);
/// …and so long lies between the end of a sweep and the next: each writes a checkpoint and reads the whole journal.
const AGAIN: Span = Span::from_hours(4);
/// How often it is looked whether there is something to do.
const LOOK_AGAIN: Span = Span::from_mins(1);
/// Rows with names looked through in one turn.
const A_PAGE: u32 = 1_000;
/// Friends whose rows go in one transaction.
const FRIENDS: usize = 200;

/// How far forgetting has come.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    sweep: Option<Sweep>,
    /// Whoever was erased by entries up to this one is swept.
    swept: Option<Seq>,
    /// Since boot, when the last sweep ended.
    ended: Option<Span>,
    /// Since boot, when there was nothing to do.
    looked: Option<Span>,
}

#[derive(Debug)]
struct Sweep {
    /// Of those erased by entries up to this one.
    upto: Seq,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Checkpoint,
    Journal,
    Naming(Naming, i64),
    Rows(Option<FriendId>),
    Chunks,
}

fn passed(since: Option<Span>, span: Span, now: Span) -> bool {
    since.is_none_or(|since| now.as_millis().saturating_sub(since.as_millis()) >= span.as_millis())
}

impl Engine {
    /// One slice of forgetting.
    pub(super) async fn forget(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        let works = self.deps.mode == Mode::Daemon && !self.draining && !self.clock_behind(clock.now);
        if !works || self.state.leaving.0.is_empty() {
            return Ok(());
        }
        let goes_on = match self.forgetting.sweep.take() {
            Some(sweep) => self.sweep(sweep, &clock).await?,
            None if passed(self.forgetting.looked, LOOK_AGAIN, clock.boot.since_boot) => {
                self.look_for_erased(&clock).await?
            }
            None => false,
        };
        if goes_on {
            // There may be more: come back at once, after whoever else waits.
            let _ = self.events.try_send(super::Event::Nudge);
        }
        Ok(())
    }

    /// Lets those go of whom nothing is left, or begins a sweep.
    async fn look_for_erased(&mut self, clock: &Reading) -> Result<bool, StoreError> {
        let swept = self.forgetting.swept;
        let is_swept = |erasure: &Erasure| swept.is_some_and(|swept| erasure.seq <= swept);
        let all = self.state.leaving.0.values();
        let gone = all.filter(|erasure| is_swept(erasure) && !self.is_held(erasure.friend));
        let gone: Vec<FriendId> = gone.take(FRIENDS).map(|erasure| erasure.friend).collect();
        if !gone.is_empty() {
            self.commit(Priority::Fold, vec![Write::Forgotten(gone.clone())]).await?;
            self.state.leaving.0.retain(|friend, _| !gone.contains(friend));
            return Ok(true);
        }
        let upto = self.state.row.folded_seq;
        let waits = |erasure: &&Erasure| !is_swept(erasure) && erasure.seq <= upto;
        let mut waiting = self.state.leaving.0.values().filter(waits);
        // One from ahead has its instant from a clock that was wrong: nobody waits for that to come.
        let has_waited = |erasure: &Erasure| erasure.at > clock.now || clock.now - erasure.at >= WAITS;
        let is_due = waiting.any(has_waited) && passed(self.forgetting.ended, AGAIN, clock.boot.since_boot);
        if !is_due || !self.checkpointing.is_idle() {
            self.forgetting.looked = Some(clock.boot.since_boot).filter(|_| !is_due);
            return Ok(false);
        }
        let theirs = self.state.leaving.0.values().filter(|erasure| erasure.seq <= upto);
        let theirs: RoaringBitmap = theirs.map(|erasure| erasure.friend.0).collect();
        self.change_index(move |index| index.forget_events(&theirs)).await;
        self.checkpointing.ask();
        self.forgetting.sweep = Some(Sweep { upto, stage: Stage::Checkpoint });
        Ok(true)
    }

    /// One slice of a sweep. Says whether to come back at once.
    async fn sweep(&mut self, sweep: Sweep, clock: &Reading) -> Result<bool, StoreError> {
        let Sweep { upto, stage } = sweep;
        let (stage, goes_on) = match stage {
            // Both go on by themselves.
            Stage::Checkpoint if !self.checkpointing.is_idle() => (Some(Stage::Checkpoint), false),
            Stage::Journal if self.pruner.swept() < upto => (Some(Stage::Journal), false),
            Stage::Checkpoint => {
                self.pruner.sweep_anew();
                (Some(Stage::Journal), true)
            }
            Stage::Journal => (Some(Stage::Naming(Naming::Strays, 0)), true),
            Stage::Naming(place, after) => (Some(self.sweep_names(place, after).await?), true),
            Stage::Rows(after) => (Some(self.sweep_rows(upto, after).await?), true),
            Stage::Chunks => (self.sweep_chunks().await?, true),
        };
        if stage.is_none() {
            let Forgetting { swept, ended, looked, .. } = &mut self.forgetting;
            (*swept, *ended, *looked) = (Some(upto), Some(clock.boot.since_boot), None);
        }
        self.forgetting.sweep = stage.map(|stage| Sweep { upto, stage });
        Ok(goes_on)
    }

    /// Strays that name them go; so do requests about one of them, and from those about many they are taken out.
    async fn sweep_names(&mut self, place: Naming, after: i64) -> Result<Stage, StoreError> {
        let page = self.deps.store.naming(self.account, place, after, A_PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(match place {
                Naming::Strays => Stage::Naming(Naming::Outbox, 0),
                Naming::Outbox => Stage::Rows(None),
            });
        };
        let last = *last;
        let names = Names::of(self.state.leaving.0.values());
        let (mut strays, mut outbox) = (Vec::new(), Vec::new());
        for (id, text) in &page {
            match place {
                Naming::Strays if names.are_in_stray(text) => strays.push(*id),
                Naming::Strays => {}
                Naming::Outbox => outbox.extend(names.without(text).map(|left| (*id, left))),
            }
        }
        let has_changed = !outbox.is_empty();
        if has_changed || !strays.is_empty() {
            self.commit(Priority::Fold, vec![Write::Redact { strays, outbox }]).await?;
        }
        if has_changed {
            self.outbox.changed_beneath();
        }
        Ok(Stage::Naming(place, last))
    }

    async fn sweep_rows(&mut self, upto: Seq, after: Option<FriendId>) -> Result<Stage, StoreError> {
        let all = self.state.leaving.0.values().filter(|erasure| erasure.seq <= upto);
        let next = all.map(|erasure| erasure.friend).filter(|friend| Some(*friend) > after);
        let next: Vec<FriendId> = next.take(FRIENDS).collect();
        let Some(last) = next.last().copied() else { return Ok(Stage::Chunks) };
        self.commit(Priority::Fold, vec![Write::Forget(next)]).await?;
        Ok(Stage::Rows(Some(last)))
    }

    async fn sweep_chunks(&mut self) -> Result<Option<Stage>, StoreError> {
        let Some(prune) = self.deps.store.prunable(self.account, &[Prune::Chunks]).await? else {
            return Ok(None);
        };
        self.commit(Priority::Fold, vec![Write::Prune(prune)]).await?;
        Ok(Some(Stage::Chunks))
    }
}

/// By what erased friends are named.
struct Names(BTreeSet<String>);

impl Names {
    fn of<'e>(erasures: impl Iterator<Item = &'e Erasure>) -> Self {
        let names = |erasure: &Erasure| {
            let user = erasure.user.map(|user| user.to_string());
            user.into_iter().chain(erasure.external_id.clone())
        };
        Self(erasures.flat_map(names).collect())
    }

    fn are_in_stray(&self, intake: &str) -> bool {
        match serde_json::from_str::<Intake>(intake).map(|intake| intake.friend) {
            Ok(FriendRef::User(user)) => self.0.contains(&user.to_string()),
            Ok(FriendRef::External(id)) => self.0.contains(&id),
            // A newer version's, or by hand.
            Err(_) => false,
        }
    }

    /// What is left of a request that names one of them; none if nobody is. None at all if it names none of them.
    fn without(&self, request: &str) -> Option<Option<Request>> {
        match serde_json::from_str::<Request>(request).ok()? {
            Request::RichMenu { menu, mut users } => {
                let before = users.len();
                users.retain(|user| !self.0.contains(&user.to_string()));
                let left = (!users.is_empty()).then_some(Request::RichMenu { menu, users: users.clone() });
                (users.len() < before).then_some(left)
            }
            Request::Webhook { body, .. } => body.values().any(|value| self.are_in(value)).then_some(None),
        }
    }

    fn are_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.0.contains(text),
            Value::Array(values) => values.iter().any(|value| self.are_in(value)),
            Value::Object(values) => values.values().any(|value| self.are_in(value)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::UserId;
    use crate::domain::time::Instant;

    #[test]
    fn a_request_about_many_loses_one_and_one_about_one_goes() {
        let user = |n| UserId([n; 16]);
        let erasure = Erasure {
            friend: FriendId(1),
            seq: Seq(1),
            at: Instant::from_millis(0),
            user: Some(user(1)),
            external_id: Some("c-1".into()),
        };
        let names = Names::of([&erasure].into_iter());
        let menu =
            |users: &[u8]| Request::RichMenu { menu: None, users: users.iter().map(|n| user(*n)).collect() };
        let without = |request: &Request| names.without(&serde_json::to_string(request).unwrap());
        assert_eq!(without(&menu(&[2, 3])), None);
        assert_eq!(without(&menu(&[2, 1, 3])), Some(Some(menu(&[2, 3]))));
        assert_eq!(without(&menu(&[1])), Some(None));
        let told = |body: Value| {
            let system = "crm".to_owned().try_into().unwrap();
            Request::Webhook { system, body: body.as_object().unwrap().clone() }
        };
        assert_eq!(without(&told(serde_json::json!({ "user": user(2), "external_id": "c-11" }))), None);
        assert_eq!(without(&told(serde_json::json!({ "user": user(1) }))), Some(None));
        assert_eq!(without(&told(serde_json::json!({ "about": [{ "external_id": "c-1" }] }))), Some(None));
    }
}
