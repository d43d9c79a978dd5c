//! Spans: begun where somebody collects them, told of while they last, and queued when they are
//! dropped. A full queue costs the span, never the one who ends it.

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::rand;
use crossbeam_queue::ArrayQueue;

use super::Kind;
use super::context::Parent;
use crate::clock::Clock;
use crate::limits::SPANS_QUEUED_MAX;
use crate::metrics::{Metric, Metrics};
use crate::wire::time::{Micros, Now};

/// What is said of a span under a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Text(Cow<'static, str>),
    Number(i64),
    Flag(bool),
}

/// A key and what it says.
pub(super) type Note = (&'static str, Value);

/// A span, as the collector is told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub kind: Kind,
    pub trace: u128,
    pub id: u64,
    /// The span that it belongs to; 0: it is the first of its trace.
    pub parent: u64,
    /// Whether that one is another process's.
    pub is_remote: bool,
    pub begun: Micros,
    pub ended: Micros,
    pub notes: Vec<Note>,
    pub is_error: bool,
}

/// Where spans go that have ended.
#[derive(Debug)]
pub(super) struct Queue {
    pub ended: ArrayQueue<Box<Told>>,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Traces whose number's lower half is below this are kept; `None`: all are.
    kept_below: Option<u64>,
}

impl Queue {
    fn take(&self, told: Box<Told>) {
        if self.ended.push(told).is_err() {
            self.lose(1);
        }
    }

    /// Counts spans that no collector will see.
    pub(super) fn lose(&self, spans: usize) {
        self.metrics.edge.add(Metric::SpansLost, spans as u64);
    }

    /// Counts spans that the collector has.
    pub(super) fn count_sent(&self, spans: usize) {
        self.metrics.edge.add(Metric::SpansSent, spans as u64);
    }

    fn keeps(&self, trace: u128) -> bool {
        self.kept_below.is_none_or(|bound| (trace as u64) < bound)
    }
}

/// Begins spans, if somebody collects them. Cheap to clone; all clones share the queue.
#[derive(Clone, Default, Debug)]
pub struct Traces(Option<Arc<Queue>>);

impl Traces {
    /// Spans of this part of all traces, 0 to 1, are kept.
    pub(super) fn new(ratio: f64, clock: Clock, metrics: Arc<Metrics>) -> (Traces, Arc<Queue>) {
        let kept_below = (ratio < 1.0).then_some((ratio * u64::MAX as f64) as u64);
        let ended = ArrayQueue::new(SPANS_QUEUED_MAX);
        let queue = Arc::new(Queue { ended, clock, metrics, kept_below });
        (Traces(Some(Arc::clone(&queue))), queue)
    }

    /// Whether anybody collects spans.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// What a request's span is begun from, if its trace is kept: its sender has decided that, or
    /// else chance does.
    pub(crate) fn seed<'a>(
        &self,
        kind: Kind,
        at: Now,
        traceparents: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Seed> {
        let queue = self.0.as_ref()?;
        let seed = |trace, parent| {
            let queue = Arc::clone(queue);
            Seed { queue, kind, trace, parent, at, notes: Vec::new() }
        };
        match Parent::read(traceparents) {
            Some(parent) => parent.sampled.then(|| seed(parent.trace, parent.span)),
            None => {
                let trace = random();
                queue.keeps(trace).then(|| seed(trace, 0))
            }
        }
    }

    /// Begins the first span of a trace of its own, if that is kept.
    pub(crate) fn begin(&self, kind: Kind, at: Now) -> Option<Span> {
        self.seed(kind, at, std::iter::empty()).map(|seed| seed.begin())
    }
}

/// What a span is begun from. It is no span yet: dropped, it leaves no trace.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    queue: Arc<Queue>,
    kind: Kind,
    trace: u128,
    parent: u64,
    at: Now,
    notes: Vec<Note>,
}

impl Seed {
    /// Begins the span.
    pub(crate) fn begin(&self) -> Span {
        self.begin_at(self.at)
    }

    /// Begins the span at another time than the request's.
    pub(crate) fn begin_at(&self, at: Now) -> Span {
        let told = Told {
            kind: self.kind,
            trace: self.trace,
            id: random() as u64,
            parent: self.parent,
            is_remote: self.parent != 0,
            begun: at.unix,
            ended: at.unix,
            notes: self.notes.clone(),
            is_error: false,
        };
        Span { queue: Arc::clone(&self.queue), told: Some(Box::new(told)) }
    }

    /// The trace, as logs and other tools write it.
    pub(crate) fn trace_text(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// Says something of the span to be.
    pub(crate) fn text(&mut self, key: &'static str, text: impl Into<Cow<'static, str>>) {
        self.notes.push((key, Value::Text(text.into())));
    }

    /// Says a number of the span to be.
    pub(crate) fn number(&mut self, key: &'static str, number: i64) {
        self.notes.push((key, Value::Number(number)));
    }
}

/// Something that goes on. It ends when it is dropped, on whichever thread.
#[derive(Debug)]
pub(crate) struct Span {
    queue: Arc<Queue>,
    /// `None` once it has ended.
    told: Option<Box<Told>>,
}

impl Span {
    /// Says a text of it.
    pub(crate) fn text(&mut self, key: &'static str, text: impl Into<Cow<'static, str>>) {
        self.note(key, Value::Text(text.into()));
    }

    /// Says a number of it.
    pub(crate) fn number(&mut self, key: &'static str, number: i64) {
        self.note(key, Value::Number(number));
    }

    /// Says of it that something holds, or does not.
    pub(crate) fn flag(&mut self, key: &'static str, flag: bool) {
        self.note(key, Value::Flag(flag));
    }

    /// What has become of it.
    pub(crate) fn outcome(&mut self, outcome: &'static str) {
        self.text("cpi_hub.outcome", outcome);
    }

    /// It is an error, of this sort.
    pub(crate) fn fail(&mut self, error: &'static str) {
        self.text("error.type", error);
        if let Some(told) = &mut self.told {
            told.is_error = true;
        }
    }

    /// Begins a span that belongs to this one.
    pub(crate) fn child(&self, kind: Kind, at: Now) -> Span {
        let told = self.told.as_ref().map(|told| {
            Box::new(Told {
                kind,
                trace: told.trace,
                id: random() as u64,
                parent: told.id,
                is_remote: false,
                begun: at.unix,
                ended: at.unix,
                notes: Vec::new(),
                is_error: false,
            })
        });
        Span { queue: Arc::clone(&self.queue), told }
    }

    /// What is said later counts.
    fn note(&mut self, key: &'static str, value: Value) {
        let Some(told) = &mut self.told else { return };
        match told.notes.iter_mut().find(|(known, _)| *known == key) {
            Some(note) => note.1 = value,
            None => told.notes.push((key, value)),
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut told) = self.told.take() else { return };
        // A wall clock that was set back ends nothing before its begin.
        told.ended = self.queue.clock.now().unix.max(told.begun);
        self.queue.take(told);
    }
}

/// A number that no other trace or span has, and that is not 0 in either half.
fn random() -> u128 {
    let mut bytes = [0; 16];
    // The system's source does not fail once the process runs; a number would still be one.
    _ = rand::fill(&mut bytes);
    u128::from_be_bytes(bytes) | 1 << 64 | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::time::MonoMs;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const UNSAMPLED: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn at(micros: i64) -> Now {
        Now { mono: MonoMs(1), unix: Micros(micros) }
    }

    fn traces(ratio: f64) -> (Traces, Arc<Queue>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(1));
        let clock = Clock::Standing(at(2_000));
        let (traces, queue) = Traces::new(ratio, clock, Arc::clone(&metrics));
        (traces, queue, metrics)
    }

    fn seed(traces: &Traces, line: Option<&'static [u8]>) -> Option<Seed> {
        traces.seed(Kind::Post, at(1_000), line.into_iter())
    }

    #[test]
    fn a_span_has_its_senders_trace_and_ends_when_it_is_dropped() {
        let (traces, queue, _) = traces(0.0);
        let mut begun = seed(&traces, Some(PARENT)).expect("its sender keeps it");
        begun.text("http.route", "/x");
        assert_eq!(begun.trace_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let mut span = begun.begin();
        span.outcome("accepted");
        span.outcome("stored");
        let child = span.child(Kind::Resume, at(1_500));
        assert!(queue.ended.is_empty());
        drop(span);
        drop(child);
        let [one, other] = [0, 1].map(|_| queue.ended.pop().expect("it has ended"));
        assert_eq!(
            (one.trace, one.parent, one.is_remote),
            (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7, true,)
        );
        assert_eq!((one.begun, one.ended), (Micros(1_000), Micros(2_000)));
        let text = |text: &'static str| Value::Text(text.into());
        assert_eq!(one.notes, [("http.route", text("/x")), ("cpi_hub.outcome", text("stored"))]);
        assert_eq!((other.trace, other.parent, other.is_remote), (one.trace, one.id, false));
        assert_ne!(one.id, other.id);
    }

    #[test]
    fn chance_decides_where_no_sender_has() {
        let (all, _, _) = traces(1.0);
        assert!((0..100).all(|_| seed(&all, None).is_some()));
        assert!(seed(&all, Some(UNSAMPLED)).is_none(), "its sender has");
        let (none, _, _) = traces(0.0);
        assert!((0..100).all(|_| seed(&none, None).is_none()));
        let (half, _, _) = traces(0.5);
        let kept = (0..10_000).filter(|_| half.begin(Kind::Batch, at(0)).is_some()).count();
        assert!((4_500..5_500).contains(&kept), "{kept}");
    }

    #[test]
    fn a_full_queue_loses_and_counts_what_comes() {
        let (traces, queue, metrics) = traces(1.0);
        for _ in 0..SPANS_QUEUED_MAX + 3 {
            drop(traces.begin(Kind::Batch, at(0)));
        }
        assert_eq!(queue.ended.len(), SPANS_QUEUED_MAX);
        assert_eq!(metrics.total().get(Metric::SpansLost), 3);
    }

    #[test]
    fn where_nobody_collects_no_span_is_begun() {
        let traces = Traces::default();
        assert!(!traces.is_on() && seed(&traces, Some(PARENT)).is_none());
        assert!(traces.begin(Kind::Batch, at(0)).is_none());
    }
}
