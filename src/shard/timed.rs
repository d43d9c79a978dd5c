//! Chats that are timed: of one in sixteen it is known when it was accepted, and when all in its
//! space who take bytes had been sent it.
//!
//! Owns the chats that are timed now. A sweep finds which of them have gone out; what time it is
//! then is said by whoever runs the turn, if there is one to be timed.

use super::arena::Key;
use crate::limits::TIMED_CHATS_MAX;
use crate::metrics::{Counts, Latency};
use crate::wire::time::Now;

/// One chat of this number is timed: few enough to cost nothing that can be measured.
const EVERY: u32 = 16;

/// A chat on its way.
#[derive(Debug)]
struct OnItsWay {
    space: Key,
    /// Where it ends in the log of its space.
    end: u64,
    accepted: Now,
}

/// The chats of a shard that are timed.
#[derive(Default, Debug)]
pub(super) struct Timed {
    /// Chats that go by before the next one is timed.
    passed: u32,
    on_their_way: Vec<OnItsWay>,
    /// When those were accepted that have gone out in this turn.
    sent: Vec<Now>,
}

impl Timed {
    /// Whether the chat that is said now is one to be timed. While too many are on their way, the
    /// next ones are not.
    pub(super) fn is_next(&mut self) -> bool {
        if let Some(passed) = self.passed.checked_sub(1) {
            self.passed = passed;
            return false;
        }
        self.passed = EVERY - 1;
        self.on_their_way.len() + self.sent.len() < TIMED_CHATS_MAX
    }

    /// Times a chat that was accepted now, and ends there in the log of its space.
    pub(super) fn begin(&mut self, space: Key, end: u64, accepted: Now) {
        self.on_their_way.push(OnItsWay { space, end, accepted });
    }

    /// A sweep is over: finds out which chats have gone out by it. `has_sent` says whether a space
    /// has sent its log up to there, or `None` where it is no more: then its chats are forgotten.
    pub(super) fn look(&mut self, has_sent: impl Fn(Key, u64) -> Option<bool>) {
        if self.on_their_way.is_empty() {
            return;
        }
        let sent = &mut self.sent;
        self.on_their_way.retain(|chat| match has_sent(chat.space, chat.end) {
            Some(true) => {
                sent.push(chat.accepted);
                false
            }
            Some(false) => true,
            None => false,
        });
    }

    /// Whether there are some to be timed now.
    pub(super) fn have_gone_out(&self) -> bool {
        !self.sent.is_empty()
    }

    /// It is this time, and those that have gone out have just done so.
    pub(super) fn time(&mut self, now: Now, counts: &mut Counts) {
        for accepted in self.sent.drain(..) {
            counts.observe(Latency::AcceptToSent, now.micros_since(accepted));
        }
    }

    /// All logs are thrown away.
    pub(super) fn forget(&mut self) {
        *self = Timed::default();
    }
}
