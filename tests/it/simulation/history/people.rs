//! What people do: commands, and files that are edited and applied.

use std::time::Duration;

use haishin::clock::Clock as _;
use haishin::domain::time::Instant;
use haishin::protocol::{Answer, Command, DueChoice};
use haishin::store::Store as _;
use rand::Rng as _;

use super::super::judge::Silence;
use super::History;
use crate::support::world::{CHANNEL, activate, slug, user};

impl History {
    /// Asks whichever daemon answers.
    pub(super) async fn ask(&mut self, command: &Command) -> Option<Answer> {
        for n in 0..self.nodes.len() {
            if let Some(Ok(answer)) = self.nodes[n].ask(command.clone()).await {
                return Some(answer);
            }
        }
        None
    }

    pub(super) async fn command(&mut self) {
        let slugs: Vec<String> = self.spec.campaigns.keys().cloned().collect();
        let name = slugs[self.rng.random_range(0..slugs.len())].clone();
        let campaign = slug(&name);
        let command = match self.rng.random_range(0..12) {
            0..3 => Command::CampaignPause { campaign },
            3..5 => Command::CampaignResume { campaign },
            5 => Command::CampaignCancel { campaign },
            6 | 7 => Command::Stop { reason: "a doubt".into() },
            8..11 => Command::Start { due: Some(self.due_choice()) },
            _ => {
                let n = self.rng.random_range(0..self.spec.friends);
                Command::CampaignTestSend { campaign, to: vec![user(n).to_string()], variant: None }
            }
        };
        self.do_it(&name, command).await;
        let seconds = self.rng.random_range(0..20);
        self.pass(Duration::from_secs(seconds)).await;
    }

    /// After a restore nobody sends what may have gone out already.
    pub(super) fn due_choice(&mut self) -> DueChoice {
        if self.set_back || self.rng.random_bool(0.3) { DueChoice::Skip } else { DueChoice::Judge }
    }

    /// A command, and what has to hold once it is answered.
    pub(super) async fn do_it(&mut self, name: &str, command: Command) {
        let began = self.truth.now();
        match &command {
            Command::CampaignResume { .. } => self.end_silences(Some(name), began),
            Command::Start { .. } | Command::AcceptClock { .. } => {
                self.end_silences(None, began);
                self.stopped_once = true;
            }
            Command::CampaignPause { .. } | Command::CampaignCancel { .. } => {
                self.edited.insert(name.to_owned());
            }
            Command::Stop { .. } => self.stopped_once = true,
            _ => {}
        }
        let answered = self.ask(&command).await.is_some();
        self.note(format!("{command:?}: {answered}"));
        if !answered {
            return;
        }
        let from = self.truth.now();
        let silence = |campaign: Option<&str>, why, frozen_before| Silence {
            campaign: campaign.map(str::to_owned),
            from,
            until: None,
            frozen_before,
            why,
        };
        match &command {
            Command::CampaignPause { .. } => self.silences.push(silence(Some(name), "paused", None)),
            Command::CampaignCancel { .. } if !self.wrong_clocks => {
                self.silences.push(silence(Some(name), "cancelled", Some(began)));
            }
            Command::Stop { .. } => self.silences.push(silence(None, "stopped", None)),
            _ => {}
        }
    }

    pub(super) fn end_silences(&mut self, campaign: Option<&str>, at: Instant) {
        for silence in &mut self.silences {
            let meant = silence.campaign.as_deref() == campaign && silence.frozen_before.is_none();
            if meant && silence.until.is_none() {
                silence.until = Some(at);
            }
        }
    }

    pub(super) async fn apply(&mut self) {
        let settings = self.spec.settings();
        let settings = self.broken.as_ref().map_or(settings.clone(), |broken| broken.settings(&settings));
        let store = self.memory.again();
        let before = store.active_version().await.unwrap().map(|version| version.id);
        let files = self.spec.files();
        let immediate = self.spec.campaigns.iter().filter(|(_, one)| one.is_immediate());
        self.immediate.extend(immediate.map(|(slug, _)| slug.clone()));
        let named = [("shop", CHANNEL)];
        activate(&store, (&settings, &files), &named, before, self.truth.now()).await;
        for node in &self.nodes {
            node.activated().await;
        }
    }

    pub(super) async fn edit(&mut self) {
        let before = self.spec.files();
        self.spec.edit(&mut self.rng);
        let after = self.spec.files();
        let named = |files: &[(String, String)], name: &str| files.iter().any(|(other, _)| other == name);
        let names = before.iter().chain(&after).map(|(name, _)| name);
        let reshaped = names.filter(|name| !(named(&before, name) && named(&after, name))).cloned();
        self.reshaped.extend(reshaped);
        for (name, text) in before.iter().filter(|file| !after.contains(file)) {
            self.edited.insert(name.clone());
            self.trace.push(format!("--- {name} was\n{text}"));
        }
        for (name, text) in after.iter().filter(|file| !before.contains(file)) {
            self.edited.insert(name.clone());
            self.trace.push(format!("--- {name} is\n{text}"));
        }
        self.note("applied".into());
        self.apply().await;
    }
}
