//! Looking at a held lock, while other locks of the machine come and go.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests lock as they like"
)]

use rustix::fs::{FlockOperation, flock};
use sneck::{Lock, Sighting};
use sneck_testkit::Folder;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The kernel hands its list out piece by piece; what ends in between shifts the rest.
fn is_never_seen_free_beside(others: usize) {
    let folder = Folder::new();
    let file = |name: String| File::create(folder.join(name)).expect("our own folder");
    let held: Vec<File> = (0..others).map(|n| file(format!("held-{n}"))).collect();
    for file in &held {
        flock(file, FlockOperation::NonBlockingLockExclusive).expect("it is free");
    }
    let lock = Lock::new(folder.join("lock")).expect("a lock");
    let stop = AtomicBool::new(false);
    let free = thread::scope(|scope| {
        for n in 0..3 {
            let other = file(format!("other-{n}"));
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    flock(&other, FlockOperation::LockExclusive).expect("it is free");
                    flock(&other, FlockOperation::Unlock).expect("it is held");
                }
            });
        }
        // Taken anew now and then: its place in the list is another one.
        let free = (0..40).map(|_| {
            let guard = lock.try_acquire().expect("it is free");
            let looks = (0..25).map(|_| lock.holder().expect("one can look"));
            let free = looks.filter(|seen| *seen == Sighting::Free).count();
            guard.release().expect("it is held");
            free
        });
        let free = free.sum::<usize>();
        stop.store(true, Ordering::Relaxed);
        free
    });
    assert_eq!(free, 0, "looks of 1000 that saw a held lock free");
}

#[test]
fn a_held_lock_is_never_seen_free_while_other_locks_come_and_go() {
    is_never_seen_free_beside(0);
}

#[test]
fn a_held_lock_is_never_seen_free_beside_hundreds_of_others() {
    is_never_seen_free_beside(300);
}
