//! Tokens for people, signed with the secret that the server has: an identity provider's part.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

/// Longer than any run.
const LIFE_S: u64 = 24 * 60 * 60;

/// Who signs them.
pub struct Signer {
    key: EncodingKey,
    ends_s: u64,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// One whose secret is in a file; a line's end behind it is no part of it. It is made once and
    /// kept.
    pub fn with_secret_of(file: &Path) -> io::Result<&'static Signer> {
        let secret = fs::read_to_string(file)
            .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let signer = Signer {
            key: EncodingKey::from_secret(secret.trim_end().as_bytes())
                .map_err(io::Error::other)?,
            ends_s: now.as_secs() + LIFE_S,
        };
        #[expect(clippy::disallowed_methods, reason = "one for the whole process")]
        Ok(Box::leak(Box::new(signer)))
    }

    /// A user's token.
    pub fn token(&self, user: i32) -> String {
        let claims = json!({ "user_id": user, "exp": self.ends_s });
        encode(&Header::default(), &claims, &self.key).expect("HS256 takes any secret and claims")
    }
}
