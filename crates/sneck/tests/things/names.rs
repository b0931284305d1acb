//! The path itself: folders that are missing, names that are too long, devices.
//!
//! Not for: names that are no text, links on the way (`bad_input`); how a place is read (`place.rs` has tests of its own).

use crate::{names, says, setup_at};
use sneck::{ErrorKind, Place, Registry, Sighting};
use sneck_testkit::planted::{protocols, state};
use sneck_testkit::sys;
use std::fs;
use std::path::Path;

#[test]
fn a_missing_folder_is_named_and_not_made() {
    for scheme in protocols() {
        let (setup, path) = setup_at(scheme, "missing/lock");
        let error = setup.lock().acquire().expect_err("there is no folder");
        says(&error, ErrorKind::CannotCreate, &path);
        assert!(error.advice().is_some(), "{error}");
        assert_eq!(names(setup.folder.path()), [""; 0]);
        assert_eq!(setup.lock().holder().expect("one can look"), Sighting::Free);
    }
}

#[test]
fn what_is_no_folder_where_the_folder_should_be_is_left_alone() {
    for scheme in protocols() {
        let (setup, path) = setup_at(scheme, "file/lock");
        let file = setup.folder.join("file");
        fs::write(&file, "content").expect("our own folder");
        let before = state(&file);
        let error = setup.lock().acquire().expect_err("there is no folder");
        says(&error, ErrorKind::CannotCreate, &path);
        assert_eq!(state(&file), before);
    }
}

#[test]
fn a_name_that_is_too_long_cannot_be_made() {
    for scheme in protocols() {
        for name in ["x".repeat(256), "d/".repeat(3000) + "lock"] {
            let (setup, _) = setup_at(scheme, &name);
            let error = setup
                .lock()
                .acquire()
                .expect_err("no such name is possible");
            let kind = error.kind();
            assert!(sys::NAME_TOO_LONG.contains(&kind), "{error}");
            // The message is for people: it begins with the path and cuts it short.
            says(&error, kind, setup.folder.path());
            assert_eq!(names(setup.folder.path()), [""; 0]);
        }
    }
}

/// Other names are made beside it, or not: that is the protocol's own affair, and must not shorten what can be locked.
#[test]
fn the_longest_name_that_there_can_be_can_be_locked() {
    for scheme in protocols() {
        let (setup, _) = setup_at(scheme, &"x".repeat(255));
        let guard = setup
            .lock()
            .try_acquire()
            .unwrap_or_else(|e| panic!("{scheme}: {e}"));
        setup.child().must_be_refused();
        guard.release().expect("it is held");
    }
}

#[test]
fn what_is_no_name_is_a_matter_of_usage() {
    for scheme in protocols() {
        for bad in ["/", "..", "a/..", "a/", "a\0b"] {
            let place = Place::file(scheme, Path::new(bad));
            let lock = sneck::Lock::builder()
                .registry(&Registry::local())
                .at(&place);
            let error = lock.expect_err("no name");
            assert_eq!(error.kind(), ErrorKind::Usage, "{scheme} {bad:?}: {error}");
        }
    }
}

#[test]
fn a_device_is_no_place_for_a_lock() {
    for scheme in protocols() {
        for device in sys::DEVICES {
            let place = Place::file(scheme, Path::new(device));
            let lock = sneck::Lock::builder()
                .registry(&Registry::local())
                .at(&place);
            let error = match lock {
                Ok(lock) => {
                    let seen = lock.holder();
                    let looked = matches!(seen, Ok(Sighting::Foreign { .. }) | Err(_));
                    assert!(looked, "{scheme} {device}: {seen:?}");
                    lock.acquire().expect_err("it is a device")
                }
                Err(error) => error,
            };
            let kind = error.kind();
            assert!(
                matches!(kind, ErrorKind::Foreign | ErrorKind::Usage),
                "{scheme} {device}: {kind:?} {error}"
            );
        }
    }
}
