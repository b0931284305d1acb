//! PostgreSQL advisory locks with leases: `postgres://host/database/name`.
//!
//! [`config`] reads a place; [`session`] is one connection to the server, spoken without an async runtime and without ever waiting longer than it was told to. An advisory lock belongs to
//! its session: as long as that stands the lock is held, and when it ends the server frees the lock. The server ends a session that says nothing for as long as the lease and the lock delay last.
//!
//! ```no_run
//! use sneck::{Lock, Registry};
//! let mut registry = Registry::local();
//! sneck_postgres::register(&mut registry);
//! let place = registry.place("postgres://db.example/work/nightly?ttl=30s")?;
//! let guard = Lock::builder().registry(&registry).at(&place)?.acquire()?;
//! println!("inside, with the token {:?}", guard.token());
//! # Ok::<(), sneck::Error>(())
//! ```
//!
//! | file | for |
//! |---|---|
//! | `protocol.rs` | what is where, who holds, the steps of a claimant |
//! | `seat.rs` | one claimant, step by step |
//! | `tenure.rs` | staying, and giving it up |
//! | `target.rs` | a lock's sessions and questions |
//! | `kept.rs` | the session that the next claimant of a handle uses again |
//! | `record.rs` | what others see of who holds and waits |
//! | `session/` | connections, logging in, messages |
//! | `config/` | places and options |
//!
//! Not for: anything else that PostgreSQL can do; this is no database driver.

pub mod config;
mod kept;
mod protocol;
mod record;
mod seat;
pub mod session;
mod sys;
mod target;
mod tenure;

pub use protocol::Postgres;

use sneck::Registry;
use std::sync::Arc;

/// Teach a registry the places written `postgres://…` and `postgresql://…`.
pub fn register(registry: &mut Registry) {
    for scheme in ["postgres", "postgresql"] {
        registry.register(scheme, |place| Ok(Arc::new(Postgres::new(place)?)));
    }
}
