//! What others see of who holds and waits at a PostgreSQL server, in which order they are served, and what can be done about them by force.
//!
//! Not for: what goes wrong (`faults.rs`).

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep and look at the clock"
)]

mod stage;

use sneck::lease::Outcome;
use sneck::protocol::{Mark, Removal, Right};
use sneck::{Cleared, ErrorKind, Mode, Sighting, Standing};
use sneck_testkit::PATIENCE;
use sneck_testkit::block::{start, until};
use sneck_testkit::postgres::PostgresServer;
use stage::*;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// So many stand in the queue.
fn queued(server: &PostgresServer, name: &str, number: usize) {
    until("it stands in the queue", || {
        let all = holders_and_waiters(server, name);
        all.split_once('|')
            .is_some_and(|(_, waiting)| waiting == number.to_string())
    });
}

#[test]
fn those_who_wait_are_served_as_they_came_and_tokens_grow() {
    let server = PostgresServer::shared();
    let name = "in-order";
    let first = lock_from(1, server, name).acquire().unwrap();
    let mut last = first.token().unwrap();
    let (sender, entered) = mpsc::channel();
    for number in 2..8 {
        let (lock, sender) = (lock_from(number, server, name), sender.clone());
        thread::spawn(move || {
            let guard = lock.acquire().unwrap();
            sender.send((number, guard.token().unwrap())).unwrap();
        });
        queued(server, name, number - 1);
    }
    first.release().unwrap();
    for number in 2..8 {
        let (who, token) = entered.recv_timeout(PATIENCE).unwrap();
        assert_eq!(who, number);
        assert!(token > last, "{token} after {last}");
        last = token;
    }
}

#[test]
fn readers_and_writers_are_served_in_order() {
    let server = PostgresServer::shared();
    let name = "readers-in-order";
    let (sender, entered) = mpsc::channel();
    let queue_up = |number: usize, mode: Mode| {
        let lock = lock_at(&place_from(number, server, name), |b| b.mode(mode));
        let sender = sender.clone();
        thread::spawn(move || sender.send((number, lock.acquire().unwrap())));
        queued(server, name, number - 2);
    };
    let next = || entered.recv_timeout(PATIENCE).unwrap();
    let nobody = || assert!(entered.recv_timeout(Duration::from_millis(30)).is_err());
    let readers = [1, 2].map(|n| lock_at(&place_from(n, server, name), |b| b.mode(Mode::Shared)));
    let [one, two] = readers.map(|lock| lock.acquire().unwrap());
    assert!(two.token() > one.token());
    for (number, mode) in [
        (3, Mode::Exclusive),
        (4, Mode::Shared),
        (5, Mode::Shared),
        (6, Mode::Exclusive),
    ] {
        queue_up(number, mode);
    }
    one.release().unwrap();
    nobody();
    two.release().unwrap();
    let (who, writer) = next();
    assert_eq!(who, 3);
    nobody();
    writer.release().unwrap();
    let (four, five) = (next(), next());
    let mut both = [four.0, five.0];
    both.sort_unstable();
    assert_eq!(both, [4, 5]);
    drop(four);
    nobody();
    drop(five);
    assert_eq!(next().0, 6);
}

#[test]
fn those_who_hold_and_wait_are_named_in_order() {
    let server = PostgresServer::shared();
    let nightly = lock_at(&server.place("queue"), |b| b.label("nightly run"));
    let guard = nightly.acquire().unwrap();
    let waiters: Vec<_> = (2..4)
        .map(|number| {
            let place = place_from(number, server, "queue");
            let lock = lock_at(&place, |b| b.label(format!("waiter {number}")));
            let waiter = start(move || drop(lock.acquire().unwrap()));
            queued(server, "queue", number - 1);
            waiter
        })
        .collect();
    let other = lock_from_elsewhere(server, "queue");
    let error = other.try_acquire().unwrap_err();
    for holder in [&error.holders()[0], &other.holder().unwrap().holders()[0]] {
        assert_eq!(holder.pid, Some(std::process::id()));
        assert_eq!(holder.token, guard.token());
        assert_eq!(holder.label.as_deref(), Some("nightly run"));
        assert_eq!(holder.mode, Some(Mode::Exclusive));
        assert_eq!(holder.host.as_deref(), Some("127.0.0.1"));
        assert!(holder.user.is_some() && holder.since.is_some());
    }
    let waiting = other.waiters().unwrap();
    let labels: Vec<_> = waiting.iter().map(|w| w.label.clone().unwrap()).collect();
    assert_eq!(labels, ["waiter 2", "waiter 3"]);
    let plain = |w: &sneck::Holder| w.since.is_some() && w.token.is_none() && w.pid.is_some();
    assert!(waiting.iter().all(plain), "{waiting:?}");
    // Whoever may not read all statistics sees less, and the same order.
    let _ = server.psql("CREATE ROLE onlooker LOGIN");
    let place = server.place("queue").replace("postgres@", "onlooker@");
    let seen = lock_at(&place, |b| b).waiters().unwrap();
    let labels: Vec<_> = seen.iter().map(|w| w.label.clone().unwrap()).collect();
    assert_eq!(labels, ["waiter 2", "waiter 3"]);
    assert!(seen.iter().all(|w| w.host.is_none()), "{seen:?}");
    guard.release().unwrap();
    waiters.into_iter().for_each(|waiter| waiter.wait());
}

#[test]
fn removal_by_force_tells_the_holder_at_once_and_leaves_the_token_higher() {
    let server = PostgresServer::shared();
    // Of an hour: no clock tells its holder.
    let hour = Duration::from_secs(3600);
    let held = lock_at(&server.place("forced"), |b| b.ttl(hour));
    let guard = held.acquire().unwrap();
    let watch = guard.lost();
    let token = guard.token().unwrap();
    let other = lock_from_elsewhere(server, "forced");
    // Never judged by its number, however old.
    let left = other.break_stale().unwrap();
    assert!(matches!(left, Cleared::Left { .. }), "{left:?}");
    let cleared = other.force_release().unwrap();
    assert!(matches!(cleared, Cleared::Removed { .. }), "{cleared:?}");
    let outcome = sneck_testkit::task::block_on(watch);
    assert!(
        matches!(&outcome, Outcome::Lost(why) if why.contains("57P01")),
        "{outcome:?}"
    );
    let next = other.try_acquire().unwrap();
    assert!(next.token().unwrap() > token);
    assert_eq!(guard.release().unwrap_err().kind(), ErrorKind::Lost);
    // And touched nobody.
    assert_eq!(next.standing(), Standing::Held);
    assert_eq!(kind(lock(server, "forced").try_acquire()), ErrorKind::Busy);
    next.release().unwrap();

    let readers = [server.place("forced"), elsewhere(server, "forced")];
    let readers = readers.map(|place| lock_at(&place, |b| b.mode(Mode::Shared)));
    let guards = readers.each_ref().map(|lock| lock.acquire().unwrap());
    let cleared = other.force_release().unwrap();
    assert!(matches!(cleared, Cleared::Removed { .. }), "{cleared:?}");
    for guard in guards {
        assert_eq!(guard.release().unwrap_err().kind(), ErrorKind::Lost);
    }
    assert_eq!(holders_and_waiters(server, "forced"), "0|0");
}

#[test]
fn without_the_right_to_end_a_session_it_is_left_with_a_clear_word() {
    let server = PostgresServer::shared();
    let _ = server.psql(
        "CREATE ROLE nosy LOGIN; GRANT pg_read_all_stats TO nosy; CREATE ROLE blind LOGIN; \
         CREATE ROLE plain LOGIN; CREATE ROLE warden LOGIN; GRANT pg_signal_backend, pg_read_all_stats TO warden",
    );
    let as_role = |role: &str| {
        let place = elsewhere(server, "rights").replace("postgres@", &format!("{role}@"));
        lock_at(&place, |b| b)
    };
    let guard = lock(server, "rights").acquire().unwrap();
    // One that is shown whom it would end, and may not.
    let error = as_role("nosy").force_release().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoPermission, "{error}");
    assert!(error.to_string().contains("pg_signal_backend"), "{error}");
    // One that is not shown.
    let left = as_role("blind").force_release().unwrap();
    assert!(
        matches!(&left, Cleared::Left { seen: Sighting::Held { mark: None, holders }, .. } if holders.len() == 1),
        "{left:?}"
    );
    // A superuser's session is a superuser's to end.
    let error = as_role("warden").force_release().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoPermission, "{error}");
    guard.ensure_held().unwrap();
    guard.release().unwrap();
    let guard = as_role("plain").acquire().unwrap();
    let cleared = as_role("warden").force_release().unwrap();
    assert!(matches!(cleared, Cleared::Removed { .. }), "{cleared:?}");
    assert_eq!(guard.release().unwrap_err().kind(), ErrorKind::Lost);
    // And one's own are one's own.
    let guard = as_role("plain").acquire().unwrap();
    let other = lock_at(
        &server.place("rights").replace("postgres@", "plain@"),
        |b| b,
    );
    assert!(matches!(
        other.force_release().unwrap(),
        Cleared::Removed { .. }
    ));
    drop(guard);
}

#[test]
fn what_was_seen_is_removed_and_nothing_else() {
    let server = PostgresServer::shared();
    let lock = lock(server, "seen");
    let protocol = registry().protocol(lock.place()).unwrap();
    let seen = || match protocol.inspect().unwrap() {
        Sighting::Held { mark, .. } => mark.unwrap(),
        other => panic!("{other:?}"),
    };
    let remove = |mark: &Mark| protocol.remove(mark, Right::Force).unwrap();
    let guard = lock.acquire().unwrap();
    let (old, process) = (seen(), backend(server, "seen"));
    assert_eq!(
        protocol.remove(&old, Right::Stale).unwrap(),
        Removal::Unsupported
    );
    guard.release().unwrap();
    assert_eq!(remove(&old), Removal::Changed);
    // The same session, and another holding.
    let guard = lock.acquire().unwrap();
    assert_eq!(backend(server, "seen"), process);
    assert_eq!(remove(&old), Removal::Changed);
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().unwrap();
    // What is none of our marks.
    let mut nonsense = old.clone();
    nonsense.content = b"1); SELECT pg_sleep(1000".to_vec();
    assert_eq!(remove(&nonsense), Removal::Unsupported);
}
