//! A space: its logs, who is in it, where the sweep stands, whether its readers lag, and what its
//! members are told of each other. Only the files of this folder know a log: everything else
//! appends to a space, and reads from it by offsets.

use std::collections::{BTreeSet, HashMap};

use bytes::BytesMut;

use super::arena::Arena;
use super::event::{Guise, HotSpace};
use super::hottest::Hottest;
use super::member::{Member, Who};
use super::position::{Floor, Whereabouts};
use super::turn::Turn;
use crate::metrics::Metric;
use crate::wire::time::MonoMs;
use crate::wire::{Encoding, Id, SpaceKey, UserId};

mod heat;
mod log;
mod logs;
mod presence;
mod pressure;
mod round;

use heat::Heat;
use logs::Logs;
use presence::Presence;
use pressure::Pressure;
use round::Round;

/// What a space costs beside its log's segments; counted against the logs' bound.
const SPACE_BYTES: usize = 512;

/// Names a space of a shard, and none that has its slot later.
pub(super) type SpaceSlot = super::arena::Key;

/// One space.
#[derive(Debug)]
pub(super) struct Space {
    /// Its place among the shard's spaces.
    place: SpaceSlot,
    key: SpaceKey,
    logs: Logs,
    /// Slots of its members, in the order of the sweep; a member knows its seat.
    roster: Vec<u32>,
    /// How many of them only watch: nobody is told of those.
    watchers: u32,
    /// (user, slot) of its members: presence lists, kicks, who is online.
    users: BTreeSet<(UserId, u32)>,
    round: Round,
    pressure: Pressure,
    presence: Presence,
    heat: Heat,
}

/// A chat among the frames of a log: what a position finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChatFrame {
    pub id: Id,
    /// The number of the record that stores it.
    pub record: u64,
    /// Whether nobody is sent it before the store has it.
    pub waits: bool,
}

impl Space {
    fn new(key: SpaceKey, floor: Floor, now: MonoMs) -> Space {
        Space {
            place: SpaceSlot { slot: 0, generation: 0 },
            key,
            logs: Logs::new(floor),
            watchers: 0,
            roster: Vec::new(),
            users: BTreeSet::new(),
            round: Round::default(),
            pressure: Pressure::default(),
            presence: Presence::default(),
            heat: Heat::begin(now),
        }
    }

    pub(super) fn slot(&self) -> u32 {
        self.place.slot
    }

    /// Its name among the spaces that are and were.
    pub(super) fn place(&self) -> SpaceSlot {
        self.place
    }

    pub(super) fn key(&self) -> SpaceKey {
        self.key
    }

    /// Connections in it, without those that only watch.
    pub(super) fn members(&self) -> usize {
        self.roster.len() - self.watchers as usize
    }

    /// Slots of a user's members.
    pub(super) fn members_of(&self, user: UserId) -> impl Iterator<Item = u32> {
        self.users.range((user, 0)..=(user, u32::MAX)).map(|(_, slot)| *slot)
    }

    /// Its members by their users: (user, slot), ascending.
    pub(super) fn by_user(&self) -> impl Iterator<Item = (UserId, u32)> {
        self.users.iter().copied()
    }

    /// The same, from a user on.
    pub(super) fn by_user_from(&self, user: UserId) -> impl Iterator<Item = (UserId, u32)> {
        self.users.range((user, 0)..).copied()
    }

    /// Puts a frame at the end of its log, wherever that comes from, and makes its members due.
    /// `write` writes it in place, at most `bound` bytes; a `chat` is found by positions.
    pub(super) fn append(
        &mut self,
        turn: &mut Turn,
        chat: Option<ChatFrame>,
        bound: usize,
        write: impl FnOnce(&mut BytesMut) -> usize,
    ) {
        let to = (turn.now.mono, &mut turn.deflater);
        turn.logs.grew(self.logs.append(to, chat, bound, write));
        turn.counts.add(Metric::FramesAppended, 1);
        // While a frame before it waits for the store there is nothing new to be sent.
        if self.is_secured() {
            self.make_due(turn);
        }
        self.press(turn);
    }

    /// The store has committed the records up to this one: what waited for them may be sent.
    fn secure(&mut self, turn: &mut Turn, committed: u64) {
        self.logs.secure(committed);
        self.make_due(turn);
        turn.due.unsettle(self.slot());
    }

    /// A chat that waits for the store will never be in it: nobody is sent it, and who is still to
    /// be sent what it missed is told so.
    fn strike(&mut self, turn: &mut Turn, members: &mut Arena<Member>, (id, committed): (Id, u64)) {
        let struck = self.logs.strike(id, committed);
        self.make_due(turn);
        turn.due.unsettle(self.slot());
        for slot in &self.roster {
            let Some(member) = members.at_mut(*slot) else { continue };
            if let Some(struck) = &struck[member.who.encoding as usize] {
                member.strike(struck);
            }
        }
    }

    /// Whether all that was said in it may be sent.
    #[inline]
    pub(super) fn is_secured(&self) -> bool {
        self.logs.main().is_secured()
    }

    /// Up to where members of this encoding may be sent its log.
    #[inline]
    pub(super) fn secured(&self, encoding: Encoding) -> u64 {
        self.logs.of(encoding).secured()
    }

    /// Bytes that wait for the store, with all that was said behind them.
    pub(super) fn unsecured(&self) -> u64 {
        let log = self.logs.main();
        log.end() - log.secured()
    }

    /// Its newest chat that may be sent, or what it may have seen before while there is none.
    pub(super) fn newest_secured(&self) -> Id {
        self.logs.main().newest_secured()
    }

    /// The number of the record that its newest chat needs.
    pub(super) fn last_record(&self) -> u64 {
        self.logs.main().last_record()
    }

    /// Has everyone in it visited.
    fn make_due(&mut self, turn: &mut Turn) {
        if self.round.begin(self.roster.len()) {
            turn.due.push_space(self.slot());
        }
    }

    /// Where the next frame for members of this encoding will begin.
    #[inline]
    pub(super) fn end(&self, encoding: Encoding) -> u64 {
        self.logs.of(encoding).end()
    }

    /// Its newest chat, or what it may have seen before while it has had none.
    pub(super) fn newest(&self) -> Id {
        self.logs.newest()
    }

    /// Where the frames behind a position are, for a member of this encoding.
    pub(super) fn find(&self, encoding: Encoding, id: Id) -> Whereabouts {
        self.logs.of(encoding).find(id)
    }

    /// The bytes of an encoding's frames from `from` up to `to`: one piece, or two, and at times
    /// more than those.
    #[inline]
    pub(super) fn slices(&self, encoding: Encoding, from: u64, to: u64) -> (&[u8], &[u8]) {
        self.logs.of(encoding).slices(from, to)
    }

    /// Writes what a member that is closed is still sent of the log, and says up to where that is;
    /// `None`: the end of the frame that it is in the middle of lies too far away.
    pub(super) fn write_rest(&self, member: &Member, max: u64, out: &mut BytesMut) -> Option<u64> {
        let is_live = !member.is_behind_by_choice();
        self.logs.of(member.who.encoding).write_rest(&member.queue, is_live, max, out)
    }

    /// The seat that the next member to come will have.
    pub(super) fn next_seat(&self) -> u32 {
        u32::try_from(self.roster.len()).expect("members are bounded below 2^32")
    }

    /// Takes a member in, in its seat, its cursor behind all that may be sent. Returns whether it
    /// is its user's first there.
    pub(super) fn seat(&mut self, turn: &mut Turn, slot: u32, member: &mut Member) -> bool {
        debug_assert_eq!(member.seat(), Some(self.next_seat()));
        let Who { user, encoding, guise, .. } = member.who;
        let is_first = self.members_of(user).next().is_none();
        self.roster.push(slot);
        self.watchers += u32::from(guise != Guise::Member);
        if guise != Guise::Nobody {
            self.users.insert((user, slot));
        }
        self.round.resized(self.roster.len());
        self.presence.seen_by(member);
        turn.logs.grew(self.logs.reader_came(encoding));
        member.queue.place(self.logs.of(encoding).secured());
        is_first
    }

    /// Lets a member go. Returns the slot of the member that has its seat now, if one moved.
    pub(super) fn unseat(
        &mut self,
        turn: &mut Turn,
        slot: u32,
        member: &mut Member,
    ) -> Option<u32> {
        let seat = member.seat()?;
        let removed = self.roster.swap_remove(seat as usize);
        assert_eq!(removed, slot, "a member knows its seat");
        self.users.remove(&(member.who.user, slot));
        self.watchers -= u32::from(member.who.guise != Guise::Member);
        self.round.resized(self.roster.len());
        self.pressure_left(member);
        turn.logs.shrank(self.logs.reader_left(member.who.encoding));
        self.roster.get(seat as usize).copied()
    }

    /// Whether clients come back to it with a position.
    fn is_resumable(&self) -> bool {
        matches!(self.key, SpaceKey::Chat(_))
    }

    /// Measures how much is said in it; how hot that makes it: what it costs to store and to send.
    fn measure(&mut self, now: MonoMs) -> f32 {
        self.heat.measure(now, self.logs.main());
        self.heat.bytes() * (1 + self.roster.len()) as f32
    }

    /// How much is said in it, if it is one where people chat.
    fn as_hot(&self) -> Option<HotSpace> {
        let SpaceKey::Chat(space) = self.key else { return None };
        let in_1000_s = |rate: f32| (rate * 1_000.0) as u64;
        Some(HotSpace {
            space,
            members: self.members(),
            readers: self.roster.len(),
            chats_in_1000_s: in_1000_s(self.heat.chats()),
            bytes_in_1000_s: in_1000_s(self.heat.bytes()),
        })
    }

    /// Whether nobody is in it and nothing of it is kept.
    fn is_empty(&self) -> bool {
        self.roster.is_empty() && self.logs.held() == 0 && !self.round.is_queued()
    }

    /// The slot of the member to visit next.
    pub(super) fn next_visit(&mut self) -> Option<u32> {
        let at = self.round.next_visit(self.roster.len(), self.logs.main().secured())?;
        Some(self.roster[at])
    }

    /// Whether its round is not yet at its end; else it stands in the sweep's queue no more.
    pub(super) fn goes_on(&mut self) -> bool {
        self.round.goes_on()
    }

    /// Throws its log away: what it holds is nowhere else. Nobody may be in it.
    fn drop_log(&mut self, turn: &mut Turn, floor: Floor) {
        assert!(self.roster.is_empty(), "its members were closed");
        turn.logs.shrank(self.logs.held());
        self.logs = Logs::new(floor);
    }
}

/// The spaces of a shard.
#[derive(Default, Debug)]
pub(super) struct Spaces {
    all: Arena<Space>,
    by_key: HashMap<SpaceKey, u32>,
    hottest: Hottest,
}

impl Spaces {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Slots, taken or free.
    pub(super) fn slots(&self) -> u32 {
        self.all.slots()
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Space> {
        self.all.at(slot)
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> Option<&mut Space> {
        self.all.at_mut(slot)
    }

    /// Whether everyone in a space who takes bytes has been sent its log up to there; `None`: there
    /// is no such space any more.
    pub(super) fn has_sent(&self, space: SpaceSlot, offset: u64) -> Option<bool> {
        let space = self.all.get(space)?;
        Some(space.logs.main().secured() >= offset && space.round.has_sent(offset))
    }

    /// The store has committed the records up to this one, of which a space has some.
    pub(super) fn secure(&mut self, turn: &mut Turn, space: SpaceSlot, committed: u64) {
        if let Some(space) = self.all.get_mut(space) {
            space.secure(turn, committed);
        }
    }

    /// A chat that waits for the store in a space will never be in it; it has the records up to
    /// this one.
    pub(super) fn strike(
        &mut self,
        turn: &mut Turn,
        members: &mut Arena<Member>,
        space: SpaceSlot,
        struck: (Id, u64),
    ) {
        if let Some(space) = self.all.get_mut(space) {
            space.strike(turn, members, struck);
        }
    }

    pub(super) fn find(&self, key: SpaceKey) -> Option<&Space> {
        self.by_key.get(&key).and_then(|slot| self.all.at(*slot))
    }

    pub(super) fn find_mut(&mut self, key: SpaceKey) -> Option<&mut Space> {
        let slot = *self.by_key.get(&key)?;
        self.all.at_mut(slot)
    }

    /// The space of a key, made if it is new. What it may have seen before lies at or below
    /// `floor`.
    pub(super) fn open(&mut self, turn: &mut Turn, key: SpaceKey, floor: Floor) -> &mut Space {
        let slot = *self.by_key.entry(key).or_insert_with(|| {
            turn.logs.grew(SPACE_BYTES);
            let place = self.all.insert(Space::new(key, floor, turn.now.mono));
            self.all.get_mut(place).expect("it was just put there").place = place;
            place.slot
        });
        self.all.at_mut(slot).expect("a key's slot is taken")
    }

    /// What time asks of a space: the count of its members is told, its log is shortened by age,
    /// and it goes when nobody needs it. `window` is how long logs are kept, in ms.
    pub(super) fn tick(&mut self, turn: &mut Turn, slot: u32, window: u64) {
        let Some(space) = self.all.at_mut(slot) else { return };
        space.tick_presence(turn);
        space.expire(turn, window);
        if !space.is_empty() {
            return self.measure(turn.now.mono, slot);
        }
        if space.heat.is_listed {
            self.hottest.remove(slot);
        }
        if let Some(space) = self.all.at(slot) {
            self.by_key.remove(&space.key);
            turn.logs.shrank(SPACE_BYTES);
            turn.due.watch_pause(slot, false);
            let key = self.all.key_at(slot).expect("it was just looked at");
            self.all.remove(key);
        }
    }

    fn measure(&mut self, now: MonoMs, slot: u32) {
        let Some(space) = self.all.at_mut(slot) else { return };
        if !space.is_resumable() {
            return;
        }
        let heat = space.measure(now);
        let noted = self.hottest.note(slot, heat, space.heat.is_listed);
        space.heat.is_listed = noted.is_listed;
        let evicted = noted.evicted.and_then(|slot| self.all.at_mut(slot));
        evicted.into_iter().for_each(|space| space.heat.is_listed = false);
    }

    /// The spaces in which most is said, the hottest first, `max` of them.
    pub(super) fn hottest(&self, max: usize) -> Vec<HotSpace> {
        let spaces = self.hottest.slots().filter_map(|slot| self.all.at(slot)?.as_hot());
        spaces.take(max).collect()
    }

    /// Throws all logs away.
    pub(super) fn drop_logs(&mut self, turn: &mut Turn, floor: Floor) {
        for slot in 0..self.all.slots() {
            if let Some(space) = self.all.at_mut(slot) {
                space.drop_log(turn, floor);
            }
        }
    }
}
