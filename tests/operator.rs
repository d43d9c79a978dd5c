//! What operators do and get wrong: command line, environment, file, data directory, signals, logs
//! (issue's point 7; RELIABILITY 67, 68, 76, canary), against the real binary.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use support::{Answer, Hub, PATIENCE, eventually, frame};

/// A process of the binary, all of whose streams the test holds. Killed when dropped.
struct Process {
    child: Child,
    /// Lines of its standard output as they come.
    lines: Receiver<String>,
}

impl Process {
    fn start(args: &[&str], env: &[(&str, &str)]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
        command.args(args).env_clear().envs(env.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let (give, lines) = channel();
        std::thread::spawn(move || {
            let all = BufReader::new(stdout).lines().map_while(Result::ok);
            all.take_while(|line| give.send(line.clone()).is_ok()).for_each(drop);
        });
        Process { child, lines }
    }

    /// A hub with its data there, on a free port.
    fn serve(data_dir: &Path, args: &[&str]) -> Process {
        let data_dir = data_dir.to_str().expect("a text path");
        let fixed = ["serve", "--listen", "127.0.0.1:0", "--pinned", "false"];
        Process::start(&[&fixed[..], &["--data-dir", data_dir], args].concat(), &[])
    }

    /// The next line of its standard output that holds a text.
    fn line(&self, holding: &str) -> String {
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
    fn address(&self) -> SocketAddr {
        let line = self.line("http://");
        let (_, address) = line.split_once("http://").expect("looked for it");
        address.parse().expect("an address")
    }

    fn stdin(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().expect("it is piped")
    }

    /// Its exit code, and all that it wrote to standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let mut stderr = self.child.stderr.take().expect("it is piped");
        let said = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let status = eventually("it ends", || self.child.try_wait().expect("our child"));
        let text = said.join().expect("no panic").expect("standard error is text");
        (status.code(), text)
    }

    fn signal(&self, signal: &str) {
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
fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> (Answer, TcpStream) {
    let mut stream = TcpStream::connect(address).expect("the hub listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_ref()).expect("the hub reads");
    (Answer::read(&mut stream), stream)
}

fn upgrade(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
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
        let (answer, mut member) = ask(address, upgrade(&path));
        assert_eq!(answer.status, 101);
        member.write_all(&frame(0x88, b"")).expect("the hub reads");
        let mut rest = Vec::new();
        member.read_to_end(&mut rest).expect("the hub ends it");
    }
    hub.signal("TERM");
    let ended = eventually("it ends", || hub.child.try_wait().expect("our child"));
    assert_eq!(ended.code(), Some(0));
}
