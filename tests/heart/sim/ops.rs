//! The things that happen to a shard beside talk: people come, go, stall, are kicked; sinks
//! commit, journals fill and fail, clocks jump, shards and processes end, power is cut.

use std::collections::BTreeSet;

use bytes::BytesMut;
use cpi_hub::metrics::Metric;
use cpi_hub::shard::event::{Grant, Guise, Input, Join, MemberKey, Reply, Ticket, Verdict};
use cpi_hub::wire::close::Close;
use cpi_hub::wire::nonce::NonceKey;
use cpi_hub::wire::reject::Reject;
use cpi_hub::wire::{Dialect, Encoding, Id, SpaceId, SpaceKey, UserId};

use super::client::{Client, Events, OPENING, Stage};
use super::lobby::Reader;
use super::net::{Manner, Socket};
use super::plan::{Mutant, Op};
use super::resume::Resuming;
use super::talk::Asked;
use super::world::World;

impl World {
    pub fn op(&mut self) {
        match self.plan.op(&mut self.rng) {
            Op::Join => self.join(),
            Op::Talk => self.talk(),
            Op::Flood => self.flood(),
            Op::Control => self.control(),
            Op::Post => self.post(),
            Op::Notify => self.notify(),
            Op::Kick => self.kick(),
            Op::Relieve => {
                let bytes = self.rng.below(1 << 18);
                self.input(Input::Relieve(bytes), "");
            }
            Op::Goodbye => self.goodbye(),
            Op::Manner => self.change_manner(),
            Op::Writable => self.writable(),
            Op::Stale => self.stale(),
            Op::Room => {
                self.slice();
                self.store.room = *self.rng.pick(&[0, 300, 1 << 30, 1 << 30]);
                self.book.coverage.journal_refusals += u64::from(self.store.room == 0);
                self.tick();
            }
            Op::Clock => {
                self.book.coverage.clock_jumps += 1;
                self.now.unix.0 += *self.rng.pick(&[-86_400_000_000, -1_500, 1, 3_600_000_000]);
            }
            Op::Commit => self.commit(),
            Op::Query => self.query(),
            Op::Stall => {
                self.book.coverage.stalls += 1;
                let stood = self.rng.range(1_100, 20_000);
                self.sweep_all();
                self.pass(stood);
            }
            Op::Drain => self.drain(),
            Op::Restart => self.restart(),
            Op::PowerCut => self.power_cut(),
            Op::Panic => self.panic(),
            Op::Failure => self.store.fails = true,
            Op::Feed => self.feed(),
        }
    }

    fn place(&mut self) -> SpaceKey {
        let user = self.rng.range(1, self.plan.users) as i32;
        match self.rng.below(1_000) {
            at if at < self.plan.lobby => SpaceKey::Lobby,
            at if at < self.plan.lobby + self.plan.inbox => SpaceKey::Inbox(UserId(user)),
            _ => SpaceKey::Chat(SpaceId(self.rng.range(1, self.plan.spaces) as i32)),
        }
    }

    fn after(&mut self, space: i32) -> Option<Id> {
        let known: Vec<Id> =
            self.book.positions.iter().filter(|(at, _)| *at == space).map(|(_, id)| *id).collect();
        let history = self.book.history.get(&space).cloned().unwrap_or_default();
        match self.rng.below(10) {
            0..4 => None,
            4..7 if !known.is_empty() => Some(*self.rng.pick(&known)),
            7..9 if !history.is_empty() => {
                let recent = history.len().saturating_sub(30);
                Some(*self.rng.pick(&history[recent..]))
            }
            9 => Some(*self.rng.pick(&[Id::MIN, Id(self.book.newest.0 + 1), Id::MAX])),
            _ => None,
        }
    }

    pub fn join(&mut self) {
        if self.net.len() >= self.plan.members_max {
            return;
        }
        let place = self.place();
        let user = match place {
            SpaceKey::Inbox(user) => user.0,
            _ => self.rng.range(1, self.plan.users) as i32,
        };
        self.serial += 1;
        let name = format!("{}{}", self.rng.pick(&["n", "ñ\"\u{7}", ""]), self.serial);
        let v1 = self.rng.permille(600);
        let reads_events =
            matches!(place, SpaceKey::Chat(_)) && v1 && self.rng.permille(self.plan.events);
        let deflates = !reads_events && self.rng.permille(self.plan.deflated);
        let guise = match reads_events {
            true => *self.rng.pick(&[Guise::Member, Guise::Watcher, Guise::Nobody]),
            false => Guise::Member,
        };
        let user = if guise == Guise::Nobody { 0 } else { user };
        let after = match place {
            SpaceKey::Chat(space) => self.after(space.0),
            _ => None,
        };
        let resuming = match (place, after) {
            (SpaceKey::Chat(space), Some(after)) => {
                self.book.called(self.now);
                Some(Resuming::new(&mut self.book, space.0, after, reads_events))
            }
            _ => None,
        };
        let pressed = self.count(Metric::LogBytes) > self.plan.limits.logs_bytes_max as u64;
        let joins = self.count(Metric::Joins);
        let join = Join {
            opening: BytesMut::from(OPENING),
            space: place,
            user: UserId(user),
            username: name.as_str().into(),
            dialect: if v1 { Dialect::V1 } else { Dialect::Seed },
            encoding: match (reads_events, deflates) {
                (true, _) => Encoding::Events,
                (_, true) => Encoding::Deflated,
                _ => Encoding::Frames,
            },
            guise,
            after,
            address: Some(u64::from(self.rng.permille(500))).filter(|address| *address > 0),
            grant: Grant::ALL,
        };
        let (key, _) = self.call(false, "", |shard, _, now| shard.join(now, join));
        let mut client = Client::new(key, place, user, name);
        (client.v1, client.serial) = (v1, self.serial);
        client.deflates = deflates;
        client.events = reads_events.then_some(Events { guise, after, last: None });
        client.socket = Socket::new(&mut self.rng);
        client.mute = self.rng.permille(100);
        let seated = self.count(Metric::Joins) > joins;
        self.check_let_in(seated, place, pressed);
        if seated {
            client.seated = true;
            self.seat(&mut client, resuming);
            if !self.shard.is_catching_up(key) {
                self.place_at_once(&mut client);
            }
        } else {
            self.book.coverage.refused_joins += 1;
            self.book.coverage.overloads += u64::from(pressed);
        }
        self.net.add(client);
    }

    fn check_let_in(&mut self, seated: bool, place: SpaceKey, pressed: bool) {
        let is_shut = self.draining || self.book.failed || pressed;
        assert!(seated != is_shut || !seated && self.waits_for_store(place), "who is let in");
    }

    /// Whether about as much of a place waits for the store as may.
    fn waits_for_store(&mut self, place: SpaceKey) -> bool {
        let SpaceKey::Chat(_) = place else { return false };
        let visible = self.book.visible(place);
        let (waiting, _) = self.book.sequence(place).behind(visible);
        self.plan.by_store && waiting + 2_000 > self.plan.limits.log_bytes_max as u64 / 2
    }

    fn seat(&mut self, client: &mut Client, resuming: Option<Resuming>) {
        let coverage = &mut self.book.coverage;
        coverage.joins += 1;
        coverage.deflated_readers += u64::from(client.deflates);
        coverage.deflated_resumes += u64::from(client.deflates && resuming.is_some());
        client.stage = match client.place {
            SpaceKey::Lobby => {
                let lobby = self.net.all().filter(|client| client.place == SpaceKey::Lobby);
                let online: BTreeSet<i32> = lobby.map(|client| client.user).collect();
                self.book.coverage.lobby_readers += 1;
                self.book.coverage.lists_of_two_steps += u64::from(online.len() > 32);
                Stage::Lobby(Reader::new(self.plan.limits.lobby_members_max < 2_000))
            }
            SpaceKey::Echo => unreachable!("nobody joins it"),
            SpaceKey::Inbox(_) => Stage::Live(self.book.sequence(client.place).len()),
            SpaceKey::Chat(space) => {
                let at = self.book.space(space.0).frames.len();
                // What waits for the store when it comes it is sent as what comes later.
                let from = self.book.visible(client.place);
                let shown = client.is_shown();
                let announced = shown && self.book.join(space.0, client.user);
                let coverage = &mut self.book.coverage;
                coverage.event_readers += u64::from(client.events.is_some());
                coverage.event_watchers += u64::from(!shown);
                coverage.event_resumes += u64::from(client.events.is_some() && resuming.is_some());
                client.told_members = Some(self.book.space(space.0).members);
                client.position = self.book.newest_secured(space.0).unwrap_or(Id::MIN);
                self.book.coverage.joins_behind_waiting += u64::from(from < at);
                match resuming {
                    None if !shown => Stage::Live(from),
                    None => {
                        if announced {
                            self.book.announce(space.0, client.user, &client.name);
                        }
                        match announced && from < at {
                            true => Stage::Live(from),
                            false => Stage::Joining { at: from, announced },
                        }
                    }
                    Some(resuming) => Stage::Resuming(Box::new(resuming)),
                }
            }
        };
    }

    fn control(&mut self) {
        let keys = self.net.keys();
        if keys.is_empty() {
            return;
        }
        // Rather one that is sent nothing for now, so that pongs wait.
        let full = self.net.all().find(|client| client.socket.full).map(|client| client.key);
        let key = full.filter(|_| self.rng.permille(400)).unwrap_or(*self.rng.pick(&keys));
        let may_read = self.shard.may_read(key);
        let client = self.net.get(key);
        if client.events.is_some() {
            return;
        }
        client.waits_read |= !may_read;
        if client.waits_read || client.went {
            return;
        }
        if self.rng.permille(300) {
            self.input(Input::Pong(key), "");
            return;
        }
        self.serial += 1;
        let payload = self.serial.to_be_bytes();
        let place = self.net.get(key).place;
        // Who is sent nothing of its space yet is answered at once.
        let is_held_back = self.shard.is_catching_up(key) || place == SpaceKey::Lobby;
        let behind = if is_held_back { 0 } else { self.book.visible(place) };
        self.net.get(key).answers.expect_pong(&payload, behind);
        self.input(Input::Ping(key, &payload), "");
    }

    /// Clients answer the hub's pings.
    pub fn keep_alive(&mut self) {
        for key in self.net.keys() {
            let may_read = self.shard.may_read(key);
            let client = self.net.get(key);
            if !client.pinged || client.mute || client.went {
                continue;
            }
            client.waits_read |= !may_read;
            if !client.waits_read {
                client.pinged = false;
                self.input(Input::Pong(key), "");
            }
        }
    }

    fn kick(&mut self) {
        let space = self.rng.range(1, self.plan.spaces) as i32;
        let user = self.rng.range(1, self.plan.users) as i32;
        self.serial += 1;
        let ticket = Ticket(self.serial);
        let connections = self.book.space(space).present.get(&user).copied().unwrap_or(0);
        // Who watches as this user goes too, though nobody knows that it is there.
        let place = SpaceKey::Chat(SpaceId(space));
        let watches = |client: &&Client| client.place == place && client.watches_as(user);
        let watchers: Vec<MemberKey> =
            self.net.all().filter(watches).map(|client| client.key).collect();
        let watching = watchers.iter().filter(|key| self.shard.is_seated(**key)).count();
        let connections = connections + watching as u32;
        self.tickets.insert(ticket, Asked::Count(connections));
        self.book.coverage.kicks += u64::from(connections > 0);
        self.input(Input::Kick(ticket, SpaceId(space), UserId(user)), "");
        assert!(!self.book.space(space).present.contains_key(&user), "all its members go");
    }

    /// A client says goodbye, breaks a rule, or its socket ends.
    pub fn ends(&mut self, key: MemberKey, close: Close) {
        let client = self.net.get(key);
        // A second word is an answer to a close, and nothing is sent behind it.
        let peer = matches!(close, Close::Peer(_));
        client.gone |= close == Close::Gone || peer && client.went;
        client.said_goodbye |= peer;
        client.went = true;
        self.input(Input::Close(key, close), "");
    }

    fn goodbye(&mut self) {
        let keys = self.net.keys();
        if keys.is_empty() {
            return;
        }
        let key = *self.rng.pick(&keys);
        let close = match self.rng.below(8) {
            _ if self.net.get(key).events.is_some() => Close::Gone,
            0..3 => Close::Gone,
            3..5 => Close::Peer(1_000),
            5 => Close::Peer(1_005),
            6 => Close::ProtocolError,
            _ => Close::InvalidUtf8,
        };
        self.ends(key, close);
    }

    fn change_manner(&mut self) {
        let keys = self.net.keys();
        if keys.is_empty() {
            return;
        }
        let key = *self.rng.pick(&keys);
        let manner = *self.rng.pick(&[Manner::Stalled, Manner::Slow, Manner::Broken]);
        let window = self.rng.range(0, 3_000);
        let socket = &mut self.net.get(key).socket;
        if socket.manner != Manner::Broken {
            (socket.manner, socket.window) = (manner, window);
        }
    }

    /// Those that read all the time have read what was on its way.
    pub fn prompt_sockets(&mut self) {
        for key in self.net.keys() {
            let socket = &mut self.net.get(key).socket;
            if socket.full && matches!(socket.manner, Manner::Prompt | Manner::Eager) {
                socket.refill(&mut self.rng);
                socket.full = false;
                self.input(Input::Writable(key), "");
            }
        }
    }

    /// Some full sockets take bytes again, and the shard hears of it: late, twice, or for nothing.
    fn writable(&mut self) {
        for key in self.net.keys() {
            let rng = &mut self.rng;
            let socket = &mut self.net.get(key).socket;
            if !socket.full || matches!(socket.manner, Manner::Broken | Manner::Prompt) {
                continue;
            }
            if rng.permille(300) {
                socket.refill(rng);
            } else if !rng.permille(50) {
                continue;
            }
            socket.full = false;
            self.input(Input::Writable(key), "");
            if self.rng.permille(200) {
                self.input(Input::Writable(key), "");
            }
        }
        // A socket whose reader finds it broken is closed.
        let broken = self.net.all().find(|client| {
            client.socket.manner == Manner::Broken && client.socket.full && !client.waits_read
        });
        if let Some(key) = broken.map(|client| client.key)
            && self.rng.permille(500)
        {
            self.ends(key, Close::Gone);
        }
    }

    /// Late words to members that are no more find nobody, though their slots are used again.
    fn stale(&mut self) {
        if self.dead.is_empty() {
            return;
        }
        let dead = std::mem::take(&mut self.dead);
        let key = *self.rng.pick(&dead);
        self.dead = dead;
        self.book.coverage.stale_inputs += 1;
        let mut before = self.shard.counts().clone();
        let mut chat = *br#"{"type":"chat","data":{"content":"late"}}"#;
        let input = match self.rng.below(5) {
            0 => Input::Message(key, &mut chat),
            1 => Input::Ping(key, b"late"),
            2 => Input::Pong(key),
            3 => Input::Close(key, Close::Gone),
            _ => Input::Writable(key),
        };
        let made = self.input(input, "");
        assert_eq!(made, None);
        let after = self.shard.counts();
        // How long the store lags grows with the time that has passed.
        for metric in [Metric::StoreLag, Metric::ShardsAwaiting, Metric::ShardsRefusing] {
            before.set(metric, after.get(metric));
        }
        assert_eq!(*after, before, "a late word to nobody changes nothing");
        assert!(self.shard.may_read(key));
    }

    pub fn commit(&mut self) {
        let left = self.store.appends.len() - self.store.committed;
        if left > 0 && self.rng.permille(700) {
            self.store.earlier_committed = true;
            self.refuse_one();
            self.store.committed += self.rng.range(1, left as u64) as usize;
        } else if self.rng.permille(200) {
            self.store.earlier_committed = true;
        }
        if self.rng.permille(800) {
            self.tell_committed();
        }
    }

    /// Now and then a message that is not yet committed is one that the store will never hold.
    fn refuse_one(&mut self) {
        let last = self.store.committed.checked_sub(1).map(|last| self.store.appends[last].1);
        let from = last.unwrap_or(self.book.began_above);
        let to = self.store.appends[self.store.appends.len() - 1].1;
        let all = self.book.history.values().flatten().copied();
        let ours = all.filter(|id| !self.book.fed.contains(id));
        let ids: Vec<Id> = ours.filter(|id| from < *id && *id <= to).collect();
        if ids.is_empty() || !self.rng.permille(150) {
            return;
        }
        let id = *self.rng.pick(&ids);
        let nonce = self.book.forget_first(id);
        let nonce =
            nonce.map(|(user, space, nonce)| NonceKey::new(UserId(user), SpaceId(space), &nonce));
        self.store.published.retain(|first| first.id != id);
        self.book.refused.insert(id);
        if self.plan.by_store {
            self.book.strike(id);
        }
        self.book.coverage.store_refusals += 1;
        let reject = Reject::StoreRefused;
        self.input(Input::Verdict(Verdict::Refused { id, nonce, reject }), "");
    }

    pub fn tell_committed(&mut self) {
        if !self.store.earlier_committed {
            return;
        }
        let last = self.store.committed.checked_sub(1).map(|last| self.store.appends[last]);
        let (mut offset, id) = last.unwrap_or((0, self.book.began_above));
        if self.plan.mutant == Some(Mutant::ToldTooEarly) {
            offset = self.store.end;
        }
        self.book.told = self.book.told.max(id);
        self.input(Input::Committed(offset), "");
        (self.store.told, self.store.told_earlier) = (self.store.committed, true);
    }

    fn query(&mut self) {
        let space = self.rng.range(1, self.plan.spaces) as i32;
        let max = self.rng.range(1, 3) as usize;
        self.serial += 1;
        let ticket = Ticket(self.serial);
        self.input(Input::Presence(ticket, SpaceId(space), max), "");
        let Some((_, Reply::Presence(present))) = self.shard.effects().replies.last().cloned()
        else {
            panic!("presence is answered at once")
        };
        self.tickets.insert(ticket, Asked::Presence(present.clone()));
        let model = self.book.space(space);
        assert_eq!(present.members, model.members);
        assert_eq!(present.truncated, model.present.len() > max);
        let users = present.users.iter().map(|user| (user.user.0, user.connections));
        let expected = model.present.iter().map(|(user, connections)| (*user, *connections));
        assert!(users.eq(expected.take(max)), "{present:?}");
    }

    fn drain(&mut self) {
        self.draining = true;
        self.book.coverage.drains += 1;
        let window = *self.rng.pick(&[0, 500, 3_000]);
        self.input(Input::Drain(window), "");
    }
}
