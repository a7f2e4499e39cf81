//! What people do to sends: brake, pause, resume, cancel, resolve. Each is one durable transaction, with who did it.

use serde_json::json;

use crate::domain::delivery::{OccurrenceState, Outcome};
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::reason::Reason;
use crate::domain::time::Instant;
use crate::lang::Lang;
use crate::protocol::{Answer, DueChoice, Failure, Resolution};
use crate::store::{ActRow, BatchEnding, Halt, OccurrenceFilter, Priority, StoreError, Write};

use super::Engine;
use super::drips::{DoubtfulWait, FallenStep};
use super::words::{Subject, outcome_words};

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
            let told = self.words(lang).halt(halt, Subject::Account);
            return Ok(Err(conflict(format!(
                "{} {told}",
                lang.pick("すでに停止中です:", "already stopped:")
            ))));
        }
        let halt = Halt { at, by: by.into(), reason: Reason::Words { words: reason.clone() } };
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
        Ok(Ok(Answer { text, json: json!({ "stopped": true, "in_flight": in_flight }), exit: 0 }))
    }

    /// Releases the brake and the account's pause, and takes a clock that is behind as right if asked to. What fell due
    /// meanwhile is listed first, and only a choice starts.
    pub(super) async fn start_account(
        &mut self,
        by: &str,
        choice: Option<DueChoice>,
        accept_clock: bool,
        lang: Lang,
    ) -> Answered {
        let now = self.deps.clock.now();
        let halted = self.state.row.stopped.is_some() || self.state.row.paused.is_some();
        let behind = self.clock_behind(now);
        let clock = self.words(lang).clock_behind(now, self.state.seen_at);
        let accepted = behind && accept_clock;
        if !(halted || accepted) {
            let idle = lang.pick("停止していません。", "the account is not stopped.");
            return Ok(Err(conflict(if behind { clock } else { idle.into() })));
        }
        if behind && !accepted && self.database_forgets() {
            // What fell due since the database stood there, and went out, cannot be told by a clock that is not believed.
            return Ok(Err(conflict(clock)));
        }
        let (due, steps, waits) = (self.fallen_due(now), self.fallen_steps(now), self.doubtful_waits());
        let of_campaigns = due.iter().map(|(slug, at)| json!({ "campaign": slug, "due_at": at }));
        let of_drips = steps.iter().map(
            |one| json!({ "drip": one.drip, "step": one.step, "due_at": one.due_at, "friends": one.friends }),
        );
        let of_waits = waits.iter().map(
            |one| json!({ "campaign": one.campaign, "waiting_until": one.until, "friends": one.friends }),
        );
        let list: Vec<_> = of_campaigns.chain(of_drips).chain(of_waits).collect();
        let nothing = list.is_empty();
        let json = json!({ "fell_due": list, "started": choice.is_some() || nothing });
        if choice.is_none() && !nothing {
            return Ok(Ok(Answer {
                text: self.ask_about((&due, &steps, &waits), accept_clock, lang),
                json,
                exit: 3,
            }));
        }
        let mut writes = vec![Write::Stopped(None), Write::AccountPaused(None)];
        let choice = if choice == Some(DueChoice::Skip) {
            writes.extend(self.skip_due(&due, by));
            writes.extend(self.skip_steps(now));
            writes.extend(self.end_doubtful_waits(now));
            "skip"
        } else {
            "judge"
        };
        writes.extend(self.resume_runs(None, now));
        writes.push(self.act(by, "start", self.slug.as_str(), choice));
        if accepted {
            let detail = format!("{} -> {now}", self.state.seen_at);
            let act = self.act(by, "accept-clock", self.slug.as_str(), &detail);
            writes.extend([Write::ClockAccepted, Write::Grace, act]);
        }
        self.commit(Priority::Freeze, writes).await?;
        self.state.row.stopped = None;
        self.state.row.paused = None;
        // A person has looked: from here on this database is the one to compare with.
        self.write_ticket();
        self.up_since = now;
        self.next_due = None;
        tracing::warn!(account = %self.slug, by, "started");
        if accepted {
            tracing::warn!(account = %self.slug, by, %now, "clock accepted");
            self.concerns.leapt(None);
            self.read_anew_on_this_clock().await?;
        }
        let mut text = lang.pick("再開しました。", "started.").to_owned();
        if behind && !accepted {
            text += &format!("\n⚠ {clock}");
        }
        Ok(Ok(Answer { text, json, exit: if behind && !accepted { 3 } else { 0 } }))
    }

    /// What fell due, and how to choose.
    fn ask_about(
        &self,
        (due, steps, waits): (&[(CampaignSlug, Instant)], &[FallenStep], &[DoubtfulWait]),
        accept_clock: bool,
        lang: Lang,
    ) -> String {
        let mut lines: Vec<String> =
            due.iter().map(|(slug, at)| format!("  {}  {slug}", self.at(*at))).collect();
        lines.extend(steps.iter().map(|one| {
            let friends = lang.pick(format!("{}人", one.friends), format!("{} friends", one.friends));
            format!("  {}  {} / {}  {friends}", self.at(one.due_at), one.drip, one.step)
        }));
        lines.extend(waits.iter().map(|one| {
            let (until, friends) = (self.at(one.until), one.friends);
            let campaign = &one.campaign;
            lang.pick(
                format!("  {until}まで  {campaign}  上限の空きを待つ{friends}人（既に届いている可能性があります）"),
                format!("  until {until}  {campaign}  wait for room under a cap, and may have had it already: {friends}"),
            )
        }));
        let head = lang.pick("止まっている間に配信時刻を過ぎたもの:", "fell due meanwhile:");
        let start = if accept_clock { "haishin start --accept-clock" } else { "haishin start" };
        let tail = lang.pick(
            format!("再開: {start} --due judge（if_missed と grace に従う） または --due skip（送らない）"),
            format!(
                "start with: {start} --due judge (by if_missed and grace) or --due skip (send none of them)"
            ),
        );
        format!("{head}\n{}\n{tail}", lines.join("\n"))
    }

    /// Open sending runs go on as a new part, whose deliveries count from the resumption.
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
            writes.extend(run.goes_on(now));
        }
        writes
    }

    /// A held occurrence goes on; as long as its campaign is paused, it waits for that one's resumption.
    pub(super) fn let_go_on(&mut self, id: OccurrenceId, now: Instant) -> Vec<Write> {
        let Some(run) = self.state.runs.get_mut(&id) else { return Vec::new() };
        let paused = self.state.campaigns.get(&run.row.campaign).and_then(|row| row.paused.as_ref());
        match paused {
            Some(halt) => vec![run.moves(OccurrenceState::Paused, Some(halt.reason.clone()))],
            None => run.goes_on(now),
        }
    }

    /// What pausing a campaign writes, and changes in memory.
    pub(super) fn pause_campaign_writes(
        &mut self,
        campaign: &CampaignSlug,
        by: &str,
        reason: &Reason,
        at: Instant,
    ) -> Vec<Write> {
        let halt = Halt { at, by: by.into(), reason: reason.clone() };
        let mut writes: Vec<Write> = self.ensure_campaign_row(campaign).into_iter().collect();
        if let Some(row) = self.state.campaigns.get_mut(campaign) {
            row.paused = Some(halt);
            writes.push(Write::Campaign(row.clone()));
        }
        for run in self.state.runs.values_mut() {
            if run.row.campaign != *campaign || run.row.state != OccurrenceState::Sending {
                continue;
            }
            writes.push(run.moves(OccurrenceState::Paused, Some(reason.clone())));
        }
        let text = self.words(Lang::En).reason(reason, Subject::Campaign(campaign));
        tracing::warn!(account = %self.slug, campaign = %campaign, by, reason = text, "paused");
        writes
    }

    pub(super) async fn pause(&mut self, by: &str, campaign: &CampaignSlug, lang: Lang) -> Answered {
        if let Err(failure) = self.known_campaign(campaign, lang) {
            return Ok(Err(failure));
        }
        let mut writes = vec![self.act(by, "pause", campaign.as_str(), "")];
        let now = self.deps.clock.now();
        writes.extend(self.pause_campaign_writes(campaign, by, &Reason::PausedByPerson, now));
        self.commit(Priority::Freeze, writes).await?;
        let text = match lang {
            Lang::Ja => format!("{campaign} を一時停止しました。再開: haishin campaign resume {campaign}"),
            Lang::En => format!("{campaign} is paused. Go on with: haishin campaign resume {campaign}"),
        };
        Ok(Ok(Answer { text, json: json!({ "campaign": campaign, "paused": true }), exit: 0 }))
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
        Ok(Ok(Answer { text, json: json!({ "campaign": campaign, "paused": false }), exit: 0 }))
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
        let now = self.deps.clock.now();
        let (waited, ends) = self.end_waits(campaign, now);
        if open.is_empty() && waited == 0 {
            return Ok(Err(not_found(match lang {
                Lang::Ja => format!(
                    "{campaign} に送信中のものはありません。今後の配信を止めるには: haishin campaign pause {campaign}"
                ),
                Lang::En => format!(
                    "nothing of {campaign} is being sent. To keep it from sending later: haishin campaign pause {campaign}"
                ),
            })));
        }
        let (mut sent, mut possibly, mut released) = (0, 0, waited);
        let mut writes = vec![self.act(by, "cancel", campaign.as_str(), "")];
        writes.extend(ends);
        for id in open {
            let Some(run) = self.state.runs.get_mut(&id) else { continue };
            let reason = Reason::CancelledByPerson { by: by.into() };
            writes.push(run.moves(OccurrenceState::Cancelled, Some(reason)));
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
        let json =
            json!({ "campaign": campaign, "sent": sent, "possibly_sent": possibly, "released": released });
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
        let campaign = run.row.campaign.clone();
        let mut writes = if resolution == Resolution::Send {
            self.let_go_on(id, now)
        } else {
            vec![run.moves(OccurrenceState::Cancelled, Some(Reason::CancelledByPerson { by: by.into() }))]
        };
        let to = self.state.runs.get(&id).map_or(OccurrenceState::Held, |run| run.row.state);
        writes.push(self.act(by, "resolve", &id.to_string(), to.as_str()));
        self.commit(Priority::Freeze, writes).await?;
        let text = match (lang, to) {
            (Lang::Ja, OccurrenceState::Cancelled) => format!("配信回 {id} を取り消しました。"),
            (Lang::Ja, OccurrenceState::Paused) => {
                format!(
                    "{campaign} は一時停止中です。配信回 {id} は haishin campaign resume {campaign} のあとで続きます。"
                )
            }
            (Lang::En, OccurrenceState::Paused) => {
                format!(
                    "{campaign} is paused: occurrence {id} goes on after haishin campaign resume {campaign}."
                )
            }
            (Lang::Ja, _) => format!("配信回 {id} の送信を続けます。"),
            (Lang::En, OccurrenceState::Cancelled) => format!("occurrence {id} is cancelled."),
            (Lang::En, _) => format!("occurrence {id} goes on."),
        };
        Ok(Ok(Answer { text, json: json!({ "occurrence": id, "state": to }), exit: 0 }))
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
            end.detail = Some(Reason::ResolvedByPerson { by: by.into() });
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
            Lang::Ja => {
                format!("配信回 {id}: 不明 {count}人を「{}」にしました。", outcome_words(outcome, lang))
            }
            Lang::En => format!("occurrence {id}: {count} unknown deliveries are now {}.", outcome.as_str()),
        };
        Ok(Ok(Answer {
            text,
            json: json!({ "occurrence": id, "outcome": outcome, "friends": count }),
            exit: 0,
        }))
    }
}
