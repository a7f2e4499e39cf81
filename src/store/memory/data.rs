//! Everything that is stored, in the tables and under the keys that `docs/schema.md` names.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::table::{Table, Undo};
use crate::domain::delivery::Outcome;
use crate::domain::effect::DedupeKind;
use crate::domain::id::{AccountId, CampaignSlug, StepName, VersionId};
use crate::store::codec::{
    BatchCells, EnrollmentCells, EnrollmentKey, EntryCells, ErasureCells, FriendCells, InboxCells,
    OccurrenceCells, OutboxCells, RelayCells, SentCells, StrayCells, TagExpiryCells,
};
use crate::store::{
    AccountRow, ActRow, ApiAnswer, CampaignRow, ConfigVersion, DeferralRow, QuotaReading, StrideRow,
    TokenRow, VariantRow,
};

/// The database.
#[derive(Clone, Default)]
pub(super) struct Data {
    pub(super) versions: Table<i64, ConfigVersion>,
    pub(super) active: Table<(), VersionId>,
    pub(super) tokens: Table<i64, TokenRow>,
    pub(super) rows: Table<i64, AccountRow>,
    pub(super) leases: Table<i64, Lease>,
    /// The last number given in each table that numbers its rows itself.
    pub(super) numbers: Numbers,
    kept: Numbers,
    accounts: BTreeMap<i64, Account>,
    /// What an account without a row shows.
    none: Account,
}

/// Numbers that are never given again, except those of a step that was undone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbers {
    pub(super) inbox: i64,
    pub(super) relay: i64,
    pub(super) stray: i64,
    pub(super) act: i64,
    pub(super) token: i64,
    pub(super) delivery: i64,
}

/// One more.
pub(super) fn next(number: &mut i64) -> i64 {
    *number += 1;
    *number
}

impl Data {
    /// The rows of an account.
    pub(super) fn of(&self, account: AccountId) -> &Account {
        self.accounts.get(&account.0).unwrap_or(&self.none)
    }

    /// The rows of an account, to be changed, and the numbers they may draw.
    pub(super) fn of_mut(&mut self, account: AccountId) -> (&mut Account, &mut Numbers) {
        (self.accounts.entry(account.0).or_default(), &mut self.numbers)
    }

    fn tables(&mut self) -> impl Iterator<Item = &mut dyn Undo> {
        let own: [&mut dyn Undo; 5] =
            [&mut self.versions, &mut self.active, &mut self.tokens, &mut self.rows, &mut self.leases];
        own.into_iter().chain(self.accounts.values_mut().flat_map(Account::tables))
    }
}

impl Undo for Data {
    fn keep(&mut self) {
        self.kept = self.numbers;
        self.tables().for_each(Undo::keep);
    }

    fn undo(&mut self) {
        self.numbers = self.kept;
        self.tables().for_each(Undo::undo);
    }
}

/// A lease as its row holds it.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) token: Option<i64>,
    pub(super) seq: i64,
    pub(super) holder: String,
    pub(super) expires_at: i64,
    pub(super) seen_at: Option<i64>,
}

/// When what was known was applied.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) kind: DedupeKind,
    pub(super) at: i64,
}

/// A stray, with when its row was applied.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) at: i64,
    pub(super) cells: StrayCells,
}

/// What makes a checkpoint complete.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) number: i64,
    pub(super) seq: i64,
    pub(super) chunks: usize,
    pub(super) checksum: i64,
}

/// Checkpoint's number, kind, key, chunk.
pub(super) type ChunkPlace = (i64, String, String, u32);

/// A chunk of a checkpoint, with the token of the owner that wrote it.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) token: i64,
    pub(super) seq: i64,
    pub(super) checksum: i64,
    pub(super) data: Vec<u8>,
}

/// How much of an occurrence is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    All,
    WithoutBatches,
    Counts,
}

/// An occurrence's row.
#[derive(Debug, Clone)]
pub(super) struct Occurrence {
    pub(super) cells: OccurrenceCells,
    pub(super) kept: Kept,
}

/// Campaign, step, due, kind of run, its number, child: each once.
pub(super) type Once = (String, String, i64, String, i64, i64);

/// An arm. The count stays when the set is emptied.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    pub(super) row: VariantRow,
    pub(super) count: u64,
}

/// Excluded friends. The count stays when the set is emptied.
#[derive(Debug, Clone)]
pub(super) struct Excluded {
    pub(super) count: u64,
    pub(super) friends: RoaringBitmap,
}

/// Whether caps read a delivery, and whether it is in `received`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    No,
    Yes,
    Merged,
}

/// Occurrence, position, effective instant, outcome.
pub(super) type DeliveryPlace = (i64, i64, i64, &'static str);

/// Deliveries that are alike. The count stays when the set is emptied.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    /// The order in which rows were written.
    pub(super) number: i64,
    pub(super) outcome: Outcome,
    pub(super) counted: Counted,
    pub(super) count: u64,
    pub(super) sent: SentCells,
}

/// The rows of one account.
#[derive(Clone, Default)]
pub(super) struct Account {
    pub(super) inbox: Table<i64, InboxCells>,
    /// The order in which inbox rows are read: receipt, id.
    pub(super) receipts: Table<(i64, i64), ()>,
    pub(super) relays: Table<i64, RelayCells>,
    pub(super) strays: Table<i64, Stray>,
    pub(super) known: Table<[u8; 16], Known>,
    pub(super) answers: Table<String, ApiAnswer>,
    pub(super) journal: Table<i64, EntryCells>,
    pub(super) friends: Table<i64, FriendCells>,
    /// Whose a user id is among those that are not erased.
    pub(super) users: Table<String, i64>,
    pub(super) manifest: Table<(), Manifest>,
    pub(super) chunks: Table<ChunkPlace, Chunk>,
    pub(super) campaigns: Table<(CampaignSlug, Option<StepName>), CampaignRow>,
    pub(super) occurrences: Table<i64, Occurrence>,
    pub(super) once: Table<Once, ()>,
    /// The first batch by occurrence and effective instant.
    pub(super) parts: Table<(i64, i64), u32>,
    pub(super) variants: Table<(i64, u32), Variant>,
    pub(super) exclusions: Table<(i64, String), Excluded>,
    pub(super) strides: Table<(i64, u32), StrideRow>,
    pub(super) batches: Table<(i64, i64, i64), BatchCells>,
    pub(super) deliveries: Table<DeliveryPlace, Delivery>,
    pub(super) received: Table<String, RoaringBitmap>,
    pub(super) quota: Table<String, QuotaReading>,
    /// By instant and number.
    pub(super) acts: Table<(i64, i64), ActRow>,
    pub(super) enrollments: Table<EnrollmentKey, EnrollmentCells>,
    pub(super) deferrals: Table<i64, DeferralRow>,
    pub(super) expiries: Table<(i64, String), TagExpiryCells>,
    pub(super) outbox: Table<i64, OutboxCells>,
    pub(super) erasures: Table<i64, ErasureCells>,
    /// How many ways of forgotten friends ended how, by drip and ending.
    pub(super) ways_gone: Table<(String, String), u64>,
    /// What occurrences that were added up came to, by drip and step: how many, matched, recipients.
    pub(super) steps_gone: Table<(String, String), (i64, i64, i64)>,
}

impl Account {
    fn tables(&mut self) -> [&mut dyn Undo; 30] {
        [
            &mut self.inbox,
            &mut self.receipts,
            &mut self.relays,
            &mut self.strays,
            &mut self.known,
            &mut self.answers,
            &mut self.journal,
            &mut self.friends,
            &mut self.users,
            &mut self.manifest,
            &mut self.chunks,
            &mut self.campaigns,
            &mut self.occurrences,
            &mut self.once,
            &mut self.parts,
            &mut self.variants,
            &mut self.exclusions,
            &mut self.strides,
            &mut self.batches,
            &mut self.deliveries,
            &mut self.received,
            &mut self.quota,
            &mut self.acts,
            &mut self.enrollments,
            &mut self.deferrals,
            &mut self.expiries,
            &mut self.outbox,
            &mut self.erasures,
            &mut self.ways_gone,
            &mut self.steps_gone,
        ]
    }
}
