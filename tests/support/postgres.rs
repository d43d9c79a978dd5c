//! A PostgreSQL server of the test's own: a fresh cluster on a Unix socket in a temporary
//! directory, that can be stopped, frozen and killed as a real one.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{PATIENCE, eventually};

/// Where a cluster's files are, if not beside its socket.
#[derive(Clone, Copy, Default)]
pub struct Folders<'a> {
    /// Tables.
    pub data: Option<&'a Path>,
    /// The write-ahead log.
    pub wal: Option<&'a Path>,
}

/// Killed when dropped.
pub struct Cluster {
    dir: TempDir,
    data: PathBuf,
    bin: PathBuf,
    settings: Vec<String>,
    /// The number in its socket's name, and the port of TCP where that is switched on.
    port: u16,
    server: Child,
}

impl Cluster {
    /// Where the server's programs are: of the newest version installed.
    pub fn programs() -> Option<PathBuf> {
        let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = debian.map(|entry| entry.path().join("bin")).collect();
        let version = |path: &PathBuf| {
            let name = path.parent().and_then(Path::file_name)?;
            name.to_str()?.parse::<u32>().ok()
        };
        folders.sort_by_key(version);
        let path = std::env::var_os("PATH").unwrap_or_default();
        folders.extend(std::env::split_paths(&path));
        let whole = |folder: &PathBuf| {
            ["postgres", "initdb", "psql"].iter().all(|name| folder.join(name).exists())
        };
        folders.into_iter().rev().find(whole)
    }

    /// Makes and starts one that forgets a power cut, with further settings (`name=value`).
    pub fn start(settings: &[&str]) -> Cluster {
        Cluster::start_on(Folders::default(), settings)
    }

    /// Starts a cluster with some of its files elsewhere.
    pub fn start_on(folders: Folders, settings: &[&str]) -> Cluster {
        let bin = Cluster::programs().expect("PostgreSQL's programs");
        let dir = tempfile::Builder::new().prefix("pg").tempdir().expect("a directory");
        if is_root() {
            succeed(Command::new("chown").arg("nobody:nogroup").arg(dir.path()));
        }
        let data = folders.data.unwrap_or(dir.path()).join("data");
        let mut init = unprivileged(&bin.join("initdb"));
        if let Some(folder) = folders.wal {
            // In small segments: a new one is soon needed.
            init.arg("-X").arg(folder.join("wal")).arg("--wal-segsize=1");
        }
        init.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]);
        // A language whose order is not that of bytes, where there is one.
        init.args(["--locale-provider=icu", "--icu-locale=es-AR", "--locale=C.UTF-8"]);
        succeed(&mut init);
        let settings: Vec<String> =
            ["fsync=off"].iter().chain(settings).map(|it| (*it).to_owned()).collect();
        let port = settings.iter().find_map(|setting| setting.strip_prefix("port="));
        let port = port.map_or(5432, |port| port.parse().expect("a port"));
        let server = serve(&bin, (dir.path(), &data), &settings);
        let cluster = Cluster { dir, data, bin, settings, port, server };
        cluster.until_ready();
        cluster.sql("postgres", "CREATE DATABASE hub");
        cluster
    }

    /// Makes and starts one that listens on the loopback too.
    pub fn start_on_tcp() -> Cluster {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = format!("port={}", free.local_addr().expect("an address").port());
        drop(free);
        Cluster::start(&["listen_addresses=127.0.0.1", &port])
    }

    /// The address of its database `hub` over TCP, by this name of the host.
    pub fn tcp_url(&self, user: &str, host: &str, more: &str) -> String {
        let port = self.port;
        format!("host={host} hostaddr=127.0.0.1 port={port} user={user} dbname=hub {more}")
    }

    /// Writes a file into its directory that only the server may read.
    pub fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.data().join(name);
        std::fs::write(&path, text).expect("it writes");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("our file");
        if is_root() {
            succeed(Command::new("chown").arg("nobody:nogroup").arg(&path));
        }
    }

    /// The address of its database `hub`.
    pub fn url(&self) -> String {
        self.url_of("postgres", "hub")
    }

    /// The address of a database for a user; a password may stand behind the name.
    pub fn url_of(&self, user: &str, database: &str) -> String {
        let host = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgresql://{user}@{host}/{database}")
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// Its directory.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("its log")
    }

    /// Whether its first process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.server.try_wait().expect("our child").is_some()
    }

    /// Runs statements, and gives the rows: columns between `|`.
    pub fn sql(&self, database: &str, text: &str) -> Vec<String> {
        self.try_sql(database, text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Runs statements that may fail.
    pub fn try_sql(&self, database: &str, text: &str) -> Result<Vec<String>, String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.arg("-h").arg(self.dir.path()).args(["-U", "postgres", "-d", database]);
        psql.env("PGPORT", self.port.to_string());
        psql.args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-c", text]);
        let output = psql.env("PGCONNECT_TIMEOUT", "5").output().expect("psql runs");
        let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(lines(&output.stdout).lines().map(str::to_owned).collect()),
            false => Err(lines(&output.stderr)),
        }
    }

    /// Runs a script as an administrator does, statement by statement.
    pub fn script(&self, database: &str, text: &str) {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-d", &self.url_of("postgres", database)]);
        psql.env("PGPORT", self.port.to_string()).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut psql = psql.stderr(Stdio::piped()).spawn().expect("psql runs");
        let mut stdin = psql.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("it reads");
        drop(stdin);
        let out = psql.wait_with_output().expect("it ends");
        assert!(out.status.success(), "{text}: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// Sends the server a signal: INT ends it fast, QUIT at once, STOP freezes it.
    pub fn signal(&self, signal: &str) {
        let pid = self.server.id().to_string();
        succeed(Command::new("kill").args(["-s", signal, &pid]));
    }

    /// Sends the same signal to the server and to all its sessions, as far as they are there now.
    pub fn everyone(&self) -> impl Fn(&str) + use<> {
        let server = self.server.id();
        let children = format!("/proc/{server}/task/{server}/children");
        let children = std::fs::read_to_string(children).expect("its sessions");
        let mut pids: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
        pids.push(server.to_string());
        move |signal| succeed(Command::new("kill").args(["-s", signal]).args(&pids))
    }

    /// Ends the server by a signal.
    pub fn end(&mut self, signal: &str) {
        self.signal(signal);
        self.server.wait().expect("it ends");
    }

    /// Starts the server again.
    pub fn restart(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.server = serve(&self.bin, (self.dir.path(), &self.data), &self.settings);
            let ready = loop {
                if self.try_sql("postgres", "SELECT 1").is_ok() {
                    break true;
                }
                // After a SIGKILL its memory is in use until its last process is gone.
                if self.server.try_wait().expect("our child").is_some() {
                    break false;
                }
                assert!(Instant::now() < until, "the server does not start");
            };
            if ready {
                return;
            }
        }
    }

    fn until_ready(&self) {
        eventually("the server answers", || self.try_sql("postgres", "SELECT 1").ok());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.try_wait().is_ok_and(|ended| ended.is_none()) {
            // Its processes end with it, frozen ones too.
            self.signal("QUIT");
            self.signal("CONT");
            let until = Instant::now() + Duration::from_secs(10);
            while self.server.try_wait().is_ok_and(|ended| ended.is_none()) {
                if Instant::now() > until {
                    _ = self.server.kill();
                }
                std::thread::yield_now();
            }
        }
    }
}

fn serve(bin: &Path, (dir, data): (&Path, &Path), settings: &[String]) -> Child {
    let mut server = unprivileged(&bin.join("postgres"));
    server.arg("-D").arg(data).arg("-k").arg(dir).args(["-c", "listen_addresses="]);
    for setting in settings {
        server.args(["-c", setting]);
    }
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log"));
    server.stdout(Stdio::null()).stderr(log.expect("a log")).spawn().expect("it starts")
}

/// PostgreSQL does not run as root.
fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    let mut command = if is_root() { command } else { Command::new(program) };
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command.current_dir("/");
    command
}

/// Whether mounts and other users are to be had.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
