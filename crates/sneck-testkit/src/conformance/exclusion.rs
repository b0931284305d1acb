//! One holder, or many readers: between handles, threads and processes; how long a wait is; who may release.
//! Not for: forks (`forks.rs`); what waits in vain and killed processes leave behind (`leaving.rs`).

use super::*;

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
    if !reaches_other_processes(setup) {
        return;
    }
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
    let pid = std::process::id();
    let must_name = |holder| {
        for timeout in [Timeout::Once, Timeout::from(Duration::ZERO)] {
            let error = setup.lock().acquire_until(timeout).expect_err("it is held");
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            names(&error, holder);
            // Of several locks that are taken as one, the one that is in the way.
            let mut parts = setup.lock().parts();
            parts.push(setup.lock());
            let named = |part: &Lock| error.to_string().contains(&part.place().to_string());
            assert!(parts.iter().any(named), "{error}");
        }
    };
    let own = taken(&setup.lock());
    must_name(pid);
    drop(own);
    if !reaches_other_processes(setup) {
        return;
    }
    let mut child = setup.child();
    child.acquire();
    must_name(child.pid());
    child.release();
    let _own = taken(&setup.lock());
    let said = child.must_be_refused();
    let named = said.contains(&format!("[{pid}]"));
    // A server may not know the process number.
    assert!(named || !knows_pids(setup), "{said}");
}

/// A finite timeout.
pub fn a_wait_ends_not_before_its_time_and_the_holder_is_named(setup: &Setup) {
    if reaches_other_processes(setup) {
        let mut child = setup.child();
        child.acquire();
        for wait in [1, 20, 150].map(Duration::from_millis) {
            let start = Moment::now();
            let error = setup.lock().acquire_within(wait).expect_err("it is held");
            assert!(start.elapsed() >= wait, "gave up too early");
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            names(&error, child.pid());
        }
        child.release();
    }
    // The same in line behind a thread of this process.
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

    if !reaches_other_processes(setup) {
        return;
    }
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
    // It may be told first that there are no events to wait for.
    let waits = last.starts_with("waiting") || last.starts_with("polling");
    assert!(waits, "{last}");
    drop(guard);
    child.hear("held");
    must_be_busy(&setup.lock());
    child.release();
}

/// A wait that has a deadline ends when the lock comes free, like any other.
pub fn a_wait_with_a_time_ends_with_the_release_too(setup: &Setup) {
    let (guard, lock) = (taken(&setup.lock()), setup.lock());
    let waiter = must_block(move || lock.acquire_within(PATIENCE).map(drop));
    drop(guard);
    waiter.wait().expect("the time was not over");
    if !reaches_other_processes(setup) {
        return;
    }
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
    first.release().expect("it is held");
    must_be_busy(&setup.lock());
    assert_eq!(second.standing(), Standing::Held);
    drop(second);
    drop(taken(&setup.lock()));
    if !reaches_other_processes(setup) {
        return;
    }
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
    if !has_readers(setup) || !reaches_other_processes(setup) {
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
