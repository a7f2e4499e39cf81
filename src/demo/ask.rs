//! What the narrator asks: the node's own answers, as every command gets them.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::control::client::Conversation;
use crate::control::node::Node;
use crate::domain::delivery::{Exclusion, OccurrenceState};
use crate::domain::effect::Intake;
use crate::domain::id::{AccountSlug, CampaignSlug, OccurrenceId, StepName};
use crate::domain::time::Instant;
use crate::engine::Books;
use crate::lang::Lang;
use crate::protocol::{Command, Reply, Request, Upload};

/// Intakes of one upload.
const UPLOAD: usize = 5_000;

/// A node, asked in the name of the demo.
#[derive(Clone)]
pub(super) struct Desk {
    node: Arc<Node>,
    account: AccountSlug,
    lang: Lang,
}

impl Desk {
    pub(super) fn new(node: Arc<Node>, account: AccountSlug, lang: Lang) -> Self {
        Self { node, account, lang }
    }

    fn converse(&self, command: Command) -> Conversation {
        let (lang, account) = (self.lang, Some(self.account.clone()));
        Conversation::here(self.node.clone(), Request { lang, by: "demo".into(), account, command })
    }

    /// Asks, and reads the answer's JSON.
    pub(super) async fn ask<T: DeserializeOwned>(&self, command: Command) -> anyhow::Result<T> {
        let mut conversation = self.converse(command);
        while let Some(reply) = conversation.next().await {
            match reply {
                Reply::Done(answer) => return Ok(serde_json::from_value(answer.json)?),
                Reply::Error(failure) => bail!("{}", failure.message),
                Reply::Rows(_) | Reply::Terms(_) | Reply::Taken(_) | Reply::Progress(_) => {}
            }
        }
        bail!("the daemon ended before it answered")
    }

    pub(super) async fn status(&self) -> anyhow::Result<Status> {
        self.ask(Command::Status).await
    }

    /// All occurrences, oldest first.
    pub(super) async fn occurrences(&self) -> anyhow::Result<Vec<Listed>> {
        let list: List = self.ask(Command::OccurrenceList { campaign: None, limit: 1_000 }).await?;
        let mut occurrences = list.occurrences;
        occurrences.sort_by_key(|listed| listed.occurrence);
        Ok(occurrences)
    }

    pub(super) async fn occurrence(&self, occurrence: OccurrenceId) -> anyhow::Result<Shown> {
        self.ask(Command::OccurrenceShow { occurrence }).await
    }

    /// When the next campaign is due, of those that are not drafts.
    pub(super) async fn next_campaign(&self) -> anyhow::Result<Option<Instant>> {
        let list: Campaigns = self.ask(Command::CampaignList).await?;
        Ok(list.campaigns.into_iter().filter_map(|campaign| campaign.next_due_at).min())
    }

    /// When the next step of a drip is due, or the next day comes on which a drip may start somebody.
    pub(super) async fn next_of_drips(&self) -> anyhow::Result<Option<Instant>> {
        let list: Drips = self.ask(Command::DripList).await?;
        Ok(list.drips.into_iter().flat_map(|drip| [drip.next_due_at, drip.next_start_at]).flatten().min())
    }

    /// When something is due next.
    pub(super) async fn next_due(&self) -> anyhow::Result<Option<Instant>> {
        let both = [self.next_campaign().await?, self.next_of_drips().await?];
        Ok(both.into_iter().flatten().min())
    }

    /// Takes friends in the way `haishin import` does; returns when they are applied.
    pub(super) async fn import(&self, intakes: Vec<Intake>) -> anyhow::Result<()> {
        let mut conversation = self.converse(Command::Import);
        let uploads = intakes.chunks(UPLOAD).map(|chunk| Upload::Intakes(chunk.to_vec()));
        for upload in uploads.chain([Upload::End]) {
            if !conversation.upload(upload).await {
                break;
            }
            // The terms come first, then an answer to each.
            loop {
                match conversation.next().await.context("the import ended without an answer")? {
                    Reply::Done(_) => return Ok(()),
                    Reply::Error(failure) => bail!("{}", failure.message),
                    Reply::Taken(_) => break,
                    Reply::Rows(_) | Reply::Terms(_) | Reply::Progress(_) => {}
                }
            }
        }
        bail!("the import ended before its last line")
    }
}

/// `haishin status` of one account.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    pub(super) friends: u64,
    pub(super) following: u64,
    pub(super) seen_at: Instant,
    pub(super) open: Vec<Open>,
}

/// An occurrence on its way, as memory has it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Open {
    pub(super) occurrence: OccurrenceId,
    pub(super) accepted: u64,
    pub(super) recipients: u64,
    pub(super) not_yet_sent: u64,
    pub(super) possibly_sent: u64,
    pub(super) mark: u32,
    pub(super) in_flight: u64,
}

#[derive(Debug, Deserialize)]
struct List {
    occurrences: Vec<Listed>,
}

/// One line of `haishin occurrence list`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Listed {
    pub(super) occurrence: OccurrenceId,
    pub(super) due_at: Instant,
    pub(super) finished_at: Option<Instant>,
}

/// `haishin occurrence show`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Shown {
    pub(super) occurrence: OccurrenceId,
    pub(super) campaign: CampaignSlug,
    pub(super) step: Option<StepName>,
    pub(super) due_at: Instant,
    pub(super) frozen_at: Instant,
    pub(super) finished_at: Option<Instant>,
    pub(super) state: OccurrenceState,
    pub(super) reason: Option<String>,
    pub(super) recipients: u64,
    pub(super) detail: Detail,
    pub(super) books: BooksShown,
    pub(super) batches: Vec<Batch>,
    pub(super) open: Option<Open>,
}

impl Shown {
    /// The counts.
    pub(super) fn books(&self) -> &Books {
        &self.books.counts
    }

    /// Named exclusions, in order.
    pub(super) fn exclusions(&self) -> &[(Exclusion, u64)] {
        &self.books.counts.excluded
    }
}

/// What the decision knew.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    pub(super) quota: Option<Quota>,
}

/// LINE's month at the freeze.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Quota {
    pub(super) limit: u64,
    pub(super) used: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct BooksShown {
    counts: Books,
}

/// A batch with its end.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Batch {
    pub(super) n: u32,
    pub(super) ended: Option<Ended>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Ended {
    pub(super) attempts: u64,
    pub(super) accepted_request_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Drips {
    drips: Vec<DripLine>,
}

#[derive(Debug, Deserialize)]
struct DripLine {
    next_due_at: Option<Instant>,
    next_start_at: Option<Instant>,
}

#[derive(Debug, Deserialize)]
struct Campaigns {
    campaigns: Vec<CampaignLine>,
}

#[derive(Debug, Deserialize)]
struct CampaignLine {
    next_due_at: Option<Instant>,
}
