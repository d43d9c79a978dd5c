//! Where the hub is to listen, and whether it may. Where it is handed sockets that listen already,
//! these say where, and a setting may say the same.

use std::net::SocketAddr;

use super::sources::Source;
use super::{BadConfig, Reading};

/// Where the sockets listen that the process was started with; `None`: the hub opens its own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Inherited {
    /// The port of all.
    pub main: Option<SocketAddr>,
    /// Plain HTTP beside TLS.
    pub plain: Option<SocketAddr>,
}

/// The variable that says so.
const HANDED: &str = "LISTEN_FDS";

/// The port of all.
pub(super) fn address(
    reading: &mut Reading<'_>,
    inherited: Option<SocketAddr>,
) -> Result<SocketAddr, BadConfig> {
    let expected = "an address and port such as 127.0.0.1:8080";
    let mut listen = reading.value("listen", expected, "127.0.0.1:8080", parse)?;
    let sources = reading.sources;
    let decided = sources.get("listen").is_some_and(|given| given.source.beats_port());
    if let Some(port) = sources.port.as_deref().filter(|_| !decided) {
        let bad = || BadConfig(format!("PORT: `{port}` is not a port such as 8080"));
        listen.set_port(port.parse().map_err(|_| bad())?);
        reading.note("listen", listen.to_string(), Source::Variable("PORT".into()));
    }
    let said = sources.get("listen").map(|_| listen);
    handed(reading, "listen", (said, inherited)).map(|handed| handed.unwrap_or(listen))
}

/// Where a socket listens that was handed over, if one was. Whoever says something else elsewhere
/// believes the hub to be where it is not.
pub(super) fn handed(
    reading: &mut Reading<'_>,
    setting: &'static str,
    (said, inherited): (Option<SocketAddr>, Option<SocketAddr>),
) -> Result<Option<SocketAddr>, BadConfig> {
    let Some(socket) = inherited else { return Ok(None) };
    if let Some(said) = said.filter(|said| *said != socket) {
        let problem = format!(
            "{said}, but the socket that the hub is handed ({HANDED}) listens on {socket}; \
             leave it out"
        );
        return Err(reading.bad(setting, problem));
    }
    reading.note(setting, socket.to_string(), Source::Variable(HANDED.into()));
    Ok(Some(socket))
}

/// An address and a port. `localhost` by hand: a name that resolves elsewhere must not open the
/// hub.
pub(super) fn parse(text: &str) -> Option<SocketAddr> {
    text.replace("localhost:", "127.0.0.1:").parse().ok()
}

/// Where nobody is asked who they are, whoever reaches the port is whoever they say.
pub(super) fn within_loopback(
    setting: &'static str,
    listen: Option<SocketAddr>,
    reading: &Reading<'_>,
) -> Result<(), BadConfig> {
    let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback()) else { return Ok(()) };
    Err(BadConfig(format!(
        "{}: {listen} is reached from other machines, and nobody is authenticated; \
         listen on 127.0.0.1, give HUB_JWT_SECRET, or say --insecure if you mean it",
        reading.name_of(setting)
    )))
}

/// What testers may make the hub send, and hold, is nothing for others.
pub(super) fn debug_within_loopback(
    listen: &[Option<SocketAddr>],
    reading: &Reading<'_>,
) -> Result<(), BadConfig> {
    let open = listen.iter().flatten().find(|listen| !listen.ip().is_loopback());
    let Some(open) = open else { return Ok(()) };
    Err(reading.bad(
        "debug_endpoints",
        format_args!(
            "{open} is reached from other machines; listen on 127.0.0.1, or say --insecure if \
             you mean it"
        ),
    ))
}
