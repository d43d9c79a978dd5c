//! What a token says, once its signature is known to be good: who, until when, and which spaces.
//! Pure.
//!
//! Strict: a claim that is read and has another form than it should have makes the whole token
//! unusable, so that no issuer's mistake is taken for a right (RFC 8725 3.1).

use serde::Deserialize;
use serde_json::Value;

use crate::limits::{TOKEN_ID_CHARS_MAX, TOKEN_LEEWAY};
use crate::wire::time::Micros;
use crate::wire::{SpaceId, UserId, parse_int};

/// What somebody may do in a space; each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Access {
    /// Nothing.
    None,
    /// Be there, and read.
    Read,
    /// Say something, too.
    Say,
}

/// Whom a token speaks for, and what it allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claims {
    /// The user.
    pub user: UserId,
    /// Until when it is good: its end, or the end of its leeway if that has begun.
    pub until: Micros,
    /// When it was made.
    pub issued: Option<i64>,
    /// Its id.
    pub id: Option<Box<str>>,
    /// What tells the key that has signed it from others.
    pub key: u64,
    spaces: Option<Spaces>,
}

/// The spaces that a token is confined to, in ascending order.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Spaces {
    read: Vec<i32>,
    say: Vec<i32>,
}

/// Why a token's claims can't be used. For tests and counting: clients are told one thing only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadClaims {
    /// A claim is missing, or has another form than it should have.
    Malformed,
    /// Its end has passed.
    Expired,
    /// Its begin is still to come.
    NotYet,
    /// It is for others, or of others.
    Foreign,
}

/// The claims that are read; others are skipped. Numbers are whole: what is written as a fraction
/// or a text is refused.
#[derive(Deserialize)]
pub(super) struct RawClaims {
    exp: Option<i64>,
    nbf: Option<i64>,
    iat: Option<i64>,
    user_id: Option<Value>,
    sub: Option<Value>,
    aud: Option<OneOrMore>,
    iss: Option<String>,
    jti: Option<String>,
    spaces: Option<RawSpaces>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn has(&self, name: &str) -> bool {
        match self {
            OneOrMore::One(one) => one == name,
            OneOrMore::More(more) => more.iter().any(|one| one == name),
        }
    }
}

/// Both forms of the claim: a list of spaces in which all is allowed, or a list for each right.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawSpaces {
    All(Vec<i32>),
    Each(EachSpaces),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EachSpaces {
    #[serde(default)]
    read: Vec<i32>,
    #[serde(default)]
    write: Vec<i32>,
}

/// What a token has to say beside its times.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Expected {
    /// One of those whom it is for.
    pub audience: Option<Box<str>>,
    /// Who has made it.
    pub issuer: Option<Box<str>>,
}

impl RawClaims {
    /// Judges what a token says. One that is for an audience is refused where none is configured
    /// (RFC 7519 4.1.3).
    pub(super) fn judge(self, expected: &Expected, now: Micros) -> Result<Claims, BadClaims> {
        let now = now.0.div_euclid(1_000_000);
        let end = self.exp.ok_or(BadClaims::Malformed)?;
        let user = self.user()?;
        if self.jti.as_ref().is_some_and(|id| id.chars().count() > TOKEN_ID_CHARS_MAX) {
            return Err(BadClaims::Malformed);
        }
        if end.saturating_add(TOKEN_LEEWAY) <= now {
            return Err(BadClaims::Expired);
        }
        if self.nbf.is_some_and(|begin| begin.saturating_sub(TOKEN_LEEWAY) > now) {
            return Err(BadClaims::NotYet);
        }
        let is_ours = match (&self.aud, &expected.audience) {
            (None, None) => true,
            (Some(given), Some(wanted)) => given.has(wanted),
            _ => false,
        };
        if !is_ours || expected.issuer.is_some() && expected.issuer.as_deref() != self.iss() {
            return Err(BadClaims::Foreign);
        }
        let until = if end > now { end } else { end + TOKEN_LEEWAY };
        Ok(Claims {
            user,
            until: Micros(until.saturating_mul(1_000_000)),
            issued: self.iat,
            id: self.jti.map(Box::from),
            key: 0,
            spaces: self.spaces.map(Spaces::of),
        })
    }

    fn iss(&self) -> Option<&str> {
        self.iss.as_deref()
    }

    /// `user_id`, a number as the existing server has it; without it a `sub` that is a number.
    fn user(&self) -> Result<UserId, BadClaims> {
        let number = match (&self.user_id, &self.sub) {
            (Some(Value::Number(number)), _) | (None, Some(Value::Number(number))) => {
                number.as_i64().and_then(|number| i32::try_from(number).ok())
            }
            (None, Some(Value::String(text))) => parse_int(text),
            _ => None,
        };
        number.map(UserId).ok_or(BadClaims::Malformed)
    }
}

impl Spaces {
    fn of(raw: RawSpaces) -> Spaces {
        let (mut read, mut say) = match raw {
            RawSpaces::All(all) => (Vec::new(), all),
            RawSpaces::Each(EachSpaces { read, write }) => (read, write),
        };
        read.sort_unstable();
        say.sort_unstable();
        Spaces { read, say }
    }
}

impl Claims {
    /// Claims of no token, for tests.
    #[cfg(test)]
    pub(super) fn of(user: UserId, until: Micros, issued: Option<i64>, id: Option<&str>) -> Claims {
        Claims { user, until, issued, id: id.map(Box::from), key: 0, spaces: None }
    }

    /// What the token allows in a space.
    pub(crate) fn access(&self, space: SpaceId) -> Access {
        let Some(spaces) = &self.spaces else { return Access::Say };
        if spaces.say.binary_search(&space.0).is_ok() {
            Access::Say
        } else if spaces.read.binary_search(&space.0).is_ok() {
            Access::Read
        } else {
            Access::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Micros = Micros(1_000_000_000_000_000);

    /// Sound claims with others put in or, as null, left out.
    fn judge(with: Value, expected: &Expected) -> Result<Claims, BadClaims> {
        let mut all = json!({"user_id": 7, "exp": 1_000_000_100, "iat": 999_999_000});
        for (key, value) in with.as_object().expect("an object") {
            all[key] = value.clone();
        }
        let raw = serde_json::from_value::<RawClaims>(all).map_err(|_| BadClaims::Malformed)?;
        raw.judge(expected, NOW)
    }

    #[test]
    fn the_times_of_a_token_are_whole_numbers_with_half_a_minute_of_leeway() {
        use BadClaims::{Expired, Malformed, NotYet};
        let (now, most) = (1_000_000_000i64, i64::MAX);
        for (with, expected) in [
            (json!({"exp": null}), Err(Malformed)),
            (json!({"exp": "1000000100"}), Err(Malformed)),
            (json!({"exp": 1_000_000_100.5}), Err(Malformed)),
            (json!({"exp": 1e12}), Err(Malformed)),
            (json!({"exp": u64::MAX}), Err(Malformed)),
            (json!({"exp": true}), Err(Malformed)),
            (json!({"exp": -1}), Err(Expired)),
            (json!({"exp": 0}), Err(Expired)),
            (json!({"exp": now - 30}), Err(Expired)),
            (json!({"exp": now - 29}), Ok(())),
            (json!({"exp": most}), Ok(())),
            (json!({"nbf": "x"}), Err(Malformed)),
            (json!({"nbf": now as f64 + 0.5}), Err(Malformed)),
            (json!({"nbf": now + 31}), Err(NotYet)),
            (json!({"nbf": most}), Err(NotYet)),
            (json!({"nbf": now + 30}), Ok(())),
            (json!({"nbf": -5}), Ok(())),
            (json!({"iat": "x"}), Err(Malformed)),
        ] {
            let judged = judge(with.clone(), &Expected::default()).map(|_| ());
            assert_eq!(judged, expected, "{with}");
        }
    }

    #[test]
    fn a_token_speaks_for_its_number_and_for_nobody_else() {
        for (with, expected) in [
            (json!({}), Ok(7)),
            (json!({"sub": "8"}), Ok(7)),
            (json!({"user_id": null, "sub": "8"}), Ok(8)),
            (json!({"user_id": null, "sub": 8}), Ok(8)),
            (json!({"user_id": -2_147_483_648}), Ok(i32::MIN)),
            (json!({"user_id": "7"}), Err(())),
            (json!({"user_id": 7.5, "sub": "8"}), Err(())),
            (json!({"user_id": 2_147_483_648u64}), Err(())),
            (json!({"user_id": [7]}), Err(())),
            (json!({"user_id": null, "sub": "ana"}), Err(())),
            (json!({"user_id": null}), Err(())),
        ] {
            let user = judge(with.clone(), &Expected::default()).map(|claims| claims.user.0);
            assert_eq!(user.map_err(|_| ()), expected, "{with}");
        }
    }

    #[test]
    fn a_token_is_for_us_and_of_whom_we_trust() {
        let (none, name) = (Expected::default(), |name: &str| Some(Box::from(name)));
        let ours = Expected { audience: name("hub"), issuer: name("us") };
        let both = json!({"aud": "hub", "iss": "us"});
        assert!(judge(both.clone(), &ours).is_ok());
        assert!(judge(json!({"aud": ["x", "hub"], "iss": "us"}), &ours).is_ok());
        assert!(judge(json!({"iss": "anybody"}), &none).is_ok());
        for (with, expected) in [
            (both, &none),
            (json!({"aud": "hub"}), &ours),
            (json!({"iss": "us"}), &ours),
            (json!({"aud": ["x"], "iss": "us"}), &ours),
            (json!({"aud": "hub", "iss": "them"}), &ours),
        ] {
            assert_eq!(judge(with.clone(), expected), Err(BadClaims::Foreign), "{with}");
        }
        assert_eq!(judge(json!({"aud": 7}), &ours), Err(BadClaims::Malformed));
        assert_eq!(judge(json!({"jti": "x".repeat(257)}), &none), Err(BadClaims::Malformed));
    }

    #[test]
    fn a_token_may_be_confined_to_spaces() {
        use Access::{None, Read, Say};
        for (spaces, expected) in [
            (Value::Null, Some([Say, Say, Say])),
            (json!([]), Some([None, None, None])),
            (json!([3, 1]), Some([Say, None, Say])),
            (json!({"read": [3, 2, 1], "write": [2]}), Some([Read, Say, Read])),
            (json!({"write": [-1]}), Some([None, None, None])),
            (json!({}), Some([None, None, None])),
            (json!("1"), Option::None),
            (json!(1), Option::None),
            (json!(["1"]), Option::None),
            (json!({"read": 1}), Option::None),
            (json!({"write": [1], "all": true}), Option::None),
        ] {
            let judged = judge(json!({"spaces": spaces}), &Expected::default());
            let access = judged.map(|it| [1, 2, 3].map(|space| it.access(SpaceId(space))));
            assert_eq!(access.ok(), expected, "{spaces}");
        }
    }
}
