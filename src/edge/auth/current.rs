//! What is configured now: the rules of tokens, and the keys. Read anew with the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::caller::Caller;
use super::failures::Failures;
use super::keys::{KeyList, is_token};
use super::revoked::{NotRevoked, Revoked, Whose};
use super::secret::Secret;
use super::token::{BadToken, TokenRules};
use crate::clock::Clock;
use crate::limits::REVOKED_FOR;
use crate::shard::event::AddressKey;
use crate::wire::reject::Reject;
use crate::wire::time::Micros;

/// What tokens and keys are judged by. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub(crate) struct Credentials(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tokens: Option<TokenRules>,
    keys: Option<KeyList>,
    /// A digest of what each of the settings stands for, files' contents included.
    contents: BTreeMap<&'static str, [u8; 32]>,
}

impl fmt::Debug for Inner {
    /// Without the digests, by which a weak secret could be guessed.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { tokens, keys, .. } = self;
        let mut shown = out.debug_struct("Credentials");
        shown.field("tokens", tokens).field("keys", keys).finish_non_exhaustive()
    }
}

impl Credentials {
    /// What was configured. `contents` has a digest for each setting that was given.
    pub(crate) fn new(
        tokens: Option<TokenRules>,
        keys: Option<KeyList>,
        contents: BTreeMap<&'static str, [u8; 32]>,
    ) -> Credentials {
        Credentials(Arc::new(Inner { tokens, keys, contents }))
    }

    /// Whether anybody is asked who they are.
    pub(crate) fn are_asked(&self) -> bool {
        self.0.tokens.is_some() || self.0.keys.is_some()
    }

    /// The rules of tokens.
    pub(crate) fn tokens(&self) -> Option<&TokenRules> {
        self.0.tokens.as_ref()
    }

    /// What tells each of the keys from others.
    fn marks(&self) -> BTreeSet<u64> {
        let tokens = self.0.tokens.iter().flat_map(TokenRules::marks);
        tokens.chain(self.0.keys.iter().flat_map(KeyList::marks)).collect()
    }

    /// Whether a setting stands for the same here and there, its file's contents included.
    pub(crate) fn agree(&self, other: &Credentials, setting: &str) -> bool {
        self.0.contents.get(setting) == other.0.contents.get(setting)
    }
}

/// Judges requests by what is configured now. Cheap to clone; all clones follow the same changes.
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    credentials: watch::Receiver<Credentials>,
    revoked: Revoked,
    failures: Failures,
    clock: Clock,
}

/// Puts what is configured anew in the place of what was.
#[derive(Debug)]
pub(crate) struct Replace(watch::Sender<Credentials>);

impl Auth {
    /// Judges by these until they are replaced.
    pub(crate) fn new(
        credentials: Credentials,
        (revoked, failures): (Revoked, Failures),
        clock: Clock,
    ) -> (Auth, Replace) {
        let (replace, credentials) = watch::channel(credentials);
        (Auth { credentials, revoked, failures, clock }, Replace(replace))
    }

    /// Whether anybody is asked who they are.
    pub(crate) fn is_on(&self) -> bool {
        self.credentials.borrow().are_asked()
    }

    /// Where it reads the time.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time.
    pub(crate) fn now(&self) -> Micros {
        self.clock.now().unix
    }

    /// Calls tokens back that were made by now, until a time in seconds since 1970.
    pub(crate) async fn revoke(&self, whose: Whose, until: Option<i64>) -> Result<(), NotRevoked> {
        let now = self.clock.now().unix.0.div_euclid(1_000_000);
        let until = until.unwrap_or(now.saturating_add(REVOKED_FOR));
        self.revoked.add(whose, now, until).await
    }

    /// Waits until keys are gone that were there before; what tells these from others.
    pub(super) async fn gone(&mut self) -> Option<Vec<u64>> {
        let before = self.credentials.borrow_and_update().marks();
        loop {
            self.credentials.changed().await.ok()?;
            let now = self.credentials.borrow_and_update().marks();
            let gone: Vec<u64> = before.difference(&now).copied().collect();
            if !gone.is_empty() {
                return Some(gone);
            }
        }
    }

    /// Who shows this, from this address; refused where that has shown too much that is nobody's.
    pub(super) fn caller(&self, shown: &Secret, address: AddressKey) -> Result<Caller, Reject> {
        let now = self.clock.now().mono;
        if let Some(retry_after_ms) = self.failures.wait(now, address) {
            return Err(Reject::RateLimited { retry_after_ms });
        }
        Ok(match self.known(shown) {
            Shown::By(caller) => caller,
            Shown::Lapsed => Caller::Nobody,
            Shown::Guess => {
                self.failures.note(now, address);
                Caller::Nobody
            }
        })
    }

    /// Whether a line about an address that shows too much is due; and how many were left out.
    pub(super) fn is_to_be_told(&self, address: &str) -> Option<u64> {
        self.failures.is_to_be_told(self.clock.now().mono, address)
    }

    fn known(&self, shown: &Secret) -> Shown {
        let bytes = shown.bytes();
        // An empty one is what clients show that have none.
        if bytes.is_empty() {
            return Shown::Lapsed;
        }
        let Ok(text) = str::from_utf8(bytes) else { return Shown::Guess };
        let credentials = self.credentials.borrow().clone();
        if is_token(shown) {
            let Some(rules) = &credentials.0.tokens else { return Shown::Guess };
            return match rules.verify(text, self.clock.now().unix) {
                Ok(claims) if !self.revoked.has(&claims) => Shown::By(Caller::User(claims)),
                // Somebody who may has made it.
                Ok(_) | Err(BadToken::Claims(_)) => Shown::Lapsed,
                Err(BadToken::Unsigned) => Shown::Guess,
            };
        }
        let program = credentials.0.keys.as_ref().and_then(|keys| keys.find(text));
        program.map_or(Shown::Guess, |program| Shown::By(Caller::Program(program)))
    }
}

/// What a token or a key turns out to be.
enum Shown {
    /// This caller's.
    By(Caller),
    /// None that is good, but none that anybody could guess either.
    Lapsed,
    /// Nobody's.
    Guess,
}

impl Replace {
    /// Judges by these from now on. `Err`: whether anybody is asked at all is settled at the start.
    pub(crate) fn replace(&self, credentials: &Credentials) -> Result<(), String> {
        if credentials.are_asked() != self.0.borrow().are_asked() {
            return Err("whether anybody is asked who they are waits for a restart".into());
        }
        self.0.send_replace(credentials.clone());
        Ok(())
    }
}
