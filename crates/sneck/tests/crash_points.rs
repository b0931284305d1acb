//! A process is killed at each system call of an acquire and release in turn: the next one gets the lock in its time, by the usual policy, and nothing is
//! left over. For every protocol, with nothing there before, and with the claim of a dead process. There is no exception.
//!
//! How it is done: `sneck_testkit::crash`. Not for kills at random moments, of waiters too (`storm.rs`).

use sneck::{Registry, Waiting};
use sneck_testkit::crash::{self, Before};
use sneck_testkit::sys::Lack;
use sneck_testkit::{Setup, claims};

sneck_testkit::entry!(Registry::local, crash::commands);

/// Kill at every point. `calls`: what the protocol is made of, so that it must be among the calls that were tried; `least`: so many
/// points there are at least, over all beginnings.
fn every_point(scheme: &str, calls: &[&str], least: usize, lack: Lack) {
    let mut points = 0;
    for before in [Before::Nothing, Before::DeadClaim, Before::DeadStranger] {
        if before == Before::DeadStranger && scheme != "mkdir" {
            continue;
        }
        let place = |folder: &std::path::Path| claims::alone(scheme, folder);
        let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
        let tally = crash::kill_at_every_point(&setup, scheme, before, lack);
        println!("{scheme}, {before:?}, lacks {lack:?}: {tally}");
        for call in calls {
            assert!(tally.calls.contains_key(*call), "{call} is not in {tally}");
        }
        points += tally.points;
    }
    assert!(points >= least, "only {points} points");
}

macro_rules! protocols {
    ($($name:ident: $calls:expr, $least:expr;)*) => {$(
        mod $name {
            #[test]
            fn the_next_process_gets_the_lock_wherever_the_last_one_was_killed() {
                super::every_point(stringify!($name), &$calls, $least, super::Lack::Nothing);
            }
        }
    )*};
}

protocols! {
    flock: ["flock", "close"], 40;
    fcntl: ["fcntl", "close"], 40;
    symlink: ["symlinkat", "unlinkat", "flock"], 80;
    pidfile: ["linkat", "unlinkat", "flock"], 80;
    shlock: ["linkat", "unlinkat", "flock"], 80;
    labm8: ["linkat", "unlinkat", "flock"], 80;
    dotlock: ["linkat", "unlinkat", "flock"], 80;
    mkdir: ["mkdirat", "unlinkat", "flock"], 150;
}

#[test]
fn claims_that_cannot_be_made_nameless_or_linked_leave_nothing_either() {
    let calls = ["linkat", "unlinkat", "openat"];
    every_point("pidfile", &calls, 150, Lack::NamelessFiles);
    let calls = ["renameat2", "unlinkat", "openat"];
    every_point("pidfile", &calls, 150, Lack::Links);
}
