//! What holds for tasks as it does for threads: waiting, giving up, being dropped.
//! Not for: runtimes, and thousands of tasks at once.

use super::*;
use crate::task::{block_on, poll_once, turn_for};
use sneck::Acquiring;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

/// Acquire in a task, and return once it waits.
#[track_caller]
fn begin_to_await(setup: &Setup, mode: Mode) -> block::Blocked<Guard> {
    let lock = setup.lock_with(|b| b.mode(mode));
    block::must_block(move || block_on(lock.acquire_async()).expect("it comes free"))
}

/// It waits for a holder wherever that is, and holds when it says so.
pub fn a_task_waits_for_the_holder_and_gets_the_lock(setup: &Setup) {
    let guard = taken(&setup.lock());
    let task = begin_to_await(setup, Mode::Exclusive);
    guard.release().expect("it is held");
    let guard = task.wait();
    must_be_busy(&setup.lock());
    guard.release().expect("it is held");
    if !reaches_other_processes(setup) {
        return;
    }
    let mut holder = setup.child();
    holder.acquire();
    let task = begin_to_await(setup, Mode::Exclusive);
    holder.release();
    let guard = task.wait();
    holder.must_be_refused();
    drop(guard);
    holder.acquire();
    let task = begin_to_await(setup, Mode::Exclusive);
    holder.kill();
    drop(task.wait());
    must_come_free(setup);
}

/// One try, and a time.
pub fn a_task_gives_up_when_its_time_is_over_and_names_the_holder(setup: &Setup) {
    let refused = |future: Acquiring, kind| {
        let error = block_on(future).expect_err("it is held");
        assert_eq!(error.kind(), kind, "{error}");
        error
    };
    let check = |pid| {
        let lock = setup.lock();
        let once = lock.acquire_async_within(Duration::ZERO);
        names(&refused(once, ErrorKind::Busy), pid);
        let (wait, start) = (Duration::from_millis(30), Moment::now());
        let error = refused(lock.acquire_async_within(wait), ErrorKind::TimedOut);
        assert!(start.elapsed() >= wait);
        names(&error, pid);
        // The time is counted from the call, and not from the first poll.
        let late = lock.acquire_async_within(wait);
        thread::sleep(wait * 2);
        assert!(turn_for(late, PATIENCE).is_some_and(|end| end.is_err()));
    };
    let guard = taken(&setup.lock());
    check(std::process::id());
    drop(guard);
    if !reaches_other_processes(setup) {
        return;
    }
    let mut holder = setup.child();
    holder.acquire();
    check(holder.pid());
    holder.release();
    must_come_free(setup);
}

/// In the order in which they were first polled; threads stand in the same line.
pub fn tasks_and_threads_of_one_process_are_served_as_they_came(setup: &Setup) {
    let guard = taken(&setup.lock());
    let entered: Shared<Vec<usize>> = Shared::default();
    let enter = |number| {
        let entered = entered.clone();
        move |guard: Guard| {
            locked(&entered).push(number);
            guard.release().expect("it is held");
        }
    };
    let task = |number| {
        let (lock, enter) = (setup.lock(), enter(number));
        block::must_block(move || enter(block_on(lock.acquire_async()).expect("it comes free")))
    };
    let thread = |number| {
        let enter = enter(number);
        begin_to_wait(setup, Mode::Exclusive, Timeout::Forever, move |result| {
            enter(result.expect("it comes free"));
        })
    };
    let waiters = [task(0), thread(1), task(2), task(3), thread(4), task(5)];
    drop(guard);
    waiters.into_iter().for_each(block::Blocked::wait);
    assert_eq!(*locked(&entered), Vec::from_iter(0..6));
    must_come_free(setup);
}

/// Readers that came together are inside together, behind a writer of another process too.
pub fn tasks_that_read_enter_together(setup: &Setup) {
    if !has_readers(setup) {
        return;
    }
    let check = |release: &mut dyn FnMut()| {
        let readers = [0; 3].map(|_| begin_to_await(setup, Mode::Shared));
        release();
        let guards = readers.map(block::Blocked::wait);
        must_be_busy(&setup.lock());
        drop(guards);
        drop(setup.lock().acquire_within(PATIENCE).expect("it is free"));
    };
    let mut guard = Some(taken(&setup.lock()));
    check(&mut || drop(guard.take()));
    if !reaches_other_processes(setup) {
        return;
    }
    let mut holder = setup.child();
    holder.acquire();
    check(&mut || holder.release());
    must_come_free(setup);
}

/// Before its first poll, in the line, in the kernel's queue or on events: those behind it move up, and nothing stays.
pub fn a_task_that_is_dropped_while_it_waits_leaves_nothing_behind(setup: &Setup) {
    drop(setup.lock().acquire_async());
    drop(taken(&setup.lock()));
    let dropped_soon = |lock: &Lock| {
        for time in [0, 1, 5, 25] {
            let waited = turn_for(lock.acquire_async(), Duration::from_millis(time));
            assert!(waited.is_none(), "it is held: {waited:?}");
        }
    };
    let guard = taken(&setup.lock());
    dropped_soon(&setup.lock());
    let behind = setup.lock();
    let mut first = Box::pin(behind.acquire_async());
    assert!(poll_once(first.as_mut()).is_pending());
    let second = begin_to_await(setup, Mode::Exclusive);
    drop(first);
    second.still();
    drop(guard);
    drop(second.wait());
    drop(taken(&setup.lock()));
    if !reaches_other_processes(setup) {
        return;
    }
    let (mut holder, mut other) = (setup.child(), setup.child());
    holder.acquire();
    dropped_soon(&setup.lock());
    let mut first = Box::pin(behind.acquire_async());
    assert!(poll_once(first.as_mut()).is_pending());
    other.begin_to_wait();
    let lock = setup.lock();
    let second = block::must_block(move || block_on(lock.acquire_async()).map(drop));
    drop(first);
    holder.release();
    other.hear("held");
    other.release();
    second.wait().expect("it comes free");
    must_come_free(setup);
}

/// Dropped in the very moment of the grant, it holds or it does not; what nobody holds is free.
pub fn a_grant_that_comes_too_late_for_a_dropped_task_is_given_back(setup: &Setup) {
    let path = setup.folder.join("journal");
    if setup.lock().capabilities().reach == Reach::Process {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let (lock, journal) = (setup.lock(), Journal::open(&path));
                while !stop.load(Ordering::Relaxed) {
                    journal.visit(lock.acquire().expect("the lock can be had"));
                }
            });
            let all =
                thread::Builder::new().spawn_scoped(scope, || dropped_at_random(setup, &path));
            let ended = all.expect("a thread").join();
            stop.store(true, Ordering::Relaxed);
            ended.expect("no panic");
        });
    } else {
        let mut child = setup.child();
        child.tell(&format!("take-turns {}", path.display()));
        child.hear("turn");
        dropped_at_random(setup, &path);
        child.kill();
    }
    assert_eq!(Journal::open(&path).overlaps(), "");
    must_come_free(setup);
}

fn dropped_at_random(setup: &Setup, path: &Path) {
    let (lock, journal) = (setup.lock(), Journal::open(path));
    for round in 0..150_u64 {
        let mut future = pin!(lock.acquire_async());
        let time = Duration::from_micros(round * 37 % 1500);
        if let Some(guard) = turn_for(future.as_mut(), time) {
            journal.visit(guard.expect("the lock can be had"));
        }
    }
}

/// Two threads with tasks, two threads without, two processes.
pub fn tasks_threads_and_processes_exclude_each_other(setup: &Setup) {
    const ROUNDS: usize = 25;
    let path = setup.folder.join("journal");
    let mut child = reaches_other_processes(setup).then(|| setup.child());
    if let Some(child) = &mut child {
        child.tell(&format!("course {ROUNDS} 2 {}", path.display()));
    }
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (lock, journal) = (setup.lock(), Journal::open(&path));
                for _ in 0..ROUNDS {
                    let guard = block_on(lock.acquire_async_within(PATIENCE));
                    journal.visit(guard.expect("everybody gets a turn"));
                }
            });
        }
        scope.spawn(|| course(&setup.lock(), ROUNDS, 2, &path));
    });
    let mut visits = 4 * ROUNDS;
    if let Some(mut child) = child {
        child.hear("done");
        visits += 2 * ROUNDS;
    }
    assert_eq!(Journal::open(&path).check(), visits);
    must_come_free(setup);
}
