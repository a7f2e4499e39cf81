//! What people do to sends: brake, pause, resume, cancel, resolve. Each is one durable transaction, with who did it.

use crate::domain::delivery::{OccurrenceState, Outcome};
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::time::Instant;
use crate::lang::Lang;
use crate::protocol::{Answer, DueChoice, Failure, Resolution};
use crate::store::{ActRow, BatchEnding, Halt, OccurrenceFilter, Part, Priority, StoreError, Write};

use super::Engine;

/// An answer that was thought about, or why there is none.
pub(super) type Answered = Result<Result<Answer, Failure>, StoreError>;

/// Something asked for is not there.
pub(super) fn not_found(message: String) -> Failure {
    Failure { code: "not_found".into(), message }
}

/// What is asked cannot be done as things stand.
pub(super) fn conflict(message: String) -> Failure {
    Failure { code: "conflict".into(), message }
}

impl Engine {
    fn act(&self, by: &str, act: &str, subject: &str, detail: &str) -> Write {
        Write::Act(ActRow {
            at: self.deps.clock.now(),
            by: by.into(),
            act: act.into(),
            subject: subject.into(),
            detail: detail.into(),
        })
    }

    /// The emergency brake: from the commit on, no request leaves.
    pub(super) async fn stop_account(&mut self, by: &str, reason: String, lang: Lang) -> Answered {
        let at = self.deps.clock.now();
        if let Some(halt) = &self.state.row.stopped {
            let message = format!(
                "{} {} ({})",
                lang.pick("すでに停止中です:", "already stopped:"),
                halt.at,
                halt.reason
            );
            return Ok(Err(conflict(message)));
        }
        let halt = Halt { at, by: by.into(), reason: reason.clone() };
        let writes =
            vec![Write::Stopped(Some(halt.clone())), self.act(by, "stop", self.slug.as_str(), &reason)];
        self.commit(Priority::Freeze, writes).await?;
        self.state.row.stopped = Some(halt);
        let in_flight: usize = self.state.runs.values().map(crate::sender::run::Run::in_flight).sum();
        tracing::warn!(account = %self.slug, by, reason, in_flight, "stopped");
        let text = match lang {
            Lang::Ja => format!(
                "アカウント {} を停止しました。送信途中の要求 {in_flight} 件は結果だけ記録します。再開: haishin start",
                self.slug
            ),
            Lang::En => format!(
                "account {} is stopped. {in_flight} requests already under way will only have their answers recorded. Go on with: haishin start",
                self.slug
            ),
        };
        Ok(Ok(Answer { text, json: serde_json::json!({ "stopped": true, "in_flight": in_flight }), exit: 0 }))
    }

    /// Releases the brake and the account's pause. What fell due meanwhile is listed first, and only a choice starts.
    pub(super) async fn start_account(
        &mut self,
        by: &str,
        choice: Option<DueChoice>,
        lang: Lang,
    ) -> Answered {
        if self.state.row.stopped.is_none() && self.state.row.paused.is_none() {
            return Ok(Err(conflict(lang.pick("停止していません。", "the account is not stopped.").into())));
        }
        let now = self.deps.clock.now();
        let due = self.fallen_due(now);
        let list: Vec<_> =
            due.iter().map(|(slug, at)| serde_json::json!({ "campaign": slug, "due_at": at })).collect();
        let json = serde_json::json!({ "fell_due": list, "started": choice.is_some() || due.is_empty() });
        if choice.is_none() && !due.is_empty() {
            let lines: Vec<String> = due.iter().map(|(slug, at)| format!("  {at}  {slug}")).collect();
            let head = lang.pick("停止中に配信時刻を過ぎたもの:", "fell due while stopped:");
            let tail = lang.pick(
                "再開: haishin start --due judge（if_missed と grace に従う） または --due skip（送らない）",
                "start with: haishin start --due judge (by if_missed and grace) or --due skip (send none of them)",
            );
            return Ok(Ok(Answer { text: format!("{head}\n{}\n{tail}", lines.join("\n")), json, exit: 3 }));
        }
        let mut writes = vec![Write::Stopped(None), Write::AccountPaused(None)];
        if choice == Some(DueChoice::Skip) {
            writes.extend(self.skip_due(&due, now));
        }
        writes.extend(self.resume_runs(None, now));
        writes.push(self.act(
            by,
            "start",
            self.slug.as_str(),
            if choice == Some(DueChoice::Skip) { "skip" } else { "judge" },
        ));
        self.commit(Priority::Freeze, writes).await?;
        self.state.row.stopped = None;
        self.state.row.paused = None;
        // A person has looked: from here on this database is the one to compare with.
        self.write_ticket();
        self.up_since = now;
        self.next_due = None;
        tracing::warn!(account = %self.slug, by, "started");
        let text = lang.pick("再開しました。", "started.").to_owned();
        Ok(Ok(Answer { text, json, exit: 0 }))
    }

    /// Open sending runs go on as a new part, whose deliveries count from the resumption (protocol §6).
    fn resume_runs(&mut self, campaign: Option<&CampaignSlug>, now: Instant) -> Vec<Write> {
        let mut writes = Vec::new();
        for run in self.state.runs.values_mut() {
            let state = run.row.state;
            let ours = campaign.is_none_or(|campaign| run.row.campaign == *campaign);
            let resumable = match campaign {
                Some(_) => state == OccurrenceState::Paused,
                None => state == OccurrenceState::Sending,
            };
            if !ours || !resumable {
                continue;
            }
            if state == OccurrenceState::Paused {
                writes.push(Write::OccurrenceState {
                    occurrence: run.row.id,
                    from: state,
                    to: OccurrenceState::Sending,
                    reason: None,
                    finished_at: None,
                });
            }
            let part = Part { from_batch: run.mark(), effective_at: now };
            writes.push(Write::Part { occurrence: run.row.id, part });
            run.resumed(part);
        }
        writes
    }

    /// What pausing a campaign writes, and changes in memory.
    pub(super) fn pause_campaign_writes(
        &mut self,
        campaign: &CampaignSlug,
        by: &str,
        reason: &str,
        at: Instant,
    ) -> Vec<Write> {
        let halt = Halt { at, by: by.into(), reason: reason.into() };
        let mut writes = Vec::new();
        if let Some(row) = self.state.campaigns.get_mut(campaign) {
            row.paused = Some(halt);
            writes.push(Write::Campaign(row.clone()));
        }
        for run in self.state.runs.values_mut() {
            if run.row.campaign != *campaign || run.row.state != OccurrenceState::Sending {
                continue;
            }
            writes.push(Write::OccurrenceState {
                occurrence: run.row.id,
                from: OccurrenceState::Sending,
                to: OccurrenceState::Paused,
                reason: Some(reason.into()),
                finished_at: None,
            });
            run.row.state = OccurrenceState::Paused;
            run.row.reason = Some(reason.into());
        }
        tracing::warn!(account = %self.slug, campaign = %campaign, by, reason, "paused");
        writes
    }

    pub(super) async fn pause(&mut self, by: &str, campaign: &CampaignSlug, lang: Lang) -> Answered {
        if let Err(failure) = self.known_campaign(campaign, lang) {
            return Ok(Err(failure));
        }
        let mut writes = vec![self.act(by, "pause", campaign.as_str(), "")];
        writes.extend(self.ensure_campaign_row(campaign));
        writes.extend(self.pause_campaign_writes(campaign, by, "paused by a person", self.deps.clock.now()));
        self.commit(Priority::Freeze, writes).await?;
        let text = match lang {
            Lang::Ja => format!("{campaign} を一時停止しました。再開: haishin campaign resume {campaign}"),
            Lang::En => format!("{campaign} is paused. Go on with: haishin campaign resume {campaign}"),
        };
        Ok(Ok(Answer { text, json: serde_json::json!({ "campaign": campaign, "paused": true }), exit: 0 }))
    }

    pub(super) async fn resume(&mut self, by: &str, campaign: &CampaignSlug, lang: Lang) -> Answered {
        if let Err(failure) = self.known_campaign(campaign, lang) {
            return Ok(Err(failure));
        }
        let now = self.deps.clock.now();
        let paused = self.state.campaigns.get(campaign).is_some_and(|row| row.paused.is_some());
        let open = self
            .state
            .runs
            .values()
            .any(|run| run.row.campaign == *campaign && run.row.state == OccurrenceState::Paused);
        if !paused && !open {
            return Ok(Err(conflict(match lang {
                Lang::Ja => format!("{campaign} は一時停止していません。"),
                Lang::En => format!("{campaign} is not paused."),
            })));
        }
        let mut writes = vec![self.act(by, "resume", campaign.as_str(), "")];
        if let Some(row) = self.state.campaigns.get_mut(campaign) {
            row.paused = None;
            writes.push(Write::Campaign(row.clone()));
        }
        writes.extend(self.resume_runs(Some(campaign), now));
        self.commit(Priority::Freeze, writes).await?;
        self.resumed.insert(campaign.clone(), now);
        self.next_due = None;
        let text = match lang {
            Lang::Ja => format!("{campaign} を再開しました。"),
            Lang::En => format!("{campaign} goes on."),
        };
        Ok(Ok(Answer { text, json: serde_json::json!({ "campaign": campaign, "paused": false }), exit: 0 }))
    }

    /// Ends what is open of a campaign. What LINE has cannot be recalled, and the answer says how much that is.
    pub(super) async fn cancel(&mut self, by: &str, campaign: &CampaignSlug, lang: Lang) -> Answered {
        if let Err(failure) = self.known_campaign(campaign, lang) {
            return Ok(Err(failure));
        }
        let open: Vec<OccurrenceId> = self
            .state
            .runs
            .values()
            .filter(|run| run.row.campaign == *campaign && run.row.state.is_open())
            .map(|run| run.row.id)
            .collect();
        if open.is_empty() {
            return Ok(Err(not_found(match lang {
                Lang::Ja => format!(
                    "{campaign} に送信中のものはありません。今後の配信を止めるには: haishin campaign pause {campaign}"
                ),
                Lang::En => format!(
                    "nothing of {campaign} is being sent. To keep it from sending later: haishin campaign pause {campaign}"
                ),
            })));
        }
        let (mut sent, mut possibly, mut released) = (0, 0, 0);
        let mut writes = vec![self.act(by, "cancel", campaign.as_str(), "")];
        for id in open {
            let Some(run) = self.state.runs.get_mut(&id) else { continue };
            writes.push(Write::OccurrenceState {
                occurrence: id,
                from: run.row.state,
                to: OccurrenceState::Cancelled,
                reason: Some(format!("cancelled by {by}")),
                finished_at: None,
            });
            run.row.state = OccurrenceState::Cancelled;
            run.row.reason = Some(format!("cancelled by {by}"));
            let doubtful = run.possibly_sent();
            sent += run.ended(Outcome::Accepted);
            possibly += doubtful;
            released += run.unsettled().saturating_sub(doubtful);
        }
        self.commit(Priority::Freeze, writes).await?;
        let text = match lang {
            Lang::Ja => format!(
                "{campaign} を取り消しました。送信済み {sent} 人は取り消せません。届いたか不明 {possibly} 人、送らずに済んだ {released} 人。"
            ),
            Lang::En => format!(
                "{campaign} is cancelled. {sent} friends already got it and cannot be recalled; {possibly} possibly got it; {released} will not get it."
            ),
        };
        let json = serde_json::json!({ "campaign": campaign, "sent": sent, "possibly_sent": possibly, "released": released });
        Ok(Ok(Answer { text, json, exit: 0 }))
    }

    /// A person settles what only a person can.
    pub(super) async fn resolve(
        &mut self,
        by: &str,
        id: OccurrenceId,
        resolution: Resolution,
        lang: Lang,
    ) -> Answered {
        match resolution {
            Resolution::Send | Resolution::Cancel => self.resolve_held(by, id, resolution, lang).await,
            Resolution::Unknown(outcome @ (Outcome::Accepted | Outcome::Rejected)) => {
                self.resolve_unknown(by, id, outcome, lang).await
            }
            Resolution::Unknown(_) => Ok(Err(Failure {
                code: "invalid".into(),
                message: lang
                    .pick(
                        "不明な配信は accepted か rejected に決めてください。",
                        "unknown deliveries can be resolved as accepted or as rejected.",
                    )
                    .into(),
            })),
        }
    }

    async fn resolve_held(
        &mut self,
        by: &str,
        id: OccurrenceId,
        resolution: Resolution,
        lang: Lang,
    ) -> Answered {
        let now = self.deps.clock.now();
        let held = self.state.runs.get(&id).is_some_and(|run| run.row.state == OccurrenceState::Held);
        let Some(run) = self.state.runs.get_mut(&id).filter(|_| held) else {
            return Ok(Err(not_found(match lang {
                Lang::Ja => format!("配信回 {id} は保留中ではありません。"),
                Lang::En => format!("occurrence {id} is not held."),
            })));
        };
        let to = if resolution == Resolution::Send {
            OccurrenceState::Sending
        } else {
            OccurrenceState::Cancelled
        };
        let mut writes = vec![Write::OccurrenceState {
            occurrence: id,
            from: OccurrenceState::Held,
            to,
            reason: None,
            finished_at: None,
        }];
        let part = Part { from_batch: run.mark(), effective_at: now };
        if to == OccurrenceState::Sending {
            writes.push(Write::Part { occurrence: id, part });
            run.resumed(part);
        } else {
            run.row.state = to;
        }
        writes.push(self.act(by, "resolve", &id.to_string(), to.as_str()));
        self.commit(Priority::Freeze, writes).await?;
        Ok(Ok(Answer {
            text: to.as_str().into(),
            json: serde_json::json!({ "occurrence": id, "state": to }),
            exit: 0,
        }))
    }

    /// Unknown deliveries become accepted or rejected by a person's knowledge: batch rows, sets, caps.
    async fn resolve_unknown(
        &mut self,
        by: &str,
        id: OccurrenceId,
        outcome: Outcome,
        lang: Lang,
    ) -> Answered {
        let found = self.deps.store.occurrences(self.account, OccurrenceFilter::Id(id)).await?;
        if !found.iter().any(|row| row.finished_at.is_some()) {
            return Ok(Err(not_found(match lang {
                Lang::Ja => format!("終わった配信回 {id} はありません。一覧: haishin occurrence list"),
                Lang::En => {
                    format!("there is no occurrence {id} that has ended. See: haishin occurrence list")
                }
            })));
        }
        let mut sets = self.deps.store.deliveries(self.account, id).await?;
        let count = super::books::resolve(&mut sets, outcome);
        if count == 0 {
            return Ok(Err(conflict(
                lang.pick(
                    "決定できる不明な配信はありません。",
                    "it has no unknown deliveries that could be resolved.",
                )
                .into(),
            )));
        }
        let mut batches = self.deps.store.batches(self.account, id).await?;
        batches.retain(|batch| {
            batch.ended.as_ref().is_some_and(|end| end.how == BatchEnding::Outcome(Outcome::Unknown))
        });
        for end in batches.iter_mut().filter_map(|batch| batch.ended.as_mut()) {
            end.how = BatchEnding::Outcome(outcome);
            end.detail = Some(format!("resolved by {by}"));
        }
        let act = self.act(by, "resolve", &id.to_string(), outcome.as_str());
        self.commit(
            Priority::Freeze,
            vec![Write::Batches(batches), Write::Deliveries { occurrence: id, sets }, act],
        )
        .await?;
        if !outcome.counts() {
            // Settled deliveries are never taken back in memory: the truth is read anew.
            self.reload().await?;
        }
        let text = match lang {
            Lang::Ja => format!("配信回 {id}: 不明 {count} 人を {} にしました。", outcome.as_str()),
            Lang::En => format!("occurrence {id}: {count} unknown deliveries are now {}.", outcome.as_str()),
        };
        Ok(Ok(Answer {
            text,
            json: serde_json::json!({ "occurrence": id, "outcome": outcome, "friends": count }),
            exit: 0,
        }))
    }
}
