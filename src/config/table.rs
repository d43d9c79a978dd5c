//! The settings that are no bounds: their names, what a value looks like, and what they do. Help,
//! documents and the check for unknown names are made from here.

/// A setting that is no bound: those of `limits.rs` come from its table.
#[derive(Clone, Copy, Debug)]
pub struct MainSetting {
    /// The name, as the file has it.
    pub name: &'static str,
    /// What a value looks like, for the help.
    pub form: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// The settings that are no bounds, in the order of the help.
pub const MAIN: [MainSetting; 31] = [
    main(
        "listen",
        "ADDR:PORT",
        "Address and port of HTTP and WebSocket; PORT sets the port \
               [default: 127.0.0.1:8080]",
    ),
    main(
        "tls_certificate",
        "FILE",
        "File of the certificate (PEM) that clients are shown, then those of its authorities; with \
               it, all that listens speaks TLS. Read again on SIGHUP and when it changes. In place \
               of it: systemd's credential of this name",
    ),
    main("tls_key", "FILE", "File of its key (PEM), in the same way"),
    main(
        "tls_plain_listen",
        "ADDR:PORT",
        "Address and port of plain HTTP beside TLS [default: there is none]",
    ),
    main("data_dir", "DIR", "Directory of journals and the embedded store [default: data]"),
    main(
        "database_url",
        "URL",
        "PostgreSQL database to store in, postgresql://user@host:5432/name; with a password not \
               here, where others read it, but as DATABASE_URL, in the file, or as systemd's \
               credential of this name [default: SQLite in data_dir]",
    ),
    main(
        "take_journals",
        "BOOL",
        "Store what journals hold for another store in this one; for one start, where the \
               other will not come back",
    ),
    main(
        "accept",
        "journaled|stored",
        "When a chat is accepted and seen: in the journal, or once stored [default: journaled]",
    ),
    main("search", "BOOL", "Find messages by their words, for which the store keeps an index"),
    main("shards", "N", "Threads that own spaces and sockets [default: cores - 1, at least 1]"),
    main(
        "pinned",
        "true|false",
        "Keep each shard's thread on a core of its own; false where others share the cores \
               [default: true]",
    ),
    main("insecure", "BOOL", "Listen beyond loopback although nobody is authenticated"),
    main("debug_endpoints", "BOOL", "Serve /v1/debug/echo, for tests of the protocol"),
    main(
        "jwt_secret_file",
        "FILES",
        "File of the secret that tokens are signed with, 32 bytes at least, or NAME=FILE, where \
               tokens name their key (kid); a second one with a comma is taken too, while keys \
               change. In place of it: HUB_JWT_SECRET, or systemd's credential jwt_secret",
    ),
    main(
        "jwt_public_key_file",
        "FILES",
        "File of the public key (PEM) of those who make tokens, in the same form",
    ),
    main("jwt_jwks_file", "FILE", "File of their public keys as a JWKS"),
    main(
        "jwt_algorithm",
        "NAME",
        "How tokens are signed: HS256 to HS512, RS256 to RS512, PS256 to PS512, ES256, ES384 or \
               EdDSA; others are refused [default: HS256]",
    ),
    main("jwt_audience", "TEXT", "What tokens have as aud [default: they have none]"),
    main("jwt_issuer", "TEXT", "What tokens have as iss [default: anything]"),
    main(
        "api_keys_file",
        "FILE",
        "File of the keys of programs, a line for each, made by `cpi-hub key new`; or systemd's \
               credential api_keys",
    ),
    main(
        "origins",
        "LIST",
        "Origins whose pages may use the hub, with commas, or none; any scheme, such as \
               capacitor://localhost [default: http://localhost:3000]",
    ),
    main(
        "hosts",
        "LIST",
        "Names that the hub goes by, with commas, beside localhost, those of origins and, beyond \
               loopback, addresses; any is whatever it is called [default: none]",
    ),
    main(
        "trusted_proxies",
        "LIST",
        "Addresses and networks of proxies, with commas, that are believed for whom they speak, \
               such as 127.0.0.1 or 10.0.0.0/8; limits then hold for those, and for loopback too \
               [default: none]",
    ),
    main(
        "proxy_header",
        "NAME",
        "Where they say it: x-forwarded-for or forwarded; the other is not read \
               [default: x-forwarded-for]",
    ),
    main(
        "proxy_protocol",
        "on|off",
        "Their connections begin with the PROXY protocol, version 1 or 2 [default: off]",
    ),
    main(
        "telemetry_endpoint",
        "URL",
        "Collector of OpenTelemetry that is sent traces, by OTLP over HTTP: http:// or https://, \
               its port (4318 as a rule) and a path, if it has one, without v1/traces; or \
               OTEL_EXPORTER_OTLP_ENDPOINT. Headers for it, such as a key, are given as \
               OTEL_EXPORTER_OTLP_HEADERS [default: there is none]",
    ),
    main(
        "telemetry_ca",
        "FILE",
        "File of the authorities (PEM) that its certificate may be of; or \
               OTEL_EXPORTER_OTLP_CERTIFICATE [default: the system's]",
    ),
    main(
        "telemetry_service_name",
        "TEXT",
        "What the hub is called there; or OTEL_SERVICE_NAME [default: cpi-hub]",
    ),
    main(
        "telemetry_sample_ratio",
        "NUMBER",
        "Part of the traces that is sent, 0 to 1, of those that no traceparent has decided on \
               [default: 1]",
    ),
    main("log", "FILTER", "Which log lines are written, as RUST_LOG has it [default: info]"),
    main(
        "log_format",
        "FORMAT",
        "text, json, or auto: text on a terminal, json otherwise [default: auto]",
    ),
];

const fn main(name: &'static str, form: &'static str, help: &'static str) -> MainSetting {
    MainSetting { name, form, help }
}
