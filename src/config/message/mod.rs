//! Message objects: from TOML to the exact JSON that goes to LINE, within LINE's limits.
//!
//! TOML keys are LINE's names in snake_case (`coupon_id` becomes `couponId`); inside flex contents any key is
//! passed on that way. [`spec`] is the table of what LINE takes, [`build`] walks it, [`rules`] holds what is more
//! than a length or a count, [`template`] turns `{{ link('…') }}` into its address.

mod build;
mod json;
mod rules;
mod spec;
mod template;

use sha2::{Digest, Sha256};

use super::problem::Problem;
use super::tree::Item;
use crate::domain::message::{ContentDigest, MessageSet};

/// LINE takes so many message objects in one request.
const MESSAGES_MAX: usize = 5;

/// Reads 1–5 message objects.
pub(super) fn messages(item: &Item<'_>) -> Option<MessageSet> {
    let items = item.tables("message")?;
    if !(1..=MESSAGES_MAX).contains(&items.len()) {
        item.report(Problem::WrongCount { min: 1, max: MESSAGES_MAX, is: items.len() });
    }
    let read: Vec<Option<serde_json::Value>> = items.iter().map(build::message).collect();
    rules::quick_reply_last(&items);
    let source = read.into_iter().collect::<Option<Vec<_>>>()?;
    let source = serde_json::Value::Array(source);
    let mut hash = Sha256::new();
    hash.update(json::canonical(&source));
    let rendered = json::canonical(&template::render_all(&source));
    Some(MessageSet { json: rendered.into(), content: ContentDigest(hash.finalize().into()) })
}
