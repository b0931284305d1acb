//! Locks on Redis and Valkey: `redis://host/name`.
//!
//! ```no_run
//! use sneck::{Lock, Registry};
//!
//! # fn main() -> sneck::Result<()> {
//! let mut registry = Registry::local();
//! sneck_redis::register(&mut registry);
//! let place = registry.place("redis://cache.example/nightly")?;
//! let guard = Lock::builder().registry(&registry).at(&place)?.acquire()?;
//! println!("token {:?}", guard.token());
//! # Ok(())
//! # }
//! ```
//!
//! | file | for |
//! |---|---|
//! | `config/` | the place: server, database, name, how to log in |
//! | `resp.rs` | what goes over the wire (RESP3), as bytes and as values |
//! | `session.rs` | one connection: questions and answers within deadlines, what the server says unasked |
//! | `scripts.rs`, `scripts/` | all rules of the lock, which the server runs in one piece each |
//! | `record.rs` | what is written down about those who hold and wait |
//! | `target.rs` | one lock at one server: its connections |
//! | `protocol.rs` | the lock, as the library sees it |
//! | `tenure.rs` | keeping a lease, and giving it up |
//!
//! Not for: anything else that Redis can do; this is no client of it. Clusters, sentinels and replicas are refused.

pub mod config;
mod protocol;
mod record;
mod resp;
mod scripts;
mod session;
mod sha1;
mod target;
mod tenure;

pub use protocol::Redis;

use sneck::Registry;
use std::sync::Arc;

/// Teach a registry the places written `redis://…`, and `rediss://…`, which are encrypted.
pub fn register(registry: &mut Registry) {
    for scheme in ["redis", "rediss"] {
        registry.register(scheme, |place| Ok(Arc::new(Redis::new(place)?)));
    }
}
