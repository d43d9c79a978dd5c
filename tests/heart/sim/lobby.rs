//! Readers of who is online: what each was told, and whether it is true in the end (WIRE A6).

use std::collections::BTreeMap;

use serde_json::Value;

/// What one reader was told, in order.
#[derive(Default, Debug)]
pub struct Reader {
    statuses: Vec<(i32, bool, Vec<u8>)>,
    /// The lobby may become too big, and then lists who is online anew.
    may_list_anew: bool,
}

impl Reader {
    pub fn new(may_list_anew: bool) -> Reader {
        Reader { may_list_anew, ..Reader::default() }
    }

    pub fn status(&mut self, own: i32, payload: &[u8]) {
        let value: Value = serde_json::from_slice(payload).expect("JSON");
        let user = value["user_id"].as_i64().expect("a user") as i32;
        let online = match value["status"].as_str() {
            Some("online") => true,
            Some("offline") => false,
            _ => panic!("no status: {value}"),
        };
        assert_eq!(value["username"], format!("User{user}"));
        let at = value["timestamp"].as_str().expect("a timestamp");
        let form = "0000-00-00T00:00:00Z";
        assert!(at.len() == form.len() && at.ends_with('Z'), "{at}");
        if self.statuses.is_empty() {
            assert_eq!((user, online), (own, true), "its own status comes first");
        }
        assert!(online || user != own, "a reader is online itself");
        // The list names each user once and the log alternates.
        let mut before = self.statuses.iter().rev().filter(|(of, _, _)| *of == user);
        let (last, first) = (before.next().map(|status| status.1), before.next().is_none());
        match last {
            _ if self.may_list_anew => {}
            Some(true) if online => assert!(first, "user {user} is online thrice"),
            Some(last) => assert!(last != online, "user {user} is offline twice"),
            None => {}
        }
        self.statuses.push((user, online, payload.to_vec()));
    }

    /// The last word on each user.
    pub fn last_words(&self) -> BTreeMap<i32, bool> {
        self.statuses.iter().map(|(user, online, _)| (*user, *online)).collect()
    }

    /// Two readers' logs end alike; before that comes each one's list, which names users once.
    pub fn agrees_with(&self, earlier: &Reader) {
        let mine = self.statuses.iter().rev();
        let common =
            mine.zip(earlier.statuses.iter().rev()).take_while(|(a, b)| a.2 == b.2).count();
        let list = &self.statuses[..self.statuses.len() - common];
        let mut users: Vec<i32> = list.iter().map(|(user, _, _)| *user).collect();
        users.sort_unstable();
        let named = users.len();
        users.dedup();
        assert_eq!(named, users.len(), "a log that differs: {list:?}");
        assert!(list.iter().all(|(_, online, _)| *online), "a list names who is online: {list:?}");
    }

    pub fn len(&self) -> usize {
        self.statuses.len()
    }
}
