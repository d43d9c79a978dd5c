//! Each thread and long task of the hub, made to panic: the hub ends at once and says which part it
//! was, or the part goes on. Shards, the store's thread and PostgreSQL's readers are in
//! `tests/postgres/watched.rs`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use cpi_hub::conditions::Condition;

use crate::support::health::{mended, told};
use crate::support::{Hub, UNLIMITED, eventually, frame, run_hub, upgrade};

/// Asks for something, whether or not there is an answer.
fn ask(hub: &Hub, request: &str, body: &str) {
    let Ok(mut stream) = TcpStream::connect(hub.address) else { return };
    _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let length = body.len();
    let head = "Host: localhost\r\nConnection: close\r\nContent-Type: application/json";
    let request = format!("{request} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n");
    _ = stream.write_all((request + body).as_bytes());
    _ = stream.read_to_end(&mut Vec::new());
}

/// Has a part of a hub panic, and sees the hub end.
fn ends(mut hub: Hub, file: &std::path::Path, part: &str) {
    std::fs::write(file, part).expect("a file");
    let status = eventually(part, || {
        // Whatever the part waits for: a question, a message, a segment that is full.
        ask(&hub, "GET /v1/spaces/1/messages?limit=1", "");
        let long = "😀".repeat(990);
        let body = format!(r#"{{"user_id":1,"username":"Ana","message":"{long}"}}"#);
        ask(&hub, "POST /v1/ws/spaces/1/chat", &body);
        hub.signal("HUP");
        hub.has_ended()
    });
    std::fs::remove_file(file).expect("a file");
    let log = hub.log();
    assert_eq!(status.code(), Some(1), "{part}: {log}");
    assert!(log.contains(&format!("{part} has ended in a panic")), "{log}");
    assert!(log.contains(&format!("a test has {part} panic")), "where it was is told: {log}");
    assert!(told(&log, Condition::PartEnded), "{log}");
    hub.restart();
    eventually(part, || (hub.get("/readyz").json()["status"] == "ready").then_some(()));
}

pub fn a_part_that_panics_ends_the_hub_with_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("panic");
    let env = [("CPI_HUB_TEST_PANIC", file.to_str().expect("a text path"))];
    for part in ["hub-watch", "hub-flush", "hub-reader", "the listener", "the watchman"] {
        ends(Hub::start_with_env(&[], &env), &file, part);
    }
    // The keeper waits for a segment that is full.
    let args = ["--message-rate", "off", "--journal-bytes-max", "4MiB", "--shards", "1"];
    let args = [&args[..], &["--user-message-rate", "off", "--message-bytes-max", "8KiB"]].concat();
    let hub = Hub::start_with_env(&args, &env);
    ends(hub, &file, "hub-journal");
}

pub fn a_check_that_panics_ends_the_hub_with_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("panic");
    let env = [("CPI_HUB_TEST_PANIC", file.to_str().expect("a text path"))];
    let data_dir = dir.path().join("data");
    let data_dir = data_dir.to_str().expect("a text path");
    assert!(run_hub(&["migrate", "--data-dir", data_dir], &[]).status.success());
    let database = dir.path().join("data").join(cpi_hub::store::DATABASE_FILE);
    // More than is checked before the start, and no hub has ended in order here.
    let large = "CREATE TABLE large (bytes BLOB); INSERT INTO large VALUES (zeroblob(80000000))";
    rusqlite::Connection::open(database)
        .and_then(|it| it.execute_batch(large))
        .expect("a large database");
    std::fs::write(&file, "hub-check").expect("a file");
    let serve = ["serve", "--data-dir", data_dir, "--listen", "127.0.0.1:0"];
    let output = run_hub(&serve, &env);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("hub-check has ended in a panic"), "{log}");
}

pub fn a_checkpoint_that_panics_ends_the_hub_with_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("panic");
    let env = [("CPI_HUB_TEST_PANIC", file.to_str().expect("a text path"))];
    std::fs::write(&file, "hub-checkpoint").expect("a file");
    let args = [&UNLIMITED[..], &["--message-bytes-max", "8KiB"]].concat();
    let mut hub = Hub::start_with_env(&args, &env);
    // The thread has nothing to do before the database's log is long.
    let chat = serde_json::json!({"type": "chat", "data": {"content": "😀".repeat(990)}});
    let chats = frame(0x81, chat.to_string().as_bytes()).repeat(20);
    let mut stream = hub.connect();
    stream.write_all(upgrade("/v1/ws/spaces/1?user_id=1", "").as_bytes()).expect("the hub reads");
    let mut reader = stream.try_clone().expect("a second handle");
    let reading = std::thread::spawn(move || _ = std::io::copy(&mut reader, &mut std::io::sink()));
    while stream.write_all(&chats).is_ok() {}
    reading.join().expect("it reads to the end");
    assert_eq!(hub.wait().code(), Some(1), "{}", hub.log());
    assert!(hub.log().contains("hub-checkpoint has ended in a panic"), "{}", hub.log());
}

pub fn a_first_listener_that_panics_ends_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("panic");
    let env = [("CPI_HUB_TEST_PANIC", file.to_str().expect("a text path"))];
    let args = ["--database-url", "postgresql://hub@127.0.0.1:1/hub"];
    let mut hub = Hub::start_waiting_with_env(&args, &env);
    std::fs::write(&file, "the first listener").expect("a file");
    let status = eventually("it ends", || {
        ask(&hub, "GET /livez", "");
        hub.has_ended()
    });
    assert_eq!(status.code(), Some(1), "{}", hub.log());
    assert!(hub.log().contains("the first listener has ended in a panic"), "{}", hub.log());
}

/// The log's thread is not worth a hub: it loses a line, which is counted, and goes on.
pub fn a_log_that_panics_goes_on_with_the_next_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("panic");
    let env = [("CPI_HUB_TEST_PANIC", file.to_str().expect("a text path"))];
    let settings = dir.path().join("hub.toml");
    std::fs::write(&settings, "").expect("a file");
    let args = ["--config", settings.to_str().expect("a text path")];
    let hub = Hub::start_with_env(&args, &env);
    // Each hang-up is a line from here on.
    std::fs::write(&settings, "no = 1").expect("a file");
    std::fs::write(&file, "hub-log").expect("a file");
    hub.signal("HUP");
    let detail = eventually("it is told", || {
        let condition = hub.conditions().into_iter().find(|it| it["name"] == "log_blocked")?;
        condition["detail"].as_str().map(str::to_owned)
    });
    assert!(detail.starts_with("a bug; "), "{detail}");
    std::fs::remove_file(&file).expect("a file");
    hub.signal("HUP");
    mended(&hub, Condition::LogBlocked);
    assert!(hub.log().contains("log lines were lost"), "{}", hub.log());
}
