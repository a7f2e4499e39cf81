//! Configuration versions.

use super::data::Data;
use crate::domain::id::VersionId;
use crate::store::codec::text;
use crate::store::{ConfigVersion, NewVersion};

pub(super) fn active(data: &Data) -> Option<ConfigVersion> {
    version(data, *data.active.get(&())?)
}

pub(super) fn version(data: &Data, id: VersionId) -> Option<ConfigVersion> {
    data.versions.get(&id.0).cloned()
}

pub(super) fn activate(data: &mut Data, expected: Option<VersionId>, new: &NewVersion) -> Option<VersionId> {
    let current = data.active.get(&()).copied();
    if current != expected {
        return None;
    }
    if active(data).is_some_and(|version| version.digest == new.digest) {
        return current;
    }
    let id = VersionId(data.versions.last().copied().unwrap_or(0) + 1);
    let NewVersion { digest, files, activated_at, activated_by } = new.clone();
    let activated_by = text(&activated_by).into_owned();
    data.versions.set(id.0, ConfigVersion { id, digest, files, activated_at, activated_by });
    data.active.set((), id);
    Some(id)
}
