//! Fake sockets: what each takes of a send, when it says that it is full, and when it lies.

use cpi_hub::shard::event::{MemberKey, PIECES, Sent, Sockets};

use super::client::Client;
use super::rng::Rng;

/// How a peer reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Takes everything, always.
    Eager,
    /// Is full at times, and writable again soon.
    Prompt,
    /// Takes a little now and then.
    Slow,
    /// Takes what its buffers hold and nothing more.
    Stalled,
    /// Every send fails.
    Broken,
}

/// The sending half of one connection.
#[derive(Debug)]
pub struct Socket {
    pub manner: Manner,
    /// Bytes that its buffers still take.
    pub window: u64,
    /// Bytes that one send takes at most.
    pub send_max: usize,
    /// What it begins to take it takes whole, and is full then, as a kernel's socket often is: so
    /// that it is full just where a frame ends.
    pub takes_whole: bool,
    /// It said so, and the shard does not know better yet.
    pub full: bool,
    /// The shard wants to hear when it takes bytes again.
    pub armed: bool,
    /// Nothing more is to be sent.
    pub finished: bool,
    /// What was taken and not yet judged.
    pub taken: Vec<u8>,
}

impl Socket {
    pub fn new(rng: &mut Rng) -> Socket {
        let manner = match rng.below(100) {
            0..50 => Manner::Eager,
            50..72 => Manner::Prompt,
            72..90 => Manner::Slow,
            _ => Manner::Stalled,
        };
        let window = match manner {
            Manner::Eager => u64::MAX,
            _ => rng.range(0, 4_000),
        };
        let send_max = *rng.pick(&[usize::MAX, usize::MAX, usize::MAX, 700, 100]);
        let send_max = if window < 2_000 && rng.permille(200) { 1 } else { send_max };
        Socket {
            manner,
            window,
            send_max,
            takes_whole: rng.permille(400),
            full: false,
            armed: false,
            finished: false,
            taken: Vec::new(),
        }
    }

    /// Makes room in a full socket.
    pub fn refill(&mut self, rng: &mut Rng) {
        match self.manner {
            Manner::Eager => self.window = u64::MAX,
            Manner::Prompt => self.window += rng.range(1_000, 60_000),
            Manner::Slow => self.window += rng.range(1, 1_500),
            Manner::Stalled | Manner::Broken => {}
        }
        // Byte by byte only where few bytes come: it is slow to run.
        if self.window > 2_000 {
            self.send_max = self.send_max.max(300);
        }
    }

    fn send(&mut self, pieces: &[&[u8]]) -> Sent {
        assert!(!self.full, "a full socket is left alone until it is writable");
        let pieces = pieces.concat();
        let length = pieces.len();
        assert!(length > 0, "nothing is sent in vain");
        assert!(!self.finished, "nothing follows the end");
        if self.manner == Manner::Broken {
            self.full = true;
            return Sent::Broken;
        }
        let room = usize::try_from(self.window).unwrap_or(usize::MAX);
        let room = if self.takes_whole && room > 0 { length } else { room };
        let bytes = length.min(room).min(self.send_max);
        if bytes == 0 {
            self.full = true;
            self.armed = false;
            return Sent::Blocked;
        }
        let is_bounded = self.manner != Manner::Eager;
        self.window = self.window.saturating_sub(if is_bounded { bytes as u64 } else { 0 });
        self.taken.extend_from_slice(&pieces[..bytes]);
        Sent::Bytes(bytes)
    }
}

/// All connections, by the slots of their members.
#[derive(Default, Debug)]
pub struct Net {
    slots: Vec<Option<Client>>,
    pub partial_sends: u64,
    pub two_slice_sends: u64,
    pub sends_blocked: u64,
}

impl Net {
    pub fn add(&mut self, client: Client) {
        let slot = client.key.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        assert!(self.slots[slot].is_none(), "a slot has one tenant");
        self.slots[slot] = Some(client);
    }

    pub fn remove(&mut self, key: MemberKey) -> Client {
        let client = self.slots[key.slot as usize].take().expect("it ends once");
        assert_eq!(client.key, key);
        client
    }

    pub fn get(&mut self, key: MemberKey) -> &mut Client {
        let client = self.slots.get_mut(key.slot as usize).and_then(Option::as_mut);
        let client = client.unwrap_or_else(|| panic!("{key:?} ended before"));
        assert_eq!(client.key, key, "a late word to an earlier tenant");
        client
    }

    pub fn find(&mut self, key: MemberKey) -> Option<&mut Client> {
        let client = self.slots.get_mut(key.slot as usize).and_then(Option::as_mut);
        client.filter(|client| client.key == key)
    }

    pub fn keys(&self) -> Vec<MemberKey> {
        self.all().map(|client| client.key).collect()
    }

    pub fn all(&self) -> impl Iterator<Item = &Client> {
        self.slots.iter().flatten()
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.slots.iter_mut().flatten()
    }

    /// Logs that a space has at most: one more while somebody reads events, or what is compressed.
    pub fn logs(&self) -> u64 {
        let events = self.all().any(|client| client.events.is_some());
        let deflated = self.all().any(|client| client.deflates);
        1 + u64::from(events) + u64::from(deflated)
    }

    pub fn len(&self) -> usize {
        self.all().count()
    }

    pub fn clear(&mut self) {
        self.slots.clear();
    }

    fn deliver(&mut self, member: MemberKey, pieces: &[&[u8]]) -> Sent {
        let sent = self.get(member).socket.send(pieces);
        match sent {
            Sent::Bytes(bytes) if bytes < pieces.iter().map(|piece| piece.len()).sum() => {
                self.partial_sends += 1;
            }
            Sent::Blocked => self.sends_blocked += 1,
            _ => {}
        }
        sent
    }
}

impl Sockets for Net {
    fn send(&mut self, member: MemberKey, bytes: &[u8]) -> Sent {
        self.deliver(member, &[bytes])
    }

    fn sendv(&mut self, member: MemberKey, pieces: [&[u8]; PIECES]) -> Sent {
        let filled = pieces.iter().filter(|piece| !piece.is_empty()).count();
        assert!(filled > 1, "one piece is sent alone");
        self.two_slice_sends += u64::from(!pieces[1].is_empty() && !pieces[2].is_empty());
        self.deliver(member, &pieces)
    }

    fn finish(&mut self, member: MemberKey) {
        self.get(member).socket.finished = true;
    }

    fn arm(&mut self, member: MemberKey) {
        let socket = &mut self.get(member).socket;
        assert!(socket.full, "only a full socket is armed");
        socket.armed = true;
    }
}
