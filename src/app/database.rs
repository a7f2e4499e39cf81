//! Which database, and where.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{Paths, secret};
use crate::config::node::{DatabaseUrl, Node as NodeSettings};
use crate::config::{ExposeSecret as _, SecretString};
use crate::lang::Lang;

/// Where the truth is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// In a file of ours.
    Embedded(PathBuf),
    /// At a server that has its own tools.
    Server,
}

impl Database {
    pub(super) fn of(url: &SecretString) -> Self {
        let path = url.expose_secret().strip_prefix("sqlite://");
        path.map_or(Self::Server, |path| Self::Embedded(path.into()))
    }
}

/// The database's URL; a relative SQLite path lies in the state directory.
pub(super) fn database_url(
    settings: &NodeSettings,
    paths: &Paths,
    lang: Lang,
) -> anyhow::Result<SecretString> {
    let url = match &settings.database.url {
        DatabaseUrl::Secret(source) => {
            let doing = lang.pick("データベースの URL を読めません", "the database's URL cannot be read");
            return secret(source, &paths.config).context(doing);
        }
        DatabaseUrl::Plain(url) => url,
    };
    let path = url.strip_prefix("sqlite:").map(|path| paths.state.join(path.trim_start_matches("//")));
    let url = path.map_or(url.clone(), |path| format!("sqlite://{}", path.display()));
    Ok(SecretString::from(url))
}
