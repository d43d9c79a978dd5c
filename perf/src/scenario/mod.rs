//! Scenario files: what is run, as TOML, so that a run can be named, kept and made again.
//!
//! `keys` reads values, `kind` is what every kind of load has to be, and each kind has a file of
//! its own that reads its keys and runs it. A key that a kind doesn't know, or a value out of its
//! range, is refused with one line that names it. Nothing here opens a socket before all keys have
//! been read.

pub mod churn;
mod crowd;
pub mod drain;
pub mod durable;
pub mod fanout;
pub mod herd;
pub mod idle;
mod keys;
mod kind;
pub mod overload;
pub mod posts;
pub mod restart;
pub mod stalled;

use std::io;

use toml::Table;

use self::keys::Keys;
pub use self::keys::{RUN_SECONDS_MAX, Times};
pub use self::kind::{Kind, Target};
use crate::measure::figures::Figures;

/// A scenario that was read.
#[derive(Debug)]
pub struct Scenario {
    /// For files and tables.
    pub name: String,
    /// For people: one sentence.
    pub about: String,
    kind: &'static str,
    plan: Box<dyn Kind>,
}

type Read = fn(&mut Keys) -> Result<Box<dyn Kind>, String>;

/// What files call each kind, and who reads its keys.
const KINDS: [(&str, Read); 11] = [
    ("fanout", |keys| Ok(Box::new(fanout::Plan::closed(keys)?))),
    ("open", |keys| Ok(Box::new(fanout::Plan::open(keys)?))),
    ("stalled", |keys| Ok(Box::new(stalled::Plan::read(keys)?))),
    ("durable", |keys| Ok(Box::new(durable::Plan::read(keys)?))),
    ("idle", |keys| Ok(Box::new(idle::Plan::read(keys)?))),
    ("churn", |keys| Ok(Box::new(churn::Plan::read(keys)?))),
    ("herd", |keys| Ok(Box::new(herd::Plan::read(keys)?))),
    ("overload", |keys| Ok(Box::new(overload::Plan::read(keys)?))),
    ("posts", |keys| Ok(Box::new(posts::Plan::read(keys)?))),
    ("drain", |keys| Ok(Box::new(drain::Plan::read(keys)?))),
    ("restart", |keys| Ok(Box::new(restart::Plan::read(keys)?))),
];

/// Reads a scenario. `settings` are further `key=value` pairs, which win over the file's.
pub fn read(name: &str, text: &str, settings: &[String]) -> Result<Scenario, String> {
    let mut table = parse(text)?;
    for setting in settings {
        let pair = setting.split_once('=').ok_or(format!("{setting}: expected KEY=VALUE"))?;
        table.extend(parse(&format!("{} = {}", pair.0, pair.1))?);
    }
    let mut keys = Keys(table);
    let (name, about) = (keys.text("name", name)?, keys.text("about", "")?);
    let (kind, read) = known(&keys.text("kind", "")?)?;
    let plan = read(&mut keys)?;
    keys.end().map(|()| Scenario { name, about, kind, plan })
}

fn parse(text: &str) -> Result<Table, String> {
    // The parser's own text shows the place in three more lines.
    text.parse().map_err(|error: toml::de::Error| error.message().replace('\n', " "))
}

fn known(kind: &str) -> Result<(&'static str, Read), String> {
    KINDS.into_iter().find(|(name, _)| *name == kind).ok_or_else(|| {
        let names = KINDS.map(|(name, _)| name).join(", ");
        format!("kind: `{kind}` is none of {names}")
    })
}

impl Scenario {
    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Connections that are open at one time, at most: each is a file.
    pub fn connections(&self) -> usize {
        self.plan.connections()
    }

    /// Runs it.
    pub fn run(&self, target: Target) -> io::Result<Figures> {
        self.plan.run(target)
    }
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
