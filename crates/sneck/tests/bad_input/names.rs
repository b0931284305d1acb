//! The path itself: links on the way, names that are no text or that a terminal would obey.
//!
//! Not for: folders that are missing and names that are too long (`things`), how a place is read (`place.rs` has tests of its own).

use crate::{names, says, setup_at};
use sneck::{ErrorKind, Place, Registry};
use sneck_testkit::planted::protocols;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

#[test]
fn a_link_that_leads_nowhere_where_the_folder_should_be_is_left_alone() {
    for scheme in protocols() {
        let (setup, path) = setup_at(scheme, "link/lock");
        std::os::unix::fs::symlink("nowhere", setup.folder.join("link")).expect("our own folder");
        let error = setup.lock().acquire().expect_err("there is no folder");
        says(&error, ErrorKind::CannotCreate, &path);
        assert_eq!(names(setup.folder.path()), ["link"]);
    }
}

#[test]
fn a_folder_that_is_a_link_to_itself_is_no_place() {
    for scheme in protocols() {
        let (setup, path) = setup_at(scheme, "link/lock");
        std::os::unix::fs::symlink("link", setup.folder.join("link")).expect("our own folder");
        let error = setup.lock().acquire().expect_err("there is no folder");
        says(&error, ErrorKind::Foreign, &path);
    }
}

#[test]
fn a_name_that_is_no_text_is_a_name_like_any_other() {
    for scheme in protocols() {
        for name in [
            &b"\xff\xfe"[..],
            b"a\xc3",
            b"tab\tand\nline",
            b"\x1b[31m",
            b" ",
        ] {
            let name = OsStr::from_bytes(name);
            let folder = sneck_testkit::Folder::new();
            let path = folder.join(name);
            let place = Place::file(scheme, &path);
            let lock = || {
                sneck::Lock::builder()
                    .registry(&Registry::local())
                    .at(&place)
                    .expect("a path")
            };
            let guard = lock()
                .try_acquire()
                .unwrap_or_else(|e| panic!("{scheme} {name:?}: {e}"));
            assert!(
                path.symlink_metadata().is_ok(),
                "{scheme} made {name:?} itself"
            );
            assert_eq!(names(folder.path()).len(), 1, "{scheme} made nothing else");
            let error = lock().try_acquire().expect_err("it is held").to_string();
            assert!(
                error.contains(&folder.path().display().to_string()),
                "{error}"
            );
            assert!(!error.contains(char::is_control), "{error:?}");
            guard.release().expect("it is held");
        }
    }
}
