//! The places of a server's connections. When all are taken, a newcomer gets that of the client who has kept us waiting
//! longest: of those who have not sent a whole request, or have not taken their answer. So a crowd of slow clients cannot
//! keep out one that asks at once.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All places of one server.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    crowd: Mutex<Crowd>,
    /// A place was freed, or somebody is waited for who can be sent away.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Crowd {
    taken: usize,
    /// Turns given out so far: who has a lower one has been waited for longer.
    turns: u64,
    waited_for: BTreeMap<u64, CancellationToken>,
    /// Sent away, and still on their way out: nobody else is before they have gone.
    leaving: usize,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, crowd: Mutex::default(), changed: Notify::new() })
    }

    /// A place, as soon as there is one; whether somebody was sent away for it.
    pub(super) async fn take(self: &Arc<Self>) -> (Arc<Place>, bool) {
        let mut sent_away = false;
        loop {
            if let Some(place) = self.try_take() {
                return (Arc::new(place), sent_away);
            }
            sent_away |= self.send_away();
            self.changed.notified().await;
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut crowd = self.crowd();
        (crowd.taken < self.most).then(|| {
            crowd.taken += 1;
            let leave = CancellationToken::new();
            let turn = crowd.wait_for(leave.clone());
            Place { places: self.clone(), leave, turn: Mutex::new(Some(turn)) }
        })
    }

    /// Sends the one away who has kept us waiting longest, if anybody has.
    fn send_away(&self) -> bool {
        let mut crowd = self.crowd();
        if crowd.leaving > 0 {
            return false;
        }
        let Some((_, leave)) = crowd.waited_for.pop_first() else { return false };
        crowd.leaving += 1;
        leave.cancel();
        true
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crowd {
    fn wait_for(&mut self, leave: CancellationToken) -> u64 {
        self.turns += 1;
        self.waited_for.insert(self.turns, leave);
        self.turns
    }
}

/// The place of one connection; freed when dropped. At first, its client is waited for.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    leave: CancellationToken,
    /// While its client is waited for.
    turn: Mutex<Option<u64>>,
}

impl Place {
    /// Returns when somebody else needs the place.
    pub(super) async fn taken_away(&self) {
        self.leave.cancelled().await;
    }

    /// The client has said all of its request: it is we who are waited for.
    fn heard(&self) {
        if let Some(turn) = self.turn().take() {
            self.places.crowd().waited_for.remove(&turn);
        }
    }

    /// The client has its answer to take, and perhaps more to ask.
    pub(super) fn answered(&self) {
        self.turn().get_or_insert_with(|| self.places.crowd().wait_for(self.leave.clone()));
        self.places.changed.notify_one();
    }

    fn turn(&self) -> MutexGuard<'_, Option<u64>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.heard();
        let mut crowd = self.places.crowd();
        crowd.taken -= 1;
        crowd.leaving -= usize::from(self.leave.is_cancelled());
        drop(crowd);
        self.places.changed.notify_one();
    }
}

/// A request's body, which tells when all of it was heard.
pub(super) struct Heard<B> {
    body: B,
    place: Arc<Place>,
}

impl<B: HttpBody> Heard<B> {
    pub(super) fn new(body: B, place: Arc<Place>) -> Self {
        if body.is_end_stream() {
            place.heard();
        }
        Self { body, place }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Heard<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.place.heard();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
