//! What is configured now: the rules of tokens, and the keys. Read anew with the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::caller::Caller;
use super::keys::{KeyList, is_token};
use super::secret::Secret;
use super::token::TokenRules;
use crate::clock::Clock;

/// What tokens and keys are judged by. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub(crate) struct Credentials(Arc<Inner>);

#[derive(Default, Debug)]
struct Inner {
    tokens: Option<TokenRules>,
    keys: Option<KeyList>,
    /// A digest of what each of the settings stands for, files' contents included.
    contents: BTreeMap<&'static str, [u8; 32]>,
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

    /// Whether a setting stands for the same here and there, its file's contents included.
    pub(crate) fn agree(&self, other: &Credentials, setting: &str) -> bool {
        self.0.contents.get(setting) == other.0.contents.get(setting)
    }
}

/// Judges requests by what is configured now. Cheap to clone; all clones follow the same changes.
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    credentials: watch::Receiver<Credentials>,
    clock: Clock,
}

/// Puts what is configured anew in the place of what was.
#[derive(Debug)]
pub(crate) struct Replace(watch::Sender<Credentials>);

impl Auth {
    /// Judges by these until they are replaced.
    pub(crate) fn new(credentials: Credentials, clock: Clock) -> (Auth, Replace) {
        let (replace, credentials) = watch::channel(credentials);
        (Auth { credentials, clock }, Replace(replace))
    }

    /// Whether anybody is asked who they are.
    pub(super) fn is_on(&self) -> bool {
        self.credentials.borrow().are_asked()
    }

    /// Who shows this.
    pub(super) fn caller(&self, shown: &Secret) -> Caller {
        let Ok(text) = str::from_utf8(shown.bytes()) else { return Caller::Nobody };
        let credentials = self.credentials.borrow().clone();
        if is_token(shown) {
            let rules = credentials.0.tokens.as_ref();
            let claims = rules.and_then(|it| it.verify(text, self.clock.now().unix).ok());
            return claims.map_or(Caller::Nobody, Caller::User);
        }
        let scopes = credentials.0.keys.as_ref().and_then(|keys| keys.scopes(text));
        scopes.map_or(Caller::Nobody, Caller::Program)
    }
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
