//! The break race made wide: several processes fall on one dead claim, round by round, and the system calls by which claims go away take a while, in
//! each process another one (strace does that).
//!
//! In a round everybody is to acquire, be inside for a moment, and release. What stands there at first is the claim of a process that is no more. A racer
//! is a process with this library, or any other program that understands the same two commands: it is the race that must be able to
//! find a wrong breaker.
//!
//! | command | answer |
//! |---|---|
//! | `pid` | `@ pid NUMBER` |
//! | `fall JOURNAL DEEDS`, `fall-naively JOURNAL DEEDS` | `@ fallen` |
//!
//! Not for holders that die meanwhile: that is [`crate::storm`].

use crate::child::{Session, Start, say};
use crate::deeds::{self, Deeds};
use crate::{Child, Journal, PATIENCE, Setup, claims, sys};
use sneck::{Event, Mode};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How many there are in a race.
pub const RACERS: usize = 4;
/// How long one stays inside; who breaks naively, ten times as long, so that there is time to remove a directory in steps meanwhile.
const INSIDE: Duration = Duration::from_millis(3);
/// How long the system calls take, in milliseconds: each racer has another one for each call.
const DELAYS: [u32; RACERS] = [1, 3, 6, 10];

/// The commands of racers.
pub fn commands(session: &mut Session, words: &[&str]) -> bool {
    let [who @ ("fall" | "fall-naively"), journal, deeds] = words else {
        return false;
    };
    let journal = Journal::open(Path::new(journal));
    let deeds = Deeds::open(Path::new(deeds));
    if *who == "fall" {
        fall(&session.setup, &journal, deeds);
    } else {
        let (scheme, path) = parts(&session.setup);
        fall_naively(scheme, &path, &journal, &deeds);
    }
    say("fallen");
    true
}

fn parts(setup: &Setup) -> (&str, PathBuf) {
    let (scheme, path) = setup.place.split_once(':').expect("a scheme and a path");
    (scheme, path.into())
}

fn stay(journal: &Journal, length: Duration) {
    journal.enter(Mode::Exclusive);
    thread::sleep(length);
    journal.leave(Mode::Exclusive);
}

fn fall(setup: &Setup, journal: &Journal, deeds: Deeds) {
    let (_, path) = parts(setup);
    let deeds = std::sync::Arc::new(deeds);
    let told = deeds.clone();
    let lock = setup.lock_with(|b| b.observer(move |event: &Event<'_>| told.notice(event)));
    let guard = lock.acquire_within(PATIENCE);
    let guard = guard.expect("everybody gets a turn");
    deeds.note("made", deeds::inode(&path), std::process::id(), "free");
    stay(journal, INSIDE);
    if let Err(error) = guard.release() {
        deeds.note("lost", 0, 0, &error.to_string());
    }
}

/// As it is often done: read, find dead, remove by name, make one's own.
fn fall_naively(scheme: &str, path: &Path, journal: &Journal, deeds: &Deeds) {
    let own = std::process::id();
    let start = Instant::now();
    while claims::make(scheme, path, own).is_err() {
        assert!(start.elapsed() < PATIENCE, "everybody gets a turn");
        match claims::read(scheme, path) {
            Some(pid) if !Path::new("/proc").join(pid.to_string()).exists() => {
                // The time to think that every program takes, now less, now more.
                thread::sleep(Duration::from_micros(500 + sys::now() / 1000 % 20_000));
                if claims::remove(scheme, path).is_ok() {
                    deeds.note("removed", 0, pid, "naively");
                }
            }
            _ => thread::sleep(Duration::from_millis(1)),
        }
    }
    deeds.note("made", deeds::inode(path), own, "naively");
    stay(journal, 10 * INSIDE);
    if claims::read(scheme, path) == Some(own) {
        let _ = claims::remove(scheme, path);
    } else {
        deeds.note("lost", 0, 0, "naively");
    }
}

/// The strace that makes the calls of this racer take their time.
pub fn slow(racer: usize) -> Vec<String> {
    let delay = |calls: &str, shift: usize| {
        let micros = DELAYS[(racer + shift) % RACERS] * 1000;
        [
            "-e".to_owned(),
            format!("inject={calls}:delay_enter={micros}"),
        ]
    };
    let calls = "trace=unlink,unlinkat,rename,renameat,renameat2,rmdir";
    // -f takes the threads along; with --seccomp-bpf all other calls run as fast as ever.
    let strace = [
        "strace",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        calls,
    ];
    let mut words: Vec<String> = strace.iter().map(|&s| s.to_owned()).collect();
    words.extend(delay("unlink,unlinkat", 0));
    words.extend(delay("rename,renameat,renameat2", 1));
    words.extend(delay("rmdir", 2));
    words
}

/// A racer that runs this very test program.
///
/// # Panics
/// If it cannot be started; it needs strace.
pub fn racer(setup: &Setup, number: usize) -> Child {
    let slow = slow(number);
    let words: Vec<&str> = slow.iter().map(String::as_str).collect();
    Start::wrapped(setup, &words).child()
}

/// What came of a race.
#[derive(Debug)]
pub struct Race {
    /// Who was inside with whom; empty: nobody.
    pub overlaps: String,
    /// How often somebody was inside.
    pub stays: usize,
    /// Who removed which claim.
    pub deeds: Vec<deeds::Deed>,
    /// What was left over after a round.
    pub litter: Vec<String>,
}

/// Have them race so many rounds; each gets its own of these commands. `enough`: after this the race may end.
///
/// # Panics
/// If one of them does not get a turn.
pub fn race(
    setup: &Setup,
    racers: &mut [(Child, &str)],
    rounds: usize,
    enough: impl Fn(&Race) -> bool,
) -> Race {
    let (scheme, path) = parts(setup);
    let folder = path.parent().expect("a folder");
    let (journal, log) = (setup.folder.join("journal"), setup.folder.join("deeds"));
    let planter = Deeds::open(&log);
    let mut race = Race {
        overlaps: String::new(),
        stays: 0,
        deeds: Vec::new(),
        litter: Vec::new(),
    };
    for _ in 0..rounds {
        claims::make(scheme, &path, sys::NO_PROCESS).expect("the place is free");
        planter.note("planted", deeds::inode(&path), sys::NO_PROCESS, "");
        for (racer, command) in racers.iter_mut() {
            let (journal, log) = (journal.display(), log.display());
            racer.tell(&format!("{command} {journal} {log}"));
        }
        for (racer, _) in racers.iter_mut() {
            racer.hear("fallen");
        }
        race.litter.extend(claims::names(folder));
        claims::empty(folder);
        let book = Journal::open(&journal);
        (race.overlaps, race.stays) = (book.overlaps(), book.stays());
        if enough(&race) {
            break;
        }
    }
    race.deeds = deeds::read(&log);
    race
}
