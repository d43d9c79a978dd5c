//! `/metrics`: every number of the hub as OpenMetrics text, or in the older form of Prometheus for
//! those who ask for that.
//!
//! Adds the sources up when asked; nothing here is on a message's way. What each number is called,
//! and what is said of it, stands in the tables of `metrics/table`.

use std::fmt;
use std::sync::Arc;

use super::health::{standing, store_name};
use super::process::{self, Figure};
use crate::conditions::Condition;
use crate::edge::http::media::Accepted;
use crate::edge::http::problem::Refusal;
use crate::edge::{COMMIT, Health, VERSION};
use crate::hub::Hub;
use crate::limits::Limits;
use crate::metrics::latency::{BOUNDS, Histogram};
use crate::metrics::table::{Family, ProcessFigure};
use crate::metrics::{About, Counts, Kind, Latency, Metric, Metrics};
use crate::store::StoreState;
use crate::wire::close::Close;
use crate::wire::reject::Reject;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const STORE_STATES: [StoreState; 4] =
    [StoreState::Connecting, StoreState::Ready, StoreState::Behind, StoreState::Refused];

/// What a scrape reads.
#[derive(Clone, Debug)]
pub(crate) struct Scraped {
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// What is wrong.
    pub health: Health,
    /// What numbers are held against.
    pub limits: Arc<Limits>,
    /// Says whether the hub drains; `None`: the store is not open yet.
    pub hub: Option<Hub>,
}

/// `GET /metrics`, which shows these.
pub(crate) fn routes(scraped: Scraped) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(Arc::new(scraped))
}

/// What one scrape shows.
#[derive(Debug)]
struct Numbers {
    scraped: Arc<Scraped>,
    process: Vec<Figure>,
}

impl Numbers {
    fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::with_capacity(48 << 10);
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

async fn scrape(
    State(scraped): State<Arc<Scraped>>,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    // Files of the kernel, some of which take their time where many descriptors are open.
    let process = tokio::task::spawn_blocking(process::figures).await.unwrap_or_default();
    let text = Numbers { scraped, process }.text().map_err(|error| {
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
    fn encode(&self, out: DescriptorEncoder<'_>) -> fmt::Result {
        let Scraped { metrics, health, limits, hub } = &*self.scraped;
        let mut out = Out(out);
        let total = metrics.total();
        for &metric in Metric::ALL {
            out.number(metric.about(), total.get(metric))?;
        }
        for &latency in Latency::ALL {
            out.histogram(latency.about(), total.latency(latency))?;
        }
        out.build()?;
        let ready = |hub| standing(health, hub, limits, &total).0.is_success();
        out.number(Family::Ready.about(), hub.as_ref().is_some_and(ready).into())?;
        out.number(Family::JournalLimit.about(), limits.journal_bytes_max)?;
        out.number(Family::MembersLimit.about(), limits.connections_max as u64)?;
        let rejects = (0..Reject::KINDS).map(|kind| (Reject::CODES[kind], total.rejects(kind)));
        out.family(Family::Rejects, rejects)?;
        out.family(Family::Closes, closes(&total))?;
        out.family(Family::Panics, metrics.panics())?;
        let state = health.store();
        let states = STORE_STATES.map(|it| (store_name(it), u64::from(it == state)));
        out.family(Family::StoreState, states.into_iter())?;
        out.conditions(health)?;
        for (figure, value) in &self.process {
            out.figure(*figure, *value)?;
        }
        Ok(())
    }
}

fn closes(total: &Counts) -> impl Iterator<Item = (&'static str, u64)> {
    (0..Close::KINDS).map(|kind| (Close::REASONS[kind], total.closes(kind)))
}

/// Writes metrics as their tables describe them.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn describe<'s>(
        &'s mut self,
        about: &'s About,
        unit: Option<&'s Unit>,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        // The encoder puts the unit behind the name itself.
        let name = match unit {
            Some(unit) => about.name.trim_end_matches(unit.as_str()).trim_end_matches('_'),
            None => about.name,
        };
        let kind = match about.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge | Kind::Longest => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        };
        self.0.encode_descriptor(name, about.help, unit, kind)
    }

    fn number(&mut self, about: &About, value: u64) -> fmt::Result {
        let unit = unit_of(about);
        let metric = self.describe(about, unit.as_ref())?;
        match about.kind {
            Kind::Counter => ConstCounter::new(value).encode(metric),
            Kind::Longest => ConstGauge::new(seconds(value)).encode(metric),
            _ => ConstGauge::new(value).encode(metric),
        }
    }

    fn histogram(&mut self, about: &About, histogram: &Histogram) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(histogram.buckets).collect();
        let (sum, count) = (seconds(histogram.sum), histogram.count());
        let unit = unit_of(about);
        let mut metric = self.describe(about, unit.as_ref())?;
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn build(&mut self) -> fmt::Result {
        let about = Family::Build.about();
        let values = [VERSION, COMMIT];
        let labels: Vec<_> = about.labels.iter().copied().zip(values).collect();
        Info::new(labels).encode(self.describe(about, None)?)
    }

    /// A metric of one label.
    fn family(
        &mut self,
        family: Family,
        values: impl Iterator<Item = (&'static str, u64)>,
    ) -> fmt::Result {
        let about = family.about();
        let mut metric = self.describe(about, None)?;
        for (value, number) in values {
            let labels = [(about.labels[0], value)];
            let metric = metric.encode_family(&labels)?;
            match about.kind {
                Kind::Counter => ConstCounter::new(number).encode(metric)?,
                _ => ConstGauge::new(number).encode(metric)?,
            }
        }
        Ok(())
    }

    fn conditions(&mut self, health: &Health) -> fmt::Result {
        let about = Family::Conditions.about();
        let mut metric = self.describe(about, None)?;
        for &condition in Condition::ALL {
            let values = [condition.name(), condition.effect().name()];
            let labels: Vec<_> = about.labels.iter().copied().zip(values).collect();
            let holds = u64::from(health.conditions.holds(condition));
            ConstGauge::new(holds).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn figure(&mut self, figure: ProcessFigure, value: f64) -> fmt::Result {
        let about = figure.about();
        let unit = unit_of(about);
        let metric = self.describe(about, unit.as_ref())?;
        match about.kind {
            Kind::Counter => ConstCounter::new(value).encode(metric),
            _ => ConstGauge::new(value).encode(metric),
        }
    }
}

fn unit_of(about: &About) -> Option<Unit> {
    match about.unit()? {
        "bytes" => Some(Unit::Bytes),
        _ => Some(Unit::Seconds),
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::conditions::Conditions;
    use crate::metrics::Part;
    use crate::metrics::table::all;
    use tokio::sync::watch;

    #[test]
    fn every_number_is_shown_under_its_name() {
        let metrics = Arc::new(Metrics::new(1));
        metrics.edge.add(Metric::HttpRequests, 7);
        metrics.edge.reject(Reject::Draining);
        metrics.edge.close(Close::Kicked);
        metrics.store.add(Metric::JournalBytes, 9);
        metrics.store.set(Metric::StoreLag, 1_500_000);
        metrics.store.observe(Latency::Batch, 2_000);
        metrics.store.observe(Latency::Batch, 30_000_000);
        metrics.panicked(Part::Shard);
        let (_keep, store) = watch::channel(StoreState::Behind);
        let conditions = Conditions::new(Clock::start());
        conditions.raise(Condition::AnotherHub, "");
        let health = Health::new(Some(store), conditions);
        let scraped = Scraped { metrics, health, limits: Arc::new(Limits::default()), hub: None };
        let process = vec![(ProcessFigure::Threads, 4.0), (ProcessFigure::CpuSeconds, 0.5)];
        let text = Numbers { scraped: Arc::new(scraped), process }.text().expect("text");
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
            "hub_condition{name=\"another_hub\",effect=\"refusing\"} 1",
            "# TYPE hub_store_lag_seconds gauge",
            "# UNIT hub_store_lag_seconds seconds",
            "hub_store_lag_seconds 1.5",
            "# TYPE hub_store_batch_seconds histogram",
            "hub_store_batch_seconds_sum 30.002",
            "hub_store_batch_seconds_count 2",
            "hub_store_batch_seconds_bucket{le=\"0.001\"} 0",
            "hub_store_batch_seconds_bucket{le=\"0.0025\"} 1",
            "hub_store_batch_seconds_bucket{le=\"10.0\"} 1",
            "hub_store_batch_seconds_bucket{le=\"+Inf\"} 2",
            "hub_ready 0",
            "hub_journal_limit_bytes 1073741824",
            "# TYPE process_cpu_seconds counter",
            "process_cpu_seconds_total 0.5",
            "process_threads 4.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in:\n{text}");
        }
        assert!(text.contains("hub_build_info{version=\""), "{text}");
        let described = all().count() - ProcessFigure::ALL.len() + 2;
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
