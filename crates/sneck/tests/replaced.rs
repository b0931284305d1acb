//! The lock file or link removed or replaced while it is held: the holder is told, its release touches nothing that is not its own, and
//! newcomers wait for nothing that is gone.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

use sneck::{ErrorKind, Guard, Registry, Sighting, Standing, Waiting};
use sneck_testkit::{Setup, must_block};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

sneck_testkit::entry!(Registry::local);

const WAYS: [Waiting; 3] = [Waiting::Best, Waiting::Events, Waiting::Polling];

/// The protocols that lock a file in the kernel, each way of waiting.
fn kernel_locks() -> impl Iterator<Item = (&'static str, Waiting)> {
    let schemes = ["flock", "fcntl"].into_iter();
    schemes.flat_map(|scheme| WAYS.map(|waiting| (scheme, waiting)))
}

fn setup(scheme: &str, waiting: Waiting) -> (Setup, PathBuf) {
    let place = |folder: &std::path::Path| format!("{scheme}:{}/lock", folder.display());
    let setup = Setup::new(Registry::local, place, waiting, CHILD_ENTRY);
    let path = setup.folder.join("lock");
    (setup, path)
}

#[track_caller]
fn must_be_lost(guard: &Guard, why: &str) {
    let standing = guard.standing();
    let Standing::Lost(reason) = &standing else {
        panic!("it was lost: {standing:?}");
    };
    assert!(reason.contains(why), "{reason}");
    let error = guard.ensure_held().expect_err("it was lost");
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(error.to_string().contains(why), "{error}");
}

#[track_caller]
fn release_must_say_lost(guard: Guard) {
    let path = guard.place().to_string();
    let error = guard.release().expect_err("it was lost");
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    assert!(error.to_string().contains(&path), "{error}");
}

fn number(path: &std::path::Path) -> u64 {
    fs::symlink_metadata(path)
        .expect("something stands there")
        .ino()
}

/// After the loss: newcomers of this process and of another one get the new lock at once, and the old guard's release leaves it alone.
fn newcomers_get_it_and_the_release_leaves_them_alone(setup: &Setup, lost: Guard) {
    let path = setup.folder.join("lock");
    let newcomer = setup.lock().try_acquire().expect("what was held is gone");
    let new = number(&path);
    setup.child().must_be_refused();
    release_must_say_lost(lost);
    assert_eq!(number(&path), new);
    assert_eq!(newcomer.standing(), Standing::Held);
    setup.child().must_be_refused();
    newcomer.release().expect("it is held");
    let mut child = setup.child();
    child.acquire();
    child.release();
}

#[test]
fn the_holder_of_a_removed_lock_file_is_told_and_newcomers_get_a_new_one() {
    for (scheme, waiting) in kernel_locks() {
        let (setup, path) = setup(scheme, waiting);
        let guard = setup.lock().acquire().expect("it is free");
        assert_eq!(guard.standing(), Standing::Held);
        fs::remove_file(&path).expect("it is there");
        must_be_lost(&guard, "removed");
        assert_eq!(setup.lock().holder().expect("one can look"), Sighting::Free);
        newcomers_get_it_and_the_release_leaves_them_alone(&setup, guard);
    }
}

#[test]
fn the_holder_of_a_replaced_lock_file_is_told_and_newcomers_get_the_new_one() {
    for (scheme, waiting) in kernel_locks() {
        let (setup, path) = setup(scheme, waiting);
        let guard = setup.lock().acquire().expect("it is free");
        let other = setup.folder.join("other");
        fs::write(&other, "other content").expect("our own folder");
        fs::rename(&other, &path).expect("our own folder");
        must_be_lost(&guard, "replaced");
        newcomers_get_it_and_the_release_leaves_them_alone(&setup, guard);
        assert_eq!(
            fs::read_to_string(&path).expect("it is there"),
            "other content"
        );
    }
}

#[test]
fn a_release_after_the_file_was_replaced_leaves_the_file_of_another_holder_alone() {
    let (setup, path) = setup("flock", Waiting::Best);
    let record = || setup.lock_with(|b| b.record(sneck::Record::Pid));
    let guard = record().acquire().expect("it is free");
    fs::rename(&path, setup.folder.join("moved")).expect("our own folder");
    let mut child = setup.child();
    child.tell("acquire it forever record");
    child.hear("held");
    release_must_say_lost(guard);
    let content = fs::read_to_string(&path).expect("it is there");
    assert_eq!(content, format!("{}\n", child.pid()));
    child.release();
}

#[test]
fn whoever_waits_in_the_line_of_a_lost_lock_gets_the_new_one_before_the_old_is_released() {
    for scheme in ["flock", "fcntl", "symlink"] {
        for waiting in WAYS {
            let (setup, path) = setup(scheme, waiting);
            let guard = setup.lock().acquire().expect("it is free");
            let lock = setup.lock();
            let waiter = must_block(move || lock.acquire());
            fs::remove_file(&path).expect("it is there");
            // The old guard is still there.
            let new = waiter.wait().expect("what was held is gone");
            release_must_say_lost(guard);
            assert_eq!(new.standing(), Standing::Held);
            setup.child().must_be_refused();
        }
    }
}

#[test]
fn another_process_that_waits_on_events_or_polls_gets_the_new_one_before_the_old_is_released() {
    for (scheme, waiting) in [
        ("flock", Waiting::Events),
        ("flock", Waiting::Polling),
        ("fcntl", Waiting::Events),
        ("fcntl", Waiting::Polling),
        ("symlink", Waiting::Best),
        ("symlink", Waiting::Polling),
    ] {
        let (setup, path) = setup(scheme, waiting);
        let guard = setup.lock().acquire().expect("it is free");
        let mut child = setup.child();
        child.begin_to_wait();
        fs::remove_file(&path).expect("it is there");
        child.hear("held");
        let theirs = number(&path);
        release_must_say_lost(guard);
        assert_eq!(number(&path), theirs);
        assert_eq!(child.ask("standing it"), "Held");
        child.release();
    }
}

#[test]
fn a_process_that_sleeps_in_the_kernel_on_a_removed_file_gets_the_new_one_when_the_old_is_released()
{
    for scheme in ["flock", "fcntl"] {
        let (setup, path) = setup(scheme, Waiting::Best);
        let guard = setup.lock().acquire().expect("it is free");
        let mut child = setup.child();
        child.begin_to_wait();
        fs::remove_file(&path).expect("it is there");
        release_must_say_lost(guard);
        child.hear("held");
        assert_eq!(child.ask("standing it"), "Held");
        assert!(setup.lock().try_acquire().is_err());
    }
}

#[test]
fn the_holder_of_a_removed_link_is_told_and_newcomers_get_a_new_one() {
    for waiting in WAYS {
        let (setup, path) = setup("symlink", waiting);
        let guard = setup.lock().acquire().expect("it is free");
        fs::remove_file(&path).expect("it is there");
        must_be_lost(&guard, "removed");
        newcomers_get_it_and_the_release_leaves_them_alone(&setup, guard);
    }
}

#[test]
fn a_link_that_another_process_put_in_place_of_ours_is_left_alone() {
    for waiting in WAYS {
        let (setup, path) = setup("symlink", waiting);
        let guard = setup.lock().acquire().expect("it is free");
        fs::remove_file(&path).expect("it is there");
        // Even one with our own number: it is not the one that we made.
        let other = setup.child();
        symlink(other.pid().to_string(), &path).expect("our own folder");
        let theirs = number(&path);
        must_be_lost(&guard, "another's");
        release_must_say_lost(guard);
        assert_eq!(number(&path), theirs);
        let error = setup.lock().try_acquire().expect_err("another holds it");
        assert_eq!(error.holders()[0].pid, Some(other.pid()), "{error}");
    }
}
