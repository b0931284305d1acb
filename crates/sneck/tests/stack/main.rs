//! Several locks taken as one: nobody waits for each other for ever, nothing is held during a wait, and what is held is known at each part.
//!
//! | file | what must be so |
//! |---|---|
//! | `opposite.rs` | those who take the same locks in opposite order get on, beside others who take one of them |
//! | `waiting.rs` | nothing is held during a wait, nobody spins, the killed leave nothing |
//! | `again.rs` | re-entry, and what this process knows of its holdings |
//! | `parts.rs` | what can be made one lock, in which modes, and how its claims are removed |
//!
//! Not for: the contract of every protocol (`conformance_stack.rs`), programs of others (`company`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests make and remove what they like"
)]

mod again;
mod opposite;
mod parts;
mod waiting;

use sneck::{Error, ErrorKind, Guard, Lock, LockBuilder, Mode, Registry, Waiting};
use sneck_testkit::child::{Session, say};
use sneck_testkit::{Journal, PATIENCE, Setup};
use std::path::Path;

sneck_testkit::entry!(Registry::local, commands);

const WAYS: [Waiting; 3] = [Waiting::Best, Waiting::Events, Waiting::Polling];

/// Of each sort: a kernel's queue, a claim with a live mark, a claim without one.
const SORTS: [&str; 3] = ["flock", "pidfile", "symlink"];

/// Two locks of a test's own.
struct Two {
    setup: Setup,
    names: [String; 2],
}

impl Two {
    fn of(scheme: &str, waiting: Waiting) -> Two {
        // The place of the setup is no lock of the test.
        let place = |folder: &Path| format!("memory:{}", folder.display());
        let setup = Setup::new(Registry::local, place, waiting, CHILD_ENTRY);
        let name = |name: &str| format!("{scheme}:{}", setup.folder.join(name).display());
        let names = [name("a"), name("b")];
        Two { setup, names }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.setup.folder.join(name)
    }

    fn one_with(&self, index: usize, change: impl FnOnce(LockBuilder) -> LockBuilder) -> Lock {
        lock(change(self.setup.builder()), &self.names[index])
    }

    fn one(&self, index: usize) -> Lock {
        self.one_with(index, |b| b)
    }

    fn a(&self) -> Lock {
        self.one(0)
    }

    fn b(&self) -> Lock {
        self.one(1)
    }

    fn both_with(&self, change: impl FnOnce(LockBuilder) -> LockBuilder) -> Lock {
        let both = change(self.setup.builder()).all([self.a(), self.b()]);
        both.expect("two locks")
    }

    fn both(&self) -> Lock {
        self.both_with(|b| b)
    }

    /// `all ROUNDS JOURNAL A B`, in this order.
    fn course(&self, rounds: usize, journal: &Path, order: [usize; 2]) -> String {
        let [first, second] = order.map(|index| &self.names[index]);
        format!("all {rounds} {} {first} {second}", journal.display())
    }
}

fn lock(builder: LockBuilder, written: &str) -> Lock {
    let place = Registry::local().place(written).expect("a place");
    builder.at(&place).expect("a lock")
}

#[track_caller]
fn taken(lock: &Lock) -> Guard {
    lock.try_acquire().expect("it is free")
}

#[track_caller]
fn must_be_busy(lock: &Lock) -> Error {
    let error = lock.try_acquire().expect_err("somebody holds it");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    error
}

/// All of them are free, alone and together.
#[track_caller]
fn must_be_free(two: &Two) {
    for lock in [two.a(), two.b(), two.both()] {
        drop(taken(&lock));
    }
}

/// What children do here beside the usual.
///
/// | command | answer |
/// |---|---|
/// | `all ROUNDS JOURNAL PLACE…` | `turn` after every hundredth, `done` once it had them all so often |
/// | `single JOURNAL PLACE` | `turn` after every hundredth, until killed |
/// | `hold NAME PLACE…` | `held` or `refused`; `release NAME` |
fn commands(session: &mut Session, words: &[&str]) -> bool {
    let lock = |places: &[&str]| {
        let locks = places.iter().map(|p| lock(session.setup.builder(), p));
        session.setup.builder().all(locks).expect("locks")
    };
    match words {
        ["all", rounds, journal, places @ ..] => {
            let (lock, journal) = (lock(places), Journal::open(Path::new(journal)));
            for round in 0..rounds.parse::<u64>().expect("a number") {
                let guard = lock.acquire_within(PATIENCE);
                journal.visit(guard.expect("everybody gets a turn"));
                // Whoever waits for the end sees that it goes on, however slowly.
                if round % 100 == 99 {
                    say("turn");
                }
            }
            say("done");
        }
        ["single", journal, place] => {
            let (lock, journal) = (lock(&[place]), Journal::open(Path::new(journal)));
            for round in 0_u64.. {
                journal.visit(lock.acquire().expect("it can be had"));
                if round % 100 == 99 {
                    say("turn");
                }
            }
        }
        ["hold", name, places @ ..] => match lock(places).try_acquire() {
            Ok(guard) => {
                session.guards.insert((*name).to_owned(), guard);
                say("held");
            }
            Err(error) => say(&format!("refused {error}")),
        },
        _ => return false,
    }
    true
}
