//! A runtime of one thread of the store's, for one life of what runs on it.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A runtime whose end waits for nothing: a name server that does not answer must not keep the
/// thread, neither at its end nor after a panic.
pub(super) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    /// A runtime on which nothing runs yet.
    pub(super) fn new() -> io::Result<OwnRuntime> {
        Builder::new_current_thread().enable_all().build().map(|it| OwnRuntime(Some(it)))
    }

    /// Does some work on it.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("it is taken out where it ends alone").block_on(work)
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
