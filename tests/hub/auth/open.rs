//! A hub that asks nobody who they are.

use cpi_hub::conditions::Condition;

use super::SECRET;
use crate::support::health::{begun_anew_by, planted};
use crate::support::{Hub, eventually};

#[test]
fn a_hub_that_is_open_to_other_machines_says_so_until_it_asks_who_is_who() {
    let mut hub = Hub::start(&["--listen", "0.0.0.0:0", "--insecure"]);
    let detail = planted(&hub, Condition::Unauthenticated);
    assert!(detail.starts_with("it listens on 0.0.0.0:0"), "{detail}");
    let is_ready = || (hub.get("/readyz").json()["status"] == "ready").then_some(());
    eventually("it is ready for all that", is_ready);
    hub.stop("TERM");
    let file = hub.data_dir().join("secret");
    std::fs::write(&file, SECRET).expect("a file");
    let file = file.to_str().expect("a text path").to_owned();
    let keys = hub.data_dir().join("keys");
    let (key, line) = super::new_key("scrape", "metrics");
    super::write_keys(&keys, &[&line]);
    let keys = keys.to_str().expect("a text path").to_owned();
    let args = ["--listen", "0.0.0.0:0", "--jwt-secret-file", &file, "--api-keys-file", &keys];
    hub.restart_with(&args);
    let ask = |path: &str| super::get(&hub, path, &key);
    begun_anew_by(ask, Condition::Unauthenticated);
    assert_eq!(hub.get("/metrics").status, 401);
}

#[test]
fn a_hub_that_still_waits_for_its_database_asks_who_is_who_too() {
    let database = "postgresql://hub:canary-password@127.0.0.1:1/hub";
    let env = [("HUB_JWT_SECRET", SECRET), ("DATABASE_URL", database)];
    let hub = Hub::start_waiting_with_env(&["--log", "trace"], &env);
    eventually("it waits", || (hub.get("/readyz").status == 503).then_some(()));
    assert_eq!(hub.get("/livez").status, 200);
    let good = super::token(serde_json::json!({}));
    assert_eq!(
        (hub.get("/metrics").status, super::get(&hub, "/metrics", &good).status),
        (401, 403)
    );
    assert_eq!(super::get(&hub, "/v1/messages?space_id=5", &good).status, 503);
    let log = hub.log();
    assert!(!log.contains("canary") && !log.contains(&good), "{log}");
}

#[test]
fn without_a_secret_all_is_as_it_was() {
    let hub = Hub::start(&[]);
    // What is no token is not read.
    let headers = [("Authorization", "Bearer nonsense"), ("X-Api-Key", "nonsense")];
    for path in ["/metrics", "/v1/spaces", "/v1/messages?space_id=5&token=x"] {
        assert_eq!(hub.request("GET", path, &headers, b"").status, 200, "{path}");
    }
    let answer = super::shake(&hub, "/v1/ws/spaces/5?user_id=8&token=x", "");
    assert_eq!(answer.status, 101);
    assert!(!hub.has_condition("unauthenticated"), "it listens to loopback");
}
