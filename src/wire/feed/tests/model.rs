//! A model: nodes that follow one slot over a bus that loses, doubles and reorders, owners that are
//! killed in the middle of things, and a store that has all that was said. At its end all have what
//! the store has, in its order, and know of the same members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::follower::{Follower, Step};
use super::super::ring::Ring;
use super::*;
use crate::wire::random::SplitMix64;
use crate::wire::time::MonoMs;

const SLOT: Slot = Slot(0);
const SPACE: SpaceId = SpaceId(1);
const NODES: usize = 4;
/// Faults end then, and a while later all is to be as it should.
const CALM: u64 = 6_000;
const END: u64 = 9_000;

/// What is left out, so that the model is seen to find it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mutant {
    /// Who turns to another epoch reads nothing from the store.
    NoRefill,
    /// Owners do not say how far they are.
    NoHeartbeats,
    /// What is ahead of a new owner goes on.
    NeverAnew,
}

/// What goes over the bus.
#[derive(Clone)]
enum Packet {
    Bytes(Bytes),
    Heartbeat(Place),
    /// The reader of the store has answered.
    Read {
        boot: Boot,
        highest: Id,
        begin: Bytes,
    },
    /// What an owner has, for who follows nothing.
    Base {
        at: Place,
        newest: u128,
        members: BTreeSet<u32>,
    },
    WantsBase(usize),
}

struct Node {
    boot: Boot,
    follower: Follower,
    ring: Ring,
    /// What lies up to there is in the store alone.
    floor: u128,
    chats: Vec<u128>,
    members: BTreeSet<u32>,
}

impl Node {
    fn new(boot: u64) -> Node {
        let boot = Boot(boot);
        let (chats, members) = (Vec::new(), BTreeSet::new());
        Node {
            boot,
            follower: Follower::new(SLOT, boot),
            ring: Ring::default(),
            floor: 0,
            chats,
            members,
        }
    }

    fn newest(&self) -> u128 {
        self.chats.last().copied().unwrap_or(self.floor)
    }

    fn refill(&mut self, store: &[u128], highest: u128) {
        let newest = self.newest();
        self.chats.extend(store.iter().filter(|id| (newest + 1..=highest).contains(*id)));
    }

    fn apply(&mut self, feed: &Feed<'_>) {
        for entry in feed.entries() {
            match entry {
                Entry::Chat(chat) => self.chats.push(chat.id.0),
                Entry::Join(join) => assert!(self.members.insert(join.connection.slot)),
                Entry::Leave(leave) => assert!(self.members.remove(&leave.connection.slot)),
                _ => {}
            }
        }
        self.ring.push(feed, Bytes::copy_from_slice(feed.bytes()));
    }
}

struct World {
    random: SplitMix64,
    mutant: Option<Mutant>,
    now: u64,
    /// Packets under way, by when they come and by how many were sent before.
    packets: BTreeMap<(u64, u64), (usize, Packet)>,
    sent: u64,
    loss: u64,
    nodes: Vec<Node>,
    owner: usize,
    place: Place,
    store: Vec<u128>,
    /// Stored, and not yet fed.
    unfed: Vec<u128>,
    boots: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64, mutant: Option<Mutant>) -> World {
        let mut random = SplitMix64(seed);
        let loss = [0, 20, 200][random.next() as usize % 3];
        let nodes = (1..=NODES as u64).map(Node::new).collect();
        let mut world = World {
            random,
            mutant,
            now: 0,
            packets: BTreeMap::new(),
            sent: 0,
            loss,
            nodes,
            owner: 0,
            place: Place { epoch: 0, n: 0 },
            store: Vec::new(),
            unfed: Vec::new(),
            boots: NODES as u64,
            counts: BTreeMap::new(),
        };
        world.own(0);
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next() % bound
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn send(&mut self, to: usize, packet: &Packet) {
        let is_calm = self.now >= CALM;
        if !is_calm && self.below(1_000) < self.loss {
            return;
        }
        for _ in 0..1 + u64::from(self.below(20) == 0) {
            let late = if self.below(50) == 0 { self.below(300) } else { 0 };
            let when = self.now + 1 + self.below(4) + late;
            self.sent += 1;
            self.packets.insert((when, self.sent), (to, packet.clone()));
        }
    }

    fn send_all(&mut self, packet: &Packet) {
        (0..NODES).filter(|to| *to != self.owner).collect::<Vec<_>>().into_iter().for_each(|to| {
            self.send(to, packet);
        });
    }

    /// A node takes the slot over: it has what the store has, and says from where it goes on.
    fn own(&mut self, node: usize) {
        let highest = self.store.last().copied().unwrap_or(0);
        self.owner = node;
        self.unfed.clear();
        let epoch = self.place.epoch + 1 + self.below(3);
        self.place = Place { epoch, n: 0 };
        let it = &mut self.nodes[node];
        let base = it.follower.at();
        if base.is_none() {
            (it.floor, it.ring) = (highest, Ring::default());
            it.chats.clear();
            it.members.clear();
        }
        it.refill(&self.store, highest);
        it.follower.begin(self.place);
        let begin = Entry::Begin(Begin { base, highest: Id(highest) });
        self.feed(&[begin]);
        self.count("take-overs");
    }

    fn feed(&mut self, entries: &[Entry<'_>]) {
        let mut writer = Writer::new(SLOT, self.place);
        entries.iter().for_each(|entry| writer.push(entry).expect("few"));
        let bytes = Bytes::from(writer.end());
        let feed = Received::read_feed(&bytes).expect("it was written");
        self.nodes[self.owner].apply(&feed);
        self.nodes[self.owner].follower.begin(self.place);
        self.send_all(&Packet::Bytes(bytes));
    }

    /// The owner stores something, or feeds what it has stored, with a member that comes or goes.
    fn say(&mut self) {
        let id = self.store.last().copied().unwrap_or(0) + 1 + u128::from(self.below(5));
        self.store.push(id);
        self.unfed.push(id);
        if self.below(3) == 0 {
            return;
        }
        let frame = push(20).frame();
        let unfed = std::mem::take(&mut self.unfed);
        let (nonce, origin) = (None, None);
        let chat = |id: u128| Chat { space: SPACE, id: Id(id), nonce, origin, frame: &frame };
        let mut entries: Vec<_> = unfed.into_iter().map(|id| Entry::Chat(chat(id))).collect();
        if self.below(4) == 0 {
            let (slot, user) = (self.below(8) as u32, UserId(1));
            let connection = Connection { boot: Boot(0), shard: 0, slot, generation: 0 };
            let (space, is_there) =
                (SpaceKey::Chat(SPACE), self.nodes[self.owner].members.contains(&slot));
            let (name, frame) = ("a", &frame[..]);
            entries.push(match is_there {
                true => Entry::Leave(Leave { space, connection, user, frame }),
                false => Entry::Join(Join { space, connection, user, name, frame }),
            });
        }
        self.place.n += 1;
        self.feed(&entries);
    }

    fn kill_the_owner(&mut self) {
        let old = self.owner;
        self.boots += 1;
        self.nodes[old] = Node::new(self.boots);
        let others = (0..NODES).filter(|node| *node != old);
        let following = others.filter(|node| self.nodes[*node].follower.at().is_some());
        let following: Vec<_> = following.collect();
        let next = match following.is_empty() {
            true => (old + 1) % NODES,
            false => following[self.below(following.len() as u64) as usize],
        };
        self.own(next);
    }

    fn take(&mut self, node: usize, feed: &Feed<'_>) {
        if node == self.owner {
            return;
        }
        let is_blind = self.mutant == Some(Mutant::NeverAnew);
        let it = &mut self.nodes[node];
        let before = it.follower.at();
        let mut step = it.follower.take(feed);
        if let (true, Step::Anew, Some(before)) = (is_blind, step, before) {
            // As if nothing but chats had come.
            let base = feed.begin().and_then(|begin| begin.base).expect("it has a base");
            assert!(base < before);
            it.follower.begin(base);
            step = it.follower.take(feed);
        }
        match step {
            Step::Apply => it.apply(feed),
            Step::Drop => {}
            Step::Turn { highest } => {
                let begin = Bytes::copy_from_slice(feed.bytes());
                let packet = Packet::Read { boot: it.boot, highest, begin };
                let when = self.now + 1 + self.below(60);
                self.sent += 1;
                self.packets.insert((when, self.sent), (node, packet));
                self.count("turns");
            }
            Step::Anew => self.count("ahead"),
        }
    }

    fn ask(&mut self, node: usize) {
        let question = self.nodes[node].follower.question(MonoMs(self.now));
        if let Some(question) = question {
            let mut out = Vec::new();
            question.append_to(&mut out);
            self.count("questions");
            self.send(self.owner, &Packet::Bytes(Bytes::from(out)));
        }
    }

    fn received(&mut self, node: usize, bytes: &Bytes) {
        match Received::read(bytes).expect("it was written") {
            Received::Feed(feed) => self.take(node, &feed),
            Received::Stretch(stretch) => {
                stretch.parts().for_each(|part| self.take(node, &part));
                self.nodes[node].follower.stretched(&stretch);
            }
            Received::Question(question) if node == self.owner => {
                let mut out = Vec::new();
                self.nodes[node].ring.answer(&question, &mut out);
                let asker = self.nodes.iter().position(|it| it.boot == question.boot);
                asker.into_iter().for_each(|to| self.send(to, &Packet::Bytes(out.clone().into())));
            }
            Received::Question(_) => {}
            Received::Anew(anew) => {
                if self.nodes[node].follower.refused(&anew) {
                    self.count("refused");
                }
            }
        }
    }

    fn deliver(&mut self, node: usize, packet: Packet) {
        match packet {
            Packet::Bytes(bytes) => self.received(node, &bytes),
            Packet::Heartbeat(place) => self.nodes[node].follower.hear(place),
            Packet::Read { boot, highest, begin } => {
                let it = &mut self.nodes[node];
                // It may have become the owner, or another process, meanwhile.
                if it.boot == boot && node != self.owner && it.follower.at().is_some() {
                    let feed = Received::read_feed(&begin).expect("it was written");
                    if self.mutant != Some(Mutant::NoRefill) {
                        it.refill(&self.store, highest.0);
                    }
                    it.follower.turned();
                    it.ring.push(&feed, begin.clone());
                }
            }
            Packet::WantsBase(from) if node == self.owner => {
                let it = &self.nodes[node];
                let (newest, members) = (it.newest(), it.members.clone());
                self.send(from, &Packet::Base { at: self.place, newest, members });
            }
            Packet::WantsBase(_) => {}
            Packet::Base { at, newest, members } => {
                let it = &mut self.nodes[node];
                if node != self.owner && it.follower.at().is_none() {
                    (it.floor, it.chats, it.members) = (newest, Vec::new(), members);
                    it.ring = Ring::default();
                    it.follower.begin(at);
                    self.count("begun anew");
                }
            }
        }
        if node != self.owner {
            self.ask(node);
        }
    }

    fn tick(&mut self) {
        if self.now.is_multiple_of(300) && self.mutant != Some(Mutant::NoHeartbeats) {
            self.send_all(&Packet::Heartbeat(self.place));
        }
        for node in (0..NODES).filter(|node| *node != self.owner).collect::<Vec<_>>() {
            self.ask(node);
            if self.now.is_multiple_of(200) && self.nodes[node].follower.at().is_none() {
                self.send(self.owner, &Packet::WantsBase(node));
            }
        }
        if self.now < CALM && self.below(2) == 0 {
            self.say();
        }
        if self.now < CALM && self.below(80) == 0 {
            self.kill_the_owner();
        }
    }

    fn run(mut self) -> Result<BTreeMap<&'static str, u64>, String> {
        while self.now < END {
            self.now += 10;
            self.tick();
            while let Some(entry) = self.packets.first_entry().filter(|it| it.key().0 <= self.now) {
                let (node, packet) = entry.remove();
                self.deliver(node, packet);
            }
        }
        // What was stored and not fed comes with what is said next.
        self.say_all();
        while let Some((_, (node, packet))) = self.packets.pop_first() {
            self.now += 1;
            self.deliver(node, packet);
        }
        let owner = &self.nodes[self.owner];
        for node in &self.nodes {
            let who = format!("{:?}, the owner {:?}", node.boot, owner.boot);
            if node.follower.at() != Some(self.place) {
                return Err(format!("{who}: at {:?} of {:?}", node.follower.at(), self.place));
            }
            let stored: Vec<_> = self.store.iter().copied().filter(|id| *id > node.floor).collect();
            if node.chats != stored {
                return Err(format!("{who}: {:?}, the store {stored:?}", node.chats));
            }
            if node.members != owner.members {
                return Err(format!("{who}: {:?}, and {:?}", node.members, owner.members));
            }
        }
        Ok(self.counts)
    }

    fn say_all(&mut self) {
        while !self.unfed.is_empty() {
            self.say();
        }
    }
}

fn failed(mutant: Option<Mutant>, seeds: u64) -> (u64, BTreeMap<&'static str, u64>) {
    let (mut failed, mut counts) = (0, BTreeMap::new());
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| World::new(seed, mutant).run());
        match run {
            Ok(Ok(some)) => {
                some.into_iter()
                    .for_each(|(what, times)| *counts.entry(what).or_default() += times);
            }
            Ok(Err(what)) => {
                failed += 1;
                if mutant.is_none() {
                    println!("seed {seed}: {what}");
                }
            }
            Err(_) => {
                failed += 1;
                if mutant.is_none() {
                    println!("seed {seed} panicked");
                }
            }
        }
    }
    (failed, counts)
}

#[test]
fn all_come_to_what_the_store_has_whatever_is_lost_doubled_reordered_or_killed() {
    let slow = std::env::var_os("HUB_SLOW_TESTS").is_some_and(|value| value == "1");
    let (failed, counts) = failed(None, if slow { 2_000 } else { 100 });
    assert_eq!(failed, 0, "{counts:?}");
    // All that can happen did.
    for what in ["take-overs", "turns", "ahead", "questions", "refused", "begun anew"] {
        assert!(counts.get(what).is_some_and(|times| *times > 20), "{what}: {counts:?}");
    }
}

#[test]
fn the_model_finds_what_is_left_out() {
    for mutant in [Mutant::NoRefill, Mutant::NoHeartbeats, Mutant::NeverAnew] {
        let (failed, _) = failed(Some(mutant), 40);
        assert!(failed >= 3, "{mutant:?}: {failed} of 40");
    }
}
