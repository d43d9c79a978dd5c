//! What is done to whom, and when: drawn from a seed, so that a run can be had again.

use std::str::FromStr;

use crate::support::ledger::random;

/// A number from the environment.
pub fn setting<T: FromStr>(name: &str, default: T) -> T {
    let Ok(text) = std::env::var(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
}

/// How a database ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// SIGKILL of its first process.
    Kill,
    /// SIGQUIT: at once, to be recovered.
    Immediate,
    /// SIGINT: sessions are cut, all is written.
    Fast,
    /// All its sessions are ended; it goes on.
    Sessions,
}

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The hub is killed, and started again.
    Hub,
    /// The database ends, and is started again.
    Database(How),
    /// Both at once.
    Both(How),
    /// The database ends; the hub is killed and started again before it is back.
    HubWhileAway(How),
    /// A hub with another data directory comes, waits, and has its turn on the database.
    AnotherHub,
    /// The hub is killed, and started without its database's address first.
    LostAddress,
    /// The hub is killed, and its database comes back as it was a while before.
    OlderDatabase,
}

/// Random numbers of one seed.
pub struct Draw(pub u64);

impl Draw {
    /// One of `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        random(&mut self.0) % below.max(1)
    }
}

/// So many kills of each, in a random order; some come together.
pub fn events(draw: &mut Draw, hub_kills: usize, database_kills: usize) -> Vec<Event> {
    const HOWS: [How; 4] = [How::Kill, How::Immediate, How::Fast, How::Sessions];
    let together = hub_kills.min(database_kills) / 2;
    let mut events = vec![Event::Hub; hub_kills - together];
    for number in 0..database_kills {
        // Sessions alone can't be away, nor does their end take anything from the disk.
        let how = HOWS[number % HOWS.len()];
        let ends = if how == How::Sessions { How::Kill } else { how };
        events.push(match number {
            number if number >= together => Event::Database(how),
            number if number % 2 == 0 => Event::Both(ends),
            _ => Event::HubWhileAway(ends),
        });
    }
    // Each a few times at most: they take seconds.
    const TURNS: [Event; 3] = [Event::AnotherHub, Event::OlderDatabase, Event::LostAddress];
    events.extend(TURNS.into_iter().cycle().take((hub_kills / 4).clamp(3, 9)));
    for last in (1..events.len()).rev() {
        events.swap(last, draw.below(last as u64 + 1) as usize);
    }
    events
}
