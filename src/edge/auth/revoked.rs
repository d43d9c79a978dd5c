//! Tokens that were called back before their end: of a user, or one by its id.
//!
//! Owns the list, and its file in the data directory, so that a restart forgets none. What is
//! called back is kept until the time that was said with it, after which its tokens have ended.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::claims::Claims;
use super::secret::mark;
use crate::limits::REVOCATIONS_MAX;
use crate::shard::event::Revocation;
use crate::store::replace_file;
use crate::wire::UserId;
use crate::wire::time::Micros;

/// The file's name.
const FILE: &str = "revocations.json";

/// Errors of a file that is not there.
const NOWHERE: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];

/// What is called back.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) enum Whose {
    /// All tokens of a user that were made by then.
    #[serde(rename = "user_id")]
    User(i32),
    /// The token of this id.
    #[serde(rename = "token_id")]
    Token(String),
}

/// When something was called back, and until when that has to be known; in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Times {
    at: i64,
    until: i64,
}

#[derive(Clone, Default, Debug)]
struct List(BTreeMap<Whose, Times>);

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    whose: Whose,
    #[serde(flatten)]
    times: Times,
}

/// What is called back now. Cheap to clone; all clones see the same.
#[derive(Clone, Debug)]
pub(crate) struct Revoked {
    list: watch::Receiver<List>,
    requests: mpsc::Sender<Request>,
}

/// Something to be called back, and who waits for it.
#[derive(Debug)]
struct Request {
    whose: Whose,
    times: Times,
    done: oneshot::Sender<Result<(), NotRevoked>>,
}

/// Keeps the list: the one that writes it.
#[derive(Debug)]
pub(crate) struct Keeper {
    list: watch::Sender<List>,
    requests: mpsc::Receiver<Request>,
    path: PathBuf,
}

/// Why something is not called back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRevoked {
    /// As much is called back as is kept.
    #[error("{REVOCATIONS_MAX} are kept")]
    Full,
    /// It could not be kept.
    #[error("{0}")]
    Unkept(#[from] io::Error),
}

impl Revoked {
    /// What the file of a data directory says; nothing, where there is none.
    pub(crate) fn open(data_dir: &Path) -> io::Result<(Revoked, Keeper)> {
        let path = data_dir.join(FILE);
        let list = match fs::read(&path) {
            Ok(bytes) => parse(&bytes).map_err(|error| {
                io::Error::other(format!("{}: {error}; mend it or move it away", path.display()))
            })?,
            // The store says what is wrong with the directory, if that is none.
            Err(error) if NOWHERE.contains(&error.kind()) => List::default(),
            Err(error) => return Err(error),
        };
        let (sender, list) = watch::channel(list);
        // Those that are called back wait for the disk one by one.
        let (requests, asked) = mpsc::channel(1);
        Ok((Revoked { list, requests }, Keeper { list: sender, requests: asked, path }))
    }

    /// Whether a token is called back.
    pub(super) fn has(&self, claims: &Claims) -> bool {
        let list = self.list.borrow();
        let UserId(user) = claims.user;
        // One that does not say when it was made was made before.
        let of_user = list.0.get(&Whose::User(user));
        let by_user = of_user.is_some_and(|it| claims.issued.is_none_or(|made| made <= it.at));
        let by_id = |id: &str| list.0.contains_key(&Whose::Token(id.into()));
        by_user || claims.id.as_deref().is_some_and(by_id)
    }

    /// Calls something back. It is on the disk when this returns.
    pub(super) async fn add(&self, whose: Whose, at: i64, until: i64) -> Result<(), NotRevoked> {
        let (done, wait) = oneshot::channel();
        let gone = || NotRevoked::Unkept(io::ErrorKind::BrokenPipe.into());
        let request = Request { whose, times: Times { at, until }, done };
        self.requests.send(request).await.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }
}

impl Keeper {
    /// Keeps the list until nobody can ask any more.
    pub(crate) async fn run(mut self) {
        while let Some(Request { whose, times, done }) = self.requests.recv().await {
            let kept = self.keep(whose, times).await;
            if let Err(error) = &kept {
                tracing::error!(%error, "a revocation is not kept");
            }
            // Whoever asked may have gone.
            _ = done.send(kept);
        }
    }

    /// On the disk first: what is told to be called back is so after a restart, too.
    async fn keep(&self, whose: Whose, times: Times) -> Result<(), NotRevoked> {
        let mut next = self.list.borrow().clone();
        next.0.retain(|_, known| known.until > times.at);
        let before = next.0.get(&whose).map_or(times.until, |known| known.until);
        next.0.insert(whose, Times { until: times.until.max(before), ..times });
        if next.0.len() > REVOCATIONS_MAX {
            return Err(NotRevoked::Full);
        }
        let (path, bytes) = (self.path.clone(), text(&next));
        let written = tokio::task::spawn_blocking(move || replace_file(&path, &bytes)).await;
        written.map_err(io::Error::other)??;
        self.list.send_replace(next);
        Ok(())
    }
}

/// What of it the heart knows: members that came by such tokens.
pub(crate) fn revocation(whose: &Whose, now: Micros) -> Revocation {
    match whose {
        Whose::User(user) => Revocation::User(UserId(*user), now.0.div_euclid(1_000_000)),
        Whose::Token(id) => Revocation::Token(mark(id.as_bytes())),
    }
}

fn text(list: &List) -> Vec<u8> {
    let mut out = Vec::new();
    for (whose, times) in &list.0 {
        let line = Line { whose: whose.clone(), times: *times };
        out.extend(serde_json::to_vec(&line).expect("plain structs serialise"));
        out.push(b'\n');
    }
    out
}

fn parse(bytes: &[u8]) -> Result<List, String> {
    let mut list = List::default();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let line: Line =
            serde_json::from_slice(line).map_err(|_| format!("line {} is none", number + 1))?;
        list.0.insert(line.whose, line.times);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(user: i32, issued: Option<i64>, id: Option<&str>) -> Claims {
        Claims::of(UserId(user), Micros(0), issued, id)
    }

    fn open(dir: &Path) -> (Revoked, Keeper) {
        Revoked::open(dir).expect("a list")
    }

    async fn keep(keeper: &Keeper, whose: Whose, at: i64, until: i64) -> Result<(), NotRevoked> {
        keeper.keep(whose, Times { at, until }).await
    }

    #[tokio::test]
    async fn what_is_called_back_is_known_after_a_restart_and_until_its_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let (revoked, keeper) = open(dir.path());
        keep(&keeper, Whose::User(7), 100, 200).await.expect("room");
        keep(&keeper, Whose::Token("a\"b".into()), 100, 150).await.expect("room");
        for revoked in [&revoked, &open(dir.path()).0] {
            for (claims, expected) in [
                (claims(7, Some(100), None), true),
                (claims(7, Some(101), None), false),
                (claims(7, None, None), true),
                (claims(8, None, None), false),
                (claims(8, Some(500), Some("a\"b")), true),
                (claims(8, Some(500), Some("x")), false),
            ] {
                assert_eq!(revoked.has(&claims), expected, "{claims:?}");
            }
        }
        // Called back again, for a shorter time: the longer one stays.
        keep(&keeper, Whose::User(7), 160, 170).await.expect("room");
        assert!(revoked.has(&claims(7, Some(160), None)));
        assert!(!revoked.has(&claims(8, None, Some("a\"b"))), "its tokens have ended");
        keep(&keeper, Whose::User(9), 199, 300).await.expect("room");
        assert!(revoked.has(&claims(7, None, None)));
        fs::write(dir.path().join(FILE), "{\"user_id\":7}").expect("a file");
        let broken = Revoked::open(dir.path()).map(|_| ()).expect_err("no times");
        assert!(broken.to_string().contains("line 1 is none"), "{broken}");
    }

    #[tokio::test]
    async fn what_is_called_back_has_a_bound_and_nothing_is_forgotten_for_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut list = List::default();
        for user in 0..REVOCATIONS_MAX as i32 {
            list.0.insert(Whose::User(user), Times { at: 1, until: 1_000 });
        }
        fs::write(dir.path().join(FILE), text(&list)).expect("a file");
        let (revoked, keeper) = open(dir.path());
        let full = keep(&keeper, Whose::User(-1), 2, 3).await;
        assert!(matches!(full, Err(NotRevoked::Full)));
        assert!(revoked.has(&claims(0, None, None)) && !revoked.has(&claims(-1, None, None)));
        keep(&keeper, Whose::User(5), 2, 3).await.expect("it is there already");
        keep(&keeper, Whose::User(-1), 1_000, 2_000).await.expect("the others are over");
    }
}
