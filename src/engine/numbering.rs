//! Intakes to journal entries: who is meant, what was applied before, which number comes next. Pure: the slice is
//! numbered in memory and only then committed.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::audience::Index;
use crate::domain::effect::{DedupeId, Effect, Entry, Intake};
use crate::domain::friend::{FriendRef, Miss, Status};
use crate::domain::id::{FriendId, Seq, UserId};
use crate::domain::time::Instant;
use crate::protocol::Missed;
use crate::store::{InboxRow, NewInbox, NewStray};

/// What a slice of the inbox becomes.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Numbered {
    /// Journal entries, numbered on.
    pub entries: Vec<Entry>,
    /// Identities that are known from now on.
    pub fresh: Vec<DedupeId>,
    /// Which entries LINE told.
    pub told: BTreeSet<Seq>,
    /// What named no one friend. Its identity stays new: said again once the friend is known, it counts.
    pub strays: Vec<NewStray>,
}

/// Numbers rows after `seq`, in their order. `known` holds those of their identities that were applied before.
pub(super) fn number(rows: Vec<InboxRow>, known: HashSet<DedupeId>, index: &Index, seq: Seq) -> Numbered {
    let mut numbering = Numbering { slice: Slice::after(index), known, seq, numbered: Numbered::default() };
    for row in rows {
        for intake in row.intakes {
            numbering.take(intake, row.received_at, &row.source);
        }
    }
    numbering.numbered
}

/// Which of these would name no one friend if they were applied next.
pub(super) fn missed(intakes: &[Intake], index: &Index) -> Vec<Missed> {
    let mut slice = Slice::after(index);
    let mut missed = Vec::new();
    for (intake, said) in intakes.iter().enumerate() {
        match slice.friend(&said.friend) {
            Ok((friend, _)) => slice.see(friend, said.at, &said.effect),
            Err(miss) => missed.push(Missed { intake, miss }),
        }
    }
    missed
}

struct Numbering<'a> {
    slice: Slice<'a>,
    known: HashSet<DedupeId>,
    seq: Seq,
    numbered: Numbered,
}

impl Numbering<'_> {
    fn take(&mut self, intake: Intake, received_at: Instant, source: &str) {
        let known = intake.dedupe.is_some_and(|id| self.known.contains(&id));
        if known || self.slice.forgets_nobody(&intake) {
            return;
        }
        let (friend, joins) = match self.slice.friend(&intake.friend) {
            Ok(found) => found,
            Err(reason) => {
                let source = source.to_owned();
                return self.numbered.strays.push(NewStray { received_at, source, reason, intake });
            }
        };
        if let Some(user) = joins {
            self.push(friend, intake.at, Effect::Joined { user });
        }
        if let Some(id) = intake.dedupe {
            self.known.insert(id);
            self.numbered.fresh.push(id);
        }
        if self.is_overtaken(friend, &intake, source) {
            return;
        }
        self.slice.see(friend, intake.at, &intake.effect);
        self.push(friend, intake.at, intake.effect);
        if source == NewInbox::WEBHOOK {
            self.numbered.told.insert(self.seq);
        }
    }

    /// LINE tells in any order who follows and who blocks, and again what it told: what happened last counts. A person's
    /// import is taken at its word.
    fn is_overtaken(&self, friend: FriendId, intake: &Intake, source: &str) -> bool {
        let is_told = source != NewInbox::IMPORT && matches!(intake.effect, Effect::Status { .. });
        is_told && self.slice.since(friend).as_of().is_some_and(|as_of| intake.at < as_of)
    }

    fn push(&mut self, friend: FriendId, at: Instant, effect: Effect) {
        self.seq = Seq(self.seq.0.saturating_add(1));
        self.numbered.entries.push(Entry { seq: self.seq, friend, at, effect });
    }
}

/// The instants of a friend's status, as the index keeps them.
#[derive(Debug, Clone, Copy)]
struct Since {
    followed: Option<Instant>,
    blocked: Option<Instant>,
}

impl Since {
    /// What the status is as of. None where nobody has said any: a friend met otherwise is taken as following.
    fn as_of(self) -> Option<Instant> {
        self.blocked.or(self.followed)
    }
}

/// Who is who: the index as of the last commit, and what the slice itself has said since.
struct Slice<'a> {
    index: &'a Index,
    /// Friends met for the first time.
    joined: HashMap<UserId, FriendId>,
    next: FriendId,
    /// The customer ids of friends who got another one, or none.
    moved: HashMap<FriendId, Option<String>>,
    /// Who got a customer id, and may have lost it since.
    gained: HashMap<String, BTreeSet<FriendId>>,
    /// Since when friends of whom the slice says it follow or do not.
    since: HashMap<FriendId, Since>,
    /// Friends who were erased: their users are new ones from then on.
    erased: HashSet<FriendId>,
}

impl<'a> Slice<'a> {
    fn after(index: &'a Index) -> Self {
        let next = index.next_friend();
        Self {
            index,
            joined: HashMap::new(),
            next,
            moved: HashMap::new(),
            gained: HashMap::new(),
            since: HashMap::new(),
            erased: HashSet::new(),
        }
    }

    /// Who is meant, and by which user id where this is a friend the account has not met before.
    fn friend(&mut self, named: &FriendRef) -> Result<(FriendId, Option<UserId>), Miss> {
        match named {
            FriendRef::User(user) => Ok(self.by_user(*user)),
            FriendRef::External(id) => Ok((self.by_external_id(id)?, None)),
        }
    }

    fn by_user(&mut self, user: UserId) -> (FriendId, Option<UserId>) {
        if let Some(friend) = self.met(user) {
            return (friend, None);
        }
        let friend = self.next;
        self.next = FriendId(friend.0.saturating_add(1));
        self.joined.insert(user, friend);
        (friend, Some(user))
    }

    /// Whether somebody is to be forgotten whom the account has not met, or no longer knows: nobody joins for that.
    fn forgets_nobody(&self, intake: &Intake) -> bool {
        let FriendRef::User(user) = &intake.friend else { return false };
        intake.effect == Effect::Erased && self.met(*user).is_none()
    }

    /// The friend who is this user now.
    fn met(&self, user: UserId) -> Option<FriendId> {
        let met = self.joined.get(&user).copied().or_else(|| self.index.friend_of(user));
        met.filter(|friend| !self.erased.contains(friend))
    }

    fn by_external_id(&self, id: &str) -> Result<FriendId, Miss> {
        let stored = self.index.with_external_id(id);
        let stayed = stored.iter().map(FriendId).filter(|friend| !self.moved.contains_key(friend));
        let holds = |friend: &FriendId| self.moved.get(friend).is_some_and(|now| now.as_deref() == Some(id));
        let came = self.gained.get(id).into_iter().flatten().copied().filter(holds);
        Miss::unless_one(stayed.chain(came))
    }

    fn since(&self, friend: FriendId) -> Since {
        self.since.get(&friend).copied().unwrap_or_else(|| Since {
            followed: self.index.followed_at(friend),
            blocked: self.index.blocked_at(friend),
        })
    }

    /// Remembers what an effect changes of who is who, and of who follows.
    fn see(&mut self, friend: FriendId, at: Instant, effect: &Effect) {
        let now = match effect {
            Effect::Status { status, followed_at } => {
                let followed = followed_at.or(self.since(friend).followed);
                let blocked = (*status == Status::Blocked).then_some(at);
                self.since.insert(friend, Since { followed, blocked });
                return;
            }
            Effect::ExternalId { external_id } => external_id.clone(),
            Effect::Erased => {
                self.erased.insert(friend);
                None
            }
            _ => return,
        };
        if let Some(id) = &now {
            self.gained.entry(id.clone()).or_default().insert(friend);
        }
        self.moved.insert(friend, now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::id::TagName;

    fn user(n: u8) -> UserId {
        UserId([n; 16])
    }

    fn id(n: u8) -> String {
        format!("c-{n}")
    }

    /// Few instants, so that some are equal.
    fn at() -> impl Strategy<Value = Instant> {
        (1..6_i64).prop_map(Instant::from_millis)
    }

    /// Few users and few ids, so that each is met again, lost and shared.
    fn intake() -> impl Strategy<Value = Intake> {
        let friend = prop_oneof![
            (0..4_u8).prop_map(|n| FriendRef::User(user(n))),
            (0..3_u8).prop_map(|n| FriendRef::External(id(n))),
        ];
        let effect = prop_oneof![
            4 => proptest::option::of(0..3_u8).prop_map(|n| Effect::ExternalId { external_id: n.map(id) }),
            4 => Just(Effect::TagAdded { tag: TagName::parse("t").unwrap() }),
            1 => Just(Effect::Erased),
            6 => (proptest::option::weighted(0.8, at()), any::<bool>()).prop_map(|(followed_at, blocked)| {
                let status = if blocked { Status::Blocked } else { Status::Following };
                Effect::Status { status, followed_at }
            }),
        ];
        let dedupe = proptest::option::weighted(0.3, (0..9_u8).prop_map(|n| DedupeId::of("event", &[n])));
        (friend, at(), effect, dedupe).prop_map(|(friend, at, effect, dedupe)| {
            // As LINE says it: a follow is of its own instant.
            let effect = match effect {
                Effect::Status { status: Status::Following, followed_at: Some(_) } => {
                    Effect::Status { status: Status::Following, followed_at: Some(at) }
                }
                effect => effect,
            };
            Intake { friend, at, effect, dedupe }
        })
    }

    /// What a plain reader of one intake after the other finds: the friend, or why there is none.
    #[derive(Default)]
    struct Plain {
        /// By dense id.
        friends: Vec<PlainFriend>,
    }

    struct PlainFriend {
        user: UserId,
        held: Option<String>,
        erased: bool,
        follows: bool,
        /// Of a follow, of a block.
        since: [Option<Instant>; 2],
    }

    impl Plain {
        fn forgets_nobody(&self, intake: &Intake) -> bool {
            let FriendRef::User(user) = intake.friend else { return false };
            let there = self.friends.iter().any(|friend| friend.user == user && !friend.erased);
            intake.effect == Effect::Erased && !there
        }

        fn find(&mut self, named: &FriendRef) -> Result<usize, Miss> {
            match named {
                FriendRef::User(user) => {
                    let met = self.friends.iter().position(|friend| friend.user == *user && !friend.erased);
                    Ok(met.unwrap_or_else(|| {
                        let since = [None, None];
                        self.friends.push(PlainFriend {
                            user: *user,
                            held: None,
                            erased: false,
                            follows: true,
                            since,
                        });
                        self.friends.len() - 1
                    }))
                }
                FriendRef::External(id) => {
                    let holds = |friend: &&PlainFriend| !friend.erased && friend.held.as_ref() == Some(id);
                    match self.friends.iter().filter(holds).count() as u64 {
                        0 => Err(Miss::Unknown),
                        1 => Ok(self.friends.iter().position(|friend| holds(&friend)).unwrap()),
                        friends => Err(Miss::Shared { friends }),
                    }
                }
            }
        }

        /// The friend, and whether the journal says what is said.
        fn apply(&mut self, intake: &Intake, import: bool) -> Result<(usize, bool), Miss> {
            let found = self.find(&intake.friend)?;
            let friend = &mut self.friends[found];
            match &intake.effect {
                Effect::Status { status, followed_at } => {
                    let as_of = friend.since[1].or(friend.since[0]);
                    if !import && as_of.is_some_and(|as_of| as_of > intake.at) {
                        return Ok((found, false));
                    }
                    friend.follows = *status == Status::Following;
                    let blocked = (!friend.follows).then_some(intake.at);
                    friend.since = [followed_at.or(friend.since[0]), blocked];
                }
                Effect::ExternalId { external_id } => friend.held.clone_from(external_id),
                Effect::Erased => friend.erased = true,
                _ => {}
            }
            Ok((found, true))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// Whatever the slices, each intake finds whom it finds when it is read alone after all before it; asked
        /// beforehand, a slice says the same; and what found nobody is not known for it.
        #[test]
        fn everyone_is_found_in_order(
            slices in proptest::collection::vec((proptest::collection::vec(intake(), 1..9), any::<bool>()), 1..9),
        ) {
            let (mut index, mut plain, mut known) = (Index::new(), Plain::default(), HashSet::new());
            let mut seq = Seq(0);
            for (intakes, import) in slices {
                let mut expected = Vec::new();
                let (mut astray, mut would_miss) = (Vec::new(), Vec::new());
                let mut said = known.clone();
                let mut alone = Vec::new();
                for (n, intake) in intakes.iter().enumerate() {
                    if intake.dedupe.is_some_and(|id| said.contains(&id)) {
                        continue;
                    }
                    if plain.forgets_nobody(intake) {
                        alone.push(n);
                        continue;
                    }
                    match plain.apply(intake, import) {
                        Ok((friend, told)) => {
                            said.extend(intake.dedupe);
                            expected.extend(told.then(|| (friend as u32, intake.effect.clone())));
                        }
                        Err(miss) => {
                            astray.push((intake.clone(), miss));
                            would_miss.push(Missed { intake: n, miss });
                        }
                    }
                    alone.push(n);
                }
                // A question knows nothing of what was applied before; without repetitions it says the same.
                if alone.len() == intakes.len() {
                    prop_assert_eq!(missed(&intakes, &index), would_miss);
                }
                let source = if import { NewInbox::IMPORT } else { NewInbox::WEBHOOK };
                let row = InboxRow { id: 1, received_at: Instant::from_millis(2), source: source.into(), intakes };
                let numbered = number(vec![row], known.clone(), &index, seq);
                known.extend(&numbered.fresh);
                prop_assert_eq!(&known, &said);
                let strays: Vec<_> = numbered.strays.into_iter().map(|stray| (stray.intake, stray.reason)).collect();
                prop_assert_eq!(strays, astray);
                for entry in &numbered.entries {
                    prop_assert_eq!(entry.seq.0, seq.0 + 1);
                    seq = entry.seq;
                    index.apply(entry);
                }
                let said = numbered.entries.into_iter().filter(|e| !matches!(e.effect, Effect::Joined { .. }));
                prop_assert_eq!(said.map(|entry| (entry.friend.0, entry.effect)).collect::<Vec<_>>(), expected);
            }
            for (id, friend) in plain.friends.iter().enumerate() {
                let (id, here) = (FriendId(id as u32), !friend.erased);
                prop_assert_eq!(index.user(id), here.then_some(friend.user));
                prop_assert_eq!(index.external_id(id), friend.held.as_deref().filter(|_| here));
                prop_assert_eq!(index.following().contains(id.0), here && friend.follows);
                prop_assert_eq!(index.followed_at(id), friend.since[0].filter(|_| here));
                prop_assert_eq!(index.blocked_at(id), friend.since[1].filter(|_| here));
            }
        }
    }
}
