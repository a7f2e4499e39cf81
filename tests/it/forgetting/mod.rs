//! What goes is what nobody needs any more: after it every start, cap, rule and balance is what it was.

mod grace;
mod journal;
mod sends;
mod traces;

use haishin::clock::{BootTime, Reading};
use haishin::domain::id::{AccountId, Seq};
use haishin::domain::policy::Cutoffs;
use haishin::domain::time::{Instant, Span, Tz};
use haishin::engine::retention::{Facts, Pruner, Step};
use haishin::store::{Fence, Priority, Store, Write};

/// A reading of a machine that was booted long ago.
fn reading(now: Instant) -> Reading {
    Reading { now, boot: BootTime { boot_id: "boot".into(), since_boot: Span::from_millis(now.as_millis()) } }
}

/// Prunes as an engine does, until there is nothing to prune for now; says in how many slices.
async fn prune(
    store: &dyn Store,
    account: AccountId,
    fence: &mut Fence,
    pruner: &mut Pruner,
    (checkpoint, cutoffs, now): (Seq, Cutoffs, Instant),
) -> usize {
    let mut slices = 0;
    loop {
        let facts = Facts {
            folded: store.account(account).await.unwrap().unwrap().folded_seq,
            checkpoint,
            cutoffs,
            zone: Tz::Asia__Tokyo,
            now,
            since_boot: Span::from_millis(now.as_millis()),
        };
        match pruner.next(store, account, &facts).await.unwrap() {
            Step::Rest => return slices,
            Step::GoOn | Step::Swept(_) => {}
            Step::Prune(prune) => {
                store.commit(fence, now, Priority::Fold, vec![Write::Prune(prune)]).await.unwrap();
                slices += 1;
            }
        }
    }
}
