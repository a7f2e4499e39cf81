//! Past and reserved sends of one account in memory: what caps, `received`, `once` and same-content read.
//!
//! A delivery is reserved from the freeze until its outcome is known and counts at every instant till then; then it
//! counts at its effective instant, or is released. Sends below 4,096 recipients become entries of one time-ordered
//! column, larger ones sets: windows are exact to the millisecond and nothing is merged.

mod blocks;
mod count;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use roaring::RoaringBitmap;

use super::id::{CampaignSlug, CategoryName, FriendId, OccurrenceId};
use super::lookback::Lookback;
use super::message::ContentDigest;
use super::policy::Cap;
use super::time::{Instant, Span};
use blocks::{Blocks, blocks_of, to_bitmap};
use count::AtLeast;

/// From so many recipients on, a send is kept as sets rather than as entries of the column.
const LARGE: u64 = 4_096;

/// A frozen occurrence's deliveries, as the freeze reserves them.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Whose deliveries.
    pub occurrence: OccurrenceId,
    /// Of which campaign.
    pub campaign: CampaignSlug,
    /// The category at the freeze.
    pub category: CategoryName,
    /// Whether that category was capped at the freeze: a send that is not counts in no cap.
    pub capped: bool,
    /// Who gets which content: the recipients of each variant, without anybody in two.
    pub contents: Vec<(ContentDigest, RoaringBitmap)>,
}

/// Deliveries that were accepted or are unknown, of one content and one effective instant, as a store keeps them.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Whose deliveries.
    pub occurrence: OccurrenceId,
    /// Of which campaign.
    pub campaign: CampaignSlug,
    /// The category when sent.
    pub category: CategoryName,
    /// Whether that category was capped then.
    pub capped: bool,
    /// What they got.
    pub content: ContentDigest,
    /// The instant they count at.
    pub effective: Instant,
    /// Who.
    pub friends: RoaringBitmap,
}

/// What is the same for all deliveries of a variant, and what windows ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    campaign: CampaignSlug,
    category: CategoryName,
    capped: bool,
    content: ContentDigest,
}

/// Index into [`Sends::kinds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct KindId(u32);

/// A settled delivery of a small send.
#[derive(Debug, Clone, Copy)]
struct Entry {
    effective: Instant,
    friend: u32,
    kind: KindId,
}

/// Deliveries of one occurrence without an outcome.
#[derive(Debug, Clone)]
struct Open {
    large: bool,
    unsettled: Vec<(KindId, Blocks)>,
}

/// All sends of one account that some window can still see.
#[derive(Debug, Clone)]
pub struct Sends {
    /// What took effect before is forgotten.
    since: Instant,
    /// Of which campaigns it is known who ever received them; of all where absent.
    ever_of: Option<BTreeSet<CampaignSlug>>,
    kinds: Vec<Kind>,
    kind_ids: HashMap<Kind, KindId>,
    open: BTreeMap<OccurrenceId, Open>,
    /// Settled deliveries of small sends, by effective instant.
    small: Vec<Entry>,
    /// Settled deliveries of large sends. The occurrence keeps two sends of one effective instant apart.
    large: BTreeMap<(Instant, OccurrenceId, KindId), Blocks>,
    /// Everybody who ever received a campaign, whatever is forgotten: settled deliveries only.
    ever: HashMap<CampaignSlug, RoaringBitmap>,
}

/// Remembers everything.
impl Default for Sends {
    fn default() -> Self {
        Self {
            since: Instant::MIN,
            ever_of: None,
            kinds: Vec::new(),
            kind_ids: HashMap::new(),
            open: BTreeMap::new(),
            small: Vec::new(),
            large: BTreeMap::new(),
            ever: HashMap::new(),
        }
    }
}

fn remembers(ever_of: &Option<BTreeSet<CampaignSlug>>, campaign: &CampaignSlug) -> bool {
    ever_of.as_ref().is_none_or(|campaigns| campaigns.contains(campaign))
}

impl Sends {
    /// No sends yet, and room for those that windows of this length can see at `now` or later.
    pub fn looking_back(lookback: &Lookback, now: Instant) -> Self {
        Self { since: now - lookback.sends, ever_of: Some(lookback.ever.clone()), ..Self::default() }
    }

    /// From which effective instant on every delivery is here.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Whether everything is here that rules and caps of this configuration can ask for at `now`.
    pub fn covers(&self, lookback: &Lookback, now: Instant) -> bool {
        self.since <= now - lookback.sends
            && self.ever_of.as_ref().is_none_or(|campaigns| campaigns.is_superset(&lookback.ever))
    }

    /// Takes in a past send. Quickest in the order of their effective instants.
    pub fn add(&mut self, sent: Sent) {
        self.remember(&sent.campaign, &sent.friends);
        if sent.effective < self.since {
            return;
        }
        let Sent { occurrence, campaign, category, capped, content, effective, friends } = sent;
        let kind = self.intern(Kind { campaign, category, capped, content });
        if friends.len() >= LARGE {
            self.large.entry((effective, occurrence, kind)).or_default().add(Blocks::from(&friends));
        } else {
            self.insert(effective, friends.iter().map(|friend| Entry { effective, friend, kind }));
        }
    }

    /// Takes the places of a freeze. From now on each delivery counts at every instant. A second reservation of an
    /// occurrence that is still open takes the place of the first.
    pub fn reserve(&mut self, send: Reservation) {
        let recipients: u64 = send.contents.iter().map(|(_, friends)| friends.len()).sum();
        let unsettled = send
            .contents
            .into_iter()
            .filter(|(_, friends)| !friends.is_empty())
            .map(|(content, friends)| {
                let (campaign, category) = (send.campaign.clone(), send.category.clone());
                let kind = Kind { campaign, category, capped: send.capped, content };
                (self.intern(kind), Blocks::from(&friends))
            })
            .collect();
        self.open.insert(send.occurrence, Open { large: recipients >= LARGE, unsettled });
    }

    /// These deliveries were accepted or are unknown: they count at the effective instant of their part of the run.
    /// Whoever has no open delivery of the occurrence is passed over, so settling twice counts once.
    pub fn settle(&mut self, occurrence: OccurrenceId, counted: &RoaringBitmap, effective: Instant) {
        let Some(open) = self.open.get_mut(&occurrence) else { return };
        let counted = Blocks::from(counted);
        let mut entries = Vec::new();
        for (kind, unsettled) in &mut open.unsettled {
            let settled = unsettled.take(&counted);
            if settled.is_empty() {
                continue;
            }
            let campaign = self.kinds.get(kind.0 as usize).map(|kind| &kind.campaign);
            if let Some(campaign) = campaign.filter(|campaign| remembers(&self.ever_of, campaign)) {
                settled.union_into(self.ever.entry(campaign.clone()).or_default());
            }
            if open.large {
                self.large.entry((effective, occurrence, *kind)).or_default().add(settled);
            } else {
                entries.extend(settled.friends().map(|friend| Entry { effective, friend, kind: *kind }));
            }
        }
        self.insert(effective, entries.into_iter());
        self.close(occurrence);
    }

    /// These deliveries were rejected, cancelled, expired or erased before any attempt: their places are free.
    pub fn release(&mut self, occurrence: OccurrenceId, friends: &RoaringBitmap) {
        let Some(open) = self.open.get_mut(&occurrence) else { return };
        let friends = Blocks::from(friends);
        for (_, unsettled) in &mut open.unsettled {
            unsettled.take(&friends);
        }
        self.close(occurrence);
    }

    /// Friends whose delivery of the occurrence has no outcome yet.
    pub fn unsettled(&self, occurrence: OccurrenceId) -> RoaringBitmap {
        let mut friends = RoaringBitmap::new();
        for (_, unsettled) in self.open.get(&occurrence).iter().flat_map(|open| &open.unsettled) {
            unsettled.union_into(&mut friends);
        }
        friends
    }

    /// Adds friends to those who ever received the campaign: what a store kept of sends that are forgotten.
    pub fn remember(&mut self, campaign: &CampaignSlug, friends: &RoaringBitmap) {
        if remembers(&self.ever_of, campaign) {
            *self.ever.entry(campaign.clone()).or_default() |= friends;
        }
    }

    /// Friends with a reserved, accepted or unknown delivery of the campaign whose effective instant lies in
    /// `(now − within, now]`; unsettled reservations count at every instant; ever when `within` is absent, which is
    /// known of the campaigns that [`Sends::covers`] was asked about.
    pub fn received(&self, campaign: &CampaignSlug, within: Option<Span>, now: Instant) -> RoaringBitmap {
        match within {
            Some(within) => self.within(|kind| kind.campaign == *campaign, now - within, now),
            None => {
                let mut friends = self.ever.get(campaign).cloned().unwrap_or_default();
                self.open_into(|kind| kind.campaign == *campaign, &mut friends);
                friends
            }
        }
    }

    /// Friends with a reserved, accepted or unknown delivery of the content, of any campaign and category, whose
    /// effective instant lies in `(now − window, now]`; unsettled reservations count at every instant.
    pub fn got_content(&self, content: &ContentDigest, window: Span, now: Instant) -> RoaringBitmap {
        self.within(|kind| kind.content == *content, now - window, now)
    }

    /// What a friend got and counts, as far as it is here: campaign and effective instant, the oldest first.
    pub fn of_friend(&self, friend: FriendId) -> Vec<(CampaignSlug, Instant)> {
        let small = self.small.iter().filter(|entry| entry.friend == friend.0);
        let small = small.map(|entry| (entry.effective, entry.kind));
        let large = self.large.iter().filter(|(_, friends)| friends.contains(friend.0));
        let large = large.map(|((effective, _, kind), _)| (*effective, *kind));
        let mut all: Vec<_> = small.chain(large).collect();
        all.sort_unstable();
        let campaign = |kind: KindId| Some(self.kinds.get(kind.0 as usize)?.campaign.clone());
        all.into_iter().filter_map(|(effective, kind)| Some((campaign(kind)?, effective))).collect()
    }

    /// The candidates without room under the cap for a delivery at `effective`, decided at `now`.
    ///
    /// What counts are reservations, and what took effect from the beginning of the window that ends with
    /// `effective` up to `now`. Usually nothing lies between those two; what does was frozen first, and the delivery
    /// decided here may still be paused and resume beside it.
    pub fn over_cap(
        &self,
        cap: &Cap,
        effective: Instant,
        now: Instant,
        candidates: &RoaringBitmap,
    ) -> RoaringBitmap {
        if cap.max == 0 {
            return candidates.clone();
        }
        let counts: Vec<bool> =
            self.kinds.iter().map(|kind| kind.capped && cap.holds(&kind.category)).collect();
        let counts = |kind: &KindId| counts.get(kind.0 as usize) == Some(&true);
        let first = cap.first_of_window(effective);

        let reserved = self.open.values().flat_map(|open| &open.unsettled);
        let reserved = reserved.filter(|(kind, _)| counts(kind)).map(|(_, friends)| friends);
        let large =
            self.large_between(first, now).filter(|(kind, _)| counts(kind)).map(|(_, friends)| friends);
        let sets: Vec<&Blocks> = reserved.chain(large).collect();
        let mut singles: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
        for entry in self.small_between(first, now).iter().filter(|entry| counts(&entry.kind)) {
            singles.entry((entry.friend >> 16) as u16).or_default().push(entry.friend as u16);
        }

        let mut over = RoaringBitmap::new();
        let mut count = AtLeast::new(cap.max);
        for block in blocks_of(candidates) {
            let blocks: Vec<_> = sets.iter().filter_map(|set| set.get(block)).collect();
            let singles = singles.get(&block).map_or(&[][..], Vec::as_slice);
            if blocks.len() + singles.len() < cap.max as usize {
                continue;
            }
            count.clear();
            count.add(&blocks);
            singles.iter().for_each(|low| count.add_one(*low));
            over |= to_bitmap(block, count.reached());
        }
        over & candidates
    }

    /// Forgets settled deliveries that took effect before `instant`. Who ever received a campaign is kept, merged.
    pub fn forget_before(&mut self, instant: Instant) {
        self.since = self.since.max(instant);
        self.small.drain(..self.small.partition_point(|entry| entry.effective < instant));
        self.large = self.large.split_off(&(instant, OccurrenceId(i64::MIN), KindId(0)));
    }

    fn insert(&mut self, effective: Instant, entries: impl Iterator<Item = Entry>) {
        if self.small.last().is_none_or(|last| last.effective <= effective) {
            self.small.extend(entries);
        } else {
            let at = self.small.partition_point(|entry| entry.effective <= effective);
            self.small.splice(at..at, entries);
        }
    }

    fn intern(&mut self, kind: Kind) -> KindId {
        let next = KindId(self.kinds.len() as u32);
        *self.kind_ids.entry(kind).or_insert_with_key(|kind| {
            self.kinds.push(kind.clone());
            next
        })
    }

    fn close(&mut self, occurrence: OccurrenceId) {
        let settled = |open: &Open| open.unsettled.iter().all(|(_, unsettled)| unsettled.is_empty());
        if self.open.get(&occurrence).is_some_and(settled) {
            self.open.remove(&occurrence);
        }
    }

    fn small_between(&self, first: Instant, last: Instant) -> &[Entry] {
        let from = self.small.partition_point(|entry| entry.effective < first);
        let until = self.small.partition_point(|entry| entry.effective <= last);
        self.small.get(from..until).unwrap_or_default()
    }

    fn large_between(&self, first: Instant, last: Instant) -> impl Iterator<Item = (&KindId, &Blocks)> {
        let from = (first, OccurrenceId(i64::MIN), KindId(0));
        let sends = self.large.range(from..).take_while(move |((effective, _, _), _)| *effective <= last);
        sends.map(|((_, _, kind), friends)| (kind, friends))
    }

    fn open_into(&self, wanted: impl Fn(&Kind) -> bool, friends: &mut RoaringBitmap) {
        for (kind, unsettled) in self.open.values().flat_map(|open| &open.unsettled) {
            if self.kinds.get(kind.0 as usize).is_some_and(&wanted) {
                unsettled.union_into(friends);
            }
        }
    }

    /// Reserved, or effective in `(after, until]`.
    fn within(&self, wanted: impl Fn(&Kind) -> bool, after: Instant, until: Instant) -> RoaringBitmap {
        let first = after + Span::from_millis(1);
        let mut friends = RoaringBitmap::new();
        self.open_into(&wanted, &mut friends);
        let kinds: BTreeSet<KindId> =
            self.kinds.iter().zip(0..).filter(|(kind, _)| wanted(kind)).map(|(_, id)| KindId(id)).collect();
        for (_, settled) in self.large_between(first, until).filter(|(kind, _)| kinds.contains(kind)) {
            settled.union_into(&mut friends);
        }
        let small = self.small_between(first, until).iter().filter(|entry| kinds.contains(&entry.kind));
        friends.extend(small.map(|entry| entry.friend));
        friends
    }
}
