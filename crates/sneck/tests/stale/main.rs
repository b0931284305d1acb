//! Stale claims: whose are broken, whose are not, and who is told.
//!
//! | file | about |
//! |---|---|
//! | `holders.rs` | what became of the process that a claim names |
//! | `times.rs` | claims and processes that are older or younger than they look |
//! | `namespaces.rs` | numbers that mean another process elsewhere |
//! | `marks.rs` | claims that somebody keeps locked, whatever their number says |
//! | `race.rs` | many breakers of one claim |
//!
//! Every test runs for every protocol whose claims name a process; the claims are planted as the other programs that speak the protocol write them. Not for:
//! what is no claim at all, breaking and forcing on request (`things`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

mod holders;
mod marks;
mod namespaces;
mod race;
mod times;

use sneck::{Clean, Registry, Stale, Verdict, Waiting};
use sneck_testkit::planted::{claim_of, state};
use sneck_testkit::{Setup, sys};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

sneck_testkit::entry!(Registry::local, race::commands);

fn setup(scheme: &str) -> Setup {
    setup_with(scheme, Waiting::Best)
}

fn setup_with(scheme: &str, waiting: Waiting) -> Setup {
    let place = |folder: &Path| format!("{scheme}:{}/lock", folder.display());
    Setup::new(Registry::local, place, waiting, CHILD_ENTRY)
}

/// A claim of this process stands at the place; where it does.
fn claimed(scheme: &str, pid: impl Display) -> (Setup, PathBuf) {
    let setup = setup(scheme);
    let path = setup.folder.join("lock");
    claim_of(scheme, &path, pid);
    (setup, path)
}

/// The number of a process that is no more.
fn dead() -> u32 {
    let mut process = Command::new("true").spawn().expect("`true` is there");
    process.wait().expect("one's own child");
    process.id()
}

/// What is known of the holder of the claim that stands there.
#[track_caller]
fn verdict(setup: &Setup) -> Verdict {
    let lock = setup.lock();
    let seen = lock.holder().expect("one can look");
    lock.verdict(&seen).expect("a claim is judged")
}

/// The claim is broken, by the usual policy.
#[track_caller]
fn is_broken(setup: &Setup, pid: u32, grounds: &str) {
    let place = &setup.place;
    let lock = setup.lock();
    let seen = lock.holder().expect("one can look");
    let verdict = lock.verdict(&seen).expect("a claim is judged");
    assert!(verdict.is_gone(), "{place}: {verdict}");
    assert!(verdict.to_string().contains(grounds), "{place}: {verdict}");
    let guard = lock.try_acquire();
    let guard = guard.unwrap_or_else(|e| panic!("its holder is gone: {e}"));
    assert_eq!(guard.was_clean(), Clean::No);
    assert_eq!(guard.broken()[0].pid, Some(pid));
    guard.release().expect("it is held");
    let guard = lock.try_acquire().expect("it was released");
    assert_eq!(guard.was_clean(), Clean::Yes);
    assert!(guard.broken().is_empty());
}

/// The claim is left alone, and stands as it was.
#[track_caller]
fn is_left_alone(setup: &Setup, policy: Stale) -> sneck::Error {
    let path = setup.folder.join("lock");
    let before = state(&path);
    let lock = setup.lock_with(|b| b.stale(policy));
    for wait in [0, 30] {
        let error = lock.acquire_within(Duration::from_millis(wait));
        assert!(
            error.as_ref().is_err_and(sneck::Error::is_held),
            "{}, {policy:?}: {error:?}",
            setup.place
        );
    }
    assert_eq!(state(&path), before);
    lock.try_acquire().expect_err("it is left alone")
}

/// What some tests cannot do without. They fail instead of passing without having looked.
#[track_caller]
fn must_be_root() {
    assert!(
        sys::is_root(),
        "this needs root, for other users and for namespaces: run the tests as root, in a container for instance"
    );
}
