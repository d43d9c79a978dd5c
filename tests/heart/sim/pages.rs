//! The store's side of a resume: pages that come in order, late, never, or not at all; and what a
//! call changed for those that wait for them.

use bytes::BytesMut;
use cpi_hub::shard::event::{Fetch, Input, MemberKey, Stretch};
use cpi_hub::wire::frame_writer::FrameWriter;
use cpi_hub::wire::{Id, SpaceId, SpaceKey};

use super::book::Book;
use super::client::{Client, Stage};
use super::resume::as_encoded;
use super::world::World;

impl World {
    /// Answers questions for pages: all of them well, or as it comes.
    pub fn read_pages(&mut self, well: bool) {
        for fetch in std::mem::take(&mut self.fetches) {
            let fate = if well { 0 } else { self.rng.below(10) };
            let Fetch { member, number, .. } = fetch;
            match fate {
                0..7 => {
                    let stretch = self.stretch(&fetch);
                    self.input(Input::Fetched(member, number, Some(stretch)), "");
                    self.say_again(fetch, well);
                }
                7 => {
                    self.book.coverage.pages_refused += 1;
                    self.input(Input::Fetched(member, number, None), "");
                    self.say_again(fetch, well);
                }
                8 => self.fetches.push(fetch),
                // Its answer finds no place in an inbox.
                _ => {}
            }
        }
    }

    /// A question may be answered once more, when nobody waits for that any longer.
    fn say_again(&mut self, fetch: Fetch, well: bool) {
        if !well && self.rng.permille(100) {
            self.fetches.push(fetch);
        }
    }

    /// What a store has of it.
    fn stretch(&mut self, fetch: &Fetch) -> Stretch {
        let Fetch { space, after, up_to, newest_max, bytes_max, .. } = *fetch;
        let all = self.book.history.get(&space.0).cloned().unwrap_or_default();
        let mut ids: Vec<Id> = all.into_iter().filter(|id| after < *id && *id <= up_to).collect();
        ids.retain(|id| !self.book.refused.contains(id));
        for id in &ids {
            let is_stored = *id <= self.book.told || self.book.fed.contains(id);
            assert!(is_stored, "{id} is asked for before it is stored");
        }
        let mut from = after;
        if let Some(left_out) = ids.len().checked_sub(newest_max).filter(|many| *many > 0) {
            from = ids[left_out - 1];
            ids.drain(..left_out);
        }
        let rows = self.rng.range(1, 6) as usize;
        let mut frames = BytesMut::new();
        let mut taken = 0;
        for id in ids.iter().take(rows) {
            let before = frames.len();
            let text = String::from_utf8(self.book.payloads[id].clone()).expect("JSON");
            let mut frame = FrameWriter::begin(&mut frames);
            frame.raw(&text);
            frame.end();
            if taken > 0 && frames.len() > bytes_max {
                frames.truncate(before);
                break;
            }
            taken += 1;
        }
        self.book.coverage.pages_read += 1;
        let last = ids[..taken].last().copied().unwrap_or(from);
        Stretch { frames: frames.freeze(), chats: taken, from, last, more: taken < ids.len() }
    }

    /// Members known to the net whose way back was settled in the last call.
    pub fn known(&mut self, placed: Vec<MemberKey>) -> Vec<MemberKey> {
        placed.into_iter().filter(|key| self.net.find(*key).is_some()).collect()
    }

    /// Who left a space in a call, and whose way back was settled in it.
    pub fn change(&mut self, space: i32, placed: &[MemberKey]) {
        let place = SpaceKey::Chat(SpaceId(space));
        let mut left = Vec::new();
        for key in self.net.keys() {
            let seated = self.shard.is_seated(key);
            let client = self.net.get(key);
            if client.place == place && client.seated && !seated {
                client.seated = false;
                // A member whose join was not yet known goes without a leave.
                let unknown =
                    matches!(&client.stage, Stage::Resuming(it) if it.joined_at.is_none());
                // Nobody knew of who only watched.
                if client.is_shown() {
                    left.push((key.slot, client.user, unknown && !placed.contains(&key)));
                }
            }
        }
        let mut placed: Vec<MemberKey> =
            placed.iter().copied().filter(|key| self.net.get(*key).place == place).collect();
        if !self.ticking || self.draining {
            left.sort_unstable();
            self.leave(space, &left);
        } else {
            // A tick judges those that catch up last, each in its turn.
            left.sort_unstable_by_key(|(slot, _, silently)| (*silently, turn(*slot)));
            let silent = left.split_off(left.partition_point(|(_, _, silently)| !silently));
            self.leave(space, &left);
            for one in silent {
                let earlier = placed.partition_point(|key| turn(key.slot) < turn(one.0));
                placed.drain(..earlier).for_each(|key| self.settle_way(key));
                self.leave(space, &[one]);
            }
        }
        placed.into_iter().for_each(|key| self.settle_way(key));
    }

    fn leave(&mut self, space: i32, left: &[(u32, i32, bool)]) {
        if !left.is_empty() {
            self.book.leave(space, left);
        }
    }

    fn settle_way(&mut self, key: MemberKey) {
        settle_way(&mut self.book, self.net.get(key));
    }

    /// One whose way back was settled when it joined.
    pub fn place_at_once(&mut self, client: &mut Client) {
        if matches!(client.stage, Stage::Resuming(_)) {
            settle_way(&mut self.book, client);
        }
    }
}

/// Its join, if announced, is its space's newest frame.
fn settle_way(book: &mut Book, client: &mut Client) {
    let SpaceKey::Chat(space) = client.place else { return };
    let (far, now) = (book.limits.log_bytes_max as u64 / 2, book.now.mono);
    let (as_events, shown) = (client.events.is_some(), client.is_shown());
    let Stage::Resuming(resuming) = &mut client.stage else { panic!("it does not resume") };
    let behind = book.space(space.0).bytes_behind(resuming.after);
    client.came_from_far = as_encoded(behind, as_events) > far;
    let newest = book.history.get(&space.0).and_then(|ids| ids.last()).copied();
    resuming.newest = newest.unwrap_or(Id::MIN);
    resuming.settled = now;
    resuming.joined_at = Some(book.space(space.0).frames.len());
    resuming.announced = shown && book.space(space.0).announced;
    if resuming.announced {
        book.announce(space.0, client.user, &client.name);
    }
    book.coverage.resumes_of_big_spaces += u64::from(shown && !resuming.announced);
}

/// When a tick that judges everyone comes to a slot: its round begins behind the first one.
fn turn(slot: u32) -> (bool, u32) {
    (slot == 0, slot)
}
