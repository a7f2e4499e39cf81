//! The daemon with 100,000 friends and nothing to do: what it takes of a core, and its resident memory. Beside it a
//! daemon without friends.
//!
//! `HAISHIN_BENCH_FRIENDS` (100,000), `HAISHIN_BENCH_SECONDS` (60) of looking at each.

mod support;

use std::time::Duration;

use haishin::clock::{Clock, SystemClock};
use rand::SeedableRng;
use rand::rngs::StdRng;
use support::measure::{param, print};
use support::population::{self, TAGS_EACH};
use support::shop::{Line, Shop, play_line_if_asked, runtime};

/// Until what a start leaves to do is done.
const SETTLE: Duration = Duration::from_secs(15);

fn main() {
    play_line_if_asked();
    let friends = param("HAISHIN_BENCH_FRIENDS", 100_000) as u32;
    let seconds = param("HAISHIN_BENCH_SECONDS", 60);
    let (line, runtime) = (Line::start(), runtime());
    let now = SystemClock::new().now();
    let shops = [0, friends].map(|friends| {
        let shop = Shop::new(&line.base, "zone = \"UTC\"\n");
        let mut rng = StdRng::seed_from_u64(1);
        let rows = (0..friends).map(|friend| population::friend(&mut rng, friend, TAGS_EACH, now));
        runtime.block_on(shop.befriend(rows));
        (friends, shop)
    });
    let daemons = shops.each_ref().map(|(friends, shop)| (*friends, shop.start()));
    std::thread::sleep(SETTLE);
    let before = daemons.each_ref().map(|(_, daemon)| daemon.process().cpu());
    std::thread::sleep(Duration::from_secs(seconds));
    let rows = daemons.iter().zip(before).map(|((friends, daemon), before)| {
        let used = daemon.process().cpu() - before;
        vec![
            friends.to_string(),
            format!("{:.2}", 100.0 * used.as_secs_f64() / seconds as f64),
            format!("{:.1}", daemon.process().resident() as f64 / f64::from(1 << 20)),
        ]
    });
    print(
        &format!("An idle daemon, over {seconds} s"),
        &["friends", "% of a core", "resident, MiB"],
        rows.collect(),
    );
}
