//! What the lock is in etcd: keys, order, tokens, who excludes whom, what looking shows and force does. One member, nothing fails.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests sleep, and write files")]

mod stage;

use sneck::lease::Outcome;
use sneck::{Cleared, ErrorKind, Mode, Requirement, Sighting, Stale, Standing, Timeout, Waiting};
use sneck_testkit::Setup;
use sneck_testkit::block::{self, must_block, until};
use sneck_testkit::child::{Session, say};
use sneck_testkit::etcd::EtcdServer;
use stage::{Stock, elsewhere, lock, lock_with, registry, shared, token};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(registry, visits);

/// `visits FILE ROUNDS`: acquire and write the token down while it is held.
fn visits(session: &mut Session, words: &[&str]) -> bool {
    let ["visits", path, rounds] = words else {
        return false;
    };
    visit(
        &session.setup.place,
        Path::new(path),
        rounds.parse().expect("a number"),
    );
    say("done");
    true
}

fn visit(place: &str, path: &Path, rounds: usize) {
    for _ in 0..rounds {
        let guard = lock(place).acquire().expect("it comes free");
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .expect("a file");
        writeln!(file, "{}", token(&guard)).expect("a file");
        guard.release().expect("it is held");
    }
}

fn server() -> &'static EtcdServer {
    EtcdServer::shared()
}

fn queue_is(name: &str, count: usize) {
    until("the queue is as long", || {
        server().keys(&format!("{name}/")).len() == count
    });
}

#[test]
fn etcdctl_lock_waits_for_us_and_we_wait_for_it() {
    let place = server().place("both");
    let stock = Stock::start(server(), "both");
    queue_is("both", 1);
    let error = lock(&place).try_acquire().expect_err("etcdctl holds it");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    let before = error.holders()[0].token.expect("its revision");
    let waiter = must_block({
        let place = place.clone();
        move || lock(&place).acquire()
    });
    queue_is("both", 2);
    waiter.still();
    stock.leave();
    let guard = waiter.wait().expect("it came free");
    assert!(token(&guard) > before);

    let stock = Stock::start(server(), "both");
    queue_is("both", 2);
    let Sighting::Held { holders, .. } = lock(&place).holder().expect("one can look") else {
        panic!("we hold it");
    };
    assert_eq!(holders[0].pid, Some(std::process::id()), "not etcdctl");
    assert_eq!(lock(&place).waiters().expect("one can look").len(), 1);
    guard.release().expect("it is held");
    until("etcdctl holds it", || {
        let seen = lock(&place).holder().expect("one can look");
        seen.holders().first().is_some_and(|h| h.pid.is_none())
    });
    stock.leave();
    queue_is("both", 0);
}

#[test]
fn etcdctl_lock_waits_for_readers_and_readers_wait_for_it() {
    let place = server().place("mixed");
    let readers = [shared(&place), shared(&place)].map(|l| l.acquire().expect("it is free"));
    let stock = Stock::start(server(), "mixed");
    queue_is("mixed", 3);
    // It stands before a third reader, which would otherwise keep it out for ever.
    let late = must_block({
        let place = place.clone();
        move || shared(&place).acquire()
    });
    queue_is("mixed", 4);
    drop(readers);
    queue_is("mixed", 2);
    late.still();
    let holder = lock(&place).holder().expect("one can look");
    assert_eq!(holder.holders()[0].mode, Some(Mode::Exclusive));
    stock.leave();
    drop(late.wait().expect("it came free"));
    queue_is("mixed", 0);
}

#[test]
fn the_key_is_that_of_etcdctl_and_says_who_we_are() {
    let place = server().place("team/who");
    let labelled = lock_with(&place, |b| b.label("nightly backup"));
    let guard = labelled.acquire().expect("it is free");
    let keys = server().keys("team/who/");
    let lease = keys[0].strip_prefix("team/who/").expect("below the name");
    let known = server().etcdctl(&["lease", "timetolive", lease, "--keys"]);
    assert!(
        known.contains(&keys[0]),
        "the key is on that lease: {known}"
    );
    let Sighting::Held { holders, .. } = lock(&place).holder().expect("one can look") else {
        panic!("it is held");
    };
    let holder = &holders[0];
    assert_eq!(holder.pid, Some(std::process::id()));
    assert_eq!(holder.label.as_deref(), Some("nightly backup"));
    assert_eq!(holder.token, guard.token());
    assert!(holder.host.is_some() && holder.user.is_some() && holder.since.is_some());
    assert!(holder.command.as_ref().is_some_and(|c| c.contains("lock")));

    // One who had to wait writes down since when it holds as soon as it has renewed its lease.
    let short = elsewhere(&format!("{place}?ttl=2s&lock-delay=1s"));
    let waiter = block::start(move || lock(&short).acquire());
    queue_is("team/who", 2);
    let waiting = lock(&place).waiters().expect("one can look");
    assert_eq!((waiting.len(), waiting[0].since), (1, None));
    guard.release().expect("it is held");
    let guard = waiter.wait().expect("it came free");
    until("its time is written", || {
        let seen = lock(&place).holder().expect("one can look");
        seen.holders()[0].since.is_some()
    });
    guard.release().expect("it is held");
}

#[test]
fn tokens_rise_in_the_order_of_entry_over_threads_and_processes() {
    let setup = Setup::new(
        registry,
        |_| server().place("order"),
        Waiting::Best,
        CHILD_ENTRY,
    );
    let path = setup.folder.join("tokens");
    let order = format!("visits {} 10", path.display());
    let mut children = [setup.child(), setup.child()];
    children.iter_mut().for_each(|child| child.tell(&order));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| visit(&setup.place, &path, 5));
        }
    });
    for child in &mut children {
        child.hear("done");
    }
    let text = std::fs::read_to_string(&path).expect("the file");
    let tokens: Vec<u64> = text.lines().map(|l| l.parse().expect("a number")).collect();
    assert_eq!(tokens.len(), 40);
    assert!(tokens.windows(2).all(|w| w[0] < w[1]), "{tokens:?}");
    queue_is("order", 0);
}

#[test]
fn whoever_gives_up_or_only_tries_leaves_neither_key_nor_lease() {
    // A member of its own: other tests have leases too.
    let server = EtcdServer::start();
    let place = server.place("clean");
    let guard = lock(&place).acquire().expect("it is free");
    let only = server.keys("");
    for timeout in [Timeout::Once, Timeout::After(stage::MOMENT)] {
        let other = lock(&elsewhere(&place));
        let refused = thread::spawn(move || other.acquire_until(timeout).map(drop));
        let error = refused.join().expect("no panic").expect_err("it is held");
        assert!(error.is_held(), "{error}");
        assert_eq!(error.holders()[0].pid, Some(std::process::id()));
        assert_eq!((server.keys(""), server.leases()), (only.clone(), 1));
    }
    guard.release().expect("it is held");
    assert_eq!((server.keys("").len(), server.leases()), (0, 0));
}

#[test]
fn a_lock_whose_name_goes_on_after_a_slash_is_another_lock() {
    let outer = server().place("tree");
    let inner = lock(&server().place("tree/branch"));
    let held = inner.acquire().expect("it is free");
    // A key that is no claim at all, as programs keep their settings.
    let _ = server().etcdctl(&["put", "tree/face", "a setting"]);
    for make in [lock, shared] {
        let guard = make(&outer).try_acquire().expect("it is another lock");
        assert!(inner.try_acquire().expect_err("it is held").is_held());
        assert!(lock(&outer).holder().expect("one can look").holders().len() == 1);
        guard.release().expect("it is held");
    }
    assert_eq!(lock(&outer).holder().expect("one can look"), Sighting::Free);
    held.release().expect("it is held");
}

#[test]
fn what_is_forced_away_is_lost_by_its_holder_and_the_next_token_is_higher() {
    let place = server().place("forced?ttl=2s&lock-delay=1s");
    let robbed = lock(&place).acquire().expect("it is free");
    let cleared = lock(&place).force_release().expect("one may");
    assert!(matches!(cleared, Cleared::Removed { .. }), "{cleared:?}");
    let next = lock(&format!("{place}&tls=false"));
    let next = thread::spawn(move || next.acquire_within(sneck_testkit::PATIENCE));
    // Another process would have it at once; in this one the line lets the next pass when the loss is known.
    let outcome = robbed.until_lost(sneck_testkit::PATIENCE);
    assert!(matches!(outcome, Some(Outcome::Lost(_))), "{outcome:?}");
    let next = next.join().expect("no panic").expect("it came free");
    assert!(token(&next) > token(&robbed));
    let error = robbed.release().expect_err("it was lost");
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    assert_eq!(next.standing(), Standing::Held);
    // Neither is what came after it taken for what was seen.
    let error = lock_with(&place, |b| b.stale(Stale::Dead)).break_stale();
    assert!(matches!(error, Ok(Cleared::Left { .. })), "{error:?}");
    next.release()
        .expect("the one that was lost touched nobody");
}

#[test]
fn readers_are_forced_away_together() {
    let place = server().place("readers?ttl=2s&lock-delay=1s");
    let readers = [shared(&place), shared(&place)].map(|l| l.acquire().expect("it is free"));
    let seen = lock(&place).holder().expect("one can look");
    assert_eq!(seen.holders().len(), 2);
    let cleared = lock(&place).force_release().expect("one may");
    assert!(matches!(cleared, Cleared::Removed { .. }), "{cleared:?}");
    queue_is("readers", 0);
    for reader in &readers {
        let outcome = reader.until_lost(sneck_testkit::PATIENCE);
        assert!(matches!(outcome, Some(Outcome::Lost(_))), "{outcome:?}");
    }
}

#[test]
fn a_key_that_somebody_deletes_is_noticed_and_a_waiter_goes_in_again() {
    let place = server().place("deleted?ttl=2s&lock-delay=1s");
    let guard = lock(&place).acquire().expect("it is free");
    let other = elsewhere(&place);
    let waiter = block::start(move || lock(&other).acquire());
    queue_is("deleted", 2);
    let keys = server().keys("deleted/");
    let _ = server().etcdctl(&["del", &keys[1]]);
    // It stands in the queue again, behind the same holder.
    until("it is back", || {
        let now = server().keys("deleted/");
        now.len() == 2 && now[1] != keys[1]
    });
    let _ = server().etcdctl(&["del", &keys[0]]);
    let outcome = guard.until_lost(sneck_testkit::PATIENCE);
    assert!(matches!(outcome, Some(Outcome::Lost(why)) if why.contains("removed")));
    let next = waiter.wait().expect("it came free");
    assert!(token(&next) > token(&guard));
}

#[test]
fn whoever_is_woken_holds_only_what_is_there() {
    let place = server().place("woken");
    let guard = lock(&place).acquire().expect("it is free");
    let other = elsewhere(&place);
    let waiter = block::start(move || lock(&other).acquire());
    queue_is("woken", 2);
    // Its next renewal, which would tell, is seconds away.
    let _ = server().etcdctl(&["del", &server().keys("woken/")[1]]);
    guard.release().expect("it is held");
    let next = waiter.wait().expect("it went in again");
    let seen = lock(&place).holder().expect("one can look");
    let tokens: Vec<_> = seen.holders().iter().map(|h| h.token).collect();
    assert_eq!(tokens, [next.token()]);
    next.release().expect("it is held");
}

#[test]
fn the_place_says_how_long_leases_are_unless_the_program_does() {
    let place = server().place("terms?ttl=3s&lock-delay=500ms");
    let granted = |lock: &sneck::Lock| {
        let guard = lock.acquire().expect("it is free");
        let left = guard.expires().expect("a lease").until();
        let key = server().keys("terms/").remove(0);
        let lease = key.trim_start_matches("terms/").to_owned();
        let text = server().etcdctl(&["lease", "timetolive", &lease]);
        let granted = text
            .split("TTL(")
            .nth(1)
            .and_then(|t| t.split('s').next().map(str::to_owned));
        (left, granted.expect("a number"))
    };
    let (left, seconds) = granted(&lock(&place));
    assert!(left <= Duration::from_secs(3));
    assert_eq!(seconds, "4", "rounded up to whole seconds");
    let (left, seconds) = granted(&lock_with(&place, |b| b.ttl(Duration::from_secs(9))));
    assert!(left > Duration::from_secs(3));
    assert_eq!(seconds, "10");
    let short = registry()
        .place(server().place("terms"))
        .expect("it can be read");
    let builder = sneck::Lock::builder().registry(&registry());
    let error = builder
        .ttl(stage::MOMENT)
        .lock_delay(Duration::ZERO)
        .at(&short);
    assert_eq!(error.expect_err("too short").kind(), ErrorKind::Unsupported);
}

#[test]
fn a_prefix_stands_before_the_name_as_it_is() {
    let place = server().place("x?prefix=ns1/");
    let guard = lock(&place).acquire().expect("it is free");
    assert_eq!(server().keys("ns1/x/").len(), 1);
    assert!(lock(&server().place("ns1/x")).try_acquire().is_err());
    assert!(lock(&server().place("x")).try_acquire().is_ok());
    drop(guard);
}

#[test]
fn it_promises_what_a_program_may_require() {
    let registry = registry();
    let place = registry
        .place("etcd://nowhere.invalid/x")
        .expect("it can be read");
    let all = sneck::Lock::builder()
        .registry(&registry)
        .require(Requirement::all());
    all.at(&place).expect("etcd can do all of it");
}
