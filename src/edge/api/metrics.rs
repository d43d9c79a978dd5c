//! `/metrics`: every number of the hub as OpenMetrics text, or in the older form of Prometheus for
//! those who ask for that.
//!
//! Adds the sources up when asked; nothing here is on a message's way.

use std::fmt;
use std::sync::Arc;

use super::health::store_name;
use crate::conditions::Condition;
use crate::edge::http::media::Accepted;
use crate::edge::http::problem::Refusal;
use crate::edge::{COMMIT, Health, VERSION};
use crate::metrics::{Counts, Kind, Metric, Metrics};
use crate::store::StoreState;
use crate::wire::close::Close;
use crate::wire::reject::Reject;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const STORE_STATES: [StoreState; 4] =
    [StoreState::Connecting, StoreState::Ready, StoreState::Behind, StoreState::Refused];

/// What a scrape reads.
#[derive(Debug)]
struct Numbers {
    metrics: Arc<Metrics>,
    health: Health,
}

/// `GET /metrics`, which shows these.
pub(crate) fn routes(metrics: Arc<Metrics>, health: Health) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(Scrape::new(metrics, health))
}

/// What the endpoint reads.
#[derive(Clone, Debug)]
struct Scrape(Arc<Registry>);

impl Scrape {
    fn new(metrics: Arc<Metrics>, health: Health) -> Scrape {
        let mut registry = Registry::with_prefix("hub");
        let build = Info::new(vec![("version", VERSION), ("commit", COMMIT)]);
        registry.register("build", "What is running", build);
        registry.register_collector(Box::new(Numbers { metrics, health }));
        Scrape(Arc::new(registry))
    }

    fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(16 << 10);
        text::encode(&mut out, &self.0)?;
        Ok(out)
    }
}

async fn scrape(State(scrape): State<Scrape>, asked: HeaderMap) -> Result<Response, Refusal> {
    let text = scrape.text().map_err(|error| {
        tracing::error!(%error, "metrics can't be written");
        Refusal::from(Reject::Internal)
    })?;
    let accepted = Accepted::of(&asked);
    let older = accepted.quality("text/plain") > accepted.quality("application/openmetrics-text");
    let (kind, text) = if older { (CLASSIC, classic(&text)) } else { (OPEN_METRICS, text) };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::VARY, HeaderValue::from_static("Accept")),
    ];
    Ok((headers, text).into_response())
}

/// The same numbers in Prometheus' older text format, in which a family is called as its samples
/// are, and knows neither infos nor an end.
fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            help = about.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|about| about.split_once(' '))
        {
            let (end, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            let help = help.take().map_or("", |(_, help)| help);
            out.push_str(&format!("# HELP {name}{end} {help}\n# TYPE {name}{end} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

impl Collector for Numbers {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let total = self.metrics.total();
        for &metric in Metric::ALL {
            let (name, kind, help) = metric.describe();
            number(&mut out, (name, help), kind, total.get(metric))?;
        }
        let rejects = (0..Reject::KINDS).map(|kind| (Reject::CODES[kind], total.rejects(kind)));
        let about = ("rejects", "Refusals, by code");
        family(&mut out, about, "code", Kind::Counter, rejects)?;
        let about = ("closes", "Ends of members' connections, by reason");
        family(&mut out, about, "reason", Kind::Counter, closes(&total))?;
        let about = ("panics", "Bugs met by parts that were closed or begun anew, by part");
        family(&mut out, about, "part", Kind::Counter, self.metrics.panics())?;
        let state = self.health.store();
        let states = STORE_STATES.map(|it| (store_name(it), u64::from(it == state)));
        let about = ("store_state", "What the store is doing: 1 at its state");
        family(&mut out, about, "state", Kind::Gauge, states.into_iter())?;
        let all = Condition::ALL.iter();
        let held = all.map(|it| (it.name(), u64::from(self.health.conditions.holds(*it))));
        let about = ("condition", "What is wrong: 1 at each condition that holds");
        family(&mut out, about, "name", Kind::Gauge, held)
    }
}

fn closes(total: &Counts) -> impl Iterator<Item = (&'static str, u64)> {
    (0..Close::KINDS).map(|kind| (Close::REASONS[kind], total.closes(kind)))
}

/// A metric's name and help.
type About = (&'static str, &'static str);

fn number(out: &mut DescriptorEncoder<'_>, about: About, kind: Kind, value: u64) -> fmt::Result {
    let metric = out.encode_descriptor(about.0, about.1, None, metric_type(kind))?;
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(metric),
        Kind::Gauge => ConstGauge::new(value).encode(metric),
    }
}

fn family(
    out: &mut DescriptorEncoder<'_>,
    about: About,
    label: &'static str,
    kind: Kind,
    values: impl Iterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    let mut family = out.encode_descriptor(about.0, about.1, None, metric_type(kind))?;
    for (name, value) in values {
        let labels = [(label, name)];
        let metric = family.encode_family(&labels)?;
        match kind {
            Kind::Counter => ConstCounter::new(value).encode(metric)?,
            Kind::Gauge => ConstGauge::new(value).encode(metric)?,
        }
    }
    Ok(())
}

fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::conditions::Conditions;
    use crate::metrics::Part;
    use tokio::sync::watch;

    #[test]
    fn every_number_is_shown_under_its_name() {
        let metrics = Arc::new(Metrics::new(1));
        metrics.edge.add(Metric::HttpRequests, 7);
        metrics.edge.reject(Reject::Draining);
        metrics.edge.close(Close::Kicked);
        metrics.store.add(Metric::JournalBytes, 9);
        metrics.panicked(Part::Shard);
        let (_keep, store) = watch::channel(StoreState::Behind);
        let conditions = Conditions::new(Clock::start());
        conditions.raise(Condition::AnotherHub, "");
        let health = Health::new(Some(store), conditions);
        let text = Scrape::new(metrics, health).text().expect("text");
        for line in [
            "# TYPE hub_http_requests counter",
            "hub_http_requests_total 7",
            "# TYPE hub_journal_bytes gauge",
            "hub_journal_bytes 9",
            "hub_rejects_total{code=\"draining\"} 1",
            "hub_rejects_total{code=\"overloaded\"} 0",
            "hub_closes_total{reason=\"kicked\"} 1",
            "hub_panics_total{part=\"shard\"} 1",
            "hub_panics_total{part=\"connection\"} 0",
            "hub_store_state{state=\"behind\"} 1",
            "hub_store_state{state=\"ready\"} 0",
            "hub_condition{name=\"another_hub\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in:\n{text}");
        }
        assert!(text.contains("hub_build_info{version=\""), "{text}");
        let described = Metric::ALL.len() + 6;
        assert_eq!(text.matches("# TYPE ").count(), described);
        let older = classic(&text);
        for line in [
            "# TYPE hub_http_requests_total counter",
            "hub_http_requests_total 7",
            "# TYPE hub_journal_bytes gauge",
            "hub_journal_bytes 9",
            "# TYPE hub_build_info gauge",
            "# TYPE hub_rejects_total counter",
            "hub_rejects_total{code=\"draining\"} 1",
        ] {
            assert!(older.lines().any(|it| it == line), "{line} is not in:\n{older}");
        }
        assert_eq!(older.matches("# TYPE ").count(), described);
        assert_eq!(older.matches("# HELP ").count(), described);
        assert!(!older.contains("# EOF"));
    }
}
