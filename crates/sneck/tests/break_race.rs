//! The break race made wide: four processes fall on one dead claim, with the calls that remove and rename made slow. Never are two inside at once; and
//! the same race finds two inside where breakers are naive, and where they are stock Twisted.
//!
//! How it is done: `sneck_testkit::race`. `flock` and `fcntl` leave no claims, so there is nothing to break. Not for what is judged stale
//! (`stale.rs`). `scripts/test` installs strace and Twisted, and says in `SNECK_TEST_PYTHON` which Python has it.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests look at the clock"
)]

use sneck::{Registry, Waiting};
use sneck_testkit::child::Start;
use sneck_testkit::race::{self, RACERS, Race, race};
use sneck_testkit::{Child, PATIENCE, Setup, claims, sys};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

sneck_testkit::entry!(Registry::local, race::commands);

const ROUNDS: usize = 40;

fn setup(scheme: &str, waiting: Waiting) -> Setup {
    let place = |folder: &Path| claims::alone(scheme, folder);
    Setup::new(Registry::local, place, waiting, CHILD_ENTRY)
}

fn racers<'a>(setup: &Setup, commands: [&'a str; RACERS]) -> Vec<(Child, &'a str)> {
    let numbered = commands.into_iter().enumerate();
    let start = |(number, command)| match command {
        "twisted" => (twisted(setup, number), "fall"),
        command => (race::racer(setup, number), command),
    };
    numbered.map(start).collect()
}

/// Nobody is let in beside another one, and nothing is left over.
fn only_one_gets_in(scheme: &str) {
    for waiting in [Waiting::Best, Waiting::Polling] {
        let setup = setup(scheme, waiting);
        let mut racers = racers(&setup, ["fall"; RACERS]);
        let race = race(&setup, &mut racers, ROUNDS, |race| {
            !race.overlaps.is_empty()
        });
        assert_eq!(race.overlaps, "", "{scheme}: {:#?}", race.deeds);
        assert_eq!(race.stays, RACERS * ROUNDS);
        assert_eq!(race.litter, [""; 0], "what is left over");
        let count = |what: &str| race.deeds.iter().filter(|d| d.what == what).count();
        assert_eq!(count("removed"), ROUNDS, "each dead claim was removed once");
        assert_eq!(count("lost"), 0);
        let tries = race.deeds.len() - 2 * ROUNDS - count("made");
        println!("{scheme}, {waiting:?}: {ROUNDS} rounds, {tries} removals given up");
    }
}

/// The race finds two inside, round after round until it does.
fn two_get_in(scheme: &str, commands: [&str; RACERS]) {
    let start = Instant::now();
    let mut rounds = 0;
    loop {
        let setup = setup(scheme, Waiting::Best);
        let mut racers = racers(&setup, commands);
        let race = race(&setup, &mut racers, ROUNDS, |race| {
            !race.overlaps.is_empty()
        });
        rounds += race.stays / RACERS;
        if !race.overlaps.is_empty() {
            println!("{scheme}, {commands:?}: two inside at once after {rounds} rounds");
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{scheme}: the race is blind");
    }
}

macro_rules! protocols {
    ($($name:ident)*) => {$(
        mod $name {
            #[test]
            fn of_many_breakers_of_one_dead_claim_only_one_gets_in() {
                super::only_one_gets_in(stringify!($name));
            }

            #[test]
            fn naive_breakers_are_caught_by_this_very_race() {
                super::two_get_in(stringify!($name), ["fall-naively"; 4]);
            }
        }
    )*};
}

protocols! { symlink pidfile shlock labm8 dotlock mkdir }

/// Stock Twisted, which says what it does.
const TWISTED: &str = r#"
import os, sys, threading, time
from twisted.python import lockfile

name = sys.argv[1]
own = os.getpid()
real = lockfile.rmlink
deeds = None

def note(path, line):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, line.encode())
    os.close(fd)

def deed(what, inode, pid):
    note(deeds, f"{what}\t{own}\t{time.monotonic_ns()}\t{inode}\t{pid}\ttwisted\n")

def rmlink(path):
    real(path)
    deed("removed", 0, 0)

def stay(journal, what):
    who = f"{own}.{threading.get_native_id()}"
    note(journal, f"{who} {what} {time.monotonic_ns()} exclusive\n")

def fall(journal):
    lock = lockfile.FilesystemLock(name)
    lockfile.rmlink = rmlink
    while not lock.lock():
        time.sleep(0.001)
    lockfile.rmlink = real
    deed("made", os.lstat(name).st_ino if os.path.islink(name) else 0, own)
    stay(journal, "enter")
    time.sleep(0.003)
    stay(journal, "leave")
    try:
        lock.unlock()
    except (ValueError, OSError):
        deed("lost", 0, 0)

for line in sys.stdin:
    words = line.split()
    if words[0] == "pid":
        print("@ pid", own, flush=True)
    else:
        deeds = words[2]
        fall(words[1])
        print("@ fallen", flush=True)
"#;

fn twisted(setup: &Setup, number: usize) -> Child {
    let python = std::env::var("SNECK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut probe = Command::new(&python);
    let found = probe
        .args(["-c", "import twisted.python.lockfile"])
        .status();
    assert!(
        found.is_ok_and(|s| s.success()),
        "`{python}` has no Twisted: run scripts/test, which installs it"
    );
    let slow = race::slow(number);
    let mut command = Command::new(&slow[0]);
    command.args(&slow[1..]).args([&python, "-c", TWISTED]);
    command.arg(setup.folder.join("locks").join("lock"));
    Start::program(command).child()
}

#[test]
fn twisted_is_caught_by_this_very_race() {
    two_get_in("symlink", ["twisted"; RACERS]);
}

/// What the log of removals says of one race.
#[derive(Debug, Default)]
struct Log {
    /// Dead claims that this library removed.
    removed: usize,
    /// Among them, those that another one says to have removed before. Beside others who lock nothing, something may change between the last look and
    /// the removal; here it can, for milliseconds.
    doubtful: usize,
}

/// Nobody of this library removed a claim but the one that was planted dead in that round, by its inode and content, and that once; and it knew why.
fn removed_only_the_dead(race: &Race, ours: &[u32]) -> Log {
    let mut log = Log::default();
    let rounds = race.deeds.split(|d| d.what == "planted").skip(1);
    let planted = race.deeds.iter().filter(|d| d.what == "planted");
    for (planted, round) in planted.zip(rounds) {
        let removals = round.iter().filter(|d| d.what == "removed");
        let ours_and_others = removals.map(|d| (d, ours.contains(&d.by)));
        let first = ours_and_others.clone().next();
        let own: Vec<_> = ours_and_others.filter(|(_, own)| *own).collect();
        for (deed, _) in &own {
            let grounds = deed.why.starts_with("gone: no such process");
            assert!(grounds && deed.pid == sys::NO_PROCESS, "{deed:?}");
            assert_eq!(deed.inode, planted.inode, "{deed:?}");
        }
        assert!(own.len() <= 1, "the same claim twice: {own:#?}");
        log.removed += own.len();
        log.doubtful += usize::from(!own.is_empty() && first.is_some_and(|(_, own)| !own));
    }
    log
}

/// Beside breakers that rob the living this library removes only the dead, and never fails for it. Race after race until they robbed somebody: how
/// often they do is theirs and the machine's, and beside `mkdir` one race in four sees none.
fn removes_only_the_dead_beside(scheme: &str, foreign: &str) {
    let start = Instant::now();
    loop {
        let setup = setup(scheme, Waiting::Best);
        let mut racers = racers(&setup, ["fall", foreign, "fall", foreign]);
        let ours: Vec<u32> = racers.iter().step_by(2).map(|(c, _)| c.pid()).collect();
        let race = race(&setup, &mut racers, ROUNDS, |_| false);
        let log = removed_only_the_dead(&race, &ours);
        let lost = race.deeds.iter().filter(|d| d.what == "lost").count();
        let overlaps = race.overlaps.lines().count();
        println!("{scheme} beside {foreign}: {log:?}; {lost} claims lost, {overlaps} overlaps");
        assert!(log.removed > 0, "it had something to remove");
        if lost > 0 {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{scheme}: the others rob nobody"
        );
    }
}

#[test]
fn beside_naive_breakers_this_library_removes_only_the_dead() {
    for scheme in ["symlink", "pidfile", "shlock", "labm8", "dotlock", "mkdir"] {
        removes_only_the_dead_beside(scheme, "fall-naively");
    }
}

#[test]
fn beside_twisted_this_library_removes_only_the_dead() {
    removes_only_the_dead_beside("symlink", "twisted");
}
