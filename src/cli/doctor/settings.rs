//! What the settings themselves say: who may reach the hub and as whom, the certificate, quiet
//! sockets behind proxies, what was lowered to fit the machine.

use super::Finding;
use crate::clock::unix_now;
use crate::config::{Config, Machine};

/// What proxies that nobody has told otherwise cut a quiet connection after: nginx, load balancers
/// of clouds.
const PROXY_IDLE: u64 = 60_000;
/// HAProxy's usual `timeout tunnel`.
const SHORT_PROXY_IDLE: u64 = 50_000;
const DAY: i64 = 86_400;
/// As long before its end as the hub itself tells of a certificate.
const ENDS_SOON: i64 = 14 * DAY;

/// All of it.
pub(super) fn look(config: &Config, machine: Machine) -> Vec<Finding> {
    let mut found = vec![
        who(config),
        pings(config.limits.ping_period, config.proxies.is_empty()),
        certificate(config.tls.as_ref().map(|tls| tls.ends.0 / 1_000_000), now()),
    ];
    let open = !config.listen.ip().is_loopback();
    if config.debug_endpoints {
        let fix = "take debug_endpoints away where others than testers come";
        found.push(Finding::warning("debug_endpoints", "/v1/debug/echo is served", fix));
    }
    if open && config.tls.is_none() && config.proxies.is_empty() {
        let what = "other machines reach it in plain HTTP, and no proxy is known";
        let fix = "give tls_certificate and tls_key, or name the proxy in trusted_proxies";
        found.push(Finding::warning("plain_http", what, fix));
    }
    if machine.memory_max.is_some() || machine.descriptors_max.is_some() {
        let lowered = config.warnings.iter();
        found.extend(lowered.map(|warning| Finding::ok("fitted", warning.clone())));
    }
    found
}

fn now() -> i64 {
    unix_now().0 / 1_000_000
}

fn who(config: &Config) -> Finding {
    const NAME: &str = "authentication";
    match config.open_at() {
        Some(address) => Finding::warning(
            NAME,
            format!("{address} is open to other machines, and whoever comes is whoever they say"),
            "give HUB_JWT_SECRET or jwt_secret_file, or listen on 127.0.0.1 alone",
        ),
        None if config.credentials.are_asked() => Finding::ok(NAME, "a token or key is asked for"),
        None => Finding::ok(NAME, "nobody is asked, and loopback alone is served"),
    }
}

fn pings(period: u64, no_proxy: bool) -> Finding {
    const NAME: &str = "ping_period";
    let what = format!("quiet sockets are pinged every {} s", period / 1_000);
    match period {
        ..SHORT_PROXY_IDLE => Finding::ok(NAME, what),
        SHORT_PROXY_IDLE..PROXY_IDLE => Finding::ok(
            NAME,
            format!("{what}: enough for nginx and clouds (60 s), not for HAProxy's usual 50 s"),
        ),
        _ => {
            let what = format!("{what}: proxies cut them after 60 s, and their members come back");
            let fix = "lower ping_period below the proxy's limit (54s is the default), or raise \
                       proxy_read_timeout, `timeout tunnel`: docs/PROXIES.md";
            match no_proxy {
                true => Finding::warning(NAME, what, fix),
                false => Finding::problem(NAME, what, fix),
            }
        }
    }
}

fn certificate(ends: Option<i64>, now: i64) -> Finding {
    const NAME: &str = "certificate";
    const FIX: &str = "renew tls_certificate: a hub reads its files again by itself";
    let Some(ends) = ends else { return Finding::ok(NAME, "TLS is not the hub's") };
    match ends - now {
        ..=0 => Finding::problem(NAME, "it has ended: most refuse to connect", FIX),
        left @ ..ENDS_SOON => Finding::warning(NAME, format!("ends in {} days", left / DAY), FIX),
        left => Finding::ok(NAME, format!("ends in {} days", left / DAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade::{Ok, Problem, Warning};
    use super::*;

    #[test]
    fn pings_are_judged_by_what_proxies_cut() {
        assert_eq!(pings(40_000, true).grade, Ok);
        assert_eq!(pings(54_000, false).grade, Ok);
        assert_eq!(pings(60_000, true).grade, Warning);
        assert_eq!(pings(90_000, false).grade, Problem);
    }

    #[test]
    fn a_certificate_is_told_two_weeks_before_its_end() {
        assert_eq!(certificate(None, 0).grade, Ok);
        assert_eq!(certificate(Some(15 * DAY), 0).grade, Ok);
        assert_eq!(certificate(Some(13 * DAY), 0).what, "ends in 13 days");
        assert_eq!(certificate(Some(13 * DAY), 0).grade, Warning);
        assert_eq!(certificate(Some(5), 5).grade, Problem);
    }
}
