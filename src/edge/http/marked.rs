//! Marks that say whether something is under way, by who still holds a copy; and bodies that hold
//! one until they are dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};

/// Copied by whoever is busy with something.
#[derive(Clone, Default, Debug)]
pub(super) struct Mark(Arc<()>);

impl Mark {
    /// How many copies there are, this one included.
    pub(super) fn copies(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

/// A body with a mark.
#[derive(Debug)]
pub(super) struct Marked<B> {
    body: B,
    _mark: Mark,
}

impl<B> Marked<B> {
    /// A body that holds a mark until it is dropped.
    pub(super) fn new(body: B, mark: Mark) -> Marked<B> {
        Marked { body, _mark: mark }
    }
}

impl<B: Body + Unpin> Body for Marked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
