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
    let configuration = checked.configuration.context("the configuration has errors: see `haishin check`")?;
    let account = account(args, &configuration)?;
    let mapping = mapping(options, kind, lang)?;
    mapping
        .check_users(account.is_loopback())
        .map_err(|problem| anyhow::anyhow!("{}", problem.text(lang)))?;
    let zone = account.policy.zone;
    let file = std::fs::File::open(&options.file)
        .with_context(|| format!("cannot open {}", options.file.display()))?;
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
    let mut sink = Wire { conversation: session.converse(Command::Import).await?, failed: None };
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
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
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
        mapping.encoding =
            Some(encoding.with_context(|| format!("`{name}` is neither utf-8 nor shift_jis"))?);
    }
    mapping.zone = options.zone.or(mapping.zone);
    Ok(mapping)
}

fn account<'a>(args: &Args, configuration: &'a config::Configuration) -> anyhow::Result<&'a config::Account> {
    let account = match &args.account {
        Some(slug) => configuration.accounts.get(slug),
        None if configuration.accounts.len() == 1 => configuration.accounts.values().next(),
        None => None,
    };
    let names: Vec<_> = configuration.accounts.keys().map(ToString::to_string).collect();
    account.with_context(|| format!("choose an account with --account: {}", names.join(", ")))
}

/// Intakes over the conversation; each append returns once it is durable.
struct Wire {
    conversation: Conversation,
    failed: Option<String>,
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
            self.failed = Some("the daemon ended; run the same import again, nothing is added twice".into());
            return Err(Refused);
        }
        match self.conversation.next().await {
            Some(Reply::Taken(_)) => Ok(()),
            Some(Reply::Error(failure)) => {
                self.failed = Some(failure.message);
                Err(Refused)
            }
            _ => {
                self.failed =
                    Some("the daemon ended; run the same import again, nothing is added twice".into());
                Err(Refused)
            }
        }
    }
}

impl Wire {
    /// Waits until everything is applied.
    async fn end(&mut self) -> anyhow::Result<()> {
        self.conversation.upload(Upload::End).await;
        match self.conversation.next().await {
            Some(Reply::Done(_)) => Ok(()),
            Some(Reply::Error(failure)) => bail!("{}", failure.message),
            _ => bail!("the daemon ended before everything was applied; it will be when it runs again"),
        }
    }
}
