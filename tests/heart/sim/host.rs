//! What surrounds the shard: a journal and a sink that survive it, and all that its turns told.

use cpi_hub::shard::event::{Fetch, MemberKey, Renewal, Reply, Sockets, Ticket};
use cpi_hub::shard::turn::{Broken, Host, Journal};
use cpi_hub::wire::close::Close;
use cpi_hub::wire::nonce::First;
use cpi_hub::wire::record;
use cpi_hub::wire::server_message::Resumed;
use cpi_hub::wire::time::MonoMs;
use cpi_hub::wire::{Id, SpaceKey};

use super::net::Net;

/// What survives the shard: journal and sink.
#[derive(Default, Debug)]
pub struct Store {
    /// (journal offset, highest id) after each append.
    pub appends: Vec<(u64, Id)>,
    /// So many appends are committed in the sink.
    pub committed: usize,
    /// All that earlier runs have left is, too.
    pub earlier_committed: bool,
    /// When each append was made, and how many of them the shard was told are committed.
    pub times: Vec<MonoMs>,
    pub told: usize,
    /// It was told so of earlier runs.
    pub told_earlier: bool,
    /// What records say was published once, over all runs.
    pub published: Vec<First>,
    pub end: u64,
    pub room: u64,
    /// The next append fails.
    pub fails: bool,
}

impl Journal for Store {
    fn append(&mut self, records: &[u8], highest: Id) -> Result<u64, Broken> {
        let bytes = records.len() as u64;
        assert!(bytes <= self.room, "{bytes} bytes for room of {}", self.room);
        if std::mem::take(&mut self.fails) {
            return Err(Broken);
        }
        self.end += bytes + 16;
        self.appends.push((self.end, highest));
        self.published.extend(record::records(records).filter_map(|made| made.first()));
        Ok(self.end)
    }

    fn room(&self) -> u64 {
        self.room
    }
}

/// What a turn told.
#[derive(Default, Debug)]
pub struct Told {
    pub replies: Vec<(Ticket, Reply)>,
    pub ended: Vec<(MemberKey, Close)>,
    pub fetches: Vec<Fetch>,
    pub pages_refused: u64,
    pub resumed: Vec<MemberKey>,
    pub readable: Vec<MemberKey>,
    pub occupancy: Vec<(SpaceKey, usize)>,
    pub append_failed: bool,
}

/// The surroundings of one turn.
pub struct Around<'a> {
    pub net: &'a mut Net,
    pub store: &'a mut Store,
    /// The highest id made so far.
    pub newest: Id,
    /// Nobody can be asked for pages now.
    pub refuses_pages: bool,
    pub told: Told,
}

impl Journal for Around<'_> {
    fn append(&mut self, records: &[u8], highest: Id) -> Result<u64, Broken> {
        assert_eq!(highest, self.newest, "the journal learns the highest id");
        assert!(self.told.replies.is_empty(), "answers come behind the journal");
        let appended = self.store.append(records, highest);
        self.told.append_failed = appended.is_err();
        appended
    }

    fn room(&self) -> u64 {
        self.store.room()
    }
}

impl Host for Around<'_> {
    fn journal(&mut self) -> &mut impl Journal {
        self
    }

    fn sockets(&mut self) -> &mut impl Sockets {
        self.net
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.told.replies.push((ticket, reply));
    }

    fn offended(&mut self, _member: MemberKey, close: Close) {
        assert!(close.is_offence(), "{close:?}");
    }

    fn ended(&mut self, member: MemberKey, close: Close) {
        self.told.ended.push((member, close));
    }

    fn fetch(&mut self, fetch: &Fetch) -> bool {
        if self.refuses_pages {
            self.told.pages_refused += 1;
        } else {
            self.told.fetches.push(*fetch);
        }
        !self.refuses_pages
    }

    fn renew(&mut self, _renewal: Renewal) -> bool {
        false
    }

    fn resumed(&mut self, member: MemberKey, _resumed: &Resumed) {
        self.told.resumed.push(member);
    }

    fn readable(&mut self, member: MemberKey) {
        self.told.readable.push(member);
    }

    fn occupancy(&mut self, space: SpaceKey, members: usize) {
        self.told.occupancy.push((space, members));
    }
}
