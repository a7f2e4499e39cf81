//! The database: does it open, is it durable, does this haishin know its schema.

use super::{Doctor, Mark, Report};
use crate::protocol::Failure;
use crate::store::inspect::{self, Inspection};

impl Doctor<'_> {
    /// Whether its rows can be read by this haishin without changing anything.
    pub(super) async fn database(&self, url: &str, report: &mut Report) -> bool {
        let lang = self.lang;
        let found = match inspect::inspect(url).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                let what = lang
                    .pick("まだありません。最初の起動で作ります", "not there yet: the first start makes it");
                report.add("database", Mark::Note, what.to_owned(), None);
                return false;
            }
            Err(error) => {
                let next = lang.pick(
                    "haishin.toml の [database]、ファイルの権限、サーバーを確かめてください",
                    "look at [database] in haishin.toml, at the file's rights, at the server",
                );
                report.add("database", Mark::Fail, Failure::unavailable(&error, lang).message, Some(next));
                return false;
            }
        };
        report.add("database", Mark::Good, found.engine.clone(), None);
        self.durability(&found, report);
        let usable = self.schema(&found, report);
        if self.asked.deep {
            self.integrity(url, report).await;
        }
        usable
    }

    fn durability(&self, found: &Inspection, report: &mut Report) {
        let lang = self.lang;
        for (name, value, good) in &found.settings {
            let next = lang.pick(
                "on にしてください。そうでないとコミットが停電で失われます",
                "switch it on: a commit is lost with the power otherwise",
            );
            let (mark, next) = if *good { (Mark::Good, None) } else { (Mark::Fail, Some(next)) };
            report.add("durability", mark, format!("{name} = {value}"), next);
        }
        if found.replicated == Some(false) {
            let what = lang.pick(
                "同期レプリカはありません。1台で使うなら問題ありません。フェイルオーバーではコミットが失われることがあります",
                "no synchronous replica: well for one machine; a failover may lose commits",
            );
            report.add("durability", Mark::Note, what.to_owned(), None);
        }
    }

    fn schema(&self, found: &Inspection, report: &mut Report) -> bool {
        let (lang, schema, known) = (self.lang, found.schema, found.known);
        if schema == known {
            report.add("schema", Mark::Good, schema.to_string(), None);
            return true;
        }
        if schema > known {
            let what = lang.pick(
                format!("{schema}。この haishin が知っているのは {known} までです"),
                format!("{schema}; this haishin knows {known} at the most"),
            );
            let next = lang.pick(
                "新しいほうの haishin を使うか、更新前のバックアップを戻してください",
                "start the newer haishin again, or restore a backup made before the upgrade",
            );
            report.add("schema", Mark::Fail, what, Some(next));
        } else {
            let what = lang.pick(
                format!("{schema}。次の起動で {known} にします"),
                format!("{schema}; the next start brings it to {known}"),
            );
            report.add("schema", Mark::Note, what, None);
        }
        false
    }

    async fn integrity(&self, url: &str, report: &mut Report) {
        let lang = self.lang;
        if !url.starts_with("sqlite://") {
            let what =
                lang.pick("PostgreSQL は pg_amcheck で確かめてください", "of PostgreSQL: see pg_amcheck");
            report.add("integrity", Mark::Note, what.to_owned(), None);
            return;
        }
        (self.busy)(lang.pick("データベースの全ページを検査中…", "checking every page of the database…"));
        match inspect::damage(url).await {
            Ok(None) => {
                let what = lang.pick("全ページに問題なし", "every page is sound");
                report.add("integrity", Mark::Good, what.to_owned(), None);
            }
            Ok(Some(damage)) => {
                let next = lang.pick(
                    "haishin stop で止め、docs/backup.md にしたがってバックアップを戻してください",
                    "haishin stop, then put a backup back as docs/backup.md says",
                );
                report.add("integrity", Mark::Fail, damage, Some(next));
            }
            Err(error) => {
                report.add("integrity", Mark::Fail, Failure::unavailable(&error, lang).message, None)
            }
        }
    }
}
