//! Where the hub is to listen, and whether it may.

use std::net::SocketAddr;

use super::sources::Source;
use super::{BadConfig, Reading};

/// The port of all.
pub(super) fn address(reading: &mut Reading<'_>) -> Result<SocketAddr, BadConfig> {
    let expected = "an address and port such as 127.0.0.1:8080";
    let mut listen = reading.value("listen", expected, "127.0.0.1:8080", parse)?;
    let sources = reading.sources;
    let decided = sources.get("listen").is_some_and(|given| given.source.beats_port());
    if let Some(port) = sources.port.as_deref().filter(|_| !decided) {
        let bad = || BadConfig(format!("PORT: `{port}` is not a port such as 8080"));
        listen.set_port(port.parse().map_err(|_| bad())?);
        reading.note("listen", listen.to_string(), Source::Variable("PORT".into()));
    }
    Ok(listen)
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
