//! What is configured of TLS for clients: the certificate and its key, and where plain HTTP is
//! spoken beside it.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::listen::{handed, parse};
use super::sources::{CREDENTIALS_VARIABLE, Source};
use super::{BadConfig, Reading};
use crate::edge::tls::{BadIdentity, Files, Identity};

/// The settings of the certificate: which file is which.
pub(super) const SETTINGS: [&str; 2] = ["tls_certificate", "tls_key"];

/// The certificate, if one is given.
pub(super) fn identity(reading: &mut Reading<'_>) -> Result<Option<Identity>, BadConfig> {
    let [certificate, key] = SETTINGS.map(|setting| path(reading, setting));
    let files = match (certificate, key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => Files { certificate, key },
        (Some(_), None) => return Err(reading.bad("tls_certificate", "its tls_key is missing")),
        (None, Some(_)) => return Err(reading.bad("tls_key", "its tls_certificate is missing")),
    };
    Identity::read(files).map(Some).map_err(|error| match error {
        BadIdentity::Certificate(problem) => reading.bad("tls_certificate", problem),
        BadIdentity::Key(problem) => reading.bad("tls_key", problem),
    })
}

/// Where plain HTTP is spoken beside TLS, if anywhere.
pub(super) fn plain_listen(
    reading: &mut Reading<'_>,
    is_secured: bool,
    inherited: Option<SocketAddr>,
) -> Result<Option<SocketAddr>, BadConfig> {
    const SETTING: &str = "tls_plain_listen";
    const ALL_IS_PLAIN: &str = "all is plain where no tls_certificate is given";
    if inherited.is_some() && !is_secured {
        return Err(BadConfig(format!("LISTEN_FDS: {ALL_IS_PLAIN}: one socket is enough")));
    }
    let given = reading.sources.get(SETTING).filter(|given| !given.text.is_empty());
    let Some(given) = given else { return handed(reading, SETTING, (None, inherited)) };
    let bad = || format!("`{}` is not an address and port such as 127.0.0.1:8081", given.text);
    let address = parse(&given.text).ok_or_else(|| reading.bad(SETTING, bad()))?;
    if !is_secured {
        return Err(reading.bad(SETTING, format!("{ALL_IS_PLAIN}: listen says where")));
    }
    reading.note(SETTING, &given.text, given.source.clone());
    let handed = handed(reading, SETTING, (Some(address), inherited))?;
    Ok(handed.or(Some(address)))
}

/// Where a file is, and if the setting does not say so, whether systemd has one of this name.
fn path(reading: &mut Reading<'_>, setting: &'static str) -> Option<PathBuf> {
    if let Some(given) = reading.sources.get(setting).filter(|given| !given.text.is_empty()) {
        reading.note(setting, &given.text, given.source.clone());
        return Some(PathBuf::from(&given.text));
    }
    let path = reading.sources.credential(setting)?;
    let source = Source::Variable(CREDENTIALS_VARIABLE.into());
    reading.note(setting, path.to_string_lossy(), source);
    Some(path)
}
