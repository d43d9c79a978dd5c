//! What is between the process and a service manager that has started it: sockets that listen
//! already, and what it is told. Systemd's protocol, which others speak too.
//!
//! Read once, before anything else happens in the process.

mod herald;
mod parts;
mod sockets;

pub(super) use herald::{Audience, Herald, Phase, Phases};
pub(super) use sockets::Sockets;

use crate::config::{BadConfig, Inherited};

/// What the process has from a service manager; nothing, where there is none.
#[derive(Default, Debug)]
pub struct Service {
    pub(super) sockets: Sockets,
    pub(super) audience: Audience,
}

impl Service {
    /// Takes it out of the environment. To be called before there is any thread: the variables that
    /// say whose the sockets are must be removed.
    pub fn take() -> Result<Service, BadConfig> {
        Ok(Service { sockets: Sockets::take()?, audience: Audience::find() })
    }

    /// Where its sockets listen, which is for the configuration to judge.
    pub fn inherited(&self) -> Inherited {
        self.sockets.addresses()
    }
}
