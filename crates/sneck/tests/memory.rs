//! What `memory` does that files do not: names, locks without a name, and waiters who come through another line than the holder.
//!
//! Not for: forks (`forks.rs`).

use sneck::{
    ErrorKind, Event, Guard, Lock, LockBuilder, Mode, Moment, Reentry, Registry, Sighting, Source,
    Standing, Waiting,
};
use sneck_testkit::child::course;
use sneck_testkit::{Counts, Folder, Journal, PATIENCE, Through, must_block};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

fn named(name: &str) -> Lock {
    change(name, |builder| builder)
}

fn change(name: &str, change: impl FnOnce(LockBuilder) -> LockBuilder) -> Lock {
    let place = Registry::local().place(format!("memory:{name}"));
    let lock = change(Lock::builder()).at(&place.expect("a place"));
    lock.expect("a lock")
}

#[track_caller]
fn must_be_busy(lock: &Lock) {
    let error = lock.try_acquire().expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(error.holders()[0].pid, Some(std::process::id()), "{error}");
}

#[test]
fn a_name_is_one_lock_and_another_name_another() {
    let names = [
        "a", "a ", "a/b", "a\\x2fb", "a\\/b", "#1", "1", "\u{e9}", "e\u{301}",
    ];
    let guards = names.map(|name| named(name).try_acquire().expect("it is free"));
    for name in names {
        must_be_busy(&named(name));
    }
    drop(guards);
    drop(names.map(|name| named(name).try_acquire().expect("it is free")));
}

#[test]
fn without_a_name_each_lock_is_its_own_and_clones_share_it() {
    let (first, second) = (named(""), Lock::in_memory());
    let _guard = first.try_acquire().expect("it is free");
    must_be_busy(&first.clone());
    assert!(first.clone().is_held_in_this_process());
    let other = second.try_acquire().expect("it is another lock");
    must_be_busy(&second);
    let third = named("").try_acquire().expect("it is another lock");
    drop((other, third));
    must_be_busy(&first);
}

#[test]
fn the_holder_is_this_process_with_mode_and_time() {
    let before = SystemTime::now();
    let lock = change("holder", |b| b.mode(Mode::Shared).reentry(Reentry::Wait));
    assert_eq!(lock.holder().expect("one can look"), Sighting::Free);
    let _guards = [lock.acquire(), lock.acquire()].map(|g| g.expect("readers share"));
    let seen = lock.holder().expect("one can look");
    assert_eq!(seen.holders().len(), 2, "{seen:?}");
    for holder in seen.holders() {
        assert_eq!(holder.source, Source::Process);
        assert_eq!(holder.pid, Some(std::process::id()));
        assert_eq!(holder.mode, Some(Mode::Shared));
        assert!(holder.since.is_some_and(|since| since >= before));
    }
}

/// Another way to the lock of this name.
fn through(name: &str, change: impl FnOnce(LockBuilder) -> LockBuilder) -> (Lock, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let (mut registry, counted) = (Registry::empty(), counts.clone());
    registry.register("memory", move |place| {
        let inner = Registry::local().protocol(place)?;
        Ok(Arc::new(
            Through::new(inner, &counted).in_a_line_of_its_own(),
        ))
    });
    let place = registry.place(format!("memory:{name}")).expect("a place");
    let lock = change(Lock::builder().registry(&registry)).at(&place);
    (lock.expect("a lock"), counts)
}

#[test]
fn exclusion_rests_on_the_lock_and_not_on_the_line() {
    let (other, _) = through("lines", |b| b);
    let guard = named("lines").try_acquire().expect("it is free");
    must_be_busy(&other);
    drop(guard);
    let guard = other.try_acquire().expect("it is free");
    must_be_busy(&named("lines"));
    assert_eq!(guard.standing(), Standing::Held);
    drop(guard);
    let shared = |b: LockBuilder| b.mode(Mode::Shared);
    let (other, _) = through("lines", shared);
    let readers = (
        other.try_acquire().expect("it is free"),
        change("lines", shared)
            .try_acquire()
            .expect("readers share"),
    );
    must_be_busy(&named("lines"));
    must_be_busy(&through("lines", |b| b).0);
    drop(readers.0);
    must_be_busy(&named("lines"));
    // Here nobody stands in its own line.
    must_be_busy(&through("lines", |b| b).0);
    drop(readers.1);
    drop(named("lines").try_acquire().expect("it is free"));
}

#[test]
fn threads_in_different_lines_exclude_each_other() {
    let folder = Folder::new();
    for waiting in [Waiting::Best, Waiting::Events, Waiting::Polling] {
        let path = folder.join(format!("{waiting:?}"));
        let name = path.display().to_string();
        let direct = change(&name, |b| b.waiting(waiting));
        let (other, _) = through(&name, |b| b.waiting(waiting));
        thread::scope(|scope| {
            scope.spawn(|| course(&direct, 50, 2, &path));
            scope.spawn(|| course(&other, 50, 2, &path));
        });
        assert_eq!(Journal::open(&path).check(), 200);
    }
}

#[test]
fn whoever_waits_in_another_line_is_woken_and_does_not_poll() {
    for waiting in [Waiting::Best, Waiting::Events] {
        let polled = Arc::new(AtomicUsize::new(0));
        let told = polled.clone();
        let observer = move |event: &Event<'_>| {
            told.fetch_add(
                usize::from(matches!(event, Event::Polling { .. })),
                Ordering::Relaxed,
            );
        };
        let (other, tries) = through("bell", |b| b.waiting(waiting).observer(observer));
        let guard = named("bell").try_acquire().expect("it is free");
        let begun = Moment::now();
        let waiter = must_block(move || other.acquire().map(Guard::release));
        // Longer than any poller sleeps.
        while begun.elapsed() < Duration::from_millis(300) {
            waiter.still();
        }
        let held_for = begun.elapsed();
        let end = Moment::now();
        guard.release().expect("it is held");
        let released = waiter.wait().expect("it came free");
        released.expect("it was held");
        // The net below the bell is cast after 100 ms and then after a second.
        assert!(end.elapsed() < held_for, "not woken, it came by itself");
        assert_eq!(polled.load(Ordering::Relaxed), 0);
        // One that polls had tried 10 times by then.
        let tries = tries.tries();
        assert!(tries <= 6, "{tries} tries");
    }
}

#[test]
fn a_wait_in_another_line_ends_at_its_time() {
    for waiting in [Waiting::Best, Waiting::Events, Waiting::Polling] {
        let (other, _) = through("deadline", |b| b.waiting(waiting));
        let _guard = named("deadline").try_acquire().expect("it is free");
        let (start, wait) = (Moment::now(), Duration::from_millis(40));
        let error = other.acquire_within(wait).expect_err("it is held");
        assert!(start.elapsed() >= wait, "gave up too early");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert_eq!(error.holders()[0].pid, Some(std::process::id()), "{error}");
    }
    assert!(named("deadline").acquire_within(PATIENCE).is_ok());
}
