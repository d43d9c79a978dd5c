//! Who the hub is: a certificate with those of its authorities, and its key; and what is spoken
//! under it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate};
use tokio_rustls::rustls::{
    CertificateError, Error, InconsistentKeys, RootCertStore, ServerConfig,
};

use crate::edge::auth::digest;
use crate::edge::key_file;
use crate::wire::time::Micros;

/// What is spoken within TLS; there is no other.
const ALPN: &[u8] = b"http/1.1";
/// A time at which every certificate has ended, in seconds since 1970: they can't name one that is
/// later (RFC 5280 4.1.2.5).
const LAST: u64 = 253_402_300_800;

/// Where a certificate and its key are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Files {
    /// The certificate, then those of the authorities between it and one that all know.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A certificate and its key, as they were read. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Where they were read.
    pub files: Files,
    /// When the first certificate of the chain ends.
    pub ends: Micros,
    digests: [[u8; 32]; 2],
    pub(super) config: Arc<ServerConfig>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { files, ends, .. } = self;
        let mut shown = out.debug_struct("Identity");
        shown.field("files", files).field("ends", ends).finish_non_exhaustive()
    }
}

/// Which of the two files can't be used, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BadIdentity {
    /// The certificate.
    #[error("tls_certificate: {0}")]
    Certificate(String),
    /// The key.
    #[error("tls_key: {0}")]
    Key(String),
}

impl Identity {
    /// Reads both files.
    pub(crate) fn read(files: Files) -> Result<Identity, BadIdentity> {
        let in_file =
            |path: &Path, problem: &dyn fmt::Display| format!("{}: {problem}", path.display());
        let certificate = |problem: &dyn fmt::Display| {
            BadIdentity::Certificate(in_file(&files.certificate, problem))
        };
        let bad_key = |problem: &dyn fmt::Display| BadIdentity::Key(in_file(&files.key, problem));
        let chain = key_file::read(&files.certificate).map_err(|error| certificate(&error))?;
        let key = key_file::read(&files.key).map_err(|error| bad_key(&error))?;
        let digests = [digest(&chain), digest(&key)];
        let chain = certificates(&chain).map_err(|problem| certificate(&problem))?;
        let mut ends = u64::MAX;
        for one in &chain {
            ends = ends.min(end(one).map_err(|problem| certificate(&problem))?);
        }
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                bad_key(&"there is no private key in it, in PEM and without a password")
            }
            _ => bad_key(&"it is no PEM"),
        })?;
        let config = config(chain, key).map_err(|error| match error {
            Error::InvalidCertificate(error) => certificate(&format_args!("{error}")),
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                bad_key(&"it is not the key of the certificate")
            }
            error => bad_key(&error),
        })?;
        let ends = i64::try_from(ends).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        Ok(Identity { files, ends: Micros(ends), digests, config: Arc::new(config) })
    }

    /// Whether the certificate, and whether the key, are those of another one, by path and content.
    pub(crate) fn agrees(&self, other: &Identity) -> [bool; 2] {
        let (files, others) = (&self.files, &other.files);
        [
            files.certificate == others.certificate && self.digests[0] == other.digests[0],
            files.key == others.key && self.digests[1] == other.digests[1],
        ]
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("there is no certificate in it, in PEM"),
        Ok(chain) => Ok(chain),
        Err(_) => Err("it is no PEM"),
    }
}

/// When a certificate ends, in seconds since 1970. The judge of certificates is asked, which names
/// that time where a certificate is judged as of a day when all have ended: before all else,
/// whoever has signed it.
fn end(certificate: &CertificateDer<'_>) -> Result<u64, String> {
    let parsed = ParsedCertificate::try_from(certificate).map_err(|error| error.to_string())?;
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let last = UnixTime::since_unix_epoch(Duration::from_secs(LAST));
    let nobody = RootCertStore::empty();
    match verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], last, algorithms) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Ok(not_after.as_secs())
        }
        Err(error) => Err(error.to_string()),
        Ok(()) => Ok(LAST),
    }
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Who comes back is known by a ticket: nothing is kept of those who have left.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}
