//! What an operator has done to the store while the hub serves: dead letters are listed and tried
//! again, copies are made.
//!
//! Owns the ways to those who do it: the batcher, which alone writes the letters' file and the
//! sink, and the thread that copies. Each does one thing at a time; who asks meanwhile is told so.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::dead_letters::newest::{Newest, newest};
use super::dead_letters::retry::Retried;

pub(super) mod copies;

pub(crate) use copies::Kept;
use copies::{CopyState, Orders};

/// Somebody waits for letters to be tried again.
pub(super) type Retrial = oneshot::Sender<Retried>;

/// The way to the store of whoever runs the hub. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Care {
    data_dir: Arc<PathBuf>,
    retrials: mpsc::Sender<Retrial>,
    /// `None`: the store is a database that has tools of its own for that.
    copies: Option<Orders>,
}

/// Why something was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotDone {
    /// Somebody else has asked for the same just now.
    Busy,
    /// The store is away, or the hub ends.
    Away,
}

/// The copies that are there, and the one that is made.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// The folder.
    pub folder: PathBuf,
    /// What the thread does now, and did last.
    pub state: CopyState,
    /// The copies in the folder, the newest first.
    pub kept: Vec<Kept>,
}

impl Care {
    pub(super) fn new(
        data_dir: PathBuf,
        retrials: mpsc::Sender<Retrial>,
        copies: Option<Orders>,
    ) -> Care {
        Care { data_dir: Arc::new(data_dir), retrials, copies }
    }

    /// The newest dead letters, `max` of them. Reads a file: not for a thread that others wait for.
    pub(crate) fn letters(&self, max: usize) -> io::Result<Newest> {
        newest(&self.data_dir, max)
    }

    /// Has the next letters tried again, those that were refused first.
    pub(crate) async fn retry_letters(&self) -> Result<Retried, NotDone> {
        let (answer, answered) = oneshot::channel();
        self.retrials.try_send(answer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotDone::Busy,
            mpsc::error::TrySendError::Closed(_) => NotDone::Away,
        })?;
        answered.await.map_err(|_| NotDone::Away)
    }

    /// Whether copies can be made here.
    pub(crate) fn can_copy(&self) -> bool {
        self.copies.is_some()
    }

    /// Has a copy made, unless one is being made already.
    pub(crate) fn copy(&self) -> Result<(), NotDone> {
        self.copies.as_ref().ok_or(NotDone::Away)?.copy()
    }

    /// The copies, if any are made here. Reads a folder: not for a thread that others wait for.
    pub(crate) fn copies(&self) -> io::Result<Option<Shown>> {
        self.copies.as_ref().map(Orders::shown).transpose()
    }
}
