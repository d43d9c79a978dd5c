//! What is wrong with the hub now: every condition by its name, with what it means and what to do.
//!
//! Owns the list. Whatever part finds something wrong raises its condition here, and clears it
//! when that is over; `/readyz`, `/metrics` and the log all read this one list, so that none of
//! them can say less than another. Never decides what is done about a condition.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::wire::time::{Micros, MonoMs};

/// How long something that has happened is a condition, in milliseconds.
const LASTS: u64 = 3_000;

/// What a condition does to the hub's readiness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Effect {
    /// All goes well, and somebody should look at something: `/readyz` says what it would without.
    Noted,
    /// People can connect and chat: `/readyz` says 200 `degraded`.
    Degraded,
    /// People can't: `/readyz` says 503 `refusing`.
    Refusing,
}

impl Effect {
    /// The word for it in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Effect::Noted => "noted",
            Effect::Degraded => "degraded",
            Effect::Refusing => "refusing",
        }
    }
}

macro_rules! conditions {
    ($($variant:ident $name:literal $effect:ident $meaning:literal $remedy:literal;)*) => {
        /// Something that can be wrong.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Condition {
            $(#[doc = $meaning] $variant,)*
        }

        impl Condition {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Condition] = &[$(Condition::$variant,)*];

            /// The name in `/readyz`, `/metrics` and the log.
            pub fn name(self) -> &'static str {
                match self { $(Condition::$variant => $name,)* }
            }

            /// What it does to readiness.
            pub fn effect(self) -> Effect {
                match self { $(Condition::$variant => Effect::$effect,)* }
            }

            /// What it means, for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Condition::$variant => $meaning,)* }
            }

            /// What the operator is to do.
            pub fn remedy(self) -> &'static str {
                match self { $(Condition::$variant => $remedy,)* }
            }
        }
    };
}

conditions! {
    AnotherHub "another_hub" Refusing
        "Another hub serves this database"
        "stop the other hub, or let this one wait: it takes over when the other ends";
    ClaimLost "claim_lost" Refusing
        "Another hub has taken over the database: this one closes its members and ends"
        "nothing, if it is begun anew by itself: it waits then for its turn";
    DatabaseRefuses "database_refuses" Refusing
        "The database refuses each message; all wait in the journal"
        "mend what it says (a right, a partition, a trigger, a column): then all is stored";
    DatabaseUnusable "database_unusable" Degraded
        "The database can't be used, and waiting does not mend that; messages wait in the journal"
        "mend what it says (address, password, rights, schema): then all is stored";
    StoreAwaited "store_awaited" Refusing
        "The store takes no messages, and chat is accepted only once it is stored: it is refused"
        "see `store` in /readyz; or accept = journaled, where chat need not wait for the store";
    RightsMissing "rights_missing" Degraded
        "The database role lacks rights that the hub needs"
        "grant them: docs/POSTGRES.md lists all of them";
    PartEnded "part_ended" Refusing
        "A part of the hub has ended unasked, and the hub ends with it"
        "nothing, if the hub is begun anew by itself; report the bug with the log";
    PartHangs "part_hangs" Refusing
        "A part of the hub does not answer, and a watchdog is told no more that all is well"
        "see what holds it up, such as a disk; or start the hub anew, and report the bug";
    PartPanicked "part_panicked" Degraded
        "A part of the hub has met a bug: it was closed or begun anew, nothing accepted is lost"
        "report the bug with the log, which says where it was; a part that goes on ends the hub";
    JournalBroken "journal_broken" Refusing
        "A journal can't be written, flushed or read any more"
        "look at the disk and its log, then restart: what was accepted is stored then";
    JournalSegment "journal_segment" Degraded
        "No new journal segment can be made: chat is refused once the last one is full"
        "give data_dir room, rights or descriptors, as the detail says; it is tried again";
    JournalFilling "journal_filling" Degraded
        "The journals are nearly full: chat is refused when they are"
        "see why the store takes so little (`store` in /readyz), or raise journal_bytes_max";
    JournalUnread "journal_unread" Degraded
        "The system has no descriptor or memory for reading the journals: nothing is stored"
        "raise the limit of descriptors (ulimit -n, LimitNOFILE) or of memory; it is tried again";
    JournalKept "journal_kept" Degraded
        "Journal segments whose messages are stored can't be removed"
        "give the rights or descriptors that the detail names; it is tried again";
    NoncesLost "nonces_lost" Degraded
        "Nonces can't be kept: messages that are sent again may be new after a restart"
        "give data_dir room or descriptors, as the detail says; it is tried again";
    DescriptorsShort "descriptors_short" Degraded
        "New connections can't be accepted: descriptors or memory are short"
        "see what else uses them, or allow the hub more open files (ulimit -n) or memory";
    MemoryShort "memory_short" Degraded
        "All that the hub may hold of requests or answers is held: others are answered 503"
        "see who asks for so much, or raise the setting that the detail names";
    MemoryFull "memory_full" Degraded
        "Nearly all memory that the hub may use is used: members that take nothing are closed"
        "give it more memory, or lower what the start's line on memory names (connections_max)";
    AnotherStore "another_store" Refusing
        "The journals were made for another store than the one configured"
        "give that one's DATABASE_URL again, or say --take-journals to store them in the new one";
    MessagesMissing "messages_missing" Degraded
        "The store lacks messages that it had, and the journals no longer hold them"
        "look for them in a newer copy of it; then run `cpi-hub journal acknowledge`";
    DataDirectory "data_directory" Refusing
        "The data directory, or a journal in it, is gone or was replaced under the running hub"
        "put the very same folder back, or start the hub again: what it takes now would be lost";
    DataDirectoryOpen "data_directory_open" Noted
        "Others than the hub's user can read the data directory, or change what is in it"
        "chown it to the hub's user and chmod it 700, or give data_dir a new folder inside it";
    LogBlocked "log_blocked" Degraded
        "Log lines can't be written: what takes standard error is stuck, full or gone"
        "see what reads it (a terminal, a pipe, a disk); the log says then how many lines are lost";
    ClockJumped "clock_jumped" Degraded
        "The machine's clock has jumped"
        "see what sets it (NTP, a person); messages keep their order, their times follow it";
    DatabaseFile "database_file" Refusing
        "The embedded database's file is gone or was replaced under the running hub"
        "put the very same files back, or start the hub again: what it stores now would be lost";
    DatabaseChecking "database_checking" Degraded
        "The embedded database is being checked, because its last hub did not end in order"
        "nothing: the hub serves meanwhile, and tells what it finds";
    DatabaseDamaged "database_damaged" Refusing
        "The embedded database is damaged: nothing more is stored in it, all waits in the journal"
        "stop the hub and put a backup in its place, without -wal and -shm files (docs/BACKUP.md)";
    Unauthenticated "unauthenticated" Noted
        "Other machines may reach the hub, and whoever does is whoever they say"
        "give HUB_JWT_SECRET, or listen on 127.0.0.1 alone; --insecure is what allows this";
    CertificateEnds "certificate_ends" Noted
        "The certificate that clients are shown ends soon"
        "renew tls_certificate: the hub reads its files again by itself";
    CertificateEnded "certificate_ended" Degraded
        "The certificate that clients are shown has ended: most refuse to connect"
        "renew tls_certificate: the hub reads its files again by itself";
    CertificateUnread "certificate_unread" Degraded
        "The files of the certificate or its key can't be used: clients are shown the one before"
        "mend what the detail says: the files are read again by themselves";
    DeadLetters "dead_letters" Noted
        "Messages that the store refused for what they are wait for an answer"
        "see `cpi-hub dead-letters`; store them with `retry`, or move dead-letters.jsonl away";
    DeadLettersFull "dead_letters_full" Degraded
        "The dead letters have no room: messages that the store refuses are not kept"
        "store them with `cpi-hub dead-letters retry`, or move dead-letters.jsonl away";
    HistoryUnreadable "history_unreadable" Degraded
        "History can't be read: those who ask for it are told to come again"
        "see what the detail says of the store; it is read again with the next question";
    TracesUnsent "traces_unsent" Noted
        "The collector does not take the hub's traces: what has no room to wait is lost"
        "see the collector that the detail names, or give another telemetry_endpoint, or none";
}

/// A condition that holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raised {
    /// Which condition it is.
    pub condition: Condition,
    /// When it began.
    pub since: Micros,
    /// What is known of this case; no text of a client's.
    pub detail: String,
    /// When it is over if nobody says it again; `None`: when that is said.
    until: Option<MonoMs>,
}

/// The list of all that hold. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct Conditions {
    raised: Arc<watch::Sender<Vec<Raised>>>,
    clock: Clock,
}

impl Conditions {
    /// Nothing is wrong yet.
    pub fn new(clock: Clock) -> Conditions {
        Conditions { raised: Arc::new(watch::Sender::new(Vec::new())), clock }
    }

    /// Where time is read.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Says that a condition holds. Told in the log when it begins; what is known of it may
    /// change while it holds.
    pub fn raise(&self, condition: Condition, detail: impl Display) {
        let detail = detail.to_string();
        let begun = self.raised.send_if_modified(|raised| {
            match raised.iter_mut().find(|it| it.condition == condition) {
                Some(known) => {
                    known.detail.clone_from(&detail);
                    false
                }
                None => {
                    let since = self.clock.now().unix;
                    raised.push(Raised { condition, since, detail: detail.clone(), until: None });
                    true
                }
            }
        });
        if begun {
            let (name, meaning) = (condition.name(), condition.meaning());
            tracing::warn!(condition = name, detail, "{meaning}; {}", condition.remedy());
        }
    }

    /// Says that a condition is over. Told in the log if it held.
    pub fn clear(&self, condition: Condition) {
        let ended = self.raised.send_if_modified(|raised| {
            let before = raised.len();
            raised.retain(|it| it.condition != condition);
            raised.len() < before
        });
        if ended {
            // A log that shows its begin is to show its end.
            tracing::warn!(condition = condition.name(), "over: {}", condition.meaning());
        }
    }

    /// Says that something has just happened which is a condition for as long as it goes on
    /// happening: so it is over [`LASTS`] after the last time.
    pub fn happened(&self, condition: Condition, detail: &str) {
        let now = self.clock.now().mono;
        let until = MonoMs(now.0 + LASTS);
        let is_known = |it: &Raised| {
            // Said a thousand times a second it costs a look.
            it.condition == condition && it.until.is_some_and(|it| now.0 + LASTS / 2 < it.0)
        };
        if self.raised.borrow().iter().any(is_known) {
            return;
        }
        self.raise(condition, detail);
        self.raised.send_if_modified(|raised| {
            if let Some(known) = raised.iter_mut().find(|it| it.condition == condition) {
                known.until = Some(until);
            }
            false
        });
    }

    /// Clears what has not happened again. Called now and then.
    pub fn fade(&self) {
        let now = self.clock.now().mono;
        let is_over = |it: &&Raised| it.until.is_some_and(|until| until <= now);
        let over: Vec<Condition> =
            self.raised.borrow().iter().filter(is_over).map(|it| it.condition).collect();
        over.into_iter().for_each(|condition| self.clear(condition));
    }

    /// Raises a condition with what is known of it, or clears it.
    pub fn set(&self, condition: Condition, detail: Option<impl Display>) {
        match detail {
            Some(detail) => self.raise(condition, detail),
            None => self.clear(condition),
        }
    }

    /// All that hold, the oldest first.
    pub fn all(&self) -> Vec<Raised> {
        self.raised.borrow().clone()
    }

    /// Whether a condition holds.
    pub fn holds(&self, condition: Condition) -> bool {
        self.raised.borrow().iter().any(|it| it.condition == condition)
    }

    /// What is known of a condition that holds.
    pub fn detail(&self, condition: Condition) -> Option<String> {
        let raised = self.raised.borrow();
        raised.iter().find(|it| it.condition == condition).map(|it| it.detail.clone())
    }

    /// The worst that any of them does; `Effect` has them in this order.
    pub fn effect(&self) -> Option<Effect> {
        let raised = self.raised.borrow();
        raised.iter().map(|it| it.condition.effect()).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::time::Now;

    #[test]
    fn a_condition_holds_from_its_first_raising_to_its_clearing() {
        let conditions = Conditions::new(Clock::start());
        assert_eq!((conditions.effect(), conditions.all()), (None, vec![]));
        conditions.raise(Condition::AnotherHub, "first");
        let since = conditions.all()[0].since;
        conditions.raise(Condition::AnotherHub, "second");
        let [raised] = &conditions.all()[..] else { panic!("{conditions:?}") };
        assert_eq!((raised.since, &*raised.detail), (since, "second"));
        assert_eq!(conditions.effect(), Some(Effect::Refusing));
        conditions.set(Condition::AnotherHub, None::<&str>);
        assert!(!conditions.holds(Condition::AnotherHub));
    }

    #[test]
    fn what_happens_is_a_condition_until_it_has_not_happened_again_for_a_while() {
        let at = |mono| Clock::Standing(Now { mono: MonoMs(mono), unix: Micros(0) });
        let mut conditions = Conditions::new(at(1_000));
        conditions.happened(Condition::MemoryShort, "answers_bytes_max");
        let holds = |conditions: &Conditions| conditions.holds(Condition::MemoryShort);
        for (mono, again, expected) in
            [(3_999, true, true), (6_500, false, true), (6_999, false, false)]
        {
            conditions.clock = at(mono);
            conditions.fade();
            assert_eq!(holds(&conditions), expected, "{mono}");
            if again {
                conditions.happened(Condition::MemoryShort, "answers_bytes_max");
            }
        }
    }

    #[test]
    fn names_are_apart_and_each_says_what_to_do() {
        for (n, condition) in Condition::ALL.iter().enumerate() {
            let same = |other: &&Condition| other.name() == condition.name();
            assert_eq!(Condition::ALL.iter().position(|it| same(&it)), Some(n));
            assert!(!condition.meaning().is_empty() && !condition.remedy().is_empty());
        }
    }
}
