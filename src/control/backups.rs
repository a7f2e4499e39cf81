//! Who makes copies of the database, as the node asks for them: the composition root, which knows what database it is.

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::node::Node;
use crate::concern::Concern;
use crate::lang::Lang;
use crate::protocol::{Answer, Failure, Reply};

/// How it stands with backups.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// For programs; none where the database has its own tools.
    pub json: Option<serde_json::Value>,
    /// The last one is too old.
    pub concern: Option<Concern>,
}

/// Makes backups and knows of the last one.
#[async_trait]
pub trait Backups: Send + Sync {
    /// Makes one. How far it is goes to `replies`; nobody listening any more ends it.
    ///
    /// # Errors
    /// There is none, and nothing is left of it.
    async fn backup(
        &self,
        to: Option<PathBuf>,
        by: &str,
        lang: Lang,
        replies: &mpsc::Sender<Reply>,
    ) -> Result<Answer, Failure>;
    /// How it stands.
    fn standing(&self) -> Standing;
}

impl Node {
    pub(super) async fn backup(
        &self,
        to: Option<String>,
        by: &str,
        lang: Lang,
        replies: &mpsc::Sender<Reply>,
    ) -> Result<Answer, Failure> {
        // Whoever asks and whoever writes stand in different folders.
        if to.as_ref().is_some_and(|to| PathBuf::from(to).is_relative()) {
            let message = lang
                .pick("バックアップ先は絶対パスで指定してください", "name the backup by its absolute path");
            return Err(Failure { code: "invalid".into(), message: message.into() });
        }
        match &self.backups {
            Some(backups) => backups.backup(to.map(PathBuf::from), by, lang, replies).await,
            None => {
                let message = lang.pick(
                    "この haishin はバックアップを作れません。データベースのツールを使ってください",
                    "no backups are made here: use the database's own tools",
                );
                Err(Failure { code: "invalid".into(), message: message.into() })
            }
        }
    }
}
