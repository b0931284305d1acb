//! What goes wrong between a holder, a waiter and their server, and what must hold all the same: the loss is told before the next one is let in, tokens rise, nobody waits
//! beyond its time, nothing is left of those who gave up. Order is read from one clock ([`Moment`]).
//!
//! Not for: servers that refuse (`login.rs`).

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep and look at the clock"
)]

mod stage;

use sneck::lease::Outcome;
use sneck::{ErrorKind, Guard, Lock, Moment, Standing, Timeout, Waiting};
use sneck_testkit::block::{Blocked, start, until};
use sneck_testkit::proxy::{Direction, Proxy, Way};
use sneck_testkit::redis::RedisServer;
use sneck_testkit::{PATIENCE, Setup, sys};
use stage::*;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(registry);

/// The lock through a proxy of its own.
fn through(server: &RedisServer, name: &str) -> (Proxy, Lock) {
    let proxy = Proxy::to_port(server.port());
    let lock = lock_at(&format!("redis://127.0.0.1:{}/{name}", proxy.port()), short);
    (proxy, lock)
}

fn direct(server: &RedisServer, name: &str) -> Lock {
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
    assert_eq!(guard.release().unwrap_err().kind(), ErrorKind::Lost);
}

#[test]
fn a_holder_that_cannot_be_reached_is_told_before_the_next_one_is_let_in() {
    let server = RedisServer::shared();
    let name = "holder-cut-off";
    let (proxy, held) = through(server, name);
    let guard = held.acquire().unwrap();
    let token = guard.token().unwrap();
    let lost_at = told(&guard);
    let waiter = wait_for(direct(server, name));
    until("it waits", || queued(server, name) == 1);
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
    assert_eq!(keys(server, name), "");
}

#[test]
fn a_stopped_holder_loses_it_and_is_told_when_it_goes_on() {
    let server = RedisServer::shared();
    let place = |_: &std::path::Path| server.place("stopped");
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
fn a_killed_waiter_is_skipped_at_once_and_a_stopped_one_when_its_place_is_over() {
    let server = RedisServer::shared();
    let place = |_: &std::path::Path| server.place("skipped");
    let setup = Setup::new(registry, place, Waiting::Best, CHILD_ENTRY);
    for fault in ["kill", "stop"] {
        let guard = setup.lock().acquire().unwrap();
        let mut first = setup.child();
        first.begin_to_wait();
        until("it waits", || queued(server, "skipped") == 1);
        let waiter = wait_for(lock_from(2, server, "skipped"));
        until("both wait", || queued(server, "skipped") == 2);
        if fault == "kill" {
            first.kill();
            until("its connection is gone", || {
                let waiting = setup.lock().waiters().unwrap();
                waiting.len() == 1
            });
        } else {
            sys::stop(first.pid());
        }
        guard.release().unwrap();
        let (_, next) = waiter.wait();
        next.release().unwrap();
        if fault == "stop" {
            // It has lost its place, stands in the queue again, and gets it in the end.
            sys::go_on(first.pid());
            first.hear("held");
            first.release();
        }
    }
    assert_eq!(keys(server, "skipped"), "");
}

#[test]
fn a_waiter_that_cannot_be_reached_keeps_its_time_and_leaves_no_ghost() {
    let server = RedisServer::shared();
    let name = "waiter-cut-off";
    let guard = direct(server, name).acquire().unwrap();
    let (proxy, waits) = through(server, name);
    let (begun, wait) = (Moment::now(), Duration::from_millis(800));
    let waiter = start(move || {
        let refused = kind(waits.acquire_within(wait));
        (begun.elapsed(), refused)
    });
    until("it waits", || queued(server, name) == 1);
    proxy.blackhole();
    let (took, refused) = waiter.wait();
    let expected = [ErrorKind::TimedOut, ErrorKind::Unreachable];
    assert!(expected.contains(&refused), "{refused:?}");
    // Its own bound for giving up is two seconds at most; there is no hang.
    assert!(took >= wait && took < PATIENCE, "{took:?}");
    proxy.heal();
    until("nothing is left of it", || queued(server, name) == 0);
    guard.release().unwrap();
    // Nobody took it in its name.
    direct(server, name)
        .try_acquire()
        .unwrap()
        .release()
        .unwrap();
    assert_eq!(kinds_of(&keys(server, name)), "");
}

/// Marks of those who gave up stay for a minute.
fn kinds_of(keys: &str) -> String {
    let left = keys.split(' ').filter(|key| !key.contains(":gone:"));
    left.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_grant_whose_answer_is_lost_is_found_again_under_the_same_name() {
    let server = RedisServer::shared();
    let name = "answer-lost";
    let (proxy, lock) = through(server, name);
    lock.acquire().unwrap().release().unwrap();
    // The server does what it is asked, and nobody hears of it.
    proxy.set(Direction::ToClient, Way::Held);
    let taker = wait_for(lock);
    until("it is granted", || server.cli(&["EXISTS", name]) == "1");
    let token = server.cli(&["GET", &format!("sneck:{{{name}}}:token")]);
    proxy.set(Direction::ToClient, Way::Open);
    proxy.cut();
    let (_, guard) = taker.wait();
    assert_eq!(guard.token().unwrap().to_string(), token);
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().unwrap();
    assert_eq!(keys(server, name), "");
}

#[test]
fn a_grant_whose_answer_never_comes_is_given_back() {
    let server = RedisServer::shared();
    for requests in 0..3 {
        let name = format!("never-{requests}");
        let (proxy, lock) = through(server, &name);
        proxy.drop_answers_after(requests);
        let taken = lock.acquire();
        proxy.heal();
        match taken {
            Ok(guard) => drop(guard),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}"),
        }
        // Whoever comes next need not wait for longer than a lease.
        direct(server, &name).acquire().unwrap().release().unwrap();
        until("nothing is left", || {
            kinds_of(&keys(server, &name)).is_empty()
        });
    }
}

#[test]
fn a_question_that_arrives_after_its_claimant_gave_up_gets_nothing() {
    let server = RedisServer::shared();
    let name = "too-late";
    let (proxy, lock) = through(server, name);
    lock.acquire().unwrap().release().unwrap();
    let guard = direct(server, name).acquire().unwrap();
    // Its questions wait in the network, and it gives up.
    proxy.set(Direction::ToServer, Way::Held);
    let error = lock.acquire_within(Duration::from_millis(200)).unwrap_err();
    assert!(!error.to_string().is_empty());
    guard.release().unwrap();
    proxy.heal();
    thread::sleep(Duration::from_millis(100));
    direct(server, name).acquire().unwrap().release().unwrap();
    until("nothing is left", || {
        kinds_of(&keys(server, name)).is_empty()
    });
}

#[test]
fn a_lease_outlives_its_connections() {
    let server = RedisServer::shared();
    let name = "renewed";
    let (proxy, lock) = through(server, name);
    let guard = lock.acquire().unwrap();
    let expires = guard.expires().unwrap();
    let other = direct(server, name);
    for _ in 0..3 {
        proxy.cut();
        thread::sleep(TTL / 2);
        assert_eq!(guard.standing(), Standing::Held);
        assert_eq!(kind(other.try_acquire()), ErrorKind::Busy);
    }
    assert!(guard.expires().unwrap() > expires);
    assert!(proxy.connections() > 1);
    guard.release().unwrap();
    assert_eq!(keys(server, name), "");
}

#[test]
fn a_server_that_stands_still_ends_the_lease_by_the_holders_own_clock() {
    let mut server = RedisServer::start();
    let guard = direct(&server, "n").acquire().unwrap();
    let token = guard.token().unwrap();
    let lost_at = told(&guard);
    server.signal("STOP");
    let (when, _) = lost(&lost_at);
    server.signal("CONT");
    let next = lock_from(2, &server, "n").acquire().unwrap();
    let granted = Moment::now();
    assert!(when < granted && next.token().unwrap() > token);
    is_lost(guard);
    next.release().unwrap();
}

#[test]
fn a_server_that_is_killed_is_unreachable_and_after_its_restart_the_lock_is_free_and_tokens_rise() {
    let mut server = RedisServer::start();
    let guard = direct(&server, "n").acquire().unwrap();
    let token = guard.token().unwrap();
    let lost_at = told(&guard);
    let waiter = start({
        let lock = lock_from(2, &server, "n");
        move || lock.acquire()
    });
    until("it waits", || queued(&server, "n") == 1);
    server.kill9();
    assert_eq!(kind(waiter.wait()), ErrorKind::Unreachable);
    let other = lock_from(3, &server, "n");
    assert_eq!(kind(other.try_acquire()), ErrorKind::Unreachable);
    assert_eq!(other.holder().unwrap_err().kind(), ErrorKind::Unreachable);
    // It is held by its own clock, as long as that runs.
    assert_eq!(guard.standing(), Standing::Held);
    server.restart();
    let (_, why) = lost(&lost_at);
    assert!(why.contains("does not know"), "{why}");
    is_lost(guard);
    let next = other.acquire().unwrap();
    assert!(next.token().unwrap() > token);
    next.release().unwrap();
}

#[test]
fn data_that_is_lost_frees_the_lock_and_the_holder_is_told() {
    let server = RedisServer::start();
    let guard = direct(&server, "n").acquire().unwrap();
    let token = guard.token().unwrap();
    let waiter = wait_for(lock_at(&elsewhere(&server, "n"), short));
    until("it waits", || queued(&server, "n") == 1);
    assert_eq!(server.cli(&["FLUSHALL"]), "OK");
    assert!(matches!(
        guard.until_lost(Timeout::Forever),
        Some(Outcome::Lost(_))
    ));
    let (_, next) = waiter.wait();
    assert!(next.token().unwrap() > token);
    is_lost(guard);
    assert_eq!(next.standing(), Standing::Held);
    next.release().unwrap();
}

#[test]
fn a_step_of_the_servers_clock_ends_leases_early_and_tokens_rise_all_the_same() {
    let mut server = RedisServer::start();
    server.restart_with_a_clock_of_its_own();
    let long = |builder: sneck::LockBuilder| builder.ttl(Duration::from_secs(30));
    let guard = lock_at(&server.place("n"), long).acquire().unwrap();
    let token = guard.token().unwrap();
    let other = lock_at(&elsewhere(&server, "n"), long);
    assert_eq!(kind(other.try_acquire()), ErrorKind::Busy);
    server.set_clock(3600);
    let next = other.acquire().unwrap();
    let after = next.token().unwrap();
    assert!(after > token);
    // The holder does not know yet: that is what tokens are for. It is told when it speaks next.
    assert_eq!(guard.release().unwrap_err().kind(), ErrorKind::Lost);
    next.release().unwrap();
    // Back: the counter is ahead of the clock, and counts on.
    server.set_clock(-3600);
    let last = other.acquire().unwrap();
    assert_eq!(last.token().unwrap(), after + 1);
    last.release().unwrap();
}

#[test]
fn a_storm_of_kills_lets_nobody_in_twice() {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    let server = SERVER.get_or_init(RedisServer::start);
    let place = |_: &std::path::Path| server.place("storm");
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
    until("nothing is left", || keys(server, "storm").is_empty());
}
