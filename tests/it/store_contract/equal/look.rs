//! What both are asked: every read there is.

use haishin::domain::access::TokenId;
use haishin::domain::id::{AccountId, FriendId, OccurrenceId, Seq, VersionId};
use haishin::domain::time::{Instant, Span};
use haishin::store::*;
use tokio::sync::mpsc;

use super::super::samples::drip::{self, DRIPS};
use super::super::{T0, chunks};
use super::draw::{FEW, KEYS, OCCURRENCES, campaigns, dedupe_ids, prunes};
use super::{History, both};

/// How many looks there are.
pub const LOOKS: usize = 24;

/// Pages of past sends, as they come.
async fn pages(
    store: &dyn Store,
    account: AccountId,
    filter: SentFilter,
) -> Result<Vec<Vec<haishin::domain::sends::Sent>>, StoreError> {
    let (pages, mut incoming) = mpsc::channel(100);
    store.sent(account, filter, pages).await?;
    let mut all = Vec::new();
    while let Some(page) = incoming.recv().await {
        all.push(page);
    }
    Ok(all)
}

/// A checkpoint with its chunks, as far as it is whole.
async fn whole(
    store: &dyn Store,
    account: AccountId,
) -> Result<Option<(Seq, Vec<CheckpointChunk>)>, StoreError> {
    Ok(chunks(store, account).await)
}

impl History {
    pub async fn look(&mut self, account: AccountId, which: usize) {
        match which {
            0..8 => self.look_at_the_account(account, which).await,
            8..16 => self.look_at_people(account, which).await,
            _ => self.look_at_sends(account, which).await,
        }
    }

    async fn look_at_the_account(&mut self, account: AccountId, which: usize) {
        let now = self.now;
        match which {
            0 => {
                both!(self, |store| store.accounts());
                both!(self, |store| store.account(account));
                both!(self, |store| store.lease(account));
            }
            1 => {
                both!(self, |store| store.active_version());
                let id = VersionId(self.draw(0_i64..4));
                both!(self, |store| store.version(id));
            }
            2 => {
                both!(self, |store| store.tokens());
                both!(self, |store| store.token(TokenId(1)));
            }
            3 => {
                for limit in [0, 2, 1000] {
                    both!(self, |store| store.inbox(account, limit));
                }
                both!(self, |store| store.inbox_len(account));
            }
            4 => {
                for limit in [1, 1000] {
                    both!(self, |store| store.strays(account, limit));
                    both!(self, |store| store.relays(account, limit));
                }
                both!(self, |store| store.stray_count(account));
                both!(self, |store| store.relay_waiting(account));
            }
            5 => {
                for key in KEYS {
                    both!(self, |store| store.answered(account, key, now));
                }
                let ids = dedupe_ids();
                both!(self, |store| store.known(account, &ids));
            }
            6 => {
                let range = (Seq(self.draw(0_i64..5)), Seq(self.draw(0_i64..12)));
                for kind in prunes(now, range) {
                    both!(self, |store| store.prunable(account, std::slice::from_ref(&kind)));
                }
                let all = prunes(T0 + Span::from_secs(2), range);
                both!(self, |store| store.prunable(account, &all));
            }
            _ => {
                both!(self, |store| store.campaigns(account));
                both!(self, |store| store.quota(account));
                for limit in [2, 1000] {
                    both!(self, |store| store.acts(account, limit));
                }
            }
        }
    }

    async fn look_at_people(&mut self, account: AccountId, which: usize) {
        let friends = FEW.map(FriendId).collect::<Vec<_>>();
        match which {
            8 => {
                both!(self, |store| store.friends(account, None, 1000));
                both!(self, |store| store.friends(account, Some(FriendId(1)), 2));
                let asked = [FriendId(4), FriendId(1), FriendId(1), FriendId(9)];
                both!(self, |store| store.friends_by_id(account, &asked));
            }
            9 => {
                both!(self, |store| store.entries(account, Seq(0), 1000));
                let (after, limit) = (Seq(self.draw(-1_i64..20)), self.draw(0_u32..4));
                both!(self, |store| store.entries(account, after, limit));
            }
            10 => {
                let (range, limit) =
                    ((Seq(self.draw(-1_i64..20)), Seq(self.draw(0_i64..40))), self.draw(0_u32..9));
                let before = self.draw(proptest::option::of(drip::few_instants()));
                both!(self, |store| store.events(account, range, limit));
                both!(self, |store| store.changes(account, range, limit));
                both!(self, |store| store.journal_stretch(account, range, before, limit));
            }
            11 => {
                both!(self, |store| store.checkpoint(account));
                both!(self, |store| whole(store, account));
            }
            12 => {
                let after = self.draw(drip::enrollment_keys()).into_iter().next();
                both!(self, |store| store.open_enrollments(account, None, 1000));
                both!(self, |store| store.open_enrollments(account, after.clone(), 5));
                both!(self, |store| store.enrollment_endings(account));
                both!(self, |store| store.erasures(account));
                for place in [Naming::Strays, Naming::Outbox] {
                    for (after, limit) in [(0, 1000), (1, 2)] {
                        both!(self, |store| store.naming(account, place, after, limit));
                    }
                }
            }
            13 => {
                for friend in drip::FRIENDS.map(FriendId) {
                    both!(self, |store| store.enrollments_of(account, friend));
                }
                let slug = self.pick(&DRIPS).parse().unwrap();
                both!(self, |store| store.last_starts(account, &slug, &friends));
            }
            14 => {
                for until in [T0, Instant::MAX] {
                    both!(self, |store| store.tag_expiries(account, until, 1000));
                    both!(self, |store| store.tag_expiries(account, until, 3));
                }
                both!(self, |store| store.first_tag_expiry(account));
            }
            _ => {
                let now = self.draw(drip::few_instants());
                for lane in drip::lanes() {
                    both!(self, |store| store.outbox(account, &lane, now, 1000));
                    both!(self, |store| store.outbox(account, &lane, now, 2));
                }
                both!(self, |store| store.outbox_lanes(account));
                both!(self, |store| store.last_outbox(account));
            }
        }
    }

    async fn look_at_sends(&mut self, account: AccountId, which: usize) {
        let now = self.now;
        match which {
            16 => {
                both!(self, |store| store.occurrences(account, OccurrenceFilter::Open));
                both!(self, |store| store.last_occurrence(account));
                for campaign in [None, Some(self.pick(&campaigns()))] {
                    for limit in [2, 1000] {
                        let filter = OccurrenceFilter::Newest { campaign: campaign.clone(), limit };
                        both!(self, |store| store.occurrences(account, filter.clone()));
                    }
                }
            }
            17 => {
                for campaign in campaigns() {
                    let run = self.draw(0_u32..3);
                    both!(self, |store| store.last_run(account, &campaign, run));
                    both!(self, |store| store.step_totals(account, &campaign));
                    both!(self, |store| store.received(account, &campaign));
                }
            }
            18 => {
                for since in [Instant::MIN, T0 + Span::from_secs(2)] {
                    let filter = SentFilter::Since(since);
                    both!(self, |store| pages(store, account, filter.clone()));
                }
                for campaign in campaigns() {
                    let filter = SentFilter::Unmerged { campaign, before: now };
                    both!(self, |store| pages(store, account, filter.clone()));
                }
            }
            19 => {
                both!(self, |store| store.deferrals(account));
                both!(self, |store| store.accepted_since(account, T0));
                both!(self, |store| store.accepted_since(account, Instant::MIN));
            }
            _ => {
                for id in OCCURRENCES.map(OccurrenceId) {
                    self.look_at_an_occurrence(account, id, which).await;
                }
            }
        }
    }

    async fn look_at_an_occurrence(&mut self, account: AccountId, id: OccurrenceId, which: usize) {
        match which {
            20 => {
                both!(self, |store| store.occurrences(account, OccurrenceFilter::Id(id)));
                both!(self, |store| store.variants(account, id));
                both!(self, |store| store.exclusions(account, id));
            }
            21 => {
                both!(self, |store| store.deliveries(account, id));
                both!(self, |store| store.tally(account, id));
            }
            22 => {
                both!(self, |store| store.strides(account, id));
                both!(self, |store| store.batches(account, id));
            }
            _ => {
                both!(self, |store| store.deferral(account, id));
            }
        }
    }
}
