//! A collector of traces that is spoken to by TLS: whose certificate is believed, and whose is not.

use cpi_hub::conditions::Condition;

use super::{Files, Made};
use crate::support::collector::Collector;
use crate::support::health::planted;
use crate::support::{GOOD, Hub};

#[test]
fn a_collector_is_believed_by_its_certificate_and_sent_nothing_without() {
    let (files, made) = (Files::new(), Made::new());
    files.write(&made);
    let collector = Collector::start_tls(&made.certificate, &made.key);
    let url = format!("https://localhost:{}", collector.address.port());
    let ca = files.path("certificate");
    let hub = Hub::start(&["--telemetry-endpoint", &url, "--telemetry-ca", &ca]);
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    collector.span("post", |it| it.says("cpi_hub.outcome") == "stored");
    let others = Files::new();
    let other = others.path("certificate");
    let hub = Hub::start(&["--telemetry-endpoint", &url, "--telemetry-ca", &other]);
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    let detail = planted(&hub, Condition::TracesUnsent);
    assert!(detail.contains("certificate"), "{detail}");
    assert_eq!(collector.spans("post").len(), 1);
}
