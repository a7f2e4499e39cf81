//! Memory of the index: ten tags, five attributes and five events a friend, all at random.
//!
//! `HAISHIN_BENCH_FRIENDS` (1,000,000). Counted is what the index holds of the heap: built entry by entry, and read
//! back from a checkpoint's rows, as a start does. Beside it the same friends as plain maps, a tenth of them; and what
//! the process's resident memory grew by while the index was built, which whoever runs the daemon sees.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use haishin::audience::{CheckpointRow, Index};
use haishin::domain::effect::Entry;
use haishin::domain::friend::Friend;
use haishin::domain::id::{FriendId, Seq};
use haishin::domain::time::Span;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::measure::{param, print};
use support::population::{self, NOW, TAGS_EACH};
use support::shop::own_resident;

const EVENTS_EACH: u64 = 5;

/// The system's allocator, which also counts what is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        HELD.fetch_add(size, Ordering::Relaxed);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let friends = param("HAISHIN_BENCH_FRIENDS", 1_000_000) as u32;
    let resident = own_resident();
    let (mut index, rows_held) = holding(|| {
        let mut index = Index::new();
        rows(friends).for_each(|row| index.load_friend(&row));
        index
    });
    let ((), events_held) = holding(|| events(friends).for_each(|entry| index.apply(&entry)));
    let resident = own_resident() - resident;
    let checkpoint = checkpoint(index);
    let stored: usize = checkpoint.iter().map(|row| row.data.len()).sum();
    let (restored, restored_held) = holding(|| Index::restore(&checkpoint).expect("it is whole"));
    drop((restored, checkpoint));
    let some = friends / 10;
    let (plain, plain_held) = holding(|| (rows(some).collect::<Vec<_>>(), events(some).collect::<Vec<_>>()));
    drop(plain);

    let row = |name: &str, bytes: usize, friends: u32| {
        vec![name.to_owned(), format!("{:.1}", bytes as f64 / f64::from(friends))]
    };
    print(
        &format!(
            "Memory of {friends} friends with {TAGS_EACH} tags, 5 attributes, {EVENTS_EACH} events each"
        ),
        &["", "bytes a friend"],
        vec![
            row("plain maps and lists", plain_held, some),
            row("index, built: rows", rows_held, friends),
            row("index, built: events", events_held, friends),
            row("index, built: all", rows_held + events_held, friends),
            row("resident memory grew by", resident as usize, friends),
            row("index, read from a checkpoint", restored_held, friends),
            row("the checkpoint in the database", stored, friends),
        ],
    );
}

/// What is made, and how much more of the heap is held after it.
fn holding<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.load(Ordering::Relaxed);
    let made = make();
    (made, HELD.load(Ordering::Relaxed) - before)
}

fn rows(friends: u32) -> impl Iterator<Item = Friend> {
    let mut rng = StdRng::seed_from_u64(1);
    (0..friends).map(move |friend| population::friend(&mut rng, friend, TAGS_EACH, NOW))
}

/// Purchases of anybody, evenly over two years, in the order of time.
fn events(friends: u32) -> impl Iterator<Item = Entry> {
    let mut rng = StdRng::seed_from_u64(2);
    let count = EVENTS_EACH * u64::from(friends);
    let (first, every) = (NOW - Span::from_days(730), 730 * 86_400_000 / count as i64);
    (0..count as i64).map(move |n| {
        let at = first + Span::from_millis(n * every + rng.random_range(0..every));
        let effect = population::purchase(&mut rng);
        Entry { seq: Seq(n + 1), friend: FriendId(rng.random_range(0..friends)), at, effect }
    })
}

fn checkpoint(mut index: Index) -> Vec<CheckpointRow> {
    let mut run = index.begin_checkpoint();
    std::iter::from_fn(|| index.checkpoint_rows(&mut run)).flatten().collect()
}
