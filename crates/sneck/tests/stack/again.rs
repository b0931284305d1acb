//! Whoever holds a part and acquires the whole, or the other way round; and what this process knows of what it holds.

use super::*;
use sneck::{Event, Owner, Reentry, Standing, Timeout};
use sneck_testkit::sys;
use sneck_testkit::{block, must_block};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// With a time first: one that waits after all fails rather than never ends.
#[track_caller]
fn must_be_reentrant(lock: &Lock) -> Error {
    let error = lock.acquire_until(Timeout::After(PATIENCE));
    let error = error.expect_err("its owner holds it");
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    error
}

#[test]
fn a_thread_that_holds_one_and_acquires_both_is_refused() {
    for scheme in ["flock", "pidfile", "memory"] {
        let two = Two::of(scheme, Waiting::Best);
        for held in [0, 1] {
            let guard = taken(&two.one(held));
            let error = must_be_reentrant(&two.both());
            assert_eq!(error.place(), Some(two.one(held).place()), "{error}");
            // Without waiting there is nothing to be refused for.
            must_be_busy(&two.both());
            let patient = two.both_with(|b| b.reentry(Reentry::Wait));
            let error = patient.acquire_within(Duration::from_millis(20));
            assert_eq!(error.expect_err("it is held").kind(), ErrorKind::TimedOut);
            // Another thread waits.
            let both = two.both();
            let waiter = must_block(move || both.acquire().map(drop));
            drop(guard);
            waiter.wait().expect("it came free");
        }
    }
}

#[test]
fn it_is_refused_at_once_though_the_other_one_is_held_for_long() {
    let two = Two::of("flock", Waiting::Best);
    let _guard = taken(&two.b());
    let mut holder = two.setup.child();
    holder.tell(&format!("hold it {}", two.names[0]));
    holder.hear("held");
    let error = must_be_reentrant(&two.both());
    assert_eq!(error.place(), Some(two.b().place()), "{error}");
}

#[test]
fn a_thread_that_holds_both_and_acquires_one_is_refused() {
    for scheme in ["flock", "pidfile", "memory"] {
        let two = Two::of(scheme, Waiting::Best);
        let guard = taken(&two.both());
        for lock in [two.a(), two.b(), two.both()] {
            must_be_reentrant(&lock);
            must_be_busy(&lock);
        }
        // One of them in another company.
        let third = lock(two.setup.builder(), &format!("memory:{scheme}-third"));
        let other = Lock::all([&two.b(), &third]).expect("two locks");
        must_be_reentrant(&other);
        let b = two.b();
        let waiter = must_block(move || b.acquire().map(drop));
        guard.release().expect("it is held");
        waiter.wait().expect("it came free");
        must_be_free(&two);
    }
}

#[test]
fn an_owner_that_comes_in_another_thread_meanwhile_is_refused_too() {
    let two = Two::of("flock", Waiting::Best);
    let owned = |b: LockBuilder| b.owner(Owner::Named(7));
    let mut holder = two.setup.child();
    holder.tell(&format!("hold it {}", two.names[0]));
    holder.hear("held");
    let both = two.both_with(owned);
    let waiter = must_block(move || both.acquire_within(PATIENCE).map(drop));
    let guard = taken(&two.one_with(1, owned));
    holder.release();
    let error = waiter.wait().expect_err("its owner holds one of both");
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    drop(guard);
    must_be_free(&two);
}

#[test]
fn an_idempotent_guard_of_one_is_one_more_of_the_whole() {
    let again = |b: LockBuilder| b.reentry(Reentry::Idempotent);
    for scheme in ["flock", "pidfile", "memory"] {
        let two = Two::of(scheme, Waiting::Best);
        let whole = taken(&two.both_with(again));
        let part = taken(&two.one_with(0, again));
        let twice = taken(&two.both_with(again));
        let within = {
            let third = lock(two.setup.builder(), &format!("memory:{scheme}-within"));
            Lock::all([&two.b(), &third]).expect("two locks")
        };
        drop(whole);
        drop(twice);
        // The last guard is the part's, and holds the whole.
        for lock in [two.a(), two.b(), two.both(), within] {
            must_be_busy(&lock);
        }
        assert_eq!(part.standing(), Standing::Held);
        assert!(two.both().is_held_in_this_process());
        part.release().expect("it is held");
        must_be_free(&two);
    }
}

#[test]
fn an_idempotent_whole_does_not_grow_out_of_one_part() {
    let again = |b: LockBuilder| b.reentry(Reentry::Idempotent);
    let two = Two::of("flock", Waiting::Best);
    let guard = taken(&two.one_with(0, again));
    for timeout in [Timeout::Once, Timeout::After(PATIENCE)] {
        let error = two.both_with(again).acquire_until(timeout);
        let error = error.expect_err("one of both is held");
        assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
        assert_eq!(error.place(), Some(two.a().place()));
        assert!(error.to_string().contains("cannot be added"), "{error}");
    }
    drop(guard);
    drop(taken(&two.both_with(again)));
    // Less than what is held is part of it.
    let third = lock(two.setup.builder(), "memory:grown");
    let three = two.setup.builder().reentry(Reentry::Idempotent);
    let three = three.all([&two.a(), &two.b(), &third]).expect("three");
    let all = taken(&three);
    let two_of_them = taken(&two.both_with(again));
    drop(all);
    must_be_busy(&third);
    drop(two_of_them);
    drop(taken(&third));
}

#[test]
fn what_is_held_shared_is_not_entered_as_if_it_were_exclusive() {
    let two = Two::of("flock", Waiting::Best);
    let again = |b: LockBuilder| b.reentry(Reentry::Idempotent);
    let shared = two.one_with(0, |b| b.mode(Mode::Shared));
    let mixed = again(two.setup.builder()).all([&shared, &two.b()]);
    let mixed = mixed.expect("two locks");
    let guard = taken(&mixed);
    assert_eq!(guard.mode(), Mode::Exclusive);
    let error = two.one_with(0, again).try_acquire();
    let error = error.expect_err("it is held shared only");
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    let error = two.both_with(again).try_acquire();
    let error = error.expect_err("one of both is held shared only");
    assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    let reader = two.one_with(0, |b| again(b).mode(Mode::Shared));
    let more = [
        taken(&reader),
        taken(&two.one_with(1, again)),
        taken(&mixed),
    ];
    drop(guard);
    must_be_busy(&two.b());
    drop(more);
    must_be_free(&two);
}

#[test]
fn readers_of_one_part_are_no_re_entry() {
    let two = Two::of("flock", Waiting::Best);
    let reader = |index| two.one_with(index, |b| b.mode(Mode::Shared));
    let both = Lock::all([reader(0), reader(1)]).expect("two locks");
    let guards = [
        taken(&reader(0)),
        taken(&both),
        taken(&both),
        taken(&reader(1)),
    ];
    assert_eq!(guards[1].mode(), Mode::Shared);
    must_be_reentrant(&two.both());
    must_be_busy(&two.a());
    drop(guards);
    must_be_free(&two);
}

#[test]
fn what_is_held_as_part_of_a_whole_is_held_in_this_process() {
    for scheme in ["flock", "symlink", "memory"] {
        let two = Two::of(scheme, Waiting::Best);
        let locks = [two.a(), two.b(), two.both()];
        let held = || locks.each_ref().map(Lock::is_held_in_this_process);
        assert_eq!(held(), [false; 3]);
        let guard = taken(&locks[2]);
        assert_eq!(held(), [true; 3]);
        assert!(locks[2].is_held_by_this_handle() && !locks[0].is_held_by_this_handle());
        let error = must_be_busy(&locks[1]);
        assert_eq!(error.holders()[0].pid, Some(std::process::id()), "{error}");
        drop(guard);
        assert_eq!(held(), [false; 3]);
        let one = taken(&locks[0]);
        assert_eq!(held(), [true, false, false]);
        let other = taken(&locks[1]);
        assert_eq!(held(), [true; 3]);
        drop((one, other));
        assert_eq!(held(), [false; 3]);
    }
}

#[test]
fn those_in_the_line_of_one_part_come_in_when_the_whole_is_released() {
    for scheme in ["flock", "memory"] {
        let two = Two::of(scheme, Waiting::Best);
        let guard = taken(&two.both());
        let entered = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..3)
            .map(|number| {
                let (waits, entered) = (Arc::new(AtomicBool::new(false)), entered.clone());
                let told = waits.clone();
                let observer = move |event: &Event<'_>| {
                    if matches!(event, Event::Waiting { .. }) {
                        told.store(true, Ordering::Relaxed);
                    }
                };
                let lock = two.one_with(1, |b| b.observer(observer));
                let waiter = block::start(move || {
                    let guard = lock.acquire().expect("it comes free");
                    entered.lock().expect("no panic").push(number);
                    drop(guard);
                });
                block::until("it is in the line", || waits.load(Ordering::Relaxed));
                waiter
            })
            .collect();
        drop(guard);
        waiters.into_iter().for_each(block::Blocked::wait);
        assert_eq!(*entered.lock().expect("no panic"), [0, 1, 2], "{scheme}");
    }
}

#[test]
fn a_part_that_is_lost_is_lost_for_the_whole_and_keeps_nobody_waiting() {
    for scheme in sys::LOST_WHEN_REMOVED {
        a_part_is_lost(scheme);
    }
}

fn a_part_is_lost(scheme: &str) {
    let two = Two::of(scheme, Waiting::Best);
    let guard = taken(&two.both());
    let (a, b) = (two.a(), two.b());
    let waits_for_a = must_block(move || a.acquire_within(PATIENCE).map(drop));
    let waits_for_b = must_block(move || b.acquire_within(PATIENCE).map(drop));
    sneck_testkit::claims::remove(scheme, &two.path("b")).expect("our own folder");
    waits_for_b.wait().expect("what was held there is gone");
    // It is still held, whatever became of the other one.
    waits_for_a.still();
    assert!(two.a().is_held_in_this_process());
    assert!(!two.b().is_held_in_this_process());
    let Standing::Lost(why) = guard.standing() else {
        panic!("one of both is gone");
    };
    assert!(why.contains(&two.b().place().to_string()), "{why}");
    let error = guard.release().expect_err("one of both is gone");
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    waits_for_a.wait().expect("all that was there is released");
    must_be_free(&two);
}
