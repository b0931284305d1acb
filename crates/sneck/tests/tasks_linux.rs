//! Tasks and what Linux shows of them: who stands in the kernel's queue, which signals a thread gets, forks.
//!
//! Not for: what holds everywhere (`tasks`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep, write and look at the clock"
)]

#[path = "tasks/runtime.rs"]
mod runtime;

use runtime::{ALL, Runtime};
use sneck::{ErrorKind, Lock, Mode, Registry, Waiting};
use sneck_testkit::{PATIENCE, Setup, block, sys, task};
use std::task::Poll;
use std::time::Duration;

sneck_testkit::entry!(Registry::local);

fn child_setup() -> Setup {
    let place = |folder: &std::path::Path| format!("flock:{}/lock", folder.display());
    Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY)
}

/// Lines of /proc/locks that say that somebody of this process waits for this file.
fn waits_in_the_kernel(setup: &Setup) -> usize {
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(setup.folder.join("lock")).expect("it is there");
    let own = format!(" {} ", std::process::id());
    let locks = std::fs::read_to_string("/proc/locks").expect("the kernel tells");
    let inode = format!(":{} ", inode.ino());
    let lines = locks.lines().filter(|line| line.contains("-> FLOCK"));
    let ours = lines.filter(|line| line.contains(&own) && line.contains(&inode));
    ours.count()
}

#[test]
fn a_dropped_task_is_called_out_of_the_kernels_queue() {
    let setup = child_setup();
    let mut holder = setup.child();
    for runtime in ALL {
        holder.acquire();
        let running = runtime.start();
        let task = running.spawn(setup.lock().acquire_async());
        block::until("it waits in the kernel", || {
            waits_in_the_kernel(&setup) == 1
        });
        assert!(running.block_on(task.cancel()).is_none());
        // While the holder still holds: nobody waits for the release to get out.
        block::until("nobody waits in the kernel", || {
            waits_in_the_kernel(&setup) == 0
        });
        holder.release();
        drop(setup.lock().try_acquire().expect("it is free"));
    }
}

#[test]
fn one_thread_for_a_lock_stands_in_the_kernels_queue_for_readers_too() {
    let setup = child_setup();
    let mut holder = setup.child();
    holder.acquire();
    let running = Runtime::Tokio.start();
    let reader = || setup.lock_with(|b| b.mode(Mode::Shared)).acquire_async();
    let readers = [(); 8].map(|()| running.spawn(reader()));
    block::until("one waits in the kernel", || {
        waits_in_the_kernel(&setup) == 1
    });
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(waits_in_the_kernel(&setup), 1);
    holder.release();
    let guards = running.block_on(async {
        let mut guards = Vec::new();
        for reader in readers {
            guards.push(reader.end().await.expect("it came free"));
        }
        guards
    });
    assert_eq!(guards.len(), 8, "all of them are inside at once");
}

/// Signals belong to the program's own threads.
#[test]
fn no_signal_reaches_the_threads_that_wait_for_tasks() {
    let setup = child_setup();
    let mut holder = setup.child();
    holder.acquire();
    let running = Runtime::Tokio.start();
    let task = running.spawn(setup.lock().acquire_async());
    block::until("it waits in the kernel", || {
        waits_in_the_kernel(&setup) == 1
    });
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc/self/task").expect("threads") {
        let path = entry.expect("an entry").path();
        // Threads of other tests come and go.
        let Ok(name) = std::fs::read_to_string(path.join("comm")) else {
            continue;
        };
        let Ok(status) = std::fs::read_to_string(path.join("status")) else {
            continue;
        };
        if !name.starts_with("sneck-") {
            continue;
        }
        let blocked = status.lines().find_map(|l| l.strip_prefix("SigBlk:"));
        let blocked = u64::from_str_radix(blocked.expect("a mask").trim(), 16).expect("a mask");
        // HUP, INT, QUIT, ALRM, TERM, USR1, USR2, CHLD, WINCH.
        for signal in [1, 2, 3, 14, 15, 10, 12, 17, 28] {
            assert_ne!(blocked & (1 << (signal - 1)), 0, "{name} gets {signal}");
        }
        seen += 1;
    }
    assert!(seen > 0, "there is such a thread");
    holder.release();
    drop(running.block_on(task.end()).expect("it came free"));
}

/// The child has none of the parent's threads: a task of the parent's is over there, dropping it harms nobody, and new ones work.
#[test]
fn a_forked_child_has_tasks_of_its_own() {
    let setup = child_setup();
    let mut holder = setup.child();
    holder.acquire();
    let lock = setup.lock();
    let mut waiting = Some(Box::pin(lock.acquire_async()));
    let in_line = setup.lock();
    let mut second = Some(Box::pin(in_line.acquire_async()));
    for future in [&mut waiting, &mut second] {
        let future = future.as_mut().expect("a future");
        assert!(task::poll_once(future.as_mut()).is_pending());
    }
    block::until("it waits in the kernel", || {
        waits_in_the_kernel(&setup) == 1
    });
    let path = setup.folder.join("other");
    for _ in 0..20 {
        let child = sys::fork(|| {
            let polled = task::poll_once(waiting.as_mut().expect("a future").as_mut());
            let refused = matches!(polled, Poll::Ready(Err(e)) if e.kind() == ErrorKind::Usage);
            drop((waiting.take(), second.take()));
            let other = Lock::new(&path).expect("a lock");
            let fresh = task::block_on(other.acquire_async()).map(drop).is_ok();
            let busy = lock.acquire_async_within(Duration::from_millis(5));
            let busy = task::block_on(busy).is_err_and(|e| e.kind() == ErrorKind::TimedOut);
            i32::from(!(refused && fresh && busy))
        });
        assert_eq!(child.wait(), 0);
    }
    holder.release();
    for mut future in [waiting, second].into_iter().flatten() {
        let end = task::turn_for(future.as_mut(), PATIENCE).expect("it came free");
        drop(end.expect("it came free"));
    }
}
