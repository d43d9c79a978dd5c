//! A hub on an empty database: what is said is there, is found again, and costs an index.

use serde_json::json;

use crate::support::postgres::Cluster;
use crate::support::{Hub, UNLIMITED, eventually};

/// A hub on a cluster's database, without rate limits.
pub fn hub_on(cluster: &Cluster) -> Hub {
    hub_with(cluster, &[])
}

pub fn hub_with(cluster: &Cluster, args: &[&str]) -> Hub {
    let url = cluster.url();
    let all = ["--database-url", &url].into_iter().chain(UNLIMITED).chain(args.iter().copied());
    Hub::start(&all.collect::<Vec<&str>>())
}

/// Posts one message; the status, and the message as answered.
pub fn post(hub: &Hub, (space, user): (i32, i32), text: &str) -> (u16, serde_json::Value) {
    let body = json!({"space_id": space, "user_id": user, "username": "Ana Paz", "message": text});
    let answer = hub.post(&format!("/v1/ws/spaces/{space}/chat"), &body.to_string());
    let message = answer.json()["chat_message"].clone();
    (answer.status, message)
}

/// Waits until the store is in a state, as `/readyz` names it.
pub fn until_store_is(hub: &Hub, state: &str) {
    eventually(state, || (hub.get("/readyz").json()["store"] == state).then_some(()));
}

pub fn chat_is_stored_and_read_back() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    let mut ana = hub.join(7, 1, "Ana Paz");
    let texts = ["hola", "ñandú 😀", "'; DROP TABLE chat_messages; --", "a\tb\\N\n\"c\"", " "];
    let mut said = Vec::new();
    for text in texts {
        ana.chat(text);
        said.push(ana.next_of("chat")["data"].clone());
        let (status, message) = post(&hub, (7, 2), text);
        assert_eq!(status, 200, "the answer waits for the commit");
        said.push(message);
        assert_eq!(Some(&ana.next_of("chat")["data"]), said.last());
    }
    let rows = hub.history_of(7, said.len());
    assert_eq!(rows, said, "ids, texts, names and times are those of the frames");
    let page = hub.get("/v1/messages?space_id=7&page_size=4&page=2").json();
    assert_eq!(page["total"], said.len());
    let ids = |rows: &serde_json::Value| -> Vec<String> {
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids(&page["data"]), ids(&json!(said[4..8])));
    assert_eq!(page["data"][0]["created_at"], said[4]["timestamp"]);
    // The wall clock of Buenos Aires, whatever zone the server is in.
    let wall = cluster.sql(
        "hub",
        "SELECT id, to_char(timestamp, 'YYYY-MM-DD\"T\"HH24:MI:SS.US') \
                                   FROM chat_messages ORDER BY id LIMIT 1",
    );
    let time = said[0]["timestamp"].as_str().expect("a time").trim_end_matches("-03:00");
    assert_eq!(wall, [format!("{}|{time}", said[0]["id"].as_str().expect("an id"))]);
    assert_eq!(hub.stop("TERM").code(), Some(0));
    hub.restart();
    let (_, later) = post(&hub, (7, 2), "después");
    assert!(later["id"].as_str() > said[9]["id"].as_str(), "ids go on ascending");
    assert_eq!(hub.history(7).len(), said.len() + 1);
    // The journals of the run before are stored and forgotten.
    eventually("positions are forgotten", || {
        let journals = "SELECT count(*) FROM hub_positions WHERE journal <> 'adopted'";
        (cluster.sql("hub", journals)[0].parse::<usize>().expect("a number") <= 1).then_some(())
    });
}

/// Scans counted by the server itself, each session's when it comes to it: so queries are asked
/// often, and looked at once their scans of indexes are all there.
fn no_query_reads_the_whole_table(cluster: &Cluster, hub: &Hub) {
    let scans = || -> (u64, u64) {
        let sql = "SELECT seq_scan || ' ' || idx_scan FROM pg_stat_user_tables \
                   WHERE relname = 'chat_messages'";
        let row = cluster.sql("hub", sql);
        let (table, index) = row[0].split_once(' ').expect("two numbers");
        (table.parse().expect("a number"), index.parse().expect("a number"))
    };
    let before = scans();
    for _ in 0..40 {
        for path in [
            "/v1/messages?space_id=1&page=300&page_size=50&order_by=timestamp",
            "/v1/messages?space_id=1&page=300&page_size=50&order_by=id&sort_direction=asc",
            "/v1/spaces/1/messages?limit=100",
            "/v1/spaces/1/messages?after=01ARZ3NDEKTSV4RRFFQ0001000&limit=100",
            "/v1/spaces/1/messages?before=01ARZ3NDEKTSV4RRFFQ0001000&limit=100",
        ] {
            assert_eq!(hub.get(path).status, 200, "{path}");
        }
    }
    let after = eventually("the server has counted nearly all of it", || {
        Some(scans()).filter(|(_, index)| *index >= before.1 + 4_000)
    });
    assert!(after.0 < before.0 + 20, "no query reads the whole table: {before:?} {after:?}");
}

pub fn pages_and_ranges_are_found_in_an_index_at_any_depth() {
    pages_and_ranges_of(&Cluster::start(&[]));
}

pub fn pages_and_ranges_of_others_tables_are_found_in_an_index_too() {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", OTHERS);
    pages_and_ranges_of(&cluster);
}

/// The existing server's table, without what it refers to.
pub const OTHERS: &str = "CREATE TABLE chat_messages (id TEXT PRIMARY KEY, content TEXT NOT NULL, \
    user_id INT NOT NULL, username TEXT NOT NULL, space_id INT NOT NULL, \
    timestamp TIMESTAMP NOT NULL DEFAULT now())";

fn pages_and_ranges_of(cluster: &Cluster) {
    let hub = hub_on(cluster);
    // Two messages an instant, so that ids decide; another space around it.
    cluster.sql(
        "hub",
        "INSERT INTO chat_messages SELECT '01ARZ3NDEKTSV4RRFFQ' || \
         upper(lpad(to_hex(n), 7, '0')), 'm' || n, 1, 'Ana', 1 + n % 2, \
         timestamp '2026-01-01' + (n / 4) * interval '1 second' FROM generate_series(1, 40000) n",
    );
    cluster.sql("hub", "VACUUM ANALYZE chat_messages");
    let model = |order: &str, page: usize| {
        cluster.sql(
            "hub",
            &format!(
                "SELECT id FROM chat_messages WHERE space_id = 1 \
             ORDER BY {order} OFFSET {} LIMIT 50",
                (page - 1) * 50
            ),
        )
    };
    let check = |page: usize| {
        for (query, order) in [
            ("order_by=timestamp&sort_direction=desc", "timestamp DESC, id COLLATE \"C\" DESC"),
            ("order_by=timestamp&sort_direction=asc", "timestamp, id COLLATE \"C\""),
            ("order_by=id", "id COLLATE \"C\" DESC"),
            ("order_by=id&sort_direction=asc", "id COLLATE \"C\""),
            ("", "timestamp, id COLLATE \"C\""),
        ] {
            let path = format!("/v1/messages?space_id=1&page_size=50&page={page}&{query}");
            let answer = hub.get(&path).json();
            assert_eq!(answer["total"], 20_000);
            let rows = answer["data"].as_array().expect("rows");
            let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().expect("id")).collect();
            assert_eq!(ids, model(order, page), "page {page} {query}");
        }
    };
    [1, 2, 83, 200, 399, 400, 401].into_iter().for_each(check);
    // From where the last ones were found, before them, and far behind them.
    [200, 201, 195, 231, 260, 150, 211, 200].into_iter().for_each(check);
    // Where one of those rows is gone, the others are found all the same.
    for page in [200, 201, 150] {
        let first = model("timestamp, id COLLATE \"C\"", page)[0].clone();
        let swap = format!(
            "DELETE FROM chat_messages WHERE id = '{first}'; INSERT INTO chat_messages VALUES \
             ('{first}0', 'again', 1, 'Ana', 1, timestamp '2026-01-01')"
        );
        cluster.sql("hub", &swap);
        let path = format!("/v1/messages?space_id=1&page_size=50&page={page}");
        let rows = hub.get(&path).json()["data"].as_array().expect("rows").len();
        assert_eq!(rows, 50, "page {page}");
    }
    no_query_reads_the_whole_table(cluster, &hub);
    let range = |query: &str| -> Vec<String> {
        let rows = hub.get(&format!("/v1/spaces/1/messages?{query}&limit=3")).json();
        let text = |row: &serde_json::Value| row["content"].as_str().expect("text").to_owned();
        rows["data"].as_array().expect("rows").iter().map(text).collect()
    };
    assert_eq!(range("after=01ARZ3NDEKTSV4RRFFQ0000010"), ["m18", "m20", "m22"]);
    assert_eq!(range("before=01ARZ3NDEKTSV4RRFFQ0000010"), ["m10", "m12", "m14"]);
    let between = "after=01ARZ3NDEKTSV4RRFFQ0000010&before=01ARZ3NDEKTSV4RRFFQ0000014";
    assert_eq!(range(between), ["m18"]);
    assert_eq!(range(""), ["m39996", "m39998", "m40000"]);
}

pub fn of_many_hubs_that_start_at_once_one_serves_at_a_time() {
    let cluster = Cluster::start(&[]);
    let url = cluster.url();
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    let mut hubs: Vec<Hub> = (0..4).map(|_| Hub::start_waiting(&args)).collect();
    for space in 1..=4 {
        let serving = eventually("one of them serves", || {
            let ready = |hub: &Hub| hub.get("/readyz").status == 200;
            let ready: Vec<usize> = (0..hubs.len()).filter(|n| ready(&hubs[*n])).collect();
            assert!(ready.len() <= 1, "{ready:?} serve at once");
            ready.first().copied()
        });
        let mut hub = hubs.swap_remove(serving);
        assert_eq!(post(&hub, (space, 1), "hola").0, 200);
        assert_eq!(hub.history(space).len(), 1);
        assert!(hub.stop("TERM").success());
    }
    let once = "SELECT count(*) = max(number) FROM hub_migrations";
    assert_eq!(cluster.sql("hub", once), ["t"], "each script was applied once");
}

pub fn an_index_that_was_left_invalid_is_built_again() {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", OTHERS);
    let mut hub = hub_on(&cluster);
    hub.stop("TERM");
    cluster.sql("hub", "DROP INDEX chat_messages_space_id_id");
    cluster.sql(
        "hub",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = \
                        'chat_messages_space_id_timestamp_id'::regclass",
    );
    hub.restart();
    until_store_is(&hub, "ready");
    let valid = "SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = \
                 'chat_messages'::regclass";
    assert_eq!(cluster.sql("hub", valid), ["3"]);
}
