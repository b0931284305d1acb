//! Interrupted waits that only some protocols have. That a handler ends every other sleep is for each protocol to keep (`conformance`), for each way of waiting.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests lock as they like"
)]

use sneck::{
    ErrorKind, Event, Interrupt, Lock, Observer, Place, Registry, Stale, Timeout, Waiting,
};
use sneck_testkit::claims;
use sneck_testkit::interrupt::Watching;
use sneck_testkit::{Setup, Through, must_block, sys};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// The locks of `memory`, come by through a line of their own: `beside:name`.
fn registry() -> Registry {
    let mut registry = Registry::local();
    registry.register("beside", |place| {
        let inner = Place::file("memory", place.rest());
        let inner = Registry::local().protocol(&inner)?;
        let through = Through::new(inner, &Arc::default()).in_a_line_of_its_own();
        Ok(Arc::new(through.called(place)))
    });
    registry
}

sneck_testkit::entry!(registry);

fn setup(scheme: &str, waiting: Waiting) -> Setup {
    let place = |folder: &Path| claims::alone(scheme, folder);
    Setup::new(registry, place, waiting, CHILD_ENTRY)
}

const PATIENCE: Duration = Duration::from_secs(60);

const WAITS: [Timeout; 2] = [
    Timeout::Forever,
    Timeout::After(Duration::from_secs(100_000)),
];

#[test]
fn a_signal_handler_interrupts_a_wait_for_the_bell() {
    for waiting in [Waiting::Best, Waiting::Events, Waiting::Polling] {
        for timeout in WAITS {
            let setup = setup("beside", waiting);
            let name = Path::new(setup.lock().place().rest()).to_owned();
            let holder = Lock::builder().file("memory", name).expect("a lock");
            let begin = |answer, guard: &sneck::Guard| {
                assert_eq!(guard.standing(), sneck::Standing::Held);
                let watching = Watching::new(answer);
                let lock = setup.lock_with(|b| b.observer(watching.clone()));
                watching.interrupt(move || lock.acquire_until(timeout)?.release())
            };
            let guard = holder.try_acquire().expect("it is free");
            let error = begin(Interrupt::GiveUp, &guard).wait();
            let error = error.expect_err("it gave up");
            assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
            let waiter = begin(Interrupt::Resume, &guard);
            waiter.still();
            guard.release().expect("it is held");
            waiter.wait().expect("it waited on, and it came free");
            drop(holder.try_acquire().expect("nothing is in the way"));
        }
    }
}

/// Somebody to whom a signal came before the sleep.
struct Told;

impl Observer for Told {
    fn notice(&self, _: &Event<'_>) {}

    fn about_to_sleep(&self) -> Interrupt {
        Interrupt::GiveUp
    }
}

#[test]
fn whoever_was_told_of_a_signal_before_it_sleeps_does_not_sleep() {
    for scheme in ["flock", "fcntl", "symlink", "pidfile", "mkdir", "beside"] {
        for waiting in [Waiting::Best, Waiting::Events, Waiting::Polling] {
            let setup = setup(scheme, waiting);
            let lock = setup.lock_with(|b| b.observer(Told));
            // Nobody is in the way: there is nothing to sleep for.
            let guard = lock.acquire_until(Timeout::Forever).expect("it is free");
            let other = setup.lock_with(|b| b.observer(Told));
            let (sender, ended) = mpsc::channel();
            thread::spawn(move || {
                sender.send(other.acquire_until(Timeout::Forever).map(drop))?;
                sender.send(other.until_free(Timeout::Forever))
            });
            for _ in 0..2 {
                let ended = ended.recv_timeout(PATIENCE).expect("it does not sleep");
                let error = ended.expect_err("it gave up");
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{scheme}: {error}");
            }
            drop(guard);
            drop(lock.try_acquire().expect("nothing is in the way"));
        }
    }
}

#[test]
fn a_wait_that_nobody_observes_goes_on_after_a_signal() {
    sys::handle_signal();
    for scheme in ["flock", "fcntl", "symlink"] {
        let setup = setup(scheme, Waiting::Best);
        let guard = setup.lock().try_acquire().expect("it is free");
        let lock = setup.lock();
        let (sender, thread) = std::sync::mpsc::channel();
        let waiter = must_block(move || {
            sender.send(sys::thread_number()).expect("the test listens");
            lock.acquire_within(Duration::from_secs(100_000))
        });
        let thread = thread.recv().expect("the thread says its number");
        for _ in 0..3 {
            sys::signal_thread(thread);
            waiter.still();
        }
        guard.release().expect("it is held");
        drop(waiter.wait().expect("it came free"));
    }
}

/// 1. A finds the claim of a process that has ended and is not reaped, and gives its parent a moment to release it: pauses of two milliseconds.
/// 2. A handler runs in one of those. 3. A sleeps, and nobody is told.
#[test]
fn a_signal_that_comes_while_another_is_given_a_moment_is_not_lost() {
    const ROUNDS: usize = 30;
    sys::handle_signal();
    let setup = setup("symlink", Waiting::Polling);
    let mut child = setup.child();
    child.acquire();
    child.kill_without_reaping();
    // Nobody can break it as long as somebody keeps the folder locked: it is tried again and again.
    let folder = std::fs::File::open(setup.folder.join("locks")).expect("our own folder");
    let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&folder, lock).expect("it is free");
    let watching = Watching::new(Interrupt::Resume);
    let observed = setup.lock_with(|b| b.stale(Stale::Dead).observer(watching.clone()));
    let waiter = must_block(move || observed.acquire().map(drop));
    let thread = watching.waiting_thread();
    let sent: usize = (0..ROUNDS).map(|_| watching.interrupt_again(thread)).sum();
    // Now and then one comes between two sleeps.
    assert!(sent < ROUNDS * 3 / 2, "{sent} signals for {ROUNDS} answers");
    drop(folder);
    waiter.wait().expect("it could be broken");
}
