//! What a service manager such as systemd does for a hub: keeps its listening sockets, and hands
//! them to each process that serves there.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Hub, LOG_FILE, PATIENCE, owned, spawn};

/// A child of the standard library's has three descriptors. Those that it is to have beside them
/// are handed over in these places, and moved by a shell, which becomes the hub: so it has the
/// process id that the variable must name.
const SHELL: &str = r#"
    [ "$SOCKETS" -ge 1 ] && exec 3<&0
    [ "$SOCKETS" -ge 2 ] && exec 4<&2
    exec </dev/null 2>>"$LOG"
    unset SOCKETS LOG
    export LISTEN_PID="${LISTEN_PID:-$$}"
    exec "$@"
"#;

/// A hub as it is started with sockets: what listens, or whatever else is handed over, and the
/// variables that say so.
pub struct Handed<'a> {
    /// At most two.
    pub sockets: &'a [OwnedFd],
    /// What it sees: nothing but these, and its own process id as `LISTEN_PID`.
    pub env: &'a [(&'a str, &'a str)],
    pub args: &'a [&'a str],
}

impl Handed<'_> {
    fn command(&self, data_dir: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SHELL, "sh", env!("CARGO_BIN_EXE_cpi-hub"), "serve"]);
        command.args(["--pinned", "false", "--data-dir"]).arg(data_dir);
        if !self.args.contains(&"--log") {
            command.args(["--log", "warn"]);
        }
        command.args(self.args).env_clear().envs(self.env.iter().copied());
        let (sockets, log) = (self.sockets.len().to_string(), data_dir.join(LOG_FILE));
        command.env("SOCKETS", sockets).env("LOG", log);
        let end = |at: usize| match self.sockets.get(at) {
            Some(socket) => Stdio::from(socket.try_clone().expect("a descriptor")),
            None => Stdio::null(),
        };
        command.stdin(end(0)).stderr(end(1));
        command
    }

    /// Starts it; it serves when this returns.
    pub fn start_in(&self, dir: TempDir) -> Hub {
        let (child, address) = spawn(&mut self.command(dir.path()));
        Hub { child, address, args: owned(self.args), dir }
    }

    /// Starts it again in the directory of one that has ended.
    pub fn start_again(&self, hub: &mut Hub) {
        (hub.child, hub.address) = spawn(&mut self.command(hub.data_dir()));
    }

    /// Runs it to its end, for what fails at the start. What it said is its standard error.
    pub fn run(&self) -> Output {
        let dir = tempfile::tempdir().expect("a directory");
        let mut output = self.command(dir.path()).output().expect("it runs");
        let log = File::open(dir.path().join(LOG_FILE));
        log.and_then(|mut log| log.read_to_end(&mut output.stderr)).expect("a log");
        output
    }
}

/// A socket that listens on the loopback, and where.
pub fn listening() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener.into(), address)
}

/// What a hub tells its service manager.
pub struct Told {
    socket: UnixDatagram,
    /// Its name, as the hub is to be given it: `NOTIFY_SOCKET`.
    pub name: String,
    _dir: TempDir,
}

impl Told {
    /// Heard over a socket in the file system.
    pub fn new() -> Told {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Told { socket, name: path.to_str().expect("a text path").into(), _dir: dir }
    }

    /// Heard over a socket that has no file.
    pub fn without_a_file() -> Told {
        let name = format!("cpi-hub-test-{}", std::process::id());
        let address = UnixAddress::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        Told { socket, name: format!("@{name}"), _dir: tempfile::tempdir().expect("a directory") }
    }

    /// The lines of the next message; `None`: there was none in this time.
    pub fn within(&self, wait: Duration) -> Option<Vec<String>> {
        self.socket.set_read_timeout(Some(wait)).expect("a timeout");
        let mut bytes = [0; 4_096];
        let length = loop {
            match self.socket.recv(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.ok()?,
            }
        };
        let text = std::str::from_utf8(&bytes[..length]).expect("a text");
        Some(text.lines().map(str::to_owned).collect())
    }

    /// Reads up to the first message with a line that begins like this; its lines.
    pub fn until(&self, begin: &str) -> Vec<String> {
        let mut passed = Vec::new();
        loop {
            let Some(lines) = self.within(PATIENCE) else { panic!("no {begin} in {passed:?}") };
            if lines.iter().any(|line| line.starts_with(begin)) {
                return lines;
            }
            passed.push(lines);
        }
    }
}
