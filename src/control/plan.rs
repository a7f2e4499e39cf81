//! What files change against what runs, and making them run.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::config::{self, Checked, Configuration, Source, Style};
use crate::domain::id::{CampaignSlug, VersionId};
use crate::domain::schedule::When;
use crate::domain::time::{Instant, Tz};
use crate::engine::Active;
use crate::lang::Lang;
use crate::protocol::{Answer, Failure};
use crate::store::{ConfigVersion, NewVersion, Store};

/// Files with what the check said of them.
pub struct Plan {
    /// The files.
    pub source: Source,
    /// The check.
    pub checked: Checked,
}

/// Checks files.
pub fn check(files: BTreeMap<String, String>, now: Instant) -> Plan {
    let source = Source { files, ..Source::default() };
    let checked = config::parse(&source, now);
    Plan { source, checked }
}

/// How the files differ from the running version.
pub fn describe(active: Option<&ConfigVersion>, plan: &Plan, lang: Lang) -> Answer {
    let empty = BTreeMap::new();
    let before = active.map_or(&empty, |active| &active.files);
    let after = &plan.source.files;
    let mut lines = Vec::new();
    let mut changes = Vec::new();
    let mut note = |mark: &str, what: &str, path: &String| {
        lines.push(format!("  {mark} {path}"));
        changes.push(json!({ "change": what, "path": path }));
    };
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        note("+", "added", path);
    }
    for (path, text) in after {
        if before.get(path).is_some_and(|old| old != text) {
            note("~", "changed", path);
        }
    }
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        note("-", "removed", path);
    }
    let version = active.map(|active| active.id);
    let errors = plan.checked.configuration.is_none();
    let head = match (lang, version) {
        (Lang::Ja, Some(version)) => format!("有効な版: {version}"),
        (Lang::En, Some(version)) => format!("running: version {version}"),
        (Lang::Ja, None) => "有効な版はまだありません".into(),
        (Lang::En, None) => "nothing runs yet".into(),
    };
    lines.insert(0, head);
    if changes.is_empty() {
        lines.push(lang.pick("  変更はありません。", "  no changes.").into());
    }
    if errors {
        lines.push(
            lang.pick(
                "  誤りがあるため有効にできません: haishin check",
                "  there are errors, so these files cannot go live: haishin check",
            )
            .into(),
        );
    }
    let json = json!({ "running_version": version, "changes": changes, "valid": !errors });
    Answer { text: lines.join("\n"), json, exit: u8::from(errors) }
}

/// Stores the files as the running version, if they are valid and `expected` still runs.
pub async fn activate(
    store: &dyn Store,
    plan: Plan,
    expected: Option<VersionId>,
    by: &str,
    now: Instant,
    lang: Lang,
) -> Result<Active, Failure> {
    let Some(configuration) = plan.checked.configuration else {
        let message = config::render(&plan.checked.diagnostics, &plan.source, "", lang, Style::Plain);
        return Err(Failure { code: "invalid".into(), message });
    };
    one_shots(store, &configuration, now, lang).await?;
    let new = NewVersion {
        digest: plan.source.digest(),
        files: plan.source.files,
        activated_at: now,
        activated_by: by.to_owned(),
    };
    let activated =
        store.activate(expected, &new).await.map_err(|error| Failure::unavailable(&error, lang))?;
    let Some(version) = activated else {
        let message = lang.pick(
            "見せた版と違う版が有効になっています。もう一度 haishin plan で確かめてください。",
            "another version went live meanwhile: look at `haishin plan` again",
        );
        return Err(Failure { code: "conflict".into(), message: message.into() });
    };
    let stored = store.version(version).await.map_err(|error| Failure::unavailable(&error, lang))?;
    let activated_at = stored.map_or(now, |stored| stored.activated_at);
    Ok(Active { version, activated_at, configuration: Arc::new(configuration) })
}

/// A one-shot fires once: after it ran, another `at` needs a new `rerun`; before it ran, an `at` of the past would
/// never fire.
async fn one_shots(
    store: &dyn Store,
    configuration: &Configuration,
    now: Instant,
    lang: Lang,
) -> Result<(), Failure> {
    let accounts = store.accounts().await.map_err(|error| Failure::unavailable(&error, lang))?;
    let mut wrong: Vec<String> = Vec::new();
    for campaign in configuration.campaigns.values() {
        let When::Once(at) = campaign.schedule.when else { continue };
        let account = configuration.accounts.get(&campaign.dispatch.account);
        let shown = |at: Instant| at.rfc3339(account.map_or(Tz::UTC, |account| account.policy.zone));
        let mut ran = None;
        if let Some(account) = accounts.iter().find(|row| row.slug == campaign.dispatch.account) {
            let last = store.last_run(account.id, &campaign.dispatch.slug, campaign.rerun).await;
            ran = last.map_err(|error| Failure::unavailable(&error, lang))?;
        }
        wrong.extend(match ran {
            Some(row) if row.due_at != at => {
                Some(ran_already(&campaign.dispatch.slug, &shown(row.due_at), lang))
            }
            None if at <= now && !campaign.draft => Some(too_late(&campaign.dispatch.slug, &shown(at), lang)),
            _ => None,
        });
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure { code: "invalid".into(), message: wrong.join("\n") })
}

fn ran_already(slug: &CampaignSlug, ran_at: &str, lang: Lang) -> String {
    lang.pick(
        format!("{slug}: {ran_at} に配信済みです。もう一度配信するには rerun を1つ増やしてください。"),
        format!("{slug}: it already ran at {ran_at}; to send it again, raise `rerun` by one"),
    )
}

fn too_late(slug: &CampaignSlug, at: &str, lang: Lang) -> String {
    lang.pick(
        format!(
            "{slug}: {at} はもう過ぎています。schedule.at を先の時刻にするか、draft = true にしてください。"
        ),
        format!("{slug}: {at} is already past; set `schedule.at` to a later instant, or `draft = true`"),
    )
}
