//! One friend's way through a drip.

use serde::{Deserialize, Serialize};

use super::timing::whole_minute;
use super::{Content, Drip};
use crate::domain::id::{CampaignSlug, FriendId, OccurrenceId, StepName, VersionId};
use crate::domain::time::Instant;

/// A friend's way through a drip, from its start to its end. While it is not over the friend starts no other one in
/// the same drip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// Through which drip.
    pub drip: CampaignSlug,
    /// Whose.
    pub friend: FriendId,
    /// When what starts it happened.
    pub started_at: Instant,
    /// The configuration whose drip it follows.
    pub version: VersionId,
    /// What the waits of the steps to come count from: the start or, once a deferral has held a later step up, the
    /// settlement of that deferral.
    pub counts_from: Instant,
    /// No step is due before: the instant at which the last one was passed.
    pub not_before: Instant,
    /// The steps passed, sent or not, in that order.
    pub done: Vec<StepName>,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a way stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Whether the friend may start has not been looked at yet.
    Starting {
        /// How the way ends if it begins at all, and when: it happened before anybody looked.
        ends: Option<(Ending, Instant)>,
    },
    /// This step comes next.
    Due {
        /// Which.
        step: StepName,
        /// When.
        at: Instant,
    },
    /// A cap deferred this step: no later one overtakes it.
    Waiting {
        /// Which.
        step: StepName,
        /// Where it was deferred.
        occurrence: OccurrenceId,
    },
    /// It is over.
    Ended {
        /// How.
        how: Ending,
        /// When.
        at: Instant,
    },
}

/// How a way ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// No step is left.
    Finished,
    /// `stop` held before a step, or `stop_on` happened.
    Stopped,
    /// `goal` happened.
    Reached,
    /// A person ended it.
    Cancelled,
    /// The friend was erased.
    Erased,
}

impl Ending {
    const ALL: [Ending; 5] = [Self::Finished, Self::Stopped, Self::Reached, Self::Cancelled, Self::Erased];

    /// The word in SQL, logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Reached => "reached",
            Self::Cancelled => "cancelled",
            Self::Erased => "erased",
        }
    }

    /// The ending a word of the database names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.as_str() == word)
    }
}

impl Enrollment {
    /// A way that may begin: whether it does is looked at next.
    pub fn starting(drip: CampaignSlug, friend: FriendId, started_at: Instant, version: VersionId) -> Self {
        Self {
            drip,
            friend,
            started_at,
            version,
            counts_from: started_at,
            not_before: started_at,
            done: Vec::new(),
            standing: Standing::Starting { ends: None },
        }
    }

    /// Whether it can still change.
    pub fn is_open(&self) -> bool {
        !matches!(self.standing, Standing::Ended { .. })
    }

    /// The friend may start: the first step comes next, unless the way has ended meanwhile.
    pub fn enter(&mut self, drip: &Drip) {
        let Standing::Starting { ends } = self.standing else { return };
        self.go_on(drip);
        if let Some((how, at)) = ends {
            self.end(how, at);
        }
    }

    /// The step that was due has been dealt with, sent or not: the next one comes.
    pub fn pass(&mut self, drip: &Drip) {
        let Standing::Due { step, at } = &self.standing else { return };
        self.not_before = self.not_before.max(*at);
        self.done.push(step.clone());
        self.go_on(drip);
    }

    /// A cap deferred the step that was due.
    pub fn defer(&mut self, occurrence: OccurrenceId) {
        if let Standing::Due { step, at } = &self.standing {
            self.not_before = self.not_before.max(*at);
            self.standing = Standing::Waiting { step: step.clone(), occurrence };
        }
    }

    /// The deferral ended at `at`, with a send or without: a later step that fell due before counts from here.
    pub fn settle(&mut self, drip: &Drip, at: Instant) {
        let Standing::Waiting { step, .. } = &self.standing else { return };
        self.done.push(step.clone());
        let overtaken = self.next(drip).is_some_and(|(_, due)| due < at);
        if overtaken {
            self.counts_from = at;
        }
        self.not_before = self.not_before.max(at);
        self.go_on(drip);
    }

    /// It is over; where nobody has looked yet whether it begins, it is over with its beginning.
    pub fn end(&mut self, how: Ending, at: Instant) {
        match &mut self.standing {
            Standing::Ended { .. } => {}
            Standing::Starting { ends } => *ends = ends.or(Some((how, at))),
            _ => self.standing = Standing::Ended { how, at },
        }
    }

    /// Until when no other way begins, once this one has begun.
    pub fn lasts_until(&self) -> Instant {
        match self.standing {
            Standing::Ended { at, .. } => at,
            _ => Instant::MAX,
        }
    }

    /// Goes on in another version of the drip. Steps passed before are passed; one that the new version would have
    /// had due before the change is passed by, not sent late.
    pub fn migrate(&mut self, drip: &Drip, version: VersionId, at: Instant) {
        self.version = version;
        if !matches!(self.standing, Standing::Due { .. }) {
            return;
        }
        self.go_on(drip);
        while let Standing::Due { step, at: due } = &self.standing
            && *due <= at
        {
            self.done.push(step.clone());
            self.go_on(drip);
        }
    }

    /// The due instants of the sends that have come by `now`, as if each were passed at its instant: what is judged
    /// together after downtime.
    pub fn due_by(&self, drip: &Drip, now: Instant) -> Vec<Instant> {
        let mut ahead = self.clone();
        let mut dues = Vec::new();
        while let Standing::Due { step, at } = &ahead.standing
            && *at <= now
        {
            if drip.step(step).is_some_and(|step| matches!(step.content, Content::Send(_))) {
                dues.push(*at);
            }
            ahead.pass(drip);
        }
        dues
    }

    fn go_on(&mut self, drip: &Drip) {
        self.standing = match self.next(drip) {
            Some((step, at)) => Standing::Due { step, at },
            None => Standing::Ended { how: Ending::Finished, at: self.not_before },
        };
    }

    /// The first step in the file's order that was not passed and that will ever be due.
    fn next(&self, drip: &Drip) -> Option<(StepName, Instant)> {
        let left = drip.steps.iter().filter(|step| !self.done.contains(&step.name));
        left.filter_map(|step| {
            let at = step.timing.due(self.counts_from)?;
            Some((step.name.clone(), whole_minute(at.max(self.not_before))))
        })
        .next()
    }
}
