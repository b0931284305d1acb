//! The live mark: a claim that somebody keeps locked is alive, whatever its number says.
//!
//! Not for `symlink`: a link has no inode that could be locked.

use crate::{claimed, dead, is_left_alone, setup, verdict};
use sneck::{Stale, Verdict};
use sneck_testkit::planted::{protocols_with_numbers, state};
use sneck_testkit::{block, must_block};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

fn marked_protocols() -> Vec<&'static str> {
    let mut all = protocols_with_numbers();
    all.retain(|scheme| *scheme != "symlink");
    all
}

/// Another program keeps the claim locked, by another descriptor than any of ours.
fn mark(path: &Path) -> File {
    let file = File::open(path).expect("it can be read");
    flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody has locked it");
    file
}

#[test]
fn a_claim_of_a_dead_number_that_is_kept_locked_is_alive_until_it_is_not() {
    for scheme in marked_protocols() {
        let dead = dead();
        let (setup, path) = claimed(scheme, dead);
        assert!(verdict(&setup).is_gone(), "{scheme}");
        let locked = mark(&path);
        assert_eq!(verdict(&setup), Verdict::Marked, "{scheme}");
        for policy in [Stale::Never, Stale::Dead, Stale::Likely] {
            is_left_alone(&setup, policy);
        }
        let lock = setup.lock();
        let waiter = must_block(move || lock.acquire());
        drop(locked);
        let guard = waiter.wait().expect("nobody keeps it any more");
        assert_eq!(guard.broken()[0].pid, Some(dead));
    }
}

#[test]
fn a_live_holder_without_a_mark_is_alive_all_the_same() {
    for scheme in marked_protocols() {
        let child = setup(scheme).child();
        let (setup, _) = claimed(scheme, child.pid());
        assert_eq!(verdict(&setup), Verdict::Alive);
        is_left_alone(&setup, Stale::Likely);
    }
}

/// Whoever reads the claim must find it locked from the first moment on.
#[test]
fn our_own_claims_are_locked_as_long_as_they_stand() {
    for scheme in marked_protocols() {
        let setup = setup(scheme);
        let path = setup.folder.join("lock");
        let is_locked = || {
            let mut other = Command::new("flock");
            let done = other.arg("-n").arg(&path).arg("true").status();
            !done.expect("`flock` is there").success()
        };
        let mut child = setup.child();
        child.acquire();
        assert!(is_locked(), "{scheme}");
        // Nor does looking, by us or by others, take the mark away.
        setup.child().must_be_refused();
        let _ = setup.lock().holder().expect("one can look");
        assert!(is_locked(), "{scheme}");
        let before = state(&path);
        child.kill();
        assert!(!is_locked(), "{scheme}: it goes with its maker");
        assert_eq!(state(&path), before, "and the claim stays");
        setup.child().acquire();
    }
}

#[test]
fn a_descriptor_that_a_child_inherited_does_not_keep_a_dead_holders_claim_alive() {
    for scheme in marked_protocols() {
        let setup = setup(scheme);
        let mut holder = setup.child();
        holder.acquire();
        // A copy of the process, which lives on.
        holder.tell("fork-and-stay");
        holder.hear("forked");
        holder.kill();
        let lock = setup.lock();
        let waiter = block::start(move || lock.acquire().map(drop));
        waiter.wait().expect("its holder is gone");
    }
}

#[test]
fn what_another_program_wrote_over_a_marked_claim_of_ours_is_no_longer_ours() {
    let setup = setup("labm8");
    let path = setup.folder.join("lock");
    let guard = setup.lock().try_acquire().expect("it is free");
    // labm8's force: in place.
    fs::write(&path, "1 1795226671.5779793\n").expect("our own folder");
    assert!(matches!(guard.standing(), sneck::Standing::Lost(_)));
    let before = state(&path);
    guard.release().expect_err("it was taken away");
    assert_eq!(state(&path), before, "theirs is left alone");
    let error = setup.lock().try_acquire().expect_err("another holds it");
    assert_eq!(error.holders()[0].pid, Some(1));
}
