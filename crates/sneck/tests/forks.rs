//! A forked child holds nothing, whatever its copies of handles and guards say in the parent.
//!
//! Not for: what every protocol must keep beside a fork (`conformance`), tasks (`tasks`). Forks are Unix's.

use sneck::{Lock, Registry, Sighting, Standing, Waiting};
use sneck_testkit::{Setup, sys};
use std::path::Path;

sneck_testkit::entry!(Registry::local);

#[test]
fn a_forked_child_has_locks_of_its_own() {
    let named = || {
        let place = Registry::local().place("memory:fork").expect("a place");
        Lock::builder().at(&place).expect("a lock")
    };
    let lock = named();
    let mut guard = Some(lock.try_acquire().expect("it is free"));
    let child = sys::fork(|| {
        let copy = guard.take().expect("it was held");
        if !matches!(copy.standing(), Standing::Lost(_)) || lock.is_held_in_this_process() {
            return 1;
        }
        let Ok(own) = lock.try_acquire() else {
            return 2;
        };
        // The parent's guard says nothing about what this process holds.
        drop(copy);
        if own.standing() != Standing::Held || named().try_acquire().is_ok() {
            return 3;
        }
        if own.release().is_err() || !lock.holder().is_ok_and(|seen| seen == Sighting::Free) {
            return 4;
        }
        0
    });
    assert_eq!(child.wait(), 0);
    assert!(lock.try_acquire().is_err_and(|e| e.is_held()));
    guard.take().expect("ours").release().expect("it is held");
    drop(lock.try_acquire().expect("it is free"));
}

#[test]
fn a_forked_child_answers_the_questions_of_holding_as_an_outsider() {
    for scheme in ["flock", "fcntl", "pidfile", "symlink", "memory"] {
        let place = |folder: &Path| format!("{scheme}:{}/lock", folder.display());
        let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
        let (lock, other) = (setup.lock(), setup.lock());
        let clone = lock.clone();
        let guard = lock.try_acquire().expect("it is free");
        let own = Some(std::process::id()).filter(|_| scheme != "memory");
        let forked = sys::fork(|| {
            let holds_nothing = |lock: &Lock| {
                let seen = lock.holder().expect("one can look");
                !lock.is_held_by_this_handle()
                    && !lock.is_held_in_this_process()
                    && seen.holders().first().and_then(|h| h.pid) == own
            };
            i32::from(![&lock, &clone, &other].into_iter().all(holds_nothing))
        });
        assert_eq!(forked.wait(), 0, "{scheme}");
        assert_eq!(guard.standing(), Standing::Held);
    }
}
