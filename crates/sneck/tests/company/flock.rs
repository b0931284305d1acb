//! Programs that use flock(2): the kernel keeps their locks, so that neither a dead holder nor a dead claim of ours is in anybody's way, and the file
//! stays. Not for: record locks (`fcntl.rs`), libraries for Python (`python.rs`).

use super::*;
use sneck::Mode;

pub(super) const FLOCK: Company = Company {
    scheme: "flock",
    hold: |path| holding("flock", &["--no-fork"], path),
    once: |path| wrapping("flock", &["-n"], path, &["true"]),
    refused: 1,
    named: true,
    leaves: Leaves::Nothing,
    breaks: true,
    ripe: Duration::ZERO,
    stays: &["x.lock"],
};

pub(super) const SETLOCK: Company = Company {
    hold: |path| holding("setlock", &[], path),
    once: |path| wrapping("setlock", &["-n"], path, &["true"]),
    refused: 111,
    ..FLOCK
};

pub(super) const CHPST: Company = Company {
    hold: |path| holding("chpst", &["-l"], path),
    once: |path| wrapping("chpst", &["-L"], path, &["true"]),
    refused: 111,
    ..FLOCK
};

#[test]
fn flock_the_command_and_this_library_exclude_each_other() {
    exclude_each_other(&FLOCK, &WAYS);
}

#[test]
fn flock_the_command_and_this_library_see_each_other_die() {
    see_each_other_die(&FLOCK, &WAYS);
}

#[test]
fn setlock_and_this_library_exclude_each_other() {
    exclude_each_other(&SETLOCK, &WAYS);
}

#[test]
fn setlock_and_this_library_see_each_other_die() {
    see_each_other_die(&SETLOCK, &WAYS);
}

#[test]
fn chpst_and_this_library_exclude_each_other() {
    exclude_each_other(&CHPST, &WAYS);
}

#[test]
fn chpst_and_this_library_see_each_other_die() {
    see_each_other_die(&CHPST, &WAYS);
}

#[test]
fn readers_share_with_flock_the_command() {
    let (setup, path) = setup("flock", Waiting::Best);
    let guard = setup.lock_with(|b| b.mode(Mode::Shared)).try_acquire();
    let guard = guard.expect("it is free");
    let shared = |path: &Path| code(wrapping("flock", &["-sn"], path, &["true"]));
    assert_eq!(shared(&path), 0);
    assert_eq!(code((FLOCK.once)(&path)), 1);
    drop(guard);
    let _guard = setup.lock().try_acquire().expect("it is free");
    assert_eq!(shared(&path), 1);
}

#[test]
fn a_child_of_flock_the_command_that_outlives_it_is_named_as_the_holder() {
    let (setup, path) = setup("flock", Waiting::Best);
    // It forks; its child inherits the descriptor and keeps the lock when flock itself is killed.
    let script = ["sh", "-c", "echo $$; read -r line; exit 0"];
    let mut peer = Peer::start(wrapping("flock", &[], &path, &script));
    let heir: u32 = peer.hear().parse().expect("a number");
    peer.kill();
    let error = setup.lock().try_acquire().expect_err("the child holds it");
    assert_eq!(error.holders()[0].pid, Some(heir), "{error}");
    peer.go_on();
    let guard = setup.lock().acquire_within(PATIENCE);
    guard
        .expect("the child has ended")
        .release()
        .expect("it is held");
}

#[test]
fn flock_setlock_chpst_and_this_library_take_turns() {
    for company in [&FLOCK, &SETLOCK, &CHPST] {
        take_turns(company);
    }
}
