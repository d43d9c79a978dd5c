//! The traces of members that come back: each is begun by the edge with its handshake, and ends
//! here, once its member is on its way with all that it missed.
//!
//! Empty where nobody collects traces, and bounded where somebody does. The heart knows nothing of
//! it, and no message touches it.

use std::collections::HashMap;

use crate::limits::RESUMES_TRACED_MAX;
use crate::shard::event::MemberKey;
use crate::telemetry::{Kind, Span};
use crate::wire::server_message::{Missing, Resumed};
use crate::wire::time::Now;

/// Where a member reads from what it missed.
const SOURCE: &str = "cpi_hub.resume.source";

/// The resumes of a shard that are traced and go on.
#[derive(Default, Debug)]
pub(super) struct Resuming(HashMap<MemberKey, Span>);

impl Resuming {
    /// A member is in its space, by this handshake, from now on; and comes back, where that is
    /// said.
    pub(super) fn seated(&mut self, handshake: Option<Span>, back: Option<(MemberKey, Now)>) {
        let Some(mut handshake) = handshake else { return };
        handshake.outcome("seated");
        if let Some((member, now)) = back
            && self.0.len() < RESUMES_TRACED_MAX
        {
            let mut resume = handshake.child(Kind::Resume, now);
            resume.text(SOURCE, "memory");
            // What ends before it is done has gone.
            resume.outcome("gone");
            self.0.insert(member, resume);
        }
    }

    /// A member needs what the store alone has.
    pub(super) fn asks(&mut self, member: MemberKey) {
        if let Some(resume) = self.0.get_mut(&member) {
            resume.text(SOURCE, "store");
        }
    }

    /// A member is on its way with all that it missed.
    pub(super) fn done(&mut self, member: MemberKey, resumed: &Resumed) {
        let Some(mut resume) = self.0.remove(&member) else { return };
        let count = i64::try_from(resumed.count).unwrap_or(i64::MAX);
        resume.number("cpi_hub.resume.messages", count);
        resume.flag("cpi_hub.resume.complete", resumed.missing.is_none());
        if let Some(missing) = resumed.missing {
            resume.text("cpi_hub.resume.missing", why(missing));
        }
        resume.outcome("resumed");
    }

    /// A member is gone.
    pub(super) fn went(&mut self, member: MemberKey) {
        self.0.remove(&member);
    }
}

fn why(missing: Missing) -> &'static str {
    match missing {
        Missing::TooMany => "too_many",
        Missing::StoreUnavailable => "store_unavailable",
        Missing::Ahead => "ahead",
    }
}
