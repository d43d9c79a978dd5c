//! What was said, found by its words: where the setting is on, and where it is not.

use serde_json::Value;

use crate::support::answer::Answer;
use crate::support::{Hub, UNLIMITED, eventually};

fn say(hub: &Hub, space: i32, text: &str) -> String {
    let body = serde_json::json!({"message": text, "user_id": 7, "username": "Ana Paz"});
    let answer = hub.post(&format!("/v1/ws/spaces/{space}/chat"), &body.to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["chat_message"]["id"].as_str().expect("an id").to_owned()
}

fn search(hub: &Hub, space: i32, query: &str) -> Answer {
    let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    hub.get(&format!("/v1/spaces/{space}/search?q={escaped}"))
}

fn contents(answer: &Value) -> Vec<&str> {
    let rows = answer["data"].as_array().expect("rows").iter();
    rows.map(|row| row["content"].as_str().expect("a text")).collect()
}

#[test]
fn what_was_said_is_found_by_its_words_at_once_and_in_its_space_alone() {
    let hub = Hub::unlimited_with(&["--search"]);
    for text in ["Un café, por favor", "dos CAFES", "el año que viene", "hola mundo", "mundo hola"]
    {
        say(&hub, 5, text);
    }
    say(&hub, 6, "otro café");
    say(&hub, -5, "un café más");
    for (space, query, expected) in [
        (5, "cafe", &["Un café, por favor"][..]),
        (5, "caf*", &["dos CAFES", "Un café, por favor"]),
        (5, "HOLA mundo", &["mundo hola", "hola mundo"]),
        (5, "\"hola mundo\"", &["hola mundo"]),
        (5, "hola OR cafe", &[]),
        (5, "ano", &["el año que viene"]),
        (5, "nada", &[]),
        (6, "café", &["otro café"]),
        (-5, "café", &["un café más"]),
        (7, "café", &[]),
    ] {
        let answer = search(&hub, space, query);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let found = answer.json();
        assert_eq!(contents(&found), expected, "{query} in {space}");
        assert_eq!((&found["has_more"], &found["complete"]), (&false.into(), &true.into()));
    }
    let there = hub.history(6);
    assert_eq!(search(&hub, 6, "café").json()["data"], Value::from(there), "as history has it");
}

#[test]
fn pages_go_from_the_newest_to_the_oldest() {
    let hub = Hub::unlimited_with(&["--search"]);
    let said: Vec<String> = (0..7).map(|n| say(&hub, 5, &format!("hola {n}"))).collect();
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let page = hub.get(&format!("/v1/spaces/5/search?q=hola&limit=3{before}")).json();
        let rows = page["data"].as_array().expect("rows");
        assert!(rows.len() <= 3);
        seen.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
        if page["has_more"] == false {
            break;
        }
        before = format!("&before={}", seen.last().expect("a row"));
    }
    assert!(seen.iter().eq(said.iter().rev()), "{seen:?}");
}

#[test]
fn a_search_that_can_not_be_read_says_which_part_is_wrong() {
    let hub = Hub::unlimited_with(&["--search"]);
    let long = "x".repeat(201);
    let many = "x ".repeat(17);
    for query in ["", "*", "\"\" !", "a\0b", &long, &many] {
        let answer = search(&hub, 5, query);
        assert_eq!((answer.status, &answer.json()["code"]), (400, &"invalid_parameter".into()));
    }
    let problem = [("Accept", "application/problem+json")];
    for (path, field) in [
        ("/v1/spaces/5/search", "q"),
        ("/v1/spaces/5/search?q=%ff", "q"),
        ("/v1/spaces/5/search?q=a&before=x", "before"),
        ("/v1/spaces/5/search?q=a&limit=0", "limit"),
        ("/v1/spaces/x/search?q=a", "space_id"),
    ] {
        let answer = hub.request("GET", path, &problem, b"");
        assert_eq!((answer.status, &answer.json()["field"]), (400, &field.into()), "{path}");
    }
    // Whatever is typed is words: the database is never asked what it can't read.
    for query in
        ["'", "\"", "a\"b\"\"c", "(", "NOT", "a AND", "^a", "a:b", "{a}", "--", "a;", "\\'"]
    {
        let status = search(&hub, 5, query).status;
        let has_word = query.contains(char::is_alphanumeric);
        assert_eq!(status, if has_word { 200 } else { 400 }, "{query}");
    }
    assert!(!hub.has_condition("history_unreadable"));
}

#[test]
fn where_the_setting_is_off_nothing_is_searched_and_nothing_is_missing_once_it_is_on() {
    let mut hub = Hub::unlimited();
    say(&hub, 5, "before the index");
    let answer = search(&hub, 5, "index");
    assert_eq!((answer.status, &answer.json()["code"]), (404, &"search_off".into()));
    assert_eq!(hub.get("/v1/spaces/5").json()["search"], false);
    assert_eq!(search(&hub, 5, "").status, 400, "a bad search is a bad one here too");
    let on = [&UNLIMITED[..], &["--search"]].concat();
    let found = |hub: &Hub| {
        eventually("the index is complete", || {
            let found = search(hub, 5, "index").json();
            (found["complete"] == true).then_some(found)
        })
    };
    hub.stop("TERM");
    hub.restart_with(&on);
    assert_eq!(hub.get("/v1/spaces/5").json()["search"], true);
    assert_eq!(contents(&found(&hub)), ["before the index"]);
    say(&hub, 5, "with the index");
    hub.stop("TERM");
    hub.restart_with(&UNLIMITED);
    say(&hub, 5, "without the index");
    hub.kill();
    hub.restart_with(&on);
    let all = ["without the index", "with the index", "before the index"];
    assert_eq!(contents(&found(&hub)), all);
}

#[test]
fn rows_that_are_changed_by_hand_are_found_as_they_are_now() {
    let hub = Hub::unlimited_with(&["--search"]);
    for text in ["uno", "dos", "tres"] {
        say(&hub, 5, text);
    }
    let store = hub.lock_store();
    store
        .execute_batch(
            "UPDATE chat_messages SET content = 'cuatro' WHERE content = 'dos'; \
             DELETE FROM chat_messages WHERE content = 'tres'; COMMIT",
        )
        .expect("it is changed");
    for (query, expected) in [("cuatro", &["cuatro"][..]), ("dos", &[]), ("tres", &[])] {
        eventually(query, || {
            let found = search(&hub, 5, query).json();
            (found["complete"] == true && contents(&found) == expected).then_some(())
        });
    }
    say(&hub, 5, "cinco");
    assert_eq!(contents(&search(&hub, 5, "cinco").json()), ["cinco"]);
}
