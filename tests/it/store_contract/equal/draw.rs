//! What is told: everything from few values, so that rows meet.

use haishin::domain::access::{Scope, Secret};
use haishin::domain::delivery::{OccurrenceState, Outcome};
use haishin::domain::effect::{DedupeId, DedupeKind, Effect, Intake};
use haishin::domain::id::{AccountId, CampaignSlug, FriendId, OccurrenceId, Seq, UserId};
use haishin::domain::key::Run;
use haishin::domain::time::{Instant, Span, Tz};
use haishin::store::*;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::commit::arm;
use super::super::samples::{self, drip};
use super::super::{T0, TEN};
use super::{ACCOUNTS, History};

/// Whatever a friend's number, or most others, may be here.
pub const FEW: std::ops::Range<u32> = 0..5;
/// Occurrences that are looked at. There may be more.
pub const OCCURRENCES: std::ops::Range<i64> = 0..8;
pub const KEYS: [&str; 3] = ["key", "Key", "nul \0 inside"];
const CAMPAIGNS: [&str; 3] = ["winter-coupon", "spring", "体験"];

pub fn campaigns() -> [CampaignSlug; 3] {
    CAMPAIGNS.map(|slug| slug.parse().unwrap())
}

/// Two kinds, of which those with one digest are one row.
pub fn dedupe_ids() -> Vec<DedupeId> {
    let kinds = [DedupeKind::Webhook, DedupeKind::Event];
    kinds.into_iter().flat_map(|kind| (0..6).map(move |n| DedupeId { kind, digest: [n; 16] })).collect()
}

/// Every kind of pruning with this bound.
pub fn prunes(before: Instant, (after, upto): (Seq, Seq)) -> Vec<Prune> {
    vec![
        Prune::Chunks,
        Prune::Journal { after, upto, events_before: None },
        Prune::Journal { after, upto, events_before: Some(before) },
        Prune::Merge(before),
        Prune::ApiAnswers(before),
        Prune::WebhookIds(before),
        Prune::Outbox(before),
        Prune::Batches(before),
        Prune::Sets(before),
        Prune::Steps(before, Tz::Asia__Tokyo),
    ]
}

impl History {
    fn number(&mut self) -> i64 {
        self.draw(FEW).into()
    }

    fn occurrence_id(&mut self) -> OccurrenceId {
        OccurrenceId(self.draw(OCCURRENCES))
    }

    /// An instant that others meet.
    fn instant(&mut self) -> Instant {
        if self.one_in(3) { self.draw(drip::few_instants()) } else { T0 + Span::from_secs(self.number()) }
    }

    fn words(&mut self) -> String {
        let words = self.draw(samples::text());
        if self.one_in(4) { format!("{words}\0") } else { words }
    }

    pub fn inbox_rows(&mut self) -> Vec<NewInbox> {
        let mut rows = Vec::new();
        for _ in 0..self.draw(0..6) {
            let mut intakes = self.draw(samples::intakes());
            // Some of which a few are more than a slice.
            if self.one_in(3) {
                intakes.push(self.long());
            }
            let account = if self.one_in(3) { self.pick(&ACCOUNTS) } else { ACCOUNTS[0] };
            let received_at = self.instant();
            rows.push(NewInbox { account, received_at, source: self.words(), intakes });
        }
        rows
    }

    fn long(&mut self) -> Intake {
        let name = "purchase".parse().unwrap();
        let event_id = Some("友".repeat(self.draw(50_000_usize..200_000)));
        let effect = Effect::Event { name, event_id, properties: [].into() };
        Intake { friend: UserId([7; 16]).into(), at: self.now, effect, dedupe: None }
    }

    pub fn relays(&mut self) -> Vec<NewRelay> {
        let mut relays = Vec::new();
        for _ in 0..self.draw(0..3) {
            let (account, received_at) = (self.pick(&ACCOUNTS), self.instant());
            let (signature, body) = (self.draw(samples::text()), self.words());
            relays.push(NewRelay { account, received_at, signature, body });
        }
        relays
    }

    pub fn answer(&mut self) -> ApiAnswer {
        let at = if self.one_in(3) { self.instant() } else { self.now };
        let (status, body) = (self.draw(any::<u16>()), self.draw(samples::text()));
        let request = self.draw(any::<[u8; 32]>());
        ApiAnswer { account: self.pick(&ACCOUNTS), key: self.pick(&KEYS).into(), request, at, status, body }
    }

    pub fn token(&mut self) -> NewToken {
        let account = self.one_in(2).then(|| self.pick(&ACCOUNTS));
        NewToken {
            account,
            name: self.words(),
            scopes: self
                .draw(select(vec![vec![], vec![Scope::EventsWrite, Scope::FriendsRead]]))
                .into_iter()
                .collect(),
            digest: Secret(self.draw(any::<[u8; 32]>())).digest(),
            created_at: self.now,
            created_by: self.words(),
        }
    }

    /// What one commit writes.
    pub async fn writes(&mut self, account: AccountId) -> Vec<Write> {
        let mut writes = if self.one_in(5) { self.ended(account).await } else { Vec::new() };
        if self.one_in(4) {
            writes.push(self.prune(account).await);
        }
        for _ in 0..self.draw(1..4) {
            writes.push(self.write(account).await);
        }
        writes
    }

    /// A new occurrence that has ended, with its books.
    async fn ended(&mut self, account: AccountId) -> Vec<Write> {
        let Write::Occurrence(mut new) = self.freeze() else { return vec![] };
        let last = self.pair.memory[0].last_occurrence(account).await.unwrap();
        let (id, arms) = (OccurrenceId(last.0 + 1), self.draw(1_u32..3));
        new.variants = (0..arms).map(|position| arm(position, [position])).collect();
        let finished_at = (!self.one_in(8)).then(|| self.instant());
        let run = if self.one_in(6) { new.row.run } else { Run::Scheduled(self.draw(0_u32..9)) };
        new.row = OccurrenceRow { id, finished_at, run, ..new.row };
        let mut sets = self.draw(samples::deliveries(arms));
        for set in &mut sets {
            set.effective_at = self.instant();
            set.outcome = self.pick(&[Outcome::Accepted, set.outcome]);
        }
        let batches = self.draw(samples::batches(id));
        vec![
            Write::Occurrence(new),
            Write::Deliveries { occurrence: id, sets },
            Write::Batches(batches.into_iter().map(|row| BatchRow { n: row.n % 4, ..row }).collect()),
        ]
    }

    /// A write that is valid more often than not.
    async fn write(&mut self, account: AccountId) -> Write {
        match self.draw(0..38) {
            0..4 => self.entries(account).await,
            4 => {
                let ids = self.draw(proptest::sample::subsequence(dedupe_ids(), 0..4));
                Write::Known(ids)
            }
            5 => self.consume(account).await,
            6 => Write::Strays(self.draw(samples::strays())),
            7 => Write::ForgetStrays(self.number()),
            8 => Write::Grace,
            9 | 34..38 => self.fold(account).await,
            10..12 => self.chunks(),
            12 | 13 => {
                let seq = (!self.one_in(4)).then(|| Seq(self.number()));
                Write::CheckpointManifest(seq)
            }
            14 => Write::Stopped(self.halt()),
            15 => Write::AccountPaused(self.halt()),
            16 => {
                let row = self.draw(samples::campaign());
                let step = if self.one_in(2) { None } else { row.step };
                Write::Campaign(CampaignRow { campaign: self.pick(&campaigns()), step, ..row })
            }
            17..20 => self.freeze(),
            _ => self.sending(account).await,
        }
    }

    async fn sending(&mut self, account: AccountId) -> Write {
        let occurrence = self.occurrence_id();
        match self.draw(0..28) {
            0 | 1 => self.move_on(account).await,
            2 => {
                let part = Part { from_batch: self.draw(FEW), effective_at: self.instant() };
                Write::Part { occurrence, part }
            }
            3 | 4 => {
                let row = self.draw(samples::stride(occurrence));
                let first = self.draw(FEW);
                let more = u32::from(self.one_in(8));
                let upto = first + row.upto - row.first + more;
                let boot_id = self.words();
                Write::Stride(StrideRow { first, upto, boot_id, ..row })
            }
            5 | 6 => {
                let rows = self.draw(samples::batches(occurrence)).into_iter();
                Write::Batches(rows.map(|row| BatchRow { n: row.n % 4, ..row }).collect())
            }
            7 | 8 => {
                let mut sets = self.draw(samples::deliveries(3));
                for set in &mut sets {
                    set.effective_at = self.instant();
                }
                Write::Deliveries { occurrence, sets }
            }
            9 => Write::Relayed(vec![self.number(), self.number()]),
            10..13 => self.prune(account).await,
            13 => Write::Quota(QuotaReading {
                month: self.pick(&["2026-12", "2027-01", "2026-1\0"]).into(),
                read_at: self.instant(),
                limit: self.draw(proptest::option::of(any::<u64>())),
                used: self.draw(any::<u64>()),
            }),
            14 => Write::Act(ActRow {
                at: self.instant(),
                by: self.words(),
                act: self.words(),
                subject: self.words(),
                detail: self.words(),
            }),
            15 => Write::ClockAccepted,
            16 | 17 => Write::Enrollments(self.draw(drip::enrollments())),
            18 => Write::DropEnrollments(self.draw(drip::enrollment_keys())),
            19 => {
                let rows = self.draw(drip::deferrals());
                rows.into_iter().next().map_or(Write::Grace, |row| Write::Deferral(Box::new(row)))
            }
            20 => Write::TagExpiries(self.draw(drip::tag_expiries())),
            21 => Write::DropTagExpiries(self.draw(drip::tag_keys())),
            22 => Write::Outbox(self.draw(drip::outbox())),
            23 => Write::DropOutbox(vec![self.number(), self.number()]),
            _ => self.erased(),
        }
    }

    /// Of those whom other rows are about.
    fn erased(&mut self) -> Write {
        let friends: Vec<FriendId> = (0..self.draw(0..3)).map(|_| FriendId(self.draw(FEW))).collect();
        let outbox = self.draw(drip::outbox()).into_iter().map(|row| row.request).next();
        match self.draw(0..6) {
            0 => Write::Forgotten(friends),
            1 | 2 => Write::Forget(friends),
            3 => Write::Redact { strays: vec![self.number()], outbox: vec![(self.number(), outbox)] },
            _ => {
                let erasure = |friend| Erasure {
                    friend,
                    seq: Seq(friend.0.into()),
                    at: self.now,
                    user: (friend.0 % 2 == 0).then_some(UserId([7; 16])),
                    external_id: (friend.0 % 3 == 0).then(|| "nul \0 inside".into()),
                };
                Write::Erasures(friends.into_iter().map(erasure).collect())
            }
        }
    }

    /// The end of the journal and of what is folded.
    async fn seqs(&self, account: AccountId) -> (i64, i64) {
        let row = self.pair.memory[0].account(account).await.unwrap();
        row.map_or((0, 0), |row| (row.journal_seq.0, row.folded_seq.0))
    }

    async fn entries(&mut self, account: AccountId) -> Write {
        let (last, _) = self.seqs(account).await;
        let mut entries = self.draw(samples::entries());
        let gap = i64::from(self.one_in(12));
        for entry in &mut entries {
            entry.seq = Seq(entry.seq.0 + last + gap);
            entry.at = self.instant();
        }
        if self.one_in(20) {
            entries.pop();
            entries.reverse();
        }
        Write::Entries(entries)
    }

    async fn consume(&mut self, account: AccountId) -> Write {
        let waiting = self.pair.memory[0].inbox(account, 100).await.unwrap();
        let mut ids: Vec<i64> = waiting.iter().map(|row| row.id).collect();
        ids.truncate(self.draw(0_usize..4));
        if self.one_in(6) {
            ids.push(self.number());
        }
        Write::ConsumeInbox(ids)
    }

    async fn fold(&mut self, account: AccountId) -> Write {
        let (journal, folded) = self.seqs(account).await;
        let seq = if self.one_in(8) { self.draw(-1..journal + 3) } else { self.draw(folded..=journal) };
        let mut friends = self.draw(samples::friends());
        for friend in &mut friends {
            friend.friend = FriendId(self.draw(FEW));
            friend.user = self.draw(proptest::option::of((0_u8..4).prop_map(|n| UserId([n; 16]))));
            friend.erased_at = if self.one_in(2) { Some(self.now) } else { None };
        }
        friends.truncate(self.draw(1_usize..4));
        Write::Fold { friends, folded_seq: Seq(seq) }
    }

    fn chunks(&mut self) -> Write {
        let mut chunks = Vec::new();
        for _ in 0..self.draw(1..24) {
            chunks.push(CheckpointChunk {
                kind: self.pick(&["tag", "attribute"]).into(),
                key: self.pick(&["会員", "a", ""]).into(),
                chunk: self.draw(0_u32..4),
                seq: Seq(self.number()),
                checksum: self.draw(any::<i64>()),
                data: self.draw(any::<[u8; 8]>()).to_vec(),
            });
        }
        Write::CheckpointChunks(chunks)
    }

    fn halt(&mut self) -> Option<Halt> {
        let halt = self.draw(proptest::option::of(samples::halt()))?;
        Some(Halt { by: self.words(), ..halt })
    }

    fn freeze(&mut self) -> Write {
        let mut new = self.draw(samples::occurrence());
        let row = &mut new.row;
        row.id = self.occurrence_id();
        row.campaign = self.pick(&campaigns());
        row.due_at = self.instant();
        if self.one_in(2) {
            row.step = None;
            row.run = Run::Scheduled(self.draw(0_u32..3));
            row.child = self.draw(0_u32..2);
        }
        row.finished_at = row.finished_at.map(|_| T0 + TEN);
        Write::Occurrence(Box::new(new))
    }

    async fn move_on(&mut self, account: AccountId) -> Write {
        use OccurrenceState::*;
        let states = [Refused, Missed, Sending, Paused, Held, Finished, Cancelled];
        let occurrence = self.occurrence_id();
        let found = self.pair.memory[0].occurrences(account, OccurrenceFilter::Id(occurrence)).await.unwrap();
        let from = found.first().map(|row| row.state).filter(|_| !self.one_in(8));
        let from = from.unwrap_or_else(|| self.pick(&states));
        let finished_at = self.one_in(2).then(|| self.instant());
        let reason = self.draw(proptest::option::of(samples::reason()));
        Write::OccurrenceState { occurrence, from, to: self.pick(&states), reason, finished_at }
    }

    /// Most of them find something, if there is anything.
    async fn prune(&mut self, account: AccountId) -> Write {
        let before = if self.one_in(2) { self.now } else { self.instant() };
        let range = (Seq(self.number()), Seq(3 * self.number()));
        let mut kinds = prunes(before, range);
        let first = self.draw(0..kinds.len());
        kinds.rotate_left(first);
        let found = self.pair.memory[0].prunable(account, &kinds).await.unwrap();
        let found = found.filter(|_| !self.one_in(4));
        Write::Prune(found.unwrap_or_else(|| kinds[0].clone()))
    }
}
