//! The certificate: its files, its end, and mistakes in its settings.

use cpi_hub::conditions::Condition;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::TLS13;

use super::{Files, Made, TlsHub, client_config, connect, content, join, replace, secured};
use crate::support::health::{mended, planted};
use crate::support::{eventually, run_hub};

/// The certificate that a new connection is shown.
fn shown(hub: &TlsHub, trusted: &CertificateDer<'static>) -> Option<CertificateDer<'static>> {
    let stream = secured(connect(hub), client_config(trusted, &TLS13)).ok()?;
    stream.conn.peer_certificates().map(|chain| chain[0].clone().into_owned())
}

#[test]
fn a_certificate_is_replaced_by_sighup_and_members_stay() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let mut member = join(&hub, &files, 1);
    let old = files.certificate();
    files.write(&Made::new());
    hub.signal("HUP");
    let new = files.certificate();
    eventually("the new one is shown", || shown(&hub, &new).filter(|it| *it == new));
    assert!(shown(&hub, &old).is_none());
    member.chat("sigo");
    assert_eq!(content(&member.next_of("chat")), "sigo");
    eventually("the log tells", || hub.log().contains("reloaded").then_some(()));
}

#[test]
fn a_certificate_is_replaced_when_its_files_change_and_a_broken_one_changes_nothing() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let old = files.certificate();
    let new = Made::new();
    replace(files.dir.path(), "certificate", &new.certificate);
    let detail = planted(&hub, Condition::CertificateUnread);
    assert!(detail.starts_with("tls_key: ") && detail.contains("not the key"), "{detail}");
    assert_eq!(shown(&hub, &old), Some(old.clone()));
    hub.signal("HUP");
    eventually("the log tells", || hub.log().contains("nothing is reloaded").then_some(()));
    assert_eq!(shown(&hub, &old), Some(old));
    replace(files.dir.path(), "key", &new.key);
    let new = files.certificate();
    eventually("the new one is shown", || shown(&hub, &new));
    mended(&hub, Condition::CertificateUnread);
}

#[test]
fn a_certificate_that_ends_soon_is_told_before() {
    let files = Files::new();
    files.write(&Made::ending(13));
    let hub = files.hub(&[]);
    let detail = planted(&hub, Condition::CertificateEnds);
    assert!(detail.starts_with("20"), "{detail}");
    files.write(&Made::ending(15));
    mended(&hub, Condition::CertificateEnds);
    assert!(!hub.has_condition(Condition::CertificateEnded.name()));
}

#[test]
fn a_certificate_that_has_ended_is_told_and_the_hub_serves_whom_it_may() {
    let files = Files::new();
    files.write(&Made::ending(-1));
    let hub = files.hub(&[]);
    planted(&hub, Condition::CertificateEnded);
    assert_eq!(hub.get("/readyz").status, 200);
    files.write(&Made::ending(400));
    mended(&hub, Condition::CertificateEnded);
    join(&hub, &files, 1).close();
}

#[test]
fn settings_of_tls_that_can_not_be_used_are_one_line() {
    let files = Files::new();
    let dir = files.dir.path();
    let other = Made::new();
    replace(dir, "other", &other.key);
    replace(dir, "junk", "hola\n");
    replace(dir, "cut", "-----BEGIN CERTIFICATE-----\n????\n");
    let [certificate, key, other, junk, cut, none] =
        ["certificate", "key", "other", "junk", "cut", "none"].map(|name| files.path(name));
    let both = ["--tls-certificate", &*certificate, "--tls-key", &key];
    let no_key = "there is no private key in it, in PEM and without a password";
    for (args, expected) in [
        (&both[..2], "--tls-certificate: its tls_key is missing".to_owned()),
        (&["--tls-key", &key], "--tls-key: its tls_certificate is missing".into()),
        (
            &["--tls-certificate", &none, "--tls-key", &key],
            format!("--tls-certificate: {none}: No such file or directory (os error 2)"),
        ),
        (
            &["--tls-certificate", &junk, "--tls-key", &key],
            format!("--tls-certificate: {junk}: there is no certificate in it, in PEM"),
        ),
        (
            &["--tls-certificate", &cut, "--tls-key", &key],
            format!("--tls-certificate: {cut}: it is no PEM"),
        ),
        (
            &["--tls-certificate", &certificate, "--tls-key", &junk],
            format!("--tls-key: {junk}: {no_key}"),
        ),
        (
            &["--tls-certificate", &certificate, "--tls-key", &certificate],
            format!("--tls-key: {certificate}: {no_key}"),
        ),
        (
            &["--tls-certificate", &certificate, "--tls-key", &other],
            format!("--tls-key: {other}: it is not the key of the certificate"),
        ),
        (
            &["--tls-plain-listen", "127.0.0.1:0"],
            "--tls-plain-listen: all is plain where no tls_certificate is given: listen says where"
                .into(),
        ),
        (
            &[&both[..], &["--tls-plain-listen", "here"]].concat()[..],
            "--tls-plain-listen: `here` is not an address and port such as 127.0.0.1:8081".into(),
        ),
        (
            &[&both[..], &["--tls-plain-listen", "0.0.0.0:0"]].concat()[..],
            "--tls-plain-listen: 0.0.0.0:0 is reached from other machines, and nobody is \
             authenticated; listen on 127.0.0.1, give HUB_JWT_SECRET, or say --insecure if you \
             mean it"
                .into(),
        ),
    ] {
        let output = run_hub(&[&["serve", "--listen", "127.0.0.1:0"], args].concat(), &[]);
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(78), "{args:?}: {text}");
        assert_eq!(text, format!("cpi-hub: {expected}\n"));
    }
}
