//! `haishin backup` and `haishin restore`.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::bail;
use async_trait::async_trait;

use super::args::{Args, RestoreOptions};
use super::print;
use super::request::{confirmed, in_use, show, user};
use crate::app::backup::{Backups, Tell, size};
use crate::app::restore::{self, Restore};
use crate::app::{self, Paths};
use crate::control::client::{self, Conversation};
use crate::lang::Lang;
use crate::protocol::{Answer, Command, Progress, Reply, Request};

/// A line on a terminal that is written over and over; nothing elsewhere.
struct Line {
    lang: Lang,
    shown: bool,
}

impl Line {
    fn new(args: &Args, lang: Lang) -> Self {
        Self { lang, shown: !args.json && std::io::stderr().is_terminal() }
    }

    fn at(&self, Progress { bytes, of }: Progress) {
        if self.shown {
            let (bytes, of) = (size(bytes), size(of));
            let text = self.lang.pick(
                format!("バックアップ中… {bytes} / 約 {of}"),
                format!("backing up… {bytes} of about {of}"),
            );
            // Nobody to read it is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{text}\x1b[K");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[async_trait]
impl Tell for &Line {
    async fn tell(&mut self, progress: Progress) -> bool {
        self.at(progress);
        true
    }
}

/// Asks the daemon for a backup, or makes it where none runs.
pub(super) async fn backup(args: &Args, to: Option<&Path>, lang: Lang) -> anyhow::Result<u8> {
    let (paths, settings) = app::settings(&args.config, args.state.as_deref(), lang)?;
    let to = to.map(std::path::absolute).transpose()?;
    let line = Line::new(args, lang);
    if let Some(mut answer) = ask(&paths, to.as_deref(), &line, lang).await? {
        drop(line);
        look_for_it(&mut answer, lang);
        show(args, &answer);
        return Ok(answer.exit);
    }
    let Some(lock) = app::lock_state(&paths.state, &mut app::machine_rng(), lang)? else {
        bail!(in_use(lang));
    };
    let backups = Backups::of(&paths, &settings, &lock, lang)?;
    let made = backups.make(to.as_deref(), &user(), &line).await?;
    drop(line);
    show(args, &made.answer(lang));
    Ok(0)
}

/// The daemon's answer; none where no daemon listens.
async fn ask(paths: &Paths, to: Option<&Path>, line: &Line, lang: Lang) -> anyhow::Result<Option<Answer>> {
    let to = match to.map(Path::to_str) {
        Some(None) => bail!(lang.pick(
            "ファイル名が UTF-8 ではありません。別の名前にしてください",
            "the file's name is not UTF-8; name another",
        )),
        to => to.flatten().map(str::to_owned),
    };
    let request = Request { lang, by: user(), account: None, command: Command::Backup { to } };
    let Some(mut conversation) = Conversation::with_daemon(&paths.socket(), &request).await? else {
        return Ok(None);
    };
    while let Some(reply) = conversation.next().await {
        match reply {
            Reply::Progress(progress) => line.at(progress),
            Reply::Done(answer) => return Ok(Some(answer)),
            Reply::Error(failure) => bail!("{}", failure.message),
            Reply::Terms(_) | Reply::Rows(_) | Reply::Taken(_) => {}
        }
    }
    bail!(lang.pick(
        "返事の前に接続が切れました。バックアップはできていません。もう一度実行してください",
        "the daemon ended before it answered: there is no backup; do it again",
    ))
}

/// A service may have a file system of its own (`PrivateTmp=`): then the file is not where this process looks.
fn look_for_it(answer: &mut Answer, lang: Lang) {
    let path = answer.json.get("path").and_then(serde_json::Value::as_str).map(PathBuf::from);
    let Some(path) = path.filter(|path| !path.exists()) else { return };
    answer.exit = 3;
    let shown = path.display();
    answer.text += &lang.pick(
        format!("\n⚠ ここからは {shown} が見えません。デーモンが自分だけの場所（systemd の PrivateTmp= など）に書いたようです。FILE を省くと状態ディレクトリに作ります"),
        format!("\n⚠ {shown} is not to be seen from here: the daemon wrote it to a place of its own (systemd's PrivateTmp=?). Without a FILE it goes into the state directory"),
    );
}

/// Puts a backup in the database's place, or marks the database as one that was restored.
pub(super) async fn restore(args: &Args, options: &RestoreOptions, lang: Lang) -> anyhow::Result<u8> {
    let (paths, settings) = app::settings(&args.config, args.state.as_deref(), lang)?;
    let runs = lang.pick(
        "この状態ディレクトリで haishin のデーモンが動いています。先に止めてください（systemctl stop haishin）。何も変えていません",
        "a daemon runs on this state directory: stop it first (systemctl stop haishin). Nothing was changed",
    );
    if client::listens(&paths.socket()).await {
        bail!(runs);
    }
    let Some(lock) = app::lock_state(&paths.state, &mut app::machine_rng(), lang)? else {
        bail!(in_use(lang));
    };
    let Some(file) = &options.file else {
        let held = restore::mark_as_restored(&paths, &settings, &lock, &user(), lang).await?;
        show(args, &restore::held_answer(&held, lang));
        return Ok(0);
    };
    let restoring = Restore::begin(&paths, &settings, &lock, lang)?;
    let offer = restoring.take(&std::path::absolute(file)?).await?;
    if !options.yes && !confirmed(&offer.text(lang), lang.pick("復元しますか？", "Restore it?"), lang)?
    {
        return Ok(0);
    }
    let held = restoring.mark(&offer, &user()).await?;
    restoring.keep(&offer)?;
    restoring.go_live()?;
    if options.yes && !args.json {
        print(&offer.text(lang));
    }
    show(args, &offer.answer(&held, lang));
    Ok(0)
}
