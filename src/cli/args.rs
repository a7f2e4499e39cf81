//! The arguments of every command, with examples.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::domain::access::Scope;
use crate::domain::id::{AccountSlug, CampaignSlug, SegmentSlug};
use crate::domain::time::{Instant, Tz};
use crate::lang::Lang;

/// haishin (配信): scheduled, segmented, capped multicasts for LINE Official Accounts.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Examples:\n  haishin demo                         everything at once, no credentials\n  haishin check                        all problems of all files\n  haishin plan && haishin apply        what would change, then make it live\n  haishin campaign preview             who would get what, right now\n\nExit codes: 0 done, 1 failed, 2 wrong command line, 3 something needs a person."
)]
pub(super) struct Args {
    /// Directory with haishin.toml, attributes.toml, segments/, campaigns/ and drips/.
    #[arg(long, global = true, env = "HAISHIN_CONFIG", default_value = "config", value_name = "DIR")]
    pub config: PathBuf,
    /// Directory for the embedded database, the socket and the lock; haishin.toml names one too.
    #[arg(long, global = true, env = "STATE_DIRECTORY", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Which account, where there is more than one.
    #[arg(long, global = true, value_name = "ACCOUNT")]
    pub account: Option<AccountSlug>,
    /// Output for programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// Language of texts; by default Japanese when LC_ALL or LANG begins with ja.
    #[arg(long, global = true, value_name = "ja|en")]
    pub lang: Option<Lang>,
    #[command(subcommand)]
    pub action: Action,
}

impl Args {
    /// The language asked for, or that of the environment.
    pub(super) fn lang(&self) -> Lang {
        self.lang.unwrap_or_else(|| {
            let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
            Lang::of_locale(&set("LC_ALL").or_else(|| set("LANG")).unwrap_or_default())
        })
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Report all problems of all configuration files at once.
    #[command(after_help = "Examples:\n  haishin check\n  haishin check --config /etc/haishin --json")]
    Check,
    /// Show what the files change against what runs.
    #[command(after_help = "Example:\n  haishin plan")]
    Plan,
    /// Make the files the running configuration.
    #[command(
        after_help = "Examples:\n  haishin apply          shows the plan and asks\n  haishin apply --yes    for scripts"
    )]
    Apply {
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// What runs, what is open, what needs a person.
    #[command(after_help = "Examples:\n  haishin status\n  haishin status --json")]
    Status,
    /// Look at everything an installation rests on: files, secrets, disk, database, clock, and what needs a person.
    #[command(
        after_help = "Examples:\n  haishin doctor\n  haishin doctor --deep      every page of the database\n  haishin doctor --online    asks LINE which bot the token is of\n\nExit codes: 0 nothing is wrong, 3 something needs a person, 1 something does not work."
    )]
    Doctor {
        /// Check every page of the database; takes a while.
        #[arg(long)]
        deep: bool,
        /// Ask LINE whose the token is, and for the month's messages.
        #[arg(long)]
        online: bool,
    },
    /// Run the daemon.
    #[command(
        after_help = "Examples:\n  haishin run --config /etc/haishin --state /var/lib/haishin\n  haishin run --clock 2026-12-04T17:59:00+09:00 --speed 60    a rehearsal on a set clock"
    )]
    Run(RunOptions),
    /// A shop with generated friends, the shipped campaigns and a LINE double: nothing leaves this machine.
    #[command(
        after_help = "Examples:\n  haishin demo\n  haishin demo --once --lang en\n  haishin demo --fresh"
    )]
    Demo(DemoOptions),
    /// The LINE double alone, for rehearsals and tests.
    #[command(after_help = "Example:\n  haishin sandbox --port 8471")]
    Sandbox(SandboxOptions),
    /// Copy the embedded database while it is in use: whole, checked, under its name only then.
    #[command(
        after_help = "Examples:\n  haishin backup\n  haishin backup /mnt/backup/\n  haishin backup /mnt/backup/before-upgrade.sqlite3 --json"
    )]
    Backup {
        /// A file that is not there yet, or a folder; `backups` in the state directory if absent.
        #[arg(value_name = "FILE|DIR")]
        to: Option<PathBuf>,
    },
    /// Put a backup in the database's place, and hold everything until a person has looked.
    #[command(
        after_help = "Examples:\n  haishin restore /mnt/backup/haishin-20261204T090000Z.sqlite3\n  haishin restore --yes yesterday.sqlite3    for scripts\n  haishin restore --mark    the database was restored by other means"
    )]
    Restore(RestoreOptions),
    /// Bring friends, tags or events in from a CSV file.
    #[command(
        after_help = "Examples:\n  haishin import friends friends.csv\n  haishin import events orders.csv --map orders.map.toml\n  haishin import tags labels.csv --column external_id=会員番号 --column tag=ラベル --column at=日時"
    )]
    Import(ImportOptions),
    /// Count, list or export segments.
    #[command(subcommand, after_help = "Example:\n  haishin segment count")]
    Segment(SegmentAction),
    /// Look at friends.
    #[command(subcommand, after_help = "Example:\n  haishin friend show c-001")]
    Friend(FriendAction),
    /// Tokens for the shop's own systems, which use the HTTP API.
    #[command(
        subcommand,
        after_help = "Examples:\n  haishin token create --scope friends:write --scope events:write --name \"web shop\"\n  haishin token list"
    )]
    Token(TokenAction),
    /// Campaigns: when, to whom, pause, cancel, test.
    #[command(
        subcommand,
        after_help = "Examples:\n  haishin campaign list\n  haishin campaign preview winter-coupon\n  haishin campaign pause winter-coupon"
    )]
    Campaign(CampaignAction),
    /// Drips: who is where, pause, resume.
    #[command(subcommand, after_help = "Examples:\n  haishin drip list\n  haishin drip show trial-coupon")]
    Drip(DripAction),
    /// What was sent, what is open, and the books.
    #[command(subcommand, after_help = "Examples:\n  haishin occurrence list\n  haishin occurrence show 12")]
    Occurrence(OccurrenceAction),
    /// The emergency brake: nothing of the account is sent until `start`.
    #[command(after_help = "Example:\n  haishin stop --reason \"wrong coupon\"")]
    Stop {
        /// For the record.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Release the brake; lists what fell due meanwhile and asks how to go on.
    #[command(
        after_help = "Examples:\n  haishin start\n  haishin start --due skip\n  haishin start --accept-clock    the clock was set back, and is right now"
    )]
    Start {
        /// What to do with what fell due: judge it by if_missed and grace, or skip it.
        #[arg(long, value_name = "judge|skip")]
        due: Option<Due>,
        /// Take the clock as right although it is behind what was already seen.
        #[arg(long)]
        accept_clock: bool,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Due {
    Judge,
    Skip,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunOptions {
    /// Run on a clock set to this instant (only when every account's api_base is loopback).
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    pub clock: Option<Instant>,
    /// How fast that clock runs.
    // Faster, and a lease of 10 s would be over before its renewal is on the disk.
    #[arg(long, requires = "clock", default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub speed: u32,
}

#[derive(Debug, clap::Args)]
pub(super) struct DemoOptions {
    /// Where the demo keeps its files.
    #[arg(long, default_value = "demo", value_name = "DIR")]
    pub dir: PathBuf,
    /// Begin anew: removes what an earlier demo left in that directory.
    #[arg(long)]
    pub fresh: bool,
    /// End after the first occurrence.
    #[arg(long)]
    pub once: bool,
    /// Port of the LINE double on 127.0.0.1; 0 takes a free one. Without it: the one used before, else 8471, else a
    /// free one.
    #[arg(long)]
    pub port: Option<u16>,
    /// How fast the demo's clock runs.
    #[arg(long, hide = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub speed: u32,
}

#[derive(Debug, clap::Args)]
pub(super) struct SandboxOptions {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8471)]
    pub port: u16,
    /// Channel as ID:SECRET; may be repeated.
    #[arg(long, value_name = "ID:SECRET")]
    pub channel: Vec<String>,
    /// Seed of the faults.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// File that remembers what was accepted.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct RestoreOptions {
    /// The backup.
    #[arg(required_unless_present = "mark", conflicts_with = "mark")]
    pub file: Option<PathBuf>,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
    /// Restore nothing: mark the database as one that was restored by other means, such as PostgreSQL's own tools.
    #[arg(long)]
    pub mark: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportOptions {
    /// What a row is.
    #[arg(value_name = "friends|tags|events")]
    pub kind: ImportKind,
    /// The CSV file.
    pub file: PathBuf,
    /// Mapping of columns, as TOML.
    #[arg(long, value_name = "FILE.toml")]
    pub map: Option<PathBuf>,
    /// FIELD=HEADER; may be repeated.
    #[arg(long, value_name = "FIELD=HEADER")]
    pub column: Vec<String>,
    /// FIELD=TEXT, the same for each row; may be repeated.
    #[arg(long, value_name = "FIELD=TEXT")]
    pub value: Vec<String>,
    /// utf-8 or shift_jis; found out if absent.
    #[arg(long, value_name = "ENCODING")]
    pub encoding: Option<String>,
    /// The zone of instants without offset; the account's if absent.
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<Tz>,
    /// Where bad rows go; FILE.rejects.csv beside the file if absent.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum ImportKind {
    Friends,
    Tags,
    Events,
}

#[derive(Debug, Subcommand)]
pub(super) enum SegmentAction {
    /// How many friends each segment has.
    #[command(
        after_help = "Examples:\n  haishin segment count\n  haishin segment count tokyo-regulars --now 2026-12-04T18:00:00+09:00"
    )]
    Count {
        /// Which; all if none is named.
        segments: Vec<SegmentSlug>,
        /// Another instant than now.
        #[arg(long, value_parser = instant)]
        now: Option<Instant>,
    },
    /// All segments with their titles and counts, or the friends of one.
    #[command(
        after_help = "Examples:\n  haishin segment list\n  haishin segment list tokyo-regulars --now 2026-12-04T18:00:00+09:00"
    )]
    List {
        /// Whose friends.
        segment: Option<SegmentSlug>,
        /// Another instant than now.
        #[arg(long, value_parser = instant)]
        now: Option<Instant>,
    },
    /// The friends of a segment as CSV (user id, external id), or as JSON.
    #[command(after_help = "Example:\n  haishin segment export tokyo-regulars > regulars.csv")]
    Export {
        /// Which.
        segment: SegmentSlug,
        /// Another instant than now.
        #[arg(long, value_parser = instant)]
        now: Option<Instant>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum FriendAction {
    /// One friend's record, by user id or external id.
    #[command(
        after_help = "Examples:\n  haishin friend show Uaaaabbbbccccddddeeeeffff00001111\n  haishin friend show c-001 --json"
    )]
    Show {
        /// User id or external id.
        friend: String,
    },
    /// What was taken in for a customer id that no friend, or more than one, had when it was applied.
    #[command(
        after_help = "Examples:\n  haishin friend strays\n  haishin friend strays --forget    they are dealt with"
    )]
    Strays {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Forget all of them instead of listing them.
        #[arg(long)]
        forget: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenAction {
    /// A new token, printed this once.
    #[command(
        after_help = "Examples:\n  haishin token create --account shop --scope friends:write --scope events:write --name \"web shop\"\n  haishin token create --all-accounts --scope friends:read"
    )]
    Create {
        /// What it may do; may be repeated.
        #[arg(long, required = true, value_name = "friends:read|friends:write|friends:delete|events:write")]
        scope: Vec<Scope>,
        /// What people call it.
        #[arg(long, default_value = "")]
        name: String,
        /// For every account there is and will be, instead of the one --account names.
        #[arg(long, conflicts_with = "account")]
        all_accounts: bool,
    },
    /// Every token, without its secret.
    #[command(after_help = "Example:\n  haishin token list")]
    List,
    /// A token works no more, at once and for good.
    #[command(after_help = "Example:\n  haishin token revoke 3")]
    Revoke {
        /// Its number.
        token: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CampaignAction {
    /// All campaigns and when each is due next.
    #[command(after_help = "Example:\n  haishin campaign list")]
    List,
    /// Due instants of a campaign, past ones too.
    #[command(
        after_help = "Example:\n  haishin campaign next birthday --from 2026-01-01T00:00:00+09:00 --until 2027-01-01T00:00:00+09:00 --json"
    )]
    Next {
        /// Which.
        campaign: CampaignSlug,
        /// From here, inclusive.
        #[arg(long, value_parser = instant)]
        from: Option<Instant>,
        /// To here, exclusive.
        #[arg(long, value_parser = instant)]
        until: Option<Instant>,
    },
    /// Who would get what if everything due froze now; sends nothing.
    #[command(
        after_help = "Examples:\n  haishin campaign preview\n  haishin campaign preview winter-coupon --now 2026-12-04T18:00:00+09:00 --json"
    )]
    Preview {
        /// Which; all that are due if none is named.
        campaigns: Vec<CampaignSlug>,
        /// Another instant than now.
        #[arg(long, value_parser = instant)]
        now: Option<Instant>,
    },
    /// Stop a campaign until it is resumed.
    #[command(after_help = "Example:\n  haishin campaign pause winter-coupon")]
    Pause {
        /// Which.
        campaign: CampaignSlug,
    },
    /// Let a paused campaign go on.
    #[command(after_help = "Example:\n  haishin campaign resume winter-coupon")]
    Resume {
        /// Which.
        campaign: CampaignSlug,
    },
    /// End what is being sent of a campaign. What was sent cannot be recalled.
    #[command(after_help = "Example:\n  haishin campaign cancel winter-coupon")]
    Cancel {
        /// Which.
        campaign: CampaignSlug,
    },
    /// Send a campaign's messages to named friends, at once, outside caps and reports.
    #[command(
        after_help = "Example:\n  haishin campaign test-send winter-coupon --to Uaaaabbbbccccddddeeeeffff00001111"
    )]
    TestSend {
        /// Which.
        campaign: CampaignSlug,
        /// User ids or external ids, 1 to 20.
        #[arg(long, required = true, num_args = 1..=20)]
        to: Vec<String>,
        /// Which arm; the first if none is named.
        #[arg(long)]
        variant: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DripAction {
    /// All drips: how many friends are on their way, late, or waiting for room under a cap.
    #[command(after_help = "Example:\n  haishin drip list")]
    List,
    /// One drip, step by step.
    #[command(
        after_help = "Examples:\n  haishin drip show trial-coupon\n  haishin drip show trial-coupon --json"
    )]
    Show {
        /// Which.
        drip: CampaignSlug,
    },
    /// Stop a drip's steps until it is resumed; friends go on starting and ending meanwhile.
    #[command(after_help = "Example:\n  haishin drip pause trial-coupon")]
    Pause {
        /// Which.
        drip: CampaignSlug,
    },
    /// Let a paused drip go on; what fell due meanwhile goes by its if_missed and grace.
    #[command(after_help = "Example:\n  haishin drip resume trial-coupon")]
    Resume {
        /// Which.
        drip: CampaignSlug,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum OccurrenceAction {
    /// The newest occurrences.
    #[command(
        after_help = "Examples:\n  haishin occurrence list\n  haishin occurrence list winter-coupon --limit 5"
    )]
    List {
        /// Of one campaign only.
        campaign: Option<CampaignSlug>,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// One occurrence: its books, its batches, why.
    #[command(after_help = "Examples:\n  haishin occurrence show 12\n  haishin occurrence show 12 --json")]
    Show {
        /// Its number.
        occurrence: i64,
    },
    /// Decide what waits for a person.
    #[command(
        after_help = "Examples:\n  haishin occurrence resolve 12 --unknown accepted    LINE's statistics show it arrived\n  haishin occurrence resolve 12 --held send"
    )]
    Resolve {
        /// Its number.
        occurrence: i64,
        /// Take unknown deliveries as accepted or as rejected.
        #[arg(
            long,
            value_name = "accepted|rejected",
            required_unless_present = "held",
            conflicts_with = "held"
        )]
        unknown: Option<Known>,
        /// A held occurrence goes on, or ends.
        #[arg(long, value_name = "send|cancel")]
        held: Option<Held>,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Known {
    Accepted,
    Rejected,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Held {
    Send,
    Cancel,
}

/// An instant of the command line: RFC 3339 with an offset.
fn instant(text: &str) -> Result<Instant, String> {
    Instant::try_from(text.to_owned())
        .map_err(|error| format!("{error}; write an instant such as 2026-12-04T18:00:00+09:00"))
}
