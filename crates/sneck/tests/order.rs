//! Who comes first. Inside a process: whoever arrived first, a run of readers together, and no writer starves. Across processes: as `capabilities().order` says.
//!
//! Not for: the kernel's queue, in which arrivals must be seen (`queue.rs`). Here arrivals are made definite one after the other; who is inside is read from a journal.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep as they like"
)]

use sneck::protocol::Order;
use sneck::{Event, Guard, Lock, LockBuilder, Mode, Registry, Waiting};
use sneck_testkit::planted::of_these;
use sneck_testkit::{Blocked, Child, Journal, PATIENCE, Setup, block, must_block};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(Registry::local);

/// Protocols with readers.
fn schemes() -> Vec<&'static str> {
    of_these(&["flock", "fcntl", "memory"])
}

fn setup(scheme: &str) -> Setup {
    let place = |folder: &Path| format!("{scheme}:{}/lock", folder.display());
    Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY)
}

/// Acquire in another thread, which stands in the line when this returns.
#[track_caller]
fn arrive<T: Send + 'static>(
    setup: &Setup,
    mode: Mode,
    then: impl FnOnce(Guard) -> T + Send + 'static,
) -> Blocked<T> {
    let waits = Arc::new(AtomicBool::new(false));
    let told = waits.clone();
    let observed = |b: LockBuilder| {
        b.mode(mode).observer(move |event: &Event<'_>| {
            if matches!(event, Event::Waiting { .. }) {
                told.store(true, Ordering::SeqCst);
            }
        })
    };
    let lock = setup.lock_with(observed);
    let waiter = block::start(move || then(lock.acquire().expect("it comes free")));
    block::until("it stands in the line", || waits.load(Ordering::SeqCst));
    waiter
}

#[test]
fn inside_a_process_whoever_arrives_first_enters_first_and_a_run_of_readers_together() {
    use Mode::{Exclusive as Writer, Shared as Reader};
    // Who arrives, in this order, and with whom it enters.
    let arrivals = [
        (Writer, 0),
        (Reader, 1),
        (Reader, 1),
        (Writer, 2),
        (Writer, 3),
        (Reader, 4),
        (Reader, 4),
        (Reader, 4),
        (Writer, 5),
        (Reader, 6),
    ];
    for scheme in schemes() {
        let setup = setup(scheme);
        let journal = setup.folder.join("journal");
        let guard = setup.lock().try_acquire().expect("it is free");
        let entered: Arc<Mutex<Vec<usize>>> = Arc::default();
        let waiters: Vec<Blocked<()>> = arrivals
            .iter()
            .map(|&(mode, run)| {
                let (entered, journal) = (entered.clone(), journal.clone());
                let company = arrivals.iter().filter(|a| a.1 == run).count();
                arrive(&setup, mode, move |guard| {
                    let enters = || entered.lock().expect("no panic").push(run);
                    let journal = Journal::open(&journal);
                    if mode == Writer {
                        enters();
                        return journal.visit(guard);
                    }
                    journal.enter(mode);
                    enters();
                    // None of them leaves before all are in.
                    let all_in = || {
                        let entered = entered.lock().expect("no panic");
                        entered.iter().filter(|r| **r == run).count() == company
                    };
                    block::until("the whole run is in", all_in);
                    journal.leave(mode);
                    guard.release().expect("it is held");
                })
            })
            .collect();
        assert!(entered.lock().expect("no panic").is_empty());
        guard.release().expect("it is held");
        waiters.into_iter().for_each(Blocked::wait);
        let runs = arrivals.map(|(_, run)| run);
        assert_eq!(*entered.lock().expect("no panic"), runs, "{scheme}");
        let journal = Journal::open(&journal);
        assert_eq!(journal.check(), arrivals.len());
        assert_eq!(journal.most_at_once(), 3, "{scheme}");
    }
}

#[test]
fn inside_a_process_readers_that_come_after_a_waiting_writer_wait_for_it() {
    for scheme in schemes() {
        let setup = setup(scheme);
        let shared = || setup.lock_with(|b| b.mode(Mode::Shared));
        let first = shared().try_acquire().expect("it is free");
        // Without a writer they would enter.
        let other = shared().try_acquire().expect("readers share");
        let log: Arc<Mutex<Vec<&str>>> = Arc::default();
        let enters = |mode, name| {
            let log = log.clone();
            arrive(&setup, mode, move |guard| {
                log.lock().expect("no panic").push(name);
                guard.release().expect("it is held");
            })
        };
        let writer = enters(Mode::Exclusive, "writer");
        let readers = [(); 3].map(|()| enters(Mode::Shared, "reader"));
        let error = shared()
            .try_acquire()
            .expect_err("a writer stands before it");
        assert!(error.is_held(), "{error}");
        first.release().expect("it is held");
        readers.iter().for_each(Blocked::still);
        writer.still();
        other.release().expect("it is held");
        writer.wait();
        readers.into_iter().for_each(Blocked::wait);
        let log = log.lock().expect("no panic");
        assert_eq!(*log, ["writer", "reader", "reader", "reader"], "{scheme}");
    }
}

/// Tells threads to end, also if a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn inside_a_process_a_writer_gets_its_turn_however_readers_overlap() {
    const READERS: usize = 4;
    for scheme in schemes() {
        let setup = setup(scheme);
        let stop = AtomicBool::new(false);
        let entries = Arc::new(AtomicUsize::new(0));
        let (inside, overlapped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let shared = setup.lock_with(|b| b.mode(Mode::Shared));
        thread::scope(|scope| {
            let ends = Ends(&stop);
            for _ in 0..READERS {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let guard = shared.acquire_within(PATIENCE).expect("a turn");
                        entries.fetch_add(1, Ordering::SeqCst);
                        if inside.fetch_add(1, Ordering::SeqCst) > 0 {
                            overlapped.fetch_add(1, Ordering::SeqCst);
                        }
                        thread::sleep(Duration::from_millis(2));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    }
                });
            }
            block::until("they overlap", || overlapped.load(Ordering::SeqCst) > 10);
            let mut waited = 0;
            for _ in 0..20 {
                // How many had entered when the writer stood in the line.
                let then = Arc::new(Mutex::new(None));
                let (told, count) = (then.clone(), entries.clone());
                let writer = setup.lock_with(|b| {
                    b.observer(move |event: &Event<'_>| {
                        if matches!(event, Event::Waiting { .. }) {
                            let now = count.load(Ordering::SeqCst);
                            told.lock().expect("no panic").get_or_insert(now);
                        }
                    })
                });
                let guard = writer.acquire_within(PATIENCE).expect("the writer's turn");
                assert_eq!(inside.load(Ordering::SeqCst), 0, "a reader is inside");
                let entered = entries.load(Ordering::SeqCst);
                drop(guard);
                if let Some(then) = *then.lock().expect("no panic") {
                    waited += 1;
                    // Those who stood before it, and no others.
                    assert!(entered - then <= READERS, "{scheme}: {}", entered - then);
                }
            }
            drop(ends);
            assert!(waited > 0, "{scheme}: it never had to wait");
        });
    }
}

/// That readers which overlap can keep it out is what the system does, and no promise: nothing here would be wrong if one day it stood before them.
#[test]
fn across_processes_a_writer_waits_while_readers_overlap_and_gets_it_once_they_stop() {
    for scheme in of_these(&["flock", "fcntl"]) {
        let setup = setup(scheme);
        let [mut first, mut second] = [setup.child(), setup.child()];
        let enter = |reader: &mut Child| {
            reader.tell("acquire it once shared");
            let (said, why) = reader.hear_one_of(&["held", "refused"]);
            assert_eq!(said, "held", "{why}");
        };
        enter(&mut first);
        let lock = setup.lock();
        let writer = must_block(move || lock.acquire().map(Guard::release));
        for _ in 0..4 {
            enter(&mut second);
            first.release();
            writer.still();
            enter(&mut first);
            second.release();
            writer.still();
        }
        first.release();
        let released = writer.wait().expect("it came free");
        released.expect("it is held");
        // The writer too stands first come, first served, once it is in: whoever reads waits for it.
        let guard = setup.lock().try_acquire().expect("it is free");
        second.tell("acquire it once shared");
        second.hear("refused");
        guard.release().expect("it is held");
    }
}

#[test]
fn what_is_promised_about_order_is_what_the_protocols_say() {
    for (scheme, order) in [
        ("flock", Order::ExclusiveFifo),
        ("fcntl", Order::ExclusiveFifo),
        ("memory", Order::Fifo),
        ("pidfile", Order::None),
        ("mkdir", Order::None),
        ("symlink", Order::None),
    ] {
        if !of_these(&["flock", "fcntl", "pidfile", "mkdir", "symlink", "memory"]).contains(&scheme)
        {
            continue;
        }
        let lock = Lock::builder().file(scheme, "/nowhere/lock");
        assert_eq!(
            lock.expect("a lock").capabilities().order,
            order,
            "{scheme}"
        );
    }
}
