//! Resume: brings a member that comes back to the log, through pages of the store where need be.
//! What is decided on that way stands in `member/resume.rs`. The member is in its space all the
//! while (pings, kicks and the drain reach it), but its join is announced last, when its cursor is
//! placed.

use super::commits::Commits;
use super::event::{Fetch, MemberKey, Stretch};
use super::member::{CatchUp, Memory, PageTaken, StoreWait, WayBack};
use super::rooms::Rooms;
use super::seated::Seated;
use super::turn::Turn;
use crate::metrics::Metric;
use crate::wire::close::Close;
use crate::wire::server_message::Resumed;
use crate::wire::time::MonoMs;
use crate::wire::{Id, SpaceKey};

impl Seated<'_> {
    /// What the log has of what the member missed; `None`: it does not catch up.
    fn memory(&mut self) -> Option<Memory> {
        let read = self.member.catch_up()?.read();
        let found = self.space.find(self.member.who.encoding, read);
        Some(Memory { found, newest: self.space.newest() })
    }

    /// Goes on: from the log if that reaches back far enough, else from the store. Returns the
    /// record that has to be committed before that.
    fn catch_up(&mut self, turn: &mut Turn, commits: &Commits) -> Option<u64> {
        let memory = self.memory()?;
        let messages_max = turn.limits.resume_messages_max;
        let way = self.member.catch_up()?.go_on(memory, messages_max, |it| commits.has(it));
        match way {
            WayBack::Log { offset, resumed } => self.place(turn, offset, resumed),
            WayBack::Commit(record) => return Some(record),
            WayBack::Store { number, after, up_to, newest_max, until } => {
                let SpaceKey::Chat(space) = self.space.key() else { return None };
                let (member, bytes_max) = (self.key, turn.limits.private_bytes_max / 2);
                let fetch =
                    Fetch { member, number, space, after, up_to, newest_max, bytes_max, until };
                turn.fx.fetches.push(fetch);
            }
        }
        None
    }

    /// Everything from `offset` on is the log's to send: `resumed` and the own join come behind
    /// what the log holds now. An offset behind the log's end stands for that end.
    fn place(&mut self, turn: &mut Turn, offset: u64, resumed: Resumed) {
        turn.counts.add(Metric::ResumesIncomplete, resumed.missing.is_some().into());
        self.space.end_catch_up(self.member, offset, resumed);
        if self.space.is_announced() && self.member.is_shown() {
            self.space.announce_join(turn, self.member);
        }
        turn.fx.resumed.push((self.key, resumed));
        self.member.make_due(self.key, &mut turn.due);
    }
}

impl Rooms {
    /// A member that has just been seated comes back with a position.
    pub(super) fn resume(
        &mut self,
        turn: &mut Turn,
        commits: &mut Commits,
        key: MemberKey,
        after: Id,
    ) {
        turn.counts.add(Metric::Resumes, 1);
        let until = MonoMs(turn.now.mono.0 + turn.limits.resume_wait);
        if let Some(Seated { member, space, .. }) = self.seated(key) {
            space.begin_catch_up(member, CatchUp::new(after, turn.now, until));
        }
        self.catch_up(turn, commits, key);
    }

    /// A member that catches up goes on.
    pub(super) fn catch_up(&mut self, turn: &mut Turn, commits: &mut Commits, key: MemberKey) {
        let record = self.seated(key).and_then(|mut seated| seated.catch_up(turn, commits));
        if let Some(record) = record {
            let catches_up =
                |key| self.members.get(key).is_some_and(|member| member.is_catching_up());
            commits.wait_floor(record, key, self.members.len(), catches_up);
        }
    }

    /// A page has come, or `None`: the store could not be read.
    pub(super) fn fetched(
        &mut self,
        turn: &mut Turn,
        commits: &mut Commits,
        (key, number): (MemberKey, u32),
        page: Option<Stretch>,
    ) {
        let Some(Seated { member, .. }) = self.seated(key) else { return };
        let messages_max = turn.limits.resume_messages_max;
        let Some(catch_up) = member.catch_up() else { return };
        match catch_up.take(number, page, messages_max) {
            PageTaken::Nothing => {}
            PageTaken::GoOn => self.catch_up(turn, commits, key),
            // A page is half of what a member's private frames may be.
            PageTaken::Send(page) => {
                member.give(key, turn, |out| out.extend_from_slice(&page.frames));
            }
            PageTaken::TooMuch => self.let_go(turn, key, Close::Overloaded),
        }
    }

    /// A member's private frames are all sent: if a page was among them, the next one is due.
    pub(super) fn page_sent(&mut self, turn: &mut Turn, commits: &mut Commits, key: MemberKey) {
        let until = MonoMs(turn.now.mono.0 + turn.limits.resume_wait);
        let Some(Seated { member, .. }) = self.seated(key) else { return };
        let catch_up = member.catch_up().filter(|catch_up| catch_up.waits_for_socket());
        if let Some(catch_up) = catch_up {
            catch_up.page_sent(until);
            self.catch_up(turn, commits, key);
        }
    }

    /// Judges a member that waits for the store: it tries again, or goes without. Called now and
    /// then.
    pub(super) fn judge_catch_up(
        &mut self,
        turn: &mut Turn,
        commits: &mut Commits,
        key: MemberKey,
    ) {
        let Some(mut seated) = self.seated(key) else { return };
        let Some(memory) = seated.memory() else { return };
        let Some(catch_up) = seated.member.catch_up() else { return };
        match catch_up.judge(turn.now.mono, memory, |record| commits.has(record)) {
            StoreWait::Wait => {}
            StoreWait::TryAgain => self.catch_up(turn, commits, key),
            StoreWait::GoWithout { offset, resumed } => seated.place(turn, offset, resumed),
            StoreWait::GiveUp => self.let_go(turn, key, Close::Overloaded),
        }
    }
}
