//! Tokens (JSON Web Tokens, RFC 7519): which keys may have signed them, and whether one did.
//!
//! The algorithm is configured, and a token of another is refused whatever it says of itself (RFC
//! 8725 3.1). What a token names beside its key's name (addresses of keys, certificates) is not
//! read. Time is an argument: the library's own look at the clock is turned off.

use std::collections::BTreeMap;
use std::fmt;

use jsonwebtoken as jwt;
use jwt::jwk::{JwkSet, PublicKeyUse};
use jwt::{AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;

use super::claims::{BadClaims, Claims, Expected, RawClaims};
use super::secret::{Secret, mark};
use crate::limits::{TOKEN_BYTES_MAX, TOKEN_KEYS_MAX, TOKEN_SECRET_BYTES_MIN};
use crate::wire::time::Micros;

/// How tokens are signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Algorithm(jwt::Algorithm);

/// A key, or a list of keys, that can't be used; says why, and nothing of the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadKey(pub String);

/// Why a token is none. For tests: clients are told one thing only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadToken {
    /// It is no token, of another algorithm, or signed by nobody who is known.
    Unsigned,
    /// What it says can't be used.
    Claims(BadClaims),
}

/// The keys that sign tokens, each with its name if it has one. They are all of one family.
#[derive(Clone)]
pub(crate) struct TokenKeys {
    keys: Vec<NamedKey>,
    /// The first key, where it can make tokens too.
    signs: Option<Secret>,
}

#[derive(Clone)]
struct NamedKey {
    name: Option<Box<str>>,
    key: DecodingKey,
    /// What tells it from others.
    mark: u64,
}

/// What makes a token good.
#[derive(Clone)]
pub(crate) struct TokenRules {
    keys: TokenKeys,
    validation: Validation,
    expected: Expected,
}

impl Algorithm {
    /// How the existing server signs.
    pub(crate) const DEFAULT: &str = "HS256";

    /// An algorithm by its name.
    pub(crate) fn parse(name: &str) -> Option<Algorithm> {
        name.parse().ok().map(Algorithm)
    }

    /// Whether it takes a secret that both sides know.
    pub(crate) fn takes_secret(self) -> bool {
        self.0.family() == AlgorithmFamily::Hmac
    }

    /// Bytes of a public key on the curve that this algorithm is for, as a token's key has it.
    fn curve_bytes(self) -> Option<usize> {
        match self.0 {
            jwt::Algorithm::ES256 => Some(65),
            jwt::Algorithm::ES384 => Some(97),
            jwt::Algorithm::EdDSA => Some(32),
            _ => None,
        }
    }

    fn checked(self, key: DecodingKey) -> Result<DecodingKey, BadKey> {
        let bad = || BadKey(format!("it is no key for {:?}", self.0));
        if key.family() != self.0.family() {
            return Err(bad());
        }
        match self.curve_bytes() {
            Some(bytes) if key.try_get_as_bytes().map(<[u8]>::len) != Ok(bytes) => Err(bad()),
            _ => Ok(key),
        }
    }
}

impl TokenKeys {
    /// Secrets, each with its name if it has one.
    pub(crate) fn of_secrets(
        secrets: Vec<(Option<Box<str>>, Secret)>,
    ) -> Result<TokenKeys, BadKey> {
        let signs = secrets.first().map(|(_, secret)| secret.clone());
        let key = |(name, secret): (Option<Box<str>>, Secret)| {
            let (bytes, mark) = (secret.bytes().len(), mark(secret.bytes()));
            let few =
                || BadKey(format!("{bytes} bytes are too few: {TOKEN_SECRET_BYTES_MIN} at least"));
            let key = DecodingKey::from_secret(secret.bytes()).ok();
            let key = key.filter(|_| bytes >= TOKEN_SECRET_BYTES_MIN).ok_or_else(few)?;
            Ok(NamedKey { name, key, mark })
        };
        let keys = secrets.into_iter().map(key).collect::<Result<_, BadKey>>()?;
        Ok(TokenKeys { keys, signs })
    }

    /// Public keys as PEM files have them, each with its name if it has one.
    pub(crate) fn of_pems(
        pems: Vec<(Option<Box<str>>, Vec<u8>)>,
        algorithm: Algorithm,
    ) -> Result<TokenKeys, BadKey> {
        let key = |(name, pem): (Option<Box<str>>, Vec<u8>)| {
            Ok(NamedKey { name, key: pem_key(&pem, algorithm)?, mark: mark(&pem) })
        };
        let keys = pems.into_iter().map(key).collect::<Result<_, BadKey>>()?;
        Ok(TokenKeys { keys, signs: None })
    }

    /// The keys of a JWKS (RFC 7517) that are for this algorithm; others in it are passed by.
    pub(crate) fn of_jwks(json: &[u8], algorithm: Algorithm) -> Result<TokenKeys, BadKey> {
        if algorithm.takes_secret() {
            return Err(not_public(algorithm));
        }
        let set: JwkSet = serde_json::from_slice(json)
            .map_err(|error| BadKey(format!("it is no JWKS: line {}", error.line())))?;
        let mut keys = Vec::new();
        for jwk in &set.keys {
            let common = &jwk.common;
            let signs =
                common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
            let named = common.key_algorithm.map(|it| it.to_string());
            let fits = named.is_none_or(|it| Algorithm::parse(&it) == Some(algorithm));
            let key = DecodingKey::from_jwk(jwk).ok().and_then(|key| algorithm.checked(key).ok());
            if let Some(key) = key.filter(|_| signs && fits) {
                let mark = mark(&serde_json::to_vec(jwk).unwrap_or_default());
                keys.push(NamedKey { name: common.key_id.clone().map(Box::from), key, mark });
            }
        }
        match keys.len() {
            0 => Err(BadKey(format!("it holds no key for {:?}", algorithm.0))),
            1..=TOKEN_KEYS_MAX => Ok(TokenKeys { keys, signs: None }),
            _ => Err(BadKey(format!("it holds more than {TOKEN_KEYS_MAX} keys"))),
        }
    }
}

fn pem_key(pem: &[u8], algorithm: Algorithm) -> Result<DecodingKey, BadKey> {
    let key = match algorithm.0.family() {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
        AlgorithmFamily::Hmac => return Err(not_public(algorithm)),
    };
    let no_key = |_| BadKey(format!("it holds no public key for {:?} in PEM", algorithm.0));
    algorithm.checked(key.map_err(no_key)?)
}

fn not_public(algorithm: Algorithm) -> BadKey {
    BadKey(format!(
        "{:?} takes a secret, not a public key: set jwt_algorithm to the one that tokens have",
        algorithm.0
    ))
}

/// A token to be made.
#[derive(Serialize)]
pub(crate) struct NewToken<'a> {
    /// The user.
    pub user_id: i32,
    /// When it is made, and when it ends, in seconds since 1970.
    pub iat: i64,
    /// Its end.
    pub exp: i64,
    /// Its id.
    pub jti: &'a str,
    /// The spaces that it is confined to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spaces: Option<&'a BTreeMap<&'static str, Vec<i32>>>,
}

impl TokenRules {
    /// Tokens are signed so, by one of these.
    pub(crate) fn new(keys: TokenKeys, algorithm: Algorithm) -> TokenRules {
        let mut validation = Validation::new(algorithm.0);
        // These are judged here, by the hub's own clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        TokenRules { keys, validation, expected: Expected::default() }
    }

    /// Tokens are for this audience, and of this issuer; `None`: of any.
    pub(crate) fn expecting(self, audience: Option<&str>, issuer: Option<&str>) -> TokenRules {
        let expected =
            Expected { audience: audience.map(Box::from), issuer: issuer.map(Box::from) };
        TokenRules { expected, ..self }
    }

    /// What a token says, if it is good.
    pub(crate) fn verify(&self, token: &str, now: Micros) -> Result<Claims, BadToken> {
        let (raw, key) = self.signed(token).ok_or(BadToken::Unsigned)?;
        let mut claims = raw.judge(&self.expected, now).map_err(BadToken::Claims)?;
        claims.key = key;
        Ok(claims)
    }

    /// The claims of a token that one of the keys has signed, and which. One that names its key is
    /// judged by that and by those that have no name: a name chooses among the keys, and leads
    /// nowhere else.
    fn signed(&self, token: &str) -> Option<(RawClaims, u64)> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let name = jwt::decode_header(token).ok()?.kid;
        let may_sign = |key: &&NamedKey| match (&key.name, &name) {
            (Some(key), Some(name)) => **key == **name,
            _ => true,
        };
        let mut keys = self.keys.keys.iter().filter(may_sign);
        keys.find_map(|key| {
            let signed = jwt::decode(token, &key.key, &self.validation).ok()?;
            Some((signed.claims, key.mark))
        })
    }

    /// What tells each key from others.
    pub(super) fn marks(&self) -> impl Iterator<Item = u64> {
        self.keys.keys.iter().map(|key| key.mark)
    }

    /// Whether tokens can be made here.
    pub(crate) fn can_sign(&self) -> bool {
        self.keys.signs.is_some()
    }

    /// Makes a token; `None`: where the keys are public ones, that can't be done here.
    pub(crate) fn sign(&self, token: &NewToken<'_>) -> Option<String> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            token: &'a NewToken<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            aud: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            iss: Option<&'a str>,
        }
        let secret = self.keys.signs.as_ref()?;
        let mut header = Header::new(*self.validation.algorithms.first()?);
        header.kid = self.keys.keys.first().and_then(|key| key.name.as_deref().map(str::to_owned));
        let Expected { audience, issuer } = &self.expected;
        let whole = Whole { token, aud: audience.as_deref(), iss: issuer.as_deref() };
        let key = EncodingKey::from_secret(secret.bytes()).ok()?;
        jwt::encode(&header, &whole, &key).ok()
    }
}

impl fmt::Debug for TokenRules {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = out.debug_struct("TokenRules");
        shown.field("algorithms", &self.validation.algorithms).field("expected", &self.expected);
        shown.field("keys", &self.keys).finish()
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |key: &NamedKey| key.name.clone().unwrap_or_default();
        out.debug_list().entries(self.keys.iter().map(name)).finish()
    }
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
#[cfg(test)]
mod tests;
