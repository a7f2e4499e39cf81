//! Configuration versions.

use std::collections::BTreeMap;

use super::{Connection, failed};
use crate::domain::id::VersionId;
use crate::store::codec::{digest, instant, text};
use crate::store::{ConfigVersion, NewVersion, StoreError};

statements! {
    ACTIVE = "SELECT v.id, v.digest, v.activated_at, v.activated_by, f.path, f.text FROM config_active a \
              JOIN config_version v ON v.id = a.version LEFT JOIN config_file f ON f.version = v.id";
    VERSION = "SELECT v.id, v.digest, v.activated_at, v.activated_by, f.path, f.text FROM config_version v \
               LEFT JOIN config_file f ON f.version = v.id WHERE v.id = $1";
    // Takes the one row, so that the comparison below and the change are one.
    LOCK = "UPDATE config_active SET version = version";
    CURRENT = "SELECT a.version, v.digest FROM config_active a LEFT JOIN config_version v ON v.id = a.version";
    LAST = "SELECT COALESCE(MAX(id), 0) FROM config_version";
    ADD = "INSERT INTO config_version (id, digest, activated_at, activated_by) VALUES ($1, $2, $3, $4)";
    ADD_FILE = "INSERT INTO config_file (version, path, text) VALUES ($1, $2, $3)";
    ACTIVATE = "UPDATE config_active SET version = $1";
}

type Row = (i64, Vec<u8>, i64, String, Option<String>, Option<String>);

fn assemble(rows: Vec<Row>) -> Result<Option<ConfigVersion>, StoreError> {
    let mut version: Option<ConfigVersion> = None;
    for (id, sha256, activated_at, activated_by, path, text) in rows {
        let version = match &mut version {
            Some(version) => version,
            none => none.insert(ConfigVersion {
                id: VersionId(id),
                digest: digest(&format!("config_version {id}, column digest"), &sha256)?,
                files: BTreeMap::new(),
                activated_at: instant(activated_at),
                activated_by,
            }),
        };
        if let (Some(path), Some(text)) = (path, text) {
            version.files.insert(path, text);
        }
    }
    Ok(version)
}

pub(super) async fn active_version(conn: &mut Connection) -> Result<Option<ConfigVersion>, StoreError> {
    let rows = sqlx::query_as(ACTIVE).fetch_all(conn).await;
    assemble(rows.map_err(failed("read the active configuration"))?)
}

pub(super) async fn version(
    conn: &mut Connection,
    id: VersionId,
) -> Result<Option<ConfigVersion>, StoreError> {
    let rows = sqlx::query_as(VERSION).bind(id.0).fetch_all(conn).await;
    assemble(rows.map_err(failed("read a configuration version"))?)
}

pub(super) async fn activate(
    conn: &mut Connection,
    expected: Option<VersionId>,
    new: &NewVersion,
) -> Result<Option<VersionId>, StoreError> {
    const ACTIVATING: &str = "activate a configuration";
    sqlx::query(LOCK).execute(&mut *conn).await.map_err(failed(ACTIVATING))?;
    let (current, current_digest): (Option<i64>, Option<Vec<u8>>) =
        sqlx::query_as(CURRENT).fetch_one(&mut *conn).await.map_err(failed(ACTIVATING))?;
    let current = current.map(VersionId);
    if current != expected {
        return Ok(None);
    }
    if current_digest.as_deref() == Some(new.digest.as_slice()) {
        return Ok(current);
    }
    let (last,): (i64,) = sqlx::query_as(LAST).fetch_one(&mut *conn).await.map_err(failed(ACTIVATING))?;
    let id = last + 1;
    let add = sqlx::query(ADD)
        .bind(id)
        .bind(new.digest.as_slice())
        .bind(new.activated_at.as_millis())
        .bind(text(&new.activated_by).into_owned());
    add.execute(&mut *conn).await.map_err(failed(ACTIVATING))?;
    for (path, content) in &new.files {
        let file = sqlx::query(ADD_FILE).bind(id).bind(path.as_str()).bind(content.as_str());
        file.execute(&mut *conn).await.map_err(failed(ACTIVATING))?;
    }
    sqlx::query(ACTIVATE).bind(id).execute(conn).await.map_err(failed(ACTIVATING))?;
    Ok(Some(VersionId(id)))
}
