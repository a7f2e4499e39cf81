//! `haishin import`: a CSV file, row by row, into the inbox.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;

use super::args::{Args, ImportKind, ImportOptions};
use super::print;
use super::request::Session;
use crate::control::client::Conversation;
use crate::domain::effect::Intake;
use crate::domain::friend::Miss;
use crate::import::{self, Encoding, Kind, Mapping, Problem, Progress, Reader, RejectsFile, Report, Sink};
use crate::lang::Lang;
use crate::protocol::{Command, Reply, Terms, Upload};
use crate::text::causes;

/// Imports and prints the report; exit 3 when a person has something to look at.
pub(super) async fn import(args: &Args, options: &ImportOptions, lang: Lang) -> anyhow::Result<u8> {
    let kind = match options.kind {
        ImportKind::Friends => Kind::Friends,
        ImportKind::Tags => Kind::Tags,
        ImportKind::Events => Kind::Events,
    };
    let mapping = mapping(options, kind, lang)?;
    let file = open(&options.file, lang)?;
    let rejects = rejects(options, lang)?;
    let session = Session::open(args, lang).await?;
    let conversation = session.converse(Command::Import).await?;
    let mut wire = Wire { conversation, failed: None, lang };
    let imported = transfer(args.json, &mapping, file, rejects, &mut wire).await;
    session.close().await;
    let report = imported?;
    print(&if args.json { serde_json::to_string(&report)? } else { report.text(&options.file, lang) });
    Ok(if report.needs_a_person() { 3 } else { 0 })
}

async fn transfer(
    json: bool,
    mapping: &Mapping,
    input: Input,
    rejects: RejectsFile,
    wire: &mut Wire,
) -> anyhow::Result<Report> {
    let lang = wire.lang;
    let terms = wire.terms().await?;
    mapping.check_users(terms.rehearsal).map_err(|problem| told(&problem, lang))?;
    let Input { path, file, looks } = input;
    let looked_at = file.try_clone();
    let total = looks.as_ref().map(|looks| looks.bytes);
    let reader = Reader::open(file, mapping, &terms.attributes, terms.zone, terms.now)
        .map_err(|error| anyhow!("{}: {}", path.display(), error.text(lang)))?;
    let mut progress: Box<dyn Progress> = match (json, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(import::Silent),
        (false, true) => Box::new(import::Bar::new(lang)),
        (false, false) => Box::new(import::Lines::new(std::io::stderr(), lang, Duration::from_secs(5))),
    };
    let run = import::run(mapping.kind, reader, total, rejects, wire, progress.as_mut()).await;
    let mut report = run.map_err(|error| match wire.failed.take() {
        Some(message) => anyhow!(message),
        None => match std::error::Error::source(&error) {
            Some(cause) => anyhow!("{}: {}", error.text(lang), causes(cause, &ToString::to_string)),
            None => anyhow!(error.text(lang)),
        },
    })?;
    report.strays = wire.end().await?;
    report.file_changed = looked_at.is_ok_and(|file| Looks::of(&file) != looks);
    Ok(report)
}

/// The file, as it was when it was opened.
struct Input {
    path: PathBuf,
    file: File,
    looks: Option<Looks>,
}

/// What a file that nobody writes to keeps. A pipe has none of it.
#[derive(PartialEq)]
struct Looks {
    bytes: u64,
    written: Option<std::time::SystemTime>,
}

impl Looks {
    fn of(file: &File) -> Option<Self> {
        let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Self { bytes: meta.len(), written: meta.modified().ok() })
    }
}

fn told(problem: &Problem, lang: Lang) -> anyhow::Error {
    anyhow!(problem.text(lang))
}

fn open(path: &Path, lang: Lang) -> anyhow::Result<Input> {
    let shown = path.display();
    let file = File::open(path)
        .with_context(|| lang.pick(format!("{shown} を開けません"), format!("cannot open {shown}")))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        bail!(lang.pick(
            format!("{shown} はフォルダです。CSV ファイルを指定してください"),
            format!("{shown} is a folder; name a CSV file"),
        ));
    }
    let looks = Looks::of(&file);
    Ok(Input { path: path.to_owned(), file, looks })
}

/// The file for bad rows, which must be another one than the file they come from.
fn rejects(options: &ImportOptions, lang: Lang) -> anyhow::Result<RejectsFile> {
    let path = options.rejects.clone().unwrap_or_else(|| RejectsFile::path_for(&options.file));
    let same = |path: &Path| path.canonicalize().ok();
    if same(&path).is_some_and(|path| same(&options.file) == Some(path)) {
        bail!(lang.pick(
            "--rejects には取り込むファイルとは別のファイルを指定してください",
            "--rejects must name another file than the one to import",
        ));
    }
    Ok(RejectsFile::new(path, lang))
}

fn mapping(options: &ImportOptions, kind: Kind, lang: Lang) -> anyhow::Result<Mapping> {
    let mut mapping = match &options.map {
        None => Mapping::new(kind),
        Some(path) => {
            let shown = path.display();
            let text = std::fs::read_to_string(path).with_context(|| {
                lang.pick(format!("{shown} を読めません"), format!("cannot read {shown}"))
            })?;
            Mapping::from_toml(&text, kind)
                .map_err(|problems| anyhow!("{shown}:\n{}", import::texts(&problems, lang)))?
        }
    };
    for assignment in &options.column {
        mapping.column(assignment).map_err(|problem| told(&problem, lang))?;
    }
    for assignment in &options.value {
        mapping.value(assignment).map_err(|problem| told(&problem, lang))?;
    }
    if let Some(name) = &options.encoding {
        mapping.encoding = Some(Encoding::parse(name).with_context(|| {
            lang.pick(
                format!("文字コード「{name}」は使えません。utf-8 か shift_jis を指定してください"),
                format!("`{name}` is neither utf-8 nor shift_jis"),
            )
        })?);
    }
    mapping.zone = options.zone.or(mapping.zone);
    Ok(mapping)
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

    async fn append(&mut self, intakes: Vec<Intake>) -> Result<Vec<(usize, Miss)>, Refused> {
        // A node that listens no more may have said why.
        self.conversation.upload(Upload::Intakes(intakes)).await;
        match self.conversation.next().await {
            Some(Reply::Taken(missed)) => {
                return Ok(missed.into_iter().map(|missed| (missed.intake, missed.miss)).collect());
            }
            Some(Reply::Error(failure)) => self.failed = Some(failure.message),
            _ => self.failed = Some(ended(self.lang)),
        }
        Err(Refused)
    }
}

fn ended(lang: Lang) -> String {
    lang.pick(
        "haishin が終了しました。同じ取り込みをもう一度実行してください(取り込み済みの行は重複しません)",
        "the daemon ended; run the same import again, nothing is added twice",
    )
    .to_owned()
}

impl Wire {
    /// What the running configuration says.
    async fn terms(&mut self) -> anyhow::Result<Terms> {
        match self.conversation.next().await {
            Some(Reply::Terms(terms)) => Ok(terms),
            Some(Reply::Error(failure)) => bail!(failure.message),
            _ => bail!(ended(self.lang)),
        }
    }

    /// Waits until everything is applied; how much of it named no friend by then.
    async fn end(&mut self) -> anyhow::Result<u64> {
        self.conversation.upload(Upload::End).await;
        match self.conversation.next().await {
            Some(Reply::Done(answer)) => {
                Ok(answer.json.get("strays").and_then(serde_json::Value::as_u64).unwrap_or(0))
            }
            Some(Reply::Error(failure)) => bail!(failure.message),
            _ => bail!(self.lang.pick(
                "反映が終わる前に haishin が終了しました。次に起動したときに反映されます",
                "the daemon ended before everything was applied; it will be when it runs again",
            )),
        }
    }
}
