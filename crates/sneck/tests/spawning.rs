//! A program of several threads that starts processes all the time never finds its own released lock held.
//!
//! Between fork and exec a child has every descriptor of its parent, and an flock lives until the last copy of its descriptor is closed, unless it is
//! unlocked.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use sneck::{Lock, Registry};
use sneck_testkit::{Folder, PATIENCE};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

const SPAWNERS: usize = 4;
const CYCLES: usize = 4000;
const SPAWNED: usize = 200;

/// While processes are started all the time, try again and again; how often it was busy. Ends after enough of both, or at the first busy try if
/// `until_busy`.
fn busy_tries(until_busy: bool, mut cycle: impl FnMut() -> bool) -> usize {
    let (stop, spawned) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..SPAWNERS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let mut command = Command::new("true");
                    command.stdin(Stdio::null()).stdout(Stdio::null());
                    assert!(command.status().expect("`true` is there").success());
                    spawned.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (mut cycles, mut busy, start) = (0, 0, Instant::now());
        while cycles < CYCLES || spawned.load(Ordering::Relaxed) < SPAWNED || until_busy {
            busy += usize::from(!cycle());
            cycles += 1;
            if start.elapsed() > PATIENCE || (until_busy && busy > 0) {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        busy
    })
}

fn never_finds_its_own_lock_held(scheme: &str) {
    let folder = Folder::new();
    let place = format!("{scheme}:{}", folder.join("lock").display());
    let registry = Registry::local();
    let place = registry.place(place).expect("a place");
    let handle = || Lock::builder().at(&place).expect("a lock");
    let kept = handle();
    let mut explicit = false;
    let busy = busy_tries(false, || {
        explicit = !explicit;
        let lock = if explicit { kept.clone() } else { handle() };
        match lock.try_acquire() {
            Ok(guard) if explicit => guard.release().map(|()| true).expect("it is held"),
            Ok(guard) => {
                drop(guard);
                true
            }
            Err(error) if error.is_held() => false,
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!(busy, 0, "tries that found the lock held");
}

#[test]
fn a_released_flock_is_free_whoever_has_a_copy_of_the_descriptor() {
    never_finds_its_own_lock_held("flock");
}

#[test]
fn a_released_ofd_lock_is_free_whoever_has_a_copy_of_the_descriptor() {
    never_finds_its_own_lock_held("fcntl");
}

#[test]
fn a_released_symlink_is_free_whoever_has_a_copy_of_the_descriptor() {
    never_finds_its_own_lock_held("symlink");
}

#[test]
fn a_lock_that_is_only_closed_is_found_held_by_this_very_check() {
    let folder = Folder::new();
    let path = folder.join("lock");
    assert!(
        busy_tries(true, || closed_only(&path)) > 0,
        "the check is blind"
    );
}

/// How most libraries do it. True: it could be locked.
fn closed_only(path: &Path) -> bool {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::RUSR | Mode::WUSR).expect("it can be opened");
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}
