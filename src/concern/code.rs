//! The list itself.

use crate::lang::Lang;

/// Whether somebody has to do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It waits for a person.
    Act,
    /// It goes on by itself, is past, or is as a person wanted it.
    Note,
}

impl Severity {
    /// As programs read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Note => "note",
        }
    }

    /// As people see it.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Act => "⚠",
            Self::Note => "·",
        }
    }
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One account's.
    Account,
    /// The machine's.
    Machine,
}

/// Who else tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// This alert.
    By(&'static str),
    /// None, for this reason.
    Not(&'static str),
}

/// Every concern, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The database cannot be written or read.
    DatabaseAway,
    /// Nobody here owns the account.
    NotRunning,
    /// The disk of the state directory is nearly full.
    DiskLow,
    /// A person's brake.
    Stopped,
    /// The database is older than what was sent by.
    WentBack,
    /// A person restored the database.
    Restored,
    /// LINE answered 401.
    TokenRefused,
    /// LINE answered 403.
    AccountForbidden,
    /// The clock shows less than what was seen.
    ClockBehind,
    /// An occurrence waits for a person's decision.
    Held,
    /// An occurrence waits for LINE's monthly limit.
    MonthUsedUp,
    /// A guard paused a campaign.
    CampaignPausedByGuard,
    /// A guard paused a drip.
    DripPausedByGuard,
    /// A campaign is due and does not go out.
    Late,
    /// A step of a drip is due and does not go out.
    StepsLate,
    /// What came in waits to be applied.
    InboxLag,
    /// Nobody can say whether LINE took a message.
    Unknown,
    /// Changes named no friend.
    Strays,
    /// Requests beside sends wait.
    OutboxLate,
    /// Webhooks wait to be handed on.
    RelayLate,
    /// The last backup is too old.
    BackupStale,
    /// The clock went far ahead.
    ClockLeapt,
    /// A guard refused an occurrence.
    Refused,
    /// An occurrence fell due while nothing could be sent.
    Missed,
    /// Requests beside sends were given up.
    OutboxGivenUp,
    /// A person paused a campaign.
    CampaignPaused,
    /// A person paused a drip.
    DripPaused,
}

/// What stands in the list for one code: word for programs, severity, section of the runbook, who watches it.
type Entry = (&'static str, Severity, &'static str, Watched);

impl Code {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::DatabaseAway,
        Self::NotRunning,
        Self::DiskLow,
        Self::Stopped,
        Self::WentBack,
        Self::Restored,
        Self::TokenRefused,
        Self::AccountForbidden,
        Self::ClockBehind,
        Self::Held,
        Self::MonthUsedUp,
        Self::CampaignPausedByGuard,
        Self::DripPausedByGuard,
        Self::Late,
        Self::StepsLate,
        Self::InboxLag,
        Self::Unknown,
        Self::Strays,
        Self::OutboxLate,
        Self::RelayLate,
        Self::BackupStale,
        Self::ClockLeapt,
        Self::Refused,
        Self::Missed,
        Self::OutboxGivenUp,
        Self::CampaignPaused,
        Self::DripPaused,
    ];

    #[rustfmt::skip]
    const fn entry(self) -> Entry {
        use Severity::{Act, Note};
        use Watched::{By, Not};
        match self {
            Self::DatabaseAway => ("database_away", Act, "the-database-does-not-answer", By("HaishinDatabaseAway")),
            Self::NotRunning => ("not_running", Act, "the-daemon-does-not-run", By("HaishinAccountDown")),
            Self::DiskLow => ("disk_low", Act, "the-disk-is-nearly-full", By("HaishinDiskLow")),
            Self::Stopped => ("stopped", Act, "the-account-is-stopped", By("HaishinStopped")),
            Self::WentBack => ("went_back", Act, "the-database-went-back-in-time", By("HaishinStopped")),
            Self::Restored => ("restored", Act, "the-database-was-restored", By("HaishinStopped")),
            Self::TokenRefused => ("token_refused", Act, "line-refuses-the-token-or-the-account", By("HaishinRefusedByLine")),
            Self::AccountForbidden => ("account_forbidden", Act, "line-refuses-the-token-or-the-account", By("HaishinRefusedByLine")),
            Self::ClockBehind => ("clock_behind", Act, "the-clock-is-behind", By("HaishinClockBehind")),
            Self::Held => ("held", Act, "an-occurrence-is-held", By("HaishinHeld")),
            Self::MonthUsedUp => ("month_used_up", Act, "an-occurrence-is-held", By("HaishinHeld")),
            Self::CampaignPausedByGuard => ("campaign_paused_by_guard", Act, "a-campaign-is-paused", By("HaishinPausedByGuard")),
            Self::DripPausedByGuard => ("drip_paused_by_guard", Act, "a-campaign-is-paused", By("HaishinPausedByGuard")),
            Self::Late => ("late", Act, "steps-or-occurrences-are-late", By("HaishinLate")),
            Self::StepsLate => ("steps_late", Act, "steps-or-occurrences-are-late", By("HaishinLate")),
            Self::InboxLag => ("inbox_lag", Act, "the-inbox-lags", By("HaishinInboxLag")),
            Self::Unknown => ("unknown", Act, "friends-with-unknown-outcome", By("HaishinUnknown")),
            Self::Strays => ("strays", Act, "changes-that-name-no-friend", By("HaishinStrays")),
            Self::OutboxLate => ("outbox_late", Act, "requests-beside-sends-fail", By("HaishinOutboxLate")),
            Self::RelayLate => ("relay_late", Act, "webhooks-are-not-handed-on", By("HaishinRelayLate")),
            Self::BackupStale => ("backup_stale", Act, "the-last-backup-is-too-old", By("HaishinBackupStale")),
            Self::ClockLeapt => ("clock_leapt", Note, "the-clock-leapt-ahead", By("HaishinClockLeapt")),
            Self::Refused => ("refused", Note, "an-occurrence-was-refused-or-missed", By("HaishinOccurrenceRefused")),
            Self::Missed => ("missed", Note, "an-occurrence-was-refused-or-missed", By("HaishinOccurrenceMissed")),
            Self::OutboxGivenUp => ("outbox_given_up", Note, "requests-beside-sends-fail", By("HaishinOutboxGivenUp")),
            Self::CampaignPaused => ("campaign_paused", Note, "a-campaign-is-paused", Not("a person wanted it so, and may want it for weeks")),
            Self::DripPaused => ("drip_paused", Note, "a-campaign-is-paused", Not("a person wanted it so, and may want it for weeks")),
        }
    }

    /// The word programs, metrics and logs know it by. It never changes.
    pub const fn as_str(self) -> &'static str {
        self.entry().0
    }

    /// Whether somebody has to do something.
    pub const fn severity(self) -> Severity {
        self.entry().1
    }

    /// The section of `docs/runbook.md`.
    pub const fn runbook(self) -> &'static str {
        self.entry().2
    }

    /// Which alert tells of it.
    pub const fn watched(self) -> Watched {
        self.entry().3
    }

    /// Whose it is.
    pub const fn scope(self) -> Scope {
        match self {
            Self::DiskLow | Self::BackupStale => Scope::Machine,
            _ => Scope::Account,
        }
    }

    /// What to do next, where nothing more particular is known.
    pub fn next(self, lang: Lang) -> &'static str {
        let (ja, en) = self.steps();
        lang.pick(ja, en)
    }

    const fn steps(self) -> (&'static str, &'static str) {
        match self {
            Self::DatabaseAway => (
                "ディスクの空き、データベース、ログを確かめてください。戻れば自動で続きます",
                "look at the disk, the database and the log; it goes on by itself",
            ),
            Self::NotRunning => {
                ("ログを確かめてください: journalctl -u haishin", "see the log: journalctl -u haishin")
            }
            Self::DiskLow => (
                "空きを作ってください（[disk] warn_below）",
                "make room ([disk] warn_below says how much is wanted)",
            ),
            Self::Stopped => ("再開: haishin start", "go on with: haishin start"),
            Self::WentBack | Self::Restored => (
                "haishin occurrence list を LINE 側の記録と見比べてから haishin start",
                "compare `haishin occurrence list` with LINE's own records, then: haishin start",
            ),
            Self::TokenRefused => (
                "正しいトークンを置き、haishin apply で読み直してから haishin start",
                "put a valid one in place, read it with `haishin apply`, then: haishin start",
            ),
            Self::AccountForbidden => (
                "LINE Official Account Manager でプランとアカウントの状態を確かめ、解決したら haishin start",
                "look at the plan and the account in LINE Official Account Manager; once settled: haishin start",
            ),
            Self::ClockBehind => (
                "時計を直すか、今の時計が正しければ haishin start --accept-clock",
                "put the clock right, or, if it is right now: haishin start --accept-clock",
            ),
            Self::Held | Self::Refused | Self::Missed => {
                ("haishin occurrence list で理由を確かめてください", "see why: haishin occurrence list")
            }
            Self::MonthUsedUp => (
                "LINE Official Account Manager で上限を上げるか月が替わると自動で続きます",
                "it goes on by itself when the limit is raised in LINE Official Account Manager or the month turns",
            ),
            Self::CampaignPausedByGuard | Self::CampaignPaused => (
                "理由: haishin campaign list、再開: haishin campaign resume",
                "why: haishin campaign list; go on with: haishin campaign resume",
            ),
            Self::DripPausedByGuard | Self::DripPaused => (
                "理由: haishin drip list、再開: haishin drip resume",
                "why: haishin drip list; go on with: haishin drip resume",
            ),
            Self::Late | Self::StepsLate => (
                "ログの理由を確かめてください（LINE の残り通数、条件の誤り、マシンの負荷）",
                "the log says why: LINE's quota, a rule that fails, or a machine that does not keep up",
            ),
            Self::InboxLag => (
                "取り込みを控え、増え続けるならディスクとデータベースを確かめてください",
                "hold imports back; if it grows, look at the disk and the database",
            ),
            Self::Unknown => (
                "LINE の統計などで分かったら haishin occurrence resolve",
                "once you know, from LINE's statistics or otherwise: haishin occurrence resolve",
            ),
            Self::Strays => ("haishin friend strays", "haishin friend strays"),
            Self::OutboxLate => (
                "相手のシステムか [webhooks] の設定を直してください。待っている分は自動で届きます",
                "mend the other side, or its entry under [webhooks]; what waits comes by itself",
            ),
            Self::RelayLate => (
                "転送先か relay の設定を直してください。待っている分は自動で届きます",
                "mend the other system, or `relay`; what waits comes by itself",
            ),
            Self::BackupStale => ("haishin backup", "haishin backup"),
            Self::ClockLeapt => (
                "その間止まっていたのなら何もしなくて構いません。時計が違うなら直して haishin start --accept-clock",
                "if haishin was off for so long, nothing is to be done; else put the clock right, then: haishin start --accept-clock",
            ),
            Self::OutboxGivenUp => (
                "その分は届きません。相手のシステムには別の方法で伝えてください（outbox 表）",
                "they do not come any more: tell that system otherwise (table outbox)",
            ),
        }
    }
}
