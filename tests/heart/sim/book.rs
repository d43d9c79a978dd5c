//! The model: what every space's members must be sent, what was accepted, and what is known of
//! the store. Predicts bytes by WIRE A2 with its own text, not with the server's encoder.

use std::collections::{BTreeMap, BTreeSet};

use cpi_hub::limits::Limits;
use cpi_hub::wire::record::Record;
use cpi_hub::wire::server_message::TimeText;
use cpi_hub::wire::time::{Micros, MonoMs, Now, TimeFormat};
use cpi_hub::wire::{Id, SpaceId, SpaceKey};

use super::coverage::Coverage;
use super::sequence::{Sequence, SpaceModel};

/// Who used which nonce where.
pub type NonceKey = (i32, i32, String);

/// The first message of a nonce.
#[derive(Clone, Debug)]
pub struct First {
    pub id: Id,
    pub said: (String, String),
    pub unix_us: i64,
}

/// Everything that is expected.
#[derive(Debug)]
pub struct Book {
    pub limits: Limits,
    /// Chats are accepted once they are stored: nobody is sent, acked or answered one before.
    pub by_store: bool,
    /// When the store last took too long with a chat.
    pub late: Option<MonoMs>,
    /// The highest id made here so far.
    pub made: Id,
    pub spaces: BTreeMap<i32, SpaceModel>,
    pub inboxes: BTreeMap<i32, Sequence>,
    /// Accepted chats of each space, ascending, over all runs.
    pub history: BTreeMap<i32, Vec<Id>>,
    /// Their frames, as a store gives them back.
    pub payloads: BTreeMap<Id, Vec<u8>>,
    /// Those that the store will never hold.
    pub refused: BTreeSet<Id>,
    pub firsts: BTreeMap<NonceKey, First>,
    /// Those that the next run will know, while this one takes no chat.
    kept_firsts: BTreeMap<NonceKey, First>,
    /// Those whose nonces were used anew, which a restart brings back where the newer use was lost.
    pub older_firsts: Vec<(NonceKey, First)>,
    /// Where people were when they went: space and position.
    pub positions: Vec<(i32, Id)>,
    /// The shard was told that everything up to here is committed.
    pub told: Id,
    /// The highest id made so far.
    pub newest: Id,
    /// The highest id that this run of the shard began above.
    pub began_above: Id,
    pub chats: u64,
    /// An append failed in this run.
    pub failed: bool,
    pub now: Now,
    pub coverage: Coverage,
    stamp: Micros,
    time: TimeFormat,
    /// Chats of this turn: space and id.
    turn_chats: Vec<(i32, Id)>,
    /// Chats that were said elsewhere, whose frames this shard was fed.
    pub fed: BTreeSet<Id>,
    pub fed_up_to: Id,
}

impl Book {
    pub fn new(limits: Limits, by_store: bool) -> Book {
        let time = TimeFormat::new(limits.utc_offset);
        Book {
            limits,
            by_store,
            late: None,
            made: Id::MIN,
            spaces: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            history: BTreeMap::new(),
            payloads: BTreeMap::new(),
            refused: BTreeSet::new(),
            firsts: BTreeMap::new(),
            kept_firsts: BTreeMap::new(),
            older_firsts: Vec::new(),
            positions: Vec::new(),
            told: Id::MIN,
            newest: Id::MIN,
            began_above: Id::MIN,
            chats: 0,
            failed: false,
            now: Now::default(),
            coverage: Coverage::default(),
            stamp: Micros(0),
            time,
            turn_chats: Vec::new(),
            fed: BTreeSet::new(),
            fed_up_to: Id::MIN,
        }
    }

    /// A new run of the shard: its logs are gone, history and nonces are not.
    pub fn restart(&mut self, highest: Id) {
        self.spaces.clear();
        self.inboxes.clear();
        self.firsts.append(&mut self.kept_firsts);
        self.firsts.retain(|_, first| first.id <= highest);
        for (key, older) in self.older_firsts.iter().rev() {
            if older.id <= highest && !self.refused.contains(&older.id) {
                self.firsts.entry(key.clone()).or_insert_with(|| older.clone());
            }
        }
        self.told = Id::MIN;
        self.late = None;
        self.made = highest;
        self.newest = highest;
        self.began_above = highest;
        self.chats = 0;
        self.failed = false;
        self.stamp = Micros(highest.unix_ms() * 1_000 + 999);
    }

    /// The shard is called at this time: no later frame says an earlier one, unless the clock was
    /// set back by more than a second.
    pub fn called(&mut self, now: Now) {
        self.now = now;
        let was_set = self.stamp.0 - now.unix.0 > 1_000_000;
        self.stamp = if was_set { now.unix } else { self.stamp.max(now.unix) };
    }

    /// The instant that a frame of this call carries.
    pub fn at(&mut self) -> String {
        self.time.string(self.stamp)
    }

    pub fn space(&mut self, id: i32) -> &mut SpaceModel {
        let max = self.limits.announce_members_max;
        self.spaces.entry(id).or_insert_with(|| SpaceModel::new(id, max))
    }

    pub fn sequence(&mut self, place: SpaceKey) -> &mut Sequence {
        match place {
            SpaceKey::Chat(space) => &mut self.space(space.0).frames,
            SpaceKey::Inbox(user) => self.inboxes.entry(user.0).or_default(),
            SpaceKey::Echo => unreachable!("nobody joins it"),
            SpaceKey::Lobby => unreachable!("the lobby has a model of its own"),
        }
    }

    /// A member came into a chat space. Returns whether joins are announced there.
    pub fn join(&mut self, space: i32, user: i32) -> bool {
        self.space(space).join(user)
    }

    /// Its join is the space's newest frame.
    pub fn announce(&mut self, space: i32, user: i32, name: &str) {
        let (mono, at) = (self.now.mono.0, self.at());
        self.space(space).frames.push(mono, join_payload(space, user, name, &at));
    }

    /// Who left a space in one call.
    pub fn leave(&mut self, space: i32, left: &[(u32, i32, bool)]) {
        let (mono, at) = (self.now.mono.0, self.at());
        let max = self.limits.announce_members_max;
        let coverage = &mut self.coverage;
        let model = self.spaces.entry(space).or_insert_with(|| SpaceModel::new(space, max));
        model.leave(mono, left, &at, coverage);
    }

    /// A record was made: its frame is the newest of its space.
    pub fn chat(&mut self, record: &Record<'_>, image: &str) {
        assert!(record.id > self.newest, "ids ascend: {:?}", record.id);
        assert!(record.at >= self.stamp, "times fall only with the clock");
        let of_id = record.id.unix_ms();
        assert!(record.at.0.div_euclid(1_000) <= of_id, "the id's millisecond, or one before");
        self.newest = record.id;
        self.made = record.id;
        self.stamp = record.at;
        let at = self.time.string(record.at);
        let image = if image.len() > self.limits.image_bytes_max { "" } else { image };
        let payload = chat_payload(record, image, &at);
        let mono = self.now.mono.0;
        let space = record.space.0;
        let model = self.space(space);
        model.chats.push((record.id, model.frames.len()));
        let stored = payload.clone();
        model.frames.push(mono, payload);
        self.history.entry(space).or_default().push(record.id);
        self.payloads.insert(record.id, stored);
        self.turn_chats.push((space, record.id));
        self.chats += 1;
        self.coverage.chats += 1;
    }

    /// A chat was said elsewhere, where it is stored, and its frame is the newest of its space.
    pub fn feed(&mut self, record: &Record<'_>) {
        let made = self.made;
        self.chat(record, "");
        self.made = made;
        self.turn_chats.pop();
        self.chats -= 1;
        self.fed.insert(record.id);
        self.fed_up_to = record.id;
        // Its shard may have said any microsecond of its millisecond.
        self.stamp = self.stamp.max(Micros(record.id.unix_ms() * 1_000 + 999));
        self.coverage.fed += 1;
    }

    /// The first frame of a place that nobody may be sent yet, since it waits for the store.
    pub fn visible(&mut self, place: SpaceKey) -> usize {
        let waiting = self.first_waiting(place).map(|(_, index)| index);
        waiting.unwrap_or_else(|| self.sequence(place).len())
    }

    /// The first chat of a place that waits for the store, and its frame.
    fn first_waiting(&self, place: SpaceKey) -> Option<(Id, usize)> {
        let SpaceKey::Chat(space) = place else { return None };
        let model = self.spaces.get(&space.0).filter(|_| self.by_store)?;
        let chats = model.chats.iter().copied();
        chats.filter(|(id, _)| *id > self.told && !self.fed.contains(id)).min()
    }

    /// The newest chat of a space that does not wait for the store.
    pub fn newest_secured(&self, space: i32) -> Option<Id> {
        let waiting = self.first_waiting(SpaceKey::Chat(SpaceId(space))).map(|(id, _)| id);
        let ids = self.history.get(&space)?.iter().rev();
        ids.copied().find(|id| waiting.is_none_or(|waiting| *id < waiting))
    }

    /// Whether a chat waits for the store, where somebody may come back with it.
    pub fn is_waiting(&self, space: i32, id: Id) -> bool {
        let first = self.first_waiting(SpaceKey::Chat(SpaceId(space)));
        let said = || self.history.get(&space).is_some_and(|said| said.contains(&id));
        first.is_some_and(|(first, _)| first <= id && said() && !self.fed.contains(&id))
    }

    /// Whether a chat was said elsewhere, or by an earlier run.
    pub fn is_known(&self, id: Id) -> bool {
        self.fed.contains(&id) || id <= self.began_above
    }

    /// Whether the store has a chat that was said here, and will not refuse it.
    pub fn is_stored(&self, id: Id) -> bool {
        id <= self.told && !self.refused.contains(&id)
    }

    /// The store has refused a chat that nobody was sent.
    pub fn strike(&mut self, id: Id) {
        for (space, history) in &mut self.history {
            let Some(at) = history.iter().position(|said| *said == id) else { continue };
            history.remove(at);
            let model = self.spaces.get_mut(space).expect("it was said there");
            let at = model.chats.iter().position(|(said, _)| *said == id);
            // What an earlier run has said is in no log.
            let Some(at) = at else { continue };
            let (_, index) = model.chats.remove(at);
            model.frames.strike(index);
            self.coverage.struck += 1;
        }
    }

    /// The latest time that a frame has said.
    pub fn stamp(&self) -> Micros {
        self.stamp
    }

    /// An instant as frames say it.
    pub fn text(&mut self, at: Micros) -> TimeText {
        *self.time.text(at)
    }

    pub fn turn_begins(&mut self) {
        self.turn_chats.clear();
        self.spaces.values_mut().for_each(|space| space.frames.turn_begins());
        self.inboxes.values_mut().for_each(Sequence::turn_begins);
    }

    /// How many chats no turn has appended yet.
    pub fn unsaid(&self) -> usize {
        self.turn_chats.len()
    }

    /// The turn's records are nowhere: its chats were never said.
    pub fn turn_lost(&mut self) {
        for (space, id) in self.turn_chats.drain(..) {
            self.history.get_mut(&space).expect("said there").retain(|said| *said != id);
        }
    }

    /// All that was said above this id was never kept; what was said elsewhere is kept there.
    pub fn cut(&mut self, highest: Id) {
        let fed = &self.fed;
        for said in self.history.values_mut() {
            let before = said.len();
            said.retain(|id| *id <= highest || fed.contains(id));
            self.coverage.chats_cut += (before - said.len()) as u64;
        }
        for firsts in [&mut self.firsts, &mut self.kept_firsts] {
            firsts.retain(|_, first| first.id <= highest);
        }
        self.older_firsts.retain(|(_, first)| first.id <= highest);
    }

    /// A message's nonce, which may be used anew.
    pub fn forget_first(&mut self, id: Id) -> Option<NonceKey> {
        [&mut self.firsts, &mut self.kept_firsts].into_iter().find_map(|firsts| {
            let (key, _) = firsts.iter().find(|(_, first)| first.id == id)?;
            firsts.remove_entry(&key.clone()).map(|(key, _)| key)
        })
    }

    /// The same, and the shard has closed everyone without a word.
    pub fn turn_failed(&mut self) {
        self.turn_lost();
        self.failed = true;
        self.kept_firsts.append(&mut self.firsts);
        self.spaces.values_mut().for_each(SpaceModel::fail);
        self.inboxes.values_mut().for_each(Sequence::turn_failed);
    }
}

pub fn join_payload(space: i32, user: i32, name: &str, at: &str) -> Vec<u8> {
    let name = quote(name);
    format!(
        "{{\"type\":\"join\",\"data\":{{\"space_id\":{space},\"user_id\":{user},\"username\":\"\"\
         }},\"timestamp\":\"{at}\",\"user_id\":{user},\"space_id\":{space},\"username\":{name}}}"
    )
    .into_bytes()
}

fn chat_payload(record: &Record<'_>, image: &str, at: &str) -> Vec<u8> {
    let Record { id, space, user, username, content, .. } = record;
    let (content, username) = (quote(content), quote(username));
    let outer = if image.is_empty() { "".into() } else { format!(",\"image\":{}", quote(image)) };
    let image = quote(image);
    format!(
        "{{\"type\":\"chat\",\"data\":{{\"id\":\"{id}\",\"content\":{content},\"user_id\":{user},\
         \"username\":{username},\"space_id\":{space},\"timestamp\":\"{at}\",\"image\":{image}}},\
         \"timestamp\":\"{at}\",\"user_id\":{user},\"space_id\":{space}{outer}}}"
    )
    .into_bytes()
}

/// JSON text of a string.
pub fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}
