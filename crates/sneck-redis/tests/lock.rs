//! Locks on real Redis servers, beside what every protocol must keep (`conformance.rs`): order, tokens, readers, what is left at the server, what is told of those who hold
//! and wait, and other programs at the same key.
//!
//! Not for: faults (`faults.rs`), logging in (`login.rs`).

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep and look at the clock"
)]

mod stage;

use sneck::protocol::{Removal, Right, Tokens};
use sneck::{ErrorKind, Guard, Lock, Mode, Requirement, Sighting, Standing, lease::Outcome};
use sneck_testkit::PATIENCE;
use sneck_testkit::block::{must_block, start, until};
use sneck_testkit::redis::RedisServer;
use sneck_testkit::sys;
use stage::*;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

#[test]
fn two_handles_exclude_each_other_however_the_server_is_reached() {
    let server = RedisServer::shared();
    let guard = lock(server, "exclusion").acquire().unwrap();
    let other = lock_from_elsewhere(server, "exclusion");
    assert_eq!(kind(other.try_acquire()), ErrorKind::Busy);
    drop(lock(server, "another").try_acquire().unwrap());
    drop(lock(server, "3/exclusion").try_acquire().unwrap());
    guard.release().unwrap();
    let guard = other.try_acquire().unwrap();
    assert_eq!(
        kind(lock(server, "exclusion").try_acquire()),
        ErrorKind::Busy
    );
    guard.release().unwrap();
    assert_eq!(other.holder().unwrap(), Sighting::Free);
    assert_eq!(keys(server, "exclusion"), "");
}

#[test]
fn those_who_wait_are_served_as_they_came_and_tokens_grow() {
    let server = RedisServer::shared();
    let name = "order";
    let first = lock_from(1, server, name).acquire().unwrap();
    let mut last = first.token().unwrap();
    let (sender, entered) = mpsc::channel();
    let mut waiters = Vec::new();
    for number in 2..8 {
        let (lock, sender) = (lock_from(number, server, name), sender.clone());
        waiters.push(start(move || {
            let guard = lock.acquire().unwrap();
            sender.send((number, guard.token().unwrap())).unwrap();
            thread::sleep(Duration::from_millis(2));
            guard.release().unwrap();
        }));
        until("it stands in the queue", || {
            queued(server, name) == number - 1
        });
    }
    first.release().unwrap();
    for number in 2..8 {
        let (who, token) = entered.recv_timeout(PATIENCE).unwrap();
        assert_eq!(who, number);
        assert!(token > last, "{token} after {last}");
        last = token;
    }
    waiters.into_iter().for_each(|waiter| waiter.wait());
    assert_eq!(keys(server, name), "");
}

#[test]
fn nobody_barges_past_the_queue() {
    let server = RedisServer::shared();
    let name = "barging";
    let gate = lock_from(1, server, name).acquire().unwrap();
    let waiter = {
        let lock = lock_from(2, server, name);
        must_block(move || lock.acquire().unwrap())
    };
    until("it stands in the queue", || queued(server, name) == 1);
    let barger = lock_from(3, server, name);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let got = thread::scope(|scope| {
        let tries = scope.spawn(|| {
            let mut got = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                got += usize::from(barger.try_acquire().is_ok());
            }
            got
        });
        gate.release().unwrap();
        let guard = waiter.wait();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let got = tries.join().unwrap();
        guard.release().unwrap();
        got
    });
    assert_eq!(got, 0);
}

#[test]
fn readers_and_writers_are_served_in_order_and_nobody_starves() {
    let server = RedisServer::shared();
    let name = "readers";
    let queue_up = |number: usize, mode: Mode, sender: &mpsc::Sender<(usize, Guard)>| {
        let before = queued(server, name);
        let place = format!("redis://127.0.1.{number}:{}/{name}", server.port());
        let (lock, sender) = (lock_at(&place, |b| b.mode(mode)), sender.clone());
        thread::spawn(move || sender.send((number, lock.acquire().unwrap())).unwrap());
        until("it stands in the queue", || {
            queued(server, name) == before + 1
        });
    };
    let (sender, entered) = mpsc::channel();
    let next = || entered.recv_timeout(PATIENCE).unwrap();
    let nobody = || assert!(entered.recv_timeout(Duration::from_millis(30)).is_err());
    let readers = lock_at(&server.place(name), |b| b.mode(Mode::Shared));
    let (one, two) = (
        readers.acquire().unwrap(),
        lock_at(&elsewhere(server, name), |b| b.mode(Mode::Shared))
            .acquire()
            .unwrap(),
    );
    assert!(two.token() > one.token());
    queue_up(3, Mode::Exclusive, &sender);
    queue_up(4, Mode::Shared, &sender);
    queue_up(5, Mode::Shared, &sender);
    queue_up(6, Mode::Exclusive, &sender);
    queue_up(7, Mode::Shared, &sender);
    // Readers come in no longer: a writer waits.
    assert_eq!(
        kind(lock_at(&elsewhere(server, name), |b| b.mode(Mode::Shared)).try_acquire()),
        ErrorKind::Busy
    );
    nobody();
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
    nobody();
    drop(four);
    nobody();
    drop(five);
    let (who, writer) = next();
    assert_eq!(who, 6);
    drop(writer);
    let (who, reader) = next();
    assert_eq!(who, 7);
    drop(reader);
    assert_eq!(keys(server, name), "");
}

#[test]
fn a_wait_that_times_out_leaves_no_waiter() {
    let server = RedisServer::shared();
    let guard = lock(server, "vain").acquire().unwrap();
    let other = lock_from_elsewhere(server, "vain");
    let waiter = start(move || other.acquire_within(Duration::from_millis(300)));
    until("it stands in the queue", || queued(server, "vain") == 1);
    assert_eq!(kind(waiter.wait()), ErrorKind::TimedOut);
    assert_eq!(queued(server, "vain"), 0);
    guard.release().unwrap();
    assert_eq!(keys(server, "vain"), "");
}

#[test]
fn a_grant_that_comes_at_the_very_deadline_is_given_back() {
    let server = RedisServer::shared();
    let holder = lock(server, "late");
    let other = lock_from_elsewhere(server, "late");
    let wait = Duration::from_millis(25);
    // When to release: steered towards the moment at which half of the waits are in time.
    let (mut moment, mut granted, mut random) = (wait, 0, 0x9e37_79b9_u32);
    const ROUNDS: u32 = 100;
    for round in 0..ROUNDS {
        let guard = holder.try_acquire();
        let guard = guard.unwrap_or_else(|error| panic!("in round {round}: {error}"));
        let waiter = start({
            let other = other.clone();
            move || other.acquire_within(wait).map(Guard::release)
        });
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        thread::sleep(moment + Duration::from_micros(u64::from(random >> 22)));
        guard.release().unwrap();
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
    assert!((1..ROUNDS).contains(&granted), "{granted} of {ROUNDS}");
    assert_eq!(keys(server, "late"), "");
}

#[test]
fn those_who_hold_and_wait_are_named_in_order() {
    let server = RedisServer::shared();
    let nightly = lock_at(&server.place("named"), |b| b.label("nightly run"));
    let guard = nightly.acquire().unwrap();
    let waiters: Vec<_> = (2..4)
        .map(|number| {
            let place = format!("redis://127.0.1.{number}:{}/named", server.port());
            let lock = lock_at(&place, |b| b.label(format!("waiter {number}")));
            let waiter = start(move || drop(lock.acquire().unwrap()));
            until("it waits", || queued(server, "named") == number - 1);
            waiter
        })
        .collect();
    let other = lock_from_elsewhere(server, "named");
    let error = other.try_acquire().unwrap_err();
    for holder in [&error.holders()[0], &other.holder().unwrap().holders()[0]] {
        assert_eq!(holder.pid, Some(std::process::id()));
        assert_eq!(holder.token, guard.token());
        assert_eq!(holder.label.as_deref(), Some("nightly run"));
        assert_eq!(holder.mode, Some(Mode::Exclusive));
        assert!(holder.host.is_some() && holder.user.is_some() && holder.since.is_some());
        assert!(holder.command.as_deref().unwrap().contains("lock"));
    }
    assert!(error.to_string().contains("nightly run"), "{error}");
    let waiting = other.waiters().unwrap();
    let labels: Vec<_> = waiting.iter().map(|w| w.label.clone().unwrap()).collect();
    assert_eq!(labels, ["waiter 2", "waiter 3"]);
    assert!(
        waiting
            .iter()
            .all(|w| w.since.is_some() && w.token.is_none())
    );
    guard.release().unwrap();
    waiters.into_iter().for_each(|waiter| waiter.wait());
}

#[test]
fn removal_by_force_tells_the_holder_and_leaves_the_token_higher() {
    let server = RedisServer::shared();
    // Ahead of the clock, so that each token is the last one and 1.
    let _ = server.cli(&["SET", "sneck:{forced}:token", "9000000000000000"]);
    let guard = lock(server, "forced").acquire().unwrap();
    let watch = guard.lost();
    let token = guard.token().unwrap();
    let other = lock_from_elsewhere(server, "forced");
    let cleared = other.force_release().unwrap();
    assert!(
        format!("{cleared:?}").contains(&format!("{:?}", Removal::Removed)),
        "{cleared:?}"
    );
    let outcome = sneck_testkit::task::block_on(watch);
    assert!(
        matches!(&outcome, Outcome::Lost(why) if why.contains("force")),
        "{outcome:?}"
    );
    let next = other.try_acquire().unwrap();
    assert_eq!(
        next.token(),
        Some(token + 2),
        "the removal has one of its own"
    );
    let error = guard.release().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    // And touched nobody.
    assert_eq!(next.standing(), Standing::Held);
    assert_eq!(kind(lock(server, "forced").try_acquire()), ErrorKind::Busy);
    next.release().unwrap();

    let readers = [
        lock_at(&server.place("forced"), |b| b.mode(Mode::Shared)),
        lock_at(&elsewhere(server, "forced"), |b| b.mode(Mode::Shared)),
    ];
    let guards = readers.each_ref().map(|lock| lock.acquire().unwrap());
    let cleared = other.force_release().unwrap();
    assert!(format!("{cleared:?}").contains("Removed"), "{cleared:?}");
    for guard in guards {
        assert_eq!(guard.release().unwrap_err().kind(), ErrorKind::Lost);
    }
    assert_eq!(keys(server, "forced"), "");
}

#[test]
fn what_was_seen_is_removed_and_nothing_else() {
    let server = RedisServer::shared();
    let lock = lock(server, "seen");
    let protocol = registry().protocol(lock.place()).unwrap();
    let mark = |seen: Sighting| match seen {
        Sighting::Held { mark, .. } => mark.unwrap(),
        other => panic!("{other:?}"),
    };
    let guard = lock.acquire().unwrap();
    let old = mark(protocol.inspect().unwrap());
    guard.release().unwrap();
    assert_eq!(
        protocol.remove(&old, Right::Force).unwrap(),
        Removal::Changed
    );
    let guard = lock.acquire().unwrap();
    assert_eq!(
        protocol.remove(&old, Right::Force).unwrap(),
        Removal::Changed
    );
    guard.release().unwrap();
    // One reader more than was seen.
    let readers = [server.place("seen"), elsewhere(server, "seen")];
    let [one, other] = readers.map(|place| lock_at(&place, |b| b.mode(Mode::Shared)));
    let first = one.acquire().unwrap();
    let old = mark(protocol.inspect().unwrap());
    let second = other.acquire().unwrap();
    assert_eq!(
        protocol.remove(&old, Right::Force).unwrap(),
        Removal::Changed
    );
    first.release().unwrap();
    second.release().unwrap();
}

/// The script itself is asked, since no network can be told to deliver one question after another connection's.
#[test]
fn a_question_that_comes_after_its_claimant_gave_up_is_granted_nothing() {
    let server = RedisServer::shared();
    const COMMON: &str = include_str!("../src/scripts/common.lua");
    let run = |script: &str, words: &[&str]| {
        let text = format!("{COMMON}{script}");
        let keys = [
            "gave-up",
            "sneck:{gave-up}:queue",
            "sneck:{gave-up}:readers",
            "sneck:{gave-up}:token",
        ];
        let mut all = vec!["EVAL", &text, "4"];
        all.extend(keys);
        all.extend(["sneck:{gave-up}:", "x0123456789abcdef01234567.1"]);
        all.extend(words);
        server.cli(&all)
    };
    let attempt = || {
        let script = include_str!("../src/scripts/attempt.lua");
        run(script, &["20000", "try", "15000", "pid=1"])
    };
    let release = |how: &str| run(include_str!("../src/scripts/release.lua"), &[how]);
    assert!(attempt().starts_with('1'));
    assert_eq!(release(""), "1");
    assert!(attempt().starts_with('1'));
    assert_eq!(release("gone"), "1");
    assert!(attempt().starts_with("GONE"));
    assert_eq!(server.cli(&["EXISTS", "gave-up"]), "0");
}

#[test]
fn tokens_grow_though_all_data_is_lost_and_it_is_said_that_they_are_no_more_than_best_effort() {
    let server = RedisServer::start();
    let lock = lock(&server, "counter");
    let mut last = 0;
    for _ in 0..3 {
        let token = lock.acquire().unwrap().token().unwrap();
        assert!(token > last, "{token} after {last}");
        last = token;
        assert_eq!(server.cli(&["FLUSHALL"]), "OK");
    }
    // A counter ahead of the clock counts on.
    let ahead = last + 1_000_000_000_000;
    let _ = server.cli(&["SET", "sneck:{counter}:token", &ahead.to_string()]);
    assert_eq!(lock.acquire().unwrap().token(), Some(ahead + 1));
    assert_eq!(lock.capabilities().tokens, Tokens::BestEffort);
    let registry = registry();
    let place = registry.place(server.place("counter")).unwrap();
    let durable = Lock::builder()
        .registry(&registry)
        .require([Requirement::DurableFencing]);
    assert_eq!(
        durable.at(&place).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn a_key_that_another_program_set_is_waited_for_and_it_waits_for_ours() {
    let server = RedisServer::shared();
    // As redis-py does it.
    let take = || server.cli(&["SET", "both", "0f3c", "NX", "PX", "60000"]);
    assert_eq!(take(), "OK");
    let ours = lock(server, "both");
    let error = ours.try_acquire().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("0f3c"), "{error}");
    let waiter = must_block({
        let ours = ours.clone();
        move || ours.acquire().unwrap()
    });
    assert_eq!(server.cli(&["DEL", "both"]), "1");
    let guard = waiter.wait();
    assert_eq!(take(), "");
    guard.release().unwrap();
    // One that expires.
    assert_eq!(
        server.cli(&["SET", "both", "0f3c", "NX", "PX", "300"]),
        "OK"
    );
    drop(ours.acquire().unwrap());
    // One that is no string.
    assert_eq!(server.cli(&["HSET", "both", "a", "1"]), "1");
    assert_eq!(kind(ours.try_acquire()), ErrorKind::Busy);
    assert_eq!(server.cli(&["DEL", "both"]), "1");
    // By force.
    assert_eq!(take(), "OK");
    ours.force_release().unwrap();
    drop(ours.try_acquire().unwrap());
    assert_eq!(keys(server, "both"), "");
}

#[test]
fn a_forked_child_does_not_end_the_lease_of_its_parent() {
    let server = RedisServer::shared();
    let lock = lock_at(&server.place("forked"), short);
    let mut guard = Some(lock.acquire().unwrap());
    let dropped = sys::fork(|| {
        drop(guard.take());
        0
    });
    assert_eq!(dropped.wait(), 0);
    let guard = guard.unwrap();
    thread::sleep(TTL);
    assert_eq!(guard.standing(), Standing::Held);
    let other = lock_from_elsewhere(server, "forked");
    assert_eq!(kind(other.try_acquire()), ErrorKind::Busy);
    guard.release().unwrap();
    drop(other.try_acquire().unwrap());
}

#[test]
fn a_script_that_the_server_has_forgotten_is_sent_again() {
    let server = RedisServer::start();
    let (one, other) = (lock(&server, "n"), lock_from_elsewhere(&server, "n"));
    let guard = one.acquire().unwrap();
    let waiter = must_block(move || other.acquire().unwrap());
    assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
    guard.release().unwrap();
    waiter.wait().release().unwrap();
}

#[test]
fn a_hundred_threads_of_two_processes_worth_of_handles_never_overlap_and_tokens_rise_in_order_of_entry()
 {
    let server = RedisServer::shared();
    let folder = sneck_testkit::Folder::new();
    let entries = std::sync::Mutex::new((0_u64, 0_usize));
    let journal = sneck_testkit::Journal::open(&folder.path().join("journal"));
    thread::scope(|scope| {
        for number in 1..=20 {
            let (lock, entries, journal) = (
                lock_from(number % 10 + 1, server, "crowd"),
                &entries,
                &journal,
            );
            scope.spawn(move || {
                for _ in 0..10 {
                    let guard = lock.acquire().unwrap();
                    let token = guard.token().unwrap();
                    {
                        let mut entries = entries.lock().unwrap();
                        assert!(token > entries.0, "{token} after {}", entries.0);
                        *entries = (token, entries.1 + 1);
                    }
                    journal.visit(guard);
                }
            });
        }
    });
    assert_eq!(journal.overlaps(), "");
    assert_eq!(entries.into_inner().unwrap().1, 200);
    assert_eq!(keys(server, "crowd"), "");
}

#[test]
fn what_is_called_at_a_release_may_ask_for_the_lock_itself() {
    let server = RedisServer::shared();
    let lock = lock(server, "called");
    let guard = lock.acquire().expect("it is free");
    let (sender, told) = mpsc::channel();
    let same = lock.clone();
    guard.on_lost(move |outcome| {
        let tried = same.try_acquire().map(drop);
        sender.send((outcome.clone(), tried)).expect("it listens");
    });
    let releases = thread::spawn(move || guard.release());
    let (outcome, tried) = told.recv_timeout(PATIENCE).expect("it is told");
    assert_eq!(outcome, Outcome::Released);
    // The server has it still.
    assert!(tried.expect_err("it is being released").is_held());
    let released = releases.join().expect("no panic");
    released.expect("it was held");
}
