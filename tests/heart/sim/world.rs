//! Drives one shard as its thread does: inputs, then turns; and after each step holds shard and
//! clients against the book.

use std::collections::BTreeMap;

use cpi_hub::metrics::Metric;
use cpi_hub::shard::anew::Legacy;
use cpi_hub::shard::event::{Fetch, Input, MemberKey, Ticket};
use cpi_hub::shard::{Accept, Shard, ShardSetup};
use cpi_hub::wire::close::Close;
use cpi_hub::wire::nonce::First;
use cpi_hub::wire::record;
use cpi_hub::wire::time::{Micros, MonoMs, Now};
use cpi_hub::wire::{Id, IdGenerator, SpaceId, SpaceKey};

use super::book::Book;
use super::client::Stage;
use super::host::{Around, Store, Told};
use super::net::{Manner, Net};
use super::plan::{Mutant, Plan};
use super::rng::Rng;
use super::talk::Asked;

/// Everything of one seed.
pub struct World {
    pub rng: Rng,
    pub plan: Plan,
    pub shard: Shard,
    pub now: Now,
    pub net: Net,
    pub book: Book,
    pub store: Store,
    pub tickets: BTreeMap<Ticket, Asked>,
    /// Keys of members that are no more.
    pub dead: Vec<MemberKey>,
    pub serial: u64,
    /// Questions for what logs no longer hold.
    pub fetches: Vec<Fetch>,
    pub draining: bool,
    /// The last input was a tick.
    pub ticking: bool,
    pub trace: bool,
    /// Makes the ids of another shard, whose frames are fed to this one.
    pub elsewhere: IdGenerator,
    /// Effects that inputs made and that were looked at: ends, and ways back that are settled.
    seen: (usize, usize),
    occupancy: BTreeMap<SpaceKey, usize>,
    leaves: u64,
    too_slow: u64,
    last_tick: MonoMs,
    log_bytes: u64,
}

impl World {
    pub fn new(seed: u64, trace: bool, mutant: Option<Mutant>) -> World {
        let mut rng = Rng::new(seed);
        let mut plan = Plan::new(&mut rng);
        plan.mutant = mutant;
        plan.by_store |= mutant.is_some();
        let book = Book::new(plan.limits.clone(), plan.by_store);
        let highest = if rng.permille(500) { Id::MIN } else { Id::first_of_ms(1_767_225_600_500) };
        let now = Now { mono: MonoMs(5_000), unix: Micros(1_767_225_600_000_000) };
        let shard = new_shard(&plan, now, rng.next(), (highest, Vec::new()));
        let mut world = World {
            rng,
            plan,
            shard,
            now,
            net: Net::default(),
            book,
            store: Store { room: 1 << 30, ..Store::default() },
            tickets: BTreeMap::new(),
            dead: Vec::new(),
            serial: 0,
            fetches: Vec::new(),
            draining: false,
            ticking: false,
            trace,
            elsewhere: IdGenerator::new(seed),
            seen: (0, 0),
            occupancy: BTreeMap::new(),
            leaves: 0,
            too_slow: 0,
            last_tick: now.mono,
            log_bytes: 0,
        };
        world.book.restart(highest);
        world.tick();
        world.tell_earlier_runs();
        world.book.coverage.seeds = 1;
        world.book.coverage.by_store = world.plan.by_store.into();
        world
    }

    pub fn run(&mut self) {
        for _ in 0..self.plan.turns {
            self.turn();
        }
        self.ending();
        let coverage = &mut self.book.coverage;
        coverage.partial_sends = self.net.partial_sends;
        coverage.two_slice_sends = self.net.two_slice_sends;
        coverage.sends_blocked = self.net.sends_blocked;
        if self.plan.fed {
            assert_eq!((coverage.chats, coverage.durable_acks), (coverage.fed, 0));
            coverage.fed_resumes_from_memory = coverage.resumes_from_memory;
            coverage.fed_resumes_from_store = coverage.resumes_from_store;
            coverage.fed_trims = coverage.trims;
            coverage.fed_fallen_evictions = coverage.fallen_evictions;
            coverage.fed_pauses = coverage.pauses;
        }
    }

    fn turn(&mut self) {
        self.book.coverage.turns += 1;
        self.prompt_sockets();
        let step = *self.rng.pick(&[0, 1, 5, 60, 100]);
        self.pass(step);
        self.keep_alive();
        for _ in 0..self.rng.range(1, self.plan.turn_ops) {
            self.op();
        }
        self.read_pages(false);
        if self.rng.permille(self.plan.swept) {
            self.sweep_all();
        } else if !self.rng.permille(self.plan.unswept) {
            for _ in 0..self.rng.range(1, 4) {
                self.slice();
            }
        }
    }

    /// Time passes, and what falls due in it is told to the shard.
    pub fn pass(&mut self, ms: u64) {
        self.now.mono.0 += ms;
        self.now.unix.0 += ms as i64 * 1_000 + self.rng.below(3) as i64;
        if self.now.mono.since(self.last_tick) >= 100 {
            self.last_tick = self.now.mono;
            self.tick();
        }
    }

    /// Tells the shard that time has passed, and what room its journal has.
    pub fn tick(&mut self) {
        self.call(true, "", |shard, store, now| shard.tick(now, store));
    }

    /// One input, and what it made. Returns the id of a chat that was accepted, whose image was
    /// `image`.
    pub fn input(&mut self, input: Input<'_>, image: &str) -> Option<Id> {
        if self.trace {
            self.show(&input);
        }
        self.call(false, image, |shard, _, now| shard.input(now, input)).1
    }

    /// One call of the shard outside of its turns, and the id of the chat that it made.
    pub fn call<T>(
        &mut self,
        is_tick: bool,
        image: &str,
        call: impl FnOnce(&mut Shard, &Store, Now) -> T,
    ) -> (T, Option<Id>) {
        let from = self.shard.effects().records.len();
        self.book.called(self.now);
        self.note_late();
        self.book.coverage.inputs += 1;
        let too_slow = self.too_slow;
        self.ticking = is_tick;
        let result = call(&mut self.shard, &self.store, self.now);
        let mut made = None;
        for record in record::records(&self.shard.effects().records[from..]) {
            assert!(made.is_none(), "one input makes one record");
            self.book.chat(&record, image);
            made = Some(record.id);
        }
        // At once, since a slot may have a new tenant within the turn.
        let effects = self.shard.effects();
        let resumed = effects.resumed[self.seen.1..].iter().map(|(key, _)| *key).collect();
        let ended = effects.ended[self.seen.0..].to_vec();
        self.seen = (effects.ended.len(), effects.resumed.len());
        self.note_changes(resumed);
        if is_tick {
            self.book.coverage.write_wait_evictions += self.too_slow - too_slow;
        }
        self.take_ended(ended);
        (result, made)
    }

    fn note_late(&mut self) {
        if self.is_late() {
            self.book.late = Some(self.now.mono);
        }
    }

    fn show(&self, input: &Input<'_>) {
        let text = match input {
            Input::Message(key, json) => format!("{key:?} {:?}", String::from_utf8_lossy(json)),
            other => format!("{other:?}"),
        };
        eprintln!("{:>7} {}", self.now.mono.0, text.chars().take(200).collect::<String>());
    }

    pub fn count(&mut self, metric: Metric) -> u64 {
        self.shard.counts().get(metric)
    }

    /// Finds out who left in the last call, and whose way back was settled in it.
    fn note_changes(&mut self, resumed: Vec<MemberKey>) {
        let too_slow = self.shard.counts().closes(Close::TooSlow.kind());
        let evicted = too_slow - self.too_slow;
        if self.trace && evicted > 0 {
            eprintln!("{:>7} -- {evicted} too slow", self.now.mono.0);
        }
        self.too_slow = too_slow;
        self.book.coverage.too_slow_evictions += evicted;
        let leaves = self.count(Metric::Leaves);
        let placed = self.known(resumed);
        if leaves == self.leaves && placed.is_empty() {
            return;
        }
        self.leaves = leaves;
        let spaces: Vec<i32> = self.book.spaces.keys().copied().collect();
        for space in spaces {
            self.change(space, &placed);
        }
    }

    /// One turn of the shard. Says whether there is more to do.
    pub fn slice(&mut self) -> bool {
        self.book.called(self.now);
        if self.trace {
            eprintln!("{:>7} -- a turn", self.now.mono.0);
        }
        let mut around = Around {
            net: &mut self.net,
            store: &mut self.store,
            newest: self.book.newest,
            refuses_pages: self.rng.permille(50),
            told: Told::default(),
        };
        let more = self.shard.turn(self.now, &mut around);
        let told = around.told;
        self.store.times.resize(self.store.appends.len(), self.now.mono);
        let seen = std::mem::take(&mut self.seen);
        if told.append_failed {
            self.book.coverage.append_failures += 1;
            self.leaves = self.count(Metric::Leaves);
            self.too_slow = self.shard.counts().closes(Close::TooSlow.kind());
            self.book.turn_failed();
        }
        self.book.turn_begins();
        let too_slow = self.too_slow;
        self.note_changes(told.resumed[seen.1..].to_vec());
        self.book.coverage.fallen_evictions += self.too_slow - too_slow;
        self.read_all();
        self.take_told(told, seen.0);
        self.note_trims();
        more
    }

    /// Clients read what was sent to them.
    fn read_all(&mut self) {
        for client in self.net.all_mut() {
            let socket = &client.socket;
            assert!(
                !socket.full || socket.armed || socket.manner == Manner::Broken,
                "who is full is armed"
            );
            if !socket.taken.is_empty() {
                client.read(&mut self.book);
            }
        }
    }

    /// What the turn carried out; ends of members were seen in this number before.
    fn take_told(&mut self, told: Told, seen: usize) {
        self.occupancy.extend(told.occupancy);
        self.book.coverage.pages_refused += told.pages_refused;
        self.fetches.extend(told.fetches);
        for (ticket, reply) in told.replies {
            self.answered(ticket, reply);
        }
        for key in told.readable {
            // It may have ended within the turn.
            if let Some(client) = self.net.find(key) {
                client.waits_read = false;
                self.book.coverage.reads_resumed += 1;
            }
        }
        self.take_ended(told.ended[seen..].to_vec());
        for (space, model) in &self.book.spaces {
            let told = self.occupancy.get(&SpaceKey::Chat(SpaceId(*space))).copied();
            assert_eq!(told.unwrap_or(0), model.members, "the directory knows who is there");
        }
    }

    fn take_ended(&mut self, ended: Vec<(MemberKey, Close)>) {
        for (key, close) in ended {
            if self.trace {
                eprintln!("{:>7} -- {key:?} ended: {close:?}", self.now.mono.0);
            }
            let client = self.net.remove(key);
            client.ended(close, self.plan.swept == 1_000 && !self.book.failed);
            self.dead.push(key);
            if let SpaceKey::Chat(space) = client.place {
                self.book.positions.push((space.0, client.comes_back_with()));
            }
        }
    }

    fn note_trims(&mut self) {
        let log_bytes = self.count(Metric::LogBytes);
        if log_bytes < self.log_bytes {
            self.book.coverage.trims += 1;
            let blocked = self.count(Metric::MembersBlocked) > 0;
            self.book.coverage.trims_with_laggards += u64::from(blocked);
        }
        self.log_bytes = log_bytes;
    }

    /// Sweeps until nothing is left to do; then nobody whose socket takes bytes is owed any.
    pub fn sweep_all(&mut self) {
        let mut slices = 0;
        while self.slice() {
            slices += 1;
            assert!(slices < 100_000, "the sweep comes to an end");
        }
        assert!(!self.shard.is_due());
        for client in self.net.all_mut() {
            let left = client.went && client.closed.is_none() && client.socket.full;
            let waits = self.shard.is_catching_up(client.key);
            if !client.socket.full && client.closed.is_none() && !left && !waits {
                client.is_caught_up(&mut self.book);
            }
        }
        self.check_bounds();
    }

    fn check_bounds(&mut self) {
        let limits = &self.plan.limits;
        let spaces = self.shard.counts().get(Metric::Spaces);
        let members = self.net.len() as u64;
        let blocked = self.shard.counts().get(Metric::MembersBlocked);
        let full = self.net.all().filter(|client| client.socket.full).count() as u64;
        assert_eq!(blocked, full, "members that are blocked");
        assert_eq!(self.shard.members() as u64, members);
        // A segment not yet full, one not yet to be freed, and a frame's bound beside them.
        // A segment is as long as the bound of its first frame, where that is more than 64 KiB.
        let text = 4 * limits.content_chars_max + 64;
        let segment = (64 << 10).max(400 + 6 * text + 12 * limits.image_bytes_max);
        let slack = (3 * segment + 512) as u64;
        let waits = self.net.all().any(|client| self.shard.is_catching_up(client.key));
        let waits_for_store = self.plan.by_store && self.store.told < self.store.appends.len();
        let is_long = blocked > 0 || waits || waits_for_store;
        let kept = if is_long { limits.log_bytes_max } else { limits.resume_bytes_max };
        let kept = kept.max(limits.resume_bytes_max) as u64 + slack;
        let held = self.shard.counts().get(Metric::LogBytes);
        let logs = self.net.logs();
        assert!(held <= spaces * logs * kept, "{held} bytes of {spaces} logs, at most {kept} each");
        // What one turn asked for, the rest of the log and the last words of a close.
        let each = (10 * limits.private_bytes_max + 1_024) as u64;
        let private = self.shard.counts().get(Metric::PrivateBytes);
        assert!(private <= members * each, "{private} private bytes of {members} members");
        let owed = is_long || private == 0;
        assert!(owed, "{private} private bytes wait for nobody");
    }

    /// The process ends here and a new one starts.
    pub fn restart(&mut self) {
        self.book.coverage.restarts += 1;
        self.begin_anew(None);
    }

    /// The shard ends in a bug, between two turns, while its process goes on. The next one takes
    /// over its numbers; whoever can still be told so is between two frames.
    pub fn panic(&mut self) {
        if self.book.failed || self.draining {
            return;
        }
        self.book.coverage.panics += 1;
        for client in self.net.all() {
            let is_told = self.shard.can_be_told(client.key).is_some();
            assert!(!is_told || client.is_whole(), "{}: told within a frame", client.label());
        }
        let highest = self.store.appends.last().map_or(self.book.began_above, |(_, id)| *id);
        let legacy = self.shard.legacy(highest);
        let chats = self.book.chats - self.book.unsaid() as u64;
        self.begin_anew(Some(legacy));
        self.book.chats = chats;
    }

    /// The machine's power is cut: of the journal's end, which nobody has committed, some is gone.
    /// Whoever was sent it may come back with a position that nobody knows any more.
    pub fn power_cut(&mut self) {
        self.book.coverage.power_cuts += 1;
        self.book.turn_lost();
        let (committed, appended) = (self.store.committed, self.store.appends.len());
        let kept = self.rng.range(committed as u64, appended as u64) as usize;
        self.store.appends.truncate(kept);
        let highest = self.store.appends.last().map_or(self.book.began_above, |(_, id)| *id);
        assert!(highest >= self.book.told, "what was told to be durable is there");
        self.store.published.retain(|first| first.id <= highest);
        self.book.cut(highest);
        // A machine takes its time to come back.
        self.now.unix.0 += 1_500_000;
        self.begin_anew(None);
    }

    /// A new shard, of a new process where the one before has left nothing.
    fn begin_anew(&mut self, legacy: Option<Legacy>) {
        self.book.turn_lost();
        for client in self.net.all() {
            if let SpaceKey::Chat(space) = client.place
                && !matches!(client.stage, Stage::Refused)
            {
                self.book.positions.push((space.0, client.comes_back_with()));
            }
        }
        self.net.clear();
        self.tickets.clear();
        self.dead.clear();
        self.occupancy.clear();
        self.seen = (0, 0);
        self.fetches.clear();
        let highest = self.store.appends.last().map_or(Id::MIN, |(_, id)| *id);
        let highest = highest.max(self.book.began_above).max(self.book.fed_up_to);
        if legacy.is_none() {
            self.now.mono = MonoMs(self.rng.range(1, 2_000));
        }
        let published = std::mem::take(&mut self.store.published);
        let earlier = (highest, published.clone());
        self.shard = new_shard(&self.plan, self.now, self.rng.next(), earlier);
        self.shard.inherit(legacy.unwrap_or_default());
        self.book.restart(highest);
        self.store = Store { room: 1 << 30, published, ..Store::default() };
        self.draining = false;
        (self.leaves, self.log_bytes) = (self.count(Metric::Leaves), 0);
        self.too_slow = self.shard.counts().closes(Close::TooSlow.kind());
        self.last_tick = self.now.mono;
        self.tick();
        self.tell_earlier_runs();
    }

    /// A store that is not away has all of earlier runs soon; before that no chat is taken where it
    /// is accepted once it is stored.
    fn tell_earlier_runs(&mut self) {
        if self.plan.by_store && self.rng.permille(800) {
            self.store.earlier_committed = true;
            self.tell_committed();
        }
    }
}

fn new_shard(plan: &Plan, now: Now, seed: u64, (highest, published): (Id, Vec<First>)) -> Shard {
    let limits = plan.limits.clone();
    let accept = match plan.mutant {
        _ if !plan.by_store => Accept::Journaled,
        Some(Mutant::SentBeforeStored) => Accept::Journaled,
        Some(Mutant::ToldTooEarly) | None => Accept::Stored,
    };
    Shard::new(ShardSetup { number: 7, limits, accept, seed, highest, published, now })
}
