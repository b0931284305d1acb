//! What several of these tests need: locks at a place, the same lock as from another machine, and what the server knows of it.

#![allow(dead_code, reason = "each test file uses some of it")]

use sneck::{ErrorKind, Guard, Lock, LockBuilder, Registry};
use sneck_postgres::config::{Config, key};
use sneck_postgres::session::Session;
use sneck_testkit::PATIENCE;
use sneck_testkit::postgres::PostgresServer;
use std::time::Duration;

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::local();
    sneck_postgres::register(&mut registry);
    registry
}

/// The lock at this place.
pub(crate) fn lock_at(place: &str, change: impl FnOnce(LockBuilder) -> LockBuilder) -> Lock {
    let registry = registry();
    let place = registry.place(place).expect("it can be read");
    change(Lock::builder().registry(&registry).timeout(PATIENCE))
        .at(&place)
        .expect("it makes sense")
}

pub(crate) fn lock(server: &PostgresServer, name: &str) -> Lock {
    lock_at(&server.place(name), |builder| builder)
}

/// The same lock in another spelling: the line inside this process takes it for another one, so that only the server stands between the two, as between two machines.
pub(crate) fn elsewhere(server: &PostgresServer, name: &str) -> String {
    format!(
        "postgres://postgres@:{}/postgres/{name}?host={}",
        server.port(),
        server.socket_dir().display()
    )
}

pub(crate) fn lock_from_elsewhere(server: &PostgresServer, name: &str) -> Lock {
    lock_at(&elsewhere(server, name), |builder| builder)
}

/// The same from as many machines as are wanted: there is no end of ways to write 127.0.0.1.
pub(crate) fn place_from(number: usize, server: &PostgresServer, name: &str) -> String {
    let host = format!("0x{}7f000001", "0".repeat(number));
    server.place(name).replace("127.0.0.1", &host)
}

pub(crate) fn lock_from(number: usize, server: &PostgresServer, name: &str) -> Lock {
    lock_at(&place_from(number, server, name), |builder| builder)
}

/// Short enough for a test, long enough for a busy machine.
pub(crate) const TTL: Duration = Duration::from_millis(1500);
pub(crate) const DELAY: Duration = Duration::from_millis(300);

pub(crate) fn short(builder: LockBuilder) -> LockBuilder {
    builder.ttl(TTL).lock_delay(DELAY)
}

#[track_caller]
pub(crate) fn kind(result: sneck::Result<Guard>) -> ErrorKind {
    result.expect_err("it is held").kind()
}

/// How many hold this lock, and how many wait for it, in the server's own words.
pub(crate) fn holders_and_waiters(server: &PostgresServer, name: &str) -> String {
    asked(
        server,
        &format!(
            "SELECT concat(count(*) FILTER (WHERE granted), '|', count(*) FILTER (WHERE NOT granted)) {}",
            of_the_lock(name)
        ),
    )
}

/// The server process that holds it.
pub(crate) fn backend(server: &PostgresServer, name: &str) -> String {
    asked(
        server,
        &format!("SELECT pid {} AND granted", of_the_lock(name)),
    )
}

fn of_the_lock(name: &str) -> String {
    format!(
        "FROM pg_locks WHERE locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = {}",
        key(name)
    )
}

/// The first column of the first row, without a process of psql for it.
pub(crate) fn asked(server: &PostgresServer, sql: &str) -> String {
    let config = Config::parse(&server.place("any")).expect("it can be read");
    let mut session = Session::connect(&config, "test", PATIENCE).expect("it is up");
    let rows = session.query(sql).expect("it makes sense");
    session.close();
    let first = rows.first().and_then(|row| row[0].clone());
    first.unwrap_or_default()
}
