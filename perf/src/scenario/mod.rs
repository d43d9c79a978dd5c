//! Scenario files: what is run, as TOML, so that a run can be named, kept and made again.
//!
//! A key that a kind doesn't know, or a value out of its range, is refused with one line that
//! names it. Nothing here opens a socket before all keys have been read.

use std::io;
use std::time::Duration;

use toml::{Table, Value};

use self::fanout::Load;
use crate::client::connection::Server;
use crate::client::dialect::Dialect;
use crate::measure::figures::Figures;
pub mod churn;
pub mod durable;
pub mod fanout;
pub mod herd;
pub mod idle;
pub mod stalled;

/// A scenario that was read.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For files and tables.
    pub name: String,
    /// For people: one sentence.
    pub about: String,
    kind: Kind,
}

/// Where and how it is run.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where the load goes.
    pub server: Server,
    /// The server's process, on this machine.
    pub pid: Option<u32>,
    /// The number of the first space.
    pub first_space: i32,
}

#[derive(Clone, Debug)]
enum Kind {
    Fanout(Shape, Load),
    Stalled(Shape, Load, usize),
    Durable(Shape, Load),
    Idle { steps: Vec<usize>, members: usize, rate: f64, hold: Duration },
    Churn { members: usize, rates: [f64; 2], stay: Duration, times: Times },
    Herd { connections: usize, members: usize, rate: f64, times: [Duration; 2] },
}

#[derive(Clone, Copy, Debug)]
struct Times {
    warm_up: Duration,
    measure: Duration,
    settle: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    spaces: usize,
    members: usize,
    publishers: usize,
    content_bytes: usize,
    times: Times,
}

/// Stamps count microseconds in 32 bits, which is 71 minutes.
const RUN_SECONDS_MAX: f64 = 3600.0;
const CONNECT_RATE: f64 = 1_500.0;
const COUNT_MAX: u64 = 10_000_000;

/// Reads a scenario. `settings` are further `key=value` pairs, which win over the file's.
pub fn read(name: &str, text: &str, settings: &[String]) -> Result<Scenario, String> {
    let mut table = parse(text)?;
    for setting in settings {
        let pair = setting.split_once('=').ok_or(format!("{setting}: expected KEY=VALUE"))?;
        table.extend(parse(&format!("{} = {}", pair.0, pair.1))?);
    }
    let mut keys = Keys(table);
    let scenario = Scenario {
        name: keys.text("name", name)?,
        about: keys.text("about", "")?,
        kind: Kind::read(&mut keys)?,
    };
    keys.end().map(|()| scenario)
}

fn parse(text: &str) -> Result<Table, String> {
    // The parser's own text shows the place in three more lines.
    text.parse().map_err(|error: toml::de::Error| error.message().replace('\n', " "))
}

impl Scenario {
    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        match &self.kind {
            Kind::Fanout(_, Load::Closed { .. }) => "fanout",
            Kind::Fanout(_, Load::Open { .. }) => "open",
            Kind::Stalled(..) => "stalled",
            Kind::Durable(..) => "durable",
            Kind::Idle { .. } => "idle",
            Kind::Churn { .. } => "churn",
            Kind::Herd { .. } => "herd",
        }
    }

    /// Connections that are open at one time, at most: each is a file.
    pub fn connections(&self) -> usize {
        match &self.kind {
            Kind::Fanout(shape, _) | Kind::Stalled(shape, ..) | Kind::Durable(shape, _) => {
                shape.spaces * shape.members
            }
            Kind::Idle { steps, .. } => steps.last().copied().unwrap_or(0),
            Kind::Churn { members, rates, stay, .. } => {
                members + (rates[0] * stay.as_secs_f64()) as usize + 1_000
            }
            Kind::Herd { connections, .. } => *connections,
        }
    }

    /// Runs it.
    pub fn run(&self, target: Target) -> io::Result<Figures> {
        match &self.kind {
            Kind::Fanout(shape, load) => shape.plan(target, *load).run(),
            Kind::Stalled(shape, load, stalled) => {
                stalled::run(&shape.plan(target, *load), *stalled)
            }
            Kind::Durable(shape, load) => {
                let dialect = Dialect::HubV1;
                let server = Server { dialect, ..target.server };
                if target.server.dialect != Dialect::Hub && target.server.dialect != dialect {
                    return Err(io::Error::other("only the hub stores and acknowledges"));
                }
                durable::run(&shape.plan(Target { server, ..target }, *load))
            }
            Kind::Idle { steps, members, rate, hold } => {
                let missing = || io::Error::other("`idle` reads the server's memory: --pid PID");
                idle::Plan {
                    server: target.server,
                    pid: target.pid.ok_or_else(missing)?,
                    steps: steps.clone(),
                    first_space: target.first_space,
                    members: *members,
                    rate: *rate,
                    hold: *hold,
                }
                .run()
            }
            Kind::Churn { members, rates: [rate, connect_rate], stay, times } => churn::Plan {
                server: target.server,
                pid: target.pid,
                space: target.first_space,
                members: *members,
                rate: *rate,
                stay: *stay,
                warm_up: times.warm_up,
                measure: times.measure,
                settle: times.settle,
                connect_rate: *connect_rate,
            }
            .run(),
            Kind::Herd { connections, members, rate, times: [hold, wait] } => herd::Plan {
                server: target.server,
                pid: target.pid,
                first_space: target.first_space,
                connections: *connections,
                members: *members,
                connect_rate: *rate,
                hold: *hold,
                wait: *wait,
            }
            .run(),
        }
    }
}

impl Shape {
    fn read(keys: &mut Keys) -> Result<Shape, String> {
        let shape = Shape {
            spaces: keys.count("spaces", Some(1))?,
            members: keys.count("members", None)?,
            publishers: keys.count("publishers", Some(1))?,
            content_bytes: keys.count("content_bytes", Some(128))?,
            times: Times::read(keys)?,
        };
        if shape.publishers > shape.members {
            return Err("publishers: they are members, so at most `members`".into());
        }
        Ok(shape)
    }

    fn plan(&self, target: Target, load: Load) -> fanout::Plan {
        fanout::Plan {
            server: target.server,
            pid: target.pid,
            spaces: self.spaces,
            first_space: target.first_space,
            members: self.members,
            publishers: self.publishers,
            load,
            content_bytes: self.content_bytes,
            warm_up: self.times.warm_up,
            measure: self.times.measure,
            settle: self.times.settle,
        }
    }
}

impl Times {
    fn read(keys: &mut Keys) -> Result<Times, String> {
        let times = Times {
            warm_up: keys.time("warmup", 3.0)?,
            measure: keys.time("seconds", 10.0)?,
            settle: keys.time("settle", 5.0)?,
        };
        let all = times.warm_up + 2 * times.measure + times.settle;
        match all.as_secs_f64() <= RUN_SECONDS_MAX && !times.measure.is_zero() {
            true => Ok(times),
            false => Err("seconds: above 0, and with warmup and settle within an hour".into()),
        }
    }
}

impl Kind {
    fn read(keys: &mut Keys) -> Result<Kind, String> {
        match keys.text("kind", "")?.as_str() {
            "fanout" => Ok(Kind::Fanout(Shape::read(keys)?, closed(keys)?)),
            "open" => Ok(Kind::Fanout(Shape::read(keys)?, open(keys)?)),
            "stalled" => {
                let shape = Shape::read(keys)?;
                let stalled = keys.count("stalled", None)?;
                Ok(Kind::Stalled(shape, open(keys)?, stalled))
            }
            "durable" => Ok(Kind::Durable(Shape::read(keys)?, open(keys)?)),
            "idle" => Ok(Kind::Idle {
                steps: keys.steps("steps")?,
                members: keys.count("members", Some(10))?,
                rate: keys.positive("connect_rate", Some(CONNECT_RATE))?,
                hold: keys.time("hold", 3.0)?,
            }),
            "churn" => {
                let rates = [
                    keys.positive("rate", None)?,
                    keys.positive("connect_rate", Some(CONNECT_RATE))?,
                ];
                let (members, stay) = (keys.count("members", None)?, keys.time("stay", 1.0)?);
                Ok(Kind::Churn { members, rates, stay, times: Times::read(keys)? })
            }
            "herd" => Ok(Kind::Herd {
                connections: keys.count("connections", None)?,
                members: keys.count("members", Some(10))?,
                rate: keys.positive("connect_rate", Some(CONNECT_RATE))?,
                times: [keys.time("hold", 2.0)?, keys.time("wait", 60.0)?],
            }),
            other => Err(format!(
                "kind: `{other}` is none of fanout, open, stalled, durable, idle, churn, herd"
            )),
        }
    }
}

fn closed(keys: &mut Keys) -> Result<Load, String> {
    Ok(Load::Closed { in_flight: keys.count("in_flight", None)? as u32 })
}

fn open(keys: &mut Keys) -> Result<Load, String> {
    Ok(Load::Open { rate: keys.positive("rate", None)? })
}

/// The keys that are not read yet.
struct Keys(Table);

impl Keys {
    fn text(&mut self, key: &str, default: &str) -> Result<String, String> {
        match self.0.remove(key) {
            None => Ok(default.into()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("{key}: expected a text in quotes")),
        }
    }

    fn number(&mut self, key: &str, default: Option<f64>) -> Result<f64, String> {
        match (self.0.remove(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(format!("{key}: missing")),
            (Some(Value::Integer(number)), _) => Ok(number as f64),
            (Some(Value::Float(number)), _) => Ok(number),
            (Some(_), _) => Err(format!("{key}: expected a number")),
        }
    }

    fn positive(&mut self, key: &str, default: Option<f64>) -> Result<f64, String> {
        match self.number(key, default)? {
            number if number > 0.0 && number < 1e9 => Ok(number),
            _ => Err(format!("{key}: expected a number above 0")),
        }
    }

    fn time(&mut self, key: &str, default: f64) -> Result<Duration, String> {
        match self.number(key, Some(default))? {
            seconds if (0.0..=RUN_SECONDS_MAX).contains(&seconds) => {
                Ok(Duration::from_secs_f64(seconds))
            }
            _ => Err(format!("{key}: expected seconds, an hour at most")),
        }
    }

    fn count(&mut self, key: &str, default: Option<usize>) -> Result<usize, String> {
        let number = self.number(key, default.map(|default| default as f64))?;
        whole(number).ok_or(format!("{key}: expected a whole number from 1"))
    }

    fn steps(&mut self, key: &str) -> Result<Vec<usize>, String> {
        let wrong = || format!("{key}: expected ascending whole numbers, such as [5000, 10000]");
        let Some(Value::Array(values)) = self.0.remove(key) else { return Err(wrong()) };
        let read = |value: &Value| value.as_integer().and_then(|number| whole(number as f64));
        let steps = values.iter().map(read).collect::<Option<Vec<usize>>>().ok_or_else(wrong)?;
        match steps.is_empty() || !steps.is_sorted_by(|a, b| a < b) {
            true => Err(wrong()),
            false => Ok(steps),
        }
    }

    fn end(self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("{key}: this kind of scenario has no such key")),
        }
    }
}

fn whole(number: f64) -> Option<usize> {
    let is_whole = number >= 1.0 && number <= COUNT_MAX as f64 && number.fract() == 0.0;
    is_whole.then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "kind = \"fanout\"\nmembers = 10\npublishers = 2\nin_flight = 4\n";

    /// Checks that a text is refused with one line that begins so.
    fn check(text: &str, settings: &[&str], start: &str) {
        let settings: Vec<String> = settings.iter().map(|setting| setting.to_string()).collect();
        let error = read("x", text, &settings).expect_err("refused");
        assert!(error.starts_with(start) && !error.contains('\n'), "{error}, expected {start}");
    }

    #[test]
    fn a_file_is_read_with_its_defaults_and_settings_win() {
        let scenario = read("ten", GOOD, &[]).expect("good");
        assert_eq!((scenario.name.as_str(), scenario.kind()), ("ten", "fanout"));
        assert_eq!(scenario.connections(), 10);
        let more = ["members=20".into(), "name=\"twenty\"".into(), "spaces=3".into()];
        let scenario = read("ten", GOOD, &more).expect("good");
        assert_eq!((scenario.name.as_str(), scenario.connections()), ("twenty", 60));
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused_with_one_line() {
        check("kind = \"dance\"", &[], "kind: `dance`");
        check("kind = \"fanout\"", &[], "members: missing");
        check(GOOD, &["mambers=3"], "mambers: this kind of scenario has no such key");
        check(GOOD, &["rate=3"], "rate: this kind");
        check(GOOD, &["stalled=3"], "stalled: this kind");
        check(GOOD, &["members=1"], "publishers: ");
        check(GOOD, &["members=0"], "members: expected a whole number");
        check(GOOD, &["members=1.5"], "members: expected a whole number");
        check(GOOD, &["members=\"x\""], "members: expected a number");
        check(GOOD, &["seconds=0"], "seconds: above 0");
        check(GOOD, &["seconds=-1"], "seconds: expected seconds");
        check(GOOD, &["seconds"], "seconds: expected KEY=VALUE");
        check("kind = \"idle\"\nsteps = [5, 5]", &[], "steps: ");
        check("kind = \"idle\"", &[], "steps: ");
        check("kind = ", &[], "");
    }
}
