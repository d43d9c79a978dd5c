//! TLS to the server: each `sslmode` against servers with and without it, with certificates that
//! are right, of a stranger, of another host, and self-signed.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::stored::{post, until_store_is};
use crate::support::postgres::Cluster;
use crate::support::{Hub, eventually, run_hub};

/// An authority and its certificate as PEM.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    let pem = parameters.self_signed(&key).expect("it signs").pem();
    Authority { issuer: Issuer::new(parameters, key), pem }
}

impl Authority {
    /// A certificate for a host, and its key.
    fn certify(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("it signs");
        (certificate.pem(), key.serialize_pem())
    }
}

/// Makes the server speak TLS with this certificate and key.
fn secure(cluster: &Cluster, (certificate, key): &(String, String)) {
    cluster.write("server.crt", certificate);
    cluster.write("server.key", key);
    cluster.sql("postgres", "ALTER SYSTEM SET ssl = on");
    // A mark that new sessions show once the certificate is read: in one go with it.
    let mark: String = certificate.chars().filter(char::is_ascii_alphanumeric).collect();
    let mark = &mark[mark.len() - 60..];
    cluster.sql("postgres", &format!("ALTER SYSTEM SET log_line_prefix = '{mark}'"));
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    eventually("it speaks TLS", || {
        let shown = cluster.sql("postgres", "SELECT current_setting('log_line_prefix')");
        (shown == [mark] && cluster.sql("postgres", "SHOW ssl") == ["on"]).then_some(())
    });
}

/// Sets who may connect how, in lines of `pg_hba.conf`, and waits until the server goes by them.
fn rules(cluster: &Cluster, rules: &str) {
    cluster.write("pg_hba.conf", &format!("local all all trust\n{rules}\n"));
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    let loaded = rules.lines().count() + 1;
    eventually("the rules hold", || {
        let count = cluster.sql("postgres", "SELECT count(*) FROM pg_hba_file_rules");
        (count.concat() == loaded.to_string()).then_some(())
    });
}

/// Looks at the database with these parameters; the exit code and what was said.
fn look(cluster: &Cluster, host: &str, more: &str) -> (Option<i32>, String) {
    let url = cluster.tcp_url("postgres", host, more);
    let out = run_hub(&["migrate", "--dry-run", "--database-url", &url], &[]);
    let text = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8(text).expect("text"))
}

/// Looks with each mode; `None`: it goes well, else what the one line holds.
#[track_caller]
fn check(cluster: &Cluster, host: &str, cases: &[(&str, Option<&str>)]) {
    for (more, problem) in cases {
        let (code, text) = look(cluster, host, more);
        match problem {
            None => assert_eq!(code, Some(0), "{more}: {text}"),
            Some(problem) => {
                assert_eq!((code, text.lines().count()), (Some(1), 1), "{more}: {text}");
                assert!(text.contains(problem), "{more}: {text}");
            }
        }
    }
}

const ALL: &str = "host all all 127.0.0.1/32 trust";

/// Writes an authority's certificate; the parameter that names the file.
fn roots(folder: &Path, name: &str, authority: &Authority) -> String {
    let path = folder.join(name);
    std::fs::write(&path, &authority.pem).expect("it writes");
    format!("sslrootcert={}", path.display())
}

fn mode(mode: &str, roots: &str) -> String {
    format!("sslmode={mode} {roots}")
}

pub fn each_sslmode_means_what_libpq_means_by_it() {
    let cluster = Cluster::start_on_tcp();
    let ours = authority("ours");
    let folder = tempfile::tempdir().expect("a folder");
    let ca = roots(folder.path(), "ca.pem", &ours);
    let other = roots(folder.path(), "other.pem", &authority("stranger"));
    let no_tls = Some("server does not support TLS");
    check(
        &cluster,
        "localhost",
        &[
            ("", None),
            ("sslmode=disable", None),
            ("sslmode=allow", None),
            ("sslmode=prefer", None),
            ("sslmode=require", no_tls),
            (&mode("verify-ca", &ca), no_tls),
            (&mode("verify-full", &ca), no_tls),
        ],
    );
    secure(&cluster, &ours.certify("localhost"));
    let (untrusted, wrong) = (Some("is not trusted"), Some("is not for `db.example`"));
    check(
        &cluster,
        "localhost",
        &[
            ("sslmode=disable", None),
            ("sslmode=allow", None),
            ("sslmode=prefer", None),
            ("sslmode=require", None),
            (&mode("require", &ca), None),
            (&mode("verify-ca", &ca), None),
            (&mode("verify-full", &ca), None),
            // Given authorities are always asked about the certificate; only the next two modes may
            // go on without TLS.
            (&mode("allow", &other), None),
            (&mode("prefer", &other), None),
            (&mode("require", &other), untrusted),
            (&mode("verify-ca", &other), untrusted),
            (&mode("verify-full", &other), untrusted),
        ],
    );
    if Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        let system = "sslmode=verify-full sslrootcert=system";
        check(&cluster, "localhost", &[(system, untrusted), ("sslrootcert=system", untrusted)]);
    }
    check(
        &cluster,
        "db.example",
        &[(&mode("verify-ca", &ca), None), (&mode("verify-full", &ca), wrong)],
    );
}

pub fn of_allow_and_prefer_the_server_has_its_choice() {
    let cluster = Cluster::start_on_tcp();
    let ours = authority("ours");
    let folder = tempfile::tempdir().expect("a folder");
    let other = roots(folder.path(), "other.pem", &authority("stranger"));
    secure(&cluster, &ours.certify("localhost"));
    let untrusted = Some("is not trusted");
    rules(&cluster, "hostssl all all 127.0.0.1/32 trust");
    let unencrypted = Some("no encryption");
    check(
        &cluster,
        "localhost",
        &[
            ("sslmode=disable", unencrypted),
            ("sslmode=allow", None),
            ("sslmode=prefer", None),
            (&mode("allow", &other), untrusted),
            (&mode("prefer", &other), untrusted),
        ],
    );
    rules(&cluster, "hostnossl all all 127.0.0.1/32 trust");
    let encrypted = Some("SSL encryption");
    check(
        &cluster,
        "localhost",
        &[("sslmode=allow", None), ("sslmode=prefer", None), ("sslmode=require", encrypted)],
    );
}

pub fn a_certificate_that_was_given_by_hand_is_trusted() {
    let cluster = Cluster::start_on_tcp();
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(vec!["localhost".into()]).expect("parameters");
    // As `openssl req -x509` makes them.
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = parameters.self_signed(&key).expect("it signs").pem();
    let mut old = parameters.clone();
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let old = old.self_signed(&key).expect("it signs").pem();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("both.pem");
    std::fs::write(&path, format!("{pem}{old}")).expect("it writes");
    let roots = path.display();
    let full = format!("sslmode=verify-full sslrootcert={roots}");
    secure(&cluster, &(pem, key.serialize_pem()));
    check(&cluster, "localhost", &[(&full, None)]);
    check(&cluster, "db.example", &[(&full, Some("is not for `db.example`"))]);
    secure(&cluster, &(old, key.serialize_pem()));
    check(&cluster, "localhost", &[(&full, Some("has expired"))]);
}

pub fn a_password_is_bound_to_the_connection() {
    let cluster = Cluster::start_on_tcp();
    let ours = authority("ours");
    cluster.sql("hub", "CREATE ROLE ana LOGIN PASSWORD 's3cret'");
    cluster.sql("hub", "GRANT CREATE ON SCHEMA public TO ana");
    rules(&cluster, "host all ana 127.0.0.1/32 scram-sha-256");
    let look = |more: &str| {
        let url = cluster.tcp_url("ana", "localhost", &format!("password=s3cret {more}"));
        let out = run_hub(&["migrate", "--dry-run"], &[("DATABASE_URL", &url)]);
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let bound = "sslmode=require channel_binding=require";
    let (code, text) = look("sslmode=disable channel_binding=require");
    assert!(code == Some(1) && text.contains("channel binding"), "{text}");
    secure(&cluster, &ours.certify("localhost"));
    for more in [bound, "sslmode=require", "sslmode=require channel_binding=disable"] {
        assert_eq!(look(more), (Some(0), String::new()), "{more}");
    }
    let wrong = cluster.tcp_url("ana", "localhost", &format!("password=wr0ng {bound}"));
    let out = run_hub(&["migrate"], &[("DATABASE_URL", &wrong)]);
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(text.contains("password authentication failed") && !text.contains("wr0ng"), "{text}");
}

pub fn sink_and_reader_go_over_tls_and_say_who_has_to_act() {
    let cluster = Cluster::start_on_tcp();
    let ours = authority("ours");
    let folder = tempfile::tempdir().expect("a folder");
    let full = mode("verify-full", &roots(folder.path(), "ca.pem", &ours));
    secure(&cluster, &ours.certify("localhost"));
    rules(&cluster, ALL);
    let url = cluster.tcp_url("postgres", "localhost", &full);
    let hub = Hub::start(&["--database-url", &url]);
    assert_eq!(post(&hub, (1, 2), "hola").0, 200);
    assert_eq!(hub.history(1).len(), 1);
    let plain = "SELECT count(*) FILTER (WHERE NOT ssl), count(*) > 1 FROM pg_stat_ssl \
                 JOIN pg_stat_activity USING (pid) WHERE application_name = 'cpi-hub'";
    assert_eq!(cluster.sql("hub", plain), ["0|t"], "the writer, and a reader at least");
    // The server gets another certificate, and ends what it has.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name = 'cpi-hub'";
    secure(&cluster, &authority("stranger").certify("localhost"));
    cluster.sql("hub", end);
    assert_eq!(post(&hub, (1, 2), "guardado").0, 202, "chat goes on");
    until_store_is(&hub, "refused");
    assert_eq!(hub.get("/v1/messages?space_id=1").status, 503);
    // The server's authority is trusted from now on: the file is read again, without a restart.
    secure(&cluster, &ours.certify("localhost"));
    until_store_is(&hub, "ready");
    assert_eq!(hub.history_of(1, 2).len(), 2);
    assert_eq!(cluster.sql("hub", plain), ["0|t"]);
}
