//! What operators do and get wrong: command line, environment, file, data directory, signals, logs,
//! against the real binary.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use rusqlite::Connection;
use serde_json::json;

use crate::support::{Answer, Hub, PATIENCE, eventually, frame, upgrade};

/// A process of the binary, all of whose streams the test holds. Killed when dropped.
pub(super) struct Process {
    pub(super) child: Child,
    /// Lines of its standard output as they come.
    lines: Receiver<String>,
}

impl Process {
    pub(super) fn start(args: &[&str], env: &[(&str, &str)]) -> Process {
        Process::begin(args, env, Stdio::piped())
    }

    /// Starts one that has its standard error there.
    pub(super) fn start_with(args: &[&str], stderr: Stdio) -> Process {
        Process::begin(args, &[], stderr)
    }

    fn begin(args: &[&str], env: &[(&str, &str)], stderr: Stdio) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
        command.args(args).env_clear().envs(env.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let (give, lines) = sync_channel(64);
        std::thread::spawn(move || {
            let all = BufReader::new(stdout).lines().map_while(Result::ok);
            all.take_while(|line| give.send(line.clone()).is_ok()).for_each(drop);
        });
        Process { child, lines }
    }

    /// A hub with its data there, on a free port.
    pub(super) fn serve(data_dir: &Path, args: &[&str]) -> Process {
        let data_dir = data_dir.to_str().expect("a text path");
        let fixed = ["serve", "--listen", "127.0.0.1:0", "--pinned", "false"];
        Process::start(&[&fixed[..], &["--data-dir", data_dir], args].concat(), &[])
    }

    /// The next line of its standard output that holds a text.
    pub(super) fn line(&self, holding: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no line holds `{holding}`"));
            if line.contains(holding) {
                return line;
            }
        }
    }

    /// Where a hub says that it listens.
    pub(super) fn address(&self) -> SocketAddr {
        let line = self.line("http://");
        let (_, address) = line.split_once("http://").expect("looked for it");
        address.parse().expect("an address")
    }

    pub(super) fn stdin(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().expect("it is piped")
    }

    /// Its exit code, and all that it wrote to standard error.
    pub(super) fn end(mut self) -> (Option<i32>, String) {
        let mut stderr = self.child.stderr.take().expect("it is piped");
        let said = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let status = eventually("it ends", || self.child.try_wait().expect("our child"));
        let text = said.join().expect("no panic").expect("standard error is text");
        (status.code(), text)
    }

    pub(super) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What it says when it is refused to run: one line, exit 78.
#[track_caller]
fn refused(args: &[&str], env: &[(&str, &str)]) -> String {
    let (code, text) = Process::start(args, env).end();
    assert_eq!(code, Some(78), "{args:?} {env:?}: {text}");
    let line = text.strip_suffix('\n').expect("a whole line");
    assert!(!line.contains(char::is_control), "{line:?}");
    line.strip_prefix("cpi-hub: ").expect("its own name first").to_owned()
}

/// Sends bytes, and reads one answer; the connection goes on.
pub(super) fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> (Answer, TcpStream) {
    let mut stream = TcpStream::connect(address).expect("the hub listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_ref()).expect("the hub reads");
    (Answer::read(&mut stream), stream)
}

/// Reads until a text has come.
fn read_to(stream: &mut TcpStream, text: &str) {
    let mut bytes = Vec::new();
    while !bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).expect("more");
        assert!(read > 0, "ended before {text}");
        bytes.extend_from_slice(&piece[..read]);
    }
}

#[test]
fn either_signal_stops_it_with_exit_0() {
    for signal in ["INT", "TERM"] {
        let dir = tempfile::tempdir().expect("a directory");
        let hub = Process::serve(dir.path(), &["--log", "error"]);
        hub.address();
        hub.signal(signal);
        assert_eq!(hub.end(), (Some(0), String::new()), "{signal}");
    }
}

#[test]
fn a_second_signal_ends_a_long_drain_and_loses_nothing() {
    let mut hub = Hub::start(&["--drain-window", "50m", "--stop-wait", "1h"]);
    let mut members = [hub.join(1, 1, "Ana"), hub.join(1, 2, "Beto")];
    members[0].chat("hola");
    members[0].next_of("chat");
    hub.signal("TERM");
    eventually("it drains", || (hub.get("/readyz").status == 503).then_some(()));
    assert_eq!(hub.stop("INT").code(), Some(0));
    drop(members);
    hub.restart();
    assert_eq!(hub.history_of(1, 1)[0]["content"], "hola");
}

#[test]
fn a_hub_whose_log_nobody_reads_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut hub = Process::serve(dir.path(), &["--log", "debug", "--drain-window", "0"]);
    let address = hub.address();
    drop(hub.child.stderr.take());
    // Each end of a connection is a line at this level.
    for user in 0..3 {
        let path = format!("/v1/ws/spaces/1?user_id={user}");
        let (answer, mut member) = ask(address, upgrade(&path, ""));
        assert_eq!(answer.status, 101);
        member.write_all(&frame(0x88, b"")).expect("the hub reads");
        let mut rest = Vec::new();
        member.read_to_end(&mut rest).expect("the hub ends it");
    }
    hub.signal("TERM");
    let ended = eventually("it ends", || hub.child.try_wait().expect("our child"));
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn what_is_misspelt_or_malformed_is_one_line_that_names_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("hub.toml");
    let path = file.to_str().expect("a text path");
    for (args, env, content, expected) in [
        (
            &["--write-wiat", "1s"][..],
            &[][..],
            "",
            "--write-wiat: there is no such option; did you mean --write-wait?".to_owned(),
        ),
        (
            &["serve"],
            &[("HUB_WRITE_WIAT", "1s")],
            "",
            "HUB_WRITE_WIAT: there is no such setting; did you mean HUB_WRITE_WAIT?".into(),
        ),
        (
            &["--config", path],
            &[],
            "shards = 1\nwrite_wiat = 1",
            format!("{path}: write_wiat: there is no such key; did you mean write_wait?"),
        ),
        (
            &["--config", path],
            &[],
            "\"a\\nb\" = 1",
            format!("{path}: a\\nb: there is no such key; `cpi-hub --help` lists all"),
        ),
        (
            &[],
            &[("HUB_CONFIG", path)],
            "write_wait = \"soon\"",
            format!("{path}: write_wait: `soon` is not a time such as 250ms, 10s or 5m"),
        ),
        (&[], &[("HUB_CONFIG", "")], "", "HUB_CONFIG: `` is not a file".into()),
        (&["serv"], &[], "", "`serv` is no command; there are serve, config, ready, doctor, migrate, backup, journal, dead-letters, key, token, chat, tail, say, bench, completions and man".into()),
        (
            &[],
            // As a secret's file has it.
            &[("HUB_WRITE_WAIT", "5s\n")],
            "",
            "HUB_WRITE_WAIT: `5s\\n` is not a time such as 250ms, 10s or 5m".into(),
        ),
        (
            &["--log", "\u{1b}[2J["],
            &[],
            "",
            "--log: `\\u{1b}[2J[` is not a filter such as info or cpi_hub=debug".into(),
        ),
        (&[], &[("PORT", "70000")], "", "PORT: `70000` is not a port such as 8080".into()),
        (
            &["--listen", "0.0.0.0:0"],
            &[],
            "",
            "--listen: 0.0.0.0:0 is reached from other machines, and nobody is authenticated; \
             listen on 127.0.0.1, give HUB_JWT_SECRET, or say --insecure if you mean it"
                .into(),
        ),
    ] {
        std::fs::write(&file, content).expect("a file");
        assert_eq!(refused(args, env), expected);
    }
    std::fs::write(&file, "shards = 1\nwrite_wait = = 2").expect("a file");
    let line = refused(&["--config", path], &[]);
    assert!(line.starts_with(&format!("{path}: line 2: ")), "{line}");
    let folder = dir.path().to_str().expect("a text path");
    assert!(refused(&["--config", folder], &[]).starts_with(folder));
}

#[test]
fn a_bad_value_of_each_kind_is_refused_by_its_name() {
    for (flag, values) in [
        ("--message-bytes-max", &["x", "-1", "1.5KiB", "512 B", "64MiB", "1", ""][..]),
        ("--write-wait", &["x", "-1s", "1.5x", "0", "2h", ""]),
        ("--connections-max", &["x", "-1", "0", "1e6", "99999999", ""]),
        ("--message-rate", &["x", "-1", "50/", "/50", "50/0", "99999999", ""]),
        ("--utc-offset", &["x", "03:00", "-3", "-03:60", "+15:00", ""]),
        ("--shards", &["x", "0", "-1", "99999", ""]),
        ("--pinned", &["x", ""]),
        ("--origins", &["x", "*", "https://a/b", "ws://a"]),
        ("--listen", &["x", "8080", ":8080", "localhost", "127.0.0.1:99999", ""]),
        ("--log-format", &["x", ""]),
        ("--data-dir", &[""]),
    ] {
        for value in values {
            let line = refused(&["config", &format!("{flag}={value}")], &[]);
            assert!(line.starts_with(&format!("{flag}: ")), "{flag}={value}: {line}");
            let variable = format!("HUB_{}", flag[2..].to_uppercase().replace('-', "_"));
            let line = refused(&["config"], &[(&variable, value)]);
            assert!(line.starts_with(&format!("{variable}: ")), "{variable}={value}: {line}");
        }
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (args, expected) in [
        (&["--pong-wait", "54s"][..], "ping_period: must be below pong_wait"),
        // The last who are closed have `close_wait` to read why, and the store some time.
        (&["--drain-window", "28s"], "--drain-window: with twice close_wait and 500ms for the"),
        (&["--close-wait", "20s"], "drain_window: with twice close_wait and 500ms for the"),
        (&["--resume-bytes-max", "2MiB"], "log_bytes_max: must be at least resume_bytes_max"),
        (&["--logs-bytes-max", "1MiB", "--log-bytes-max", "2MiB"], "--logs-bytes-max: must be"),
        (&["--bodies-bytes-max", "1MiB"], "--bodies-bytes-max: must hold one body"),
        (&["--chat-body-bytes-max", "1KiB"], "--chat-body-bytes-max: must be at least"),
        (&["--private-bytes-max", "4KiB", "--message-bytes-max", "1KiB"], "--private-bytes-max: "),
    ] {
        let line = refused(&[&["config"], args].concat(), &[]);
        assert!(line.starts_with(expected), "{args:?}: {line}");
    }
}

#[test]
fn what_the_machine_refuses_is_one_line_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = |name: &str| dir.path().join(name).to_str().expect("a text path").to_owned();
    let serve = |data_dir: &str, listen: &str| {
        refused(&["--data-dir", data_dir, "--listen", listen, "--log", "error"], &[])
    };
    std::fs::write(text("file"), "").expect("a file");
    let (file, below) = (text("file"), text("file/below"));
    assert_eq!(serve(&file, "127.0.0.1:0"), format!("data_dir: {file}: not a directory"));
    assert!(serve(&below, "127.0.0.1:0").starts_with(&format!("data_dir: {below}: ")));
    // Nobody makes directories there, not even root.
    assert!(serve("/proc/hub", "127.0.0.1:0").starts_with("data_dir: /proc/hub: "));

    let first = Process::serve(&dir.path().join("data"), &[]);
    let taken = first.address().to_string();
    let line = serve(&text("other"), &taken);
    assert!(line.starts_with(&format!("listen {taken}: ")), "{line}");
    let line = serve(&text("data"), "127.0.0.1:0");
    assert!(line.starts_with("data_dir: ") && line.ends_with("in use by another hub"), "{line}");
    let livez = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (answer, _) = ask(taken.parse().expect("an address"), livez);
    assert_eq!(answer.status, 200, "the first goes on");
}

#[test]
fn another_offset_than_that_of_the_stored_times_is_refused() {
    let mut hub = Hub::start(&["--utc-offset", "+05:30"]);
    hub.stop("TERM");
    // Nothing is stored yet.
    hub.restart_with(&["--utc-offset", "-03:00"]);
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", crate::support::GOOD).status, 200);
    hub.stop("TERM");
    let data_dir = hub.data_dir().to_str().expect("a text path");
    let args = ["--data-dir", data_dir, "--listen", "127.0.0.1:0", "--log", "error"];
    let line = refused(&[&args[..], &["--utc-offset", "+00:00"]].concat(), &[]);
    let expected = "utc_offset: +00:00, and the store's times are of -03:00, which they do not \
                    say themselves: give --utc-offset -03:00 again";
    assert_eq!(line, expected);
    hub.restart();
    assert_eq!(hub.history_of(1, 1)[0]["content"], "hola");
}

#[test]
fn a_newer_or_changed_database_is_left_alone() {
    let mut hub = Hub::start(&[]);
    hub.stop("TERM");
    let data_dir = hub.data_dir().to_str().expect("a text path").to_owned();
    let database = hub.data_dir().join("hub.sqlite3");
    let start = |change: &str| {
        let connection = Connection::open(&database).expect("a database");
        connection.execute_batch(change).expect("the change");
        drop(connection);
        refused(&["--data-dir", &data_dir, "--listen", "127.0.0.1:0", "--log", "error"], &[])
    };
    let newer = "INSERT INTO hub_migrations (number, name, checksum) VALUES (99, 'x', 'x')";
    let line = start(newer);
    assert!(line.starts_with("data_dir: ") && line.contains("schema version 99"), "{line}");
    let changed = "DELETE FROM hub_migrations WHERE number = 99; \
                   UPDATE hub_migrations SET checksum = 'x' WHERE number = 1";
    assert!(start(changed).ends_with("was changed after it was applied"));
}

fn printed(args: &[&str], env: &[(&str, &str)]) -> String {
    let output = crate::support::run_hub(args, env);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn options_win_over_variables_those_over_the_file_and_that_over_defaults() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("hub.toml");
    std::fs::write(&file, "write_wait = \"1s\"\npong_wait = \"2m\"\nshards = 3\n").expect("a file");
    let path = file.to_str().expect("a text path");
    let args = ["config", "--config", path, "--write-wait", "3s"];
    let env = [("HUB_WRITE_WAIT", "2s"), ("HUB_PONG_WAIT", "3m"), ("PORT", "9000")];
    let all = printed(&args, &env);
    for (setting, source) in [
        ("write_wait = \"3s\"", "command line"),
        ("pong_wait = \"3m\"", "HUB_PONG_WAIT"),
        ("shards = 3", path),
        ("ping_period = \"54s\"", "default"),
        ("listen = \"127.0.0.1:9000\"", "PORT"),
    ] {
        let line = all.lines().find(|line| line.starts_with(setting));
        let line = line.unwrap_or_else(|| panic!("{setting} is not in {all}"));
        assert!(line.ends_with(&format!("# {source}")), "{line}");
    }
}

#[test]
fn help_names_every_setting_and_the_version_is_the_packages() {
    let help = printed(&["serve", "--help"], &[]);
    let settings = printed(&["config"], &[]);
    let names = settings.lines().filter_map(|line| line.split_once(" = "));
    let mut count = 0;
    for (name, _) in names {
        let flag = format!("--{}", name.replace('_', "-"));
        assert!(help.split_whitespace().any(|word| word == flag), "{flag}");
        count += 1;
    }
    assert!(count > 50, "{settings}");
    let version = printed(&["--version"], &[]);
    assert!(version.starts_with(concat!("cpi-hub ", env!("CARGO_PKG_VERSION"), " (commit ")));
}

#[test]
fn the_port_that_a_platform_gives_is_listened_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().to_str().expect("a text path");
    let hub = Process::start(&["--data-dir", data_dir], &[("PORT", "0")]);
    let address = hub.address();
    assert!(address.ip().is_loopback() && address.port() != 8080, "{address}");
}

/// A process that chats from a terminal.
fn chatter(hub: &Hub, user: &str, name: &str) -> Process {
    let url = format!("http://{}", hub.address);
    let args = ["chat", "--url", &url, "--space", "1", "--user-id", user, "--username", name];
    let chatter = Process::start(&args, &[]);
    chatter.line(&format!("you are in space 1 as {name}"));
    chatter.line(&format!("* {name} joined"));
    chatter
}

#[test]
fn two_people_chat_from_their_terminals() {
    let mut hub = Hub::start(&["--drain-window", "0"]);
    let mut ana = chatter(&hub, "1", "Ana Paz");
    let mut beto = chatter(&hub, "2", "Beto");
    ana.line("* Beto joined");
    ana.stdin().write_all("hola \u{1b}[2J\n\n".as_bytes()).expect("it reads");
    beto.stdin().write_all("¿qué tal?\n".as_bytes()).expect("it reads");
    for chatter in [&ana, &beto] {
        let mut said = [chatter.line(": "), chatter.line(": ")].map(|line| line[5..].to_owned());
        said.sort();
        assert_eq!(said, [" Ana Paz: hola \u{FFFD}[2J", " Beto: ¿qué tal?"]);
    }
    // What was typed before the end of input is said before it leaves.
    beto.stdin().write_all(b"adi\xC3\xB3s").expect("it reads");
    drop(beto.child.stdin.take());
    assert_eq!(beto.end(), (Some(0), String::new()));
    ana.line("Beto: adiós");
    ana.line("* Beto left");
    assert_eq!(hub.history_of(1, 3).len(), 3);
    hub.stop("TERM");
    let said = "cpi-hub: the hub closed the connection: 1012 restart\n".to_owned();
    assert_eq!(ana.end(), (Some(1), said));
}

#[test]
fn nothing_that_people_say_or_prove_themselves_with_is_logged() {
    let dir = tempfile::tempdir().expect("a directory");
    let hub = Process::serve(dir.path(), &["--log", "trace", "--drain-window", "0"]);
    let address = hub.address();
    let query = "user_id=7&username=canary-name&token=canary-token";
    let (answer, mut member) = ask(address, upgrade(&format!("/v1/ws/spaces/1?{query}"), ""));
    assert_eq!(answer.status, 101);
    let chat = json!({"type": "chat", "data": {"content": "canary-text"}}).to_string();
    member.write_all(&frame(0x81, chat.as_bytes())).expect("the hub reads");
    read_to(&mut member, "canary-text");
    member.write_all(&frame(0x81, b"canary-junk")).expect("the hub reads");
    read_to(&mut member, "invalid_message_format");
    let post = |path: &str, headers: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "POST {path}?token=canary-token HTTP/1.1\r\nHost: localhost\r\n{headers}\
             Authorization: canary-token\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        ask(address, request).0.status
    };
    let body = r#"{"user_id":7,"username":"canary-name","message":"canary-post"}"#;
    let key = "Idempotency-Key: canary-key\r\n";
    assert_eq!(post("/v1/ws/spaces/1/chat", key, body), 200);
    assert_eq!(post("/v1/ws/spaces/1/chat", key, &body.replace("post", "other")), 409);
    assert_eq!(post("/v1/ws/spaces/1/chat", "", &body[1..]), 400);
    assert_eq!(post("/v1/ws/spaces/1/chat", "Origin: http://x/canary\r\n", body), 403);
    assert_eq!(post("/v1/users/7/notifications", "", r#"{"data":{"x":"canary-push"}}"#), 200);
    let unsound = upgrade(&format!("/v1/ws/spaces/canary?{query}"), "");
    assert_eq!(ask(address, unsound).0.status, 400);
    assert_eq!(ask(address, "GET /canary HTTP/1.1\r\ncanary\r\n\r\n").0.status, 400);
    member.write_all(b"\x81\x06canary").expect("the hub reads");
    read_to(&mut member, "protocol_error");
    hub.signal("TERM");
    let (code, log) = hub.end();
    assert_eq!(code, Some(0));
    assert!(log.contains("\"DEBUG\"") && log.contains("protocol_error"), "{log}");
    assert!(!log.contains("canary"), "{log}");
}
