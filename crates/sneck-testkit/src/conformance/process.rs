//! What holds inside one process: re-entry, order, what observers are told, looking.
//! Not for: other processes (`exclusion.rs`, `leaving.rs`).

use super::*;
use crate::sys;

/// The usual policy.
pub fn a_thread_that_acquires_what_it_holds_is_refused(setup: &Setup) {
    let guard = taken(&setup.lock());
    // The one with an end first: a library that waits after all fails here rather than never.
    for timeout in [Timeout::After(PATIENCE), Timeout::Forever] {
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
    must_be_busy(&setup.lock());
    if setup.lock().capabilities().reach != Reach::Process {
        setup.child().must_be_refused();
    }
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

    // Another process holds it; where that excludes nobody, this one does.
    let (mut child, mut own) = (setup.child(), None);
    let holder = if setup.lock().capabilities().reach == Reach::Process {
        own = Some(taken(&setup.lock()));
        std::process::id()
    } else {
        child.acquire();
        child.pid()
    };
    observed().try_acquire().expect_err("it is held");
    assert!(locked(&told).is_empty(), "no wait: {:?}", locked(&told));
    let lock = observed();
    let waiter = must_block(move || lock.acquire().map(drop));
    block::until("the observer is told", || !locked(&told).is_empty());
    if own.take().is_none() {
        child.release();
    }
    waiter.wait().expect("it came free");
    let told = locked(&told);
    let (waiting, acquired) = (&told[0], told.last().expect("two lines"));
    assert!(waiting.starts_with("waiting"), "{told:?}");
    assert_eq!(*acquired, format!("acquired {place}"), "{told:?}");
    if waiting != "waiting None" && waiting != "waiting Some(None)" {
        assert_eq!(
            *waiting,
            format!("waiting Some(Some({holder}))"),
            "{told:?}"
        );
    } else {
        assert!(!knows_pids(setup), "the holder is known: {told:?}");
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
    // The same with a reader inside, and nothing but the writer's wait to hold the next one up.
    let writer = start("writer", Mode::Exclusive);
    let late = start("late reader", Mode::Shared);
    late.still();
    locked(&inside).clear();
    writer.wait();
    late.still();
    locked(&inside).clear();
    late.wait();
    locked(&inside).clear();
    must_come_free(setup);
}

/// Looking at a lock takes nothing, frees nothing and disturbs nobody.
pub fn looking_changes_nothing(setup: &Setup) {
    let look = || setup.lock().holder().expect("one can look");
    must_look_free(&look());
    assert!(!setup.lock().is_held_in_this_process());
    let mut child = setup.child();
    let reaches = reaches_other_processes(setup);
    let must_name = |pid| {
        for _ in 0..3 {
            let seen = look();
            let server = seen.holders().iter().any(|h| h.source == Source::Server);
            let named = seen.holders().iter().any(|h| h.pid == Some(pid));
            assert!(named || server, "{seen:?}");
        }
    };
    child.acquire();
    if reaches {
        must_name(child.pid());
        must_be_busy(&setup.lock());
    } else {
        assert_eq!(look(), Sighting::Free);
    }
    assert_eq!(child.ask("standing it"), "Held");
    child.release();
    // The same with one's own: no descriptor that is closed takes the lock along.
    let guard = taken(&setup.lock());
    assert!(setup.lock().is_held_in_this_process());
    must_name(std::process::id());
    must_be_busy(&setup.lock());
    if reaches {
        child.must_be_refused();
    }
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().expect("it is held");
    must_look_free(&look());
    must_come_free(setup);
}

/// Free, or unknown where a pid namespace hides the locks of others: there it must never be called free.
#[track_caller]
fn must_look_free(seen: &Sighting) {
    let unknown = matches!(seen, Sighting::Unknown { .. });
    assert!(
        *seen == Sighting::Free || (unknown && !sys::sees_all_processes()),
        "{seen:?}"
    );
}
