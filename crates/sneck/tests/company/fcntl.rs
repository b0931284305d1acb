//! Programs that use record locks, fcntl(2), on the whole file or on its first byte. Our own lock is one of an open file description, which excludes them.
//! Not for: flock(2) (`flock.rs`), libraries for Python (`python.rs`).

use super::flock::FLOCK;
use super::*;

pub(super) const LCKDO: Company = Company {
    scheme: "fcntl",
    hold: |path| holding("lckdo", &["-w"], path),
    once: |path| wrapping("lckdo", &[], path, &["true"]),
    refused: 75,
    ..FLOCK
};

pub(super) const WITH_LOCK_EX: Company = Company {
    scheme: "fcntl",
    hold: |path| holding("with-lock-ex", &["-w"], path),
    once: |path| wrapping("with-lock-ex", &["-f"], path, &["true"]),
    refused: 255,
    ..FLOCK
};

/// Its shortest wait is a second: `-t 0` means for ever.
pub(super) const RUNLOCK: Company = Company {
    scheme: "fcntl",
    hold: |path| holding("runlock", &["-t", "60", "-f"], path),
    once: |path| wrapping("runlock", &["-t", "1", "-f"], path, &["true"]),
    refused: 73,
    ..FLOCK
};

#[test]
fn lckdo_and_this_library_exclude_each_other() {
    exclude_each_other(&LCKDO, &WAYS);
}

#[test]
fn lckdo_and_this_library_see_each_other_die() {
    see_each_other_die(&LCKDO, &WAYS);
}

#[test]
fn with_lock_ex_and_this_library_exclude_each_other() {
    exclude_each_other(&WITH_LOCK_EX, &WAYS);
}

#[test]
fn with_lock_ex_and_this_library_see_each_other_die() {
    see_each_other_die(&WITH_LOCK_EX, &WAYS);
}

#[test]
fn runlock_and_this_library_exclude_each_other() {
    exclude_each_other(&RUNLOCK, &WAYS);
}

#[test]
fn runlock_and_this_library_see_each_other_die() {
    see_each_other_die(&RUNLOCK, &WAYS);
}

#[test]
fn with_lock_ex_in_quiet_mode_reports_success_without_having_run() {
    let (setup, path) = setup("fcntl", Waiting::Best);
    let _guard = setup.lock().try_acquire().expect("it is free");
    let made = setup.folder.join("made");
    let mut touch = wrapping("with-lock-ex", &["-q"], &path, &["touch"]);
    touch.arg(&made);
    assert_eq!(code(touch), 0);
    assert!(!made.exists());
}

#[test]
fn runlock_writes_its_pid_and_empties_the_file_even_while_it_waits() {
    let (setup, path) = setup("fcntl", Waiting::Best);
    let mut peer = Peer::start((RUNLOCK.hold)(&path));
    peer.must_say("in");
    let record = fs::read_to_string(&path).expect("it is there");
    assert_eq!(record, format!("{}\n", peer.pid()));
    peer.wait();
    let _guard = setup.lock().try_acquire().expect("it is free");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), record);
    assert_eq!(code((RUNLOCK.once)(&path)), 73);
    assert_eq!(fs::read(&path).expect("it is there"), b"");
}

#[test]
fn lckdo_with_lock_ex_runlock_and_this_library_take_turns() {
    for company in [&LCKDO, &WITH_LOCK_EX, &RUNLOCK] {
        take_turns(company);
    }
}
