//! The kernel's queue: who came first enters first, across processes.
//!
//! On Windows this wants Windows itself: wine 8 has no such queue. Not for: order inside a process (`order.rs`).

use sneck::protocol::Order;
use sneck::{Registry, Waiting};
use sneck_testkit::planted::of_these;
use sneck_testkit::{Child, Setup, sys};
use std::path::Path;

sneck_testkit::entry!(Registry::local);

fn setup(scheme: &str) -> Setup {
    let place = |folder: &Path| format!("{scheme}:{}/lock", folder.display());
    Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY)
}

#[test]
fn across_processes_exclusive_claims_are_served_first_come_first_served() {
    for scheme in of_these(&["flock", "fcntl"]) {
        let setup = setup(scheme);
        let path = setup.folder.join("lock");
        assert_eq!(setup.lock().capabilities().order, Order::ExclusiveFifo);
        let guard = setup.lock().try_acquire().expect("it is free");
        let mut waiters: Vec<Child> = Vec::new();
        for number in 0..4 {
            let mut child = setup.child();
            // With a time and without one: both stand in the kernel's queue.
            child.tell(["acquire it forever", "acquire it 100000000"][number % 2]);
            child.hear("waiting");
            sys::until_queued(&path, number + 1);
            waiters.push(child);
        }
        guard.release().expect("it is held");
        while !waiters.is_empty() {
            let mut first = waiters.remove(0);
            first.hear("held");
            assert!(waiters.iter_mut().all(|w| !w.has_said("held")), "{scheme}");
            first.release();
        }
    }
}
