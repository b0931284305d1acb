//! What the tests of this folder share: locks at a place, the same lock as from another machine, what is left at the server.

#![allow(dead_code, reason = "each test uses some of it")]

use sneck::{ErrorKind, Guard, Lock, LockBuilder, Registry};
use sneck_testkit::PATIENCE;
use sneck_testkit::redis::RedisServer;
use std::time::Duration;

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::local();
    sneck_redis::register(&mut registry);
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

pub(crate) fn lock(server: &RedisServer, name: &str) -> Lock {
    lock_at(&server.place(name), |builder| builder)
}

/// The same lock in another spelling: the line inside this process takes it for another one, so that only the server stands between the two, as between two machines.
pub(crate) fn elsewhere(server: &RedisServer, name: &str) -> String {
    format!(
        "redis:///{name}?socket={}/socket",
        server.folder().display()
    )
}

pub(crate) fn lock_from_elsewhere(server: &RedisServer, name: &str) -> Lock {
    lock_at(&elsewhere(server, name), |builder| builder)
}

/// The same from as many machines as are wanted.
pub(crate) fn lock_from(number: usize, server: &RedisServer, name: &str) -> Lock {
    let place = format!("redis://127.0.1.{number}:{}/{name}", server.port());
    lock_at(&place, |builder| builder)
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

/// All keys that this lock has at the server now, apart from its counter.
pub(crate) fn keys(server: &RedisServer, name: &str) -> String {
    let all = server.cli(&["--scan"]);
    let (own, family) = (name.to_owned(), format!("sneck:{{{name}}}:"));
    let mut keys: Vec<&str> = all
        .lines()
        .filter(|key| **key == own || key.starts_with(&family))
        .filter(|key| !key.ends_with(":token"))
        .collect();
    keys.sort_unstable();
    keys.join(" ")
}

/// How many wait there.
pub(crate) fn queued(server: &RedisServer, name: &str) -> usize {
    let queue = format!("sneck:{{{name}}}:queue");
    server.cli(&["ZCARD", &queue]).parse().expect("a number")
}
