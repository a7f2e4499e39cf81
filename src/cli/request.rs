//! Commands that ask a node: the daemon if one runs, else one in this process that owns the accounts for that while.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};

use super::args::{
    Action, Args, CampaignAction, DripAction, Due, FriendAction, Held, Known, OccurrenceAction,
    SegmentAction, TokenAction,
};
use super::print;
use crate::app;
use crate::config::Source;
use crate::control::client::{self, Conversation};
use crate::domain::access::TokenId;
use crate::domain::delivery::Outcome;
use crate::domain::id::{OccurrenceId, VersionId};
use crate::lang::Lang;
use crate::protocol::{Answer, Command, DueChoice, Reply, Request, Resolution, Row};

/// Asks and prints.
pub(super) async fn request(args: &Args, lang: Lang) -> anyhow::Result<u8> {
    if let Action::Apply { yes } = args.action {
        return apply(args, yes, lang).await;
    }
    let mut session = Session::open(args, lang).await?;
    let rows = match &args.action {
        _ if args.json => Rows::Json,
        Action::Segment(SegmentAction::List { .. }) => Rows::Columns,
        _ => Rows::Csv,
    };
    let answer = session.ask(command(args)?, rows).await?;
    session.close().await;
    show(args, &answer);
    Ok(answer.exit)
}

/// How the rows of a long listing are printed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows {
    /// An object a line.
    Json,
    /// As a spreadsheet reads them.
    Csv,
    /// As a person does: user ids are all of one width.
    Columns,
}

impl Rows {
    fn print(self, row: &Row) {
        let cell = |key: &str| row.json.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        match self {
            Rows::Json => print(&row.json.to_string()),
            Rows::Csv => print(&row.text),
            Rows::Columns => print(format!("{}  {}", cell("user"), cell("external_id")).trim_end()),
        }
    }
}

/// Shows the plan, asks, and activates exactly what was shown.
async fn apply(args: &Args, yes: bool, lang: Lang) -> anyhow::Result<u8> {
    let files = Source::read_texts(&args.config)?;
    let mut session = Session::open(args, lang).await?;
    let plan = session.ask(Command::Plan { files: files.clone() }, Rows::Csv).await?;
    if plan.exit != 0 {
        session.close().await;
        show(args, &plan);
        return Ok(plan.exit);
    }
    let expected = plan.json.get("running_version").and_then(serde_json::Value::as_i64).map(VersionId);
    if !yes && !confirmed(&plan.text, lang.pick("有効にしますか？", "Make this live?"), lang)? {
        session.close().await;
        return Ok(0);
    }
    let answer = session.ask(Command::Apply { files, expected }, Rows::Csv).await?;
    session.close().await;
    show(args, &answer);
    Ok(answer.exit)
}

/// Shows what would be done, and asks.
pub(super) fn confirmed(plan: &str, question: &str, lang: Lang) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "{}",
            lang.pick(
                "端末がないので確認できません。--yes を付けてください",
                "there is no terminal to ask on: add --yes"
            )
        );
    }
    print(plan);
    let mut out = std::io::stdout().lock();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes" | "はい"))
}

/// Prints an answer as it was asked for.
pub(super) fn show(args: &Args, answer: &Answer) {
    if args.json {
        print(&answer.json.to_string());
    } else {
        print(&answer.text);
    }
}

/// Somebody holds the state directory, and nobody listens there.
pub(super) fn in_use(lang: Lang) -> &'static str {
    lang.pick(
        "別の haishin がこの状態ディレクトリを使っています（起動中か終了中）。数秒待ってもう一度実行してください",
        "another haishin uses this state directory (it is starting or ending): try again in a few seconds",
    )
}

/// A way to a node.
pub(super) struct Session<'a> {
    args: &'a Args,
    lang: Lang,
    socket: std::path::PathBuf,
    here: Option<app::Running>,
}

impl<'a> Session<'a> {
    /// Finds the daemon, or becomes the owner.
    pub(super) async fn open(args: &'a Args, lang: Lang) -> anyhow::Result<Session<'a>> {
        let (paths, settings) = app::settings(&args.config, args.state.as_deref(), lang)?;
        if client::listens(&paths.socket()).await {
            return Ok(Self { args, lang, socket: paths.socket(), here: None });
        }
        let mut rng = app::machine_rng();
        let Some(lock) = app::lock_state(&paths.state, &mut rng, lang)? else {
            bail!(in_use(lang));
        };
        let here = app::start_for_command(&paths, &settings, lock, lang).await?;
        Ok(Self { args, lang, socket: paths.socket(), here: Some(here) })
    }

    /// Begins a conversation.
    pub(super) async fn converse(&self, command: Command) -> anyhow::Result<Conversation> {
        let request = Request { lang: self.lang, by: user(), account: self.args.account.clone(), command };
        if let Some(here) = &self.here {
            return Ok(Conversation::here(here.node.clone(), request));
        }
        let lang = self.lang;
        let conversation = Conversation::with_daemon(&self.socket, &request)
            .await
            .with_context(|| lang.pick("デーモンのソケットにつながりません", "the daemon's socket failed"))?;
        conversation.context(lang.pick(
            "デーモンが終了したところです。もう一度実行してください",
            "the daemon has just ended: try again",
        ))
    }

    /// Asks; long listings are printed as they come.
    pub(super) async fn ask(&mut self, command: Command, how: Rows) -> anyhow::Result<Answer> {
        let mut conversation = self.converse(command).await?;
        while let Some(reply) = conversation.next().await {
            match reply {
                Reply::Rows(rows) => rows.iter().for_each(|row| how.print(row)),
                Reply::Terms(_) | Reply::Taken(_) | Reply::Progress(_) => {}
                Reply::Done(answer) => return Ok(answer),
                Reply::Error(failure) => bail!("{}", failure.message),
            }
        }
        bail!(
            "{}",
            self.lang.pick(
                "返事の前に接続が切れました。haishin status で確認してください",
                "the daemon ended before it answered: look with `haishin status`"
            )
        )
    }

    /// Gives the accounts back.
    pub(super) async fn close(self) {
        if let Some(here) = self.here {
            here.shut_down().await;
        }
    }
}

/// Who acts, for the record.
pub(super) fn user() -> String {
    named(|name| std::env::var(name).ok(), rustix::process::getuid().as_raw())
}

/// By name; by number where cron or a unit has no name in its environment.
fn named(variable: impl Fn(&str) -> Option<String>, uid: u32) -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(variable)
        .map(|name| name.chars().filter(|c| !c.is_control()).take(64).collect::<String>())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| format!("uid {uid}"))
}

fn command(args: &Args) -> anyhow::Result<Command> {
    Ok(match &args.action {
        Action::Plan => Command::Plan { files: Source::read_texts(&args.config)? },
        Action::Status => Command::Status,
        Action::Segment(SegmentAction::Count { segments, now }) => {
            Command::SegmentCount { segments: segments.clone(), now: *now }
        }
        Action::Segment(SegmentAction::List { segment: None, now }) => {
            Command::SegmentCount { segments: Vec::new(), now: *now }
        }
        Action::Segment(
            SegmentAction::Export { segment, now } | SegmentAction::List { segment: Some(segment), now },
        ) => Command::SegmentExport { segment: segment.clone(), now: *now },
        Action::Friend(FriendAction::Show { friend }) => Command::FriendShow { friend: friend.clone() },
        Action::Friend(FriendAction::Strays { limit, forget }) => {
            Command::FriendStrays { limit: *limit, forget: *forget }
        }
        Action::Token(action) => token(action),
        Action::Campaign(action) => campaign(action, args.json),
        Action::Drip(action) => drip(action),
        Action::Occurrence(action) => occurrence(action),
        Action::Stop { reason } => Command::Stop { reason: reason.clone() },
        Action::Start { due, accept_clock } => {
            let due = due.map(|due| match due {
                Due::Judge => DueChoice::Judge,
                Due::Skip => DueChoice::Skip,
            });
            if *accept_clock { Command::AcceptClock { due } } else { Command::Start { due } }
        }
        Action::Check
        | Action::Apply { .. }
        | Action::Run(_)
        | Action::Doctor { .. }
        | Action::Demo(_)
        | Action::Sandbox(_)
        | Action::Backup { .. }
        | Action::Restore(_)
        | Action::Import(_) => {
            bail!("this command has its own way")
        }
    })
}

fn token(action: &TokenAction) -> Command {
    match action {
        TokenAction::Create { scope, name, all_accounts } => Command::TokenCreate {
            scopes: scope.iter().copied().collect(),
            title: name.clone(),
            all_accounts: *all_accounts,
        },
        TokenAction::List => Command::TokenList,
        TokenAction::Revoke { token } => Command::TokenRevoke { token: TokenId(*token) },
    }
}

fn campaign(action: &CampaignAction, friends: bool) -> Command {
    match action {
        CampaignAction::List => Command::CampaignList,
        CampaignAction::Next { campaign, from, until } => {
            Command::CampaignNext { campaign: campaign.clone(), from: *from, until: *until }
        }
        CampaignAction::Preview { campaigns, now } => {
            Command::CampaignPreview { campaigns: campaigns.clone(), now: *now, friends }
        }
        CampaignAction::Pause { campaign } => Command::CampaignPause { campaign: campaign.clone() },
        CampaignAction::Resume { campaign } => Command::CampaignResume { campaign: campaign.clone() },
        CampaignAction::Cancel { campaign } => Command::CampaignCancel { campaign: campaign.clone() },
        CampaignAction::TestSend { campaign, to, variant } => {
            Command::CampaignTestSend { campaign: campaign.clone(), to: to.clone(), variant: variant.clone() }
        }
    }
}

fn drip(action: &DripAction) -> Command {
    match action {
        DripAction::List => Command::DripList,
        DripAction::Show { drip } => Command::DripShow { drip: drip.clone() },
        DripAction::Pause { drip } => Command::DripPause { drip: drip.clone() },
        DripAction::Resume { drip } => Command::DripResume { drip: drip.clone() },
    }
}

fn occurrence(action: &OccurrenceAction) -> Command {
    match action {
        OccurrenceAction::List { campaign, limit } => {
            Command::OccurrenceList { campaign: campaign.clone(), limit: *limit }
        }
        OccurrenceAction::Show { occurrence } => {
            Command::OccurrenceShow { occurrence: OccurrenceId(*occurrence) }
        }
        OccurrenceAction::Resolve { occurrence, unknown, held } => {
            let resolution = match (unknown, held) {
                (Some(Known::Rejected), _) => Resolution::Unknown(Outcome::Rejected),
                (_, Some(Held::Send)) => Resolution::Send,
                (_, Some(Held::Cancel)) => Resolution::Cancel,
                // clap asks for one of the two.
                (Some(Known::Accepted), _) | (None, None) => Resolution::Unknown(Outcome::Accepted),
            };
            Command::OccurrenceResolve { occurrence: OccurrenceId(*occurrence), resolution }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn whoever_acts_has_a_name_or_a_number() {
        let of = |all: &[(&str, &str)]| {
            let found =
                |name: &str| all.iter().find(|(known, _)| *known == name).map(|(_, is)| (*is).to_owned());
            named(found, 995)
        };
        assert_eq!(of(&[("SUDO_USER", "hana"), ("USER", "root")]), "hana");
        assert_eq!(of(&[("SUDO_USER", ""), ("USER", "hana")]), "hana");
        assert_eq!(of(&[("USER", "ha\x1bna\n"), ("LOGNAME", "other")]), "hana");
        assert_eq!(of(&[("LOGNAME", &"長".repeat(100))]), "長".repeat(64));
        assert_eq!(of(&[("SUDO_USER", "\n")]), "uid 995");
        assert_eq!(of(&[]), "uid 995");
    }
}
