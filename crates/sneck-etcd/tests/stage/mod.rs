//! What several of these tests need: locks at places of a cluster of their own.

#![allow(dead_code, reason = "each test file uses some of it")]

use sneck::{Guard, Lock, LockBuilder, Mode, Moment, Registry};
use sneck_testkit::etcd::EtcdServer;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) fn registry() -> Registry {
    let mut registry = Registry::local();
    sneck_etcd::register(&mut registry);
    registry
}

/// A lock at this place; leases of the given length, and one second more.
pub(crate) fn lock(place: &str) -> Lock {
    lock_with(place, |builder| builder)
}

pub(crate) fn lock_with(place: &str, change: impl FnOnce(LockBuilder) -> LockBuilder) -> Lock {
    let registry = registry();
    let place = registry.place(place).expect("the place can be read");
    change(Lock::builder().registry(&registry))
        .at(&place)
        .expect("the place makes sense")
}

pub(crate) fn shared(place: &str) -> Lock {
    lock_with(place, |builder| builder.mode(Mode::Shared))
}

pub(crate) fn token(guard: &Guard) -> u64 {
    guard.token().expect("etcd gives tokens")
}

/// Where several ports of 127.0.0.1 are tried for a lock.
pub(crate) fn through(ports: &[u16], name: &str) -> String {
    let hosts: Vec<String> = ports.iter().map(|p| format!("127.0.0.1:{p}")).collect();
    format!("etcd://{}/{name}", hosts.join(","))
}

/// The ends of two waits, on one clock.
pub(crate) fn before(first: Moment, second: Moment) {
    assert!(first < second, "the order is wrong: {first:?}, {second:?}");
}

pub(crate) const MOMENT: Duration = Duration::from_millis(100);

/// An `etcdctl lock` that holds or waits, until it is told to leave.
pub(crate) struct Stock {
    child: Child,
}

impl Stock {
    pub(crate) fn start(server: &EtcdServer, name: &str) -> Stock {
        let mut command: Command = server.command(&["lock", "--ttl=5", name]);
        command.stdout(Stdio::null()).stdin(Stdio::null());
        Stock {
            child: command.spawn().expect("etcdctl"),
        }
    }

    /// It gives back what it holds, or leaves the queue.
    pub(crate) fn leave(mut self) {
        let interrupt = Command::new("kill")
            .args(["-s", "INT", &self.child.id().to_string()])
            .status();
        assert!(interrupt.expect("kill").success());
        self.child.wait().expect("one's own child");
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same lock by another name of the machine: as if another process asked, it stands in no line with us.
pub(crate) fn elsewhere(place: &str) -> String {
    place.replace("127.0.0.1", "localhost")
}
