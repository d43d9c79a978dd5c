//! Which pages may use the hub, and under which names it is reached (`docs/WIRE.md` A5), against
//! the real binary: what a proxy in front, an app made of pages, or a page that means ill says.

use std::io::Write;

use crate::support::{Answer, Hub, PATIENCE, eventually, run_hub, upgrade};

/// Asks with exactly these header lines.
fn ask(hub: &Hub, line: &str, headers: &[&str]) -> Answer {
    let mut stream = hub.connect();
    let head = format!("{line}\r\n{}Connection: close\r\n\r\n", headers.concat());
    stream.write_all(head.as_bytes()).expect("the hub reads");
    Answer::read(&mut stream)
}

fn get(hub: &Hub, host: &str, origin: &str) -> Answer {
    let origin = if origin.is_empty() { "".into() } else { format!("Origin: {origin}\r\n") };
    ask(hub, "GET /v1/spaces HTTP/1.1", &[&format!("Host: {host}\r\n"), &origin])
}

/// The status of an upgrade under a host, by a page of this origin.
fn upgrades(hub: &Hub, host: &str, origin: &str) -> u16 {
    let lines = format!("Origin: {origin}\r\n");
    let request = upgrade("/v1/ws/spaces/1?user_id=1", &lines);
    let request = request.replacen("Host: localhost", &format!("Host: {host}"), 1);
    let mut stream = hub.connect();
    stream.write_all(request.as_bytes()).expect("the hub reads");
    Answer::read(&mut stream).status
}

/// A hub that other machines may reach.
fn open_hub(args: &[&str]) -> Hub {
    Hub::start(&[&["--listen", "0.0.0.0:0", "--insecure"], args].concat())
}

#[test]
fn hosts_and_origins_are_compared_in_one_form() {
    let hub = Hub::start(&["--origins", "https://app.example,http://[2001:db8:0::1]:3000"]);
    let app = "https://app.example";
    for (host, origin, listed) in [
        ("app.example:443", app, false),
        ("app.example", app, false),
        ("App.Example.", app, false),
        ("app.example:80", app, true),
        ("localhost", "https://app.example:443", true),
        ("localhost", "https://APP.example.", true),
        ("127.0.0.1:443", app, true),
        ("[0:0:0:0:0:0:0:1]:8080", app, true),
        ("localhost.", "http://localhost", false),
        ("[0::1]:8080", "http://[::1]:8080", false),
        ("[2001:DB8::1]", "http://[2001:db8::1]:3000", true),
    ] {
        let answer = get(&hub, host, origin);
        let allowed = listed.then_some(origin);
        let of = format!("{host} {origin}");
        assert_eq!(answer.status, 200, "{of}");
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{of}");
        assert_eq!(upgrades(&hub, host, origin), 101, "{of}");
    }
    for (host, origin) in [
        ("app.example:443", "https://app.example:444"),
        ("app.example.evil.example", app),
        ("app.example", "https://app.example/"),
        ("localhost", "null"),
    ] {
        assert_eq!(get(&hub, host, origin).status, 403, "{host} {origin}");
        assert_eq!(upgrades(&hub, host, origin), 403, "{host} {origin}");
    }
}

#[test]
fn an_app_of_any_scheme_may_be_listed() {
    let apps = ["capacitor://localhost", "tauri://localhost", "chrome-extension://abcdefgh"];
    let hub = Hub::start(&["--origins", &apps.join(",")]);
    for app in apps {
        let answer = get(&hub, "localhost", app);
        assert_eq!(answer.status, 200, "{app}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(app));
        assert_eq!(upgrades(&hub, "localhost", app), 101, "{app}");
    }
    for other in ["ionic://localhost", "chrome-extension://other", "http://localhost"] {
        let host = hub.address.to_string();
        assert_eq!(get(&hub, &host, other).status, 403, "{other}");
    }
    for (bad, problem) in [
        ("wss://a.example", "is not a page's origin: that begins with http or https"),
        ("https://mañana.example", "is not how browsers write it: letters beyond ASCII come"),
        ("https://a.example/path", "is not an origin such as"),
    ] {
        let output = run_hub(&["serve", "--origins", bad], &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains(bad) && text.contains(problem), "{text}");
    }
}

#[test]
fn a_name_that_is_not_the_hubs_own_is_refused_beyond_loopback_too() {
    let hub = open_hub(&["--hosts", "Hub.Internal"]);
    let port = hub.address.port();
    for host in ["evil", "evil.example", "localhost.evil.example", "192.0.2.1.evil.example"] {
        let host = format!("{host}:{port}");
        assert_eq!(get(&hub, &host, "").status, 403, "{host}");
        assert_eq!(get(&hub, &host, &format!("http://{host}")).status, 403, "{host}");
        assert_eq!(upgrades(&hub, &host, &format!("http://{host}")), 403, "{host}");
    }
    for host in ["localhost", "127.0.0.1", "192.168.1.5", "[2001:db8::1]", "hub.internal."] {
        let host = format!("{host}:{port}");
        assert_eq!(get(&hub, &host, "").status, 200, "{host}");
        let own = format!("http://{}", host.replace("internal.", "internal"));
        assert_eq!(upgrades(&hub, &host, &own), 101, "{host}");
    }
    let hub = open_hub(&["--hosts", "any"]);
    assert_eq!(get(&hub, "evil", "").status, 200);
    assert_eq!(get(&hub, "evil", "http://other").status, 403);
}

#[test]
fn a_refused_name_is_told_once_with_the_setting_that_lists_it() {
    let hub = Hub::start(&[]);
    let lines = |text: &str| hub.log().lines().filter(|line| line.contains(text)).count();
    for _ in 0..3 {
        assert_eq!(get(&hub, "Hub_Upstream:8080", "").status, 403);
        assert_eq!(get(&hub, "localhost", "http://localhost:5173").status, 403);
        assert_eq!(get(&hub, "localhost", "null").status, 403);
    }
    for (name, setting) in
        [("hub_upstream", "`hosts`"), ("http://localhost:5173", "`origins`"), ("null", "Origin")]
    {
        eventually("it is told", || (lines(&format!("\"{name}\"")) > 0).then_some(()));
        let log = hub.log();
        let told: Vec<_> = log.lines().filter(|it| it.contains(&format!("\"{name}\""))).collect();
        assert_eq!(told.len(), 1, "{log}");
        assert!(told[0].contains(setting) && told[0].contains("127.0.0.1"), "{}", told[0]);
    }
    assert_eq!(hub.metric("hub_origins_refused_total"), 9.0);
    // Whoever makes names up fills no log, and no line has anything but a name.
    for n in 0..300 {
        assert_eq!(get(&hub, &format!("{n}.{}.example", "x".repeat(60)), "").status, 403);
        assert_eq!(get(&hub, "localhost", &format!("http://x/{n}-canary")).status, 403);
    }
    assert_eq!(get(&hub, "a\u{1b}[31m-canary", "").status, 400);
    hub.get("/livez");
    let log = hub.log();
    assert!(!log.contains("canary"), "{log}");
    let told = log.lines().filter(|line| line.contains("refused (403)")).count();
    assert!(told <= 64 && PATIENCE.as_secs() < 60, "{told}");
}

#[test]
fn what_depends_on_the_origin_says_so_and_pages_may_read_what_they_need() {
    let hub = Hub::start(&[]);
    let listed = "http://localhost:3000";
    let vary = |answer: &Answer| {
        let lines = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("vary"));
        lines.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    for (answer, status) in [
        (get(&hub, "localhost", ""), 200),
        (get(&hub, "localhost", listed), 200),
        (get(&hub, "localhost", "http://evil.example"), 403),
        (get(&hub, "evil.example", ""), 403),
        (hub.get("/nothing"), 404),
        (hub.get("/v1/messages"), 400),
        (hub.get("/client.js"), 200),
        (hub.get("/metrics"), 200),
    ] {
        assert_eq!(answer.status, status);
        let origins = vary(&answer).iter().filter(|value| *value == "Origin").count();
        assert_eq!(origins, 1, "{answer:?}");
    }
    let preflight = hub.request("OPTIONS", "/v1/messages", &[("Origin", listed)], b"");
    let names = ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"];
    assert_eq!((preflight.status, vary(&preflight)), (204, names.map(String::from).to_vec()));
    let exposed = "Retry-After,Idempotency-Replayed,Preference-Applied,X-Request-Id";
    let answer = get(&hub, "localhost", listed);
    assert_eq!(answer.header("access-control-expose-headers"), Some(exposed));
    assert_eq!(get(&hub, "localhost", "").header("access-control-expose-headers"), None);
}

#[test]
fn a_request_without_one_host_is_400_and_the_last() {
    let hub = Hub::start(&[]);
    let host = "Host: localhost\r\n";
    for lines in [
        &[][..],
        &["Host:\r\n"],
        &["Host: \r\n"],
        &[host, host],
        &[host, "Host: evil.example\r\n"],
        &["Host: local host\r\n"],
        &["Host: localhost:x\r\n"],
        &["Host: user@localhost\r\n"],
        &["Host: localhost/\r\n"],
    ] {
        let answer = ask(&hub, "GET /livez HTTP/1.1", lines);
        assert_eq!(answer.status, 400, "{lines:?}");
        assert_eq!(answer.json()["code"], "invalid_parameter", "{lines:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{lines:?}");
    }
    assert_eq!(ask(&hub, "GET http://localhost/livez HTTP/1.1", &[]).status, 400);
    assert_eq!(ask(&hub, "GET http://evil/livez HTTP/1.1", &[host]).status, 403);
    assert_eq!(ask(&hub, "GET http://localhost/livez HTTP/1.1", &["Host: evil\r\n"]).status, 200);
    assert_eq!(ask(&hub, "GET /livez HTTP/1.0", &[]).status, 200);
    assert_eq!(ask(&hub, "GET /livez HTTP/1.0", &["Host: evil\r\n"]).status, 403);
}
