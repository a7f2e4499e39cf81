//! Long listings: given page by page, as fast as whoever asked reads, while the account goes on with its work.

use roaring::RoaringBitmap;
use serde_json::json;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::domain::id::{FriendId, SegmentSlug};
use crate::domain::time::{Instant, Span};
use crate::lang::Lang;
use crate::protocol::{Answer, Failure, Reply, Row};

use super::Engine;

/// Rows of a page.
const ROWS: usize = 1_000;
/// Pages in one turn.
const PAGES: usize = 16;
/// A reader that is behind is looked at again this much later.
pub(super) const READER: Span = Span::from_millis(10);

/// Where a listing and its last word go.
type Asker = (mpsc::Sender<Reply>, oneshot::Sender<Result<Answer, Failure>>);

/// A listing under way.
pub(super) struct Export {
    segment: SegmentSlug,
    now: Instant,
    /// Whom the rule gave when it was asked.
    friends: RoaringBitmap,
    /// Everybody before this one was told of.
    next: Option<u32>,
    asker: Asker,
}

impl Engine {
    /// Evaluates the segment now; its friends are told from this turn on.
    pub(super) fn begin_export(
        &mut self,
        segment: SegmentSlug,
        now: Option<Instant>,
        lang: Lang,
        asker: Asker,
    ) {
        let now = now.unwrap_or_else(|| self.deps.clock.now());
        let rule = self.segment_rule(&segment, lang);
        match rule.and_then(|rule| self.evaluate(rule, &self.state.sends, now)) {
            Ok(friends) => self.exports.push(Export { segment, now, friends, next: Some(0), asker }),
            // A client that hung up needs no answer.
            Err(failure) => drop(asker.1.send(Err(failure))),
        }
    }

    /// Gives each listing as many pages as its reader has room for.
    pub(super) fn continue_exports(&mut self) {
        let exports = std::mem::take(&mut self.exports);
        self.exports = exports.into_iter().filter_map(|export| self.continue_export(export)).collect();
    }

    /// The listing, while there is more of it to tell and somebody to tell it.
    fn continue_export(&self, mut export: Export) -> Option<Export> {
        for _ in 0..PAGES {
            let Some(from) = export.next else {
                let friends = export.friends.len();
                let json = json!({ "segment": export.segment, "now": export.now, "friends": friends });
                let _ = export.asker.1.send(Ok(Answer { text: String::new(), json, exit: 0 }));
                return None;
            };
            let rows = &export.asker.0;
            if rows.capacity() == 0 {
                break;
            }
            let page: Vec<u32> = export.friends.range(from..).take(ROWS).collect();
            let next = page.last().and_then(|last| last.checked_add(1)).filter(|_| page.len() == ROWS);
            let page = page.into_iter().filter_map(|friend| self.row(friend)).collect();
            match rows.try_send(Reply::Rows(page)) {
                Ok(()) => export.next = next,
                Err(TrySendError::Full(_)) => break,
                Err(TrySendError::Closed(_)) => return None,
            }
        }
        Some(export)
    }

    fn row(&self, friend: u32) -> Option<Row> {
        let friend = FriendId(friend);
        let user = self.state.index.user(friend)?;
        let external = self.state.index.external_id(friend);
        let text = format!("{user},{}", csv_field(external.unwrap_or("")));
        Some(Row { text, json: json!({ "user": user, "external_id": external }) })
    }
}

fn csv_field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
