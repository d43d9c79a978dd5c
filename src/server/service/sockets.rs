//! Sockets that listen already when the process begins (`LISTEN_FDS`): whoever holds them too keeps
//! those who connect while one process ends and the next one begins.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::{BadConfig, Inherited};

/// What the socket for plain HTTP beside TLS is named.
const PLAIN: &str = "plain";

/// The sockets.
#[derive(Default, Debug)]
pub(crate) struct Sockets {
    /// The port of all, and where it listens.
    pub main: Option<(TcpListener, SocketAddr)>,
    /// Plain HTTP beside TLS.
    pub plain: Option<(TcpListener, SocketAddr)>,
}

impl Sockets {
    /// Takes those that are meant for this process.
    pub(super) fn take() -> Result<Sockets, BadConfig> {
        let variable = |name: &str| std::env::var_os(name).map(|it| it.to_string_lossy().into());
        let [fds, pid, names] =
            ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"].map(variable) as [Option<String>; 3];
        let roles = match (fds, pid) {
            (Some(fds), Some(pid)) if is_own(&pid)? => roles(&fds, names.as_deref())?,
            _ => return Ok(Sockets::default()),
        };
        let mut handed = ListenFd::from_env();
        let mut sockets = Sockets::default();
        for (at, role) in roles.into_iter().enumerate() {
            let bad = |error: io::Error| BadConfig(format!("LISTEN_FDS: {error}"));
            let listener = handed.take_tcp_listener(at).map_err(bad)?;
            let listener = listener.ok_or_else(|| bad(io::Error::other("a socket is missing")))?;
            if !SockRef::from(&listener).is_listener().map_err(bad)? {
                return Err(bad(io::Error::other(format!("fd {} does not listen", at + 3))));
            }
            let address = listener.local_addr().map_err(bad)?;
            let place = match role {
                Role::Main => &mut sockets.main,
                Role::Plain => &mut sockets.plain,
            };
            *place = Some((listener, address));
        }
        Ok(sockets)
    }

    pub(super) fn addresses(&self) -> Inherited {
        let address = |socket: &Option<(TcpListener, SocketAddr)>| Some(socket.as_ref()?.1);
        Inherited { main: address(&self.main), plain: address(&self.plain) }
    }
}

/// What a socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Main,
    Plain,
}

/// Whether the sockets are this process's: variables may be left over from another one's start.
fn is_own(pid: &str) -> Result<bool, BadConfig> {
    let bad = |_| BadConfig(format!("LISTEN_PID: `{pid}` is not a process"));
    Ok(pid.parse::<u32>().map_err(bad)? == std::process::id())
}

/// What each of the sockets is for. Two are told apart by their names: in which order a service
/// manager hands over what several of its units hold is nowhere promised.
fn roles(fds: &str, names: Option<&str>) -> Result<Vec<Role>, BadConfig> {
    let bad = |variable: &str, what: String| Err(BadConfig(format!("{variable}: {what}")));
    let Ok(count) = fds.parse::<u32>() else {
        return bad("LISTEN_FDS", format!("`{fds}` is not a number of sockets"));
    };
    let names = names.filter(|names| !names.is_empty());
    let roles: Vec<Role> = match names {
        Some(names) => names.split(':').map(role).collect(),
        None => vec![Role::Main; count.min(2) as usize],
    };
    let plain = roles.iter().filter(|role| **role == Role::Plain).count();
    match (count, roles.len(), plain) {
        (3.., ..) => bad(
            "LISTEN_FDS",
            format!(
                "{count} sockets are too many: the hub takes one, and beside TLS a second one \
                 that is named {PLAIN}"
            ),
        ),
        (count, named, _) if named as u64 != u64::from(count) => {
            let names = names.unwrap_or_default();
            bad("LISTEN_FDNAMES", format!("`{names}` are not the names of {count} sockets"))
        }
        (1, _, 1) => bad("LISTEN_FDNAMES", format!("the only socket is named {PLAIN}")),
        (2, _, 0 | 2) => {
            bad("LISTEN_FDNAMES", format!("one of two sockets is to be named {PLAIN}"))
        }
        _ => Ok(roles),
    }
}

fn role(name: &str) -> Role {
    if name == PLAIN { Role::Plain } else { Role::Main }
}
