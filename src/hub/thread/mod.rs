//! A shard's thread: pinned, with a runtime of its own, it drives one [`Shard`] with sockets,
//! journal and time. Two tasks share the state between their polls, never across an await: one
//! takes what comes from other threads and the tick, the other reads the sockets and sweeps.
//!
//! A turn is: reads that are ready, then one append to the journal, then one slice of the sweep.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, yield_now};

use super::command::{Command, Queued, Waiting};
use super::directory::Directory;
use super::inbox::Inbox;
use super::socket::{Leaving, Read, Ready};
use super::{Admission, PageRequest, RenewalRequest};
use crate::clock::Clock;
use crate::faults::{Faults, panic_place_of_shard};
use crate::limits::{
    ECHO_FRAGMENTS_MAX, ECHO_MESSAGE_BYTES_MAX, LISTENER_MESSAGE_BYTES_MAX, READ_BYTES_MAX,
    READ_SHARE_BYTES_MIN, READER_BYTES_MAX, TURN_COMMANDS_MAX, TURN_READ_BYTES_MAX,
};
use crate::metrics::{Latency, Metrics};
use crate::shard::event::{Echo, Input, MemberKey, Ticket, Verdict};
use crate::shard::{Shard, ShardSetup};
use crate::store::latest::Latest;
use crate::wire::close::Close;
use crate::wire::deflate::Inflater;
use crate::wire::frame_reader::{Heard, Incoming, ReadLimits};
use crate::wire::nonce::First;

mod comings;
mod host;
mod lives;
mod resuming;
#[cfg(test)]
mod tests;

pub(crate) use comings::{Coming, Sought};
use host::Surroundings;

/// How often the heart is told that time has passed.
const TICK: Duration = Duration::from_millis(100);

/// What a shard's thread is started with.
pub(super) struct ShardThread {
    /// How many there are.
    pub shards: usize,
    /// Reads what was published once in its spaces.
    pub published: Published,
    pub core: Option<core_affinity::CoreId>,
    pub inbox: Arc<Inbox<Queued>>,
    pub directory: Arc<Directory>,
    pub metrics: Arc<Metrics>,
    /// See [`ShardStore`](super::ShardStore).
    pub committed: Arc<Latest<Option<u64>>>,
    pub verdicts: mpsc::Receiver<Verdict>,
    /// The window in ms, once shutdown has begun.
    pub drain: Arc<Latest<Option<u64>>>,
    pub pages: mpsc::Sender<PageRequest>,
    pub renewals: mpsc::Sender<RenewalRequest>,
    pub clock: Clock,
    pub faults: Faults,
}

type Published = Box<dyn Fn() -> io::Result<Vec<First>> + Send>;

/// All that a shard's tasks share. Borrowed within a poll, never across an await.
struct State {
    shard: Shard,
    around: Surroundings,
    /// What is read next; empty between polls.
    ready: Vec<Ready>,
    buffer: Box<[u8]>,
    clock: Clock,
    tickets: u64,
    metrics: Arc<Metrics>,
    read_limits: ReadLimits,
    /// For the messages of all members.
    inflater: Inflater,
    /// There is something for a turn to do.
    due: bool,
    /// Wakes the task that reads and sweeps.
    driver: Waker,
    /// Sockets of an earlier life.
    leaving: Leaving,
}

impl ShardThread {
    /// Runs until a drain is done. What lies before `at` in the journal is of earlier lives.
    async fn serve(&mut self, state: &Rc<RefCell<State>>, at: u64) -> io::Result<()> {
        let ShardThread { committed: stored, verdicts, inbox, .. } = self;
        let mut driver = tokio::task::spawn_local(drive(Rc::clone(state)));
        let (mut committed, mut drain) = (None, None);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = inbox.wait() => {
                    for _ in 0..TURN_COMMANDS_MAX {
                        let Some(Queued(command, _)) = inbox.pop() else { break };
                        take_command(state, command);
                    }
                    yield_now().await;
                }
                offset = stored.changed(committed) => {
                    committed = offset;
                    while let Ok(verdict) = verdicts.try_recv() {
                        state.borrow_mut().input(Input::Verdict(verdict));
                    }
                    // What this shard has not made counts as earlier runs': stored as a whole.
                    if let Some(offset) = offset.filter(|offset| *offset >= at) {
                        state.borrow_mut().input(Input::Committed(offset));
                    }
                }
                Some(verdict) = verdicts.recv() => {
                    state.borrow_mut().input(Input::Verdict(verdict));
                }
                window = self.drain.changed(drain) => {
                    drain = window;
                    if let Some(window) = window {
                        state.borrow_mut().input(Input::Drain(window));
                    }
                }
                _ = tick.tick() => {
                    state.borrow_mut().tick();
                    if drain.is_some() && state.borrow().is_left() {
                        // The last ones are told why, and that may take as long as with others.
                        inbox.close();
                        while let Some(Queued(command, _)) = inbox.pop() {
                            take_command(state, command);
                        }
                        if state.borrow().is_left() {
                            break;
                        }
                    }
                }
                ended = &mut driver => return Err(error_of(ended)),
            }
        }
        driver.abort();
        match driver.await {
            Err(ended) if ended.is_cancelled() => {}
            ended => return Err(error_of(ended)),
        }
        state.borrow_mut().turn();
        Ok(())
    }
}

/// Why the task that reads and sweeps has ended. Its panic is the shard's.
fn error_of(ended: Result<io::Error, JoinError>) -> io::Error {
    ended.unwrap_or_else(|ended| match ended.try_into_panic() {
        Ok(payload) => std::panic::resume_unwind(payload),
        Err(ended) => io::Error::other(ended),
    })
}

/// Closes the inbox of a shard that ends.
struct Closing(Arc<Inbox<Queued>>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
        while self.0.pop().is_some() {}
    }
}

fn take_command(state: &RefCell<State>, command: Command) {
    let mut state = state.borrow_mut();
    panic_place_of_shard(state.around.journal.shard, "at a command");
    match command {
        Command::Admit(admission) => state.admit(*admission),
        Command::Ask(input, waiting) => state.ask(waiting, input),
        // What a member of an earlier life has asked for has no taker any more.
        Command::Granted(life, ..) | Command::Fetched(life, ..) if life != state.around.life => {}
        Command::Granted(_, member, grant) => state.input(Input::Granted(member, grant)),
        Command::Relieve(bytes) => state.input(Input::Relieve(bytes)),
        // Whoever has given up doesn't get it.
        Command::Find(sought, max, give) => _ = give.send(state.around.comings.find(&sought, max)),
        Command::Fetched(_, member, number, page) => {
            state.input(Input::Fetched(member, number, page));
        }
    }
}

/// Reads the sockets that are ready and sweeps, in slices with reads in between, until the epoll
/// fails.
async fn drive(state: Rc<RefCell<State>>) -> io::Error {
    loop {
        if let Err(error) = poll_fn(|context| state.borrow_mut().poll_work(context)).await {
            return error;
        }
        // Goes on after the runtime has asked its own epoll: a burst of messages becomes one send
        // a member.
        yield_now().await;
        loop {
            let read = poll_fn(|context| Poll::Ready(state.borrow_mut().read_ready(context))).await;
            if let Poll::Ready(Err(error)) = read {
                return error;
            }
            if !state.borrow_mut().turn() {
                break;
            }
            yield_now().await;
        }
    }
}

impl State {
    fn new(setup: ShardSetup, around: Surroundings, clock: Clock, metrics: Arc<Metrics>) -> State {
        let read_limits = ReadLimits {
            message_bytes_max: setup.limits.message_bytes_max,
            fragments_max: setup.limits.fragments_max,
            heard: Heard::Read,
            may_deflate: false,
        };
        let mut shard = Shard::new(setup);
        shard.tick(clock.now(), &around.journal);
        State {
            shard,
            around,
            ready: Vec::new(),
            buffer: vec![0; READ_BYTES_MAX].into_boxed_slice(),
            clock,
            tickets: 0,
            metrics,
            read_limits,
            inflater: Inflater::default(),
            due: false,
            driver: Waker::noop().clone(),
            leaving: Leaving::default(),
        }
    }

    /// Runs a turn of the heart. Says whether there is more to do.
    fn turn(&mut self) -> bool {
        self.due = false;
        let more = self.shard.turn(self.clock.now(), &mut self.around);
        if self.shard.is_waited_for() {
            self.around.journal.writer.want();
        }
        if self.shard.is_to_be_timed() {
            self.shard.time(self.clock.now());
        }
        let more = self.around.sockets.close() || more;
        if !more {
            self.publish();
        }
        more
    }

    fn publish(&mut self) {
        self.metrics.shards[self.around.journal.shard].publish(self.shard.counts());
    }

    /// Gives the heart something that needs no socket.
    fn input(&mut self, input: Input<'_>) {
        self.shard.input(self.clock.now(), input);
        self.make_due();
    }

    /// Has the driver run a turn, if there is anything for it to do.
    fn make_due(&mut self) {
        if self.note_due() {
            self.driver.wake_by_ref();
        }
    }

    /// Sets `due` if a turn has work; true if it was not set before. The driver task calls this
    /// instead of `make_due`: if it woke itself, tokio would poll it again before it polls I/O.
    fn note_due(&mut self) -> bool {
        let is_new = !self.due && self.shard.is_due();
        self.due |= is_new;
        is_new
    }

    /// Reads the sockets that are ready. Comes back when there is something for a turn to do, and
    /// when one still has something to be read: the others, and time, come first then.
    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.driver.will_wake(context.waker()) {
            self.driver = context.waker().clone();
        }
        while !self.due {
            ready!(self.read_ready(context))?;
            if self.around.sockets.has_queued() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn tick(&mut self) {
        self.shard.tick(self.clock.now(), &self.around.journal);
        self.make_due();
        self.forget_given_up();
        self.leaving.look(self.clock.now().mono, &mut self.buffer);
        // A sweep that never comes to its end shows its numbers too.
        self.publish();
    }

    /// Whether everyone has left, and nobody waits for an answer. Requests give up by themselves.
    fn is_left(&self) -> bool {
        self.shard.members() == 0 && self.around.waiting.values().all(Waiting::is_given_up)
    }

    /// A request of the edge's: its answer goes to whoever waits under its ticket.
    fn ask(&mut self, waiting: Waiting, input: impl FnOnce(Ticket) -> Input<'static>) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.around.waiting.insert(ticket, waiting);
        self.input(input(ticket));
    }

    /// Drops the tickets of requests that wait no longer.
    fn forget_given_up(&mut self) {
        if self.around.waiting.len() > TURN_COMMANDS_MAX {
            self.around.waiting.retain(|_, waiting| !waiting.is_given_up());
        }
    }

    /// Makes a connection a member. What came behind its request is read at once.
    fn admit(&mut self, admission: Admission) {
        let Admission { join, link, first_bytes, permit, request, begun, span } = admission;
        let (now, resumes) = (self.clock.now(), join.after.is_some());
        self.metrics.edge.observe(Latency::Handshake, now.micros_since(begun));
        let coming = self.around.comings.coming(&join, now.unix);
        let member = self.shard.join(now, join);
        self.around.comings.came(coming, member);
        self.around.resuming.seated(span, resumes.then_some((member, now)));
        let (shard, slot) = (self.around.journal.shard, member.slot);
        tracing::debug!(shard, slot, request = request.as_deref(), "connection joined");
        // Memory or the kernel's bound on watches: too rare to be kept from the others' eyes.
        if let Err(error) = self.around.sockets.insert(member, link, permit) {
            tracing::warn!(%error, "a connection could not be registered");
            self.input(Input::Close(member, Close::Gone));
            return;
        }
        for chunk in first_bytes.chunks(READ_BYTES_MAX) {
            self.buffer[..chunk.len()].copy_from_slice(chunk);
            self.feed(member, chunk.len());
        }
        self.make_due();
    }

    /// Reads the sockets that are ready; if none is, has the task woken when one is.
    fn read_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.around.sockets.poll_ready(context, &mut self.ready))?;
        let mut found = std::mem::take(&mut self.ready);
        let share = (TURN_READ_BYTES_MAX / found.len().max(1)).max(READ_SHARE_BYTES_MIN);
        for ready in found.drain(..) {
            self.read_member(ready, share);
        }
        self.ready = found;
        self.note_due();
        Poll::Ready(Ok(()))
    }

    /// A member's socket has something, or takes something again. At most `share` bytes are read.
    fn read_member(&mut self, ready: Ready, share: usize) {
        let member = ready.member;
        if self.around.sockets.note(ready) {
            self.shard.input(self.clock.now(), Input::Writable(member));
        }
        let Some(socket) = self.around.sockets.get_mut(member) else { return };
        if !ready.readable || socket.is_queued() {
            return;
        }
        let mut left = share;
        while left > 0 {
            let Some(socket) = self.around.sockets.get_mut(member) else { return };
            // What keeps it from being read has it read again when that is over.
            if !self.shard.may_read(member) && !socket.is_over() {
                return socket.defer();
            }
            let max = self.shard.readable(member, left.min(READ_BYTES_MAX));
            if max == 0 {
                return socket.defer();
            }
            match self.around.sockets.read(member, &mut self.buffer[..max]) {
                Read::Bytes(bytes) => {
                    self.feed(member, bytes);
                    left -= bytes;
                }
                Read::Hidden(bytes) => left = left.saturating_sub(bytes),
                Read::Drained(bytes) => return self.feed(member, bytes),
                Read::WouldBlock => return,
                Read::Ended => {
                    // The turn drops the socket.
                    let gone = Input::Close(member, Close::Gone);
                    return self.shard.input(self.clock.now(), gone);
                }
            }
        }
        self.around.sockets.read_again(member);
    }

    /// Reads the frames of the buffer, which holds this number of bytes.
    fn feed(&mut self, member: MemberKey, bytes: usize) {
        let now = self.clock.now();
        let Some(socket) = self.around.sockets.get_mut(member) else { return };
        if socket.deaf {
            return;
        }
        let Some((heard, may_deflate)) = self.shard.heard(member) else {
            // Nothing that a reader of events sends is for the hub; much of it is a flood.
            if socket.throw_away(bytes) > READER_BYTES_MAX {
                socket.deaf = true;
                self.shard.input(now, Input::Close(member, Close::TooFast));
            }
            return;
        };
        let limits = ReadLimits { may_deflate, ..limits_of(self.read_limits, heard) };
        let mut input = &mut self.buffer[..bytes];
        while let Some(incoming) = socket.reader.next(&mut input, limits, &mut self.inflater) {
            let input = match incoming {
                Ok(Incoming::Message(json)) => match heard {
                    Heard::Read => Input::Message(member, json),
                    Heard::Dropped => Input::Unheard(member, json.len()),
                    Heard::Echoed => Input::Echo(member, Echo { is_binary: false, payload: json }),
                },
                Ok(Incoming::Binary(payload)) => {
                    Input::Echo(member, Echo { is_binary: true, payload })
                }
                Ok(Incoming::Unheard(bytes)) => Input::Unheard(member, bytes),
                Ok(Incoming::Ping(payload)) => Input::Ping(member, payload),
                Ok(Incoming::Pong) => Input::Pong(member),
                Ok(Incoming::Close(code)) => Input::Close(member, Close::Peer(code)),
                Err(close) => Input::Close(member, close),
            };
            socket.deaf = matches!(input, Input::Close(..));
            self.shard.input(now, input);
            if socket.deaf {
                break;
            }
        }
    }
}

/// What may be read of a member whose messages are heard like this.
fn limits_of(all: ReadLimits, heard: Heard) -> ReadLimits {
    let (message_bytes_max, fragments_max) = match heard {
        Heard::Read => (all.message_bytes_max, all.fragments_max),
        Heard::Dropped => {
            (all.message_bytes_max.max(LISTENER_MESSAGE_BYTES_MAX), all.fragments_max)
        }
        Heard::Echoed => (ECHO_MESSAGE_BYTES_MAX, ECHO_FRAGMENTS_MAX),
    };
    ReadLimits { message_bytes_max, fragments_max, heard, ..all }
}
