//! What any token is held to: for fuzzers, and for the test that replays what they have found.
//! Compiled for these alone.

use serde_json::Value;

use super::*;
use crate::wire::parse_int;

const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
/// The second in which tokens are judged.
const NOW: i64 = 1_000_000_000;

/// A token: nobody's, unless our secret has signed it; one that has been is good only for whom a
/// plainer reader of its claims says. The first byte says whether the rest is a token, or claims.
pub(crate) fn token(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let keys = TokenKeys::of_secrets(vec![(None, Secret::new(SECRET))]).expect("a good secret");
    let algorithm = Algorithm::parse(Algorithm::DEFAULT).expect("a known algorithm");
    let rules = TokenRules::new(keys, algorithm);
    let now = Micros(NOW * 1_000_000);
    if mode % 2 == 0 {
        let Ok(token) = str::from_utf8(rest) else { return };
        assert!(rules.verify(token, now).is_err(), "nobody has signed {token}");
        return;
    }
    let message = format!("eyJhbGciOiJIUzI1NiJ9.{}", base64(rest));
    let key = EncodingKey::from_secret(SECRET).expect("a secret");
    let signature = jwt::crypto::sign(message.as_bytes(), &key, jwt::Algorithm::HS256);
    let token = format!("{message}.{}", signature.expect("a signature"));
    // Claims that nobody reads may hold what is no text and no number: their signer's mistake.
    if let (Ok(claims), Ok(text)) = (rules.verify(&token, now), serde_json::from_slice(rest)) {
        check(&claims, &text);
    }
}

/// Holds what was read of a token against its text.
fn check(claims: &Claims, text: &Value) {
    let number = |name: &str| text[name].as_i64();
    let user = match &text["user_id"] {
        Value::Null => match &text["sub"] {
            Value::String(name) => parse_int(name).map(i64::from),
            sub => sub.as_i64(),
        },
        user => user.as_i64(),
    };
    assert_eq!(user, Some(claims.user.0.into()));
    assert!(number("exp").expect("it has an end").saturating_add(30) > NOW);
    assert!(number("nbf").is_none_or(|begin| begin.saturating_sub(30) <= NOW));
    assert!(text["aud"].is_null(), "it is for others");
    assert_eq!(claims.issued, number("iat"));
}

/// Bytes as tokens have them (RFC 7515 2).
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let group = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        let digit = |n: usize| char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]);
        (0..=chunk.len()).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
