//! Files, disk and limits of this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::backup::{Last, size};
use super::super::disk::Disk;
use super::super::{Database, secret};
use super::{Doctor, Mark, Report};
use crate::clock::{Clock as _, SystemClock};
use crate::config::node::DatabaseUrl;
use crate::config::{Configuration, SecretSource};
use crate::text::Told as _;

/// Who else may read or write it.
const OTHERS: u32 = 0o077;
/// Of a folder: its group may look, as root's tools do.
const STRANGERS: u32 = 0o007;

/// File systems of other machines, by the kernel's number: a lock or a sync there means less than SQLite needs.
const REMOTE: [(u64, &str); 7] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
];

impl Doctor<'_> {
    /// Whether every secret can be read, and by its owner alone.
    pub(super) fn secrets(&self, configuration: Option<&Configuration>, report: &mut Report) {
        let lang = self.lang;
        let mut sources: Vec<(String, &SecretSource)> = Vec::new();
        for account in configuration.into_iter().flat_map(|all| all.accounts.values()) {
            let credentials = &account.credentials;
            let all = credentials.webhook_secrets().chain(&credentials.access_token);
            sources.extend(all.map(|source| (format!("[accounts.{}]", account.slug), source)));
        }
        for (name, webhook) in configuration.into_iter().flat_map(|all| &all.webhooks) {
            sources.push((format!("[webhooks.{name}]"), &webhook.secret));
        }
        if let DatabaseUrl::Secret(source) = &self.settings.database.url {
            sources.push(("[database]".into(), source));
        }
        let mut good = 0;
        for (whose, source) in &sources {
            // A credential is there for the service alone.
            let elsewhere = matches!(source, SecretSource::Credential(_))
                && std::env::var_os("CREDENTIALS_DIRECTORY").is_none();
            if elsewhere {
                let what = lang.pick(
                    format!("{whose} の秘密の値は systemd だけが渡します。ここからは確かめられません"),
                    format!("{whose}: systemd hands this one to the service alone; it cannot be looked at from here"),
                );
                report.add("secrets", Mark::Note, what, None);
                continue;
            }
            if let Err(error) = secret(source, &self.paths.config) {
                report.add("secrets", Mark::Fail, format!("{whose}: {}", error.told(lang)), None);
                continue;
            }
            let open = match source {
                SecretSource::File(path) => {
                    mode(&self.paths.config.join(path)).filter(|mode| mode & OTHERS != 0)
                }
                _ => None,
            };
            match (open, source) {
                (Some(mode), SecretSource::File(path)) => {
                    let path = self.paths.config.join(path).display().to_string();
                    let what = lang.pick(
                        format!("{path} を他の人も読めます（{:o}）", mode & 0o777),
                        format!("others may read {path} ({:o})", mode & 0o777),
                    );
                    report.add("secrets", Mark::Warn, what, Some(&format!("chmod 600 {path}")));
                }
                _ => good += 1,
            }
        }
        if good > 0 {
            let what = lang.pick(format!("{good}件を読めます"), format!("{good} can be read"));
            report.add("secrets", Mark::Good, what, None);
        }
    }

    pub(super) fn state_directory(&self, report: &mut Report) {
        let (lang, state) = (self.lang, &self.paths.state);
        let shown = state.display().to_string();
        let Some(mode) = mode(state) else {
            let what = lang.pick(format!("{shown} はまだありません"), format!("{shown} is not there yet"));
            report.add("state_directory", Mark::Note, what, None);
            return;
        };
        if mode & STRANGERS != 0 {
            let what = lang.pick(
                format!("{shown} に誰でも入れます（{:o}）", mode & 0o777),
                format!("anybody may enter {shown} ({:o})", mode & 0o777),
            );
            report.add("state_directory", Mark::Warn, what, Some(&format!("chmod 750 {shown}")));
        }
        let number = rustix::fs::statfs(state.as_path()).ok().map(|found| found.f_type as u64 & 0xffff_ffff);
        let remote = REMOTE.iter().find(|(known, _)| Some(*known) == number);
        match remote {
            Some((_, name)) => {
                let what = lang.pick(
                    format!("{shown} は {name} 上にあります。ロックと書き込みが保証されません"),
                    format!("{shown} is on {name}: locks and syncs there are not to be relied on"),
                );
                let next =
                    lang.pick("このマシンのディスクに移してください", "move it to a disk of this machine");
                report.add("state_directory", Mark::Warn, what, Some(next));
            }
            None if mode & STRANGERS == 0 => {
                let what = lang.pick(
                    format!("{shown}、このマシンのディスク"),
                    format!("{shown}, private, on a disk of this machine"),
                );
                report.add("state_directory", Mark::Good, what, None);
            }
            None => {}
        }
    }

    pub(super) fn disk(&self, report: &mut Report) {
        let lang = self.lang;
        let disk = Disk::below(&self.paths.state, self.settings.disk_warn_below);
        let Some(free) = disk.free() else { return };
        match disk.concern() {
            Some(concern) => {
                // A daemon tells of it with its concerns.
                if self.daemon.is_none() {
                    report.tell("", std::slice::from_ref(&concern));
                }
                report.add(
                    "disk",
                    Mark::Warn,
                    concern.what.told(lang).to_owned(),
                    Some(concern.next.told(lang)),
                );
            }
            None => {
                let free = size(free);
                report.add(
                    "disk",
                    Mark::Good,
                    lang.pick(format!("空き {free}"), format!("{free} free")),
                    None,
                );
            }
        }
    }

    /// How many files the daemon may have open: connections, database, requests.
    pub(super) fn limits(&self, report: &mut Report) {
        let lang = self.lang;
        let Some(process) = self.daemon.as_ref().and_then(|daemon| daemon.process) else { return };
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let Some(most) = line.and_then(|line| line.split_whitespace().next()) else { return };
        let wanted = u64::from(self.settings.http.connections_max) + 256;
        let enough = most.parse::<u64>().map_or(true, |most| most >= wanted);
        let what = lang.pick(format!("開けるファイル {most}"), format!("{most} open files"));
        if enough {
            report.add("limits", Mark::Good, what, None);
            return;
        }
        let next = lang.pick(
            format!("systemctl edit haishin で [Service] LimitNOFILE={wanted} 以上にしてください"),
            format!("systemctl edit haishin: [Service] LimitNOFILE={wanted} or more"),
        );
        report.add("limits", Mark::Warn, what, Some(&next));
    }

    /// How old the last backup is. Whether that is too old is a concern, where somebody wants to know.
    pub(super) fn backup(&self, database: Database, report: &mut Report) {
        let lang = self.lang;
        if database == Database::Server {
            let what = lang.pick(
                "PostgreSQL のツールで（docs/backup.md）",
                "by PostgreSQL's own tools (docs/backup.md)",
            );
            report.add("backup", Mark::Note, what.to_owned(), None);
            return;
        }
        let last = Last::read(&self.paths.state);
        let now = self.paths.began().unwrap_or_else(|| SystemClock::new().now());
        let late = self
            .settings
            .backup_warn_after
            .filter(|after| last.as_ref().is_none_or(|last| now - last.at > *after));
        let what = match &last {
            Some(last) => lang.pick(
                format!("最後は {}（{}、{}）", last.at, last.path, size(last.bytes)),
                format!("the last one is of {} ({}, {})", last.at, last.path, size(last.bytes)),
            ),
            None => lang.pick("haishin ではまだ作っていません", "haishin never made one here").to_owned(),
        };
        match (late, &last) {
            (Some(_), _) => report.add("backup", Mark::Warn, what, Some("haishin backup")),
            (None, Some(_)) => report.add("backup", Mark::Good, what, None),
            (None, None) => report.add("backup", Mark::Note, what, None),
        }
    }
}

/// The rights of a file; none where it is not there.
fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|found| found.permissions().mode())
}
