//! Tokens that are good, and tokens that somebody would like to be.

use super::fuzzing::base64;
use super::*;
use jwt::jwk::Jwk;
use rcgen::{KeyPair, RsaKeySize, SignatureAlgorithm};
use serde_json::{Value, json};

const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
const OTHER: &[u8] = b"another secret of thirty-two bytes or more";
const NOW: Micros = Micros(1_000_000_000_000_000);

fn algorithm(name: &str) -> Algorithm {
    Algorithm::parse(name).expect("an algorithm")
}

fn rules(secrets: &[(Option<&str>, &[u8])]) -> TokenRules {
    let secrets = secrets.iter().map(|(name, secret)| (name.map(Box::from), Secret::new(*secret)));
    let keys = TokenKeys::of_secrets(secrets.collect()).expect("good secrets");
    TokenRules::new(keys, algorithm("HS256"))
}

fn claims() -> Value {
    json!({"user_id": 7, "exp": 1_000_000_100, "email": "ana@example.com"})
}

fn signed(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jwt::encode(header, claims, key).expect("a token")
}

fn hmac(header: &Header, secret: &[u8]) -> String {
    signed(header, &claims(), &EncodingKey::from_secret(secret).expect("a secret"))
}

fn named(name: &str) -> Header {
    Header { kid: Some(name.into()), ..Header::new(jwt::Algorithm::HS256) }
}

/// What stands in a token, encoded by hand: a header and claims that no library would make.
fn by_hand(header: &str, claims: &str, secret: &[u8]) -> String {
    let encode = |text: &str| base64(text.as_bytes());
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_secret(secret).expect("a secret");
    let signature = jwt::crypto::sign(message.as_bytes(), &key, jwt::Algorithm::HS256);
    format!("{message}.{}", signature.expect("a signature"))
}

#[test]
fn the_existing_servers_token_is_good() {
    let token = by_hand(
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"email":"ana@example.com","exp":1000000100,"iat":999913700,"user_id":7}"#,
        SECRET,
    );
    let claims = rules(&[(None, SECRET)]).verify(&token, NOW).expect("a good token");
    assert_eq!((claims.user.0, claims.issued), (7, Some(999_913_700)));
    assert_eq!(claims.until, Micros(1_000_000_100_000_000));
}

#[test]
fn a_token_that_was_not_signed_as_configured_is_none() {
    let rules = rules(&[(None, SECRET)]);
    let good = hmac(&Header::default(), SECRET);
    assert!(rules.verify(&good, NOW).is_ok());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let (header, body) = message.split_once('.').expect("three parts");
    let admin = base64(br#"{"user_id":1,"exp":1000000100}"#);
    let none = base64(br#"{"alg":"none","typ":"JWT"}"#);
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{message}."),
        message.to_owned(),
        format!("{good}."),
        format!("{good}A"),
        good[..good.len() - 1].to_owned(),
        format!("{message}.{flipped}{}", &signature[1..]),
        format!("{header}.{admin}.{signature}"),
        format!("{none}.{body}."),
        format!("{none}.{body}.{signature}"),
        format!("{none}.{admin}."),
        format!(" {good}"),
        good.replace('.', "%2e"),
        hmac(&Header::default(), OTHER),
        hmac(&Header::new(jwt::Algorithm::HS384), SECRET),
        hmac(&Header::new(jwt::Algorithm::HS512), SECRET),
        by_hand(r#"{"alg":"HS256","crit":["exp"]}"#, r#"{"user_id":7,"exp":1000000100}"#, SECRET),
        by_hand(r#"{"alg":"HS256","alg":"HS256"}"#, r#"{"user_id":7,"exp":1000000100}"#, SECRET),
        by_hand(r#"{"alg":"hs256"}"#, r#"{"user_id":7,"exp":1000000100}"#, SECRET),
        by_hand(r#"{"typ":"JWT"}"#, r#"{"user_id":7,"exp":1000000100}"#, SECRET),
        by_hand(r#"{"alg":"HS256"}"#, r#"{"user_id":7,"user_id":1,"exp":1000000100}"#, SECRET),
        by_hand(r#"{"alg":"HS256"}"#, r#"{"user_id":7,"exp":1,"exp":1000000100}"#, SECRET),
        by_hand(r#"{"alg":"HS256"}"#, r#"[7,1000000100]"#, SECRET),
        by_hand(r#"{"alg":"HS256"}"#, "null", SECRET),
        by_hand("", "", SECRET),
        "x.".repeat(1 << 20),
    ] {
        assert_eq!(rules.verify(&bad, NOW), Err(BadToken::Unsigned), "{bad:.200}");
    }
    let long = "x".repeat(TOKEN_BYTES_MAX);
    let long = json!({"user_id": 7, "exp": 1_000_000_100, "more": long});
    let key = EncodingKey::from_secret(SECRET).expect("a secret");
    assert_eq!(
        rules.verify(&signed(&Header::default(), &long, &key), NOW),
        Err(BadToken::Unsigned)
    );
}

#[test]
fn a_name_chooses_among_the_keys_and_leads_nowhere_else() {
    let both = rules(&[(Some("new"), SECRET), (Some("old"), OTHER)]);
    for (token, good) in [
        (hmac(&named("new"), SECRET), true),
        (hmac(&named("old"), OTHER), true),
        (hmac(&Header::default(), SECRET), true),
        (hmac(&Header::default(), OTHER), true),
        (hmac(&named("old"), SECRET), false),
        (hmac(&named("new"), OTHER), false),
        (hmac(&named("/etc/passwd"), SECRET), false),
        (hmac(&named("../../dev/null"), b"x"), false),
        (hmac(&named("https://evil.example/key"), SECRET), false),
        (hmac(&named("' OR 1=1 --"), SECRET), false),
        (hmac(&named(""), SECRET), false),
    ] {
        assert_eq!(both.verify(&token, NOW).is_ok(), good, "{token}");
    }
    // A key without a name takes tokens of any.
    let nameless = rules(&[(None, SECRET), (None, OTHER)]);
    for (name, secret) in [("x", SECRET), ("y", OTHER)] {
        assert!(nameless.verify(&hmac(&named(name), secret), NOW).is_ok());
    }
    // Once a key is gone, so are its tokens.
    let rotated = rules(&[(Some("new"), SECRET)]);
    assert!(rotated.verify(&hmac(&named("old"), OTHER), NOW).is_err());
    // What else a token says of its key is not looked at.
    let led = Header { jku: Some("http://127.0.0.1:1/".into()), ..named("new") };
    assert!(both.verify(&hmac(&led, SECRET), NOW).is_ok());
    assert!(both.verify(&hmac(&Header { kid: None, ..led }, b"x"), NOW).is_err());
}

/// A pair of keys, and what signs with it.
fn pair(kind: &'static SignatureAlgorithm) -> KeyPair {
    match kind == &rcgen::PKCS_RSA_SHA256 {
        true => KeyPair::generate_rsa_for(kind, RsaKeySize::_2048).expect("a key"),
        false => KeyPair::generate_for(kind).expect("a key"),
    }
}

fn signing(name: &str, pair: &KeyPair) -> EncodingKey {
    let pem = pair.serialize_pem();
    let key = match &name[..2] {
        "RS" | "PS" => EncodingKey::from_rsa_pem(pem.as_bytes()),
        "ES" => EncodingKey::from_ec_pem(pem.as_bytes()),
        _ => EncodingKey::from_ed_pem(pem.as_bytes()),
    };
    key.expect("a key in PEM")
}

fn public(pem: &str, name: &str) -> Result<TokenRules, BadKey> {
    let keys = TokenKeys::of_pems(vec![(None, pem.into())], algorithm(name))?;
    Ok(TokenRules::new(keys, algorithm(name)))
}

#[test]
fn public_keys_of_every_kind_are_taken_and_none_is_a_secret() {
    let (rsa, p256) = (pair(&rcgen::PKCS_RSA_SHA256), pair(&rcgen::PKCS_ECDSA_P256_SHA256));
    let (p384, ed) = (pair(&rcgen::PKCS_ECDSA_P384_SHA384), pair(&rcgen::PKCS_ED25519));
    for (name, pair, others) in [
        ("RS256", &rsa, ["RS384", "PS256"]),
        ("PS512", &rsa, ["RS512", "PS256"]),
        ("ES256", &p256, ["ES384", "RS256"]),
        ("ES384", &p384, ["ES256", "EdDSA"]),
        ("EdDSA", &ed, ["ES256", "RS256"]),
    ] {
        let (key, public_pem) = (signing(name, pair), pair.public_key_pem());
        let header = Header::new(algorithm(name).0);
        let token = signed(&header, &claims(), &key);
        let rules = public(&public_pem, name).expect(name);
        assert!(rules.verify(&token, NOW).is_ok(), "{name}");
        assert!(!rules.can_sign());
        // As if the public key, which everybody has, were a secret.
        let confused = hmac(&Header::default(), public_pem.as_bytes());
        assert_eq!(rules.verify(&confused, NOW), Err(BadToken::Unsigned), "{name}");
        for other in others {
            let taken = public(&public_pem, other).is_ok_and(|it| it.verify(&token, NOW).is_ok());
            assert!(!taken, "{name} as {other}");
        }
        let known = pem_key(public_pem.as_bytes(), algorithm(name)).expect(name);
        let mut jwk = Jwk::from_decoding_key(&known, Some(algorithm(name).0)).expect("a JWK");
        jwk.common.key_id = Some("k".into());
        let set = json!({"keys": [{"kty": "oct", "k": "AAAA"}, jwk]}).to_string();
        let keys = TokenKeys::of_jwks(set.as_bytes(), algorithm(name)).expect(name);
        let rules = TokenRules::new(keys, algorithm(name));
        assert!(rules.verify(&token, NOW).is_ok(), "{name} by JWKS");
        let header = Header { kid: Some("x".into()), ..header };
        assert!(rules.verify(&signed(&header, &claims(), &key), NOW).is_err(), "{name}");
    }
}

#[test]
fn a_key_that_can_not_be_used_says_why_and_nothing_of_itself() {
    let secret = |bytes: &[u8]| TokenKeys::of_secrets(vec![(None, Secret::new(bytes))]);
    let short = secret(&[b'x'; 31]).map(|_| ()).expect_err("a short secret");
    assert_eq!(short.0, "31 bytes are too few: 32 at least");
    assert!(secret(&[b'x'; 32]).is_ok());
    let p256 = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
    let reason = |pem: &str, name: &str| public(pem, name).map(|_| ()).expect_err(name).0;
    assert_eq!(reason("hush", "RS256"), "it holds no public key for RS256 in PEM");
    assert_eq!(reason(&p256.serialize_pem(), "ES256"), "it holds no public key for ES256 in PEM");
    assert_eq!(reason(&p256.public_key_pem(), "ES384"), "it is no key for ES384");
    assert!(reason(&p256.public_key_pem(), "HS256").starts_with("HS256 takes a secret"));
    let jwks = |json: &str, name: &str| {
        TokenKeys::of_jwks(json.as_bytes(), algorithm(name)).map(|_| ()).expect_err(name).0
    };
    assert_eq!(jwks("hush", "ES256"), "it is no JWKS: line 1");
    assert_eq!(
        jwks(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#, "ES256"),
        "it holds no key for ES256"
    );
    assert!(jwks(r#"{"keys":[]}"#, "HS256").starts_with("HS256 takes a secret"));
    assert!(Algorithm::parse("none").is_none() && Algorithm::parse("hs256").is_none());
    let shown = format!("{:?}", rules(&[(Some("new"), SECRET), (None, OTHER)]));
    assert!(shown.contains("new") && !shown.contains("secret of"), "{shown}");
}

#[test]
fn a_token_that_is_made_here_is_good_here() {
    let rules = rules(&[(Some("new"), SECRET), (None, OTHER)]).expecting(Some("hub"), Some("us"));
    let spaces = BTreeMap::from([("read", vec![1]), ("write", vec![2])]);
    let (iat, exp) = (1_000_000_000, 1_000_000_100);
    let new = NewToken { user_id: -7, iat, exp, jti: "a", spaces: Some(&spaces) };
    let token = rules.sign(&new).expect("a secret signs");
    let claims = rules.verify(&token, NOW).expect("a good token");
    assert_eq!((claims.user.0, claims.id.as_deref()), (-7, Some("a")));
    assert_eq!(jwt::decode_header(&token).expect("a header").kid.as_deref(), Some("new"));
    let late = Micros(NOW.0 + 131_000_000);
    assert_eq!(rules.verify(&token, late), Err(BadToken::Claims(BadClaims::Expired)));
}
