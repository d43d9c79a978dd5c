//! How a member behaves: junk is counted in a window, a flood by how long it lasts.

use crate::limits::Limits;
use crate::wire::close::Close;
use crate::wire::reject::Reject;
use crate::wire::time::MonoMs;

/// A flood ends when nothing was over the rate for this many milliseconds.
const FLOOD_PAUSE: u64 = 1_000;

/// What a member was refused for of late.
#[derive(Default, Debug)]
pub(super) struct Conduct {
    /// Junk messages in the current window.
    junk: u32,
    /// When that window began.
    junk_since: MonoMs,
    /// When its flood began.
    flood_since: MonoMs,
    /// When it was last over its rate.
    flood_last: MonoMs,
    /// It floods, and was read in this tick.
    is_held: bool,
}

impl Conduct {
    /// While it is over its rate it is not to be read again before the next tick. Returns whether
    /// it is.
    pub(crate) fn hold_if_it_floods(&mut self, now: MonoMs) -> bool {
        self.is_held |= self.flood_last > MonoMs(0) && now.since(self.flood_last) <= FLOOD_PAUSE;
        self.is_held
    }

    /// Whether it is not to be read before the next tick.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// It may be read again.
    pub(crate) fn release(&mut self) {
        self.is_held = false;
    }

    /// Notes a refusal, and says whether it was one too many.
    pub(crate) fn judge(&mut self, now: MonoMs, limits: &Limits, reject: Reject) -> Option<Close> {
        match reject {
            Reject::InvalidMessageFormat
            | Reject::InvalidChatMessage
            | Reject::UnknownMessageType => {
                if self.junk == 0 || now.since(self.junk_since) > limits.junk_window {
                    (self.junk, self.junk_since) = (0, now);
                }
                self.junk += 1;
                (self.junk > limits.junk_max).then_some(Close::TooManyErrors)
            }
            Reject::RateLimited { .. } => {
                if now.since(self.flood_last) > FLOOD_PAUSE {
                    self.flood_since = now;
                }
                self.flood_last = now;
                let lasted = now.since(self.flood_since);
                (lasted >= limits.flood_wait).then_some(Close::TooFast)
            }
            _ => None,
        }
    }
}
