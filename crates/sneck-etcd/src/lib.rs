//! Locks in etcd: `etcd://host/name`, over the HTTP gateway that every member from 3.4 on has.
//!
//! ```no_run
//! use sneck::{Lock, Registry};
//!
//! let mut registry = Registry::local();
//! sneck_etcd::register(&mut registry);
//! let place = registry.place("etcd://a.example,b.example,c.example/deploy")?;
//! let guard = Lock::builder().registry(&registry).at(&place)?.acquire()?;
//! println!("token {:?}", guard.token());
//! # Ok::<(), sneck::Error>(())
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `config/` | a place read: members, name, user, certificates; the environment that `etcdctl` reads |
//! | `session/` | one connection to one member: HTTP, questions and answers, a watch |
//! | `client.rs` | one claimant's way to the cluster: its session, and the next member when one fails |
//! | `keys.rs` | which keys are claims, and what is written there |
//! | `protocol.rs` | the lock: who waits for whom, looking, removing; the steps of a claimant in words |
//! | `seat.rs` | a claimant: those steps |
//! | `tenure.rs` | the stay on a lease: kept, given up |
//!
//! Not for: anything else that etcd can do; this is no client library.

// Tests may sleep, and write what they like.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod client;
pub mod config;
mod keys;
mod protocol;
mod seat;
mod session;
mod tenure;

pub use protocol::Etcd;

use sneck::Registry;
use std::sync::Arc;

/// Teach a registry the places written `etcd://…`, and `etcds://…` for encrypted ones.
pub fn register(registry: &mut Registry) {
    for scheme in ["etcd", "etcds"] {
        registry.register(scheme, |place| Ok(Arc::new(Etcd::new(place)?)));
    }
}
