//! `cpi-hub token`: makes a token for trying out, with the secret that is configured.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches};

use super::CliExit;
use crate::clock::unix_now;
use crate::config::{BadConfig, Sources, auth};
use crate::edge::auth::{Credentials, NewToken, random_id};
use crate::wire::parse_int;

/// How long a token is good where it is not said.
const HOUR: i64 = 3_600;

/// The new token's user, and what it is made with.
#[derive(Clone, Debug)]
pub struct Options {
    credentials: Credentials,
    user: i32,
    seconds: i64,
    spaces: Option<Spaces>,
}

/// The spaces in which it allows all, and those in which it allows to read.
type Spaces = BTreeMap<&'static str, Vec<i32>>;

const AFTER: &str = "The secret is the hub's: HUB_JWT_SECRET, or the first file of \
    jwt_secret_file. Where tokens are signed with a private key, they are made by whoever has \
    it.\n\n\
    Exit code: 0 made, 1 it can't be signed, 78 a bad option or setting.";

/// The subcommand's own command line, but for where the secret is.
pub(super) fn command() -> clap::Command {
    let arg = |name: &'static str, form: &'static str| {
        Arg::new(name).long(name).value_name(form).allow_hyphen_values(true)
    };
    clap::Command::new("token")
        .about("Makes a token of a user, for trying out")
        .after_help(AFTER)
        .args([
            arg("user", "N").required(true).help("The user's id"),
            arg("spaces", "LIST")
                .help("Spaces that it is confined to, with commas [default: none]"),
            arg("read-spaces", "LIST").help("Spaces in which it may only read"),
            arg("for", "TIME").help("How long it is good: 90s, 15m, 1h, 30d [default: 1h]"),
        ])
}

impl Options {
    pub(super) fn read(matches: &ArgMatches, sources: &Sources) -> Result<Options, CliExit> {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
        let bad = |flag: &str, given: &str, expected: &str| {
            CliExit::bad(format!("--{flag}: `{given}` is not {expected}"))
        };
        let user = text("user").unwrap_or_default();
        let number = parse_int(user).ok_or_else(|| bad("user", user, "a number such as 7"))?;
        let given = text("for").unwrap_or("1h");
        let seconds =
            seconds(given).ok_or_else(|| bad("for", given, "a time such as 15m or 1h"))?;
        let mut spaces = Spaces::new();
        for (flag, right) in [("spaces", "write"), ("read-spaces", "read")] {
            let Some(list) = text(flag) else { continue };
            let ids: Option<Vec<i32>> = list.split(',').map(|id| parse_int(id.trim())).collect();
            let ids = ids.ok_or_else(|| bad(flag, list, "a list of numbers such as 1,2"))?;
            spaces.insert(right, ids);
        }
        let credentials = auth::credentials_alone(sources)?;
        let can_sign = credentials.tokens().is_some_and(|rules| rules.can_sign());
        if !can_sign {
            let text = "HUB_JWT_SECRET, or jwt_secret_file: not given, and tokens are made with it";
            return Err(BadConfig(text.into()).into());
        }
        let spaces = Some(spaces).filter(|spaces| !spaces.is_empty());
        Ok(Options { credentials, user: number, seconds, spaces })
    }
}

/// A number of seconds, minutes, hours or days; above none, and not for ever.
fn seconds(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => HOUR,
        "d" => 24 * HOUR,
        _ => return None,
    };
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    Some(i64::from(number) * unit)
}

/// Does it; what to print, and the exit code.
pub fn run(options: &Options) -> CliExit {
    let now = unix_now().0.div_euclid(1_000_000);
    let token = random_id().and_then(|id| {
        let spaces = options.spaces.as_ref();
        let exp = now + options.seconds;
        let new = NewToken { user_id: options.user, iat: now, exp, jti: &id, spaces };
        options.credentials.tokens()?.sign(&new)
    });
    match token {
        Some(text) => CliExit::done(text),
        None => CliExit::failed("the token can't be signed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("1h", Some(3_600)),
            ("30d", Some(2_592_000)),
            ("0s", None),
            ("-1h", None),
            ("1", None),
            ("h", None),
            ("", None),
            ("1ñ", None),
            ("99999999999d", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
