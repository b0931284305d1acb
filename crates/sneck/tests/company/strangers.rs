//! Programs of one kind at the locks of another: what is true, as documentation. What they do is theirs; that we notice is ours.
//!
//! Not for: what we do at the claims of others, which `formats.rs` beside this folder shows by their bytes.

use super::fcntl::{LCKDO, RUNLOCK};
use super::files::{DOTLOCKFILE, SHLOCK_1};
use super::flock::FLOCK;
use super::python::LOCKET;
use super::*;
use sneck::ErrorKind;

/// Both are in at the same time: whoever has to do with both kinds needs both locks.
#[test]
fn flock_and_record_locks_on_one_file_never_exclude_each_other() {
    for (ours, theirs) in [("flock", &LCKDO), ("fcntl", &FLOCK)] {
        let (setup, path) = setup(ours, Waiting::Best);
        let guard = setup.lock().try_acquire().expect("it is free");
        assert_eq!(code((theirs.once)(&path)), 0, "beside our {ours}");
        guard.release().expect("it is held");
        let mut peer = Peer::start((theirs.hold)(&path));
        peer.must_say("in");
        let guard = setup.lock().try_acquire().expect("theirs is another kind");
        guard.release().expect("it is held");
        peer.wait();
    }
}

/// Our claims bear a mark: their own inode is locked as long as their maker lives.
#[test]
fn flock_the_command_at_a_claim_of_ours_is_refused_and_the_claim_stays_whole() {
    for scheme in ["pidfile", "shlock", "labm8", "dotlock", "mkdir"] {
        let (setup, path) = setup(scheme, Waiting::Best);
        let guard = setup.lock().try_acquire().expect("it is free");
        let stands = claim(&path);
        assert_eq!(code((FLOCK.once)(&path)), 1, "{scheme}");
        assert_eq!(claim(&path), stands, "{scheme}");
        assert_eq!(guard.standing(), Standing::Held, "{scheme}");
        guard.release().expect("it is held");
        assert!(names(setup.folder.path()).is_empty(), "{scheme}");
    }
}

/// It opens what is there and asks for a record lock, which no claim bears.
#[test]
fn lckdo_at_a_claim_of_ours_is_let_in_and_the_claim_stays_whole() {
    for scheme in ["pidfile", "shlock", "labm8", "dotlock"] {
        let (setup, path) = setup(scheme, Waiting::Best);
        let guard = setup.lock().try_acquire().expect("it is free");
        let stands = claim(&path);
        assert_eq!(code((LCKDO.once)(&path)), 0, "{scheme}");
        assert_eq!(claim(&path), stands, "{scheme}");
        guard.release().expect("it is held");
    }
}

/// locket empties the file before it asks for the lock, runlock as well. Then nobody can read whose claim it was, so that it is lost, and said to be.
#[test]
fn a_claim_of_ours_that_another_program_empties_is_lost_and_left_alone() {
    for scheme in ["pidfile", "shlock", "labm8", "dotlock"] {
        for (company, expected) in [(&LOCKET, 9), (&RUNLOCK, 0)] {
            let (setup, path) = setup(scheme, Waiting::Best);
            let guard = setup.lock().try_acquire().expect("it is free");
            assert_eq!(code((company.once)(&path)), expected, "{scheme}");
            assert!(matches!(guard.standing(), Standing::Lost(_)), "{scheme}");
            let stands = claim(&path);
            let error = guard.release().expect_err("it was emptied");
            assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
            assert_eq!(claim(&path), stands, "{scheme}");
        }
    }
}

/// Neither looks whether anybody has it locked: to dotlockfile a file that exists is a claim, to INN 1 one that names nobody is not.
#[test]
fn programs_that_make_files_know_nothing_of_a_file_that_is_locked() {
    let (setup, path) = setup("flock", Waiting::Best);
    let guard = setup.lock().try_acquire().expect("it is free");
    assert_eq!(code((DOTLOCKFILE.once)(&path)), 4);
    assert_eq!(guard.standing(), Standing::Held);
    assert_eq!(code((SHLOCK_1.once)(&path)), 0);
    assert!(matches!(guard.standing(), Standing::Lost(_)));
}
