//! What clients write down: each message's fate as its sender was told it, and which ids a member
//! has received, connection by connection.

/// A message's id, as text.
pub type Id = [u8; 26];

/// Reads an id.
pub fn id(text: &str) -> Id {
    text.as_bytes().try_into().unwrap_or_else(|_| panic!("no id: {text}"))
}

/// One message, as its sender knows it. Its text names the sender and its number, and is its
/// nonce too.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The run of the hub that it was sent to, each time that it was.
    pub runs: Vec<u32>,
    /// The id that it was accepted under.
    pub accepted: Option<Id>,
    /// Whether it has asked, when it was sent last, to be told of its commit.
    pub asks_durable: bool,
    /// Whether its commit was told.
    pub durable: bool,
    /// Whether it was refused.
    pub refused: bool,
    /// Whether it was told another id later.
    pub renamed: bool,
}

impl Message {
    /// Whether nobody has said what became of it.
    pub fn is_open(&self) -> bool {
        self.accepted.is_none() && !self.refused
    }

    /// The hub said that the message is accepted, for the first time or again.
    pub fn accept(&mut self, id: Id) {
        self.renamed |= self.accepted.is_some_and(|known| known != id);
        self.accepted.get_or_insert(id);
    }
}

/// All messages of one sender, in the order in which they were first sent.
#[derive(Debug)]
pub struct Sender {
    /// Sets its texts apart.
    pub name: String,
    /// Where to.
    pub space: i32,
    /// The messages, by number.
    pub messages: Vec<Message>,
}

impl Sender {
    /// A sender that has said nothing yet.
    pub fn new(name: String, space: i32) -> Sender {
        Sender { name, space, messages: Vec::new() }
    }

    /// A message's text, and its nonce.
    pub fn text(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// The number in a text of this sender's.
    pub fn number(&self, text: &str) -> Option<usize> {
        number(text).filter(|(name, _)| *name == self.name).map(|(_, number)| number)
    }
}

/// The sender of a message, read from its text, and its number.
pub fn number(text: &str) -> Option<(&str, usize)> {
    let (name, number) = text.rsplit_once('-')?;
    Some((name, number.parse().ok()?))
}

/// What a member received over one connection.
#[derive(Debug, Default)]
pub struct Stretch {
    /// In order.
    pub ids: Vec<Id>,
    /// Whether the hub has said that nothing lies between the stretch before and this one.
    pub goes_on: bool,
}

/// What one member received.
#[derive(Debug)]
pub struct Receiver {
    /// Where.
    pub space: i32,
    /// What was received, by connection.
    pub stretches: Vec<Stretch>,
}

impl Receiver {
    /// A receiver that has received nothing yet.
    pub fn new(space: i32) -> Receiver {
        Receiver { space, stretches: Vec::new() }
    }

    /// A connection begins.
    pub fn connect(&mut self) {
        self.stretches.push(Stretch::default());
    }

    /// The last id received.
    pub fn last(&self) -> Option<Id> {
        self.stretches.iter().rev().find_map(|stretch| stretch.ids.last()).copied()
    }

    /// A chat came.
    pub fn receive(&mut self, id: Id) {
        self.current().ids.push(id);
    }

    /// The hub has said whether this connection has got all that it had missed.
    pub fn resumed(&mut self, complete: bool) {
        self.current().goes_on = complete;
    }

    fn current(&mut self) -> &mut Stretch {
        self.stretches.last_mut().expect("a connection came first")
    }
}
