//! What is made ready before the daemon runs, with a node that sends nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;

use super::ask::Desk;
use super::folder::pointed_at;
use super::screen::Screen;
use super::script;
use super::shop;
use super::story::{self, Left};
use super::words::Words;
use crate::app::{self, ClockKind, Paths};
use crate::clock::SetClock;
use crate::config::node::Node as NodeSettings;
use crate::domain::id::{AccountSlug, OccurrenceId};
use crate::domain::time::Tz;
use crate::engine::Mode;
use crate::lang::Lang;
use crate::lifecycle::Progress;
use crate::protocol::Command;
use crate::sandbox::SandboxFriend;

/// Where the demo is set.
pub(super) struct Stage<'a> {
    pub(super) account: AccountSlug,
    pub(super) paths: &'a Paths,
    pub(super) settings: &'a NodeSettings,
    pub(super) lang: Lang,
}

/// What sandbox and narrator need to know.
pub(super) struct Scene {
    /// The friends as LINE knows them.
    pub(super) friends: Vec<SandboxFriend>,
    /// The account's name.
    pub(super) title: String,
    /// The shop's zone.
    pub(super) zone: Tz,
    /// What an earlier process left open.
    pub(super) left: BTreeMap<OccurrenceId, Left>,
}

impl Stage<'_> {
    /// Takes the clock up where it stopped, looks at what was left open, follows the sandbox's port, and takes the
    /// friends in where the story has not begun.
    pub(super) async fn set(
        &self,
        clock: &Arc<SetClock>,
        port: u16,
        screen: &mut Screen,
    ) -> anyhow::Result<Scene> {
        let lock = super::lock(&self.paths.state, self.lang)?;
        let (paths, settings, progress) = (self.paths, self.settings, Progress::new());
        let running = app::start(
            paths,
            settings,
            (clock.clone(), ClockKind::Set(script::BEGIN)),
            Mode::Command,
            lock,
            progress,
            self.lang,
        )
        .await?;
        let desk = Desk::new(running.node.clone(), self.account.clone(), self.lang);
        let status = desk.status().await?;
        clock.skip_to(status.seen_at);
        let left = story::left_open(&desk, &status).await?;
        let active = running.node.active();
        let account = active.configuration.accounts.get(&self.account);
        let account = account.with_context(|| format!("account `{}` is not configured", self.account))?;
        if account.api_base != format!("http://127.0.0.1:{port}") {
            self.follow(&running, &desk, port).await?;
        }
        let shop = shop::friends()?;
        if desk.occurrences().await?.is_empty() {
            let words = Words { lang: self.lang, zone: account.policy.zone };
            screen.live(words.preparing());
            // A killed import is simply done again: nothing is added twice.
            desk.import(shop.iter().flat_map(|friend| friend.intakes.clone()).collect()).await?;
        }
        running.shut_down().await;
        Ok(Scene {
            friends: shop.into_iter().map(|friend| friend.phone).collect(),
            title: account.title.clone(),
            zone: account.policy.zone,
            left,
        })
    }

    /// Makes the running configuration name the sandbox's new port.
    async fn follow(&self, running: &app::Running, desk: &Desk, port: u16) -> anyhow::Result<()> {
        let active = running.store.active_version().await?.context("no configuration is active")?;
        let mut files = active.files;
        let main = files.get_mut("haishin.toml").context("the running configuration has no haishin.toml")?;
        *main = pointed_at(main, port, None)?;
        let command = Command::Apply { files, expected: Some(active.id) };
        desk.ask::<serde_json::Value>(command).await?;
        Ok(())
    }
}
