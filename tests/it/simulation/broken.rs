//! Deliberate bugs, put in where a process meets its database, LINE and its own memory: a checker that lets one of them
//! pass for long proves nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use haishin::domain::key::{BatchIdentity, OccurrenceIdentity, RetryKey, Run};
use haishin::domain::time::Instant;
use haishin::line::{Answer, Attempt};
use haishin::store::Write;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Every second key is that of the request before.
    KeyReused,
    /// A retry goes out under a key of its own.
    FreshKeyForRetry,
    /// A batch counts as accepted before its request is made.
    OutcomeFirst,
    /// No answer is taken for a refusal.
    SilenceIsRefusal,
    /// A stride is written with the transaction after the one that should hold it.
    StrideNotAwaited,
    /// What was applied is not remembered.
    NothingRemembered,
    /// Every fold leaves one friend out.
    FoldLosesOne,
    /// Past sends are not read at a start.
    CapsForgotten,
    /// What was planned last is not remembered.
    PlannedForgotten,
    /// Nobody notices a database that went back in time.
    TicketForgotten,
    /// Quiet hours are not those of the shop.
    QuietHoursShifted,
    /// Caps have room for one more than the shop says.
    CapsWidened,
    /// Cancelling and pausing leave what is open as it is.
    OpenGoesOn,
}

impl Bug {
    pub const ALL: [Bug; 13] = [
        Self::KeyReused,
        Self::FreshKeyForRetry,
        Self::OutcomeFirst,
        Self::SilenceIsRefusal,
        Self::StrideNotAwaited,
        Self::NothingRemembered,
        Self::FoldLosesOne,
        Self::CapsForgotten,
        Self::PlannedForgotten,
        Self::TicketForgotten,
        Self::QuietHoursShifted,
        Self::CapsWidened,
        Self::OpenGoesOn,
    ];
}

/// A bug with what it remembers.
pub struct Broken {
    pub bug: Bug,
    seen: Mutex<Vec<RetryKey>>,
}

impl Broken {
    pub fn new(bug: Bug) -> Self {
        Self { bug, seen: Mutex::default() }
    }

    /// The key a request goes out under, and what its process believes at once.
    pub fn request(&self, key: RetryKey) -> (RetryKey, Option<Attempt>) {
        let mut seen = self.seen.lock().unwrap();
        let (before, last) = (seen.iter().filter(|one| **one == key).count(), seen.last().copied());
        seen.push(key);
        let key = match self.bug {
            Bug::KeyReused if seen.len().is_multiple_of(2) => last.unwrap_or(key),
            Bug::FreshKeyForRetry if before > 0 => fresh(key, before),
            _ => key,
        };
        let believed = (self.bug == Bug::OutcomeFirst).then(|| Attempt::unanswered(Answer::Accepted));
        (key, believed)
    }

    /// What its process makes of an answer.
    pub fn answer(&self, attempt: Attempt) -> Attempt {
        match attempt.answer {
            Answer::Timeout | Answer::ConnectionLost if self.bug == Bug::SilenceIsRefusal => {
                Attempt { answer: Answer::OtherRefusal(409), ..attempt }
            }
            _ => attempt,
        }
    }

    /// The shop's settings as its process reads them.
    pub fn settings(&self, settings: &str) -> String {
        match self.bug {
            Bug::QuietHoursShifted => settings.replace("22:00-08:00", "23:30-07:00"),
            Bug::CapsWidened => (1..4).rev().fold(settings.to_owned(), |text, max| {
                text.replace(&format!("max = {max}\n"), &format!("max = {}\n", max + 1))
            }),
            _ => settings.to_owned(),
        }
    }

    /// What becomes of a transaction's writes.
    pub fn writes(self: &Arc<Self>) -> Option<impl FnMut(Vec<Write>) -> Vec<Write> + Send + 'static> {
        let tampers = matches!(
            self.bug,
            Bug::StrideNotAwaited
                | Bug::NothingRemembered
                | Bug::FoldLosesOne
                | Bug::PlannedForgotten
                | Bug::OpenGoesOn
        );
        let (bug, mut late) = (self.bug, Vec::new());
        tampers.then_some(move |writes: Vec<Write>| match bug {
            Bug::StrideNotAwaited => {
                let (strides, rest): (Vec<_>, Vec<_>) =
                    writes.into_iter().partition(|write| matches!(write, Write::Stride(_)));
                std::mem::replace(&mut late, strides).into_iter().chain(rest).collect()
            }
            _ => writes.into_iter().filter_map(|write| tampered(bug, write)).collect(),
        })
    }
}

fn tampered(bug: Bug, write: Write) -> Option<Write> {
    match (bug, write) {
        (Bug::NothingRemembered, Write::Known(_)) => None,
        (Bug::FoldLosesOne, Write::Fold { mut friends, folded_seq }) => {
            friends.pop();
            Some(Write::Fold { friends, folded_seq })
        }
        (Bug::PlannedForgotten, Write::Campaign(mut row)) => {
            row.last_planned = None;
            Some(Write::Campaign(row))
        }
        (Bug::OpenGoesOn, Write::OccurrenceState { to, .. }) if !to.is_open() => None,
        (_, write) => Some(write),
    }
}

fn fresh(key: RetryKey, nth: usize) -> RetryKey {
    let occurrence = OccurrenceIdentity {
        channel_id: key.to_string(),
        slug: super::slug("fresh"),
        step: None,
        due_at: Instant::from_millis(0),
        run: Run::Scheduled(0),
        child: 0,
    };
    let n = u32::try_from(nth).unwrap();
    RetryKey::derive(&occurrence, BatchIdentity { n, generation: 0, parent: None }, &[0; 32])
}

/// Which bugs a run of histories has not caught.
pub fn uncaught(caught: &[Bug]) -> BTreeSet<String> {
    Bug::ALL.iter().filter(|bug| !caught.contains(bug)).map(|bug| format!("{bug:?}")).collect()
}
