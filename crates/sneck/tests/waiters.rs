//! More who wait in one process than a system can wait for in one call (Windows: 64), each for a lock of its own that another process holds: all are woken when
//! it leaves and when it is killed, whoever gives up meanwhile.
//!
//! Not for: thousands of tasks and what they cost (`tasks`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests lock as they like"
)]

use sneck::{ErrorKind, Guard, Lock, Registry, Timeout, Waiting};
use sneck_testkit::child::{Session, say};
use sneck_testkit::planted::of_these;
use sneck_testkit::task::{block_on, turn_for};
use sneck_testkit::{Blocked, Child, PATIENCE, Setup, block};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

sneck_testkit::entry!(Registry::local, commands);

const MANY: usize = 80;
/// Those who poll wait for nothing in one call.
const WAYS: [Waiting; 2] = [Waiting::Best, Waiting::Events];

/// `hold SCHEME` takes all the locks, `leave` gives them back: `done`.
fn commands(session: &mut Session, words: &[&str]) -> bool {
    match words {
        ["hold", scheme] => {
            for number in 0..MANY {
                let guard = lock(&session.setup, scheme, number).try_acquire();
                let guard = guard.expect("it is free");
                session.guards.insert(number.to_string(), guard);
            }
            say("done");
        }
        ["leave"] => {
            session.guards.clear();
            say("done");
        }
        _ => return false,
    }
    true
}

/// Each in a folder of its own: whoever removes a dead claim there is in nobody's way.
fn folder(setup: &Setup, number: usize) -> PathBuf {
    setup.folder.join(number.to_string())
}

fn lock(setup: &Setup, scheme: &str, number: usize) -> Lock {
    let path = folder(setup, number).join("lock");
    setup.builder().file(scheme, path).expect("a lock")
}

fn each(check: impl Fn(&Setup, &'static str)) {
    for scheme in of_these(&["flock", "fcntl", "pidfile", "symlink"]) {
        for waiting in WAYS {
            let place = |folder: &Path| format!("{scheme}:{}/0/lock", folder.display());
            let setup = Setup::new(Registry::local, place, waiting, CHILD_ENTRY);
            for number in 0..MANY {
                fs::create_dir(folder(&setup, number)).expect("our own folder");
            }
            println!("{scheme}, {waiting:?}");
            check(&setup, scheme);
        }
    }
}

fn holder(setup: &Setup, scheme: &str) -> Child {
    let mut child = setup.child();
    child.order(&format!("hold {scheme}"));
    child
}

type Wait = fn(Lock) -> sneck::Result<Guard>;

/// In threads and in tasks.
const WAITS: [Wait; 2] = [
    |lock| lock.acquire_until(Timeout::After(PATIENCE)),
    |lock| block_on(lock.acquire_async_within(PATIENCE)),
];

fn waiters(setup: &Setup, scheme: &str, wait: Wait) -> Vec<Blocked<sneck::Result<Guard>>> {
    let start = |number| {
        let lock = lock(setup, scheme, number);
        block::start(move || wait(lock))
    };
    let waiters: Vec<_> = (0..MANY).map(start).collect();
    waiters[0].still();
    waiters[MANY - 1].still();
    waiters
}

#[track_caller]
fn all_hold(waiters: Vec<Blocked<sneck::Result<Guard>>>) {
    let guards: Vec<Guard> = waiters
        .into_iter()
        .map(|w| w.wait().expect("it comes free"))
        .collect();
    assert_eq!(guards.len(), MANY);
}

#[test]
fn all_are_woken_when_the_holder_leaves() {
    each(|setup, scheme| {
        let mut holder = holder(setup, scheme);
        for wait in WAITS {
            let waiters = waiters(setup, scheme, wait);
            holder.order("leave");
            all_hold(waiters);
            holder.order(&format!("hold {scheme}"));
        }
    });
}

#[test]
fn all_are_woken_when_the_holder_is_killed() {
    each(|setup, scheme| {
        for wait in WAITS {
            let mut holder = holder(setup, scheme);
            let waiters = waiters(setup, scheme, wait);
            holder.kill();
            all_hold(waiters);
        }
    });
}

#[test]
fn those_who_give_up_are_in_nobodys_way() {
    each(|setup, scheme| {
        let mut holder = holder(setup, scheme);
        let waiters = waiters(setup, scheme, WAITS[1]);
        // Beside them, behind them in the line.
        let brief = Duration::from_millis(20);
        for number in [0, MANY / 2, MANY - 1] {
            let error = lock(setup, scheme, number).acquire_within(brief);
            assert_eq!(error.map_err(|e| e.kind()).err(), Some(ErrorKind::TimedOut));
            let dropped = turn_for(lock(setup, scheme, number).acquire_async(), brief);
            assert!(dropped.is_none(), "it is held");
        }
        holder.order("leave");
        all_hold(waiters);
    });
}
