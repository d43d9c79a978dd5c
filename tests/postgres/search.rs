//! What was said, found by its words: the index is made beside a hub that serves, of the hub's
//! tables and of others', and goes with the setting.

use std::collections::BTreeSet;

use serde_json::Value;

use super::stored::{OTHERS, hub_with, post};
use crate::support::postgres::Cluster;
use crate::support::{Hub, eventually, run_hub};

const INDEX: &str = "SELECT count(*) FROM pg_class WHERE relname = 'hub_messages_words'";

fn search(hub: &Hub, space: i32, query: &str) -> Value {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let answer = hub.get(&format!("/v1/spaces/{space}/search?q={escaped}&limit=100"));
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

fn until_complete(hub: &Hub) {
    eventually("the index is complete", || (search(hub, 1, "x")["complete"] == true).then_some(()));
}

fn column(answer: &Value, name: &str) -> Vec<String> {
    let rows = answer["data"].as_array().expect("rows").iter();
    rows.map(|row| row[name].as_str().expect("a text").to_owned()).collect()
}

fn contents(hub: &Hub, space: i32, query: &str) -> Vec<String> {
    column(&search(hub, space, query), "content")
}

/// Words of all sorts, in three spaces, ids in the order of times.
const ROWS: &str = "INSERT INTO chat_messages SELECT '01ARZ3NDEKTSV4RRFFQ' || \
    upper(lpad(to_hex(n), 7, '0')), (ARRAY['Café', 'cafe', 'Año', 'ano', 'Mañana', 'mar', \
    'martes', 's1'])[1 + n % 8] || ' ' || (ARRAY['uno', 'dos.tres', 'CUATRO', '<cinco seis>', \
    'x@siete.com', 'ocho/nueve', '-10', '&amp;'])[1 + n / 8 % 8] || ' ' || n, 1, 'Ana', \
    (ARRAY[1, 2, -1])[1 + n % 3], timestamp '2026-01-01' + n * interval '1 second' \
    FROM generate_series(1, 3000) n";

/// The ids that a look at each row finds, newest first.
fn scan(cluster: &Cluster, space: i32, word: &str) -> Vec<String> {
    let plain = "translate(lower(content), 'éñ.<>@/-&;', 'en        ')";
    let pattern = match word.strip_suffix('*') {
        Some(begin) => format!("% {begin}%"),
        None => format!("% {word} %"),
    };
    let sql = format!(
        "SELECT id FROM chat_messages WHERE space_id = {space} \
         AND ' ' || {plain} || ' ' LIKE '{pattern}' ORDER BY id COLLATE \"C\" DESC"
    );
    cluster.sql("hub", &sql)
}

fn all_pages(hub: &Hub, space: i32, query: &str) -> Vec<String> {
    let (mut ids, mut before) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/spaces/{space}/search?q={query}&limit=100{before}");
        let page = hub.get(&path).json();
        ids.extend(column(&page, "id"));
        if page["has_more"] == false {
            return ids;
        }
        before = format!("&before={}", ids.last().expect("a row"));
    }
}

fn finds_what_a_scan_finds(cluster: &Cluster) {
    let hub = hub_with(cluster, &["--search"]);
    cluster.sql("hub", ROWS);
    until_complete(&hub);
    for space in [1, 2, -1] {
        for word in [
            "cafe", "ano", "manana", "mar", "mar*", "s1", "dos", "tres", "cuatro", "cinco", "seis",
            "siete", "com", "ocho", "nueve", "10", "amp", "1234", "12*", "nada",
        ] {
            let there = scan(cluster, space, word);
            assert_eq!(all_pages(&hub, space, word), there, "{word} in {space}");
        }
    }
    let both: Vec<String> = {
        let dos: BTreeSet<String> = scan(cluster, 1, "dos").into_iter().collect();
        scan(cluster, 1, "cafe").into_iter().filter(|id| dos.contains(id)).collect()
    };
    assert!(!both.is_empty());
    assert_eq!(all_pages(&hub, 1, "dos%20caf%C3%A9"), both);
    assert_eq!(all_pages(&hub, 1, "%22cafe%20dos%22"), both, "words in a row");
    assert_eq!(all_pages(&hub, 1, "%22dos%20cafe%22"), Vec::<String>::new());
    // What is stored now is found at once; whatever is typed is words.
    post(&hub, (1, 1), "recién llegado: it's 100 % \\ \"fine\" a&b|!c");
    for query in ["recien", "LLEGADO", "it's", "100 %", "\\", "\"fine\"", "a&b", "c:*", "!c", "b|c"]
    {
        let rows = hub.get(&format!(
            "/v1/spaces/1/search?q=recien%20{}",
            query.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>()
        ));
        assert_eq!(rows.status, 200, "{query}: {}", rows.text());
    }
    assert_eq!(
        contents(&hub, 1, "recien it's a&b"),
        ["recién llegado: it's 100 % \\ \"fine\" a&b|!c"]
    );
    assert!(!hub.has_condition("history_unreadable"));
}

pub fn a_search_finds_what_a_look_at_each_row_finds() {
    finds_what_a_scan_finds(&Cluster::start(&[]));
}

pub fn a_search_of_others_tables_finds_what_a_look_at_each_row_finds() {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", OTHERS);
    finds_what_a_scan_finds(&cluster);
}

pub fn the_index_of_words_comes_and_goes_with_the_setting_beside_a_hub_that_serves() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_with(&cluster, &[]);
    post(&hub, (1, 1), "antes");
    assert_eq!(cluster.sql("hub", INDEX), ["0"], "no row pays for what nobody asks for");
    assert_eq!(hub.get("/v1/spaces/1/search?q=antes").status, 404);
    assert!(hub.stop("TERM").success());
    let url = cluster.url();
    let restart = |hub: &mut Hub, more: &[&str]| {
        hub.restart_with(&[&["--database-url", url.as_str()], more].concat());
    };
    // Somebody reads for long: the index waits, and nobody else does.
    std::thread::scope(|scope| {
        let read = "BEGIN; SELECT count(*) FROM chat_messages; SELECT pg_sleep(3); COMMIT";
        let reading = scope.spawn(|| cluster.sql("hub", read));
        restart(&mut hub, &["--search"]);
        assert_eq!(post(&hub, (1, 1), "durante").0, 200);
        let found = search(&hub, 1, "antes");
        assert_eq!(column(&found, "content"), ["antes"], "the newest are looked at one by one");
        reading.join().expect("it ends");
    });
    until_complete(&hub);
    assert_eq!(cluster.sql("hub", INDEX), ["1"]);
    assert_eq!(contents(&hub, 1, "antes"), ["antes"]);
    assert_eq!(contents(&hub, 1, "durante"), ["durante"]);
    assert!(hub.stop("TERM").success());
    restart(&mut hub, &[]);
    post(&hub, (1, 1), "sin");
    eventually("the index goes", || (cluster.sql("hub", INDEX) == ["0"]).then_some(()));
    assert!(hub.stop("TERM").success());
    // An index that was left half built is none.
    cluster.sql("hub", "CREATE INDEX hub_messages_words ON chat_messages (content)");
    cluster.sql(
        "hub",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'hub_messages_words'::regclass",
    );
    restart(&mut hub, &["--search"]);
    until_complete(&hub);
    assert_eq!(contents(&hub, 1, "sin"), ["sin"]);
    assert_eq!(hub.stop("TERM").code(), Some(0));
}

pub fn an_owner_makes_the_index_of_words_for_a_hub_that_may_not() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_with(&cluster, &[]);
    post(&hub, (1, 1), "hola");
    assert!(hub.stop("TERM").success());
    cluster.sql(
        "hub",
        "CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA public TO plain; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain",
    );
    let plain = cluster.url_of("plain", "hub");
    hub.restart_with(&["--search", "--database-url", &plain]);
    assert_eq!(post(&hub, (1, 1), "mundo").0, 200);
    let found = search(&hub, 1, "hola");
    assert_eq!(
        (column(&found, "content"), &found["complete"]),
        (vec!["hola".into()], &false.into())
    );
    eventually("it is told", || hub.log().contains("can't be brought up to date").then_some(()));
    let url = cluster.url();
    let migrate = |args: &[&str]| {
        let out = run_hub(&[&["migrate"], args].concat(), &[("DATABASE_URL", &url)]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    assert!(!migrate(&["--dry-run"]).contains("hub_messages_words"), "nobody has asked for it");
    assert!(migrate(&["--search", "--dry-run"]).contains("hub_messages_words"));
    migrate(&["--search"]);
    until_complete(&hub);
    assert_eq!(contents(&hub, 1, "mundo"), ["mundo"]);
    migrate(&[]);
    assert_eq!(cluster.sql("hub", INDEX), ["1"], "a tool takes nothing away");
}
