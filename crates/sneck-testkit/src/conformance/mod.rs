//! What every protocol must keep, one function each, named as the sentence that must be true.
//!
//! They know nothing of any one protocol: what differs is asked of [`sneck::Lock::capabilities`].
//!
//! | file | what must be kept |
//! |---|---|
//! | `exclusion.rs` | one holder, or many readers; timeouts; releases |
//! | `forks.rs` | forked children (Unix) |
//! | `interrupts.rs` | signal handlers interrupt every wait (Unix) |
//! | `leaving.rs` | giving up and being killed leave nothing behind |
//! | `process.rs` | what holds inside one process: re-entry, order, observers, looking |
//! | `tasks.rs` | what holds for tasks as it does for threads |

mod exclusion;
#[cfg(unix)]
mod forks;
#[cfg(unix)]
mod interrupts;
mod leaving;
mod process;
mod tasks;

pub use exclusion::*;
#[cfg(unix)]
pub use forks::*;
#[cfg(unix)]
pub use interrupts::*;
pub use leaving::*;
pub use process::*;
pub use tasks::*;

use crate::block::{self, must_block};
use crate::child::course;
use crate::{Journal, PATIENCE, Setup};
use sneck::{
    Clean, ErrorKind, Event, Guard, Lock, Mode, Moment, Reentry, Sighting, Source, Standing,
    Timeout,
    protocol::{Crash, Modes, Reach, Removable},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Makes a test of each function; used by [`crate::conformance`].
#[macro_export]
#[doc(hidden)]
macro_rules! each_conformance_function {
    ($waiting:ident) => {
        $crate::each_function_of_this_system!($waiting);
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
            a_task_waits_for_the_holder_and_gets_the_lock
            a_task_gives_up_when_its_time_is_over_and_names_the_holder
            tasks_and_threads_of_one_process_are_served_as_they_came
            tasks_that_read_enter_together
            a_task_that_is_dropped_while_it_waits_leaves_nothing_behind
            a_grant_that_comes_too_late_for_a_dropped_task_is_given_back
            tasks_threads_and_processes_exclude_each_other
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
fn knows_pids(setup: &Setup) -> bool {
    setup.lock().capabilities().reach != Reach::Network
}

/// Whether other processes are excluded. Where they are not, they hold the same while we do, and neither notices the other.
#[track_caller]
fn reaches_other_processes(setup: &Setup) -> bool {
    if setup.lock().capabilities().reach != Reach::Process {
        return true;
    }
    let guard = taken(&setup.lock());
    let (mut first, mut second) = (setup.child(), setup.child());
    for child in [&mut first, &mut second] {
        child.acquire();
        child.must_be_refused();
    }
    must_be_busy(&setup.lock());
    first.kill();
    second.release();
    must_be_busy(&setup.lock());
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().expect("it is held");
    must_come_free(setup);
    false
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
    let ended = waits.clone();
    let waiter = block::start(move || {
        let result = lock.acquire_until(timeout);
        // On a busy machine a short time can be over before the wait began.
        *locked(&ended) = true;
        then(result)
    });
    block::until("the other thread waits", || *locked(&waits));
    waiter
}

/// Whether there is a shared mode; where there is none, asking for it must say so.
fn has_readers(setup: &Setup) -> bool {
    let lock = setup.lock_with(|b| b.mode(Mode::Shared));
    if lock.capabilities().modes == Modes::SharedToo {
        return true;
    }
    let error = lock.try_acquire().expect_err("there is no shared mode");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_function_here_is_made_a_test() {
        let lists = [include_str!("mod.rs"), include_str!("../sys/unix/mod.rs")];
        let all = lists.iter().flat_map(|list| list.lines());
        let listed = |name: &str| all.clone().any(|l| l.trim() == name);
        let sources = [
            include_str!("exclusion.rs"),
            include_str!("forks.rs"),
            include_str!("interrupts.rs"),
            include_str!("leaving.rs"),
            include_str!("process.rs"),
            include_str!("tasks.rs"),
        ];
        let lines = sources.iter().flat_map(|s| s.lines());
        let functions = lines.filter_map(|l| l.strip_prefix("pub fn "));
        let names = functions.filter_map(|l| l.split('(').next());
        let missing: Vec<&str> = names.filter(|n| !listed(n)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
