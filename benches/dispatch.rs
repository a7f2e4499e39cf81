//! Durable dispatch: the real daemon sends to LINE's double over loopback HTTP, beside a bare loop that encodes the
//! same bodies and posts them to the same server.
//!
//! `HAISHIN_BENCH_FRIENDS` (1,000,000: 2,000 requests a round), `HAISHIN_BENCH_ROUNDS` (5). The bare loop keeps as
//! many requests under way as the daemon does. Then the daemon sends once at LINE's 200 requests a second.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use haishin::clock::{Clock, SystemClock};
use haishin::domain::friend::Friend;
use haishin::domain::id::{FriendId, UserId};
use haishin::domain::time::{Instant, Span};
use haishin::line::multicast_body;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::measure::{Rounds, Took, param, print, ratio, took};
use support::shop::{Daemon, Line, Process, Shop, TOKEN, client, play_line_if_asked, runtime};

const BATCH: usize = 500;
/// Requests under way at once, as the daemon has them.
const UNDER_WAY: usize = 64;
const MESSAGES: &str = r#"[{"type":"text","text":"冬の新作が届きました。店頭とオンラインで 12/4 から。"}]"#;

fn main() {
    play_line_if_asked();
    let friends = param("HAISHIN_BENCH_FRIENDS", 1_000_000) as u32;
    let count = param("HAISHIN_BENCH_ROUNDS", 5) as usize;
    let mut rng = StdRng::seed_from_u64(1);
    let users: Arc<Vec<UserId>> = Arc::new((0..friends).map(|_| UserId(rng.random())).collect());
    let (line, runtime) = (Line::start(), runtime());
    let shop = Shop::new(&line.base, &settings("\"off\""));
    let now = SystemClock::new().now();
    let rows = users.iter().zip(0..).map(|(user, friend)| Friend::new(FriendId(friend), *user, now));
    runtime.block_on(shop.befriend(rows));
    let daemon = shop.start();

    let client = client();
    let (mut bare, mut durable) = (Rounds::default(), Rounds::default());
    let mut line_cpu = Duration::ZERO;
    for round in 0..count {
        let before = line.process().cpu();
        let posting =
            post_all(client.clone(), format!("{}/v2/bot/message/multicast", line.base), users.clone());
        bare.0.push(took(|| runtime.block_on(posting)).1);
        line_cpu += line.process().cpu() - before;
        durable.0.push(send(&shop, &daemon, round));
    }

    shop.write("haishin.toml", &shop.read("haishin.toml").replace("rate = \"off\"", "rate = 200"));
    let paced = send(&shop, &daemon, count);

    let requests = (friends as usize).div_ceil(BATCH) as f64;
    let row = |name: &str, rounds: &Rounds| {
        let rate = |wall: Duration| requests / wall.as_secs_f64();
        vec![
            name.into(),
            format!("{:.0}", rate(rounds.median())),
            format!("{:.0}", rate(rounds.fastest())),
            format!("{:.2}", rate(rounds.median()) * BATCH as f64 / 1e6),
            format!("{:.0}", rounds.cpu().as_secs_f64() * 1e6 / requests),
        ]
    };
    print(
        &format!("Dispatch of {friends} friends, {count} rounds, {UNDER_WAY} requests under way"),
        &["", "requests/s (median)", "fastest", "million friends/s", "CPU a request, µs"],
        vec![
            row("bare loop", &bare),
            row("haishin, durable", &durable),
            vec![
                "haishin / bare".into(),
                format!("{:.2}", ratio(bare.median(), durable.median())),
                format!("{:.2}", ratio(bare.fastest(), durable.fastest())),
                String::new(),
                format!("{:.2}", ratio(durable.cpu(), bare.cpu())),
            ],
        ],
    );
    println!(
        "LINE's double used {:.0} µs a request of the bare loop. At 200 requests/s the daemon sent {:.0} a second \
         with {:.1} % of a core.",
        line_cpu.as_secs_f64() * 1e6 / requests / count as f64,
        requests / paced.wall.as_secs_f64(),
        100.0 * paced.cpu.as_secs_f64() / paced.wall.as_secs_f64(),
    );
}

fn settings(rate: &str) -> String {
    format!("zone = \"UTC\"\nrate = {rate}\nquiet_hours = \"off\"\nsame_content = \"off\"\n")
}

/// Encodes and posts, nothing else.
async fn post_all(client: reqwest::Client, url: String, users: Arc<Vec<UserId>>) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..UNDER_WAY {
        let (client, url, users, next) = (client.clone(), url.clone(), users.clone(), next.clone());
        tasks.spawn(async move {
            while let Some(to) = users.chunks(BATCH).nth(next.fetch_add(1, Ordering::Relaxed)) {
                let body = multicast_body(to, MESSAGES, true, None);
                let request = client.post(&url).bearer_auth(TOKEN).header("content-type", "application/json");
                let answer = request.body(body).send().await.expect("an answer");
                assert_eq!(answer.status(), 200);
                answer.bytes().await.expect("its body");
            }
        });
    }
    tasks.join_all().await;
}

/// Applies a campaign for everybody, due in a moment, and waits until it has ended: the time from its freeze on.
fn send(shop: &Shop, daemon: &Daemon, round: usize) -> Took {
    let slug = format!("round-{round}");
    let at = (SystemClock::new().now() + Span::from_secs(8)).utc().format("%Y-%m-%d %H:%M:%S");
    shop.write(
        &format!("campaigns/{slug}.toml"),
        &format!(
            "title = \"{slug}\"\naudience = {{ status = \"following\" }}\ncategory = \"service\"\n\
             schedule = {{ at = \"{at}\" }}\nmessage = [{{ type = \"text\", text = \"冬の新作が届きました。店頭とオンラインで 12/4 から。\" }}]\n"
        ),
    );
    shop.ask(&["apply", "--yes"]);
    let process: Process = daemon.process();
    let before = process.cpu();
    // Asking costs, and would compete with the sending.
    std::thread::sleep(Duration::from_secs(8));
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let list = shop.ask(&["occurrence", "list", &slug]);
        let Some(one) = list["occurrences"].get(0) else { continue };
        let at = |name: &str| one[name].as_str().and_then(|text| Instant::try_from(text.to_owned()).ok());
        let (Some(frozen), Some(finished)) = (at("frozen_at"), at("finished_at")) else { continue };
        assert_eq!(one["state"], "finished", "{one}");
        let wall = (finished - frozen).to_std();
        return Took { wall, cpu: process.cpu() - before };
    }
}
