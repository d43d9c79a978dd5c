//! `cpi-hub chat`: a space in the terminal. Lines typed are said; what the space says is printed.
//!
//! Speaks `cpi-hub.v1` and names each message, so that it knows what has been accepted before it
//! leaves. Prints nothing that a terminal would take for a command.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufRead, Write};
use std::mem;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use clap::{Arg, ArgMatches};
use serde::Serialize;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::{HeaderValue, Response, Uri, header};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use super::{CliExit, EXIT_CONFIG};
use crate::limits::TYPED_LINES_MAX;
use crate::wire::{SUBPROTOCOL, parse_int};

/// How often the keyboard is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(100);
const DEFAULT_URL: &str = "ws://127.0.0.1:8080";

/// The user who talks, and the space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChatOptions {
    /// The hub, without a path.
    pub url: String,
    /// The space.
    pub space: i32,
    /// The user.
    pub user: i32,
    /// The name shown to others; empty: the hub makes one.
    pub username: String,
    /// Where the token is that the hub asks for; read again when the hub says that it ends soon.
    pub token_file: Option<PathBuf>,
}

/// The subcommand's own command line.
pub(super) fn command() -> clap::Command {
    let arg = |name: &'static str, form: &'static str| Arg::new(name).value_name(form);
    clap::Command::new("chat")
        .about("Joins a space from the terminal: lines typed are said, Ctrl-D leaves")
        .args([
            arg("space", "N").long("space").required(true).help("Number of the space"),
            arg("user_id", "N").long("user-id").required(true).help("Your user id"),
            arg("username", "NAME").long("username").help("Your name [default: User and the id]"),
            arg("url", "URL").long("url").help("The hub [default: ws://127.0.0.1:8080]"),
            arg("token_file", "FILE")
                .long("token-file")
                .help("Your token, where the hub asks for one; read again before it ends"),
        ])
}

impl ChatOptions {
    pub(super) fn read(matches: &ArgMatches) -> Result<ChatOptions, CliExit> {
        let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
        let number = |name: &str, flag: &str| {
            let given = text(name);
            let problem = format!("{flag}: `{given}` is not a number such as 1");
            parse_int(given).ok_or(CliExit { code: EXIT_CONFIG, text: problem })
        };
        let url = Some(text("url")).filter(|url| !url.is_empty()).unwrap_or(DEFAULT_URL);
        Ok(ChatOptions {
            url: url.trim_end_matches('/').into(),
            space: number("space", "--space")?,
            user: number("user_id", "--user-id")?,
            username: text("username").into(),
            token_file: matches.get_one::<String>("token_file").map(PathBuf::from),
        })
    }

    /// The token that is to be shown, if there is one.
    fn token(&self) -> Result<Option<String>, ChatFault> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let bad = |error| ChatFault::Token { file: file.clone(), error };
        let token = std::fs::read_to_string(file).map_err(bad)?.trim_end().to_owned();
        let is_one = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let none = || bad(io::Error::other("one line with a token is expected"));
        if is_one { Ok(Some(token)) } else { Err(none()) }
    }

    /// The address to connect to, and the socket's URL.
    fn target(&self) -> Result<(String, String), ChatFault> {
        let url = self.url.replacen("http://", "ws://", 1);
        let bad = || ChatFault::Url(self.url.clone());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let (Some("ws"), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(bad()) };
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let mut path = format!("{url}/v1/ws/spaces/{}?user_id={}", self.space, self.user);
        if !self.username.is_empty() {
            path.push_str("&username=");
            for byte in self.username.bytes() {
                // A string takes whatever is written to it.
                let _ = write!(path, "%{byte:02X}");
            }
        }
        Ok((address, path))
    }
}

/// Why a conversation ended that nobody left.
#[derive(Debug, thiserror::Error)]
enum ChatFault {
    #[error("--url: `{0}` is not a hub's address such as {DEFAULT_URL} (TLS is not spoken here)")]
    Url(String),
    #[error("--token-file: {}: {error}", file.display())]
    Token { file: PathBuf, error: io::Error },
    #[error("{address}: {error}; is the hub running?")]
    Connect { address: String, error: io::Error },
    #[error("the hub refused: {0}")]
    Refused(String),
    #[error("the hub closed the connection: {0}")]
    Closed(String),
    #[error("the connection broke: {0}")]
    Broken(#[from] Box<Error>),
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

impl From<Error> for ChatFault {
    fn from(error: Error) -> ChatFault {
        ChatFault::Broken(Box::new(error))
    }
}

/// Talks until the keyboard or the hub ends it.
pub fn run(options: &ChatOptions) -> ExitCode {
    let talk = |socket| talk(options, socket, &keyboard(), &mut io::stdout());
    match connect(options).and_then(talk) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            super::last_line(&safe(&fault.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn connect(options: &ChatOptions) -> Result<WebSocket<TcpStream>, ChatFault> {
    let (address, url) = options.target()?;
    let token = options.token()?;
    let stream =
        TcpStream::connect(&address).map_err(|error| ChatFault::Connect { address, error })?;
    stream.set_nodelay(true)?;
    let mut request = url.into_client_request()?;
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        request.headers_mut().insert(header::AUTHORIZATION, value.expect("visible letters"));
    }
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => {
            socket.get_ref().set_read_timeout(Some(LOOK_PERIOD))?;
            Ok(socket)
        }
        Err(HandshakeError::Failure(Error::Http(answer))) => Err(ChatFault::Refused(why(&answer))),
        Err(HandshakeError::Failure(error)) => Err(error.into()),
        Err(HandshakeError::Interrupted(_)) => unreachable!("the socket blocks without a timeout"),
    }
}

/// What an answer that is no upgrade says.
fn why(answer: &Response<Option<Vec<u8>>>) -> String {
    let body = answer.body().as_deref().unwrap_or_default();
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    json["message"].as_str().map_or_else(|| answer.status().to_string(), str::to_owned)
}

/// Lines as they are typed. The thread ends with the process: nothing else can interrupt a read
/// of the terminal.
fn keyboard() -> Receiver<String> {
    let (typed, lines) = sync_channel(TYPED_LINES_MAX);
    std::thread::spawn(move || {
        let all = io::stdin().lock().lines().map_while(Result::ok);
        all.take_while(|line| typed.send(line.clone()).is_ok()).for_each(drop);
    });
    lines
}

fn talk(
    options: &ChatOptions,
    mut socket: WebSocket<TcpStream>,
    lines: &Receiver<String>,
    out: &mut impl Write,
) -> Result<(), ChatFault> {
    let mut screen = Screen::new();
    let mut typing = Typing::Goes;
    loop {
        if typing == Typing::Goes && screen.is_seated {
            typing = say(&mut socket, lines, &mut screen, out)?;
        }
        // Not before all is answered: what was said is accepted then, or refused aloud.
        if typing == Typing::Ended && screen.unanswered == 0 {
            typing = Typing::Left;
            socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))?;
        }
        match socket.read() {
            Ok(Message::Text(text)) => {
                if let Some(line) = screen.show(&text) {
                    writeln!(out, "{}", safe(&line))?;
                }
                if mem::take(&mut screen.is_expiring)
                    && let Some(token) = options.token()?
                {
                    let auth = json!({"type": "auth", "data": {"token": token}});
                    socket.send(Message::text(auth.to_string()))?;
                }
            }
            Ok(Message::Close(_)) | Err(_) if typing == Typing::Left => return Ok(()),
            Ok(Message::Close(frame)) => return Err(ChatFault::Closed(reason(frame))),
            Ok(_) => {}
            Err(Error::Io(error)) if is_timeout(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether there is more to say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Typing {
    Goes,
    Ended,
    Left,
}

/// Says the lines that have been typed.
fn say(
    socket: &mut WebSocket<TcpStream>,
    lines: &Receiver<String>,
    screen: &mut Screen,
    out: &mut impl Write,
) -> Result<Typing, ChatFault> {
    loop {
        match lines.try_recv().map(|line| screen.compose(&line)) {
            Ok(Composed::Nothing) => {}
            Ok(Composed::Message(text)) => socket.send(Message::text(text))?,
            Ok(Composed::TooLong) => writeln!(out, "! that is too long for one message")?,
            Err(TryRecvError::Empty) => return Ok(Typing::Goes),
            Err(TryRecvError::Disconnected) => return Ok(Typing::Ended),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn reason(frame: Option<CloseFrame>) -> String {
    match frame {
        Some(frame) => format!("{} {}", u16::from(frame.code), frame.reason),
        None => "it gave no reason".into(),
    }
}

/// A typed line, as it goes out.
enum Composed {
    Nothing,
    Message(String),
    TooLong,
}

/// What is known of the space, and what of ours is still unanswered.
struct Screen {
    is_seated: bool,
    /// Another token is to be shown.
    is_expiring: bool,
    message_bytes_max: usize,
    names: HashMap<i64, String>,
    nonces: String,
    said: u64,
    unanswered: u64,
}

impl Screen {
    fn new() -> Screen {
        // Random, so that a second run's messages are not taken for repeats of the first's.
        let nonces = format!("{:x}", RandomState::new().build_hasher().finish());
        let names = HashMap::new();
        let (said, unanswered) = (0, 0);
        let (is_seated, is_expiring, message_bytes_max) = (false, false, 512);
        Screen { is_seated, is_expiring, message_bytes_max, names, nonces, said, unanswered }
    }

    fn compose(&mut self, line: &str) -> Composed {
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
    fn show(&mut self, text: &str) -> Option<String> {
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
fn safe(text: &str) -> String {
    text.replace(char::is_control, "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str, username: &str) -> ChatOptions {
        let (url, username) = (url.into(), username.into());
        ChatOptions { url, space: 1, user: 7, username, token_file: None }
    }

    #[test]
    fn a_hubs_address_becomes_the_sockets() {
        let (address, url) = options("http://hub.example", "Ana Ñ").target().expect("an address");
        assert_eq!(address, "hub.example:80");
        assert_eq!(url, "ws://hub.example/v1/ws/spaces/1?user_id=7&username=%41%6E%61%20%C3%91");
        let (address, url) = options(DEFAULT_URL, "").target().expect("an address");
        assert_eq!(address, "127.0.0.1:8080");
        assert_eq!(url, "ws://127.0.0.1:8080/v1/ws/spaces/1?user_id=7");
        for bad in ["wss://hub.example", "hub", "", "ws://", "file:///x"] {
            let fault = options(bad, "").target().expect_err(bad).to_string();
            assert!(fault.starts_with("--url: "), "{fault}");
        }
    }

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
