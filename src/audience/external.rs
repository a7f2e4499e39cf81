//! The shop's own customer ids, both ways. Several friends may share one: a customer with two LINE accounts.

use roaring::RoaringBitmap;

use super::checkpoint::codec::{Reader, Torn, Writer};
use super::column::{Column, chunk_range, place};
use super::dictionary::Dictionary;
use super::dirty::Dirty;
use super::texts;
use crate::domain::attribute::AttributeType;

/// So many ids nobody has any more are always tolerated.
const IDLE_IDS: usize = 1024;

#[derive(Debug, Clone, Default)]
pub(super) struct ExternalIds {
    codes: Column,
    texts: Dictionary,
    /// The friends of each code.
    holders: Vec<Holders>,
    pub(super) dirty: Dirty,
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
        if self.codes.remove(friend) {
            self.dirty.mark(place(friend).0);
        }
        let Some(id) = id else { return };
        self.dirty.mark(place(friend).0);
        let code = self.texts.intern(id);
        self.codes.set(friend, code.into());
        self.hold(code, friend);
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

    pub(super) fn is_empty(&self) -> bool {
        self.codes.count() == 0
    }

    fn drop_idle(&mut self) {
        if self.texts.len() <= 2 * self.codes.count() + IDLE_IDS {
            return;
        }
        let old = std::mem::take(self);
        for friend in &old.codes.present() {
            self.set(friend, old.of(friend));
        }
        self.dirty = old.dirty;
    }

    pub(super) fn encode_chunk(&self, chunk: usize, row: &mut Writer) {
        let none = Default::default();
        texts::encode(self.codes.chunk(chunk).unwrap_or(&none), AttributeType::Text, &self.texts, row);
    }

    pub(super) fn decode_chunk(&mut self, chunk: usize, row: &mut Reader<'_>) -> Result<(), Torn> {
        let (AttributeType::Text, codes) = texts::decode(row, &mut self.texts)? else { return Err(Torn) };
        for (slot, code) in codes.iter() {
            let code = u32::try_from(code).map_err(|_| Torn)?;
            self.hold(code, *chunk_range(chunk).start() | u32::from(slot));
        }
        self.codes.replace_chunk(chunk, codes);
        Ok(())
    }

    fn hold(&mut self, code: u32, friend: u32) {
        if self.holders.len() <= code as usize {
            self.holders.resize_with(code as usize + 1, Holders::default);
        }
        if let Some(holders) = self.holders.get_mut(code as usize) {
            holders.add(friend);
        }
    }
}
