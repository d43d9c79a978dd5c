//! The commands that talk to a hub or look at one, against the real binary: `tail`, `say`, `bench`,
//! `doctor`; and what tells of all commands.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use serde_json::Value;

use crate::support::{Hub, PATIENCE, run_hub};

mod bench;
mod chat;
mod doctor;
mod generated;
mod say;
mod tail;

/// The address of a hub, as an option.
pub(crate) fn url(hub: &Hub) -> String {
    format!("http://{}", hub.address)
}

/// How a command ended: exit code, standard output, standard error.
pub(crate) fn ended(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs a command to its end.
pub(crate) fn command(args: &[&str]) -> (Option<i32>, String, String) {
    ended(run_hub(args, &[]))
}

/// What a command prints as JSON, and its exit code.
#[track_caller]
fn json(args: &[&str]) -> (i32, Value) {
    let (code, out, err) = command(args);
    let json = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (code.expect("an exit code"), json)
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("an address").port()
}

/// A command that runs, whose lines are read as they come. Killed when dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(args: &[&str], env: &[(&str, &str)]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
        command.args(args).env_clear().envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = sync_channel(1_000);
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Running { child, lines }
    }

    /// The next line.
    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// The next frame of a type.
    #[track_caller]
    fn frame(&self, kind: &str) -> Value {
        loop {
            let frame: Value = serde_json::from_str(&self.line()).expect("a frame");
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// Waits for its end; how it ended, and what it said on standard error.
    fn end(mut self) -> (ExitStatus, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not end"),
            }
            std::thread::yield_now();
        };
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut said).expect("text");
        (status, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
