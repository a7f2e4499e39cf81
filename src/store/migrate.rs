//! Bringing a schema up to date.

use sqlx::migrate::{Migrate, Migrator};

use super::StoreError;

pub(super) fn failed(source: sqlx::Error) -> StoreError {
    StoreError::Failed { operation: "bring the schema up to date", source }
}

/// Runs what is missing. A schema with migrations unknown here was written by a newer haishin: it is left alone.
pub(super) async fn run(conn: &mut impl Migrate, migrator: &'static Migrator) -> Result<(), StoreError> {
    let table = "_sqlx_migrations";
    conn.ensure_migrations_table(table).await.map_err(|error| failed(error.into()))?;
    let applied = conn.list_applied_migrations(table).await.map_err(|error| failed(error.into()))?;
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    match applied.iter().map(|migration| migration.version).max() {
        Some(found) if found > known => Err(StoreError::TooNew { found, known }),
        _ => migrator.run_direct(None, conn, false).await.map_err(|error| failed(error.into())),
    }
}
