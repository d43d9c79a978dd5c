//! What SIGHUP has the hub read again: the configuration, of which some settings can be changed
//! while it runs. Says which were, and which wait for a restart; a configuration with a mistake
//! changes nothing.

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::cli::logging::Log;
use crate::config::{BadConfig, Config};
use crate::edge::auth::Replace;
use crate::edge::tls::ReplaceIdentity;

/// Reads the configuration anew, from where it was read at the start.
pub type Reread = dyn Fn() -> Result<Config, BadConfig> + Send + Sync;

/// Takes over a setting from a new configuration.
type TakeOver = fn(&Reload, &Config) -> Result<(), String>;

/// The settings that can be changed while the hub runs, and how.
const CHANGEABLE: [(&str, TakeOver); 10] = [
    ("log", |reload, new| reload.log.filter(&new.log)),
    ("jwt_secret_file", Reload::credentials),
    ("jwt_public_key_file", Reload::credentials),
    ("jwt_jwks_file", Reload::credentials),
    ("jwt_algorithm", Reload::credentials),
    ("jwt_audience", Reload::credentials),
    ("jwt_issuer", Reload::credentials),
    ("api_keys_file", Reload::credentials),
    ("tls_certificate", Reload::certificate),
    ("tls_key", Reload::certificate),
];

/// Reloads.
pub(super) struct Reload {
    reread: Arc<Reread>,
    log: Log,
    credentials: Replace,
    /// Where there is TLS.
    certificate: Option<ReplaceIdentity>,
    /// What the hub runs with.
    current: Config,
    /// A file may be on a disk that hangs: it is read where nobody waits for it.
    reading: Option<JoinHandle<Result<Config, BadConfig>>>,
}

impl fmt::Debug for Reload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reload").field("current", &self.current).finish_non_exhaustive()
    }
}

impl Reload {
    /// For a hub that has begun with `current`.
    pub(super) fn new(
        current: Config,
        log: Log,
        (credentials, certificate): (Replace, Option<ReplaceIdentity>),
        reread: Arc<Reread>,
    ) -> Reload {
        Reload { reread, log, credentials, certificate, current, reading: None }
    }

    /// Who is who is judged by what the files hold now.
    fn credentials(&self, new: &Config) -> Result<(), String> {
        self.credentials.replace(&new.credentials)
    }

    /// New connections are shown what the files hold now.
    fn certificate(&self, new: &Config) -> Result<(), String> {
        let (Some(certificate), Some(identity)) = (&self.certificate, &new.tls) else {
            return Err("TLS begins and ends with a restart".into());
        };
        certificate.replace(identity.clone());
        Ok(())
    }

    /// Begins to read anew, on a thread of its own. Once more, if that has begun already.
    pub(super) fn begin(&mut self, threads: &Handle) {
        let reread = Arc::clone(&self.reread);
        self.reading = Some(threads.spawn_blocking(move || reread()));
    }

    /// Waits for what is being read, and takes it over. For ever, if nothing is.
    pub(super) async fn finish(&mut self) {
        let Some(reading) = &mut self.reading else { return std::future::pending().await };
        let read = reading.await;
        self.reading = None;
        match read {
            Ok(Ok(new)) => self.take_over(&new),
            Ok(Err(bad)) => tracing::warn!("nothing is reloaded: {bad}"),
            Err(bug) => tracing::error!("nothing is reloaded: {bug}"),
        }
    }

    fn take_over(&mut self, new: &Config) {
        let (mut reloaded, mut unchanged) = (Vec::new(), Vec::new());
        for name in new.differing(&self.current) {
            let Some((_, take_over)) = CHANGEABLE.iter().find(|(known, _)| *known == name) else {
                unchanged.push(name);
                continue;
            };
            match take_over(self, new) {
                Ok(()) => {
                    self.current.take(name, new);
                    reloaded.push(name);
                }
                Err(error) => tracing::warn!("{name} is not reloaded: {error}"),
            }
        }
        let (reloaded, unchanged) = (reloaded.join(", "), unchanged.join(", "));
        match (reloaded.is_empty(), unchanged.is_empty()) {
            (true, true) => tracing::info!("reloaded: no setting has changed"),
            (false, true) => tracing::info!(reloaded, "reloaded"),
            (_, false) => {
                tracing::warn!(reloaded, unchanged, "reloaded; the rest waits for a restart");
            }
        }
    }
}
