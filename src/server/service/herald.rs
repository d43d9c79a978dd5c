//! Tells a service manager how the process goes (`NOTIFY_SOCKET`), and that all of it answers
//! (`WATCHDOG_USEC`); says in any case when a part no longer does.
//!
//! Owns the socket. Sends only: what it tells obliges nobody here, and a service manager that takes
//! nothing holds up nobody.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::parts::Parts;
use crate::conditions::{Condition, Conditions};
use crate::limits::PHASES_MAX;
use crate::metrics::Metrics;

/// Between two looks at the parts.
const ROUND: Duration = Duration::from_secs(1);
/// For how long a start may go on from each time that this is told: so a hub that waits for its
/// database is not taken for one that hangs. It is told three times as often.
const START_WAIT: Duration = Duration::from_secs(30);
/// What an end may take beyond `stop_wait`, on a machine with much to do.
const STOP_SPARE: Duration = Duration::from_secs(5);
/// How often, and between which pauses, something is told to a service manager whose queue is full.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Where and how often a service manager is to be told.
#[derive(Default, Debug)]
pub(crate) struct Audience {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// Why nobody can be told, though somebody waits for it.
    trouble: Option<io::Error>,
}

impl Audience {
    /// As the variables say.
    pub(super) fn find() -> Audience {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let pid = std::env::var_os("WATCHDOG_PID").map(|_| number("WATCHDOG_PID"));
        let is_ours = pid.is_none_or(|pid| pid == Some(std::process::id().into()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0);
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let (socket, trouble) = match socket.map(|name| connect(&name)).transpose() {
            Ok(socket) => (socket, None),
            Err(error) => (None, Some(error)),
        };
        Audience { socket, watchdog: watchdog.map(Duration::from_micros), trouble }
    }

    /// Says the lines of one message.
    async fn tell(&self, lines: &str) {
        let Some(socket) = &self.socket else { return };
        for _ in 0..TRIES {
            match socket.send(lines.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return tracing::debug!(%error, "the service manager is not told"),
                Ok(_) => return,
            }
        }
    }
}

/// A socket in the file system, or with `@` one of Linux's that have no file.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// What the process comes to.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It serves, and where.
    Serving(String),
    /// It reads its configuration again.
    Reloading,
    /// It has read it.
    Reloaded,
    /// It ends, within this number of milliseconds.
    Ending(u64),
}

/// Where the herald is told what the process comes to.
#[derive(Clone, Debug)]
pub(crate) struct Phases(mpsc::Sender<Phase>);

impl Phases {
    pub(crate) fn enter(&self, phase: Phase) {
        // A herald that can't keep up with reloads leaves some out.
        _ = self.0.try_send(phase);
    }
}

/// How far the process is.
enum State {
    Starting,
    Serving { place: String, told: String },
    Ending,
}

/// Who tells.
pub(crate) struct Herald {
    audience: Audience,
    parts: Parts,
    conditions: Conditions,
    phases: mpsc::Receiver<Phase>,
    state: State,
    /// Rounds since the beginning.
    rounds: u64,
}

impl Herald {
    /// One for a process that starts, and where it is told what comes then.
    pub(crate) fn new(
        audience: Audience,
        metrics: &Arc<Metrics>,
        conditions: &Conditions,
        edge: &Handle,
    ) -> (Herald, Phases) {
        if let Some(error) = &audience.trouble {
            tracing::warn!(%error, "NOTIFY_SOCKET: the service manager can't be told anything");
        }
        let (sender, phases) = mpsc::channel(PHASES_MAX);
        let parts = Parts::new(Arc::clone(metrics), edge.clone());
        let (conditions, state) = (conditions.clone(), State::Starting);
        let herald = Herald { audience, parts, conditions, phases, state, rounds: 0 };
        (herald, Phases(sender))
    }

    /// Goes its rounds for ever.
    pub(crate) async fn run(mut self) {
        let half = self.audience.watchdog.map_or(ROUND, |watchdog| watchdog / 2);
        let round = half.min(ROUND).max(PAUSE);
        // The last round before half of the time is over.
        let watched = (half.as_nanos() / round.as_nanos()).max(1);
        let watched = self.audience.watchdog.map(|_| u64::try_from(watched).unwrap_or(u64::MAX));
        let mut rounds = tokio::time::interval(round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(phase) = self.phases.recv() => self.enter(phase).await,
                _ = rounds.tick() => {
                    let well = self.round(round).await;
                    let due = watched.is_some_and(|watched| self.rounds.is_multiple_of(watched));
                    if due && well {
                        self.audience.tell("WATCHDOG=1").await;
                    }
                    self.rounds += 1;
                }
            }
        }
    }

    async fn enter(&mut self, phase: Phase) {
        match phase {
            // Not when `/readyz` says so: what that says may change again, and this may not.
            Phase::Serving(place) => {
                let told = serving(&place, &self.conditions);
                self.audience.tell(&format!("READY=1\nSTATUS={told}")).await;
                self.state = State::Serving { place, told };
            }
            Phase::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
                let status = "STATUS=the configuration is read again";
                let lines = format!("RELOADING=1\nMONOTONIC_USEC={micros}\n{status}");
                self.audience.tell(&lines).await;
            }
            Phase::Reloaded => {
                if let State::Serving { told, .. } = &self.state {
                    self.audience.tell(&format!("READY=1\nSTATUS={told}")).await;
                }
            }
            Phase::Ending(within) => {
                self.state = State::Ending;
                let wait = (Duration::from_millis(within) + STOP_SPARE).as_micros();
                let status = "STATUS=ending: members are closed, and the journals stored";
                let lines = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={wait}\n{status}");
                self.audience.tell(&lines).await;
            }
        }
    }

    /// Whether all is well, as far as a new process could mend it.
    async fn round(&mut self, round: Duration) -> bool {
        match &mut self.state {
            State::Starting => {
                let often = (START_WAIT / 3).as_nanos() / round.as_nanos();
                if u128::from(self.rounds).is_multiple_of(often) {
                    let wait = START_WAIT.as_micros();
                    let status = "STATUS=starting: the store is not open yet";
                    let lines = format!("EXTEND_TIMEOUT_USEC={wait}\n{status}");
                    self.audience.tell(&lines).await;
                }
                true
            }
            State::Serving { place, told } => {
                let hanging = self.parts.look(round);
                let is_well = hanging.is_none();
                self.conditions.set(Condition::PartHangs, hanging);
                let status = serving(place, &self.conditions);
                if status != *told {
                    *told = status;
                    self.audience.tell(&format!("STATUS={told}")).await;
                }
                is_well
            }
            // The end has a time of its own, whatever hangs.
            State::Ending => true,
        }
    }
}

/// What is told of a hub that serves.
fn serving(place: &str, conditions: &Conditions) -> String {
    let wrong: Vec<_> = conditions.all().iter().map(|it| it.condition.name()).collect();
    match wrong[..] {
        [] => format!("serving on {place}"),
        _ => format!("serving on {place}; /readyz tells of {}", wrong.join(", ")),
    }
}
