//! Tasks of real runtimes: thousands at once, dropped at random, counted in threads and memory.
//!
//! What each protocol must keep for one task is in the conformance functions; what only Linux shows, in `tasks_linux.rs`.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep, write and look at the clock"
)]

mod crowd;
mod crowds;
mod edges;
mod runtime;

use sneck::Registry;

sneck_testkit::entry!(Registry::local, crowd::obey);
