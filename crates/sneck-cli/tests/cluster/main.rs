//! Several parties at real servers, faults drawn from a seed, and a judge that sees what the parties do with what the lock guards.
//!
//! | file | what it holds |
//! |---|---|
//! | `server.rs` | the engines under one name: what is done to a server, what is left at it |
//! | `party.rs` | who takes turns: processes that hold by the library |
//! | `command.rs` | who takes turns by `sneck run` |
//! | `world.rs` | a server, a judge, parties with a link each, and the test's hand in it |
//! | `faults.rs` | the faults, and how each is brought |
//! | `tally.rs` | what came of many |
//! | `seeded.rs` | every fault there is, in an order of chance |
//! | `refused.rs` | who is kept out is told so |
//! | `unchecked.rs` | the same judge without checks finds what it is there for |
//!
//! Not for: one fault looked at closely (each engine's own `faults.rs`), the contract (`conformance.rs` there).

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep, write and look at the clock"
)]

mod command;
mod faults;
mod party;
mod refused;
mod seeded;
mod server;
mod tally;
mod unchecked;
mod world;

use sneck::Registry;
use sneck_testkit::Session;

/// All engines.
fn registry() -> Registry {
    let mut registry = Registry::local();
    sneck_etcd::register(&mut registry);
    sneck_postgres::register(&mut registry);
    sneck_redis::register(&mut registry);
    registry
}

fn commands(session: &mut Session, words: &[&str]) -> bool {
    sneck_testkit::judge::court::obey(session, words)
        || party::obey(session, words)
        || unchecked::obey(session, words)
}

sneck_testkit::entry!(registry, commands);
