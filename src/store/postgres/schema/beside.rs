//! Does what can wait beside a hub that serves: over connections of its own, for as long as that
//! takes, without keeping a row from the table.
//!
//! Owns the task, which ends with whoever holds it. Never does what the hub can't do without.

use std::time::Duration;

use super::words::Search;
use super::{Aim, Reach, bring_up_to_date};
use crate::faults::{Faults, panic_place};
use crate::store::postgres::aside::Aside;
use crate::store::postgres::connect::{CallFault, Connection, DatabaseUrl, Means};

/// The task, for people.
const CHANGER: &str = "the change of the database";
/// Until the next try, where the database was away.
const SOON: Duration = Duration::from_secs(10);
/// Until the next try, where it can't do what was asked: somebody may give a right, or a disk room.
const LATER: Duration = Duration::from_secs(3600);

/// Work beside a hub that serves.
#[derive(Default, Debug)]
pub(in crate::store::postgres) struct Beside {
    task: Option<Aside>,
}

impl Beside {
    /// Begins, unless it goes on already.
    pub(in crate::store::postgres) fn begin(
        &mut self,
        url: &DatabaseUrl,
        search: Search,
        faults: &Faults,
    ) {
        if self.task.as_ref().is_none_or(Aside::is_over) {
            self.task = Some(Aside::begin(CHANGER, faults, until_done(url.clone(), search)));
        }
    }
}

async fn until_done(url: DatabaseUrl, search: Search) {
    let mut told = None;
    loop {
        let fault = match once(&url, search).await {
            Ok(()) => return,
            Err(fault) => fault,
        };
        let pause = if fault.means == Means::Away { SOON } else { LATER };
        if fault.means != Means::Away && told.as_ref() != Some(&fault) {
            tracing::warn!(
                %fault,
                "the database works as it is and can't be brought up to date by the hub's role; \
                 `cpi-hub migrate` by its owner does it"
            );
            told = Some(fault);
        }
        tokio::time::sleep(pause).await;
    }
}

async fn once(url: &DatabaseUrl, search: Search) -> Result<(), CallFault> {
    panic_place(CHANGER);
    let connection = Connection::open(url).await?;
    let brought = bring_up_to_date(&connection, url, Aim { reach: Reach::All, search }).await?;
    if !brought.done.is_empty() {
        tracing::info!("the database is up to date");
    }
    Ok(())
}
