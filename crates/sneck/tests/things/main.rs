//! What stands at a lock's place: what each protocol makes of it, who may remove it, and what it says of a holder. On every system.
//!
//! | file | about |
//! |---|---|
//! | `kinds.rs` | something else stands at the path |
//! | `mixed.rs` | programs that take one path for locks of different protocols |
//! | `names.rs` | the path itself: folders that are missing, names that are too long |
//! | `holders.rs` | what became of the process that a claim names |
//! | `force.rs` | breaking and forcing on request, and what the robbed holder learns |
//! | `left.rs` | claims left behind in a party's name |
//!
//! Every test runs for every protocol that keeps its claims in files, as far as this system has them. Not for: what only Unix has (`bad_input`, `stale`), locks
//! that are taken away while they are held (`replaced`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

mod force;
mod holders;
mod kinds;
mod left;
mod mixed;
mod names;

use sneck::{Clean, Error, ErrorKind, Registry, Stale, Verdict, Waiting};
use sneck_testkit::planted::{claim_of, state};
use sneck_testkit::{Setup, claims};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use claims::names;

sneck_testkit::entry!(Registry::local);

fn setup(scheme: &str) -> Setup {
    setup_at(scheme, "lock").0
}

fn setup_at(scheme: &str, name: &str) -> (Setup, PathBuf) {
    let place = |folder: &Path| format!("{scheme}:{}", folder.join(name).display());
    let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
    let path = setup.folder.join(name);
    (setup, path)
}

/// A claim of this process stands at the place; where it does.
fn claimed(scheme: &str, pid: impl Display) -> (Setup, PathBuf) {
    let (setup, path) = setup_at(scheme, "lock");
    claim_of(scheme, &path, pid);
    (setup, path)
}

/// The number of a process that is no more.
fn dead() -> u32 {
    let mut process = setup("memory").child();
    process.kill();
    process.pid()
}

/// The error is of this kind, and names the path.
#[track_caller]
fn says(error: &Error, kind: ErrorKind, path: &Path) {
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
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
fn is_broken(setup: &Setup, pid: u32) {
    let place = &setup.place;
    let verdict = verdict(setup);
    assert!(verdict.is_gone(), "{place}: {verdict}");
    let lock = setup.lock();
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
