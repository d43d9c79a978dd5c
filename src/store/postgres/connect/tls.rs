//! TLS to PostgreSQL, as libpq means `sslmode` and `sslrootcert`.
//!
//! Holds which certificates are trusted, by path: the file is read again for each connection, so
//! a new authority needs no restart. Never falls back on its own: which ways are tried, and in
//! which order, is [`Tls::ways`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_postgres::config::SslMode;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::handshake::MakeTls;

/// Where systems keep the authorities that everybody trusts: Debian, Red Hat, Alpine.
pub(crate) const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// What a server knows PostgreSQL's protocol by, from version 17 on.
const ALPN: &[u8] = b"postgresql";

/// What `sslmode` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

const MODES: [(&str, Mode); 6] = [
    ("disable", Mode::Disable),
    ("allow", Mode::Allow),
    ("prefer", Mode::Prefer),
    ("require", Mode::Require),
    ("verify-ca", Mode::VerifyCa),
    ("verify-full", Mode::VerifyFull),
];

/// Which certificates are trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Roots {
    /// Any: the server is not asked who it is.
    Any,
    /// Those in a file.
    File(PathBuf),
    /// Those that the system trusts.
    System,
}

/// Settings of TLS that can't be used, in one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadTls {
    /// Not one of libpq's.
    #[error("sslmode={0} is none of disable, allow, prefer, require, verify-ca and verify-full")]
    Mode(String),
    /// Nothing to verify by.
    #[error("sslmode={0} needs sslrootcert, a file of certificates in PEM, or `system`")]
    NoRoots(String),
    /// Whoever has any certificate of a public authority would pass.
    #[error("sslmode={0} is too weak for sslrootcert=system; use verify-full")]
    Weak(String),
    /// The file can't be used.
    #[error("sslrootcert={}: {problem}", path.display())]
    Roots {
        /// The file's path.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// How a database is spoken to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tls {
    mode: Mode,
    roots: Roots,
}

impl Tls {
    /// Reads the two parameters; the certificates are read too, but not kept.
    pub(super) fn parse(mode: Option<&str>, roots: Option<&str>) -> Result<Tls, BadTls> {
        let roots = match roots {
            None | Some("") => Roots::Any,
            Some("system") => Roots::System,
            Some(path) => Roots::File(path.into()),
        };
        let mode = match mode.filter(|mode| !mode.is_empty()) {
            Some(text) => {
                let known = MODES.iter().find(|(name, _)| *name == text);
                known.ok_or_else(|| BadTls::Mode(text.into()))?.1
            }
            None if roots == Roots::System => Mode::VerifyFull,
            None => Mode::Prefer,
        };
        let verifies = matches!(mode, Mode::VerifyCa | Mode::VerifyFull);
        let tls = Tls { mode, roots };
        match tls.roots {
            Roots::Any if verifies => Err(BadTls::NoRoots(tls.mode.to_string())),
            Roots::System if mode != Mode::VerifyFull => Err(BadTls::Weak(mode.to_string())),
            _ => tls.trusted().map(|_| tls),
        }
    }

    /// The ways to connect, in order; the next one is for when the server refuses the one before.
    pub(super) fn ways(&self) -> &'static [SslMode] {
        match self.mode {
            Mode::Disable => &[SslMode::Disable],
            Mode::Allow => &[SslMode::Disable, SslMode::Require],
            Mode::Prefer => &[SslMode::Prefer, SslMode::Disable],
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => &[SslMode::Require],
        }
    }

    /// What makes connections of this kind, with the certificates as they are now.
    pub(super) fn connector(&self) -> Result<MakeTls, BadTls> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let checks = self.trusted()?.map(|trusted| Checks {
            trusted,
            // A file of authorities is believed in every mode, as libpq does; names only where
            // they are asked for.
            names: self.mode == Mode::VerifyFull,
        });
        let verifier = Arc::new(Verifier { checks, provider: provider.clone() });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(MakeTls::new(Arc::new(config), self.mode == Mode::VerifyFull))
    }

    fn trusted(&self) -> Result<Option<Trusted>, BadTls> {
        match &self.roots {
            Roots::Any => Ok(None),
            Roots::File(path) => Trusted::read(path).map(Some),
            Roots::System => {
                let there = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists());
                Trusted::read(there.unwrap_or(Path::new(SYSTEM_ROOTS[0]))).map(Some)
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = MODES.iter().find(|(_, mode)| mode == self);
        out.write_str(name.map_or("", |(name, _)| name))
    }
}

/// The certificates that are trusted.
#[derive(Debug)]
struct Trusted {
    roots: RootCertStore,
    given: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn read(path: &Path) -> Result<Trusted, BadTls> {
        let bad = |problem: String| BadTls::Roots { path: path.into(), problem };
        let text = std::fs::read(path).map_err(|error| bad(format!("can't be read: {error}")))?;
        let given: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let given = given.map_err(|error| bad(format!("is no PEM: {error}")))?;
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(given.iter().cloned());
        match usable {
            0 => Err(bad("holds no certificate that can be used".into())),
            _ => Ok(Trusted { roots, given }),
        }
    }
}

/// What is asked of a server's certificate.
#[derive(Debug)]
struct Checks {
    trusted: Trusted,
    names: bool,
}

/// `None`: nothing is asked. Then its signatures aren't either: whoever can put themselves
/// between could as well show a certificate of their own.
#[derive(Debug)]
struct Verifier {
    checks: Option<Checks>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(Checks { trusted, names }) = &self.checks else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(server)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let (roots, given) = (&trusted.roots, &trusted.given);
        let chain =
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, others, now, algorithms);
        match chain {
            // A self-signed one that was given by hand; its dates have been looked at.
            Err(error) if is_authority(&error) && given.iter().any(|one| one == server) => {}
            chain => chain?,
        }
        if *names {
            verify_server_name(&certificate, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.checks.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.checks.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a certificate was refused only because it may sign others.
fn is_authority(error: &Error) -> bool {
    // The kind is the verifier's own, behind an error that tells no more than its text.
    matches!(error, Error::InvalidCertificate(CertificateError::Other(other))
        if other.to_string().contains("CaUsedAsEndEntity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_libpqs() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let key = rcgen::generate_simple_self_signed(["db".into()]).expect("a certificate");
        std::fs::write(&path, key.cert.pem()).expect("it writes");
        let path = path.to_str().expect("text");
        for (mode, ways) in [
            (None, &[SslMode::Prefer, SslMode::Disable][..]),
            (Some("disable"), &[SslMode::Disable]),
            (Some("allow"), &[SslMode::Disable, SslMode::Require]),
            (Some("require"), &[SslMode::Require]),
            (Some("verify-ca"), &[SslMode::Require]),
            (Some("verify-full"), &[SslMode::Require]),
        ] {
            let tls = Tls::parse(mode, Some(path)).expect("it is sound");
            assert_eq!(tls.ways(), ways, "{mode:?}");
            assert!(tls.connector().is_ok());
        }
    }

    #[test]
    fn a_setting_that_can_not_be_used_is_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let none = folder.path().join("none.pem");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "hola\n").expect("it writes");
        let (none, empty) = (none.to_str().expect("text"), empty.to_str().expect("text"));
        for (mode, roots, expected) in [
            ("verify", None, "sslmode=verify is none of disable, allow, prefer, require, verify-ca and verify-full".to_owned()),
            ("verify-ca", None, "sslmode=verify-ca needs sslrootcert, a file of certificates in PEM, or `system`".into()),
            ("require", Some("system"), "sslmode=require is too weak for sslrootcert=system; use verify-full".into()),
            ("require", Some(none), format!("sslrootcert={none}: can't be read: No such file or directory (os error 2)")),
            ("prefer", Some(empty), format!("sslrootcert={empty}: holds no certificate that can be used")),
        ] {
            let error = Tls::parse(Some(mode), roots).expect_err("it is refused");
            assert_eq!(error.to_string(), expected);
        }
    }
}
