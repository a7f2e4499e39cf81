//! Webhooks that LINE's own SDK builds, signs and reads, from the package registry: `tests/install-line-sdk` installs it.

use std::path::Path;

use haishin::domain::effect::Effect;
use haishin::domain::friend::Status;
use haishin::domain::id::Seq;
use haishin::domain::time::Span;
use serde::Deserialize;

use super::{NOW, SECRET, Shop};
use crate::support::daemon::at;
use crate::support::store::Database;
use crate::support::world::user;

/// A webhook as the SDK made it.
#[derive(Deserialize)]
struct Made {
    name: String,
    body: String,
    signature: String,
}

fn made() -> Vec<Made> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/line-sdk/bin/python");
    assert!(python.exists(), "{} is missing; run tests/install-line-sdk first", python.display());
    let minute_ago = (at(NOW) - Span::from_secs(60)).as_millis();
    let output = std::process::Command::new(python)
        .arg(root.join("tests/line-sdk/webhooks.py"))
        .args([SECRET, &user(1).to_string(), &minute_ago.to_string()])
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sdk_builds_and_signs_is_taken_and_applied() {
    let shop = Shop::new(Database::Sqlite).await;
    let made = made();
    for Made { name, body, signature } in &made {
        assert_eq!(shop.send(body, signature).await, 200, "{name}");
        // One letter of the text changed, and it is nobody's.
        assert_eq!(shop.send(&body.replacen('U', "V", 1), signature).await, 401, "{name}");
    }
    let friends = shop.friends().await;
    assert_eq!(
        friends.iter().map(|friend| (friend.user, friend.status)).collect::<Vec<_>>(),
        [(Some(user(1)), Status::Blocked)]
    );
    let entries = shop.test.store.events(shop.account, (Seq(0), Seq(i64::MAX)), 1_000).await.unwrap();
    let events = entries.into_iter().map(|entry| match entry.effect {
        Effect::Event { name, properties, .. } => {
            format!("{name} {}", serde_json::to_string(&properties).unwrap())
        }
        effect => panic!("{effect:?} is no event"),
    });
    insta::assert_snapshot!(events.collect::<Vec<_>>().join("\n"), @r#"
    line.follow {"unblocked":true}
    line.message {"type":"text"}
    line.message {"type":"image"}
    line.message {"type":"sticker"}
    line.postback {"data":"action=book"}
    line.postback {"data":"day","date":"2026-12-24"}
    line.account_link {"nonce":"abc","result":"ok"}
    line.membership {"membership_id":3189,"type":"joined"}
    line.video_play_complete {"tracking_id":"track-1"}
    line.unfollow {}
    "#);
    assert_eq!(made.len(), 10);
}
