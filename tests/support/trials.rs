//! Test binaries whose tests need what a machine may not have: shown as ignored, not as passed.
#![allow(unused_macros, unused_imports, reason = "few test binaries need it")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::postgres::Cluster;

/// How a test ended: passed, or not to be run here, for a reason.
pub type Outcome = Result<(), Lack>;

/// What the machine does not have.
#[derive(Debug)]
pub struct Lack(pub String);

/// A test's name, which is a sentence, and the test.
pub type Named = (&'static str, fn() -> Outcome);

/// Makes a test's name of its function's.
macro_rules! named {
    ($($test:path),* $(,)?) => {
        [$((stringify!($test), (|| $crate::support::trials::Ends::outcome($test()))
            as fn() -> $crate::support::trials::Outcome)),*]
    };
}
pub(crate) use named;

/// What a test may give back.
pub trait Ends {
    /// How it ended.
    fn outcome(self) -> Outcome;
}

impl Ends for () {
    fn outcome(self) -> Outcome {
        Ok(())
    }
}

impl Ends for Outcome {
    fn outcome(self) -> Outcome {
        self
    }
}

/// Whether tests may take minutes: `HUB_SLOW_TESTS=1`, which `scripts/test` sets.
pub fn is_slow() -> bool {
    is_set("HUB_SLOW_TESTS")
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value == "1")
}

/// What a test that starts a cluster begins with.
pub fn need_postgres() -> Outcome {
    let missing = || Lack("PostgreSQL's programs are missing: `scripts/test` installs them".into());
    Cluster::programs().map(|_| ()).ok_or_else(missing)
}

/// Runs tests of which each needs PostgreSQL; the rest is as [`run`] has it.
pub fn run_with_postgres(tests: &[Named], threads: usize) -> ExitCode {
    run_behind(need_postgres, tests, threads)
}

/// Runs the tests on this number of threads. What a test lacks shows as ignored with its reason; as
/// failed if `HUB_REQUIRE_SERVICES=1`.
pub fn run(tests: &[Named], threads: usize) -> ExitCode {
    run_behind(|| Ok(()), tests, threads)
}

fn run_behind(need: fn() -> Outcome, tests: &[Named], threads: usize) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    let required = is_set("HUB_REQUIRE_SERVICES");
    let trial = |(name, test): &Named| {
        let test = *test;
        let run = move || match need().and_then(|()| test()) {
            Ok(()) => Ok(Completion::Completed),
            Err(Lack(reason)) if required => Err(Failed::from(reason)),
            Err(Lack(reason)) => Ok(Completion::ignored_with(reason)),
        };
        Trial::ignorable_test(*name, run)
    };
    libtest_mimic::run(&arguments, tests.iter().map(trial).collect()).exit_code()
}

/// Tells the threads of a scope to end, also where what they look at fails: else nobody would.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
