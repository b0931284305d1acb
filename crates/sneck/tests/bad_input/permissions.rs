//! An ordinary user may not do this or that: search, read or write the folder, read or write the file, remove another's claim.
//!
//! Not for: processes of other users that may not be signalled (`stale`).

use crate::{must_be_root, names, refusal_says, set_mode, setup, setup_at};
use rustix::fs::{FlockOperation, flock};
use sneck::ErrorKind;
use sneck_testkit::planted::{claim_of, protocols, protocols_with_numbers, state, things};
use sneck_testkit::{Child, Setup, sys};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A child that may do no more than everybody.
fn ordinary(setup: &Setup) -> Child {
    must_be_root();
    let mut child = setup.child();
    child.order(&format!("user {}", sys::NOBODY));
    child
}

/// A place in a folder of this mode, which belongs to somebody else.
fn in_a_folder(scheme: &str, mode: u32) -> (Setup, PathBuf) {
    let (setup, path) = setup_at(scheme, "closed/lock");
    let folder = setup.folder.join("closed");
    fs::create_dir(&folder).expect("our own folder");
    set_mode(&folder, mode);
    (setup, path)
}

#[test]
fn a_folder_that_is_not_ours_to_write_is_a_matter_of_permission() {
    for scheme in protocols() {
        let (setup, path) = in_a_folder(scheme, 0o755);
        let mut child = ordinary(&setup);
        refusal_says(&child.must_be_refused(), ErrorKind::NoPermission, &path);
        assert_eq!(names(&setup.folder.join("closed")), [""; 0]);
        // Nobody holds it, and everybody may see that.
        assert_eq!(child.order("look"), "Free");
    }
}

#[test]
fn a_folder_that_may_not_be_searched_is_a_matter_of_permission_for_whoever_looks_too() {
    for scheme in protocols() {
        let (setup, path) = in_a_folder(scheme, 0o766);
        let guard = setup.lock().try_acquire().expect("root may");
        let mut child = ordinary(&setup);
        refusal_says(&child.must_be_refused(), ErrorKind::NoPermission, &path);
        refusal_says(&child.order("look"), ErrorKind::NoPermission, &path);
        guard.release().expect("it is held");
    }
}

#[test]
fn a_folder_that_may_only_be_written_and_searched_is_enough() {
    for scheme in protocols() {
        let (setup, _) = in_a_folder(scheme, 0o733);
        let mut child = ordinary(&setup);
        child.acquire();
        ordinary(&setup).must_be_refused();
        assert!(setup.lock().try_acquire().is_err());
        child.release();
        let left = names(&setup.folder.join("closed"));
        assert!(left.iter().all(|name| name == "lock"), "{left:?}");
        child.acquire();
    }
}

/// Where no claim could be made whatever stood there, a file protocol says so instead of waiting in vain.
#[test]
fn a_live_claim_in_a_folder_that_is_not_ours_is_refused_and_can_be_seen() {
    for scheme in protocols() {
        let (setup, path) = in_a_folder(scheme, 0o755);
        let guard = setup.lock().try_acquire().expect("root may");
        let before = state(&path);
        let mut child = ordinary(&setup);
        let kind = match scheme {
            "fcntl" | "pidfile" | "shlock" | "labm8" | "dotlock" => ErrorKind::NoPermission,
            _ => ErrorKind::Busy,
        };
        refusal_says(&child.must_be_refused(), kind, &path);
        let seen = child.order("look");
        assert!(seen.starts_with("Held"), "{scheme}: {seen}");
        assert_eq!(state(&path), before);
        guard.release().expect("it is held");
    }
}

/// flock(2) wants no particular right; a record lock wants a descriptor that can write.
#[test]
fn a_lock_file_of_another_can_be_locked_as_far_as_its_mode_goes() {
    for (scheme, mode, can) in [
        ("flock", 0o666, true),
        ("flock", 0o644, true),
        ("flock", 0o602, true),
        ("flock", 0o600, false),
        ("fcntl", 0o666, true),
        ("fcntl", 0o644, false),
        ("fcntl", 0o602, true),
        ("fcntl", 0o600, false),
    ] {
        let (setup, path) = in_a_folder(scheme, 0o755);
        fs::write(&path, "content").expect("our own folder");
        set_mode(&path, mode);
        let before = state(&path);
        let mut child = ordinary(&setup);
        if can {
            child.acquire();
            assert!(setup.lock().try_acquire().is_err());
            child.release();
        } else {
            refusal_says(&child.must_be_refused(), ErrorKind::NoPermission, &path);
        }
        assert_eq!(state(&path), before, "{scheme} {mode:o}");
    }
}

#[test]
fn what_is_no_lock_is_refused_to_those_who_may_do_nothing_with_it_too() {
    for scheme in protocols() {
        for thing in things() {
            let (setup, path) = in_a_folder(scheme, 0o755);
            thing.plant(&path);
            if !path.is_symlink() {
                set_mode(&path, 0o600);
            }
            let before = state(&path);
            let mut child = ordinary(&setup);
            // What may not be read may be a claim: then permission is what is missing.
            let refusal = child.must_be_refused();
            assert!(
                refusal.contains(&path.display().to_string()),
                "{scheme}, {}: {refusal}",
                thing.name
            );
            assert_eq!(state(&path), before);
        }
    }
}

/// PEAK writes its claims for nobody else to read, and mutt for nobody at all: somebody holds it, and does not say who.
#[test]
fn a_claim_that_may_not_be_read_is_held_by_somebody_and_never_broken() {
    for scheme in protocols_with_numbers() {
        if scheme == "symlink" {
            // A link can be read by everybody.
            continue;
        }
        for pid in ["1", "4194305"] {
            let (setup, path) = in_a_folder(scheme, 0o1777);
            claim_of(scheme, &path, pid);
            set_mode(&path, 0o000);
            let before = state(&path);
            let mut child = ordinary(&setup);
            for how in ["once", "once likely", "30"] {
                child.tell(&format!("acquire it {how}"));
                let refusal = child.hear("refused");
                let kind = if how == "30" {
                    "TimedOut [?]"
                } else {
                    "Busy [?]"
                };
                assert!(refusal.starts_with(kind), "{scheme}: {refusal}");
            }
            let seen = child.order("look");
            assert!(seen.starts_with("Held"), "{scheme}: {seen}");
            assert_eq!(state(&path), before);
        }
    }
}

const PROTECTED: &str = "/proc/sys/fs/protected_regular";

/// The rule is the machine's own and has no namespaces: it is raised for one test, as most systems have it always, and put back.
struct Protected {
    before: String,
    _alone: File,
}

impl Protected {
    fn raise() -> Protected {
        must_be_root();
        let alone = File::open(PROTECTED).expect("the rule is there since Linux 4.19");
        flock(&alone, FlockOperation::LockExclusive).expect("one test at a time");
        let before = fs::read_to_string(PROTECTED).expect("it can be read");
        fs::write(PROTECTED, "2").expect("root may");
        Protected {
            before,
            _alone: alone,
        }
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        let _ = fs::write(PROTECTED, &self.before);
    }
}

#[test]
fn a_lock_file_of_another_in_a_sticky_folder_can_be_locked_although_it_may_not_be_created() {
    let _protected = Protected::raise();
    for scheme in ["flock", "fcntl"] {
        let (setup, path) = in_a_folder(scheme, 0o1777);
        fs::write(&path, "content").expect("our own folder");
        set_mode(&path, 0o666);
        std::os::unix::fs::chown(&path, Some(1), Some(1)).expect("root may");
        let before = state(&path);
        let mut child = ordinary(&setup);
        child.acquire();
        assert!(setup.lock().try_acquire().is_err());
        child.release();
        assert_eq!(state(&path), before);
    }
    must_be_in_force();
}

/// The test above proves nothing where the kernel would let one create.
fn must_be_in_force() {
    let (setup, path) = in_a_folder("flock", 0o1777);
    fs::write(&path, "").expect("our own folder");
    set_mode(&path, 0o666);
    std::os::unix::fs::chown(&path, Some(1), Some(1)).expect("root may");
    let script =
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -c ': >>\"$1\"' sh \"$1\"";
    let created = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&path)
        .stderr(std::process::Stdio::null())
        .status();
    let created = created.expect("`sh` is there").success();
    assert!(!created, "{PROTECTED} is not in force");
    drop(setup);
}

#[test]
fn in_a_sticky_folder_locks_come_and_go() {
    let _protected = Protected::raise();
    for scheme in protocols() {
        let (setup, _) = in_a_folder(scheme, 0o1777);
        for _ in 0..2 {
            let mut child = ordinary(&setup);
            child.acquire();
            ordinary(&setup).must_be_refused();
            assert!(setup.lock().try_acquire().is_err());
            child.release();
        }
    }
}

#[test]
fn nothing_stands_in_the_way_of_an_ordinary_user_in_a_folder_of_its_own() {
    for scheme in protocols() {
        let (setup, path) = setup(scheme);
        std::os::unix::fs::chown(setup.folder.path(), Some(sys::NOBODY), Some(sys::NOBODY))
            .expect("root may");
        let mut child = ordinary(&setup);
        child.acquire();
        assert!(Path::new(&path).symlink_metadata().is_ok());
        child.release();
    }
}

/// The folder was closed while it was held: what stands there stays, and whoever releases is told.
#[test]
fn a_claim_that_may_no_longer_be_removed_is_said_to_stay() {
    for scheme in protocols() {
        let (setup, path) = in_a_folder(scheme, 0o777);
        let mut child = ordinary(&setup);
        child.acquire();
        set_mode(&setup.folder.join("closed"), 0o755);
        if !protocols_with_numbers().contains(&scheme) {
            child.release();
            continue;
        }
        let inode = path.symlink_metadata().expect("it stands").ino();
        child.tell("release it");
        refusal_says(&child.hear("lost"), ErrorKind::NoPermission, &path);
        assert_eq!(path.symlink_metadata().expect("it stands").ino(), inode);
        // As soon as it may, and its maker is gone, the next one clears it away.
        child.kill();
        setup.child().acquire();
    }
}
