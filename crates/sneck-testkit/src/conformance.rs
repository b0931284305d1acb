//! What every protocol must keep, one function each, named as the sentence that must be true.
//!
//! They know nothing of any one protocol: what differs is asked of [`sneck::Lock::capabilities`].

use crate::block::{self, must_block};
use crate::child::course;
use crate::{Journal, PATIENCE, Setup};
use sneck::{
    Clean, ErrorKind, Event, Guard, Lock, Mode, Moment, Reentry, Sighting, Source, Standing,
    Timeout,
    protocol::{Crash, Modes, Reach},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Makes a test of each function; used by [`crate::conformance`].
#[macro_export]
#[doc(hidden)]
macro_rules! each_conformance_function {
    ($waiting:ident) => {
        $crate::each_conformance_function! { $waiting:
            two_handles_of_one_thread_exclude_each_other
            threads_exclude_each_other
            processes_exclude_each_other
            no_time_to_wait_means_one_try_and_the_holder_is_named
            a_wait_ends_not_before_its_time_and_the_holder_is_named
            waiting_for_ever_ends_with_the_release
            a_wait_with_a_time_ends_with_the_release_too
            another_thread_may_release
            what_was_released_twice_was_released_once
            a_forked_child_cannot_release_what_its_parent_holds
            a_forked_child_that_lives_on_keeps_nothing
            a_forked_child_acquires_whatever_other_threads_were_doing
            readers_share_and_exclude_writers
            readers_of_other_processes_share_and_exclude_writers
            whoever_gives_up_leaves_nothing_behind
            whoever_gives_up_in_the_line_lets_the_next_one_pass
            a_grant_that_comes_late_is_given_back
            a_killed_waiter_leaves_nothing_behind
            a_killed_holder_frees_the_lock_and_a_waiter_gets_it
            processes_killed_at_any_moment_never_let_two_in
            a_thread_that_acquires_what_it_holds_is_refused
            a_thread_may_wait_for_a_guard_that_it_gave_away
            idempotent_guards_are_one_holding
            the_observer_is_told_of_waiting_and_of_acquiring
            first_come_first_served_in_one_process
            readers_enter_together_and_not_past_a_waiting_writer
            looking_changes_nothing
        }
    };
    ($waiting:ident: $($name:ident)*) => {$(
        #[test]
        fn $name() {
            $crate::conformance::$name(&super::conformance_setup(::sneck::Waiting::$waiting));
        }
    )*};
}

#[track_caller]
fn taken(lock: &Lock) -> Guard {
    lock.try_acquire().expect("the lock is free")
}

#[track_caller]
fn must_be_busy(lock: &Lock) {
    let error = lock.try_acquire().expect_err("somebody holds the lock");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
}

/// Whoever comes next gets it, in this process and in another one. Soon, not at once: a server may need a moment to see that a process has died.
#[track_caller]
fn must_come_free(setup: &Setup) {
    let guard = setup.lock().acquire_within(PATIENCE);
    guard
        .expect("the lock comes free")
        .release()
        .expect("it is held");
    let mut child = setup.child();
    child.acquire();
    child.release();
}

/// Whether the error names this process as the holder. Servers may know their clients by other names.
#[track_caller]
fn names(error: &sneck::Error, pid: u32) {
    let holders = error.holders();
    let named = holders.iter().any(|h| h.pid == Some(pid));
    let server = holders.iter().any(|h| h.source == Source::Server);
    assert!(named || server, "process {pid} holds it, not: {error}");
}

/// Whether this is a protocol of this machine, which knows its holders' process numbers.
fn is_file(setup: &Setup) -> bool {
    setup.lock().capabilities().reach == Reach::Machine
}

type Shared<T> = Arc<Mutex<T>>;

fn locked<T>(shared: &Shared<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Acquire in another thread, and return once it waits.
#[track_caller]
fn begin_to_wait<T: Send + 'static>(
    setup: &Setup,
    mode: Mode,
    timeout: Timeout,
    then: impl FnOnce(sneck::Result<Guard>) -> T + Send + 'static,
) -> block::Blocked<T> {
    let waits: Shared<bool> = Shared::default();
    let told = waits.clone();
    let observer = move |event: &Event<'_>| {
        if matches!(event, Event::Waiting { .. }) {
            *locked(&told) = true;
        }
    };
    let lock = setup.lock_with(|b| b.mode(mode).observer(observer));
    let waiter = block::start(move || then(lock.acquire_until(timeout)));
    block::until("the other thread waits", || *locked(&waits));
    waiter
}

/// Exclusion between handles of one thread.
pub fn two_handles_of_one_thread_exclude_each_other(setup: &Setup) {
    let (first, second) = (setup.lock(), setup.lock());
    let guard = taken(&first);
    assert_eq!(guard.standing(), Standing::Held);
    must_be_busy(&second);
    must_be_busy(&first);
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().expect("it is held");
    let guard = taken(&second);
    must_be_busy(&first);
    drop(guard);
    must_come_free(setup);
}

/// Exclusion between threads, half of them with handles of their own.
pub fn threads_exclude_each_other(setup: &Setup) {
    let path = setup.folder.join("journal");
    thread::scope(|scope| {
        let common = setup.lock();
        for _ in 0..2 {
            let common = common.clone();
            scope.spawn(|| course(&setup.lock(), 20, 1, &path));
            scope.spawn(|| course(&{ common }, 20, 1, &path));
        }
    });
    assert_eq!(Journal::open(&path).check(), 80);
}

/// Exclusion between processes, of two threads each, and this one.
pub fn processes_exclude_each_other(setup: &Setup) {
    let path = setup.folder.join("journal");
    let mut children = [setup.child(), setup.child(), setup.child()];
    for child in &mut children {
        child.tell(&format!("course 10 2 {}", path.display()));
    }
    course(&setup.lock(), 10, 2, &path);
    for child in &mut children {
        child.hear("done");
    }
    assert_eq!(Journal::open(&path).check(), 80);
}

/// Timeout 0.
pub fn no_time_to_wait_means_one_try_and_the_holder_is_named(setup: &Setup) {
    let mut child = setup.child();
    child.acquire();
    for timeout in [Timeout::Once, Timeout::from(Duration::ZERO)] {
        let error = setup.lock().acquire_until(timeout).expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        names(&error, child.pid());
        let place = setup.lock().place().to_string();
        assert!(error.to_string().contains(&place), "{error}");
    }
    child.release();
    let own = taken(&setup.lock());
    let said = child.must_be_refused();
    let pid = std::process::id();
    let named = said.contains(&format!("[{pid}]"));
    // A server may not know the process number.
    assert!(named || !is_file(setup), "{said}");
    drop(own);
    let _own = taken(&setup.lock());
    let error = setup.lock().try_acquire().expect_err("it is held");
    names(&error, pid);
}

/// A finite timeout.
pub fn a_wait_ends_not_before_its_time_and_the_holder_is_named(setup: &Setup) {
    let mut child = setup.child();
    child.acquire();
    for wait in [1, 20, 150].map(Duration::from_millis) {
        let start = Moment::now();
        let error = setup.lock().acquire_within(wait).expect_err("it is held");
        assert!(start.elapsed() >= wait, "gave up too early");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        names(&error, child.pid());
    }
    // The same in line behind a thread of this process.
    child.release();
    let guard = taken(&setup.lock());
    let (start, wait) = (Moment::now(), Duration::from_millis(50));
    let waiter = begin_to_wait(setup, Mode::Exclusive, Timeout::After(wait), |r| r);
    let error = waiter.wait().expect_err("it is held");
    assert!(start.elapsed() >= wait, "gave up too early");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    names(&error, std::process::id());
    drop(guard);
    must_come_free(setup);
}

/// No timeout, within a process and between processes.
pub fn waiting_for_ever_ends_with_the_release(setup: &Setup) {
    let guard = taken(&setup.lock());
    let lock = setup.lock();
    let waiter = must_block(move || lock.acquire().map(Guard::release));
    drop(guard);
    waiter
        .wait()
        .expect("it was acquired")
        .expect("it was held");

    let mut child = setup.child();
    child.acquire();
    let lock = setup.lock();
    let waiter = must_block(move || lock.acquire().map(Guard::release));
    child.release();
    waiter
        .wait()
        .expect("it was acquired")
        .expect("it was held");

    let guard = taken(&setup.lock());
    child.begin_to_wait();
    thread::sleep(Duration::from_millis(30));
    let last = child.said().last().cloned().unwrap_or_default();
    assert!(last.starts_with("waiting"), "{last}");
    drop(guard);
    child.hear("held");
    must_be_busy(&setup.lock());
    child.release();
}

/// A wait that has a deadline ends when the lock comes free, like any other.
pub fn a_wait_with_a_time_ends_with_the_release_too(setup: &Setup) {
    let mut child = setup.child();
    child.acquire();
    let lock = setup.lock();
    let waiter = must_block(move || lock.acquire_within(PATIENCE));
    child.release();
    let guard = waiter.wait().expect("the time was not over");
    // And the other way round, with a far deadline on the other side.
    child.tell("acquire it 600000");
    child.hear("waiting");
    guard.release().expect("it is held");
    child.hear("held");
    child.release();
}

/// Any thread may release.
pub fn another_thread_may_release(setup: &Setup) {
    let guard = taken(&setup.lock());
    must_be_busy(&setup.lock());
    let released = thread::spawn(move || guard.release()).join();
    released.expect("no panic").expect("it is held");
    let guard = taken(&setup.lock());
    thread::spawn(move || drop(guard)).join().expect("no panic");
    must_come_free(setup);
}

/// A holding that has ended does not end the next one.
pub fn what_was_released_twice_was_released_once(setup: &Setup) {
    let lock = setup.lock_with(|b| b.reentry(Reentry::Idempotent));
    let (first, second) = (taken(&lock), taken(&lock));
    let mut child = setup.child();
    first.release().expect("it is held");
    child.must_be_refused();
    assert_eq!(second.standing(), Standing::Held);
    drop(second);
    child.acquire();
    // The handle goes, and with it all that was ever released by it.
    drop(lock);
    must_be_busy(&setup.lock());
    assert_eq!(child.ask("standing it"), "Held");
    child.release();
}

/// Release, and drop, of the copy that a child made by fork(2) has.
pub fn a_forked_child_cannot_release_what_its_parent_holds(setup: &Setup) {
    let mut holder = setup.child();
    holder.acquire();
    holder.tell("fork-and-release it");
    assert_eq!(holder.hear("forked"), "0 0");
    must_be_busy(&setup.lock());
    setup.child().must_be_refused();
    assert_eq!(holder.ask("standing it"), "Held");
    holder.release();
    must_come_free(setup);
}

/// A forked child has no part in the lock, however long it lives.
pub fn a_forked_child_that_lives_on_keeps_nothing(setup: &Setup) {
    let mut holder = setup.child();
    holder.acquire();
    holder.tell("fork-and-stay");
    holder.hear("forked");
    must_be_busy(&setup.lock());
    holder.release();
    must_come_free(setup);
    // Again, with a holder that dies while its child lives.
    holder.acquire();
    holder.tell("fork-and-stay");
    let orphan = holder.hear("forked");
    holder.kill();
    let orphan = std::path::Path::new("/proc").join(orphan);
    assert!(orphan.exists(), "the forked child lives");
    must_come_free(setup);
    assert!(orphan.exists(), "the forked child still lives");
}

/// The mutexes of the library may be held by threads that the child does not have.
pub fn a_forked_child_acquires_whatever_other_threads_were_doing(setup: &Setup) {
    let mut child = setup.child();
    child.tell("fork-and-acquire 40");
    assert_eq!(child.hear("forked"), "0");
    must_come_free(setup);
}

fn has_readers(setup: &Setup) -> bool {
    let lock = setup.lock_with(|b| b.mode(Mode::Shared));
    if lock.capabilities().modes == Modes::SharedToo {
        return true;
    }
    let error = lock.try_acquire().expect_err("there is no shared mode");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    false
}

/// Shared and exclusive, in one process.
pub fn readers_share_and_exclude_writers(setup: &Setup) {
    if !has_readers(setup) {
        return;
    }
    let reader = setup.lock_with(|b| b.mode(Mode::Shared));
    let writer = setup.lock();
    let (first, second) = (taken(&reader), taken(&reader));
    assert_eq!(first.mode(), Mode::Shared);
    must_be_busy(&writer);
    drop(first);
    must_be_busy(&writer);
    drop(second);
    let guard = taken(&writer);
    must_be_busy(&reader);
    drop(guard);
    drop(taken(&reader));
    must_come_free(setup);
}

/// Shared and exclusive, across processes.
pub fn readers_of_other_processes_share_and_exclude_writers(setup: &Setup) {
    if !has_readers(setup) {
        return;
    }
    let reader = setup.lock_with(|b| b.mode(Mode::Shared));
    let mut child = setup.child();
    child.tell("acquire it forever shared");
    child.hear("held");
    let guard = taken(&reader);
    must_be_busy(&setup.lock());
    child.must_be_refused();
    child.release();
    child.must_be_refused();
    drop(guard);
    child.acquire();
    must_be_busy(&reader);
    child.release();

    let path = setup.folder.join("journal");
    let mut readers = setup.child();
    readers.tell(&format!("course 20 2 {} shared", path.display()));
    child.tell(&format!("course 20 1 {}", path.display()));
    child.hear("done");
    readers.hear("done");
    assert_eq!(Journal::open(&path).check(), 60);
}

/// Nothing of a wait in vain stays: no place in a queue, no descriptor, no thread.
pub fn whoever_gives_up_leaves_nothing_behind(setup: &Setup) {
    let guard = taken(&setup.lock());
    let mut child = setup.child();
    let give_up = |child: &mut crate::Child| {
        child.tell("acquire it 10");
        let refusal = child.hear("refused");
        assert!(refusal.starts_with("TimedOut"), "{refusal}");
    };
    // What the first wait sets up for good does not count.
    give_up(&mut child);
    let before = child.ask("count");
    for _ in 0..5 {
        give_up(&mut child);
        child.must_be_refused();
    }
    assert_eq!(child.ask("count"), before, "descriptors and threads");
    guard.release().expect("it is held");
    // At once: whoever gave up has no claim in the way.
    drop(taken(&setup.lock()));
    drop(taken(&setup.lock()));
    must_come_free(setup);
}

/// The line inside the process closes up.
pub fn whoever_gives_up_in_the_line_lets_the_next_one_pass(setup: &Setup) {
    let guard = taken(&setup.lock());
    let short = Timeout::After(Duration::from_millis(60));
    let first = begin_to_wait(setup, Mode::Exclusive, short, |r| r.map(drop));
    let second = begin_to_wait(setup, Mode::Exclusive, Timeout::Forever, |r| r.map(drop));
    let error = first.wait().expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    second.still();
    drop(guard);
    second.wait().expect("it came free");
    drop(taken(&setup.lock()));
}

/// A wait that ends in the very moment of the grant holds the lock or does not: never neither.
pub fn a_grant_that_comes_late_is_given_back(setup: &Setup) {
    let mut child = setup.child();
    let path = setup.folder.join("journal");
    child.tell(&format!("take-turns {}", path.display()));
    child.hear("turn");
    let (lock, journal) = (setup.lock(), Journal::open(&path));
    let mut held = 0;
    for round in 0..150_u64 {
        match lock.acquire_within(Duration::from_micros(1 + round * 37 % 1500)) {
            Ok(guard) => {
                journal.visit(guard);
                held += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        }
    }
    child.kill();
    let stays = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stays.lines().count() >= held, "the journal has it all");
    assert_eq!(journal.overlaps(), "");
    must_come_free(setup);
}

/// `kill -9` in the middle of a wait.
pub fn a_killed_waiter_leaves_nothing_behind(setup: &Setup) {
    let guard = taken(&setup.lock());
    let mut waiters = [setup.child(), setup.child()];
    waiters.iter_mut().for_each(|w| w.begin_to_wait());
    // So that they sleep by now, most likely.
    thread::sleep(Duration::from_millis(20));
    waiters.iter_mut().for_each(crate::Child::kill);
    assert_eq!(guard.standing(), Standing::Held);
    setup.child().must_be_refused();
    guard.release().expect("it is held");
    must_come_free(setup);
}

/// `kill -9` of the holder.
pub fn a_killed_holder_frees_the_lock_and_a_waiter_gets_it(setup: &Setup) {
    let crash = setup.lock().capabilities().crash;
    let (mut holder, mut waiter) = (setup.child(), setup.child());
    holder.acquire();
    waiter.begin_to_wait();
    holder.kill();
    let said = waiter.hear("held");
    if crash == Crash::Stale {
        let expected = format!("{:?} broken=[{}]", Clean::No, holder.pid());
        assert_eq!(said, expected);
    }
    must_be_busy(&setup.lock());

    let own = begin_to_wait(setup, Mode::Exclusive, Timeout::Forever, |r| r);
    waiter.kill();
    let guard = own.wait().expect("the holder is dead");
    if crash == Crash::Stale {
        assert_eq!(guard.was_clean(), Clean::No);
        assert_eq!(guard.broken()[0].pid, Some(waiter.pid()));
    }
    guard.release().expect("it is held");
    let guard = taken(&setup.lock());
    assert_ne!(guard.was_clean(), Clean::No, "it was released this time");
    drop(guard);
    must_come_free(setup);
}

/// `kill -9`, again and again, of holders and waiters alike.
pub fn processes_killed_at_any_moment_never_let_two_in(setup: &Setup) {
    let path = setup.folder.join("journal");
    let start = || {
        let mut child = setup.child();
        child.tell(&format!("take-turns {}", path.display()));
        child.hear("turn");
        child
    };
    let mut children = vec![start(), start(), start()];
    for round in 0..9_u64 {
        thread::sleep(Duration::from_micros(500 + round * 1700 % 4000));
        children.remove(0).kill();
        children.push(start());
    }
    children.iter_mut().for_each(crate::Child::kill);
    assert_eq!(Journal::open(&path).overlaps(), "");
    must_come_free(setup);
}

/// The usual policy.
pub fn a_thread_that_acquires_what_it_holds_is_refused(setup: &Setup) {
    let guard = taken(&setup.lock());
    for timeout in [Timeout::Forever, Timeout::After(PATIENCE)] {
        let error = setup.lock().acquire_until(timeout);
        let error = error.expect_err("this thread holds it");
        assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
    }
    // Without waiting there is nothing to be refused for; and the other threads wait as ever.
    must_be_busy(&setup.lock());
    let waiter = begin_to_wait(setup, Mode::Exclusive, Timeout::Forever, |r| r.map(drop));
    waiter.still();
    drop(guard);
    waiter.wait().expect("it came free");
    must_come_free(setup);
}

/// `Reentry::Wait`.
pub fn a_thread_may_wait_for_a_guard_that_it_gave_away(setup: &Setup) {
    let lock = setup.lock_with(|b| b.reentry(Reentry::Wait));
    let guard = taken(&lock);
    let releaser = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        guard.release()
    });
    let second = lock.acquire().expect("the other thread releases");
    releaser.join().expect("no panic").expect("it was held");
    let wait = Duration::from_millis(20);
    let error = lock.acquire_within(wait).expect_err("this thread holds it");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    drop(second);
    must_come_free(setup);
}

/// `Reentry::Idempotent`: for one thread, and the last guard releases.
pub fn idempotent_guards_are_one_holding(setup: &Setup) {
    let handle = || setup.lock_with(|b| b.reentry(Reentry::Idempotent));
    let first = taken(&handle());
    let second = taken(&handle());
    let third = handle().acquire().expect("this thread holds it");
    let elsewhere = handle();
    let busy = thread::spawn(move || elsewhere.try_acquire().map(drop)).join();
    let error = busy
        .expect("no panic")
        .expect_err("another thread holds it");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    drop(first);
    drop(third);
    assert_eq!(second.standing(), Standing::Held);
    setup.child().must_be_refused();
    drop(second);
    assert!(!setup.lock().is_held_in_this_process());
    must_come_free(setup);
}

/// What the observer is told, and in which order.
pub fn the_observer_is_told_of_waiting_and_of_acquiring(setup: &Setup) {
    let told: Shared<Vec<String>> = Shared::default();
    let observed = || {
        let (told, lock) = (told.clone(), setup.lock());
        setup.lock_with(|b| {
            b.observer(move |event: &Event<'_>| {
                let line = match event {
                    Event::Waiting { seen, .. } => {
                        // Naming the holders may cost more than the try: then one may look.
                        let looked = lock.holder();
                        let named = match seen.holders() {
                            [] => looked.as_ref().map_or(&[][..], Sighting::holders),
                            named => named,
                        };
                        format!("waiting {:?}", named.first().map(|h| h.pid))
                    }
                    Event::Acquired { place, .. } => format!("acquired {place}"),
                    other => format!("{other:?}"),
                };
                locked(&told).push(line);
            })
        })
    };
    let place = setup.lock().place().clone();
    drop(taken(&observed()));
    assert_eq!(*locked(&told), [format!("acquired {place}")]);
    locked(&told).clear();

    let mut child = setup.child();
    child.acquire();
    observed().try_acquire().expect_err("it is held");
    assert!(locked(&told).is_empty(), "no wait: {:?}", locked(&told));
    let lock = observed();
    let waiter = must_block(move || lock.acquire().map(drop));
    block::until("the observer is told", || !locked(&told).is_empty());
    child.release();
    waiter.wait().expect("it came free");
    let told = locked(&told);
    let (waiting, acquired) = (&told[0], told.last().expect("two lines"));
    assert!(waiting.starts_with("waiting"), "{told:?}");
    assert_eq!(*acquired, format!("acquired {place}"), "{told:?}");
    if waiting != "waiting None" && waiting != "waiting Some(None)" {
        assert_eq!(
            *waiting,
            format!("waiting Some(Some({}))", child.pid()),
            "{told:?}"
        );
    } else {
        assert!(!is_file(setup), "the holder is known: {told:?}");
    }
}

/// Whoever began to wait first gets it first.
pub fn first_come_first_served_in_one_process(setup: &Setup) {
    const THREADS: usize = 5;
    let guard = taken(&setup.lock());
    let entered: Shared<Vec<usize>> = Shared::default();
    let start = |number| {
        let entered = entered.clone();
        begin_to_wait(setup, Mode::Exclusive, Timeout::Forever, move |result| {
            let guard = result.expect("it comes free");
            locked(&entered).push(number);
            guard.release().expect("it is held");
        })
    };
    let waiters: Vec<_> = (0..THREADS).map(start).collect();
    assert!(locked(&entered).is_empty());
    drop(guard);
    waiters.into_iter().for_each(block::Blocked::wait);
    assert_eq!(*locked(&entered), Vec::from_iter(0..THREADS));
    must_come_free(setup);
}

/// A run of readers enters together; a reader that came after a writer waits for it.
pub fn readers_enter_together_and_not_past_a_waiting_writer(setup: &Setup) {
    if !has_readers(setup) {
        return;
    }
    let guard = taken(&setup.lock());
    let inside: Shared<Vec<(&str, Guard)>> = Shared::default();
    let start = |name, mode| {
        let inside = inside.clone();
        begin_to_wait(setup, mode, Timeout::Forever, move |result| {
            locked(&inside).push((name, result.expect("it comes free")));
        })
    };
    let first = start("reader", Mode::Shared);
    let second = start("reader", Mode::Shared);
    let writer = start("writer", Mode::Exclusive);
    let late = start("late reader", Mode::Shared);
    drop(guard);
    // Both at once: neither has left when the other enters.
    first.wait();
    second.wait();
    writer.still();
    late.still();
    let readers = std::mem::take(&mut *locked(&inside));
    let names: Vec<_> = readers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["reader", "reader"]);
    drop(readers);
    writer.wait();
    late.still();
    let writers = std::mem::take(&mut *locked(&inside));
    assert_eq!(writers[0].0, "writer");
    drop(writers);
    late.wait();
    locked(&inside).clear();
    must_come_free(setup);
}

/// Looking at a lock takes nothing, frees nothing and disturbs nobody.
pub fn looking_changes_nothing(setup: &Setup) {
    let look = || setup.lock().holder().expect("one can look");
    assert_eq!(look(), Sighting::Free);
    assert!(!setup.lock().is_held_in_this_process());
    let mut child = setup.child();
    child.acquire();
    for _ in 0..3 {
        let seen = look();
        let server = seen.holders().iter().any(|h| h.source == Source::Server);
        let named = seen.holders().iter().any(|h| h.pid == Some(child.pid()));
        assert!(named || server, "{seen:?}");
    }
    must_be_busy(&setup.lock());
    assert_eq!(child.ask("standing it"), "Held");
    child.release();
    // The same with one's own: no descriptor that is closed takes the lock along.
    let guard = taken(&setup.lock());
    assert!(setup.lock().is_held_in_this_process());
    for _ in 0..3 {
        assert!(matches!(look(), Sighting::Held { .. }));
    }
    child.must_be_refused();
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().expect("it is held");
    assert_eq!(look(), Sighting::Free);
    must_come_free(setup);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_function_here_is_made_a_test() {
        let source = include_str!("conformance.rs");
        let listed = |name: &str| source.lines().any(|l| l.trim() == name);
        let functions = source.lines().filter_map(|l| l.strip_prefix("pub fn "));
        let names = functions.filter_map(|l| l.split('(').next());
        let missing: Vec<&str> = names.filter(|n| !listed(n)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
