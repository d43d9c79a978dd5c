//! Makes what a database lacks, however long that takes: over a connection of its own, whose
//! role's time limits are lifted, and with a word on how far it is.

use std::pin::pin;
use std::time::Duration;

use super::{BUILD_MAX, SchemaStep, let_go};
use crate::store::postgres::connect::{CallFault, Connection, DatabaseUrl, Means, within};

/// Between two words on how far an index is.
const TELL: Duration = Duration::from_secs(10);

/// Between two tries to have the table for a moment.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// How far the index is that is being built; nothing where the role may not see that.
const PROGRESS: &str = "SELECT phase::text, \
    (100 * blocks_done / nullif(blocks_total, 0))::int8, (lockers_total - lockers_done)::int8 \
    FROM pg_stat_progress_create_index WHERE relid = to_regclass('chat_messages')";

/// Does these steps, in order; `looking` holds the lock meanwhile.
pub(super) async fn all(
    looking: &Connection,
    url: &DatabaseUrl,
    steps: &[SchemaStep],
) -> Result<(), CallFault> {
    let builder = Connection::open_patient(url).await?;
    for step in steps {
        tracing::info!(step = step.name, "bringing the database up to date");
        for statement in &step.statements {
            until_free(looking, &builder, statement).await.map_err(with_advice)?;
        }
    }
    Ok(())
}

/// Does a statement that gives up soon where others hold the table, since everybody would queue up
/// behind it: again and again, ever more seldom.
async fn until_free(
    looking: &Connection,
    builder: &Connection,
    statement: &str,
) -> Result<(), CallFault> {
    let mut pause = FIRST_PAUSE;
    loop {
        match one(looking, builder, statement).await {
            Err(fault) if fault.is_locked_out() => {}
            done => return done,
        }
        if pause == FIRST_PAUSE {
            tracing::info!("chat_messages is in use; waiting for a moment in which it is not");
        }
        builder.run("migrate", "ROLLBACK").await?;
        // The lock of the schema is still held, or this ends.
        let_go(looking).await?;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

async fn one(looking: &Connection, builder: &Connection, statement: &str) -> Result<(), CallFault> {
    let done = within(BUILD_MAX, "migrate", builder.client.batch_execute(statement));
    let mut done = pin!(done);
    loop {
        tokio::select! {
            done = &mut done => return done,
            () = tokio::time::sleep(TELL) => tell(looking).await?,
        }
    }
}

async fn tell(looking: &Connection) -> Result<(), CallFault> {
    let rows = looking.query("look how far it is", PROGRESS, &[]).await?;
    let_go(looking).await?;
    let seen = rows.first().and_then(|row| {
        let number = |n| row.try_get::<_, Option<i64>>(n).ok().flatten().unwrap_or(0);
        Some((row.try_get::<_, Option<String>>(0).ok()??, number(1), number(2)))
    });
    match seen {
        Some((phase, percent, waits_for)) => {
            tracing::info!(phase, percent, waits_for, "an index is being built");
        }
        None => tracing::info!("the database is still being brought up to date"),
    }
    Ok(())
}

/// A limit that could not be lifted would cut each try.
fn with_advice(fault: CallFault) -> CallFault {
    if !fault.is_cut() {
        return fault;
    }
    let advice = "a time limit of the role or the pooler cut it, after which it has to begin anew: \
                  run `cpi-hub migrate` with the database's own address";
    CallFault::new("migrate", Means::Person, format!("{fault}; {advice}"))
}
