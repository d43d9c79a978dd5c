//! Looks after the certificate that clients are shown: reads its files again and again, and tells
//! when it ends. One that can't be used changes nothing.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::conditions::{Condition, Conditions};
use crate::edge::tls::{Identity, ReplaceIdentity};
use crate::limits::CERTIFICATE_NOTICE;
use crate::wire::time::TimeFormat;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(5);

/// Who looks after it.
pub(super) struct Certificate {
    pub(super) replace: ReplaceIdentity,
    pub(super) clock: Clock,
    pub(super) conditions: Conditions,
}

impl Certificate {
    /// Goes its rounds for ever.
    pub(super) async fn run(self) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_bad = false;
        loop {
            rounds.tick().await;
            let current = self.replace.current();
            self.tell_end(&current);
            let files = current.files.clone();
            // The files may be on a disk that hangs.
            let read = tokio::task::spawn_blocking(move || Identity::read(files)).await;
            match read {
                Ok(Ok(new)) => {
                    was_bad = false;
                    self.conditions.clear(Condition::CertificateUnread);
                    self.take_over(&current, new);
                }
                Ok(Err(error)) => {
                    // Files are written one after the other: they may not fit for a moment.
                    if std::mem::replace(&mut was_bad, true) {
                        self.conditions.raise(Condition::CertificateUnread, error);
                    }
                }
                Err(bug) => tracing::error!("the certificate was not read again: {bug}"),
            }
        }
    }

    fn take_over(&self, current: &Identity, new: Identity) {
        // SIGHUP may have named other files meanwhile.
        let is_current = self.replace.current().files == new.files;
        if is_current && new.agrees(current) != [true; 2] {
            self.tell_end(&new);
            self.replace.replace(new);
            tracing::info!("the certificate has changed: new connections are shown the new one");
        }
    }

    fn tell_end(&self, identity: &Identity) {
        let left = identity.ends.0.saturating_sub(self.clock.now().unix.0);
        let told =
            |holds: bool| holds.then(|| TimeFormat::new(0).string(identity.ends).to_string());
        let soon = (1..=CERTIFICATE_NOTICE).contains(&left);
        self.conditions.set(Condition::CertificateEnded, told(left <= 0));
        self.conditions.set(Condition::CertificateEnds, told(soon));
    }
}
