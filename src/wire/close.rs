//! Why the hub ends a connection, and what each close code asks of the client (WIRE D).

/// Why a member's connection ends: a reason of the hub's, or of the peer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// The peer said goodbye with this code (1005: with none); it is echoed.
    Peer(u16),
    /// The peer's socket ended without a close frame.
    Gone,
    /// RFC 6455 was broken: masks, lengths, opcodes, fragments, control frames, close codes.
    ProtocolError,
    /// Text that is no UTF-8 (RFC 6455 8.1).
    InvalidUtf8,
    /// A compressed message that is no DEFLATE stream (RFC 7692).
    InvalidDeflate,
    /// 20 junk messages within 10 s.
    TooManyErrors,
    /// Over `message_bytes_max` or the fragments allowed.
    MessageTooBig,
    /// A bug or a failed disk of ours.
    Internal,
    /// The hub is shutting down.
    Restart,
    /// Memory is short; the slowest go first.
    Overloaded,
    /// The token is no longer good.
    Unauthorized,
    /// The space is no longer allowed.
    Forbidden,
    /// The member's cursor stood still for `write_wait`, or fell out of the log.
    TooSlow,
    /// Nothing was heard for `pong_wait`.
    PongTimeout,
    /// An operator closed it.
    Kicked,
    /// A flood that lasted.
    TooFast,
}

impl Close {
    /// How many kinds there are; `kind` is below it.
    pub const KINDS: usize = 16;

    /// Names in the order of [`kind`](Close::kind): close reasons on the wire, metric labels.
    pub const REASONS: [&'static str; Close::KINDS] = [
        "peer",
        "gone",
        "protocol_error",
        "invalid_utf8",
        "too_many_errors",
        "message_too_big",
        "internal",
        "restart",
        "overloaded",
        "unauthorized",
        "forbidden",
        "too_slow",
        "pong_timeout",
        "kicked",
        "too_fast",
        "invalid_deflate",
    ];

    /// A small number for counting by kind.
    pub fn kind(self) -> usize {
        match self {
            Close::Peer(_) => 0,
            Close::Gone => 1,
            Close::ProtocolError => 2,
            Close::InvalidUtf8 => 3,
            Close::TooManyErrors => 4,
            Close::MessageTooBig => 5,
            Close::Internal => 6,
            Close::Restart => 7,
            Close::Overloaded => 8,
            Close::Unauthorized => 9,
            Close::Forbidden => 10,
            Close::TooSlow => 11,
            Close::PongTimeout => 12,
            Close::Kicked => 13,
            Close::TooFast => 14,
            Close::InvalidDeflate => 15,
        }
    }

    /// The reason text of the close frame; empty where the peer closed (A2: echoed without).
    pub fn reason(self) -> &'static str {
        match self {
            Close::Peer(_) | Close::Gone => "",
            _ => Close::REASONS[self.kind()],
        }
    }

    /// The name for logs and metrics.
    pub fn name(self) -> &'static str {
        Close::REASONS[self.kind()]
    }

    /// The code of the close frame; `None`: an empty close frame (the peer's was), or no frame
    /// at all for [`Close::Gone`].
    pub fn code(self) -> Option<u16> {
        match self {
            Close::Peer(1005) | Close::Gone => None,
            Close::Peer(code) => Some(code),
            Close::ProtocolError => Some(1002),
            Close::InvalidUtf8 | Close::InvalidDeflate => Some(1007),
            Close::TooManyErrors => Some(1008),
            Close::MessageTooBig => Some(1009),
            Close::Internal => Some(1011),
            Close::Restart => Some(1012),
            Close::Overloaded => Some(1013),
            Close::Unauthorized => Some(4001),
            Close::Forbidden => Some(4003),
            Close::TooSlow | Close::PongTimeout => Some(4008),
            Close::Kicked => Some(4009),
            Close::TooFast => Some(4029),
        }
    }

    /// Whether the hub began it: then `cpi-hub.v1` members get `closing` first (WIRE C).
    pub fn is_ours(self) -> bool {
        !matches!(self, Close::Peer(_) | Close::Gone)
    }

    /// Whether it is for what the member did, so that it may be kept out for a while.
    pub fn is_offence(self) -> bool {
        matches!(self, Close::TooSlow | Close::TooFast | Close::TooManyErrors)
    }

    /// The hint in `closing` for the closes that ask the client to come back, in milliseconds;
    /// `None`: don't retry. `jitter` is random, so that a herd comes back spread.
    pub fn retry_after_ms(self, jitter: u32) -> Option<u32> {
        match self {
            Close::Internal
            | Close::Restart
            | Close::Overloaded
            | Close::TooSlow
            | Close::PongTimeout => Some(500 + jitter % 9_500),
            Close::TooFast => Some(10_000),
            _ => None,
        }
    }
}

/// Whether a peer may send this code in a close frame (RFC 6455 7.4; registered and private).
pub fn peer_may_send(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_of_ours_has_a_code_that_a_server_may_send() {
        for kind in [
            Close::ProtocolError,
            Close::InvalidUtf8,
            Close::InvalidDeflate,
            Close::TooManyErrors,
            Close::MessageTooBig,
            Close::Internal,
            Close::Restart,
            Close::Overloaded,
            Close::Unauthorized,
            Close::Forbidden,
            Close::TooSlow,
            Close::PongTimeout,
            Close::Kicked,
            Close::TooFast,
        ] {
            assert!(kind.code().is_some_and(peer_may_send), "{kind:?}");
            assert!(!kind.reason().is_empty());
        }
    }

    #[test]
    fn codes_that_only_stand_for_a_missing_frame_are_not_taken_from_a_peer() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert!(!peer_may_send(code), "{code}");
        }
    }
}
