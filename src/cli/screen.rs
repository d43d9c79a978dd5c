//! A space as people read it in a terminal: each of the hub's messages as a line, and what was
//! typed as a message. Shared by `chat` and `tail`.
//!
//! Owns the names that were heard, and what of ours is not answered yet. Prints nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde::Serialize;
use serde_json::Value;

/// A typed line, as it goes out.
pub(super) enum Composed {
    Nothing,
    Message(String),
    TooLong,
}

/// What is known of the space, and what of ours is still unanswered.
pub(super) struct Screen {
    pub is_seated: bool,
    /// Another token is to be shown.
    pub is_expiring: bool,
    message_bytes_max: usize,
    names: HashMap<i64, String>,
    nonces: String,
    said: u64,
    pub unanswered: u64,
}

impl Screen {
    pub(super) fn new() -> Screen {
        // Random, so that a second run's messages are not taken for repeats of the first's.
        let nonces = format!("{:x}", RandomState::new().build_hasher().finish());
        let names = HashMap::new();
        let (said, unanswered) = (0, 0);
        let (is_seated, is_expiring, message_bytes_max) = (false, false, 512);
        Screen { is_seated, is_expiring, message_bytes_max, names, nonces, said, unanswered }
    }

    pub(super) fn compose(&mut self, line: &str) -> Composed {
        #[derive(Serialize)]
        struct Chat<'a> {
            r#type: &'a str,
            data: Data<'a>,
        }
        #[derive(Serialize)]
        struct Data<'a> {
            content: &'a str,
            nonce: String,
        }
        if line.trim().is_empty() {
            return Composed::Nothing;
        }
        let nonce = format!("{}-{}", self.nonces, self.said);
        let chat = Chat { r#type: "chat", data: Data { content: line, nonce } };
        let text = serde_json::to_string(&chat).expect("plain structs serialise");
        if text.len() > self.message_bytes_max {
            return Composed::TooLong;
        }
        self.said += 1;
        self.unanswered += 1;
        Composed::Message(text)
    }

    /// What a message of the hub's looks like to people.
    pub(super) fn show(&mut self, text: &str) -> Option<String> {
        let message: Value = serde_json::from_str(text).ok()?;
        let data = &message["data"];
        match message["type"].as_str()? {
            "welcome" => {
                self.is_seated = true;
                let bytes = data["message_bytes_max"].as_u64();
                self.message_bytes_max = usize::try_from(bytes?).ok()?;
                let (space, members) = (&data["space_id"], &data["members"]);
                let name = data["username"].as_str()?;
                Some(format!("* you are in space {space} as {name}; connections there: {members}"))
            }
            "chat" => {
                let name = self.learn(&data["user_id"], &data["username"]);
                let clock = data["timestamp"].as_str()?.get(11..16)?;
                Some(format!("{clock} {name}: {}", data["content"].as_str()?))
            }
            "join" => {
                let name = self.learn(&data["user_id"], &message["username"]);
                Some(format!("* {name} joined"))
            }
            "leave" => Some(format!("* {} left", self.learn(&data["user_id"], &Value::Null))),
            "expiring" => {
                self.is_expiring = true;
                None
            }
            "presence" => Some(format!("* connections here: {}", data["members"])),
            "ack" => {
                self.unanswered = self.unanswered.saturating_sub(1);
                None
            }
            "error" => {
                if data["ref"].is_string() {
                    self.unanswered = self.unanswered.saturating_sub(1);
                }
                Some(format!("! {}", data["message"].as_str()?))
            }
            _ => None,
        }
    }

    /// Keeps a user's name, and gives the newest one known.
    fn learn(&mut self, user: &Value, name: &Value) -> String {
        let user = user.as_i64().unwrap_or_default();
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            self.names.insert(user, name.into());
        }
        self.names.get(&user).cloned().unwrap_or_else(|| format!("User{user}"))
    }
}

/// Text without what a terminal would obey.
pub(super) fn safe(text: &str) -> String {
    text.replace(char::is_control, "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_shown_as_people_read_them() {
        let mut screen = Screen::new();
        let at = r#""timestamp":"2026-01-02T03:04:05.678901-03:00""#;
        for (message, expected) in [
            (
                r#"{"type":"welcome","data":{"space_id":1,"username":"Ana","members":3,
                    "message_bytes_max":512}}"#
                    .to_owned(),
                Some("* you are in space 1 as Ana; connections there: 3"),
            ),
            (
                format!(
                    r#"{{"type":"join","data":{{"user_id":2,"username":""}},{at},
                    "username":"Beto"}}"#
                ),
                Some("* Beto joined"),
            ),
            (
                format!(
                    r#"{{"type":"chat","data":{{"user_id":2,"username":"Beto Rey",
                    "content":"hola",{at}}}}}"#
                ),
                Some("03:04 Beto Rey: hola"),
            ),
            (format!(r#"{{"type":"leave","data":{{"user_id":2}},{at}}}"#), Some("* Beto Rey left")),
            (format!(r#"{{"type":"leave","data":{{"user_id":9}},{at}}}"#), Some("* User9 left")),
            (
                r#"{"type":"presence","data":{"members":1234}}"#.into(),
                Some("* connections here: 1234"),
            ),
            (r#"{"type":"error","data":{"message":"no"}}"#.into(), Some("! no")),
            (r#"{"type":"newer","data":{}}"#.into(), None),
            ("junk".into(), None),
        ] {
            assert_eq!(screen.show(&message).as_deref(), expected, "{message}");
        }
        assert!(screen.is_seated);
    }

    #[test]
    fn each_line_is_a_message_of_its_own_until_it_is_answered() {
        let mut screen = Screen::new();
        let mut said = |line: &str| match screen.compose(line) {
            Composed::Message(text) => Some(text),
            Composed::Nothing | Composed::TooLong => None,
        };
        let first: Value = serde_json::from_str(&said("ho\"la").expect("said")).expect("JSON");
        assert_eq!((&first["type"], &first["data"]["content"]), (&"chat".into(), &"ho\"la".into()));
        let second: Value = serde_json::from_str(&said("x").expect("said")).expect("JSON");
        assert_ne!(first["data"]["nonce"], second["data"]["nonce"]);
        assert!(said("  ").is_none() && said(&"x".repeat(500)).is_none());
        assert_eq!(screen.unanswered, 2);
        screen.show(r#"{"type":"ack","data":{"nonce":"a","level":"accepted"}}"#);
        screen.show(r#"{"type":"error","data":{"message":"no","ref":"b"}}"#);
        assert_eq!(screen.unanswered, 0);
    }

    #[test]
    fn a_terminal_is_told_no_commands() {
        assert_eq!(safe("a\u{1b}[2Jb\rc\u{9b}d ñ😀"), "a\u{FFFD}[2Jb\u{FFFD}c\u{FFFD}d ñ😀");
    }
}
