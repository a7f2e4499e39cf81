//! LINE's ids and the dense ids they have here.

use roaring::RoaringBitmap;

use super::checkpoint::codec::{Reader, Torn, Writer};
use super::checkpoint::inside;
use super::column::{chunk_range, place};
use super::dirty::Dirty;
use super::lookup::Lookup;
use crate::domain::id::UserId;

/// 16 bytes a friend, and a table from user id to dense id.
#[derive(Debug, Clone, Default)]
pub(super) struct Users {
    ids: Vec<UserId>,
    /// Dense ids without a user id: erased, or never joined.
    nameless: RoaringBitmap,
    friends: Lookup,
    pub(super) dirty: Dirty,
}

/// User ids are digests by LINE, but rehearsal accounts count them up: both halves are mixed.
fn hash(user: UserId) -> u64 {
    let id = u128::from_le_bytes(user.0);
    let mixed = u128::from(id as u64 ^ 0x9e37_79b9_7f4a_7c15)
        .wrapping_mul(u128::from((id >> 64) as u64 ^ 0xd1b5_4a32_d192_ed03));
    mixed as u64 ^ (mixed >> 64) as u64
}

impl Users {
    /// One more than the largest dense id there ever was.
    pub(super) fn next(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn user(&self, friend: u32) -> Option<UserId> {
        if self.nameless.contains(friend) {
            return None;
        }
        self.ids.get(friend as usize).copied()
    }

    pub(super) fn friend(&self, user: UserId) -> Option<u32> {
        self.friends.find(hash(user), |friend| self.ids.get(friend as usize) == Some(&user))
    }

    /// Makes the dense id known, at first without a user id.
    pub(super) fn reserve(&mut self, friend: u32) {
        let next = self.next();
        if friend >= next {
            self.nameless.insert_range(next..=friend);
            (next >> 16..=friend >> 16).for_each(|chunk| self.dirty.mark(chunk as usize));
            self.ids.resize(friend as usize + 1, UserId([0; 16]));
        }
    }

    /// Names the friend. A user has one dense id: the last one said.
    pub(super) fn name(&mut self, friend: u32, user: UserId) {
        self.reserve(friend);
        if self.user(friend) == Some(user) {
            return;
        }
        self.forget(friend);
        if let Some(before) = self.friend(user) {
            self.forget(before);
        }
        self.nameless.remove(friend);
        self.dirty.mark(place(friend).0);
        self.put(friend, user);
    }

    fn put(&mut self, friend: u32, user: UserId) {
        if let Some(id) = self.ids.get_mut(friend as usize) {
            *id = user;
        }
        let ids = &self.ids;
        let hash_of = |friend: u32| ids.get(friend as usize).map_or(0, |user| hash(*user));
        self.friends.insert(hash(user), friend, hash_of);
    }

    /// Takes the friend's user id away.
    pub(super) fn forget(&mut self, friend: u32) {
        if let Some(user) = self.user(friend) {
            self.friends.remove(hash(user), friend);
            self.nameless.insert(friend);
            self.dirty.mark(place(friend).0);
            if let Some(id) = self.ids.get_mut(friend as usize) {
                *id = UserId([0; 16]);
            }
        }
    }

    pub(super) fn encode_chunk(&self, chunk: usize, row: &mut Writer) {
        let ids = self.ids.chunks(1 << 16).nth(chunk).unwrap_or_default();
        row.set(&self.nameless.range(chunk_range(chunk)).collect());
        row.bytes(&ids.iter().flat_map(|user| user.0).collect::<Vec<u8>>());
    }

    pub(super) fn decode_chunk(&mut self, chunk: usize, row: &mut Reader<'_>) -> Result<(), Torn> {
        let (nameless, ids) = (row.set()?, row.bytes()?);
        let (ids, []) = ids.as_chunks::<16>() else { return Err(Torn) };
        if ids.len() > 1 << 16 {
            return Err(Torn);
        }
        let nameless = inside(nameless, chunk)?;
        let Some((last, _)) = chunk_range(chunk).zip(ids).last() else { return Ok(()) };
        self.reserve(last);
        self.nameless.remove_range(chunk_range(chunk));
        for (friend, id) in chunk_range(chunk).zip(ids).filter(|(friend, _)| !nameless.contains(*friend)) {
            // Two rows of different numbers may name one user; what is replayed over them says which it is.
            if let Some(before) = self.friend(UserId(*id)) {
                self.forget(before);
            }
            self.put(friend, UserId(*id));
        }
        self.nameless |= nameless;
        Ok(())
    }

    /// Makes room for so many friends in all.
    pub(super) fn expect(&mut self, friends: usize) {
        self.ids.reserve_exact(friends.saturating_sub(self.ids.len()));
        let ids = &self.ids;
        self.friends.reserve(friends, |friend| ids.get(friend as usize).map_or(0, |user| hash(*user)));
    }
}
