//! `haishin import`: a CSV file, row by row, into the inbox.

use std::io::IsTerminal as _;

use anyhow::{Context as _, bail};
use async_trait::async_trait;

use super::args::{Args, ImportKind, ImportOptions};
use super::print;
use super::request::Session;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Source};
use crate::control::client::Conversation;
use crate::domain::effect::Intake;
use crate::import::{self, Kind, Mapping, Progress, Reader, RejectsFile, Sink};
use crate::lang::Lang;
use crate::protocol::{Command, Reply, Upload};

/// Imports and prints the report; exit 3 when rows were rejected.
pub(super) async fn import(args: &Args, options: &ImportOptions, lang: Lang) -> anyhow::Result<u8> {
    let kind = match options.kind {
        ImportKind::Friends => Kind::Friends,
        ImportKind::Tags => Kind::Tags,
        ImportKind::Events => Kind::Events,
    };
    let now = SystemClock::new().now();
    let source = Source::read_dir(&args.config)?;
    let checked = config::parse(&source, now);
    let configuration = checked.configuration.context(
        lang.pick("設定に誤りがあります: haishin check", "the configuration has errors: see `haishin check`"),
    )?;
    let account = account(args, &configuration, lang)?;
    let mapping = mapping(options, kind, lang)?;
    mapping
        .check_users(account.is_loopback())
        .map_err(|problem| anyhow::anyhow!("{}", problem.text(lang)))?;
    let zone = account.policy.zone;
    let file = std::fs::File::open(&options.file).with_context(|| unreadable(&options.file, lang))?;
    let total = file.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len());
    let reader = Reader::open(file, &mapping, &configuration.attributes, zone, now).map_err(|error| {
        anyhow::anyhow!(
            "{}: {}",
            options.file.display(),
            match error {
                import::OpenError::Problems(problems) => import::texts(&problems, lang),
                other => other.to_string(),
            }
        )
    })?;
    let rejects = RejectsFile::new(RejectsFile::path_for(&options.file), lang);
    let mut progress: Box<dyn Progress> = match (args.json, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(import::Silent),
        (false, true) => Box::new(import::Bar::new(lang)),
        (false, false) => {
            Box::new(import::Lines::new(std::io::stderr(), lang, std::time::Duration::from_secs(5)))
        }
    };
    let session = Session::open(args, lang).await?;
    let mut sink = Wire { conversation: session.converse(Command::Import).await?, failed: None, lang };
    let result = import::run(kind, reader, total, rejects, &mut sink, progress.as_mut()).await;
    let report = result.map_err(|error| match sink.failed.take() {
        Some(message) => anyhow::anyhow!("{message}"),
        None => anyhow::Error::new(error),
    })?;
    sink.end().await?;
    session.close().await;
    print(&if args.json { serde_json::to_string(&report)? } else { report.text(&options.file, lang) });
    Ok(if report.rejected > 0 { 3 } else { 0 })
}

fn mapping(options: &ImportOptions, kind: Kind, lang: Lang) -> anyhow::Result<Mapping> {
    let mut mapping = match &options.map {
        None => Mapping::new(kind),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| unreadable(path, lang))?;
            Mapping::from_toml(&text, kind).map_err(|problems| {
                anyhow::anyhow!("{}:\n{}", path.display(), import::texts(&problems, lang))
            })?
        }
    };
    for assignment in &options.column {
        mapping.column(assignment).map_err(|problem| anyhow::anyhow!("{}", problem.text(lang)))?;
    }
    for assignment in &options.value {
        mapping.value(assignment).map_err(|problem| anyhow::anyhow!("{}", problem.text(lang)))?;
    }
    if let Some(name) = &options.encoding {
        let encoding = import::Encoding::parse(name);
        mapping.encoding = Some(encoding.with_context(|| {
            lang.pick(
                format!("「{name}」は使えません。utf-8 か shift_jis を書いてください"),
                format!("`{name}` is neither utf-8 nor shift_jis"),
            )
        })?);
    }
    mapping.zone = options.zone.or(mapping.zone);
    Ok(mapping)
}

fn unreadable(path: &std::path::Path, lang: Lang) -> String {
    lang.pick(format!("{} を開けません", path.display()), format!("cannot open {}", path.display()))
}

fn account<'a>(
    args: &Args,
    configuration: &'a config::Configuration,
    lang: Lang,
) -> anyhow::Result<&'a config::Account> {
    let account = match &args.account {
        Some(slug) => configuration.accounts.get(slug),
        None if configuration.accounts.len() == 1 => configuration.accounts.values().next(),
        None => None,
    };
    let names: Vec<_> = configuration.accounts.keys().map(ToString::to_string).collect();
    account.with_context(|| {
        lang.pick(
            format!("--account でアカウントを選んでください: {}", names.join(", ")),
            format!("choose an account with --account: {}", names.join(", ")),
        )
    })
}

/// Intakes over the conversation; each append returns once it is durable.
struct Wire {
    conversation: Conversation,
    failed: Option<String>,
    lang: Lang,
}

/// The node refused; its words are kept in [`Wire::failed`].
#[derive(Debug, thiserror::Error)]
#[error("the node did not take the rows")]
struct Refused;

#[async_trait]
impl Sink for Wire {
    type Error = Refused;

    async fn append(&mut self, intakes: Vec<Intake>) -> Result<(), Refused> {
        if !self.conversation.upload(Upload::Intakes(intakes)).await {
            return Err(self.ended());
        }
        match self.conversation.next().await {
            Some(Reply::Taken(_)) => Ok(()),
            Some(Reply::Error(failure)) => {
                self.failed = Some(failure.message);
                Err(Refused)
            }
            _ => Err(self.ended()),
        }
    }
}

impl Wire {
    fn ended(&mut self) -> Refused {
        let words = self.lang.pick(
            "デーモンが終了しました。同じ取り込みをもう一度実行してください（二重にはなりません）",
            "the daemon ended; run the same import again, nothing is added twice",
        );
        self.failed = Some(words.into());
        Refused
    }

    /// Waits until everything is applied.
    async fn end(&mut self) -> anyhow::Result<()> {
        self.conversation.upload(Upload::End).await;
        match self.conversation.next().await {
            Some(Reply::Done(_)) => Ok(()),
            Some(Reply::Error(failure)) => bail!("{}", failure.message),
            _ => bail!(self.lang.pick(
                "反映が終わる前にデーモンが終了しました。受け付けた行は次に起動したときに反映されます",
                "the daemon ended before everything was applied; it will be when it runs again",
            )),
        }
    }
}
