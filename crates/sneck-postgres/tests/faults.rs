//! What can go wrong between a holder, a waiter and a server: silence, cuts, answers that are lost, processes and servers that stop or die.
//!
//! Each time: nobody is let in before the one who held it was told; whoever comes next gets a higher token; who lost it touches nobody; nothing is left of those who gave up. Order is
//! read from one clock ([`Moment`]).
//!
//! Not for: servers that refuse (`login.rs`, `unfit.rs`), the ends of bare sessions (`session.rs`).

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep and look at the clock"
)]

mod stage;

use sneck::lease::Outcome;
use sneck::protocol::{Leasing, Restart};
use sneck::{ErrorKind, Guard, Lock, Moment, Standing, Waiting};
use sneck_postgres::config::Config;
use sneck_postgres::session::{Session, Silence};
use sneck_testkit::block::{Blocked, start, until};
use sneck_testkit::postgres::PostgresServer;
use sneck_testkit::proxy::{Direction, Proxy, Way};
use sneck_testkit::{PATIENCE, Setup, sys};
use stage::*;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(registry);

/// The lock through a proxy of its own.
fn through(server: &PostgresServer, name: &str) -> (Proxy, Lock) {
    let proxy = Proxy::to_port(server.port());
    let place = format!(
        "postgres://postgres@127.0.0.1:{}/postgres/{name}",
        proxy.port()
    );
    (proxy, lock_at(&place, short))
}

/// Of an hour: no clock tells its holder that it is lost.
fn long(server: &PostgresServer, name: &str) -> Lock {
    let hour = Duration::from_secs(3600);
    lock_at(&server.place(name), |builder| builder.ttl(hour))
}

fn direct(server: &PostgresServer, name: &str) -> Lock {
    lock_at(&server.place(name), short)
}

/// When and how the holding ended, as its holder was told.
fn told(guard: &Guard) -> mpsc::Receiver<(Moment, Outcome)> {
    let (sender, told) = mpsc::channel();
    guard.on_lost(move |outcome| {
        let _ = sender.send((Moment::now(), outcome.clone()));
    });
    told
}

#[track_caller]
fn lost(told: &mpsc::Receiver<(Moment, Outcome)>) -> (Moment, String) {
    match told.recv_timeout(PATIENCE).expect("it is told") {
        (when, Outcome::Lost(why)) => (when, why),
        (_, Outcome::Released) => panic!("nobody released it"),
    }
}

/// One who waits, and when it got it.
fn wait_for(lock: Lock) -> Blocked<(Moment, Guard)> {
    start(move || {
        let guard = lock.acquire().unwrap();
        (Moment::now(), guard)
    })
}

#[track_caller]
fn is_lost(guard: Guard) {
    assert!(matches!(guard.standing(), Standing::Lost(_)));
    assert_eq!(guard.ensure_held().unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(guard.release().unwrap_err().kind(), ErrorKind::Lost);
}

#[test]
fn a_holder_that_cannot_be_reached_is_told_before_the_next_one_is_let_in() {
    let server = PostgresServer::shared();
    let name = "holder-cut-off";
    let (proxy, held) = through(server, name);
    let guard = held.acquire().unwrap();
    let token = guard.token().unwrap();
    let lost_at = told(&guard);
    let waiter = wait_for(direct(server, name));
    until("it waits", || holders_and_waiters(server, name) == "1|1");
    proxy.blackhole();
    let (granted, next) = waiter.wait();
    let (when, why) = lost(&lost_at);
    assert!(when < granted, "the next one came in first");
    assert!(why.contains("no answer"), "{why}");
    assert!(next.token().unwrap() > token);
    // What was on its way arrives, and does no harm.
    proxy.heal();
    is_lost(guard);
    assert_eq!(next.standing(), Standing::Held);
    assert_eq!(kind(direct(server, name).try_acquire()), ErrorKind::Busy);
    next.release().unwrap();
    assert_eq!(holders_and_waiters(server, name), "0|0");
}

#[test]
fn a_stopped_holder_loses_it_and_is_told_when_it_goes_on() {
    let server = PostgresServer::shared();
    let place = |_: &Path| server.place("stopped");
    let setup = Setup::new(registry, place, Waiting::Best, CHILD_ENTRY);
    let mut holder = setup.child();
    holder.acquire();
    let seen = setup.lock().holder().unwrap();
    let token = seen.holders()[0].token.unwrap();
    sys::stop(holder.pid());
    let guard = setup.lock().acquire().unwrap();
    assert!(guard.token().unwrap() > token);
    sys::go_on(holder.pid());
    holder.tell("release it");
    holder.hear("lost");
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().unwrap();
}

#[test]
fn a_stopped_waiter_loses_what_it_was_granted_and_gets_it_again_when_it_goes_on() {
    let server = PostgresServer::shared();
    let place = |_: &Path| server.place("dozing");
    let setup = Setup::new(registry, place, Waiting::Best, CHILD_ENTRY);
    let guard = setup.lock().acquire().unwrap();
    let mut first = setup.child();
    first.begin_to_wait();
    until("it waits", || {
        holders_and_waiters(server, "dozing") == "1|1"
    });
    sys::stop(first.pid());
    let waiter = wait_for(lock_from(2, server, "dozing"));
    until("both wait", || {
        holders_and_waiters(server, "dozing") == "1|2"
    });
    guard.release().unwrap();
    // It was the sleeper's turn, and the sleeper said nothing.
    let (_, next) = waiter.wait();
    sys::go_on(first.pid());
    until("it waits anew", || {
        holders_and_waiters(server, "dozing") == "1|1"
    });
    assert_eq!(next.standing(), Standing::Held);
    let token = next.token();
    next.release().unwrap();
    first.hear("held");
    let seen = setup.lock().holder().unwrap();
    assert!(seen.holders()[0].token > token);
    first.release();
}

#[test]
fn a_killed_waiter_is_in_nobodys_way() {
    let server = PostgresServer::shared();
    let place = |_: &Path| server.place("killed");
    let setup = Setup::new(registry, place, Waiting::Best, CHILD_ENTRY);
    let guard = setup.lock().acquire().unwrap();
    let mut first = setup.child();
    first.begin_to_wait();
    until("it waits", || {
        holders_and_waiters(server, "killed") == "1|1"
    });
    first.kill();
    until("it is gone", || {
        holders_and_waiters(server, "killed") == "1|0"
    });
    guard.release().unwrap();
}

#[test]
fn a_waiter_that_cannot_be_reached_keeps_its_time_and_its_ghost_holds_for_one_lease_only() {
    let server = PostgresServer::shared();
    let name = "waiter-cut-off";
    let guard = direct(server, name).acquire().unwrap();
    let (proxy, waits) = through(server, name);
    let (begun, wait) = (Moment::now(), Duration::from_millis(1500));
    let ghost = start(move || {
        let refused = kind(waits.acquire_within(wait));
        (begun.elapsed(), refused)
    });
    until("it waits", || holders_and_waiters(server, name) == "1|1");
    proxy.blackhole();
    let waiter = wait_for(lock_from(2, server, name));
    until("both wait", || holders_and_waiters(server, name) == "1|2");
    let (took, refused) = ghost.wait();
    let expected = [ErrorKind::TimedOut, ErrorKind::Unreachable];
    assert!(expected.contains(&refused), "{refused:?}");
    assert!(took >= wait && took < PATIENCE, "{took:?}");
    // The server knows nothing of that, and grants it the lock. Nobody speaks for it.
    let ghosts = backend(server, name);
    guard.release().unwrap();
    until("it is the ghost's turn", || {
        let holds = backend(server, name);
        holds != ghosts && holders_and_waiters(server, name) == "1|1"
    });
    let (_, next) = waiter.wait();
    next.release().unwrap();
    assert!(server.log().contains("idle-session timeout"));
    proxy.heal();
    assert_eq!(holders_and_waiters(server, name), "0|0");
}

#[test]
fn a_waiter_whose_link_heals_leaves_nothing() {
    let server = PostgresServer::shared();
    let name = "waiter-healed";
    let guard = direct(server, name).acquire().unwrap();
    let (proxy, waits) = through(server, name);
    let waiter = start(move || kind(waits.acquire_within(Duration::from_secs(1))));
    until("it waits", || holders_and_waiters(server, name) == "1|1");
    proxy.blackhole();
    waiter.wait();
    proxy.heal();
    until("nothing is left of it", || {
        holders_and_waiters(server, name) == "1|0"
    });
    guard.release().unwrap();
}

#[test]
fn a_grant_whose_answer_never_comes_is_in_the_way_for_one_lease_only() {
    let server = PostgresServer::shared();
    // Of the requests of a connection: the wish for TLS, the startup, what makes it fit, the lock.
    let after = |requests: usize| {
        let name = format!("never-{requests}");
        let (proxy, lock) = through(server, &name);
        proxy.drop_answers_after(requests);
        let taken = lock.acquire();
        if requests == 3 {
            // The server did what it was asked, and nobody hears of it.
            assert!(taken.is_err());
        }
        match taken {
            Ok(guard) => drop(guard),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}"),
        }
        // Whoever comes next need not wait for longer than a lease, though nothing heals.
        let next = direct(server, &name).acquire().unwrap();
        next.release().unwrap();
        until("nothing is left", || {
            holders_and_waiters(server, &name) == "0|0"
        });
    };
    thread::scope(|scope| {
        for requests in 0..5 {
            scope.spawn(move || after(requests));
        }
    });
}

#[test]
fn a_grant_whose_token_never_comes_is_not_held() {
    let server = PostgresServer::shared();
    let name = "no-token";
    let guard = direct(server, name).acquire().unwrap();
    let (proxy, waits) = through(server, name);
    let waiter = start(move || waits.acquire());
    until("it waits", || holders_and_waiters(server, name) == "1|1");
    // It hears that it is granted, and then nothing.
    proxy.drop_answers_after(0);
    guard.release().unwrap();
    let error = waiter.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    let next = direct(server, name).acquire().unwrap();
    next.release().unwrap();
}

#[test]
fn answers_that_come_late_are_told_apart_and_the_lease_goes_on() {
    let server = PostgresServer::shared();
    let name = "late-answers";
    let (proxy, lock) = through(server, name);
    let guard = lock.acquire().unwrap();
    let other = direct(server, name);
    for _ in 0..3 {
        // Longer than one word may take, and shorter than the lease.
        proxy.set(Direction::ToClient, Way::Held);
        thread::sleep(TTL / 2);
        proxy.set(Direction::ToClient, Way::Open);
        let before = guard.expires().unwrap();
        until("a word is heard again", || {
            guard.expires().unwrap() > before
        });
        assert_eq!(guard.standing(), Standing::Held);
        assert_eq!(kind(other.try_acquire()), ErrorKind::Busy);
    }
    guard.release().unwrap();
    assert_eq!(holders_and_waiters(server, name), "0|0");
}

#[test]
fn a_late_answer_to_an_earlier_word_prolongs_nothing() {
    let server = PostgresServer::shared();
    let (proxy, lock) = through(server, "earlier-word");
    let guard = lock.acquire().unwrap();
    let lost_at = told(&guard);
    let before = proxy.requests();
    // The first word is heard, and its answer is late. The second one is not heard.
    proxy.set(Direction::ToClient, Way::Held);
    until("a word is said", || proxy.requests() > before);
    proxy.set(Direction::ToServer, Way::Held);
    until("another is said", || proxy.requests() > before + 1);
    let expires = guard.expires().unwrap();
    proxy.set(Direction::ToClient, Way::Open);
    lost(&lost_at);
    assert_eq!(guard.expires().unwrap(), expires);
    proxy.heal();
    is_lost(guard);
}

#[test]
fn a_lease_is_renewed_for_as_long_as_its_holder_lives() {
    let server = PostgresServer::shared();
    let name = "renewed";
    let guard = direct(server, name).acquire().unwrap();
    let (expires, process) = (guard.expires().unwrap(), backend(server, name));
    thread::sleep((TTL + DELAY) * 2);
    assert!(guard.expires().unwrap() > expires);
    assert_eq!(backend(server, name), process);
    guard.ensure_held().unwrap();
    guard.release().unwrap();
}

#[test]
fn a_connection_that_is_cut_is_a_lock_that_is_lost_at_once() {
    let server = PostgresServer::shared();
    let name = "cut";
    let proxy = Proxy::to_port(server.port());
    let place = format!(
        "postgres://postgres@127.0.0.1:{}/postgres/{name}",
        proxy.port()
    );
    let hour = |b: sneck::LockBuilder| b.ttl(Duration::from_secs(3600));
    let guard = lock_at(&place, hour).acquire().unwrap();
    let lost_at = told(&guard);
    proxy.cut();
    let (_, why) = lost(&lost_at);
    assert!(why.contains("connection"), "{why}");
    is_lost(guard);
    let next = long(server, name).acquire().unwrap();
    next.release().unwrap();
}

#[test]
fn one_whose_session_is_ended_is_told_by_whom() {
    let server = PostgresServer::shared();
    let name = "ended";
    let guard = long(server, name).acquire().unwrap();
    let lost_at = told(&guard);
    let process = backend(server, name);
    assert_eq!(
        server.psql(&format!("SELECT pg_terminate_backend({process})")),
        "t"
    );
    let (_, why) = lost(&lost_at);
    assert!(
        why.contains("administrator") && why.contains("57P01"),
        "{why}"
    );
    is_lost(guard);
}

#[test]
fn a_server_that_stands_still_ends_the_lease_by_the_holders_own_clock() {
    let mut server = PostgresServer::start();
    let guard = direct(&server, "n").acquire().unwrap();
    let token = guard.token().unwrap();
    let lost_at = told(&guard);
    server.signal("STOP");
    let (when, why) = lost(&lost_at);
    server.signal("CONT");
    assert!(why.contains("no answer"), "{why}");
    let next = lock_from(2, &server, "n").acquire().unwrap();
    let granted = Moment::now();
    assert!(when < granted && next.token().unwrap() > token);
    is_lost(guard);
    assert_eq!(next.standing(), Standing::Held);
    next.release().unwrap();
}

#[test]
fn a_server_that_is_killed_frees_the_lock_its_holder_is_told_at_once_and_tokens_rise() {
    let mut server = PostgresServer::start();
    let can = lock(&server, "n").capabilities();
    assert_eq!(can.restart, Restart::Freed);
    assert!(matches!(can.lease, Leasing::Leased { .. }));
    let mut last = 0;
    for how in ["kill", "stop"] {
        let guard = long(&server, "n").acquire().unwrap();
        let token = guard.token().unwrap();
        assert!(token > last);
        let lost_at = told(&guard);
        let waiter = start({
            let lock = lock_from(2, &server, "n");
            move || lock.acquire()
        });
        until("it waits", || holders_and_waiters(&server, "n") == "1|1");
        let other = lock_from(3, &server, "n");
        if how == "kill" {
            server.kill9();
            assert_eq!(kind(other.try_acquire()), ErrorKind::Unreachable);
            server.restart();
        } else {
            server.restart();
        }
        let (_, why) = lost(&lost_at);
        assert!(how == "kill" || why.contains("57P01"), "{why}");
        assert_eq!(kind(waiter.wait()), ErrorKind::Unreachable);
        is_lost(guard);
        let next = other.acquire().unwrap();
        assert!(next.token().unwrap() > token);
        last = next.token().unwrap();
        next.release().unwrap();
    }
}

#[test]
fn data_that_is_lost_frees_the_lock_and_the_holder_is_told() {
    let mut server = PostgresServer::start();
    let guard = long(&server, "n").acquire().unwrap();
    let lost_at = told(&guard);
    server.lose_data();
    lost(&lost_at);
    let next = lock(&server, "n").acquire().unwrap();
    is_lost(guard);
    assert_eq!(next.standing(), Standing::Held);
    next.release().unwrap();
}

/// All that an administrator can wish a role.
const DEFAULTS: &str = "\
    CREATE ROLE odd LOGIN; \
    ALTER ROLE odd SET idle_session_timeout = '1ms'; \
    ALTER ROLE odd SET statement_timeout = '1ms'; \
    ALTER ROLE odd SET lock_timeout = '1ms'; \
    ALTER ROLE odd SET idle_in_transaction_session_timeout = '1ms'; \
    ALTER ROLE odd SET client_connection_check_interval = 0; \
    ALTER ROLE odd SET synchronous_commit = off; \
    ALTER ROLE odd SET default_transaction_read_only = on; \
    ALTER ROLE odd SET default_transaction_isolation = 'serializable'; \
    ALTER ROLE odd SET default_transaction_deferrable = on; \
    ALTER ROLE odd SET standard_conforming_strings = off; \
    ALTER ROLE odd SET search_path = ''; \
    ALTER ROLE odd SET datestyle = 'SQL, DMY'; \
    ALTER ROLE odd SET tcp_keepalives_idle = 1; \
    ALTER ROLE odd SET tcp_user_timeout = 1;";

#[test]
fn what_a_role_has_by_default_ends_no_wait_and_no_lease() {
    let server = PostgresServer::start();
    let _ = server.psql(DEFAULTS);
    let as_odd = |place: String| place.replace("postgres@", "odd@");
    let odd = |builder: sneck::LockBuilder| short(builder).label(r"it's a \ label");
    let held = lock_at(&as_odd(server.place("odd")), odd);
    let guard = held.acquire().unwrap();
    let (expires, token) = (guard.expires().unwrap(), guard.token().unwrap());
    let waiter = wait_for(lock_at(&as_odd(elsewhere(&server, "odd")), odd));
    until("it waits", || holders_and_waiters(&server, "odd") == "1|1");
    let seen = lock(&server, "odd").holder().unwrap();
    let holder = &seen.holders()[0];
    assert_eq!(holder.label.as_deref(), Some(r"it's a \ label"));
    thread::sleep(TTL + DELAY);
    assert!(guard.expires().unwrap() > expires);
    guard.release().unwrap();
    let (_, next) = waiter.wait();
    assert!(next.token().unwrap() > token);
    next.release().unwrap();

    let config = Config::parse(&as_odd(server.place("odd"))).unwrap();
    let silence = Silence::AtMost(Duration::from_millis(1800));
    let mut session = Session::connect_for(&config, "test", PATIENCE, silence).unwrap();
    for (name, value) in [
        ("idle_session_timeout", "1800ms"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("client_connection_check_interval", "1s"),
        ("synchronous_commit", "local"),
        ("default_transaction_read_only", "off"),
        ("default_transaction_isolation", "read committed"),
        ("tcp_keepalives_idle", "1"),
        ("tcp_keepalives_interval", "1"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "4000"),
    ] {
        let rows = session.query(&format!("SELECT current_setting('{name}')"));
        assert_eq!(rows.unwrap()[0][0].as_deref(), Some(value), "{name}");
    }
}

#[test]
fn a_session_is_kept_for_the_next_claimant_of_its_handle_and_of_no_other() {
    let server = PostgresServer::shared();
    let name = "kept";
    let one = direct(server, name);
    let again = || {
        let guard = one.acquire().unwrap();
        let process = backend(server, name);
        guard.release().unwrap();
        process
    };
    let first = again();
    assert_eq!(again(), first, "it is used again");
    let other = direct(server, name).acquire().unwrap();
    assert_ne!(backend(server, name), first, "by its own handle");
    other.release().unwrap();
    // What nobody uses is closed by us, before the server complains of it.
    let sessions = || {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {first}");
        asked(server, &sql)
    };
    until("it is closed", || sessions() == "0");
    let log = server.log();
    let complaint = format!("[{first}]");
    assert!(!log.contains(&complaint), "{log}");
    assert_ne!(again(), first);
}

#[test]
fn a_kept_session_that_was_ended_is_replaced_and_nobody_notices() {
    let server = PostgresServer::shared();
    let name = "kept-ended";
    let (proxy, lock) = through(server, name);
    let used = || {
        let guard = lock.acquire().unwrap();
        let process = backend(server, name);
        guard.release().unwrap();
        process
    };
    let end = |process: &str| {
        let sql = format!("SELECT pg_terminate_backend({process}, 5000)");
        assert_eq!(asked(server, &sql), "t");
    };
    let first = used();
    end(&first);
    let second = used();
    assert_ne!(second, first);
    // The end is on its way still when it is asked.
    proxy.delay(Duration::from_millis(100));
    end(&second);
    assert_ne!(used(), second);
}

#[test]
fn a_connection_that_was_passed_on_keeps_the_lock_for_one_lease_only() {
    let server = PostgresServer::shared();
    let name = "carried";
    let guard = direct(server, name).acquire().unwrap();
    let copy = guard.carry(|carried: &[BorrowedFd<'_>]| {
        assert_eq!(carried.len(), 1);
        carried[0].try_clone_to_owned().unwrap()
    });
    let process = backend(server, name);
    // As if this process were killed: nobody says a word any more, and somebody has the connection.
    guard.bequeath().unwrap();
    let other = lock_from(2, server, name);
    assert_eq!(kind(other.try_acquire()), ErrorKind::Busy);
    assert_eq!(backend(server, name), process);
    let next = other.acquire().unwrap();
    drop(copy);
    next.release().unwrap();
}

#[test]
fn a_storm_of_kills_lets_nobody_in_twice() {
    let server = PostgresServer::start();
    let place = |_: &Path| server.place("storm");
    let setup = Setup::new(registry, place, Waiting::Best, CHILD_ENTRY);
    let path = setup.folder.join("journal");
    let begin = || {
        let mut child = setup.child();
        child.tell(&format!("take-turns {}", path.display()));
        child
    };
    let mut children: Vec<_> = (0..5).map(|_| begin()).collect();
    for round in 0..8_u64 {
        thread::sleep(Duration::from_millis(20 + round * 37 % 90));
        children.remove(0).kill();
        children.push(begin());
    }
    children.iter_mut().for_each(sneck_testkit::Child::kill);
    assert_eq!(sneck_testkit::Journal::open(&path).overlaps(), "");
    setup.lock().acquire().unwrap().release().unwrap();
    until("nothing is left", || {
        holders_and_waiters(&server, "storm") == "0|0"
    });
}
