//! Programs that lock the same file by the system's own calls, in each way that is in use: `flock` and they exclude each other, wait for each other, and
//! read together.
//!
//! They are played by processes of the test kit (`sys::Strange`). Not for: the programs themselves (`company`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep as they like"
)]

use sneck::{Guard, Lock, Mode, Registry, Waiting};
use sneck_testkit::child::{Session, say};
use sneck_testkit::sys::{Strange, WAYS_TO_LOCK};
use sneck_testkit::{Child, Journal, Setup, must_block};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

sneck_testkit::entry!(Registry::local, commands);

const ALL: [Waiting; 3] = [Waiting::Best, Waiting::Events, Waiting::Polling];

/// What strangers hold.
static HELD: Mutex<Vec<Strange>> = Mutex::new(Vec::new());

/// | command | answers |
/// |---|---|
/// | `try WAY MODE` | `done held` or `done busy` |
/// | `wait WAY MODE` | `asks`, then `done` once it holds |
/// | `leave` | `done` |
/// | `strange-course ROUNDS WAY JOURNAL` | `done` |
fn commands(session: &mut Session, words: &[&str]) -> bool {
    let path = path(&session.setup);
    let mode = |word: &str| match word {
        "shared" => Mode::Shared,
        _ => Mode::Exclusive,
    };
    let keep = |strange| HELD.lock().expect("no panic").push(strange);
    match words {
        ["try", way, how] => match Strange::try_lock(way, &path, mode(how)) {
            Some(strange) => {
                keep(strange);
                say("done held");
            }
            None => say("done busy"),
        },
        ["wait", way, how] => {
            say("asks");
            keep(Strange::lock(way, &path, mode(how)));
            say("done");
        }
        ["leave"] => {
            HELD.lock().expect("no panic").clear();
            say("done");
        }
        ["strange-course", rounds, way, journal] => {
            let journal = Journal::open(Path::new(journal));
            for _ in 0..rounds.parse().expect("a number") {
                let strange = Strange::lock(way, &path, Mode::Exclusive);
                journal.stay(Mode::Exclusive);
                drop(strange);
                // It is fair to nobody where the kernel is not.
                thread::yield_now();
            }
            say("done");
        }
        _ => return false,
    }
    true
}

fn setup(waiting: Waiting) -> Setup {
    let place = |folder: &Path| folder.join("lock").display().to_string();
    Setup::new(Registry::local, place, waiting, CHILD_ENTRY)
}

fn path(setup: &Setup) -> PathBuf {
    PathBuf::from(&setup.place)
}

#[track_caller]
fn must_be_busy(lock: &Lock) {
    let error = lock.try_acquire().expect_err("a stranger has it");
    assert!(error.is_held(), "{error}");
}

fn each(check: impl Fn(&Setup, &str, &mut Child)) {
    for way in WAYS_TO_LOCK {
        for waiting in ALL {
            let setup = setup(waiting);
            let mut stranger = setup.child();
            check(&setup, way, &mut stranger);
            // Nothing is left that is in anybody's way.
            drop(setup.lock().acquire().expect("it is free"));
            stranger.order("leave");
            let said = stranger.order(&format!("try {way} exclusive"));
            assert_eq!(said, "held", "{way}, {waiting:?}");
        }
    }
}

#[test]
fn a_stranger_keeps_us_out_until_it_leaves() {
    each(|setup, way, stranger| {
        assert_eq!(stranger.order(&format!("try {way} exclusive")), "held");
        must_be_busy(&setup.lock());
        must_be_busy(&setup.lock_with(|b| b.mode(Mode::Shared)));
        let lock = setup.lock();
        let waiter = must_block(move || lock.acquire().map(Guard::release));
        stranger.order("leave");
        let released = waiter.wait().expect("it came free");
        released.expect("it is held");
    });
}

#[test]
fn a_stranger_that_is_killed_lets_us_in() {
    for way in WAYS_TO_LOCK {
        for waiting in ALL {
            let setup = setup(waiting);
            let mut stranger = setup.child();
            assert_eq!(stranger.order(&format!("try {way} exclusive")), "held");
            let lock = setup.lock();
            let waiter = must_block(move || lock.acquire().map(drop));
            stranger.kill();
            waiter.wait().expect("its holder is dead");
        }
    }
}

#[test]
fn we_keep_a_stranger_out_until_we_leave() {
    each(|setup, way, stranger| {
        let guard = setup.lock().try_acquire().expect("it is free");
        for mode in ["exclusive", "shared"] {
            assert_eq!(stranger.order(&format!("try {way} {mode}")), "busy");
        }
        stranger.tell(&format!("wait {way} exclusive"));
        stranger.hear("asks");
        let mut other = setup.child();
        other.must_be_refused();
        assert!(!stranger.has_said("done held"), "we have it");
        guard.release().expect("it is held");
        stranger.hear("done");
        must_be_busy(&setup.lock());
        other.must_be_refused();
        stranger.order("leave");
    });
}

#[test]
fn readers_of_both_kinds_are_inside_together_and_writers_are_not() {
    each(|setup, way, stranger| {
        let reader = setup.lock_with(|b| b.mode(Mode::Shared));
        let guard = reader.try_acquire().expect("it is free");
        assert_eq!(stranger.order(&format!("try {way} exclusive")), "busy");
        assert_eq!(stranger.order(&format!("try {way} shared")), "held");
        must_be_busy(&setup.lock());
        let mut other = setup.child();
        other.tell("acquire it once shared");
        other.hear("held");
        other.release();
        drop(guard);
        must_be_busy(&setup.lock());
        stranger.order("leave");
    });
}

#[test]
fn strangers_and_we_are_never_inside_together() {
    const ROUNDS: usize = 100;
    for way in WAYS_TO_LOCK {
        for waiting in ALL {
            let setup = setup(waiting);
            let journal = setup.folder.join("journal");
            let (mut ours, mut stranger) = (setup.child(), setup.child());
            ours.tell(&format!("course {ROUNDS} 2 {}", journal.display()));
            stranger.tell(&format!(
                "strange-course {ROUNDS} {way} {}",
                journal.display()
            ));
            ours.hear("done");
            stranger.hear("done");
            assert_eq!(Journal::open(&journal).check(), 3 * ROUNDS, "{way}");
        }
    }
}
