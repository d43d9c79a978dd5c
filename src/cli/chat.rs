//! `cpi-hub chat`: a space in the terminal. Lines typed are said; what the space says is printed.
//!
//! Speaks `cpi-hub.v1` and names each message, so that it knows what has been accepted before it
//! leaves. Prints nothing that a terminal would take for a command.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::mem;

use clap::{Arg, ArgMatches};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::mpsc::{Receiver, channel};
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::CliExit;
use super::remote::{self, Remote, RemoteFault, Socket, query_value};
use super::screen::{Composed, Screen, safe};
use crate::limits::TYPED_LINES_MAX;
use crate::wire::parse_int;

/// The user who talks, and the space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    hub: Remote,
    space: i32,
    user: i32,
    /// The name shown to others; empty: the hub makes one.
    username: String,
}

const AFTER: &str = "What is typed is accepted when the command ends, or was refused aloud. A \
    token is read again from its file when the hub says that it ends soon.\n\n\
    Exit code: 0 left, 1 the hub refused or closed the connection, 78 a bad option.";

/// The subcommand's own command line.
pub(super) fn command() -> clap::Command {
    let arg = |name: &'static str, form: &'static str| {
        Arg::new(name).value_name(form).allow_hyphen_values(true)
    };
    clap::Command::new("chat")
        .about("Joins a space from the terminal: lines typed are said, Ctrl-D leaves")
        .after_help(AFTER)
        .args([
            arg("space", "N").long("space").required(true).help("Number of the space"),
            arg("user_id", "N").long("user-id").required(true).help("Your user id"),
            arg("username", "NAME").long("username").help("Your name [default: User and the id]"),
        ])
        .args(remote::arguments())
}

/// A number of a space's or a user's.
pub(super) fn number(matches: &ArgMatches, name: &str, flag: &str) -> Result<Option<i32>, CliExit> {
    let Some(given) = matches.get_one::<String>(name) else { return Ok(None) };
    let text = format!("{flag}: `{given}` is not a number such as 1");
    parse_int(given).map(Some).ok_or(CliExit::bad(text))
}

impl Options {
    pub(super) fn read(
        matches: &ArgMatches,
        environment: &[(OsString, OsString)],
    ) -> Result<Options, CliExit> {
        Ok(Options {
            hub: Remote::read(matches, environment)?,
            space: number(matches, "space", "--space")?.unwrap_or_default(),
            user: number(matches, "user_id", "--user-id")?.unwrap_or_default(),
            username: matches.get_one::<String>("username").cloned().unwrap_or_default(),
        })
    }

    fn path(&self) -> String {
        let name = match self.username.as_str() {
            "" => String::new(),
            name => format!("&username={}", query_value(name)),
        };
        format!("/v1/ws/spaces/{}?user_id={}{name}", self.space, self.user)
    }
}

/// Why a conversation ended that nobody left.
#[derive(Debug, thiserror::Error)]
enum ChatFault {
    #[error(transparent)]
    Remote(#[from] RemoteFault),
    #[error("the hub closed the connection: {0}")]
    Closed(String),
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

impl From<tungstenite::Error> for ChatFault {
    fn from(error: tungstenite::Error) -> ChatFault {
        ChatFault::Remote(error.into())
    }
}

/// Talks until the keyboard or the hub ends it.
pub fn run(options: &Options) -> CliExit {
    let runtime = match remote::runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let ended = runtime.block_on(async {
        let socket = options.hub.socket(&options.path()).await?;
        talk(&options.hub, socket, keyboard(), &mut io::stdout()).await
    });
    match ended {
        Ok(()) => CliExit::done(""),
        // Nobody reads it any more.
        Err(ChatFault::Terminal(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            CliExit::done("")
        }
        Err(ChatFault::Remote(fault)) => {
            let exit = CliExit::from(fault);
            CliExit { text: safe(&exit.text), ..exit }
        }
        Err(fault) => CliExit::failed(safe(&fault.to_string())),
    }
}

/// Lines as they are typed. The thread ends with the process: nothing else can interrupt a read
/// of the terminal.
fn keyboard() -> Receiver<String> {
    let (typed, lines) = channel(TYPED_LINES_MAX);
    std::thread::spawn(move || {
        let all = io::stdin().lock().lines().map_while(Result::ok);
        all.take_while(|line| typed.blocking_send(line.clone()).is_ok()).for_each(drop);
    });
    lines
}

/// Whether there is more to say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Typing {
    Goes,
    Ended,
    Left,
}

async fn talk(
    hub: &Remote,
    mut socket: Socket,
    mut lines: Receiver<String>,
    out: &mut impl Write,
) -> Result<(), ChatFault> {
    let mut screen = Screen::new();
    let mut typing = Typing::Goes;
    loop {
        // Not before all is answered: what was said is accepted then, or refused aloud.
        if typing == Typing::Ended && screen.unanswered == 0 {
            typing = Typing::Left;
            let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            socket.close(Some(goodbye)).await?;
        }
        let heard = tokio::select! {
            line = lines.recv(), if typing == Typing::Goes && screen.is_seated => {
                match line.map(|line| screen.compose(&line)) {
                    Some(Composed::Nothing) => {}
                    Some(Composed::Message(text)) => socket.send(Message::text(text)).await?,
                    Some(Composed::TooLong) => {
                        writeln!(out, "! that is too long for one message")?;
                    }
                    None => typing = Typing::Ended,
                }
                continue;
            }
            heard = socket.next() => heard,
        };
        match heard {
            Some(Ok(Message::Text(text))) => {
                if let Some(line) = screen.show(&text) {
                    writeln!(out, "{}", safe(&line))?;
                }
                if mem::take(&mut screen.is_expiring)
                    && let Some(token) = hub.token()?
                {
                    socket.send(Message::text(show_token(&token))).await?;
                }
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None if typing == Typing::Left => return Ok(()),
            Some(Ok(Message::Close(frame))) => return Err(ChatFault::Closed(reason(frame))),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(ChatFault::Closed(reason(None))),
        }
    }
}

/// The message that shows another token.
pub(super) fn show_token(token: &str) -> String {
    json!({"type": "auth", "data": {"token": token}}).to_string()
}

/// Why the hub closed a connection.
pub(super) fn reason(frame: Option<CloseFrame>) -> String {
    match frame {
        Some(frame) => format!("{} {}", u16::from(frame.code), frame.reason),
        None => "it gave no reason".into(),
    }
}
