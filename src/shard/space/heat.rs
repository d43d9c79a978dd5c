//! How much is said in a space of late. Measured when time asks for it, from how far its log has
//! grown since: nothing is counted for it on a message's way.

use super::log::SpaceLog;
use crate::wire::time::MonoMs;

/// What was said counts for about this long, in seconds.
const SPAN: f32 = 10.0;
/// Below this number of bytes a second a space is cold: a word a minute.
const COLD: f32 = 4.0;

/// What is said in a space in a second, smoothed.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Heat {
    /// Where the log ended when it was measured last, and when that was, in ms modulo 2^32.
    end: u64,
    at: u32,
    bytes: f32,
    chats: f32,
    /// It is among the hottest of its shard.
    pub(super) is_listed: bool,
}

impl Heat {
    /// That of a space in which nothing was said before now.
    pub(super) fn begin(now: MonoMs) -> Heat {
        Heat { at: now.0 as u32, ..Heat::default() }
    }

    /// Measures it again, at least a millisecond later.
    pub(super) fn measure(&mut self, now: MonoMs, log: &SpaceLog) {
        let (at, end) = (now.0 as u32, log.end());
        let ms = at.wrapping_sub(self.at);
        // A log that was thrown away begins anew.
        let grown = end.saturating_sub(self.end);
        if grown == 0 && self.bytes == 0.0 {
            (self.at, self.end) = (at, end);
            return;
        }
        if ms == 0 {
            return;
        }
        let seconds = ms as f32 / 1_000.0;
        let share = seconds / (seconds + SPAN);
        let chats = if grown > 0 { log.chats_since(self.end) } else { 0.0 };
        self.bytes += (grown as f32 / seconds - self.bytes) * share;
        self.chats += (chats / seconds - self.chats) * share;
        if self.bytes < COLD {
            (self.bytes, self.chats) = (0.0, 0.0);
        }
        (self.at, self.end) = (at, end);
    }

    /// Bytes of frames that are said in a second; 0: it is cold.
    pub(super) fn bytes(&self) -> f32 {
        self.bytes
    }

    /// Chats that are said in a second.
    pub(super) fn chats(&self) -> f32 {
        self.chats
    }
}
