//! `cpi-hub tail`: what is going on in a space, a line for each frame, over restarts too.
//!
//! Owns the position of the last message that was printed, with which it comes back: each message
//! is printed once and in order, and what is missing is told.

use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

use clap::{Arg, ArgMatches};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tungstenite::Message;

use super::CliExit;
use super::chat::{number, reason, show_token};
use super::remote::{self, Remote, RemoteFault, Socket, query_value};
use super::screen::{Screen, safe};
use crate::wire::Id;
use crate::wire::random::SplitMix64;

/// What to follow, and how to print it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    hub: Remote,
    space: i32,
    user: Option<i32>,
    username: String,
    after: Option<String>,
    /// Messages after which it ends.
    count: Option<u64>,
    json: bool,
}

const AFTER: &str = "It joins the space as a member, whom others see come and go (--username, by \
    default `tail`). When the connection ends it comes back by itself, after the hub's hint, and \
    goes on behind the last message that it has printed: each one once. What it could not get is \
    told on standard error. With --json each line is a frame as the hub has sent it, those for \
    this member alone (welcome, resumed, closing) too; docs/WIRE.md has all of them.\n\n\
    Exit code: 0 the --count is reached or nobody reads any more, 1 the hub refused or does not \
    want it back, 78 a bad option.";

/// The first wait before coming back, and the longest.
const BACK_WAIT: (u64, u64) = (500, 20_000);
/// How long a hub is to be waited for that says nothing, beyond two of its pings.
const SILENCE: Duration = Duration::from_secs(10);
/// What a hub's pings are apart where it does not say.
const PING_PERIOD: u64 = 54_000;

/// The subcommand's own command line.
pub(super) fn command() -> clap::Command {
    let arg = |name: &'static str, form: &'static str| {
        Arg::new(name).value_name(form).allow_hyphen_values(true)
    };
    clap::Command::new("tail")
        .about("Prints what is going on in a space, and comes back by itself")
        .after_help(AFTER)
        .args([
            arg("space", "N").long("space").required(true).help("Number of the space"),
            arg("user_id", "N")
                .long("user-id")
                .help("The user that it joins as [default: the token's, else 0]"),
            arg("username", "NAME").long("username").help("The name [default: tail]"),
            arg("after", "ID").long("after").help("Begin behind the message with this id"),
            arg("count", "N").long("count").help("End after this many messages"),
        ])
        .arg(super::arguments::json_argument("Print each frame as it is, as JSON"))
        .args(remote::arguments())
}

impl Options {
    pub(super) fn read(
        matches: &ArgMatches,
        environment: &[(OsString, OsString)],
    ) -> Result<Options, CliExit> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let bad = |text: String| CliExit::bad(text);
        let after = text("after");
        if let Some(id) = after.as_deref().filter(|id| Id::parse(id).is_none()) {
            return Err(bad(format!("--after: `{id}` is no id of a message")));
        }
        let count = text("count").map(|given| match given.parse() {
            Ok(count @ 1..) => Ok(count),
            _ => Err(bad(format!("--count: `{given}` is not a number from 1 on"))),
        });
        Ok(Options {
            hub: Remote::read(matches, environment)?,
            space: number(matches, "space", "--space")?.unwrap_or_default(),
            user: number(matches, "user_id", "--user-id")?,
            username: text("username").unwrap_or_else(|| "tail".into()),
            after,
            count: count.transpose()?,
            json: matches.get_flag("json"),
        })
    }
}

/// How one connection ended.
enum Ended {
    /// All that was asked for is printed, or nobody reads it.
    Done,
    /// It may be taken up again, after this if the hub says so.
    Passing(String, Option<Duration>),
    /// It may not.
    Final(CliExit),
}

impl From<RemoteFault> for Ended {
    fn from(fault: RemoteFault) -> Ended {
        match fault.is_passing() {
            true => Ended::Passing(fault.to_string(), fault.retry_after()),
            false => Ended::Final(fault.into()),
        }
    }
}

impl From<tungstenite::Error> for Ended {
    fn from(error: tungstenite::Error) -> Ended {
        RemoteFault::from(error).into()
    }
}

/// Nobody reads any more.
impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Ended::Done,
            _ => Ended::Final(CliExit::failed(format!("standard output: {error}"))),
        }
    }
}

/// Follows until something ends it.
pub fn run(options: &Options) -> CliExit {
    let runtime = match remote::runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let mut tailing = Tailing {
        options,
        screen: Screen::new(),
        position: options.after.clone(),
        asked: None,
        left: options.count,
        ping_period: Duration::from_millis(PING_PERIOD),
        hint: None,
        was_seated: false,
        failures: 0,
    };
    runtime.block_on(tailing.follow(&mut io::stdout()))
}

struct Tailing<'a> {
    options: &'a Options,
    screen: Screen,
    /// The last message that was printed, or the newest one when it came.
    position: Option<String>,
    /// The position that it came with.
    asked: Option<String>,
    /// Messages that are still to be printed.
    left: Option<u64>,
    ping_period: Duration,
    /// What the hub's last `closing` said.
    hint: Option<Duration>,
    was_seated: bool,
    /// Tries since it was seated last.
    failures: u32,
}

impl Tailing<'_> {
    async fn follow(&mut self, out: &mut impl Write) -> CliExit {
        let seed = crate::clock::unix_now().0.unsigned_abs() ^ u64::from(std::process::id());
        let mut chance = SplitMix64(seed);
        loop {
            let Err(ended) = self.once(out).await;
            let (why, hint) = match ended {
                Ended::Done => return CliExit::done(""),
                Ended::Final(exit) => return CliExit { text: safe(&exit.text), ..exit },
                // What was never reached may be no hub at all.
                Ended::Passing(why, _) if !self.was_seated => {
                    return CliExit::failed(safe(&why));
                }
                Ended::Passing(why, hint) => (why, hint),
            };
            let longest = (BACK_WAIT.0 << self.failures.min(6)).min(BACK_WAIT.1);
            let wait = hint.unwrap_or_else(|| Duration::from_millis(chance.next() % longest));
            self.failures += 1;
            let shown = wait.as_secs_f32();
            self.note(&format!("{why}; coming back in {shown:.1} s"));
            tokio::time::sleep(wait).await;
        }
    }

    /// Something about the way of the frames, which is none of them.
    fn note(&self, text: &str) {
        // If nobody reads it, nobody misses it.
        _ = writeln!(io::stderr(), "cpi-hub: {}", safe(text));
    }

    fn path(&self) -> Result<String, RemoteFault> {
        let Options { hub, space, user, username, .. } = self.options;
        let mut path = format!("/v1/ws/spaces/{space}?username={}", query_value(username));
        match user {
            Some(user) => path.push_str(&format!("&user_id={user}")),
            None if hub.names_its_user()? => {}
            None => path.push_str("&user_id=0"),
        }
        if let Some(position) = &self.position {
            path.push_str(&format!("&after={position}"));
        }
        Ok(path)
    }

    /// One connection, to its end.
    async fn once(&mut self, out: &mut impl Write) -> Result<std::convert::Infallible, Ended> {
        let opened = self.options.hub.socket(&self.path()?).await;
        let mut socket = opened.map_err(|fault| self.unnamed(fault))?;
        (self.hint, self.asked) = (None, self.position.clone());
        loop {
            let wait = self.ping_period * 2 + SILENCE;
            let Ok(heard) = tokio::time::timeout(wait, socket.next()).await else {
                return Err(Ended::Passing("the hub is silent".into(), None));
            };
            match heard {
                Some(Ok(Message::Text(text))) => self.take(&text, &mut socket, out).await?,
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.as_ref().map(|frame| u16::from(frame.code));
                    return Err(self.closed(code, reason(frame)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(Ended::Passing("the connection ended".into(), None)),
            }
        }
    }

    /// A refusal that may be of a token: whoever shows one that is none, and says no user, is told
    /// that a user is missing.
    fn unnamed(&self, fault: RemoteFault) -> RemoteFault {
        match fault {
            RemoteFault::Refused(mut refused)
                if refused.status == 400 && self.options.user.is_none() =>
            {
                refused.message.push_str(", or the token is none that the hub takes");
                RemoteFault::Refused(refused)
            }
            fault => fault,
        }
    }

    /// What a close asks for (docs/CODES.md).
    fn closed(&self, code: Option<u16>, why: String) -> Ended {
        let why = format!("the hub closed the connection: {why}");
        match code {
            Some(1002 | 1007..=1009 | 4001 | 4003 | 4009) => Ended::Final(CliExit::failed(why)),
            Some(4029) => Ended::Passing(why, Some(self.hint.unwrap_or(SILENCE))),
            _ => Ended::Passing(why, self.hint),
        }
    }

    /// Prints a frame, if it is not printed yet.
    async fn take(
        &mut self,
        text: &str,
        socket: &mut Socket,
        out: &mut impl Write,
    ) -> Result<(), Ended> {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let data = &message["data"];
        let is_chat = message["type"] == "chat";
        match message["type"].as_str().unwrap_or_default() {
            "welcome" => self.seated(data),
            "chat" => {
                let id = data["id"].as_str().unwrap_or_default();
                // Ids ascend within a space.
                if self.position.as_deref().is_some_and(|position| id <= position) {
                    return Ok(());
                }
                self.position = Some(id.to_owned());
            }
            "resumed" => self.resumed(data),
            "closing" => self.hint = data["retry_after_ms"].as_u64().map(Duration::from_millis),
            "expiring" => {
                if let Some(token) = self.options.hub.token()? {
                    socket.send(Message::text(show_token(&token))).await?;
                }
            }
            _ => {}
        }
        match self.options.json {
            true => writeln!(out, "{text}")?,
            false => {
                if let Some(line) = self.screen.show(text) {
                    writeln!(out, "{}", safe(&line))?;
                }
            }
        }
        if is_chat && let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                // Members see it leave, not fall silent.
                _ = socket.close(None).await;
                return Err(Ended::Done);
            }
        }
        Ok(())
    }

    fn seated(&mut self, data: &Value) {
        (self.was_seated, self.failures) = (true, 0);
        let newest = data["position"].as_str().map(str::to_owned);
        self.position = self.position.take().or(newest);
        if let Some(period) = data["ping_period_ms"].as_u64() {
            self.ping_period = Duration::from_millis(period);
        }
    }

    /// What was missed has come, or is named.
    fn resumed(&mut self, data: &Value) {
        let text = |name: &str| data[name].as_str().unwrap_or_default();
        let (from, to) = (text("from"), text("to"));
        if data["complete"] == false {
            let why = text("reason");
            let after = self.asked.as_deref().unwrap_or_default();
            self.note(&format!("what was said behind {after} up to {from} is missing: {why}"));
        }
        if text("reason") == "ahead" || self.position.as_deref().is_none_or(|own| own < to) {
            self.position = Some(to.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tailing(options: &Options) -> Tailing<'_> {
        Tailing {
            options,
            screen: Screen::new(),
            position: None,
            asked: None,
            left: None,
            ping_period: Duration::ZERO,
            hint: Some(Duration::from_millis(4_200)),
            was_seated: false,
            failures: 0,
        }
    }

    fn options() -> Options {
        let hub = Remote::parse(remote::DEFAULT_URL).expect("an address");
        let username = "tail".into();
        Options { hub, space: 3, user: None, username, after: None, count: None, json: true }
    }

    #[test]
    fn it_comes_back_where_the_hub_lets_it_and_when_it_says() {
        let options = options();
        let tailing = tailing(&options);
        let ended = |code| tailing.closed(code, "x".into());
        let hint = Some(Duration::from_millis(4_200));
        assert!(matches!(ended(Some(1012)), Ended::Passing(_, wait) if wait == hint));
        assert!(matches!(ended(None), Ended::Passing(..)));
        for code in [1002, 1007, 1008, 1009, 4001, 4003, 4009] {
            assert!(matches!(ended(Some(code)), Ended::Final(CliExit { code: 1, .. })), "{code}");
        }
    }

    #[test]
    fn it_asks_for_what_comes_behind_the_last_that_it_has() {
        let options = options();
        let mut tailing = tailing(&options);
        assert_eq!(tailing.path().expect("a path"), "/v1/ws/spaces/3?username=tail&user_id=0");
        tailing.seated(&serde_json::json!({"position": "B"}));
        tailing.seated(&serde_json::json!({"position": "C"}));
        assert!(tailing.path().expect("a path").ends_with("&after=B"));
        tailing.resumed(&serde_json::json!({"from": "B", "to": "D", "complete": true}));
        assert!(tailing.path().expect("a path").ends_with("&after=D"));
        tailing.resumed(
            &serde_json::json!({"from": "A", "to": "A", "complete": false, "reason": "ahead"}),
        );
        assert!(tailing.path().expect("a path").ends_with("&after=A"));
    }
}
