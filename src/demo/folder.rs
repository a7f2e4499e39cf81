//! The demo's directory: configuration as shipped, state, log. It begins anew only what a demo made.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rust_embed::RustEmbed;
use toml_edit::DocumentMut;

use super::script::ACCOUNT;
use crate::lang::Lang;

/// The configuration in the repository.
#[derive(RustEmbed)]
#[folder = "config/"]
struct Shipped;

/// Campaigns of the days before the demo begins, so that its caps have something to count.
const HISTORY: [(&str, &[u8]); 2] = [
    ("campaigns/november-letter.toml", include_bytes!("history/november-letter.toml")),
    ("campaigns/december-beans.toml", include_bytes!("history/december-beans.toml")),
];

/// Says that a demo made the directory.
const MARKER: &str = ".haishin-demo";
const MAIN_FILE: &str = "haishin.toml";
const LOOPBACK: &str = "http://127.0.0.1:";

/// Where a demo keeps its files.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
    lang: Lang,
}

impl Folder {
    /// The directory, made if it is not there. One that holds anything no demo made is refused.
    pub(super) fn open(root: &Path, lang: Lang) -> anyhow::Result<Self> {
        let doing = || format!("{} {}", lang.pick("使えません:", "cannot use"), root.display());
        std::fs::create_dir_all(root).with_context(doing)?;
        let marker = root.join(MARKER);
        if !marker.exists() {
            if std::fs::read_dir(root).with_context(doing)?.next().is_some() {
                bail!(match lang {
                    Lang::Ja => format!(
                        "{} にはデモのものではないファイルがあります。--dir で別の場所を選んでください",
                        root.display()
                    ),
                    Lang::En => format!(
                        "{} holds files that no demo made: choose another place with --dir",
                        root.display()
                    ),
                });
            }
            std::fs::write(&marker, "`haishin demo` made this directory; --fresh begins it anew.\n")
                .with_context(doing)?;
        }
        Ok(Self { root: root.to_owned(), lang })
    }

    /// Removes state, log and the files the demo writes; what a person added beside them stays. Call it only while
    /// nobody runs on the state.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        let gone = |result: std::io::Result<()>| match result {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let removing = |path: &Path| self.words(path, "を削除できません", "cannot remove");
        gone(std::fs::remove_dir_all(self.state())).with_context(|| removing(&self.state()))?;
        gone(std::fs::remove_file(self.log())).with_context(|| removing(&self.log()))?;
        for (path, _) in files() {
            let path = self.config().join(path);
            gone(std::fs::remove_file(&path)).with_context(|| removing(&path))?;
        }
        Ok(())
    }

    /// Writes the configuration, unless one is there: what a person changed stays.
    pub(super) fn furnish(&self) -> anyhow::Result<()> {
        if self.config().join(MAIN_FILE).exists() {
            return Ok(());
        }
        for (path, text) in files() {
            let path = self.config().join(path);
            let doing = || self.words(&path, "に書き込めません", "cannot write");
            let directory = path.parent().unwrap_or(&self.root);
            std::fs::create_dir_all(directory).with_context(doing)?;
            std::fs::write(&path, text).with_context(doing)?;
        }
        Ok(())
    }

    /// Where the configuration says LINE is, if that is a port of this machine.
    pub(super) fn port(&self) -> Option<u16> {
        let text = std::fs::read_to_string(self.config().join(MAIN_FILE)).ok()?;
        let document: DocumentMut = text.parse().ok()?;
        let base = document.get("accounts")?.get(ACCOUNT)?.get("api_base")?.as_str()?;
        base.strip_prefix(LOOPBACK)?.parse().ok()
    }

    /// Makes the configuration name the sandbox's port and the state's place, so that commands need only `--config`.
    pub(super) fn point_at(&self, port: u16) -> anyhow::Result<()> {
        let path = self.config().join(MAIN_FILE);
        let reading = || self.words(&path, "を読めません", "cannot read");
        let text = std::fs::read_to_string(&path).with_context(reading)?;
        let state = std::path::absolute(self.state())?;
        let pointed = pointed_at(&text, port, Some(&state)).with_context(|| match self.lang {
            Lang::Ja => {
                format!("{} はもうデモのものではありません。--fresh で最初からやり直せます", path.display())
            }
            Lang::En => format!("{} is not the demo's any more: --fresh begins anew", path.display()),
        })?;
        if pointed != text {
            let writing = || self.words(&path, "に書き込めません", "cannot write");
            std::fs::write(&path, pointed).with_context(writing)?;
        }
        Ok(())
    }

    fn words(&self, path: &Path, ja: &str, en: &str) -> String {
        let path = path.display();
        self.lang.pick(format!("{path} {ja}"), format!("{en} {path}"))
    }

    /// TOML files.
    pub(super) fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// Database, socket, lock, what the sandbox remembers.
    pub(super) fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// What the daemon logs.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("haishin.log")
    }
}

/// `haishin.toml` with the sandbox at this port, and the state directory if one is given.
pub(super) fn pointed_at(text: &str, port: u16, state: Option<&Path>) -> anyhow::Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let account = document.get_mut("accounts").and_then(|accounts| accounts.get_mut(ACCOUNT));
    let base = account.and_then(|account| account.get_mut("api_base"));
    *base.with_context(|| format!("there is no accounts.{ACCOUNT}.api_base"))? =
        toml_edit::value(format!("{LOOPBACK}{port}"));
    if let Some(state) = state {
        let directory = document.get_mut("state").and_then(|table| table.get_mut("directory"));
        let state = state.to_str().context("the path of the state directory is not UTF-8")?;
        *directory.context("there is no state.directory")? = toml_edit::value(state);
    }
    Ok(document.to_string())
}

fn files() -> impl Iterator<Item = (String, Vec<u8>)> {
    let shipped =
        Shipped::iter().filter_map(|path| Some((path.to_string(), Shipped::get(&path)?.data.into_owned())));
    shipped.chain(HISTORY.iter().map(|(path, text)| ((*path).to_owned(), text.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_demo_made_is_used_and_cleared() {
        let root = tempfile::tempdir().unwrap();
        let theirs = root.path().join("theirs");
        std::fs::create_dir_all(&theirs).unwrap();
        std::fs::write(theirs.join("diary.txt"), "x").unwrap();
        assert!(Folder::open(&theirs, Lang::En).unwrap_err().to_string().contains("--dir"));

        let ours = Folder::open(&root.path().join("a/demo"), Lang::En).unwrap();
        ours.furnish().unwrap();
        assert_eq!(ours.port(), Some(8471));
        ours.point_at(1234).unwrap();
        let own = ours.config().join("campaigns/own.toml");
        std::fs::write(&own, "title = \"x\"").unwrap();
        ours.furnish().unwrap();
        assert_eq!(ours.port(), Some(1234), "what is there stays");
        Folder::open(&root.path().join("a/demo"), Lang::En).unwrap().clear().unwrap();
        assert!(own.exists() && !ours.config().join(MAIN_FILE).exists());
        ours.furnish().unwrap();
        assert_eq!(ours.port(), Some(8471));
    }

    #[test]
    fn pointing_elsewhere_changes_two_values_and_no_comment() {
        let shipped = crate::config::SHIPPED;
        let pointed = pointed_at(shipped, 40_001, Some(Path::new("/x/state"))).unwrap();
        let changed: Vec<_> =
            shipped.lines().zip(pointed.lines()).filter(|(was, is)| was != is).map(|(_, is)| is).collect();
        assert_eq!(changed, ["api_base = \"http://127.0.0.1:40001\"", "directory = \"/x/state\""]);
        assert!(pointed_at("x = 1", 1, None).is_err());
    }
}
