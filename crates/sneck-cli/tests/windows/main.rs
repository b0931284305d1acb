//! `sneck` on Windows, with real processes: what holds, what ends with what, how it ends, what the console does to it.
//!
//! Not for: what holds on every system (the unit tests), and other systems: there this is a program without tests. `scripts/test-windows` runs it.
#![cfg(windows)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests sleep, write and look at the clock"
)]

mod claims;
mod console;
mod ends;
mod holding;
mod jobs;
mod stage;
