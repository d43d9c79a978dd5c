//! The restart scenario: a hub ends and another one begins on the same listening socket, which this
//! process keeps, while a crowd chats and strangers connect at a rate.
//!
//! The hub is the scenario's own child: it is given the socket as a service manager gives it, asked
//! to end, and begun again as soon as it has. Nobody may be refused, and no member of the crowd,
//! each of whom comes back after its hint with its position, may miss a message.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::net::{bind, getsockname, listen, socket_with};

use super::crowd::{Crowd, Size, TURN};
use super::drain::Talk;
use super::keys::Keys;
use super::kind::{Kind, Target};
use crate::client::connection::Server;
use crate::client::engine::micros;
use crate::measure::figures::Figures;
use crate::measure::marks::quantile_ms;
use crate::measure::process;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    size: Size,
    /// The hub's command, without its data directory and its listener.
    command: Vec<String>,
    data_dir: String,
    /// Messages of the crowd a second.
    rate: f64,
    /// Connections of strangers a second.
    arrivals: f64,
    restarts: usize,
    /// Time before the first restart, and between two.
    every: Duration,
    /// How long all may take to come back and to be answered.
    settle: Duration,
}

/// Connections that may wait for the next hub; the kernel holds as many at most by itself.
const BACKLOG: i32 = 4_096;
/// Longer than any hub takes to end.
const END_WAIT_US: u64 = 40_000_000;
/// The socket takes the place of standard input, and a shell moves it to where a service manager
/// puts it; the shell becomes the hub, so it has the process number that the variable must name.
const SHELL: &str = r#"exec 3<&0 </dev/null
export LISTEN_FDS=1 LISTEN_PID="$$"
exec "$@""#;

impl Plan {
    pub(super) fn read(keys: &mut Keys) -> Result<Plan, String> {
        Ok(Plan {
            size: Size {
                spaces: keys.count("spaces", None)?,
                members: keys.count("members", None)?,
                connect_rate: keys.connect_rate()?,
                content_bytes: keys.count("content_bytes", Some(64))?,
            },
            command: keys.texts("command")?,
            data_dir: keys.text("data_dir", "")?,
            rate: keys.positive("rate", None)?,
            arrivals: keys.positive("arrivals", None)?,
            restarts: keys.count("restarts", Some(1))?,
            every: keys.time("every", 5.0)?,
            settle: keys.time("settle", 30.0)?,
        })
    }
}

/// What one restart took.
#[derive(Clone, Copy, Debug)]
struct Restart {
    ended_after_us: u64,
    in_after_us: u64,
}

struct Run<'a> {
    plan: &'a Plan,
    listener: OwnedFd,
    child: Child,
    crowd: Crowd,
    talk: Talk,
    restarts: Vec<Restart>,
}

impl Kind for Plan {
    fn connections(&self) -> usize {
        // Those who wait while no hub is there are open files too.
        self.size.spaces * self.size.members + BACKLOG as usize
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        let (listener, address) = listener()?;
        let child = self.begin(&listener)?;
        let server = Server { address, ..target.server };
        let crowd = Crowd::new(self.size, server, target.first_space, "accepted")?;
        let talk = Talk { started: 0, said: 0, rate: self.rate };
        let mut run = Run { plan: self, listener, child, crowd, talk, restarts: Vec::new() };
        let made = run.go();
        // Whatever happened, no hub is left.
        let _ = run.child.kill();
        let _ = run.child.wait();
        made?;
        Ok(run.figures())
    }
}

impl Plan {
    fn begin(&self, listener: &OwnedFd) -> io::Result<Child> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SHELL, "sh"]).args(&self.command);
        command.args(["--data-dir", &self.data_dir]).stdin(Stdio::from(listener.try_clone()?));
        command.spawn()
    }
}

/// A socket with room for those who have to wait.
fn listener() -> io::Result<(OwnedFd, SocketAddr)> {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let listener = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    listen(&listener, BACKLOG)?;
    let address = getsockname(&listener)?;
    let address = SocketAddr::try_from(address).map_err(io::Error::other)?;
    Ok((listener, address))
}

impl Run<'_> {
    fn go(&mut self) -> io::Result<()> {
        self.crowd.open()?;
        self.crowd.come_back();
        self.talk.started = self.crowd.engine.now();
        for _ in 0..self.plan.restarts {
            let until = self.crowd.engine.now() + micros(self.plan.every);
            self.load_while(|run| run.crowd.engine.now() < until)?;
            self.restart()?;
        }
        let until = self.crowd.engine.now() + micros(self.plan.every);
        self.load_while(|run| run.crowd.engine.now() < until)?;
        self.settle()
    }

    fn load_while(&mut self, mut goes_on: impl FnMut(&mut Self) -> bool) -> io::Result<()> {
        while goes_on(self) {
            self.talk.go_on(&mut self.crowd);
            let now = self.crowd.engine.now();
            let due = (now - self.talk.started) as f64 * self.plan.arrivals / 1e6;
            while self.crowd.arrivals() < due as u64 {
                self.crowd.arrive()?;
            }
            self.crowd.turn(TURN)?;
            let (there, came) = (self.crowd.tally.in_count, self.crowd.tally.arrivals_in);
            self.crowd.progress.tell(now, || format!("{there} are in, {came} strangers came"));
        }
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        let begun = self.crowd.engine.now();
        process::terminate(self.child.id())?;
        let mut status = None;
        self.load_while(|run| {
            status = run.child.try_wait().transpose();
            status.is_none() && run.crowd.engine.now() < begun + END_WAIT_US
        })?;
        match status.transpose()? {
            Some(status) if status.success() => {}
            other => return Err(io::Error::other(format!("the hub ended with {other:?}"))),
        }
        let ended = self.crowd.engine.now();
        self.child = self.plan.begin(&self.listener)?;
        let before = self.crowd.tally.arrivals_in;
        let deadline = ended + END_WAIT_US;
        self.load_while(|run| {
            run.crowd.tally.arrivals_in == before && run.crowd.engine.now() < deadline
        })?;
        let in_after_us = self.crowd.engine.now() - ended;
        self.restarts.push(Restart { ended_after_us: ended - begun, in_after_us });
        Ok(())
    }

    /// Nobody says more, and nobody comes: all get back, and what was said to everybody.
    fn settle(&mut self) -> io::Result<()> {
        let deadline = self.crowd.engine.now() + micros(self.plan.settle);
        while self.crowd.engine.now() < deadline && !self.is_settled() {
            self.crowd.turn(TURN)?;
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        let (crowd, tally) = (&self.crowd, &self.crowd.tally);
        let is_answered = tally.arrivals_in + tally.arrivals_refused == crowd.arrivals();
        let all_are_in = tally.in_count == crowd.count();
        is_answered && all_are_in && crowd.unanswered() == 0 && crowd.gaps().members == 0
    }

    fn figures(&self) -> Figures {
        let (plan, tally) = (self.plan, &self.crowd.tally);
        let mut figures = Figures::default();
        figures.count("members", self.crowd.count()).number("rate_per_s", plan.rate);
        figures.number("arrivals_per_s", plan.arrivals).count("restarts", self.restarts.len());
        let seconds = |pick: fn(&Restart) -> u64| {
            let times = self.restarts.iter().map(pick);
            times.map(|us| format!("{:.2}", us as f64 / 1e6)).collect::<Vec<_>>().join(" ")
        };
        figures.text("ended_after_s", seconds(|restart| restart.ended_after_us));
        figures.text("first_in_after_s", seconds(|restart| restart.in_after_us));
        figures.count("arrivals", self.crowd.arrivals()).count("arrivals_in", tally.arrivals_in);
        let waiting = self.crowd.arrivals() - tally.arrivals_in - tally.arrivals_refused;
        figures.count("arrivals_refused", tally.arrivals_refused + waiting);
        for (name, quantile) in
            [("arrival_p50_ms", 0.5), ("arrival_p99_ms", 0.99), ("arrival_max_ms", 1.0)]
        {
            figures.number(name, quantile_ms(&tally.arrival_us, quantile));
        }
        self.crowd.books(&mut figures);
        self.crowd.gaps().describe(&mut figures);
        figures.count("not_back", self.crowd.count() - tally.in_count);
        figures
    }
}
