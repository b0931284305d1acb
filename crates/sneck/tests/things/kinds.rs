//! Something else stands at the path: every protocol meets every thing of the table in `sneck_testkit::planted`.
//!
//! Not for: content that is nearly right for one protocol alone (`bad_input`).

use crate::{says, setup_at};
use sneck::{ErrorKind, Sighting, Stale, Standing};
use sneck_testkit::planted::{Met, Thing, protocols, state, things};
use sneck_testkit::{Setup, block, must_block};
use std::fs;
use std::path::Path;
use std::time::Duration;

const A_WHILE: Duration = Duration::from_millis(40);

/// Each protocol with each thing that it is to meet in this way.
fn all_that_are(wanted: fn(Met) -> bool, check: impl Fn(&str, &Thing, &Setup, &Path)) {
    let mut met = 0;
    for scheme in protocols() {
        for thing in things() {
            if wanted(thing.met_by(scheme)) {
                let (setup, path) = setup_at(scheme, "lock");
                thing.plant(&path);
                println!("{scheme} meets {}", thing.name);
                check(scheme, thing, &setup, &path);
                met += 1;
            }
        }
    }
    assert!(met > 0, "nothing was tried");
}

/// Refused, however long one is ready to wait.
#[track_caller]
fn is_refused(setup: &Setup, path: &Path) -> String {
    let once = setup.lock().try_acquire().map(drop);
    let ready_to_wait = setup.lock();
    let waited = block::start(move || ready_to_wait.acquire().map(drop)).wait();
    for result in [once, waited] {
        let error = result.expect_err("this is no lock");
        says(&error, ErrorKind::Foreign, path);
    }
    match setup.lock().holder().expect("one can look") {
        Sighting::Foreign { what } => what,
        seen => panic!("this is no lock: {seen:?}"),
    }
}

#[test]
fn what_is_no_lock_is_refused_at_once_and_left_as_it_was() {
    all_that_are(
        |met| met == Met::Foreign,
        |_, _, setup, path| {
            let before = state(path);
            is_refused(setup, path);
            assert_eq!(state(path), before);
            assert_eq!(crate::names(setup.folder.path()), ["lock"]);
        },
    );
}

#[test]
fn what_may_become_a_claim_is_waited_for_and_damage_at_the_deadline() {
    all_that_are(
        |met| met == Met::Damaged,
        |_, _, setup, path| {
            let before = state(path);
            let seen = setup.lock().holder().expect("one can look");
            assert!(matches!(seen, Sighting::Damaged { .. }), "{seen:?}");
            for stale in [Stale::Never, Stale::Dead, Stale::Likely] {
                for wait in [Duration::ZERO, A_WHILE] {
                    let lock = setup.lock_with(|b| b.stale(stale));
                    let error = lock.acquire_within(wait).expect_err("this makes no sense");
                    says(&error, ErrorKind::Damaged, path);
                }
            }
            is_waited_for(setup, path, &before);
        },
    );
}

/// Whoever waits goes on waiting; and gets the lock when somebody cleans up.
#[track_caller]
fn is_waited_for(setup: &Setup, path: &Path, before: &str) {
    let lock = setup.lock();
    let waiter = must_block(move || lock.acquire());
    assert_eq!(state(path), before);
    assert_eq!(crate::names(setup.folder.path()), ["lock"]);
    // In one step: a folder half emptied would be another thing.
    let away = sneck_testkit::Folder::new();
    // On Windows not while somebody looks into it, as the waiter does now and then.
    block::until("it is moved away", || {
        fs::rename(path, away.join("lock")).is_ok()
    });
    let guard = waiter.wait().expect("nothing is in the way");
    assert_eq!(guard.standing(), Standing::Held);
    assert!(guard.broken().is_empty(), "nothing was broken");
}

#[test]
fn a_claim_of_any_protocol_is_busy_and_never_taken() {
    all_that_are(
        |met| matches!(met, Met::Busy(_)),
        |scheme, thing, setup, path| {
            let Met::Busy(claim_of) = thing.met_by(scheme) else {
                return;
            };
            let before = state(path);
            let seen = setup.lock().holder().expect("one can look");
            let [holder] = seen.holders() else {
                panic!("one holds it: {seen:?}");
            };
            let of_another = !claim_of.contains(&scheme);
            assert_eq!(holder.protocol.is_some(), of_another, "{seen:?}");
            assert!(holder.protocol.is_none_or(|p| p == claim_of[0]), "{seen:?}");
            let mut policies = vec![Stale::Never, Stale::Dead, Stale::Likely];
            if of_another {
                // What is not ours to break is not ours by force either.
                policies.push(Stale::After(Duration::from_millis(1)));
            }
            for stale in policies {
                let lock = setup.lock_with(|b| b.stale(stale));
                for (wait, kind) in [
                    (Duration::ZERO, ErrorKind::Busy),
                    (A_WHILE, ErrorKind::TimedOut),
                ] {
                    let error = lock.acquire_within(wait).expect_err("it is held");
                    says(&error, kind, path);
                    if of_another {
                        let named = format!("protocol {}", claim_of[0]);
                        assert!(error.to_string().contains(&named), "{error}");
                    }
                }
            }
            is_waited_for(setup, path, &before);
        },
    );
}

#[test]
fn the_content_of_a_kernel_locks_file_is_never_touched() {
    all_that_are(
        |met| met == Met::Lockable,
        |_, _, setup, path| {
            let before = state(path);
            let guard = setup.lock().try_acquire().expect("a file can be locked");
            setup.child().must_be_refused();
            assert_eq!(state(path), before);
            guard.release().expect("it is held");
            assert_eq!(state(path), before);
        },
    );
}

#[test]
fn every_protocol_of_files_is_in_the_table_or_is_said_to_be_missing_here() {
    let registry = sneck::Registry::local();
    let folder = sneck_testkit::Folder::new();
    let here = protocols();
    let known: Vec<&str> = registry.schemes().filter(|s| *s != "memory").collect();
    assert!(here.iter().all(|scheme| known.contains(scheme)));
    for missing in known.iter().filter(|s| !here.contains(s)) {
        let place = sneck::Place::file(missing, folder.join("lock"));
        let error = match sneck::Lock::builder().at(&place) {
            Ok(lock) => lock.try_acquire().expect_err("it is not to be had here"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(missing), "{error}");
        assert!(error.advice().is_some(), "what else to use: {error}");
        assert_eq!(crate::names(folder.path()), [""; 0], "nothing was made");
    }
}
