//! What is said of backups, in the reader's language.

use std::path::PathBuf;

use serde_json::json;

use super::{Made, Overdue};
use crate::concern::{Code, Concern};
use crate::lang::Lang;
use crate::protocol::{Answer, Failure};
use crate::store::StoreError;
use crate::store::sqlite::copy::{AccountLook, CopyError};
use crate::text::{self, Table, Told};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database is a server, which has better tools.
    #[error(
        "the database is PostgreSQL: back it up with its own tools (pg_dump, pg_basebackup, WAL archiving); see docs/backup.md"
    )]
    Server,
    /// Nobody has ever started here.
    #[error("there is no database yet at {}; --state names another state directory", .0.display())]
    NoDatabase(PathBuf),
    /// The name is taken.
    #[error("{} is there already, and a backup never takes another file's place: name another, or a folder", .0.display())]
    Exists(PathBuf),
    /// There is no such folder.
    #[error("there is no folder {}, where the backup is to be: make it first", .0.display())]
    NoFolder(PathBuf),
    /// SQLite takes no other names.
    #[error("{} is not UTF-8; name another file", .0.display())]
    NotUnicode(PathBuf),
    /// Two at once would only be slower.
    #[error("a backup is being made already; wait until it is there")]
    Busy,
    /// It does not fit.
    #[error(
        "{} has no room: {} are needed, {} are free. Nothing was written; make room, or name another folder",
        path.display(), size(*needed), size(*free)
    )]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Bytes needed, about.
        needed: u64,
        /// Bytes there.
        free: u64,
    },
    /// Whoever wanted it went away, or haishin ends.
    #[error("the backup was interrupted, and nothing of it is left; do it again")]
    Interrupted,
    /// The system refused.
    #[error(
        "cannot write {}. Where a daemon runs it is the one that writes, as its own user and where systemd lets it (ReadWritePaths=); without a FILE the backup goes into the state directory",
        path.display()
    )]
    File {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// The database cannot be copied, or its copy is not sound.
    #[error("the database cannot be backed up")]
    Copy(#[source] CopyError),
}

impl From<CopyError> for BackupError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Interrupted => Self::Interrupted,
            error => Self::Copy(error),
        }
    }
}

impl Told for BackupError {
    fn told(&self, lang: Lang) -> String {
        if lang == Lang::En {
            return self.to_string();
        }
        match self {
            Self::Server => "データベースは PostgreSQL です。PostgreSQL のツール（pg_dump、pg_basebackup、WAL アーカイブ）でバックアップしてください（docs/backup.md）".into(),
            Self::NoDatabase(path) => format!("データベース {} はまだありません（別の場所なら --state）", path.display()),
            Self::Exists(path) => format!("{} はすでにあります。バックアップは既存のファイルを上書きしません。別の名前かフォルダを指定してください", path.display()),
            Self::NoFolder(path) => format!("バックアップ先のフォルダ {} がありません。先に作ってください", path.display()),
            Self::NotUnicode(path) => format!("{} は UTF-8 ではありません。別の名前にしてください", path.display()),
            Self::Busy => "バックアップを作成中です。終わるまで待ってください".into(),
            Self::NoRoom { path, needed, free } => format!(
                "{} の空きが足りません（必要 {}、空き {}）。何も書き込んでいません。空きを作るか、別のフォルダを指定してください",
                path.display(), size(*needed), size(*free)
            ),
            Self::Interrupted => "バックアップは中断され、途中のファイルは残っていません。もう一度実行してください".into(),
            Self::File { path, .. } => format!(
                "{} に書き込めません。デーモンが動いているときは、デーモンがそのユーザーと systemd の許す場所（ReadWritePaths=）に書き込みます。FILE を省くと状態ディレクトリに作ります",
                path.display()
            ),
            Self::Copy(_) => "データベースをバックアップできません".into(),
        }
    }
}

impl BackupError {
    /// For programs and people, with its causes.
    pub fn failure(&self, lang: Lang) -> Failure {
        let code = match self {
            Self::Server | Self::NotUnicode(_) => "invalid",
            Self::NoDatabase(_) | Self::NoFolder(_) => "not_found",
            Self::Exists(_) | Self::Busy => "conflict",
            _ => "unavailable",
        };
        let said = |cause: &(dyn std::error::Error + 'static)| {
            let own = cause.downcast_ref::<Self>().map(|error| error.told(lang));
            let own = own.or_else(|| cause.downcast_ref::<CopyError>().map(|error| error.told(lang)));
            let own = own.or_else(|| cause.downcast_ref::<StoreError>().map(|error| error.told(lang)));
            own.unwrap_or_else(|| cause.to_string())
        };
        Failure { code: code.into(), message: text::causes(self, &said) }
    }
}

/// Bytes as people read them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS.get(unit).unwrap_or(&"TB"))
}

/// What stands in a file, account by account.
pub(in crate::app) fn table(accounts: &[AccountLook], lang: Lang) -> String {
    let mut table = Table::new(&[
        lang.pick("アカウント", "account"),
        lang.pick("友だち", "friends"),
        lang.pick("時点", "as of"),
        lang.pick("トランザクション", "transaction"),
        lang.pick("送信中", "open"),
    ]);
    for account in accounts {
        table.row(vec![
            account.slug.clone(),
            account.friends.to_string(),
            account.seen_at.map_or("–".to_owned(), |at| at.to_string()),
            account.transaction.to_string(),
            account.open.to_string(),
        ]);
    }
    table.render().lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// The same for programs.
pub(in crate::app) fn accounts_json(accounts: &[AccountLook]) -> Vec<serde_json::Value> {
    let one = |account: &AccountLook| {
        json!({
            "account": account.slug, "friends": account.friends, "as_of": account.seen_at,
            "transaction": account.transaction, "open": account.open, "last_occurrence": account.occurrences,
        })
    };
    accounts.iter().map(one).collect()
}

impl Made {
    /// What was made, and what is to be done with it.
    pub fn answer(&self, lang: Lang) -> Answer {
        let (last, look) = (&self.last, &self.look);
        let head = lang.pick(
            format!("{}（{}、友だち {}人）検査済みです。", last.path, size(last.bytes), look.friends()),
            format!(
                "{} ({}, {} friends) is there and was checked.",
                last.path,
                size(last.bytes),
                look.friends()
            ),
        );
        let next = lang.pick(
            format!("次に: 別のマシンへコピーしてください。戻すとき: haishin restore {}", last.path),
            format!("next: copy it to another machine. To put it back: haishin restore {}", last.path),
        );
        let text = format!("{head}\n{}\n{next}", table(&look.accounts, lang));
        let json = json!({
            "path": last.path, "at": last.at, "by": last.by, "bytes": last.bytes, "schema": look.schema,
            "friends": look.friends(), "accounts": accounts_json(&look.accounts),
        });
        Answer { text, json, exit: 0 }
    }
}

impl Overdue {
    /// What is wrong.
    pub(super) fn concern(&self) -> Concern {
        Concern::new(Code::BackupStale, |lang| self.told(lang))
    }

    fn told(&self, lang: Lang) -> String {
        let after = self.after;
        match &self.last {
            Some(last) => lang.pick(
                format!("最後のバックアップが古くなっています（{}、{after} 以内のはず）", last.at),
                format!("the last backup is too old: it is of {}, and {after} are allowed", last.at),
            ),
            None => lang.pick(
                format!("バックアップがまだ一度も作られていません（{after} ごとのはず）"),
                format!("no backup has been made yet, and [backup] warn_after = \"{after}\" wants one"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_a_moment() {
        let shown = [0, 950, 99_949, 999_949, 999_950, 1_000_000_000, 2_500_000_000_000].map(size);
        assert_eq!(shown, ["0.0 kB", "0.9 kB", "99.9 kB", "999.9 kB", "1.0 MB", "1.0 GB", "2.5 TB"]);
    }
}
