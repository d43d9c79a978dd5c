//! Stands in the place of `spans` in a hub that is built without the feature `otlp`: nothing is
//! traced, and what would be said of a span is left out by the compiler.

use std::borrow::Cow;

use tokio_util::sync::CancellationToken;

use super::{Kind, Plan};
use crate::authorities::BadAuthorities;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::wire::time::Now;

/// Known to the compiler, which drops what depends on it.
const IS_TRACED: bool = false;

/// Begins no spans.
#[derive(Clone, Default, Debug)]
pub struct Traces(());

impl Traces {
    pub(crate) fn is_on(&self) -> bool {
        IS_TRACED
    }

    pub(crate) fn seed<'a>(
        &self,
        _kind: Kind,
        _at: Now,
        _traceparents: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Seed> {
        IS_TRACED.then_some(Seed)
    }

    pub(crate) fn begin(&self, _kind: Kind, _at: Now) -> Option<Span> {
        IS_TRACED.then_some(Span)
    }
}

/// There is none.
#[derive(Clone, Debug)]
pub(crate) struct Seed;

impl Seed {
    pub(crate) fn begin(&self) -> Span {
        Span
    }

    pub(crate) fn begin_at(&self, _at: Now) -> Span {
        Span
    }

    pub(crate) fn trace_text(&self) -> String {
        String::new()
    }

    pub(crate) fn text(&mut self, _key: &'static str, _text: impl Into<Cow<'static, str>>) {}

    pub(crate) fn number(&mut self, _key: &'static str, _number: i64) {}
}

/// There is none.
#[derive(Debug)]
pub(crate) struct Span;

impl Span {
    pub(crate) fn text(&mut self, _key: &'static str, _text: impl Into<Cow<'static, str>>) {}

    pub(crate) fn number(&mut self, _key: &'static str, _number: i64) {}

    pub(crate) fn flag(&mut self, _key: &'static str, _flag: bool) {}

    pub(crate) fn outcome(&mut self, _outcome: &'static str) {}

    pub(crate) fn fail(&mut self, _error: &'static str) {}

    pub(crate) fn child(&self, _kind: Kind, _at: Now) -> Span {
        Span
    }
}

/// Sends nothing: the configuration of such a hub has no collector.
#[derive(Debug)]
pub(crate) struct Exporter;

impl Exporter {
    pub(crate) fn new(
        _plan: &Plan,
        _instance: u128,
        _clock: Clock,
        _faults: &Faults,
    ) -> Result<(Traces, Exporter), BadAuthorities> {
        Ok((Traces(()), Exporter))
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
