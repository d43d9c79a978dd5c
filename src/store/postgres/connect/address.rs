//! Whether a database's address can mean only one thing. Pure.
//!
//! An address holds a password, and one with an `@` or a blank in it that is not escaped falls
//! apart: its pieces become a host, which is asked of a name server, or a parameter, which is
//! printed. So an address that may be such is refused, and no piece of it is shown.

use super::parameters;

const ESCAPES: &str = "in a user's name and password, @ is written %40, : %3A, / %2F, ? %3F, # %23 \
                       and % %25";
const QUOTES: &str = "in a list of key=value, a value with blanks is written in quotes, as \
                      password='my pass word', and \\' and \\\\ stand for ' and \\";

/// Parameters of an address.
const KNOWN: [&str; 19] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslmode",
    "sslrootcert",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];
/// Those whose values may hold anything.
const FREE: [&str; 5] = ["user", "password", "dbname", "options", "application_name"];
/// Parameters that libpq has and the hub has not, so that it can be said of them.
const FOREIGN: [&str; 16] = [
    "passfile",
    "service",
    "client_encoding",
    "fallback_application_name",
    "keepalives_count",
    "replication",
    "gssencmode",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslsni",
    "requiressl",
    "require_auth",
    "krbsrvname",
    "ssl_min_protocol_version",
];

/// What is wrong with an address, without a piece of it.
pub(super) fn check(text: &str) -> Result<(), String> {
    let url = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    match url {
        Some(url) => of_url(url),
        None if text.contains("://") => {
            Err("it begins neither with postgresql:// nor with postgres://".into())
        }
        None => of_list(text),
    }
}

fn of_url(url: &str) -> Result<(), String> {
    let (user, place) = url.split_once('@').unwrap_or(("", url));
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    // An address without a user whose query holds the `@`, or a password that looks like this.
    let doubtful = user.split_once('?').is_some_and(|(_, rest)| named(rest).is_some());
    if doubtful || !is_escaped(user) || place.contains('@') {
        return Err(ESCAPES.into());
    }
    let mut host_elsewhere = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        is_known(name, value, ESCAPES)?;
        if !is_escaped(value) {
            return Err(ESCAPES.into());
        }
        host_elsewhere |= matches!(name, "host" | "hostaddr");
    }
    let hosts = place.split('/').next().unwrap_or_default();
    match hosts.is_empty() {
        true if host_elsewhere => Ok(()),
        true => Err("it names no host".into()),
        false if hosts.split(',').all(is_host) => Ok(()),
        false => Err(format!("its host or port can't be read; {ESCAPES}")),
    }
}

fn of_list(text: &str) -> Result<(), String> {
    let mut left = text.trim();
    while !left.is_empty() {
        let (name, value, after) = parameters::pair(left).ok_or(QUOTES)?;
        is_known(name, &value, QUOTES)?;
        left = after.trim_start();
    }
    Ok(())
}

/// The parameter's name that a text begins with, if it begins so.
fn named(text: &str) -> Option<&'static str> {
    let (name, _) = text.split_once('=')?;
    KNOWN.into_iter().find(|known| *known == name)
}

fn is_known(name: &str, value: &str, hint: &str) -> Result<(), String> {
    if let Some(foreign) = FOREIGN.into_iter().find(|foreign| *foreign == name) {
        return Err(format!("the hub knows no {foreign}"));
    }
    if !KNOWN.contains(&name) {
        return Err(format!("it has a parameter that no such address has; {hint}"));
    }
    match FREE.contains(&name) || !value.contains('@') {
        true => Ok(()),
        false => Err(hint.into()),
    }
}

/// Whether each `%` begins a byte.
fn is_escaped(text: &str) -> bool {
    let is_byte = |rest: &str| {
        rest.get(..2).is_some_and(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    text.split('%').skip(1).all(is_byte)
}

/// A name, an address, `[::1]`, or an escaped path, and a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = port.strip_prefix(':').unwrap_or(port);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:%".contains(&byte);
    let is_port = port.is_empty() || port.parse::<u16>().is_ok();
    !host.is_empty() && host.bytes().all(letter) && is_escaped(host) && is_port
}

#[cfg(test)]
mod tests {
    use crate::store::postgres::DatabaseUrl;

    /// Pieces of the password in the addresses below.
    const SECRETS: [&str; 4] = ["clave", "Muy", "Secreta", "s3cret"];

    #[test]
    fn an_address_that_may_be_torn_apart_by_its_password_is_refused_and_not_shown() {
        for text in [
            "postgresql://ana:clave@MuySecreta@db/hub",
            "postgresql://ana:clave@Muy/Secreta@db/hub",
            "postgresql://ana:clave@Muy?Secreta@db/hub",
            "postgresql://ana:clave@Muy#Secreta@db/hub",
            "postgresql://ana:clave@Muy:Secreta@db/hub",
            "postgresql://ana:clave%Muy@db/hub",
            "postgresql://ana:clave%4@db/hub",
            "postgresql://ana:clave/Secreta",
            "postgresql://ana:clave?Secreta",
            "postgresql://ana:clave#Secreta",
            "postgresql://ana:clave:Secreta",
            "postgresql://ana:clave Secreta",
            "postgresql://ana:s3cret@/hub",
            "postgresql://ana:s3cret@",
            "postgresql://ana:s3cret@:5432/hub",
            "postgresql://ana:s3cret@db:Secreta/hub",
            "postgresql://ana:s3cret@db/hub?Secreta=1",
            "postgresql://ana:s3cret@db/hub?Secreta",
            "postgresql://ana:s3cret@db/hub?sslmode=require@Secreta",
            "postgresql://db/hub?user=ana&password=s3cret@Secreta",
            "mysql://ana:s3cret@db/hub",
            "host=db password=clave Secreta",
            "host=db password=clave Muy Secreta=x",
            "host=db password='clave",
            "host=db password=s3cret port=Secreta",
            "host=db password=s3cret sslkey=/Secreta",
            "clave@Secreta",
        ] {
            let told = DatabaseUrl::parse(text).expect_err(text).to_string();
            assert!(!SECRETS.iter().any(|secret| told.contains(secret)), "{text}: {told}");
            assert_eq!(told.lines().count(), 1, "{text}: {told}");
        }
        let told = DatabaseUrl::parse("postgresql://a:b@c@db/hub").expect_err("two").to_string();
        assert!(told.contains("@ is written %40"), "{told}");
    }

    #[test]
    fn addresses_that_mean_one_thing_are_taken() {
        for (text, shown) in [
            ("postgresql://ana:clave%40Muy%25@db/hub", "ana@db:5432/hub"),
            ("postgresql://ana:a:b/c?d#e@db:6543/hub", "ana@db:6543/hub"),
            ("postgresql://ana:x@[::1]:7/hub", "ana@::1:7/hub"),
            ("postgresql://ana@a,b:7/hub?application_name=hub@here", "ana@a:5432,b:7/hub"),
            ("postgresql://ana:x@%2Frun%2Fpg/hub", "ana@/run/pg:5432/hub"),
            ("postgresql:///hub?host=/run/pg&user=ana", "ana@/run/pg:5432/hub"),
            ("host=db user=ana password='a b@c\\'' dbname=hub", "ana@db:5432/hub"),
        ] {
            let url = DatabaseUrl::parse(text).map(|url| url.to_string());
            assert_eq!(url.as_deref(), Ok(shown), "{text}");
        }
    }
}
