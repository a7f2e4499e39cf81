//! The shop's own systems without a network: they remember what they were told, and answer as the test likes.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use haishin::clock::Clock;
use haishin::domain::id::WebhookName;
use haishin::domain::outbox::Failure;
use haishin::domain::reason::Said;
use haishin::domain::time::{Instant, Span};
use haishin::systems::Systems;
use serde_json::Value;

/// A request that reached a system.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub at: Instant,
    pub system: String,
    pub id: String,
    pub body: Value,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It is taken.
    Take,
    /// It is answered with this status.
    Answer(u16),
    /// Nobody answers for as long as a request waits.
    Hang,
    /// It arrives, and the answer is lost.
    LoseAnswer,
}

type Moods = Box<dyn FnMut(&Heard) -> Mood + Send>;

/// All of them.
pub struct FakeSystems {
    clock: Arc<dyn Clock>,
    heard: Mutex<Vec<Heard>>,
    moods: Mutex<Moods>,
}

impl FakeSystems {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, heard: Mutex::default(), moods: Mutex::new(Box::new(|_| Mood::Take)) }
    }

    /// How they answer from now on.
    pub fn answer(&self, moods: impl FnMut(&Heard) -> Mood + Send + 'static) {
        *self.moods.lock().unwrap() = Box::new(moods);
    }

    /// Every request that came, in order.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

#[async_trait]
impl Systems for FakeSystems {
    async fn tell(&self, system: &WebhookName, id: &str, body: Bytes) -> Result<(), Failure> {
        let heard = Heard {
            at: self.clock.now(),
            system: system.to_string(),
            id: id.to_owned(),
            body: serde_json::from_slice(&body).unwrap(),
        };
        let mood = (self.moods.lock().unwrap())(&heard);
        self.heard.lock().unwrap().push(heard);
        match mood {
            Mood::Take => Ok(()),
            Mood::Answer(status) => Err(Failure::Answered(Said { status, message: String::new() })),
            Mood::LoseAnswer => Err(Failure::ConnectionLost),
            Mood::Hang => {
                self.clock.sleep(Span::from_secs(10)).await;
                Err(Failure::Timeout)
            }
        }
    }
}
