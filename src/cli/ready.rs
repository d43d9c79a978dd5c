//! `cpi-hub ready`: asks the hub of this configuration whether it serves. For health checks where
//! there is no other program, as in an image that holds the hub alone.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::CliExit;
use crate::config::Config;
use crate::limits::PROBE_BYTES_MAX;

/// How long each step may take: to connect, to ask, to be answered.
const STEP_WAIT: Duration = Duration::from_secs(5);

const AFTER: &str = "It takes the options, variables and file of `serve`, and asks /readyz at the \
    address that they name, over loopback where the hub listens everywhere. A hub that speaks TLS \
    alone is asked at its tls_plain_listen.\n\n\
    Exit code: 0 it serves (ready or degraded), 1 it does not, 78 a bad setting.";

/// The subcommand's own command line, but for the settings.
pub(super) fn command() -> clap::Command {
    clap::Command::new("ready")
        .about("Asks the running hub whether it serves; for health checks")
        .after_help(AFTER)
}

/// Where the hub of a configuration is asked; `None`: it speaks TLS alone.
fn address(config: &Config) -> Option<SocketAddr> {
    let plain = if config.tls.is_some() { config.plain_listen } else { Some(config.listen) };
    let mut address = plain?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Some(address)
}

/// Does it; what to print, and the exit code.
pub(super) fn run(config: &Config) -> CliExit {
    let Some(address) = address(config) else {
        let text = "tls_plain_listen: needed to ask a hub that speaks TLS (127.0.0.1:8081, say)";
        return CliExit::bad(text);
    };
    match ask(address) {
        Ok(answer) => judged(&answer),
        Err(error) => CliExit::failed(format!("{address}: {error}; is the hub running?")),
    }
}

fn ask(address: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, STEP_WAIT)?;
    stream.set_read_timeout(Some(STEP_WAIT))?;
    stream.set_write_timeout(Some(STEP_WAIT))?;
    let head = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(PROBE_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// What an answer of `/readyz` says.
fn judged(answer: &[u8]) -> CliExit {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let Some(status) = body["status"].as_str() else {
        return CliExit::failed("what answers there is no hub");
    };
    let conditions = body["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = conditions.iter().filter_map(|it| it["name"].as_str()).collect();
    let text = match names[..] {
        [] => status.to_owned(),
        _ => format!("{status}: {}", names.join(", ")),
    };
    CliExit { code: u8::from(!head.starts_with("HTTP/1.1 200 ")), ..CliExit::done(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, code: u8, text: &str) {
        let exit = judged(answer.as_bytes());
        assert_eq!((exit.code, exit.text.as_str()), (code, text), "{answer}");
    }

    #[test]
    fn answers_are_judged_by_their_status_and_named_by_their_conditions() {
        check("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"ready\"}", 0, "ready");
        let refusing = r#"{"status":"refusing","conditions":[{"name":"a"},{"name":"b"}]}"#;
        let answer = format!("HTTP/1.1 503 Service Unavailable\r\nDate: x\r\n\r\n{refusing}");
        check(&answer, 1, "refusing: a, b");
        for none in ["", "HTTP/1.1 200 OK\r\n\r\nhola", "SSH-2.0-x\r\n"] {
            check(none, 1, "what answers there is no hub");
        }
    }
}
