//! Crowds of tasks: few threads, little memory, everybody is served, whoever is dropped leaves nothing.

use crate::CHILD_ENTRY;
use crate::crowd::own_lock;
use crate::runtime::{ALL, Runtime};
use sneck::{Lock, Registry, Timeout, Waiting};
use sneck_testkit::planted::of_these;
use sneck_testkit::{Child, Journal, PATIENCE, Setup, block, sys};

const MANY: usize = sys::A_CROWD;

/// In kernels' queues, and one that wakes the tasks.
const THREADS: usize = 16 + 1;

fn setup(scheme: &str, waiting: Waiting) -> Setup {
    let place = |folder: &std::path::Path| format!("{scheme}:{}/lock", folder.display());
    Setup::new(Registry::local, place, waiting, CHILD_ENTRY)
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

/// Start a crowd in another process, and check what it costs.
#[track_caller]
fn gather(setup: &Setup, runtime: Runtime, shape: &str) -> Child {
    let mut child = setup.child();
    let cost = child.order(&format!("crowd {} {shape} {MANY}", runtime.name()));
    let (threads, memory) = cost.split_once(' ').expect("two figures");
    let (threads, memory) = (number(threads), number(memory));
    println!(
        "{} {} {shape}: {threads} threads, {memory} KiB more",
        setup.place,
        runtime.name()
    );
    let most = THREADS + sys::POOL_THREADS;
    assert!(threads <= most, "{threads} threads for {MANY} tasks");
    let most = sys::SET_UP_KIB + sys::KIB_EACH * MANY;
    assert!(memory <= most, "{memory} KiB for {MANY} tasks");
    child
}

#[track_caller]
fn everybody_is_served(child: &mut Child, count: usize) {
    assert_eq!(number(&child.order("served")), count);
}

/// One kernel-waiting thread, whatever the number of tasks, and all of them get their turn, beside another process that wants its own.
fn on_one_lock(scheme: &str, runtime: Runtime, waiting: Waiting) {
    let setup = setup(scheme, waiting);
    let guard = setup.lock().try_acquire().expect("it is free");
    let mut first = gather(&setup, runtime, "one");
    let mut second = gather(&setup, runtime, "one");
    assert!(number(first.ask("count").split_once(' ').expect("two").1) < 16);
    let dropped = number(&first.order("cancel 4711"));
    assert!((MANY / 4..MANY).contains(&dropped), "{dropped}");
    guard.release().expect("it is held");
    everybody_is_served(&mut first, MANY - dropped);
    everybody_is_served(&mut second, MANY);
    let journal = Journal::open(&setup.folder.join("journal"));
    assert_eq!(journal.overlaps(), "");
    assert_eq!(journal.stays(), 2 * MANY - dropped);
    // Nothing is left: at once, and not when the children end.
    drop(setup.lock().try_acquire().expect("it is free"));
}

#[test]
fn a_crowd_of_tasks_of_each_runtime_wants_one_lock() {
    for runtime in ALL {
        on_one_lock("flock", runtime, Waiting::Best);
    }
}

#[test]
fn a_crowd_of_tasks_wants_one_lock_of_each_protocol() {
    for scheme in of_these(&["fcntl", "pidfile", "symlink", "mkdir"]) {
        on_one_lock(scheme, Runtime::Tokio, Waiting::Best);
    }
}

#[test]
fn a_crowd_of_tasks_wants_one_lock_without_the_kernels_queue() {
    on_one_lock("flock", Runtime::Tokio, Waiting::Events);
    on_one_lock("flock", Runtime::Smol, Waiting::Polling);
}

/// As many contended locks as tasks: 16 of them wait in the kernel, the others on events of one instance.
fn on_a_lock_each(runtime: Runtime, waiting: Waiting) {
    let setup = setup("flock", waiting);
    let lock = |number| Lock::new(own_lock(setup.folder.path(), number)).expect("a lock");
    let hold = || Vec::from_iter((0..MANY).map(|n| lock(n).try_acquire().expect("it is free")));
    let guards = hold();
    let mut child = gather(&setup, runtime, "each");
    let at_most = child.ask("count");
    let watches = child.order("watches");
    let known = watches != "unknown";
    assert!(
        !known || number(&watches) >= MANY - 16,
        "{watches}: the others wait on events"
    );
    let dropped = number(&child.order("cancel 815"));
    drop(guards);
    everybody_is_served(&mut child, MANY - dropped);
    // Whoever was dropped holds nothing, and whoever was served has released.
    let guards = hold();
    // A second crowd needs no more than the first, and none of it stays when it is gone.
    child.order(&format!("crowd {} each {MANY}", runtime.name()));
    let again = child.ask("count");
    let descriptors = |count: &str| number(count.split_once(' ').expect("two").0);
    assert!(
        descriptors(&again) <= descriptors(&at_most) + 8,
        "{at_most}, then {again}"
    );
    child.order("cancel 1234567");
    drop(guards);
    child.order("served");
    assert!(!known || child.order("watches") == "0");
    block::until("descriptors and threads are given back", || {
        let left = child.ask("count");
        let (descriptors, threads) = left.split_once(' ').expect("two");
        number(descriptors) < 64 && number(threads) < 16
    });
    for number in 0..MANY {
        drop(lock(number).try_acquire().expect("it is free"));
    }
}

#[test]
fn a_crowd_of_tasks_wants_a_contended_lock_each() {
    for runtime in ALL {
        on_a_lock_each(runtime, Waiting::Best);
    }
    on_a_lock_each(Runtime::Tokio, Waiting::Events);
}

/// Nobody is forgotten behind the sixteen.
#[test]
fn a_lock_beyond_the_sixteenth_is_had_as_soon_as_it_is_free() {
    let setup = setup("flock", Waiting::Best);
    let lock = |number| Lock::new(own_lock(setup.folder.path(), number)).expect("a lock");
    let guards = Vec::from_iter((0..20).map(|n| lock(n).try_acquire().expect("it is free")));
    let runtime = Runtime::Tokio.start();
    let waiting = Vec::from_iter((0..20).map(|n| runtime.spawn(lock(n).acquire_async())));
    let mut journal = Vec::new();
    for (number, guard) in guards.into_iter().enumerate().rev() {
        guard.release().expect("it is held");
        // Its own waiter has it before the next one is released.
        block::until("its waiter has it", || {
            lock(number).try_acquire().is_err_and(|e| e.is_held())
        });
        journal.push(number);
    }
    assert_eq!(journal.len(), 20);
    runtime.block_on(async {
        for task in waiting {
            let guard = task.end().await.expect("it came free");
            drop(guard);
        }
    });
    let after = Timeout::After(PATIENCE);
    drop(lock(0).acquire_until(after).expect("it is free"));
}
