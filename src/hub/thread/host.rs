//! What a shard's turn is carried out on: its journal, its members' sockets, the requests that wait
//! for an answer, the directory, and the tasks that read pages of the store.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::command::{Life, Waiting};
use super::super::directory::Directory;
use super::super::socket::SocketTable;
use super::super::{PageRequest, RenewalRequest};
use super::comings::Comings;
use super::resuming::Resuming;
use crate::clock::Clock;
use crate::faults::panic_place_of_shard;
use crate::shard::event::{Fetch, MemberKey, Renewal, Reply, Sockets, Ticket};
use crate::shard::turn::{Broken, Host, Journal};
use crate::store::journal::Writer;
use crate::wire::close::Close;
use crate::wire::server_message::Resumed;
use crate::wire::{Id, SpaceKey};

/// A shard's end of the journal, which tells the operator when it breaks.
pub(super) struct ShardJournal {
    pub shard: usize,
    pub writer: Writer,
}

impl Journal for ShardJournal {
    fn append(&mut self, records: &[u8], highest: Id) -> Result<u64, Broken> {
        panic_place_of_shard(self.shard, "before the journal");
        let appended = self.writer.append(records, highest).map_err(|error| {
            let shard = self.shard;
            tracing::error!(shard, %error, "journal broken: no chat until a restart");
            Broken
        });
        panic_place_of_shard(self.shard, "behind the journal");
        appended
    }

    fn room(&self) -> u64 {
        self.writer.room()
    }
}

/// All that surrounds one shard.
pub(super) struct Surroundings {
    pub journal: ShardJournal,
    pub sockets: SocketTable,
    pub life: Life,
    pub pages: mpsc::Sender<PageRequest>,
    pub renewals: mpsc::Sender<RenewalRequest>,
    pub waiting: HashMap<Ticket, Waiting>,
    pub directory: Arc<Directory>,
    pub comings: Comings,
    pub resuming: Resuming,
    pub clock: Clock,
}

impl Host for Surroundings {
    fn journal(&mut self) -> &mut impl Journal {
        &mut self.journal
    }

    fn sockets(&mut self) -> &mut impl Sockets {
        panic_place_of_shard(self.journal.shard, "in the sweep");
        &mut self.sockets
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        let lasts = matches!(reply, Reply::Posted { .. });
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return };
        waiting.give(reply);
        if !lasts {
            self.waiting.remove(&ticket);
        }
    }

    fn offended(&mut self, member: MemberKey, close: Close) {
        if let Some(socket) = self.sockets.get_mut(member) {
            socket.permit.offend(close);
        }
    }

    fn ended(&mut self, member: MemberKey, close: Close) {
        let (shard, slot, reason) = (self.journal.shard, member.slot, close.name());
        tracing::debug!(shard, slot, reason, "connection ended");
        self.comings.went(member, self.clock.now().unix, close);
        self.resuming.went(member);
        self.sockets.remove(member);
    }

    fn fetch(&mut self, fetch: &Fetch) -> bool {
        let request = PageRequest { shard: self.journal.shard, life: self.life, fetch: *fetch };
        self.resuming.asks(fetch.member);
        self.pages.try_send(request).is_ok()
    }

    fn renew(&mut self, renewal: Renewal) -> bool {
        let request = RenewalRequest { shard: self.journal.shard, life: self.life, renewal };
        self.renewals.try_send(request).is_ok()
    }

    fn resumed(&mut self, member: MemberKey, resumed: &Resumed) {
        let shard = self.journal.shard;
        let (slot, count, missing) = (member.slot, resumed.count, resumed.missing);
        tracing::debug!(shard, slot, count, ?missing, "connection resumed");
        self.resuming.done(member, resumed);
    }

    fn readable(&mut self, member: MemberKey) {
        self.sockets.read_deferred(member);
    }

    fn occupancy(&mut self, space: SpaceKey, members: usize) {
        if let SpaceKey::Chat(_) = space {
            self.directory.set_members(space, members);
        }
    }
}
