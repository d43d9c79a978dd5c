//! API keys: what programs show that speak for no user, or for any. Pure, but for the making of a
//! new one.
//!
//! The file has a line for each key: its name, its scopes with commas, and the SHA-256 of the key
//! in hexadecimal digits. A key has 256 random bits, so that its digest tells nobody anything.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;

use super::secret::{Secret, digest, mark};
use crate::limits::{API_KEY_NAME_CHARS_MAX, API_KEYS_MAX};

/// What every key begins with, so that one that has got somewhere is known for what it is.
const PREFIX: &str = "hubkey_";

macro_rules! scopes {
    ($($constant:ident $bit:literal $name:literal;)*) => {
        impl Scopes {
            $(#[doc = $name] pub(crate) const $constant: Scopes = Scopes(1 << $bit);)*
            /// All of them, with their names.
            pub(crate) const ALL: &[(Scopes, &str)] = &[$((Scopes::$constant, $name),)*];
        }
    };
}

/// What a key may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

scopes! {
    SAY 0 "say";
    READ 1 "read";
    NOTIFY 2 "notify";
    KICK 3 "kick";
    OPERATE 4 "operate";
    METRICS 5 "metrics";
}

impl Scopes {
    /// Reads a list with commas; `Err`: what of it is no scope.
    pub(crate) fn parse(list: &str) -> Result<Scopes, String> {
        let mut all = Scopes::default();
        for name in list.split(',').map(str::trim) {
            let known = Scopes::ALL.iter().find(|(_, known)| *known == name);
            let (scope, _) = known.ok_or_else(|| {
                let names = Scopes::ALL.iter().map(|(_, name)| *name).collect::<Vec<_>>();
                format!("`{name}` is no scope: there are {}", names.join(", "))
            })?;
            all.0 |= scope.0;
        }
        Ok(all)
    }

    /// Whether all of these are among them.
    pub(crate) fn has(self, scopes: Scopes) -> bool {
        self.0 & scopes.0 == scopes.0
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = Scopes::ALL.iter().filter(|(scope, _)| self.has(*scope));
        out.write_str(&held.map(|(_, name)| *name).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A key that is known.
#[derive(Clone, Debug)]
struct ApiKey {
    name: Box<str>,
    scopes: Scopes,
    digest: Digest,
}

#[derive(Clone, Copy)]
struct Digest([u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Digest")
    }
}

/// Whoever shows a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    /// What it may.
    pub scopes: Scopes,
    /// What tells its key from others.
    pub mark: u64,
}

/// All keys that are known.
#[derive(Clone, Default, Debug)]
pub(crate) struct KeyList(Vec<ApiKey>);

impl KeyList {
    /// Reads a file of keys; `Err` names the line and what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<KeyList, String> {
        let mut keys: Vec<ApiKey> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = parse_line(line).map_err(|what| format!("line {}: {what}", number + 1))?;
            if keys.iter().any(|known| known.name == key.name) {
                return Err(format!("line {}: another key has this name", number + 1));
            }
            keys.push(key);
        }
        if keys.len() > API_KEYS_MAX {
            return Err(format!("there are more than {API_KEYS_MAX} keys"));
        }
        Ok(KeyList(keys))
    }

    /// What tells each key from others.
    pub(super) fn marks(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|key| mark(&key.digest.0))
    }

    /// The program whose key this is, if it is known. It takes as long for every key that is shown.
    pub(super) fn find(&self, shown: &str) -> Option<Program> {
        let shown = digest(shown.as_bytes());
        let mut found = None;
        for key in &self.0 {
            if verify_slices_are_equal(&key.digest.0, &shown).is_ok() {
                found = Some(Program { scopes: key.scopes, mark: mark(&key.digest.0) });
            }
        }
        found
    }
}

fn parse_line(line: &str) -> Result<ApiKey, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(scopes), Some(hex), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("a name, scopes with commas, and a digest were expected".into());
    };
    if name.chars().count() > API_KEY_NAME_CHARS_MAX {
        return Err(format!("a name has {API_KEY_NAME_CHARS_MAX} characters at most"));
    }
    let digest = unhex(hex).ok_or("the digest is not 64 hexadecimal digits")?;
    Ok(ApiKey { name: name.into(), scopes: Scopes::parse(scopes)?, digest: Digest(digest) })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        let pair = text.get(2 * at..2 * at + 2)?;
        let digits = pair.bytes().all(|it| it.is_ascii_hexdigit());
        *byte = u8::from_str_radix(pair, 16).ok().filter(|_| digits)?;
    }
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key that has just been made, and the line that makes it known.
pub(crate) struct NewKey {
    /// The key: to be shown once.
    pub key: String,
    /// Its line of the file.
    pub line: String,
}

impl NewKey {
    /// Makes a key. `None`: the system has no randomness.
    pub(crate) fn make(name: &str, scopes: Scopes) -> Option<NewKey> {
        let mut random = [0; 32];
        rand::fill(&mut random).ok()?;
        let key = format!("{PREFIX}{}", hex(&random));
        let line = format!("{name} {scopes} {}", hex(&digest(key.as_bytes())));
        Some(NewKey { key, line })
    }
}

/// A name that nothing else has.
pub(crate) fn random_id() -> Option<String> {
    let mut random = [0; 16];
    rand::fill(&mut random).ok()?;
    Some(hex(&random))
}

/// Whether what stands where a token or a key may stand is a token: that has dots, a key has none.
pub(super) fn is_token(shown: &Secret) -> bool {
    shown.bytes().contains(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_known_by_its_line_alone() {
        let scopes = Scopes::parse("say, read").expect("two scopes");
        let made = NewKey::make("ci", scopes).expect("randomness");
        let list = KeyList::parse(&format!("# keys\n\n{}\n", made.line)).expect("a good line");
        let program = list.find(&made.key).expect("it is known");
        assert_eq!((program.scopes, vec![program.mark]), (scopes, list.marks().collect()));
        assert_eq!((list.find(&made.line), list.find("")), (None, None));
        assert!(!made.line.contains(&made.key) && made.key.len() == PREFIX.len() + 64);
        let other = NewKey::make("ci", scopes).expect("randomness");
        assert_ne!(made.key, other.key);
        assert!(!format!("{list:?}").contains(&made.line[10..20]), "{list:?}");
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let digest = "0".repeat(64);
        for (text, expected) in [
            ("ci read", "line 1: a name, scopes with commas, and a digest were expected"),
            ("\nci read x", "line 2: the digest is not 64 hexadecimal digits"),
            (
                &format!("ci read {}", "+".repeat(64)),
                "line 1: the digest is not 64 hexadecimal digits",
            ),
            (
                &format!("ci red {digest}"),
                "line 1: `red` is no scope: there are say, read, notify, kick, operate, metrics",
            ),
            (&format!("a read {digest}\na say {digest}"), "line 2: another key has this name"),
            (
                &format!("{} read {digest}", "n".repeat(65)),
                "line 1: a name has 64 characters at most",
            ),
        ] {
            assert_eq!(KeyList::parse(text).map(|_| ()), Err(expected.into()), "{text}");
        }
        let many: String = (0..=API_KEYS_MAX).map(|n| format!("k{n} read {digest}\n")).collect();
        assert_eq!(KeyList::parse(&many).map(|_| ()), Err("there are more than 256 keys".into()));
    }

    #[test]
    fn scopes_are_shown_as_they_are_read() {
        let all = Scopes::ALL.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(",");
        assert_eq!(Scopes::parse(&all).map(|it| it.to_string()), Ok(all));
        let read = Scopes::parse("read").expect("a scope");
        assert!(read.has(Scopes::READ) && !read.has(Scopes::SAY));
        assert!(Scopes::parse("").is_err() && Scopes::parse("read,").is_err());
    }
}
