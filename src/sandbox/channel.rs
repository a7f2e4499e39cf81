//! One LINE channel as the sandbox plays it: its friends, its month, its limits.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Datelike;
use chrono_tz::Tz;
use sha2::{Digest, Sha256};

use super::limits::Buckets;
use super::plan::Say;
use super::settings::{ChannelSettings, Coupon, RateLimits, SandboxFriend, UnknownIds};
use crate::domain::friend::Status;
use crate::domain::id::UserId;
use crate::domain::time::Instant;

/// A friend's place in its channel's list.
pub(super) type FriendNo = u32;

/// A channel's whole state but its books.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) name: String,
    pub(super) friends: Friends,
    pub(super) month: Month,
    pub(super) buckets: Buckets,
    pub(super) refused: HashMap<UserId, Refusal>,
    pub(super) coupons: Vec<Coupon>,
}

/// How LINE refuses a request because of one well-formed user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400 that names the index in `to`.
    WithIndex,
    /// 400 that names nothing.
    WithoutIndex,
}

impl Channel {
    pub(super) fn new(settings: ChannelSettings, rates: RateLimits) -> Self {
        Self {
            friends: Friends::new(settings.friends, settings.unknown_ids),
            month: Month { limit: settings.quota, used: settings.used, of: None },
            buckets: Buckets::new(rates),
            refused: HashMap::new(),
            coupons: settings.coupons,
            id: settings.id,
            secret: settings.secret,
            name: settings.name,
        }
    }

    /// The account's own user id, a function of the channel id.
    pub(super) fn bot_user(&self) -> UserId {
        let digest = Sha256::digest(format!("sandbox bot {}", self.id));
        let mut id = [0; 16];
        id.copy_from_slice(digest.get(..16).unwrap_or(&[0; 16]));
        UserId(id)
    }

    /// The friends of `to` a message would reach, or why LINE refuses the whole request.
    pub(super) fn reach(&mut self, to: &[UserId]) -> Result<Vec<FriendNo>, Say> {
        if !self.refused.is_empty() {
            for (n, user) in to.iter().enumerate() {
                match self.refused.get(user) {
                    Some(Refusal::WithIndex) => return Err(Say::invalid_property(&format!("to[{n}]"))),
                    Some(Refusal::WithoutIndex) => return Err(Say::failed_to_send()),
                    None => {}
                }
            }
        }
        self.friends.reach(to)
    }
}

/// A channel's friends.
#[derive(Debug)]
pub(super) struct Friends {
    index: HashMap<UserId, FriendNo>,
    list: Vec<Friend>,
    unknown: UnknownIds,
}

/// One friend.
#[derive(Debug, Clone)]
pub(super) struct Friend {
    pub(super) user: UserId,
    pub(super) name: Option<Arc<str>>,
    pub(super) status: Status,
    /// The rich menu linked to it.
    pub(super) menu: Option<Arc<str>>,
}

impl Friend {
    pub(super) fn report(&self) -> SandboxFriend {
        let name = self.name.as_deref().map(str::to_owned);
        SandboxFriend { user: self.user, name, status: self.status }
    }

    /// Whether the name or the id contains the text; nobody asks for an empty one in vain.
    pub(super) fn matches(&self, search: &str) -> bool {
        search.is_empty()
            || self.name.as_deref().is_some_and(|name| name.contains(search))
            || self.user.to_string().contains(search)
    }
}

impl Friends {
    fn new(friends: Vec<SandboxFriend>, unknown: UnknownIds) -> Self {
        let mut all = Self { index: HashMap::new(), list: Vec::new(), unknown };
        all.put(friends);
        all
    }

    /// Adds friends, or changes those already known.
    pub(super) fn put(&mut self, friends: Vec<SandboxFriend>) {
        for friend in friends {
            let number = self.number(friend.user);
            if let Some(known) = self.list.get_mut(number as usize) {
                known.status = friend.status;
                known.name = friend.name.map(Arc::from).or(known.name.take());
            }
        }
    }

    /// The friend's number; a new friend, following, if there was none.
    pub(super) fn number(&mut self, user: UserId) -> FriendNo {
        let list = &mut self.list;
        *self.index.entry(user).or_insert_with(|| {
            list.push(Friend { user, name: None, status: Status::Following, menu: None });
            FriendNo::try_from(list.len() - 1).unwrap_or(FriendNo::MAX)
        })
    }

    /// The number of somebody who got messages before; no friend of now unless already known as one.
    pub(super) fn remember(&mut self, user: UserId) -> FriendNo {
        let known = self.index.contains_key(&user);
        let number = self.number(user);
        if let Some(friend) = self.list.get_mut(number as usize).filter(|_| !known) {
            friend.status = Status::Blocked;
        }
        number
    }

    pub(super) fn find(&self, user: &UserId) -> Option<(FriendNo, &Friend)> {
        let number = *self.index.get(user)?;
        Some((number, self.get(number)?))
    }

    pub(super) fn get(&self, number: FriendNo) -> Option<&Friend> {
        self.list.get(number as usize)
    }

    pub(super) fn list(&self) -> &[Friend] {
        &self.list
    }

    /// Links a menu to these friends, or unlinks the one each has.
    pub(super) fn link(&mut self, menu: Option<&Arc<str>>, to: &[FriendNo]) {
        for number in to {
            if let Some(friend) = self.list.get_mut(*number as usize) {
                friend.menu = menu.cloned();
            }
        }
    }

    /// Those of these users who follow the account; a stranger, too, where strangers are taken for friends.
    pub(super) fn following(&mut self, users: &[UserId]) -> Vec<FriendNo> {
        let befriends = self.unknown == UnknownIds::Befriend;
        let mut known = |user: &UserId| match self.find(user) {
            Some((number, friend)) => (friend.status == Status::Following).then_some(number),
            None => befriends.then(|| self.number(*user)),
        };
        users.iter().filter_map(&mut known).collect()
    }

    fn reach(&mut self, to: &[UserId]) -> Result<Vec<FriendNo>, Say> {
        let mut reached = Vec::with_capacity(to.len());
        for user in to {
            match (self.find(user), self.unknown) {
                (Some((number, friend)), _) => {
                    if friend.status == Status::Following {
                        reached.push(number);
                    }
                }
                (None, UnknownIds::Skip) => {}
                (None, UnknownIds::Refuse) => return Err(Say::failed_to_send()),
                (None, UnknownIds::Befriend) => reached.push(self.number(*user)),
            }
        }
        Ok(reached)
    }
}

/// The month's limit and use. A new month of the sandbox's clock begins at 0.
#[derive(Debug)]
pub(super) struct Month {
    pub(super) limit: Option<u64>,
    used: u64,
    of: Option<(i32, u32)>,
}

impl Month {
    /// Messages used in the month of `now`.
    pub(super) fn used(&mut self, now: Instant, zone: Tz) -> u64 {
        let day = now.day_in(zone);
        let month = (day.year(), day.month());
        if self.of.replace(month).is_some_and(|of| of != month) {
            self.used = 0;
        }
        self.used
    }
    /// Says how many were used, as of `now`.
    pub(super) fn set_used(&mut self, used: u64, now: Instant, zone: Tz) {
        self.used(now, zone);
        self.used = used;
    }
    /// Whether the limit leaves room for `messages` more.
    pub(super) fn has_room(&mut self, messages: u64, now: Instant, zone: Tz) -> bool {
        let used = self.used(now, zone);
        self.limit.is_none_or(|limit| used.saturating_add(messages) <= limit)
    }
    /// Counts messages that were sent.
    pub(super) fn count(&mut self, messages: u64, now: Instant, zone: Tz) {
        self.used = self.used(now, zone).saturating_add(messages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_month_begins_at_nothing_in_the_zone() {
        let zone = chrono_tz::Asia::Tokyo;
        let at = |text: &str| Instant::try_from(text.to_owned()).unwrap();
        let mut month = Month { limit: Some(10), used: 4, of: None };
        assert_eq!(month.used(at("2026-11-30T14:59:59.999Z"), zone), 4);
        assert!(month.has_room(6, at("2026-11-30T14:59:59.999Z"), zone));
        assert!(!month.has_room(7, at("2026-11-30T14:59:59.999Z"), zone));
        assert_eq!(month.used(at("2026-11-30T15:00:00Z"), zone), 0, "1 December in Tokyo");
    }
}
