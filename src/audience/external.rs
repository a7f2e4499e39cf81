//! The shop's own customer ids, both ways. Several friends may share one: a customer with two LINE accounts.

use roaring::RoaringBitmap;

use super::column::Column;
use super::dictionary::Dictionary;

/// So many ids nobody has any more are always tolerated.
const IDLE_IDS: usize = 1024;

#[derive(Debug, Clone, Default)]
pub(super) struct ExternalIds {
    codes: Column,
    texts: Dictionary,
    /// The friends of each code.
    holders: Vec<Holders>,
}

/// Nearly always exactly one.
#[derive(Debug, Clone, Default)]
enum Holders {
    #[default]
    None,
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl Holders {
    fn set(&self) -> RoaringBitmap {
        match self {
            Holders::None => RoaringBitmap::new(),
            Holders::One(friend) => RoaringBitmap::from([*friend]),
            Holders::Many(friends) => friends.as_ref().clone(),
        }
    }

    fn add(&mut self, friend: u32) {
        match self {
            Holders::None => *self = Holders::One(friend),
            Holders::One(other) => *self = Holders::Many(Box::new(RoaringBitmap::from([*other, friend]))),
            Holders::Many(friends) => {
                friends.insert(friend);
            }
        }
    }

    fn take(&mut self, friend: u32) {
        match self {
            Holders::One(other) if *other == friend => *self = Holders::None,
            Holders::Many(friends) => {
                friends.remove(friend);
            }
            Holders::None | Holders::One(_) => {}
        }
    }
}

impl ExternalIds {
    pub(super) fn set(&mut self, friend: u32, id: Option<&str>) {
        if let Some(holders) = self.code(friend).and_then(|code| self.holders.get_mut(code as usize)) {
            holders.take(friend);
        }
        self.codes.remove(friend);
        let Some(id) = id else { return };
        let code = self.texts.intern(id);
        self.codes.set(friend, code.into());
        if self.holders.len() <= code as usize {
            self.holders.resize_with(code as usize + 1, Holders::default);
        }
        if let Some(holders) = self.holders.get_mut(code as usize) {
            holders.add(friend);
        }
        self.drop_idle();
    }

    fn code(&self, friend: u32) -> Option<u32> {
        u32::try_from(self.codes.get(friend)?).ok()
    }

    pub(super) fn of(&self, friend: u32) -> Option<&str> {
        self.texts.text(self.code(friend)?)
    }

    pub(super) fn friends(&self, id: &str) -> RoaringBitmap {
        let holders = self.texts.code(id).and_then(|code| self.holders.get(code as usize));
        holders.map_or_else(RoaringBitmap::new, Holders::set)
    }

    fn drop_idle(&mut self) {
        if self.texts.len() <= 2 * self.codes.count() + IDLE_IDS {
            return;
        }
        let old = std::mem::take(self);
        for friend in &old.codes.present() {
            self.set(friend, old.of(friend));
        }
    }
}
