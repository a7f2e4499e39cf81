//! What is said of a restore, in the reader's language.

use std::path::PathBuf;

use serde_json::json;

use super::super::backup::{accounts_json, size, table};
use super::{Current, Offer};
use crate::engine::restored::{Held, HoldError};
use crate::lang::Lang;
use crate::protocol::Answer;
use crate::store::sqlite::copy::{AccountLook, CopyError, Look};
use crate::text::Told;

/// Why nothing was restored. What was there is there still.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The database is a server, which has better tools.
    #[error(
        "the database is PostgreSQL: restore it with its own tools (pg_restore, point-in-time recovery), then `haishin restore --mark`, so that nothing is sent before a person has looked; see docs/backup.md"
    )]
    Server,
    /// Somebody has it open, whom the state directory's lock does not bind.
    #[error(
        "another program has {} open (a continuous copy, an sqlite3 shell): end it first, then do this again",
        .0.display()
    )]
    InUse(PathBuf),
    /// A folder, a pipe.
    #[error("{} is no file: name the backup itself", .0.display())]
    NotAFile(PathBuf),
    /// It is not there.
    #[error("there is no file {}; nothing was changed. Without a name of their own backups lie in `backups` of the state directory", .0.display())]
    Missing(PathBuf),
    /// It would replace itself.
    #[error("{} is the current database itself; to mark it as restored: haishin restore --mark", .0.display())]
    Itself(PathBuf),
    /// It is no backup to go by.
    #[error("{} cannot be restored, nothing was changed", path.display())]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CopyError,
    },
    /// The database's folder does not answer.
    #[error("there is no folder {}, where the database is to be: make it first", .0.display())]
    NoDirectory(PathBuf),
    /// The copy does not fit.
    #[error("{} has no room: {} are needed, {} are free. Nothing was changed; make room first", path.display(), size(*needed), size(*free))]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        free: u64,
    },
    /// haishin ends.
    #[error("the restore was interrupted; do it again")]
    Interrupted,
    /// The system refused.
    #[error("cannot use {}; may this user read and write there?", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// The copy could not be marked.
    #[error(transparent)]
    Hold(#[from] HoldError),
}

impl Told for RestoreError {
    fn told(&self, lang: Lang) -> String {
        if lang == Lang::En {
            return self.to_string();
        }
        match self {
            Self::Server => "データベースは PostgreSQL です。PostgreSQL のツール（pg_restore、ポイントインタイムリカバリ）で復元してから haishin restore --mark を実行してください。人が確かめるまで何も送りません（docs/backup.md）".into(),
            Self::InUse(path) => format!("別のプログラム（継続的なコピーや sqlite3）が {} を開いています。先に終了してから、もう一度実行してください", path.display()),
            Self::NotAFile(path) => format!("{} はファイルではありません。バックアップのファイルを指定してください", path.display()),
            Self::Missing(path) => format!("{} がありません。何も変えていません。保存先を指定しなかったバックアップは、状態ディレクトリの backups にあります", path.display()),
            Self::Itself(path) => format!("{} は今のデータベースそのものです。「復元した」と印を付けるだけなら haishin restore --mark", path.display()),
            Self::Unfit { path, .. } => format!("{} は復元できません。何も変えていません", path.display()),
            Self::NoDirectory(path) => format!("データベースのフォルダ {} がありません。先に作ってください", path.display()),
            Self::NoRoom { path, needed, free } => format!(
                "{} の空きが足りません（必要 {}、空き {}）。何も変えていません。先に空きを作ってください",
                path.display(), size(*needed), size(*free)
            ),
            Self::Interrupted => "復元は中断されました。もう一度実行してください".into(),
            Self::File { path, .. } => format!("{} を使えません。このユーザーに読み書きの権限がありますか", path.display()),
            Self::Hold(error) => error.told(lang),
        }
    }
}

/// By how much one is further on than another.
struct Ahead<'a> {
    account: &'a AccountLook,
    transactions: i64,
    occurrences: i64,
}

/// What the current database knows and the backup does not.
fn ahead<'a>(current: &'a Look, backup: &Look) -> Vec<Ahead<'a>> {
    let of = |account: &'a AccountLook| {
        let before = backup.accounts.iter().find(|other| other.slug == account.slug);
        Ahead {
            account,
            transactions: account.transaction - before.map_or(0, |before| before.transaction),
            occurrences: account.occurrences - before.map_or(0, |before| before.occurrences),
        }
    };
    current.accounts.iter().map(of).filter(|ahead| ahead.transactions > 0).collect()
}

impl Offer {
    /// What it is, what it would replace, and what that one alone knows.
    pub fn text(&self, lang: Lang) -> String {
        let (shown, size, schema) = (self.file.display(), size(self.bytes), self.look.schema);
        let mut lines = vec![
            lang.pick(
                format!("バックアップ {shown}（{size}、形式 {schema}）検査済み"),
                format!("the backup {shown} ({size}, schema {schema}), checked:"),
            ),
            table(&self.look.accounts, lang),
        ];
        let kept = self.kept.display();
        match &self.current {
            Current::None => {
                lines.push(lang.pick("今のデータベースはありません", "there is no current database").into());
            }
            Current::Unreadable(error) => lines.push(lang.pick(
                format!("今のデータベースは読めません（{}）。{kept} として残します", error.told(lang)),
                format!("the current database cannot be read ({error}); it is kept as {kept}"),
            )),
            Current::Known(current) => {
                lines.push(lang.pick(
                    format!("置き換えられる今のデータベース（{kept} として残します）"),
                    format!("the current database, which it replaces, and which is kept as {kept}:"),
                ));
                lines.push(table(&current.accounts, lang));
                for Ahead { account, transactions, occurrences } in ahead(current, &self.look) {
                    let slug = &account.slug;
                    lines.push(lang.pick(
                        format!("  {slug}: 今のほうがトランザクション {transactions}件、配信回 {occurrences}件だけ新しく、復元するとそれを知らなくなります"),
                        format!("  {slug}: the current one is {transactions} transactions and {occurrences} occurrences further on, of which nothing will be known"),
                    ));
                }
            }
        }
        lines.push(
            lang.pick(
                "復元すると、送信中だったものと、それまでに時刻が来たものはすべて、人が確かめるまで送りません。",
                "after it, everything open and everything that fell due by then waits for a person.",
            )
            .into(),
        );
        lines.join("\n")
    }

    /// What was done, and what is to be done now.
    pub fn answer(&self, held: &[Held], lang: Lang) -> Answer {
        let (file, kept) = (self.file.display(), self.kept.display());
        let there = !matches!(self.current, Current::None);
        let mut text = lang.pick(format!("{file} を復元しました。"), format!("{file} is restored."));
        if there {
            text += &lang.pick(
                format!("前のデータベースは {kept} にあります。"),
                format!(" The database before is kept as {kept}."),
            );
        }
        let marked = held_answer(held, lang);
        let current = match &self.current {
            Current::Known(look) => Some(accounts_json(&look.accounts)),
            Current::None | Current::Unreadable(_) => None,
        };
        let json = json!({
            "restored": self.file.display().to_string(), "schema": self.look.schema,
            "kept": there.then(|| self.kept.display().to_string()),
            "accounts": accounts_json(&self.look.accounts), "before": current, "held": marked.json["held"],
        });
        Answer { text: format!("{text}\n{}", marked.text), json, exit: marked.exit }
    }
}

/// What waits for a person from now on.
pub fn held_answer(held: &[Held], lang: Lang) -> Answer {
    let one = |held: &Held| {
        let as_of = held.as_of.map_or_else(|| "–".to_owned(), |at| at.to_string());
        let open = held.occurrences.iter().map(|id| format!("#{id}")).collect::<Vec<_>>().join(" ");
        let open = if open.is_empty() { lang.pick("なし", "none").to_owned() } else { open };
        lang.pick(
            format!("  {}: {as_of} 時点。停止中、保留にした配信回 {open}", held.account),
            format!("  {}: as of {as_of}, stopped; occurrences held: {open}", held.account),
        )
    };
    let mut lines: Vec<String> = held.iter().map(one).collect();
    lines.insert(
        0,
        lang.pick("人が確かめるまで何も送りません。", "nothing is sent until a person has looked:").into(),
    );
    lines.push(
        lang.pick(
            "次に: haishin を起動し、haishin occurrence list を LINE 側の記録と見比べてから haishin start（手順は docs/backup.md）",
            "next: start haishin, compare `haishin occurrence list` with LINE's own records, then: haishin start (docs/backup.md goes through it)",
        )
        .into(),
    );
    let json = held
        .iter()
        .map(|held| json!({ "account": held.account, "as_of": held.as_of, "occurrences": held.occurrences }));
    let json = json!({ "held": json.collect::<Vec<_>>() });
    Answer { text: lines.join("\n"), json, exit: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_current_one_alone_knows_is_told() {
        let account = |slug: &str, transaction, occurrences| AccountLook {
            slug: slug.into(),
            friends: 3,
            open: 0,
            occurrences,
            transaction,
            seen_at: None,
        };
        let look = |accounts| Look { schema: 9, accounts };
        let backup = look(vec![account("a", 10, 2), account("b", 10, 2)]);
        let current = look(vec![account("a", 14, 3), account("b", 10, 2), account("new", 5, 1)]);
        let told: Vec<_> = ahead(&current, &backup)
            .iter()
            .map(|ahead| (ahead.account.slug.as_str(), ahead.transactions, ahead.occurrences))
            .collect();
        assert_eq!(told, [("a", 4, 1), ("new", 5, 1)]);
    }
}
