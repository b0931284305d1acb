//! A process is killed at each system call of an acquire and release in turn: the next one gets the lock in its time, by the usual policy, and nothing is
//! left over. For every protocol, with nothing there before, and with the claim of a dead process.
//!
//! How it is done: `sneck_testkit::crash`. Not for kills at random moments, of waiters too (`storm.rs`).

use sneck::{Registry, Waiting};
use sneck_testkit::Setup;
use sneck_testkit::crash::{self, Before, Exception};
use sneck_testkit::sys::Lack;

sneck_testkit::entry!(Registry::local, crash::commands);

/// Nothing that the protocol could not do better.
const NONE: Exception = |_| None;

/// Another program's directory is removed in two steps, the file inside first. Between them an empty directory stands there that does not say whose it is, and other programs make
/// such ones too: it is held by somebody unknown, and `--stale DURATION` or force removes it.
const HALF_REMOVED: Exception = |folder| {
    let lock = std::fs::metadata(folder.join("lock")).ok()?;
    let ours = std::os::unix::fs::MetadataExt::mode(&lock) & 0o1000 != 0;
    let empty = std::fs::read_dir(folder.join("lock"))
        .ok()?
        .next()
        .is_none();
    (!ours && empty).then_some("another program's directory, half removed")
};

/// Kill at every point. `calls`: what the protocol is made of, so that it must be among the calls that were tried; `least`: so many
/// points there are at least, over both beginnings.
fn every_point(scheme: &str, calls: &[&str], least: usize, lack: Lack, exception: Exception) {
    let mut points = 0;
    for before in [Before::Nothing, Before::DeadClaim, Before::DeadStranger] {
        if before == Before::DeadStranger && scheme != "mkdir" {
            continue;
        }
        let place = |folder: &std::path::Path| crash::place(scheme, folder);
        let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
        let tally = crash::kill_at_every_point(&setup, scheme, before, lack, exception);
        println!("{scheme}, {before:?}, lacks {lack:?}: {tally}");
        for call in calls {
            assert!(tally.calls.contains_key(*call), "{call} is not in {tally}");
        }
        assert!(tally.exceptions.values().sum::<usize>() <= 2, "{tally}");
        points += tally.points;
    }
    assert!(points >= least, "only {points} points");
}

macro_rules! protocols {
    ($($name:ident: $calls:expr, $least:expr, $exception:expr;)*) => {$(
        mod $name {
            #[test]
            fn the_next_process_gets_the_lock_wherever_the_last_one_was_killed() {
                super::every_point(stringify!($name), &$calls, $least, super::Lack::Nothing, $exception);
            }
        }
    )*};
}

protocols! {
    flock: ["flock", "close"], 40, super::NONE;
    symlink: ["symlinkat", "unlinkat", "flock"], 80, super::NONE;
    pidfile: ["linkat", "unlinkat", "flock"], 80, super::NONE;
    shlock: ["linkat", "unlinkat", "flock"], 80, super::NONE;
    labm8: ["linkat", "unlinkat", "flock"], 80, super::NONE;
    dotlock: ["linkat", "unlinkat", "flock"], 80, super::NONE;
    mkdir: ["mkdirat", "unlinkat", "flock"], 150, super::HALF_REMOVED;
}

#[test]
fn claims_that_cannot_be_made_nameless_or_linked_leave_nothing_either() {
    let calls = ["linkat", "unlinkat", "openat"];
    every_point("pidfile", &calls, 150, Lack::NamelessFiles, NONE);
    let calls = ["renameat2", "unlinkat", "openat"];
    every_point("pidfile", &calls, 150, Lack::Links, NONE);
}
