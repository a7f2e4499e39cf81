//! Connecting: durable commits asserted on each connection, no password in any error.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _};

use crate::store::{StoreError, migrate};

/// Connections at once: the owner's one or two, the inbox's one, the rest for reads.
const CONNECTIONS: u32 = 10;

/// How long a call waits for a connection while the server is away. Shorter than a lease: its owner notices in time.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often bringing the schema up to date is tried again beyond once for each migration, in each of which another
/// node may have been quicker.
const MORE_TRIES: usize = 5;

/// What a URL may say beyond user, host, port and database. Anything else would be written to the log with its value.
const PARAMETERS: [&str; 16] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "application_name",
];

/// How to connect to a `postgres://…`; no error and no log has a value of the URL.
pub(in crate::store) fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let key = parameter.split('=').next().unwrap_or_default();
        if !PARAMETERS.contains(&key) {
            let why = format!("the database's URL has an unknown parameter `{key}`");
            return Err(sqlx::Error::Configuration(why.into()));
        }
    }
    Ok(PgConnectOptions::from_str(url)?.disable_statement_logging())
}

/// What durability rests on; a setting that the server does not know is one it cannot have switched off.
pub(in crate::store) struct Durability {
    pub(in crate::store) synchronous_commit: Option<String>,
    pub(in crate::store) fsync: Option<String>,
}

impl Durability {
    /// Of a connection of haishin's, where a commit waits for the disk even if the server's others do not.
    pub(in crate::store) async fn of(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let found = Self::read(conn).await?;
        if found.commits_wait() {
            return Ok(found);
        }
        sqlx::query("SET synchronous_commit = on").execute(&mut *conn).await?;
        Self::read(conn).await
    }

    async fn read(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let read = "SELECT current_setting('synchronous_commit', true), current_setting('fsync', true)";
        let (synchronous_commit, fsync) = sqlx::query_as(read).fetch_one(conn).await?;
        Ok(Self { synchronous_commit, fsync })
    }

    /// Whether a commit is answered only once it is written.
    pub(in crate::store) fn commits_wait(&self) -> bool {
        matches!(self.synchronous_commit.as_deref(), None | Some("on" | "remote_apply"))
    }

    /// Whether what is written is on the disk.
    pub(in crate::store) fn writes_are_synced(&self) -> bool {
        self.fsync.as_deref() != Some("off")
    }

    fn refused(self) -> String {
        format!(
            "the server has synchronous_commit = {} and fsync = {}: haishin needs both on",
            self.synchronous_commit.unwrap_or_default(),
            self.fsync.unwrap_or_default()
        )
    }
}

/// A commit that is answered before it is on disk would be acknowledged, sent from, and then forgotten.
async fn assert_durable(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let found = Durability::of(conn).await?;
    if found.commits_wait() && found.writes_are_synced() {
        return Ok(());
    }
    Err(sqlx::Error::Configuration(found.refused().into()))
}

/// A pool on a schema that is up to date.
pub(super) async fn pool(url: &str) -> Result<PgPool, StoreError> {
    let opening = |source| StoreError::Failed { operation: "open the database", source };
    let options = options(url).map_err(opening)?;
    // The pool would try again until its time is up, and then say only that.
    let mut first = options.connect().await.map_err(opening)?;
    assert_durable(&mut first).await.map_err(opening)?;
    first.close().await.map_err(opening)?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .after_connect(|conn, _| Box::pin(assert_durable(conn)))
        .connect_lazy_with(options);
    migrate(&pool).await?;
    Ok(pool)
}

/// Two nodes that start at once may meet in the same migration: the second one's fails on what the first has just
/// created, and finds it done when it looks again. So no lock is taken, which not every PostgreSQL has.
async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let (mut tries, most) = (1, super::MIGRATOR.iter().count() + MORE_TRIES);
    loop {
        let mut conn = pool.acquire().await.map_err(migrate::failed)?;
        match migrate::run(&mut *conn, &super::MIGRATOR).await {
            Err(StoreError::Failed { .. }) if tries < most => tries += 1,
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commits_that_are_on_disk_are_durable() {
        let durable = |commit: Option<&str>, fsync: Option<&str>| {
            let of = |value: Option<&str>| value.map(str::to_owned);
            let found = Durability { synchronous_commit: of(commit), fsync: of(fsync) };
            found.commits_wait() && found.writes_are_synced()
        };
        assert!(durable(Some("on"), Some("on")) && durable(Some("remote_apply"), Some("on")));
        assert!(durable(None, None), "a server that does not know the setting cannot have switched it off");
        for commit in ["off", "local", "remote_write"] {
            assert!(!durable(Some(commit), Some("on")), "{commit}");
        }
        assert!(!durable(Some("on"), Some("off")));
    }

    #[test]
    fn an_unknown_parameter_is_named_without_its_value() {
        let error = options("postgres://haishin@db/haishin?sslmode=require&passwort=secret").unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("`passwort`") && !text.contains("secret"), "{text}");
        assert!(options("postgres://haishin:secret@db:65536/haishin").is_err());
        assert!(options("postgres://haishin:s%65cret@db:5432/haishin?sslmode=verify-full").is_ok());
    }
}
