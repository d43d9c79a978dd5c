//! `cpi-hub migrate`: brings a database up to date without serving, or looks what that would be.
//!
//! Opens no journal and takes no lock but the database's own, so it may run beside hubs. Looking
//! makes no file and no directory.

use std::fs;
use std::path::Path;

use super::OpenError;
use super::migrate::MigrateStep;
use super::postgres::{self, DatabaseUrl, Search};
use super::sqlite::{DATABASE_FILE, schema};

/// What was missing from the PostgreSQL database, or from the embedded one in `data_dir`; unless
/// it is a dry run, it is there now. `search`: PostgreSQL's index of words too; the embedded one is
/// a hub's to make.
pub async fn upgrade(
    data_dir: &Path,
    url: Option<&DatabaseUrl>,
    search: bool,
    dry_run: bool,
) -> Result<Vec<MigrateStep>, OpenError> {
    if let Some(url) = url {
        return Ok(postgres::migrate(url, Search::of_a_tool(search), dry_run).await?);
    }
    if !dry_run {
        fs::create_dir_all(data_dir)
            .map_err(|error| OpenError::Io { path: data_dir.into(), error })?;
    }
    let path = data_dir.join(DATABASE_FILE);
    schema::migrate(&path, dry_run).map_err(|error| OpenError::Database { path, error })
}
