//! Locks on real PostgreSQL servers, beside what every protocol must keep (`conformance.rs`):
//! that the server does the waiting, that nothing is left there, how a holding ends with its
//! server, and that whoever speaks SQL takes part.
//!
//! Not for: the connection itself (`session.rs`).

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep and look at the clock"
)]

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

mod stage;

use sneck::{ErrorKind, Guard, Mode, Sighting, Standing};
use sneck_postgres::config::{Config, key};
use sneck_postgres::session::Session;
use sneck_testkit::block::{must_block, start, until};
use sneck_testkit::postgres::PostgresServer;
use sneck_testkit::{PATIENCE, sys, task};
use stage::*;

#[test]
fn two_handles_exclude_each_other_however_the_server_is_reached() {
    let server = PostgresServer::shared();
    let guard = lock(server, "exclusion").acquire().unwrap();
    let other = lock_from_elsewhere(server, "exclusion");
    assert_eq!(
        kind(lock(server, "exclusion").try_acquire()),
        ErrorKind::Busy
    );
    assert_eq!(kind(other.try_acquire()), ErrorKind::Busy);
    assert_eq!(holders_and_waiters(server, "exclusion"), "1|0");
    drop(lock(server, "another name").try_acquire().unwrap());

    guard.release().unwrap();
    let guard = other.try_acquire().unwrap();
    assert_eq!(
        kind(lock(server, "exclusion").try_acquire()),
        ErrorKind::Busy
    );
    guard.release().unwrap();
    assert_eq!(holders_and_waiters(server, "exclusion"), "0|0");
    assert_eq!(other.holder().unwrap(), Sighting::Free);
}

#[test]
fn a_timed_wait_on_the_server_is_granted_by_the_release_and_tokens_grow() {
    let server = PostgresServer::shared();
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let guard = lock(server, "turns").acquire().unwrap();
        tokens.push(guard.token().unwrap());
        let other = lock_from_elsewhere(server, "turns");
        let waiter = must_block(move || other.acquire_within(PATIENCE).unwrap());
        until("the server queues us", || {
            holders_and_waiters(server, "turns") == "1|1"
        });
        guard.release().unwrap();
        let guard = waiter.wait();
        assert_eq!(guard.standing(), Standing::Held);
        tokens.push(guard.token().unwrap());
        guard.release().unwrap();
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
}

#[test]
fn whoever_comes_again_and_again_is_refused_or_gets_a_higher_token_each_time() {
    let server = PostgresServer::shared();
    let other = lock_from_elsewhere(server, "again");
    for mode in [Mode::Exclusive, Mode::Shared] {
        let lock = lock_at(&server.place("again"), |builder| builder.mode(mode));
        let mut last = 0;
        for _ in 0..4 {
            let guard = lock.try_acquire().unwrap();
            let token = guard.token().unwrap();
            assert!(token > last, "{token} after {last}");
            last = token;
            assert_eq!(kind(other.try_acquire()), ErrorKind::Busy);
            guard.release().unwrap();
            let guard = other.try_acquire().unwrap();
            assert!(guard.token().unwrap() > last);
            assert_eq!(kind(lock.try_acquire()), ErrorKind::Busy);
            guard.release().unwrap();
        }
    }
}

#[test]
fn a_wait_that_times_out_leaves_no_waiter() {
    let server = PostgresServer::shared();
    let guard = lock(server, "in vain").acquire().unwrap();
    let other = lock_from_elsewhere(server, "in vain");
    let waiter = start(move || other.acquire_within(Duration::from_millis(500)));
    until("the server queues us", || {
        holders_and_waiters(server, "in vain") == "1|1"
    });
    assert_eq!(kind(waiter.wait()), ErrorKind::TimedOut);
    assert_eq!(holders_and_waiters(server, "in vain"), "1|0");
    guard.release().unwrap();
}

#[test]
fn a_grant_that_comes_at_the_very_deadline_is_given_back() {
    let server = PostgresServer::shared();
    let config = Config::parse(&server.place("late")).unwrap();
    let mut holder = Session::connect(&config, "holder", PATIENCE).unwrap();
    let mut say = |function: &str| {
        let rows = holder.query(&format!("SELECT {function}({})", key("late")));
        rows.unwrap()[0][0].clone().unwrap()
    };
    let wait = Duration::from_millis(25);
    // When to release: steered towards the moment at which half of the waits are in time, give or
    // take half a millisecond.
    let mut moment = wait;
    let (mut granted, mut random) = (0, 0x9e37_79b9_u32);
    const ROUNDS: u32 = 160;
    for round in 0..ROUNDS {
        // At once: whoever waited and left has left nothing.
        assert_eq!(say("pg_try_advisory_lock"), "t", "in round {round}");
        let other = lock(server, "late");
        let waiter = start(move || other.acquire_within(wait).map(Guard::release));
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        thread::sleep(moment + Duration::from_micros(u64::from(random >> 22)));
        assert_eq!(say("pg_advisory_unlock"), "t");
        let step = Duration::from_micros(400);
        match waiter.wait() {
            Ok(released) => {
                released.unwrap();
                granted += 1;
                moment += step;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
                moment = moment.saturating_sub(step);
            }
        }
    }
    assert!(
        (1..ROUNDS).contains(&granted),
        "{granted} of {ROUNDS} in time"
    );
    assert_eq!(holders_and_waiters(server, "late"), "0|0");
    drop(lock(server, "late").try_acquire().unwrap());
}

#[test]
fn shared_holders_hold_together_and_an_exclusive_one_alone() {
    let server = PostgresServer::shared();
    let shared = |place: &str| lock_at(place, |builder| builder.mode(Mode::Shared));
    let (here, there) = (server.place("readers"), elsewhere(server, "readers"));
    let first = shared(&here).try_acquire().unwrap();
    let second = shared(&there).try_acquire().unwrap();
    assert_eq!(holders_and_waiters(server, "readers"), "2|0");
    let writer = lock(server, "readers");
    assert_eq!(kind(writer.try_acquire()), ErrorKind::Busy);
    first.release().unwrap();
    let refusal = writer.try_acquire().unwrap_err();
    assert_eq!(refusal.holders().len(), 1);
    assert_eq!(refusal.holders()[0].mode, Some(Mode::Shared));
    second.release().unwrap();

    let alone = writer.try_acquire().unwrap();
    assert_eq!(kind(shared(&there).try_acquire()), ErrorKind::Busy);
    let reader = must_block(move || shared(&there).acquire().unwrap());
    until("the server queues the reader", || {
        holders_and_waiters(server, "readers") == "1|1"
    });
    alone.release().unwrap();
    reader.wait().release().unwrap();
}

#[test]
fn a_server_killed_while_the_lock_is_held_loses_it() {
    let mut server = PostgresServer::start();
    let guard = lock(&server, "n").acquire().unwrap();
    let dropped = lock(&server, "m").acquire().unwrap();
    assert_eq!(guard.standing(), Standing::Held);
    server.kill9();
    until("the loss is seen", || {
        matches!(guard.standing(), Standing::Lost(_))
    });
    assert_eq!(guard.ensure_held().unwrap_err().kind(), ErrorKind::Lost);
    let error = guard.release().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    drop(dropped);
}

#[test]
fn tokens_grow_over_a_crash_of_the_server() {
    let mut server = PostgresServer::start();
    let mut last = 0;
    for _ in 0..3 {
        let guard = lock(&server, "n").acquire().unwrap();
        let token = guard.token().unwrap();
        server.kill9();
        assert!(token > last, "{token} after {last}");
        last = token;
        drop(guard);
        server.restart();
    }
}

#[test]
fn without_a_server_the_place_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let lock = lock_at(&format!("postgres://u@127.0.0.1:{port}/n"), |builder| {
        builder
    });
    for error in [
        lock.try_acquire().unwrap_err(),
        lock.acquire().unwrap_err(),
        lock.holder().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
}

#[test]
fn a_wrong_password_is_no_permission_and_is_not_repeated() {
    let server = PostgresServer::start_with_hba("host all keyed 127.0.0.1/32 scram-sha-256");
    let _ = server.psql("CREATE ROLE keyed LOGIN PASSWORD 'right'");
    let place = |password: &str| {
        format!(
            "postgres://keyed:{password}@127.0.0.1:{}/postgres/n",
            server.port()
        )
    };
    let error = lock_at(&place("amiss"), |b| b).acquire().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoPermission, "{error}");
    assert!(!format!("{error} {error:?}").contains("amiss"), "{error}");
    drop(lock_at(&place("right"), |b| b).acquire().unwrap());
}

#[test]
fn whoever_is_refused_is_told_who_holds_it() {
    let server = PostgresServer::shared();
    let _ = server.psql("CREATE ROLE stranger LOGIN");
    let nightly = lock_at(&server.place("named"), |builder| builder.label("nightly"));
    let guard = nightly.acquire().unwrap();
    let pid = std::process::id();
    // One that may read all statistics, and one that may not.
    for user in ["postgres", "stranger"] {
        let place = elsewhere(server, "named").replace("postgres@", &format!("{user}@"));
        let other = lock_at(&place, |builder| builder);
        for error in [
            other.try_acquire().unwrap_err(),
            other
                .acquire_within(Duration::from_millis(300))
                .unwrap_err(),
        ] {
            assert_eq!(error.holders().len(), 1, "{error}");
            let holder = &error.holders()[0];
            assert_eq!(holder.pid, Some(pid), "{error}");
            assert_eq!(holder.label.as_deref(), Some("nightly"), "{error}");
            assert_eq!(holder.token, guard.token(), "{error}");
            assert!(holder.since.is_some(), "{error}");
            assert_eq!(holder.user.as_deref(), Some("postgres"), "{error}");
            assert!(
                error.to_string().contains(&format!("pid {pid}, nightly")),
                "{error}"
            );
            let host = (user == "postgres").then_some("127.0.0.1");
            assert_eq!(holder.host.as_deref(), host, "{error}");
        }
    }
    guard.release().unwrap();
}

#[test]
fn a_forked_child_does_not_end_the_session_of_its_parent() {
    let server = PostgresServer::shared();
    let mut guard = Some(lock(server, "forked").acquire().unwrap());
    // A copy was never held.
    let released = sys::fork(|| match guard.take().map(Guard::release) {
        Some(Err(error)) if error.kind() == ErrorKind::Lost => 0,
        _ => 1,
    });
    assert_eq!(released.wait(), 0);
    let dropped = sys::fork(|| {
        drop(guard.take());
        0
    });
    assert_eq!(dropped.wait(), 0);

    let guard = guard.unwrap();
    assert_eq!(guard.standing(), Standing::Held);
    let other = lock_from_elsewhere(server, "forked");
    assert_eq!(kind(other.try_acquire()), ErrorKind::Busy);
    guard.release().unwrap();
    drop(other.try_acquire().unwrap());
}

#[test]
fn psql_excludes_us_and_we_exclude_psql() {
    let server = PostgresServer::shared();
    let gate = lock(server, "gate").acquire().unwrap();
    let ours = lock(server, "both");
    let sql = format!(
        "SELECT pg_advisory_lock({}); SELECT pg_advisory_lock({})",
        key("both"),
        key("gate")
    );
    let psql = must_block(move || server.psql(&sql));
    until("psql waits at the gate", || {
        holders_and_waiters(server, "gate") == "1|1"
    });
    let error = ours.try_acquire().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("psql"), "{error}");
    let waiter = must_block({
        let ours = ours.clone();
        move || ours.acquire().unwrap()
    });
    gate.release().unwrap();
    psql.wait();
    let guard = waiter.wait();

    let try_lock = format!("SELECT pg_try_advisory_lock({})", key("both"));
    assert_eq!(server.psql(&try_lock), "f");
    guard.release().unwrap();
    assert_eq!(server.psql(&try_lock), "t");
}

/// A server that takes connections and says nothing: threads of ours wait for it, a few, and not those that poll.
#[test]
fn tasks_that_talk_to_a_silent_server_keep_nobody_asleep_who_polls_them() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let place = |n: usize| format!("postgres://postgres@127.0.0.1:{port}/postgres/silent-{n}");
    let before = sys::count_threads();
    let blocked = must_block({
        let lock = lock_at(&place(0), |builder| builder);
        move || kind(lock.acquire())
    });
    let locks = (1..100).map(|n| lock_at(&place(n), |builder| builder));
    let mut tasks: Vec<_> = locks.map(|lock| Box::pin(lock.acquire_async())).collect();
    for future in &mut tasks {
        assert!(task::poll_once(future.as_mut()).is_pending());
    }
    // The thread that does the same still waits for its server.
    blocked.still();
    // Other tests have threads too, but not a hundred.
    assert!(sys::count_threads() < before + 60);
    drop(tasks);
    drop(silent);
    let ended = blocked.wait();
    assert_eq!(ended, ErrorKind::Unreachable);
    // Nobody talks for those who were dropped: the next one is heard at once, and not after a hundred who have nothing to say.
    let server = PostgresServer::shared();
    let guard = task::block_on(lock(server, "heard").acquire_async());
    drop(guard.unwrap());
}
