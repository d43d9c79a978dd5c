//! What the hub does with the rights it has, and with tables of users and spaces that are not as
//! the existing server's.

use super::adopted::adopted;
use super::refusals::{letters, until_raised};
use super::stored::{hub_with, post, until_store_is};
use crate::support::health::{mended, planted};
use crate::support::postgres::Cluster;
use crate::support::{Hub, UNLIMITED, eventually, run_hub};
use cpi_hub::conditions::Condition;

/// What docs/POSTGRES.md says that the role needs, once the tables are there.
const RIGHTS: &str = "GRANT SELECT, INSERT ON chat_messages TO ana; \
    GRANT SELECT, INSERT, UPDATE, DELETE ON hub_positions, hub_nodes TO ana; \
    GRANT SELECT ON hub_migrations, hub_store TO ana";
const PEOPLE: &str = "GRANT SELECT (id, image) ON users TO ana; GRANT SELECT (id) ON spaces TO ana";

/// A hub on the existing server's database, whose role has just these rights.
fn hub_of_ana(cluster: &Cluster, rights: &[&str]) -> Hub {
    let owner = run_hub(&["migrate"], &[("DATABASE_URL", &cluster.url())]);
    assert!(owner.status.success(), "{}", String::from_utf8_lossy(&owner.stderr));
    cluster.sql("hub", &format!("CREATE ROLE ana LOGIN; {}", rights.join("; ")));
    let url = cluster.url_of("ana", "hub");
    let args = ["--database-url", &url, "--absent-window", "0s"].into_iter().chain(UNLIMITED);
    let hub = Hub::start(&args.collect::<Vec<_>>());
    until_store_is(&hub, "ready");
    hub
}

/// A message of nobody among those of somebody: it alone is a dead letter.
fn check_nobody(cluster: &Cluster, hub: &Hub) {
    let (mut ana, mut nobody) = (hub.join(1, 1, "Ana Paz"), hub.join(1, 99, "Nadie"));
    nobody.chat("nadie");
    let mut said = Vec::new();
    for number in 0..30 {
        ana.chat(&format!("a{number}"));
        said.push(format!("a{number}"));
    }
    let sql = "SELECT content FROM chat_messages WHERE content ~ '^a[0-9]+$' \
               ORDER BY id COLLATE \"C\"";
    eventually("the others' are stored", || (cluster.sql("hub", sql) == said).then_some(()));
    let found = eventually("it is kept", || Some(letters(hub)).filter(|all| !all.is_empty()));
    assert_eq!((found.len(), &*found[0].0), (1, "nadie"));
    assert!(found[0].1.contains("23503, chat_messages_user_id_fkey"), "{}", found[0].1);
    // From now on it is told at once.
    assert_eq!(post(hub, (1, 99), "otra vez").0, 422);
    assert_eq!(post(hub, (1, 2), "y yo").0, 200);
    assert_eq!(hub.get("/readyz").json()["store"], "ready");
}

pub fn a_role_with_the_rights_of_the_readme_lacks_nothing() {
    let cluster = adopted();
    let hub = hub_of_ana(&cluster, &[RIGHTS, PEOPLE]);
    assert_eq!(hub.get("/readyz").json()["status"], "ready", "nothing is missing");
    assert!(!hub.log().contains("lacks rights"), "{}", hub.log());
    let page = hub.get("/v1/messages?space_id=1");
    let rows = page.json()["data"].clone();
    assert_eq!((page.status, rows.as_array().map(Vec::len)), (200, Some(3)));
    assert!(rows.as_array().is_some_and(|rows| rows.iter().any(|row| row["image"] != "")));
    assert_eq!(hub.get("/v1/spaces/1").json()["name"], "", "names are not needed");
    check_nobody(&cluster, &hub);
}

pub fn a_user_that_does_not_exist_holds_up_nobody_where_users_can_not_be_read() {
    let cluster = adopted();
    let hub = hub_of_ana(&cluster, &[RIGHTS]);
    assert_eq!(until_raised(&hub, "rights_missing"), "SELECT on users, SELECT on spaces");
    let health = hub.get("/readyz");
    assert_eq!((health.status, &*health.json()["status"].to_string()), (200, "\"degraded\""));
    planted(&hub, Condition::RightsMissing);
    assert_eq!(hub.log().matches("lacks rights").count(), 1, "{}", hub.log());
    check_nobody(&cluster, &hub);
    cluster.sql("hub", PEOPLE);
    let mut number = 0;
    eventually("it is seen that they are granted", || {
        number += 1;
        assert_eq!(post(&hub, (1, 1), &format!("n{number}")).0, 200);
        (hub.get("/readyz").json()["status"] == "ready").then_some(())
    });
    mended(&hub, Condition::RightsMissing);
}

pub fn a_user_that_does_not_exist_holds_up_nobody_without_a_table_of_spaces() {
    let cluster = adopted();
    cluster.sql("hub", "DROP TABLE spaces CASCADE");
    let hub = hub_with(&cluster, &["--absent-window", "0s"]);
    check_nobody(&cluster, &hub);
}

pub fn a_table_of_users_that_messages_do_not_refer_to_is_not_asked() {
    let cluster = adopted();
    // Messages refer to people; a table of that name knows none of them.
    cluster.sql(
        "hub",
        "ALTER TABLE users RENAME TO people; CREATE TABLE users (id INT PRIMARY KEY, image TEXT)",
    );
    let hub = hub_with(&cluster, &["--absent-window", "0s"]);
    check_nobody(&cluster, &hub);
}
