//! What a test, a demo or the control API asks of a sandbox, and tells it, while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::channel::Refusal;
use super::core::{Sandbox, State};
use super::fault::Fault;
use super::ledger::{Audit, Delivery, KeyReport, Received, RequestRecord, Row, Totals};
use super::plan::{parse_uuid, uuid_text};
use super::settings::{Coupon, SandboxFriend};
use crate::domain::id::UserId;
use crate::domain::time::Instant;

/// The sandbox does not play this channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox has no channel `{0}`")]
pub struct UnknownChannel(pub String);

/// One channel in figures.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ChannelReport {
    /// The channel id.
    pub id: String,
    /// The account's name.
    pub name: String,
    /// Friends known.
    pub friends: usize,
    /// The monthly limit; `None` is no limit.
    pub quota: Option<u64>,
    /// Messages used this month.
    pub used: u64,
    /// Coupons known by name.
    pub coupons: Vec<Coupon>,
}

/// Friends of a channel that match a search, those who got most first.
#[derive(Debug, Clone, Default)]
pub(super) struct FriendList {
    /// How many match.
    pub(super) matching: usize,
    /// The first of them, each with how many deliveries it got.
    pub(super) friends: Vec<(SandboxFriend, u32)>,
}

impl Sandbox {
    /// Sums over everything.
    pub fn totals(&self) -> Totals {
        self.lock().ledger.totals.clone()
    }

    /// Multicasts over HTTP that have come whole and are not answered yet.
    pub fn under_way(&self) -> u64 {
        self.traffic.under_way.load(Ordering::SeqCst)
    }

    /// Multicasts over HTTP whose client went away before the answer: it was killed, or gave up waiting.
    pub fn abandoned(&self) -> u64 {
        self.traffic.abandoned.load(Ordering::SeqCst)
    }

    /// The channels, in the order of the settings.
    pub fn channels(&self, now: Instant) -> Vec<ChannelReport> {
        let zone = self.rules.zone;
        let mut state = self.lock();
        let report = |channel: &mut super::channel::Channel| ChannelReport {
            id: channel.id.clone(),
            name: channel.name.clone(),
            friends: channel.friends.list().len(),
            quota: channel.month.limit,
            used: channel.month.used(now, zone),
            coupons: channel.coupons.clone(),
        };
        state.channels.iter_mut().map(report).collect()
    }

    /// Requests still remembered one by one whose number is above `after`, oldest first, at most `limit`.
    pub fn requests(&self, after: u64, limit: usize) -> Vec<RequestRecord> {
        let state = self.lock();
        let rows = state.ledger.requests().filter(|row| row.number > after).take(limit);
        rows.map(|row| state.record(row)).collect()
    }

    /// What is known of a retry key.
    pub fn key(&self, key: &str) -> Option<KeyReport> {
        self.lock().ledger.key(&parse_uuid(key)?)
    }

    /// Looks through all books for what no sender may do.
    pub fn audit(&self) -> Audit {
        let state = self.lock();
        state.ledger.audit(|channel, friend| {
            let channel = state.channels.get(channel as usize);
            let user = channel.and_then(|channel| channel.friends.get(friend)).map(|f| f.user.to_string());
            (channel.map(|channel| channel.id.clone()).unwrap_or_default(), user.unwrap_or_default())
        })
    }

    /// What one friend got, oldest first; empty for somebody the channel does not know.
    pub fn received(&self, channel: &str, user: &UserId) -> Result<Vec<Received>, UnknownChannel> {
        let state = self.lock();
        let place = state.place(channel)?;
        let Some((friend, _)) =
            state.channels.get(place as usize).and_then(|channel| channel.friends.find(user))
        else {
            return Ok(Vec::new());
        };
        let theirs = state.ledger.deliveries.iter();
        let theirs = theirs.filter(|delivery| delivery.channel == place && delivery.to.contains(&friend));
        Ok(theirs.map(|delivery| state.received(delivery)).collect())
    }

    /// How many messages each friend who got any has got.
    pub fn received_counts(&self, channel: &str) -> Result<BTreeMap<UserId, u32>, UnknownChannel> {
        let state = self.lock();
        let place = state.place(channel)?;
        let mut counts = BTreeMap::new();
        let Some(friends) = state.channels.get(place as usize).map(|channel| &channel.friends) else {
            return Ok(counts);
        };
        for delivery in state.ledger.deliveries.iter().filter(|delivery| delivery.channel == place) {
            for friend in delivery.to.iter().filter_map(|number| friends.get(*number)) {
                *counts.entry(friend.user).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Which rich menu is linked to whom.
    pub fn rich_menus(&self, channel: &str) -> Result<BTreeMap<UserId, String>, UnknownChannel> {
        let state = self.lock();
        let place = state.place(channel)?;
        let friends = state.channels.get(place as usize).map_or(&[][..], |channel| channel.friends.list());
        let linked =
            friends.iter().filter_map(|friend| Some((friend.user, friend.menu.as_deref()?.to_owned())));
        Ok(linked.collect())
    }

    /// The rich menu linked to one friend.
    pub(super) fn rich_menu(&self, channel: &str, user: &UserId) -> Option<Arc<str>> {
        let state = self.lock();
        let place = state.channel(channel)?;
        state.channels.get(place as usize)?.friends.find(user)?.1.menu.clone()
    }

    /// One friend, if the channel knows the user.
    pub(super) fn friend(&self, channel: &str, user: &UserId) -> Option<SandboxFriend> {
        let state = self.lock();
        let place = state.channel(channel)?;
        state.channels.get(place as usize)?.friends.find(user).map(|(_, friend)| friend.report())
    }

    /// Friends whose name or id contains `search`, those who got most first, then in the order they came.
    pub(super) fn list_friends(&self, channel: &str, search: &str, limit: usize) -> FriendList {
        let counts = self.received_counts(channel).unwrap_or_default();
        let state = self.lock();
        let place = state.channel(channel).and_then(|place| state.channels.get(place as usize));
        let Some(channel) = place else { return FriendList::default() };
        let mut found: Vec<_> = channel
            .friends
            .list()
            .iter()
            .filter(|friend| friend.matches(search))
            .map(|friend| (friend, counts.get(&friend.user).copied().unwrap_or(0)))
            .collect();
        found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let friends = found.iter().take(limit).map(|(friend, count)| (friend.report(), *count)).collect();
        FriendList { matching: found.len(), friends }
    }

    /// Adds friends to a channel, or changes their name and status.
    pub fn put_friends(&self, channel: &str, friends: Vec<SandboxFriend>) -> Result<(), UnknownChannel> {
        self.change(channel, |channel| channel.friends.put(friends))
    }

    /// From now on LINE refuses every request that names one of these users: `with_index` naming their place in
    /// `to`, `without_index` naming nothing. Replaces what was said before.
    pub fn refuse_users(
        &self,
        channel: &str,
        with_index: &[UserId],
        without_index: &[UserId],
    ) -> Result<(), UnknownChannel> {
        let indexed = with_index.iter().map(|user| (*user, Refusal::WithIndex));
        let silent = without_index.iter().map(|user| (*user, Refusal::WithoutIndex));
        self.change(channel, |channel| channel.refused = indexed.chain(silent).collect())
    }

    /// Sets the monthly limit (`None`: none) and, if given, how much of it is used.
    pub fn set_quota(
        &self,
        channel: &str,
        limit: Option<u64>,
        used: Option<u64>,
        now: Instant,
    ) -> Result<(), UnknownChannel> {
        let zone = self.rules.zone;
        self.change(channel, |channel| {
            channel.month.limit = limit;
            if let Some(used) = used {
                channel.month.set_used(used, now, zone);
            }
        })
    }

    /// Replaces the faults; counting begins anew.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.lock().faults.set(faults);
    }

    /// The faults in force, each with how often it struck.
    pub fn faults(&self) -> Vec<(Fault, u64)> {
        self.lock().faults.list()
    }

    fn change(
        &self,
        channel: &str,
        change: impl FnOnce(&mut super::channel::Channel),
    ) -> Result<(), UnknownChannel> {
        let mut state = self.lock();
        let place = state.place(channel)?;
        if let Some(channel) = state.channels.get_mut(place as usize) {
            change(channel);
        }
        Ok(())
    }
}

impl State {
    fn place(&self, channel: &str) -> Result<u32, UnknownChannel> {
        self.channel(channel).ok_or_else(|| UnknownChannel(channel.to_owned()))
    }

    fn record(&self, row: &Row) -> RequestRecord {
        let channel = row.channel.and_then(|place| self.channels.get(place as usize));
        RequestRecord {
            number: row.number,
            at: row.at,
            channel: channel.map(|channel| channel.id.clone()),
            endpoint: row.endpoint,
            key: row.key.as_ref().map(uuid_text),
            body: row.body.map(hex::encode),
            recipients: row.recipients as usize,
            delivered: row.delivered as usize,
            status: row.status,
            fault: row.fault,
        }
    }

    pub(super) fn received(&self, delivery: &Delivery) -> Received {
        let content = self.ledger.content_at(delivery.content);
        Received {
            at: delivery.at,
            messages: content.map_or_else(|| "[]".into(), |content| content.json.clone()),
            content: content.map(|content| hex::encode(content.sha)).unwrap_or_default(),
            silent: delivery.silent,
            unit: delivery.unit.clone(),
            request_id: delivery.request.to_string(),
        }
    }
}
