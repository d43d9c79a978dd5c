//! Which servers are believed to be who they say, where the hub or one of its tools connects within
//! TLS: those whose certificate is of an authority in a file, or of one that the system trusts.
//!
//! PostgreSQL's connections have rules of their own, in `store/postgres`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::store::postgres::SYSTEM_ROOTS;

const ALPN: &[u8] = b"http/1.1";

/// A file of authorities that can't be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct BadAuthorities {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// How HTTP is spoken within TLS to servers whose authority is in the file, or among the system's.
pub(crate) fn https(file: Option<&Path>) -> Result<ClientConfig, BadAuthorities> {
    let system = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists());
    let file = file.or(system).unwrap_or(Path::new(SYSTEM_ROOTS[0]));
    let bad = |problem: String| BadAuthorities { file: file.into(), problem };
    let text = std::fs::read(file).map_err(|error| bad(error.to_string()))?;
    let given: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let given = given.map_err(|error| bad(format!("is no PEM: {error}")))?;
    let mut roots = RootCertStore::empty();
    if roots.add_parsable_certificates(given).0 == 0 {
        return Err(bad("holds no certificate that can be used".into()));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}
