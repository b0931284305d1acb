//! A signal handler without SA_RESTART ends every sleep, and the observer decides whether the wait goes on: whoever holds the lock, with a time or without
//! one, for those who acquire and for those who only wait until it is free.
//!
//! Not for: what else a hostile process does to a wait (`tests/signals.rs` of the library).

use super::*;
use crate::interrupt::Watching;
use sneck::Interrupt;

/// So far away that nothing but a signal or a release ends the wait.
const WAITS: [Timeout; 2] = [
    Timeout::Forever,
    Timeout::After(Duration::from_secs(100_000)),
];

/// Somebody holds it, and lets go.
struct Held<'a> {
    take: &'a mut dyn FnMut(),
    leave: &'a mut dyn FnMut(),
}

/// What is waited for: to hold it, or that nobody does.
type Wait = fn(&Lock, Timeout) -> sneck::Result<()>;

fn acquire(lock: &Lock, timeout: Timeout) -> sneck::Result<()> {
    lock.acquire_until(timeout)?.release()
}

fn until_free(lock: &Lock, timeout: Timeout) -> sneck::Result<()> {
    lock.until_free(timeout)
}

#[track_caller]
fn is_interrupted(setup: &Setup, wait: Wait, held: &mut Held<'_>) {
    for timeout in WAITS {
        let begin = |answer| {
            let watching = Watching::new(answer);
            let lock = setup.lock_with(|b| b.observer(watching.clone()));
            let waiter = watching.interrupt(move || wait(&lock, timeout));
            (watching, waiter)
        };
        (held.take)();
        let (_, waiter) = begin(Interrupt::GiveUp);
        let error = waiter.wait().expect_err("it gave up");
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
        let place = setup.lock().place().clone();
        assert_eq!(error.place(), Some(&place), "{error}");
        // Still held, and whoever goes on waiting gets what it waits for.
        must_be_busy(&setup.lock());
        let (watching, waiter) = begin(Interrupt::Resume);
        let asked = watching.asked();
        watching.interrupt_again(watching.waiting_thread());
        assert!(watching.asked() > asked, "the second signal counts too");
        waiter.still();
        (held.leave)();
        waiter.wait().expect("it waited on, and the lock came free");
        // Whoever gave up left nothing behind that is in the way.
        drop(taken(&setup.lock()));
    }
}

fn by_another_process(setup: &Setup, wait: Wait) {
    if setup.lock().capabilities().reach == Reach::Process {
        return;
    }
    let child = std::cell::RefCell::new(setup.child());
    let (mut take, mut leave) = (
        || drop(child.borrow_mut().acquire()),
        || child.borrow_mut().release(),
    );
    let mut held = Held {
        take: &mut take,
        leave: &mut leave,
    };
    is_interrupted(setup, wait, &mut held);
    drop(child);
    must_come_free(setup);
}

fn by_this_process(setup: &Setup, wait: Wait) {
    let guard = std::cell::RefCell::new(None);
    let (mut take, mut leave) = (
        || *guard.borrow_mut() = Some(taken(&setup.lock())),
        || drop(guard.borrow_mut().take()),
    );
    let mut held = Held {
        take: &mut take,
        leave: &mut leave,
    };
    is_interrupted(setup, wait, &mut held);
    must_come_free(setup);
}

/// In the kernel's queue, on events, by polling or at a server's socket.
pub fn a_signal_handler_interrupts_a_wait_for_another_process(setup: &Setup) {
    by_another_process(setup, acquire);
}

/// In the process's own line.
pub fn a_signal_handler_interrupts_a_wait_for_another_thread(setup: &Setup) {
    by_this_process(setup, acquire);
}

/// On events and by looking again and again.
pub fn a_signal_handler_interrupts_a_wait_until_it_is_free(setup: &Setup) {
    by_another_process(setup, until_free);
    by_this_process(setup, until_free);
}
