//! What a killed maker or remover leaves halfway is gone on with or swept by the next one, for whom the lock comes free without anybody's help; what a living one
//! has in hand is left to it.
//!
//! The states are planted (`sys::halfway`). Not for: being killed in them (`crash_points.rs` on Linux, `storm.rs` everywhere), what others leave (`things`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

use sneck::{Registry, Stale, Waiting};
use sneck_testkit::planted::protocols_with_numbers;
use sneck_testkit::{PATIENCE, Setup, claims, sys};
use std::path::{Path, PathBuf};

sneck_testkit::entry!(Registry::local);

fn setup(scheme: &str, waiting: Waiting) -> (Setup, PathBuf) {
    let place = |folder: &Path| claims::alone(scheme, folder);
    let setup = Setup::new(Registry::local, place, waiting, CHILD_ENTRY);
    let lock = setup.folder.join("locks").join("lock");
    (setup, lock)
}

fn each(check: impl Fn(&str, sys::Halfway, Waiting)) {
    let mut tried = 0;
    for scheme in protocols_with_numbers() {
        for state in sys::halfway(scheme) {
            for waiting in [Waiting::Best, Waiting::Polling] {
                println!("{scheme}: {}", state.0);
                check(scheme, *state, waiting);
                tried += 1;
            }
        }
    }
    assert!(tried > 0, "nothing was tried");
}

/// The number of a process that is no more.
fn dead() -> u32 {
    let mut process = setup("memory", Waiting::Best).0.child();
    process.kill();
    process.pid()
}

#[test]
fn what_a_dead_process_left_halfway_is_in_nobodys_way_and_swept_by_the_next_one() {
    each(|scheme, (name, plant), waiting| {
        let (setup, lock) = setup(scheme, waiting);
        let folder = lock.parent().expect("a folder");
        plant(&lock, dead());
        assert_eq!(claims::names(folder).len(), 1);
        // Whatever the policy: nobody is robbed.
        let next = setup.lock_with(|b| b.stale(Stale::Never));
        let guard = next.acquire_within(PATIENCE);
        let guard = guard.unwrap_or_else(|e| panic!("{scheme}, {name}: {e}"));
        setup.child().must_be_refused();
        assert_eq!(claims::names(folder), ["lock"], "{scheme}, {name}");
        guard.release().expect("it is held");
        assert_eq!(claims::names(folder), [""; 0], "{scheme}, {name}");
    });
}

#[test]
fn of_several_who_find_it_one_is_in() {
    each(|scheme, (name, plant), waiting| {
        let (setup, lock) = setup(scheme, waiting);
        let journal = setup.folder.join("journal");
        let mut others = [setup.child(), setup.child()];
        plant(&lock, dead());
        for child in &mut others {
            child.tell(&format!("course 10 2 {}", journal.display()));
        }
        for child in &mut others {
            child.hear("done");
        }
        let visits = sneck_testkit::Journal::open(&journal).check();
        assert_eq!(visits, 40, "{scheme}, {name}");
        let left = claims::names(lock.parent().expect("a folder"));
        assert_eq!(left, [""; 0], "{scheme}, {name}");
    });
}

/// Where it stands beside the lock, and not at its name.
#[test]
fn what_a_living_process_has_in_hand_is_left_to_it() {
    each(|scheme, (name, plant), waiting| {
        let (setup, lock) = setup(scheme, waiting);
        let folder = lock.parent().expect("a folder");
        plant(&lock, sys::somebody());
        let before = claims::names(folder);
        if before == ["lock"] {
            return;
        }
        let guard = setup.lock().acquire_within(PATIENCE);
        let guard = guard.unwrap_or_else(|e| panic!("{scheme}, {name}: {e}"));
        guard.release().expect("it is held");
        assert_eq!(claims::names(folder), before, "{scheme}, {name}");
    });
}
