//! What the black-box tests share: a real hub process in a directory of its own, and clients that
//! speak to it as anyone would, by HTTP and WebSocket.
//!
//! Everything that waits has one generous bound ([`PATIENCE`]), so that a broken hub fails a test
//! instead of hanging it; no test depends on how fast anything is.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;

pub mod answer;
mod client;
pub mod collector;
pub mod deflated;
pub mod disk;
pub mod events;
pub mod exposition;
pub mod faketime;
pub mod figures;
pub mod group;
pub mod health;
pub mod ledger;
pub mod link;
pub mod neighbours;
pub mod network;
pub mod peers;
pub mod postgres;
pub mod promql;
pub mod returning;
pub mod service;
pub mod shim;
pub mod trials;

pub use answer::Answer;
#[allow(unused_imports, reason = "each test binary uses its own part")]
pub use client::{Client, Closed};

/// The longest that anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A hub of the test's own, on a free port of the loopback, with its data in a temporary
/// directory. Killed when dropped.
pub struct Hub {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    args: Vec<String>,
    dir: TempDir,
}

impl Hub {
    /// Starts a hub with further arguments.
    pub fn start(args: &[&str]) -> Hub {
        Hub::start_with_env(args, &[])
    }

    /// Starts a hub with variables; it sees none but these, and none after a restart.
    pub fn start_with_env(args: &[&str], env: &[(&str, &str)]) -> Hub {
        Hub::start_in(tempfile::tempdir().expect("a temporary directory"), args, env)
    }

    /// Starts a hub in a directory of the test's choice.
    pub fn start_in(dir: TempDir, args: &[&str], env: &[(&str, &str)]) -> Hub {
        let args = owned(args);
        let mut command = command(&args, dir.path(), ANY_PORT);
        let (child, address) = spawn(command.envs(env.iter().copied()));
        Hub { child, address, args, dir }
    }

    /// Starts a hub whose log is chosen by this configuration file alone.
    pub fn start_by_file(file: &str) -> Hub {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
        command.args(["--listen", ANY_PORT, "--pinned", "false", "--config", file, "--data-dir"]);
        let (child, address) = spawn(set_up(command.arg(dir.path()), dir.path()));
        Hub { child, address, args: Vec::new(), dir }
    }

    /// Starts a hub that may have to wait before it serves. It listens when this returns.
    pub fn start_waiting(args: &[&str]) -> Hub {
        Hub::start_waiting_with_env(args, &[])
    }

    /// Starts such a hub with variables.
    pub fn start_waiting_with_env(args: &[&str], env: &[(&str, &str)]) -> Hub {
        let (dir, args) = (tempfile::tempdir().expect("a temporary directory"), owned(args));
        let (child, address) = spawn_waiting(&args, dir.path(), env);
        Hub { child, address, args, dir }
    }

    /// Starts it again, as [`start_waiting`](Hub::start_waiting) does.
    pub fn restart_waiting(&mut self) {
        (self.child, self.address) = spawn_waiting(&self.args, self.dir.path(), &[]);
    }

    /// Starts a hub by a program that ends as the hub, such as `prlimit --nofile=1024:1024`.
    pub fn start_under(wrapper: &[&str], args: &[&str]) -> Hub {
        let (dir, args) = (tempfile::tempdir().expect("a temporary directory"), owned(args));
        let hub = command(&args, dir.path(), ANY_PORT);
        let mut under = Command::new(wrapper[0]);
        under.args(&wrapper[1..]).arg(hub.get_program()).args(hub.get_args());
        let (child, address) = spawn(set_up(&mut under, dir.path()));
        Hub { child, address, args, dir }
    }

    /// Starts a hub without rate limits, for tests that are not about them.
    pub fn unlimited() -> Hub {
        Hub::unlimited_with(&[])
    }

    /// Starts a hub without rate limits and with further arguments.
    pub fn unlimited_with(args: &[&str]) -> Hub {
        Hub::start(&[&UNLIMITED[..], args].concat())
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged so far, its earlier runs included.
    pub fn log(&self) -> String {
        self.wait_for_its_log();
        std::fs::read_to_string(self.dir.path().join(LOG_FILE)).unwrap_or_default()
    }

    /// Lines are written by a thread of the hub's own. One that has ended, or that takes no
    /// connection now, is not asked.
    fn wait_for_its_log(&self) {
        let asked =
            format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        loop {
            let Ok(mut stream) = TcpStream::connect(self.address) else { return };
            let mut metrics = String::new();
            _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            _ = stream.write_all(asked.as_bytes());
            _ = stream.read_to_string(&mut metrics);
            let waiting = metrics.lines().find(|line| line.starts_with("hub_log_lines_waiting "));
            if waiting.is_none_or(|line| line.ends_with(" 0")) {
                return;
            }
        }
    }

    /// Keeps its database from being written, as a backup or an operator's hand would.
    pub fn lock_store(&self) -> rusqlite::Connection {
        let path = self.data_dir().join("hub.sqlite3");
        let store = rusqlite::Connection::open(path).expect("the hub's database");
        store.busy_timeout(PATIENCE).expect("an option");
        store.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        store
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL, as an out-of-memory killer would.
    pub fn kill(&mut self) {
        self.child.kill().expect("the hub runs");
        self.child.wait().expect("the hub ends");
    }

    /// Asks it to stop by a signal, and waits for that.
    pub fn stop(&mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(status.expect("kill runs").success());
    }

    /// How it has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the hub is our child")
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the hub is our child") {
                return status;
            }
            assert!(Instant::now() < until, "the hub does not stop");
            std::thread::yield_now();
        }
    }

    /// Starts it again on the same data, after [`kill`](Hub::kill) or [`stop`](Hub::stop).
    pub fn restart(&mut self) {
        (self.child, self.address) = spawn(&mut command(&self.args, self.dir.path(), ANY_PORT));
    }

    /// Starts it again on the same data with other arguments.
    pub fn restart_with(&mut self, args: &[&str]) {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.restart();
    }

    /// A plain connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the hub listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        stream
    }

    /// Sends one HTTP request with these headers, and reads the answer.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).expect("the hub reads the head");
        // A refused body may be answered before it is read to its end.
        _ = stream.write_all(body);
        Answer::read(&mut stream)
    }

    /// GETs a path.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// POSTs a JSON body.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.request("POST", path, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// Joins a space in the seed's dialect.
    pub fn join(&self, space: i32, user: i32, username: &str) -> Client {
        let username = username.replace(' ', "%20").replace('"', "%22");
        self.socket(&format!("/v1/ws/spaces/{space}?user_id={user}&username={username}"), None)
    }

    /// Joins a space in the second dialect.
    pub fn join_v1(&self, space: i32, user: i32, query: &str) -> Client {
        let path = format!("/v1/ws/spaces/{space}?user_id={user}{query}");
        self.socket(&path, Some("cpi-hub.v1"))
    }

    /// Opens a WebSocket.
    pub fn socket(&self, path: &str, protocol: Option<&'static str>) -> Client {
        self.socket_with(path, protocol, &[])
    }

    /// Opens a WebSocket with further header lines.
    pub fn socket_with(
        &self,
        path: &str,
        protocol: Option<&'static str>,
        lines: &[(&'static str, &str)],
    ) -> Client {
        let url = format!("ws://{}{path}", self.address);
        let mut request = url.into_client_request().expect("a valid URL");
        if let Some(protocol) = protocol {
            let value = HeaderValue::from_static(protocol);
            request.headers_mut().insert("Sec-WebSocket-Protocol", value);
        }
        for (name, value) in lines {
            request.headers_mut().insert(*name, value.parse().expect("a header's value"));
        }
        Client { socket: client::upgraded(&request, || self.connect()) }
    }

    /// One number of `/metrics`, all labels of the name added up; 0 if it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let of_name =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let value =
            |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(of_name).filter_map(value).sum()
    }

    /// What `/readyz` says is wrong.
    pub fn conditions(&self) -> Vec<Value> {
        self.get("/readyz").json()["conditions"].as_array().cloned().unwrap_or_default()
    }

    /// Whether `/readyz` says that this is wrong.
    pub fn has_condition(&self, name: &str) -> bool {
        self.conditions().iter().any(|condition| condition["name"] == name)
    }

    /// The contents of a space's stored messages, oldest first.
    pub fn contents(&self, space: i32) -> Vec<String> {
        let text = |row: Value| row["content"].as_str().expect("a text").to_owned();
        self.history(space).into_iter().map(text).collect()
    }

    /// All stored messages of a space, oldest first, read by position.
    pub fn history(&self, space: i32) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        let mut after = "00000000000000000000000000".to_owned();
        loop {
            let path = format!("/v1/spaces/{space}/messages?after={after}&limit=100");
            let page = self.get(&path).json();
            let rows = page["data"].as_array().expect("a page").clone();
            if let Some(last) = rows.last() {
                after = last["id"].as_str().expect("an id").to_owned();
            }
            all.extend(rows);
            if page["has_more"] != true {
                return all;
            }
        }
    }

    /// Waits until a space has this many stored messages; gives them.
    pub fn history_of(&self, space: i32, messages: usize) -> Vec<Value> {
        eventually("the messages are stored", || {
            let history = self.history(space);
            (history.len() >= messages).then_some(history)
        })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the hub's log:\n{}", self.log());
        }
    }
}

/// In the data directory; not the hub's own.
pub const LOG_FILE: &str = "log-of-the-test";

/// A chat post's body with nothing wrong in it.
pub const GOOD: &str = r#"{"user_id":1,"username":"Ana","message":"hola"}"#;

/// Arguments that take the rate limits off.
pub const UNLIMITED: [&str; 8] = [
    "--message-rate",
    "off",
    "--user-message-rate",
    "off",
    "--connection-rate",
    "off",
    "--control-rate",
    "off",
];

const ANY_PORT: &str = "127.0.0.1:0";

fn command(args: &[String], data_dir: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
    command.args(["serve", "--data-dir"]).arg(data_dir);
    // A test may say itself where its hub is to listen, what it logs, and whether its shards have
    // cores of their own: those of many tests at once would share the first.
    for (name, value) in [("--listen", listen), ("--log", "warn"), ("--pinned", "false")] {
        if args.iter().all(|arg| arg != name) {
            command.args([name, value]);
        }
    }
    set_up(command.args(args), data_dir);
    command
}

/// Gives a hub no variables and no input, and has it write its log where the test finds it.
fn set_up<'a>(command: &'a mut Command, data_dir: &Path) -> &'a mut Command {
    let log = File::options().create(true).append(true).open(data_dir.join(LOG_FILE));
    command.env_clear().stdin(Stdio::null()).stderr(log.expect("a log"))
}

fn owned(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

fn spawn_waiting(args: &[String], data_dir: &Path, env: &[(&str, &str)]) -> (Child, SocketAddr) {
    let free = std::net::TcpListener::bind(ANY_PORT).expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let mut command = command(args, data_dir, &address.to_string());
    let spawned = command.envs(env.iter().copied()).stdout(Stdio::null()).spawn();
    let child = spawned.expect("the hub starts");
    eventually("the hub listens", || TcpStream::connect(address).ok());
    (child, address)
}

fn spawn(command: &mut Command) -> (Child, SocketAddr) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the hub starts");
    let stdout = child.stdout.take().expect("it is piped");
    let (sender, lines) = mpsc::sync_channel(64);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let until = Instant::now() + PATIENCE;
    let address = loop {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else {
            _ = child.kill();
            panic!("the hub does not say where it listens: {:?}", child.wait());
        };
        if let Some((_, address)) = line.split_once("http://") {
            break address.trim().parse().expect("an address");
        }
    };
    (child, address)
}

/// Runs the hub with these arguments until it ends; for what fails at the start.
pub fn run_hub(args: &[&str], env: &[(&str, &str)]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
    command.args(args).env_clear().envs(env.iter().copied()).stdin(Stdio::null());
    command.output().expect("the hub runs")
}

/// The handshake's key: the example of RFC 6455.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request to become a WebSocket, with further header lines.
pub fn upgrade(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{lines}\r\n"
    )
}

/// What comes until the hub closes.
pub fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    answer
}

/// How long [`eventually`] leaves the processor to those whom it asks about.
const ASK_AGAIN: Duration = Duration::from_millis(1);

/// Asks again until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(ASK_AGAIN);
    }
}

/// One client frame, masked, with any first byte and any claimed mask bit.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(0x80 | length as u8),
        length @ ..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
