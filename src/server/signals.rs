//! The signals that the process takes, and what each of them asks for.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// SIGTERM, SIGINT: the end, in order.
    End,
    /// SIGQUIT: the end, without waiting for members.
    QuickEnd,
    /// SIGHUP: what can be is read again.
    Reload,
}

/// The signals of the process.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes them from here on.
    pub(super) fn listen() -> io::Result<Signals> {
        // A file that may not grow further, which the standard library has no name for.
        const FILE_SIZE: SignalKind = SignalKind::from_raw(25);
        // What is taken once ends the process no more, though nobody waits for it. A write beyond
        // a limit of file sizes is an error then, like that on a full disk.
        for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2(), FILE_SIZE] {
            drop(signal(ignored)?);
        }
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next of them.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.quit.recv() => Asked::QuickEnd,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    /// The next that asks for the end. There is nothing to reload in a hub that ends.
    pub(super) async fn next_end(&mut self) {
        while self.next().await == Asked::Reload {
            tracing::info!("the hub ends: nothing is read again");
        }
    }
}
