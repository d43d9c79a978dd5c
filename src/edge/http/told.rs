//! Log lines about what strangers do, which they must not be able to make many of: one about each
//! subject in a minute, about a bounded number of subjects. The others are counted, and the next
//! line says how many they were.
//!
//! Owns when each subject was told of last.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::limits::TOLD_SUBJECTS_MAX;
use crate::wire::time::MonoMs;

/// How long a subject is not told of again, in milliseconds.
const QUIET: u64 = 60_000;

/// The subjects of one sort of lines. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Told(Arc<watch::Sender<Subjects>>);

#[derive(Default, Debug)]
struct Subjects {
    told: HashMap<String, MonoMs>,
    left_out: u64,
}

impl Default for Told {
    fn default() -> Told {
        Told(Arc::new(watch::Sender::new(Subjects::default())))
    }
}

impl Told {
    /// Whether a line about a subject is due; and how many were left out since the last line about
    /// any.
    pub(crate) fn is_due(&self, now: MonoMs, subject: &str) -> Option<u64> {
        let mut due = None;
        self.0.send_if_modified(|subjects| {
            let Subjects { told, left_out } = subjects;
            if told.len() >= TOLD_SUBJECTS_MAX || told.contains_key(subject) {
                told.retain(|_, at| now.since(*at) < QUIET);
            }
            if told.len() >= TOLD_SUBJECTS_MAX || told.contains_key(subject) {
                *left_out += 1;
            } else {
                told.insert(subject.to_owned(), now);
                due = Some(std::mem::take(left_out));
            }
            // Nobody is told by this: nobody waits.
            false
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_is_told_once_a_minute_and_what_is_left_out_is_counted() {
        let told = Told::default();
        let due = |at: u64, subject: &str| told.is_due(MonoMs(at), subject);
        assert_eq!((due(1, "a"), due(2, "a"), due(3, "b")), (Some(0), None, Some(1)));
        assert_eq!((due(60_000, "a"), due(60_001, "a")), (None, Some(1)));
        // Whoever makes subjects up gets no more lines than there is room for.
        let made_up = (0..10_000).filter(|n| due(60_002, &n.to_string()).is_some()).count();
        assert_eq!(made_up, TOLD_SUBJECTS_MAX - 2);
        assert_eq!(due(60_003, "c"), Some(10_000 - made_up as u64), "b is long ago");
        assert_eq!(due(130_000, "d"), Some(0));
        assert!(told.0.borrow().told.len() <= TOLD_SUBJECTS_MAX);
    }
}
