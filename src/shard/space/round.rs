//! Where the sweep stands in a space: whose turn it is, and how far behind its publishers it is.

/// A round visits every member once after the last append. A pass is one walk over the roster; a
/// round in a busy space takes several.
#[derive(Default, Debug)]
pub(super) struct Round {
    /// The seat to be visited next.
    next: usize,
    /// Members still to be visited until all have seen the log's end; 0: nobody is due.
    left: usize,
    /// Up to here everyone who takes bytes has been sent the log.
    sent_floor: u64,
    /// Where the log ended when the present pass began, and its visits so far.
    pass_began_at: u64,
    visits: usize,
    /// The space stands in the sweep's queue.
    is_queued: bool,
}

impl Round {
    /// Something was appended: everyone is to be visited. Returns whether the space is to be put
    /// into the sweep's queue.
    pub(super) fn begin(&mut self, members: usize) -> bool {
        self.left = members;
        if self.is_queued || members == 0 {
            return false;
        }
        self.is_queued = true;
        true
    }

    /// A member has come or gone. Seats may have changed, so a round that is on its way counts
    /// anew: else somebody would be passed over at its end.
    pub(super) fn resized(&mut self, members: usize) {
        if self.left > 0 {
            self.left = members;
        }
        if self.next >= members {
            self.next = 0;
        }
    }

    /// The seat to be visited now.
    pub(super) fn next_visit(&mut self, members: usize, log_end: u64) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let seat = self.next;
        self.next += 1;
        if self.next == members {
            self.next = 0;
        }
        self.visits += 1;
        if self.left == 0 {
            // Nothing was appended since the first of them was visited.
            (self.sent_floor, self.pass_began_at) = (log_end, log_end);
            self.visits = 0;
        } else if self.visits >= members {
            self.sent_floor = self.pass_began_at;
            (self.pass_began_at, self.visits) = (log_end, 0);
        }
        Some(seat)
    }

    /// Whether somebody is still to be visited; if not, the space has left the sweep's queue.
    pub(super) fn goes_on(&mut self) -> bool {
        self.is_queued = self.left > 0;
        self.is_queued
    }

    /// Whether everyone has seen the log's end.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Whether everyone who takes bytes has been sent the log up to there.
    pub(super) fn has_sent(&self, offset: u64) -> bool {
        self.is_over() || self.sent_floor >= offset
    }

    /// Whether the space stands in the sweep's queue.
    pub(super) fn is_queued(&self) -> bool {
        self.is_queued
    }

    /// How many bytes publishers are ahead of the sweep, whoever is blocked.
    pub(super) fn outrun(&self, log_end: u64) -> u64 {
        if self.is_over() { 0 } else { log_end - self.sent_floor }
    }
}
