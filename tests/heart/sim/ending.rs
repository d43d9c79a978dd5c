//! How a seed ends: everything settles, what must be true in the end is; then everyone goes, and
//! nothing may be left.

use std::collections::BTreeMap;

use cpi_hub::metrics::Metric;
use cpi_hub::shard::event::Input;
use cpi_hub::wire::SpaceKey;
use cpi_hub::wire::close::Close;

use super::client::Stage;
use super::net::Manner;
use super::talk::Asked;
use super::world::World;

impl World {
    pub fn ending(&mut self) {
        self.slice();
        self.store.fails = false;
        self.sweep_all();
        self.store.committed = self.store.appends.len();
        self.store.earlier_committed = true;
        self.tell_committed();
        self.catch_up();
        self.settle();
        self.check_settled();
        self.check_expired();
        self.everyone_goes();
        self.check_empty();
    }

    /// Those that can read do; the clock runs until those that can't are gone.
    fn settle(&mut self) {
        let limits = &self.plan.limits;
        let wait = limits.write_wait.max(limits.resume_wait) + limits.close_wait + 4_000;
        let steps = wait / 400 + 2;
        // The leave of one that stalled may be what the next one is full with.
        let most = steps * (self.net.len() as u64 + 1);
        // Big spaces are told their counts once a second.
        let mut free = 0;
        for step in 0..most {
            free = if self.net.all().any(|client| client.socket.full) { 0 } else { free + 1 };
            if step >= steps && free > 3 {
                break;
            }
            self.prompt_sockets();
            self.pass(400);
            self.keep_alive();
            for key in self.net.keys() {
                let socket = &mut self.net.get(key).socket;
                if matches!(socket.manner, Manner::Slow | Manner::Prompt | Manner::Eager) {
                    (socket.window, socket.send_max) = (u64::MAX, usize::MAX);
                    if std::mem::take(&mut socket.full) {
                        self.input(Input::Writable(key), "");
                    }
                }
            }
            self.sweep_all();
            self.catch_up();
        }
    }

    /// Whoever reads gets all pages.
    fn catch_up(&mut self) {
        while !self.fetches.is_empty() {
            self.read_pages(true);
            self.sweep_all();
        }
    }

    fn check_settled(&mut self) {
        let mut waiting = 0;
        for client in self.net.all() {
            let whose = client.label();
            assert!(!client.socket.full, "{whose}: blocked for longer than write_wait");
            if client.closed.is_some() {
                continue;
            }
            assert!(!self.draining, "{whose}: it was not drained");
            assert!(!self.shard.is_catching_up(client.key), "{whose}: it catches up for ever");
            waiting += usize::from(client.waits_read);
            if let (SpaceKey::Chat(space), true) = (client.place, client.v1) {
                let model = &self.book.spaces[&space.0];
                let told = client.told_members;
                assert!(
                    model.announced || told == Some(model.members),
                    "{whose}: {told:?} members"
                );
            }
        }
        assert_eq!(waiting, 0, "members whose reads never went on");
        for (ticket, asked) in &self.tickets {
            let durable = matches!(asked, Asked::Durable(_));
            assert!(durable && self.book.failed, "{ticket:?} waits for good: {asked:?}");
        }
        self.check_lobby();
        self.check_books();
    }

    /// Where nobody lags, what is kept for those who come back goes with its window.
    fn check_expired(&mut self) {
        if self.plan.limits.resume_window > 1_000 {
            return;
        }
        for _ in 0..7 {
            self.prompt_sockets();
            self.pass(400);
            self.keep_alive();
            self.sweep_all();
            self.catch_up();
        }
        let full = self.net.all().any(|client| client.socket.full);
        let (held, spaces) = (self.count(Metric::LogBytes), self.count(Metric::Spaces));
        // A leave may just have been appended.
        let logs = self.net.logs();
        assert!(
            full || held <= spaces * logs * 2_560,
            "{held} bytes of {spaces} logs that nobody needs"
        );
    }

    fn check_lobby(&mut self) {
        let readers = || {
            self.net.all().filter(|client| client.closed.is_none()).filter_map(|client| {
                match &client.stage {
                    Stage::Lobby(reader) => Some((client, reader)),
                    _ => None,
                }
            })
        };
        let online: BTreeMap<i32, bool> =
            readers().map(|(client, _)| (client.user, true)).collect();
        let max = self.plan.limits.lobby_members_max;
        let is_small = readers().count() * 10 < max * 9;
        if max < 2_000 {
            // It may have been big: then only those that are left there are told anew.
            for (client, reader) in readers().filter(|_| is_small) {
                let mut words = reader.last_words();
                words.retain(|_, online| *online);
                assert_eq!(words, online, "who is online, to {}", client.label());
            }
            return;
        }
        let earliest = readers().min_by_key(|(client, _)| client.serial);
        for (client, reader) in readers() {
            let mut words = reader.last_words();
            words.retain(|_, online| *online);
            assert_eq!(words, online, "who is online, to {}", client.label());
            if let Some((_, earliest)) = earliest {
                reader.agrees_with(earliest);
            }
        }
    }

    fn check_books(&mut self) {
        let chats = self.count(Metric::ChatsAccepted);
        assert!(chats == self.book.chats, "{chats} accepted, {} records", self.book.chats);
        let open = self.net.all().filter(|client| client.closed.is_none()).count() as u64;
        let (joins, leaves) = (self.count(Metric::Joins), self.count(Metric::Leaves));
        assert_eq!(joins, leaves + open, "who came has gone or is there");
        let coverage = &mut self.book.coverage;
        let counts = self.shard.counts();
        coverage.pauses += counts.get(Metric::SpacePauses);
        coverage.pong_timeouts += counts.closes(Close::PongTimeout.kind());
        coverage.junk_closes += counts.closes(Close::TooManyErrors.kind());
        coverage.flood_closes += counts.closes(Close::TooFast.kind());
    }

    fn everyone_goes(&mut self) {
        for key in self.net.keys() {
            let goes = self.rng.permille(500) || self.net.get(key).events.is_some();
            let close = if goes { Close::Gone } else { Close::Peer(1_001) };
            self.ends(key, close);
            if self.rng.permille(200) {
                self.slice();
            }
        }
        self.sweep_all();
        let rest = self.plan.limits.close_wait.max(1_500);
        self.pass(rest);
        self.sweep_all();
        let window = self.plan.limits.resume_window.max(1_000);
        self.pass(window);
        self.sweep_all();
        self.pass(100);
        self.slice();
    }

    fn check_empty(&mut self) {
        for metric in [
            Metric::Members,
            Metric::MembersBlocked,
            Metric::PrivateBytes,
            Metric::Spaces,
            Metric::LogBytes,
        ] {
            assert_eq!(self.count(metric), 0, "{metric:?} when everyone has gone");
        }
        assert_eq!(self.count(Metric::Joins), self.count(Metric::Leaves));
        self.book.coverage.spaces_freed += 1;
    }
}
