//! What is wrong with the settings of keys: one line, exit 78, and nothing of a secret in it.

use std::path::Path;

use rcgen::KeyPair;
use serde_json::json;

use super::{SECRET, get, token};
use crate::support::{Hub, run_hub};

/// What the hub says when it is not run with these.
fn refused(args: &[&str], env: &[(&str, &str)]) -> String {
    let output = run_hub(&[&["serve", "--listen", "127.0.0.1:0"], args].concat(), env);
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(78), "{args:?}: {text}");
    assert!(!text.contains("canary"), "{text}");
    let line = text.strip_suffix('\n').and_then(|line| line.strip_prefix("cpi-hub: "));
    line.expect("one line").to_owned()
}

fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("a file");
    path.to_str().expect("a text path").to_owned()
}

#[test]
fn a_mistake_in_the_settings_of_keys_is_named_and_shows_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &str| file(dir.path(), name, content);
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let pem = file("pem", &pair.public_key_pem());
    let private = file("private", &pair.serialize_pem());
    let keys = file("keys", "canary all 00");
    let jwks = file("jwks", "canary");
    let by_variable = [("HUB_JWT_SECRET", SECRET)];
    for (args, env, expected) in [
        (
            &["--jwt-public-key-file", &pem][..],
            &[][..],
            "--jwt-public-key-file: HS256 takes a secret, not a public key: set jwt_algorithm to \
             the one that tokens have"
                .into(),
        ),
        (
            &["--jwt-public-key-file", &pem, "--jwt-algorithm", "ES256"],
            &by_variable,
            "HUB_JWT_SECRET: jwt_algorithm is one of public keys, for which there is no secret"
                .into(),
        ),
        (
            &["--jwt-public-key-file", &private, "--jwt-algorithm", "ES256"],
            &[][..],
            "--jwt-public-key-file: it holds no public key for ES256 in PEM".into(),
        ),
        (
            &["--jwt-public-key-file", &pem, "--jwt-jwks-file", &jwks, "--jwt-algorithm", "ES256"],
            &[],
            "--jwt-jwks-file: it is no JWKS: line 1".into(),
        ),
        (
            &["--jwt-algorithm", "none"],
            &by_variable,
            "--jwt-algorithm: `none` is not an algorithm such as HS256, RS256, PS256, ES256 or EdDSA"
                .into(),
        ),
        (
            &["--jwt-audience", "hub"],
            &[],
            "--jwt-audience: no key that signs tokens is given".into(),
        ),
        (
            &["--api-keys-file", &keys],
            &[],
            format!(
                "--api-keys-file: {keys}: line 1: the digest is not 64 hexadecimal digits"
            ),
        ),
        (
            &["--jwt-secret", SECRET],
            &[],
            "--jwt-secret: there is no such option; `cpi-hub --help` lists all".into(),
        ),
    ] {
        assert_eq!(refused(args, env), expected);
    }
    let in_file = file("hub.toml", &format!("jwt_secret = \"{SECRET}\"\n"));
    let line = refused(&["--config", &in_file], &[]);
    assert!(line.contains("jwt_secret: there is no such key"), "{line}");
}

#[test]
fn a_secret_that_can_not_be_used_is_refused_and_not_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = file(dir.path(), "secret", SECRET);
    let short = file(dir.path(), "short", "canary-short\n");
    let three = format!("a={secret},b={secret},c={secret}");
    let by_variable = [("HUB_JWT_SECRET", SECRET)];
    let few = "bytes are too few: 32 at least";
    for (args, env, expected) in [
        (&[][..], &[("HUB_JWT_SECRET", "canary")][..], format!("HUB_JWT_SECRET: 6 {few}")),
        (&[], &[("HUB_JWT_SECRET", "")], format!("HUB_JWT_SECRET: 0 {few}")),
        (&["--jwt-secret-file", &short], &[], format!("--jwt-secret-file: 12 {few}")),
        (
            // Somebody takes the setting for the secret itself.
            &["--jwt-secret-file", SECRET],
            &[],
            "--jwt-secret-file: a file of it: No such file or directory (os error 2)".into(),
        ),
        (
            &["--jwt-secret-file", &secret],
            &by_variable,
            "--jwt-secret-file: HUB_JWT_SECRET is given too".into(),
        ),
        (
            &["--jwt-secret-file", &three],
            &[],
            "--jwt-secret-file: a key and the one before it are two files".into(),
        ),
    ] {
        assert_eq!(refused(args, env), expected);
    }
}

#[test]
fn the_configuration_is_shown_without_its_secret() {
    let shown = run_hub(&["config"], &[("HUB_JWT_SECRET", SECRET)]);
    let text = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.status.success() && !text.contains("canary"), "{text}");
    assert!(text.contains("jwt_algorithm = \"HS256\""), "{text}");
}

#[test]
fn a_password_of_the_database_is_refused_where_everybody_reads_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().to_str().expect("a text path");
    let expected = "--database-url: it holds a password, and everybody on the machine can read a \
                    command line: give it as DATABASE_URL, in the file of --config, or as \
                    systemd's credential database_url";
    for url in [
        "postgresql://hub:canary-password@127.0.0.1:1/hub",
        "host=127.0.0.1 port=1 user=hub password=canary-password",
        "postgresql://hub@127.0.0.1:1/hub?password=canary-password",
    ] {
        assert_eq!(refused(&["--database-url", url], &[]), expected);
        let tool = run_hub(&["migrate", "--data-dir", data_dir, "--database-url", url], &[]);
        assert_eq!(String::from_utf8_lossy(&tool.stderr), format!("cpi-hub: {expected}\n"));
    }
    // Without a password it says nothing that others may not know.
    let shown = run_hub(&["config", "--database-url", "postgresql://hub@127.0.0.1:1/hub"], &[]);
    assert!(shown.status.success());
}

#[test]
fn the_databases_address_comes_from_the_directory_that_systemd_has_for_it_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = "postgresql://hub:canary-password@db.internal/hub";
    file(dir.path(), "database_url", &format!("{url}\n"));
    let folder = dir.path().to_str().expect("a text path");
    let config = |env: &[(&str, &str)]| {
        let shown = run_hub(&["config"], &[&[("CREDENTIALS_DIRECTORY", folder)], env].concat());
        let text = String::from_utf8(shown.stdout).expect("text");
        assert!(shown.status.success() && !text.contains("canary"), "{text}");
        text.lines().find(|line| line.contains("database_url =")).map(str::to_owned)
    };
    let by_credential = config(&[]).expect("it is set");
    assert!(by_credential.starts_with("# database_url = \"hub@db.internal"), "{by_credential}");
    assert!(by_credential.ends_with("# CREDENTIALS_DIRECTORY"), "{by_credential}");
    let by_variable = config(&[("DATABASE_URL", "postgresql://hub@other/hub")]);
    assert!(by_variable.is_some_and(|line| line.contains("hub@other")), "what is said wins");
    assert_eq!(config(&[("DATABASE_URL", "")]), None, "said to be none");
    file(dir.path(), "database_url", "postgresql://hub:canary@pass@word/hub");
    let line = refused(&[], &[("CREDENTIALS_DIRECTORY", folder)]);
    assert!(line.starts_with("CREDENTIALS_DIRECTORY: "), "{line}");
}

#[test]
fn a_secret_comes_from_the_directory_that_systemd_has_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    file(dir.path(), "jwt_secret", &format!("{SECRET}\n"));
    let folder = dir.path().to_str().expect("a text path");
    let hub = Hub::start_with_env(&[], &[("CREDENTIALS_DIRECTORY", folder)]);
    assert_eq!(get(&hub, "/v1/messages?space_id=5", &token(json!({}))).status, 200);
    assert_eq!(hub.get("/v1/messages?space_id=5").status, 401);
}
