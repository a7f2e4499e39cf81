//! Forged, truncated, bit-flipped, replayed: none is accepted.
//!
//! `HAISHIN_FORGED` is how many are tried (100,000); each 200th of them by a request of its own, the others at the node,
//! where the request hands its bytes to.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use haishin::control::WebhookError;
use haishin::line::webhook::sign;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::{SECRET, Shop, body, event};
use crate::support::store::Database;

const BY_REQUEST: usize = 200;
const WEEK_SECONDS: i64 = 7 * 24 * 3_600;

/// A body with its signature, and whether the signature is one of LINE's.
struct Try {
    how: &'static str,
    body: Vec<u8>,
    signature: Vec<u8>,
    genuine: bool,
}

/// Bodies that LINE sent and somebody caught, with their signatures.
struct Caught {
    fresh: Vec<(String, String)>,
    old: Vec<(String, String)>,
}

impl Caught {
    fn new() -> Self {
        let signed = |body: String| {
            let signature = sign(body.as_bytes(), SECRET.as_bytes());
            (body, signature)
        };
        let follow = |n: u32, ago: i64| {
            event(
                "follow",
                &format!("{ago}-{n}"),
                n,
                ago + i64::from(n),
                json!({ "follow": { "isUnblocked": false } }),
            )
        };
        let message = |n: u32, ago: i64| {
            let with = json!({ "message": { "id": "1", "type": "text", "text": "友だち追加ありがとう".repeat(n as usize) } });
            event("message", &format!("{ago}-m{n}"), n, ago, with)
        };
        let some = |ago: i64| (0..8).map(|n| signed(body(&[follow(n, ago), message(n, ago)]))).collect();
        Self { fresh: some(0), old: some(WEEK_SECONDS + 1) }
    }

    fn draw(&self, rng: &mut StdRng) -> Try {
        let any = |rng: &mut StdRng, from: &[(String, String)]| {
            let (body, signature) = &from[rng.random_range(0..from.len())];
            (body.clone().into_bytes(), signature.clone().into_bytes())
        };
        let (mut body, mut signature) = any(rng, &self.fresh);
        let mut genuine = false;
        let flip = |rng: &mut StdRng, bytes: &mut Vec<u8>| {
            let n = rng.random_range(0..bytes.len());
            bytes[n] ^= 1 << rng.random_range(0..8_u8);
        };
        // Replays are written down each, so they are few.
        let kind = if rng.random_ratio(1, 50) { rng.random_range(10..12) } else { rng.random_range(0..10) };
        let how = match kind {
            0 => {
                signature = BASE64_STANDARD.encode(rng.random::<[u8; 32]>()).into_bytes();
                "a random signature"
            }
            1 => {
                signature.truncate(rng.random_range(0..signature.len()));
                "a truncated signature"
            }
            2 => {
                flip(rng, &mut body);
                "a flipped bit of the body"
            }
            3 => {
                let mut bytes = BASE64_STANDARD.decode(&signature).unwrap();
                flip(rng, &mut bytes);
                signature = BASE64_STANDARD.encode(bytes).into_bytes();
                "a flipped bit of the signature"
            }
            4 => {
                flip(rng, &mut signature);
                "a flipped bit of the header"
            }
            5 => {
                body.truncate(rng.random_range(0..body.len()));
                "a truncated body"
            }
            6 => {
                let secret: [u8; 16] = rng.random();
                signature = sign(&body, hex::encode(secret).as_bytes()).into_bytes();
                "another secret"
            }
            7 => {
                body = any(rng, &self.old).0;
                "the signature of another body"
            }
            8 => {
                let at = rng.random_range(0..=body.len());
                body.insert(at, *b" \n\0{".get(rng.random_range(0..4)).unwrap());
                "a byte more"
            }
            9 => {
                let mut bytes = BASE64_STANDARD.decode(&signature).unwrap();
                bytes.truncate(rng.random_range(0..bytes.len()));
                signature = BASE64_STANDARD.encode(bytes).into_bytes();
                "a shorter digest"
            }
            10 => {
                genuine = true;
                "replayed within the week"
            }
            _ => {
                (body, signature) = any(rng, &self.old);
                genuine = true;
                "replayed after the week"
            }
        };
        Try { how, body, signature, genuine }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_accepted() {
    let tries: usize = crate::support::count("HAISHIN_FORGED").unwrap_or(100_000) as usize;
    let (shop, caught) = (Shop::new(Database::Sqlite).await, Caught::new());
    for (body, signature) in &caught.fresh {
        assert_eq!(shop.send(body, signature).await, 200);
    }
    let (friends, events) = (shop.friends().await, shop.events().await);
    assert_eq!((friends.len(), events.len()), (8, 16));

    let mut rng = StdRng::seed_from_u64(7);
    let mut refused = 0;
    for n in 0..tries {
        let Try { how, body, signature, genuine } = caught.draw(&mut rng);
        let shown = || String::from_utf8_lossy(&signature).into_owned();
        // A header cannot hold every byte.
        let header = reqwest::header::HeaderValue::from_bytes(&signature).ok();
        if let Some(header) = header.filter(|_| n % BY_REQUEST == 0) {
            let request = shop.client.post(&shop.url).header("x-line-signature", header).body(body.clone());
            let status = request.send().await.unwrap().status();
            assert_eq!(status, if genuine { 200 } else { 401 }, "{how}: {}", shown());
        } else {
            let taken = shop.node.take_webhook("shop", &signature, &body).await;
            let is_refused = matches!(taken, Err(WebhookError::Forged));
            assert_eq!(is_refused, !genuine, "{how}: {} {taken:?}", shown());
        }
        refused += usize::from(!genuine);
    }
    // The others were LINE's once.
    assert!(refused > tries * 9 / 10, "{refused} of {tries}");
    assert_eq!(shop.friends().await, friends);
    assert_eq!(shop.events().await, events);
}
