//! PostgreSQL advisory locks: where a lock lives, and the connection that holds it.
//!
//! [`config`] reads a place such as `postgres://host/database/name`; [`session`] is one
//! connection to the server, spoken without an async runtime and without ever waiting longer
//! than it was told to. An advisory lock belongs to its connection: as long as the connection
//! stands, the lock is held, and when it ends, the server frees the lock.
//!
//! Not for: anything else that PostgreSQL can do; this is no database driver. No lease.

pub mod config;
mod protocol;
pub mod session;
mod sys;

pub use protocol::Postgres;

use sneck::Registry;
use std::sync::Arc;

/// Teach a registry the places written `postgres://…` and `postgresql://…`.
pub fn register(registry: &mut Registry) {
    for scheme in ["postgres", "postgresql"] {
        registry.register(scheme, |place| Ok(Arc::new(Postgres::new(place)?)));
    }
}
