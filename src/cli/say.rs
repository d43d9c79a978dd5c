//! `cpi-hub say`: says one thing in a space, once, however often it has to be tried.

use std::ffi::OsString;
use std::io::Read;
use std::time::Duration;

use clap::{Arg, ArgMatches};
use serde_json::{Value, json};

use super::chat::number;
use super::remote::{self, Answer, Asked, Remote, RemoteFault};
use super::screen::safe;
use super::{CliExit, EXIT_UNKNOWN};
use crate::clock::Clock;
use crate::edge::auth::random_id;
use crate::limits::{NONCE_BYTES_MAX, TYPED_BYTES_MAX};

/// What to say, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    hub: Remote,
    space: i32,
    user: Option<i32>,
    username: Option<String>,
    /// `-`: what standard input holds.
    text: String,
    key: Option<String>,
    wait: Duration,
    json: bool,
}

const AFTER: &str = "Prints the id of the message when the hub's store has it, or, where the store \
    is slow or away, when it is in the hub's journal. It is sent with a key of its own \
    (Idempotency-Key), and again when an answer is lost or the hub is busy, for --wait at most: \
    the hub takes it once. With the same --key, within two minutes, another run says nothing \
    twice either.\n\
    With --json: {\"id\", \"space_id\", \"state\" (stored or accepted), \"repeated\" (it had been \
    said before), \"attempts\", \"key\"}.\n\n\
    Exit code: 0 said, 1 the hub refused, 75 not known (no answer within --wait: run it again with \
    the --key that is printed), 78 a bad option.";

/// How long one try may take: longer than the hub waits for its store.
const TRY_WAIT: Duration = Duration::from_secs(10);
/// The first wait between two tries, and the longest that the hub does not ask for.
const BETWEEN: (u64, u64) = (250, 4_000);
/// The longest that it may be tried: less than a hub remembers keys for.
const WAIT_MAX: Duration = Duration::from_secs(100);

/// The subcommand's own command line.
pub(super) fn command() -> clap::Command {
    let arg = |name: &'static str, form: &'static str| {
        Arg::new(name).value_name(form).allow_hyphen_values(true)
    };
    clap::Command::new("say")
        .about("Says something in a space, once, and prints its id")
        .after_help(AFTER)
        .args([
            arg("text", "TEXT").required(true).help("What to say; - reads standard input"),
            arg("space", "N").long("space").required(true).help("Number of the space"),
            arg("user_id", "N").long("user-id").help("Who says it [default: the token's user]"),
            arg("username", "NAME")
                .long("username")
                .help("The name shown [default: User and the id, or cpi-hub]"),
            arg("key", "KEY").long("key").help("The message's own key [default: a random one]"),
            arg("wait", "TIME").long("wait").help("How long to try, up to 100s [default: 30s]"),
        ])
        .arg(super::arguments::json_argument("Print what became of it as JSON"))
        .args(remote::arguments())
}

impl Options {
    pub(super) fn read(
        matches: &ArgMatches,
        environment: &[(OsString, OsString)],
    ) -> Result<Options, CliExit> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let bad = |text: String| CliExit::bad(text);
        let key = text("key");
        let fits = |key: &String| {
            (1..=NONCE_BYTES_MAX).contains(&key.len())
                && key.bytes().all(|it| it.is_ascii_graphic())
        };
        if key.as_ref().is_some_and(|key| !fits(key)) {
            let text = format!("--key: 1 to {NONCE_BYTES_MAX} visible letters were expected");
            return Err(bad(text));
        }
        let given = text("wait").unwrap_or_else(|| "30s".into());
        let wait = super::time(&given).filter(|wait| *wait <= WAIT_MAX).ok_or_else(|| {
            bad(format!("--wait: `{given}` is not a time such as 10s, up to 100s"))
        })?;
        let options = Options {
            hub: Remote::read(matches, environment)?,
            space: number(matches, "space", "--space")?.unwrap_or_default(),
            user: number(matches, "user_id", "--user-id")?,
            username: text("username"),
            text: text("text").unwrap_or_default(),
            key,
            wait,
            json: matches.get_flag("json"),
        };
        if options.user.is_none() && !options.hub.names_its_user()? {
            let text = "--user-id: required where no token says who speaks";
            return Err(bad(text.into()));
        }
        Ok(options)
    }

    fn body(&self) -> Result<String, CliExit> {
        let mut text = self.text.clone();
        if text == "-" {
            text.clear();
            let read = std::io::stdin().lock().take(TYPED_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|error| CliExit::failed(format!("standard input: {error}")))?;
            // The end of its last line is the shell's.
            text.truncate(text.trim_end_matches('\n').len());
        }
        let user = self.user.map(|user| format!("User{user}"));
        let name = self.username.clone().or(user).unwrap_or_else(|| "cpi-hub".into());
        let mut body = json!({"message": text, "username": name});
        if let Some(user) = self.user {
            body["user_id"] = user.into();
        }
        Ok(body.to_string())
    }
}

/// Says it; what to print, and the exit code.
pub fn run(options: &Options) -> CliExit {
    said(options).unwrap_or_else(|exit| exit)
}

fn said(options: &Options) -> Result<CliExit, CliExit> {
    let no_randomness = || CliExit::failed("the system has no randomness");
    let key = options.key.clone().or_else(random_id).ok_or_else(no_randomness)?;
    let body = options.body()?;
    let (done, attempts) = remote::runtime()?.block_on(say(options, &key, &body));
    let answer = match done {
        Ok(answer) => answer,
        Err(fault) if fault.is_passing() => {
            let text = format!("not known whether it was said, --key {key}: {fault}");
            return Err(CliExit { code: EXIT_UNKNOWN, ..CliExit::failed(safe(&text)) });
        }
        Err(fault) => {
            let exit = CliExit::from(fault);
            return Err(CliExit { text: safe(&exit.text), ..exit });
        }
    };
    let message = answer.json();
    let id = message["chat_message"]["id"]
        .as_str()
        .map(safe)
        .ok_or_else(|| CliExit::failed("what answered is no hub: it names no message"))?;
    if !options.json {
        return Ok(CliExit::done(id));
    }
    Ok(CliExit::done(told(options, &answer, &id, (attempts, &key)).to_string()))
}

fn told(options: &Options, answer: &Answer, id: &str, (attempts, key): (u32, &str)) -> Value {
    json!({
        "id": id,
        "space_id": options.space,
        "state": if answer.status == 202 { "accepted" } else { "stored" },
        "repeated": answer.headers.contains_key("idempotency-replayed"),
        "attempts": attempts,
        "key": key,
    })
}

/// Tries until there is an answer that stays, or the time is over; how often it was tried.
async fn say(options: &Options, key: &str, body: &str) -> (Result<Answer, RemoteFault>, u32) {
    let path = format!("/v1/ws/spaces/{}/chat", options.space);
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    let asked = Asked { method: "POST", path: &path, headers: &headers, body };
    let clock = Clock::start();
    let until = clock.now().mono.0.saturating_add(millis(options.wait));
    let mut between = BETWEEN.0;
    for attempt in 1.. {
        let answer = options.hub.ask(asked, TRY_WAIT).await.and_then(Answer::accepted);
        let fault = match answer {
            Err(fault) if fault.is_passing() => fault,
            settled => return (settled, attempt),
        };
        let wait = fault.retry_after().unwrap_or(Duration::from_millis(between));
        if clock.now().mono.0.saturating_add(millis(wait)) > until {
            return (Err(fault), attempt);
        }
        tokio::time::sleep(wait).await;
        between = (between * 2).min(BETWEEN.1);
    }
    unreachable!("the time ends before the numbers do")
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
