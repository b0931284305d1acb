//! Two breakers never let two parties in: many processes break the same dead claim, round by round.
//!
//! Not for: the race made wide by delayed system calls, nor foreign breakers.

use crate::{dead, setup_with};
use sneck::{ErrorKind, Event, Waiting};
use sneck_testkit::child::{Session, say};
use sneck_testkit::planted::claim_of;
use sneck_testkit::{Child, Journal, PATIENCE, Setup, must_block, sys};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const RACERS: usize = 4;
const ROUNDS: usize = 60;

/// The two sides of the race below, as commands of child processes.
pub(crate) fn commands(session: &mut Session, words: &[&str]) -> bool {
    let [who @ ("race" | "race-naively"), dead, journal] = words else {
        return false;
    };
    let journal = Journal::open(Path::new(journal));
    let path = session.setup.folder.join("lock");
    let spare = session
        .setup
        .folder
        .join(format!("spare-{}", std::process::id()));
    // Inside, long enough for another one to come in wrongly; and then die without a release: the claim of a dead process stands there again.
    let visit_and_die = || {
        journal.enter(sneck::Mode::Exclusive);
        thread::sleep(Duration::from_micros(300));
        journal.leave(sneck::Mode::Exclusive);
        symlink(dead, &spare).expect("our own folder");
        fs::rename(&spare, &path).expect("our own folder");
    };
    let lock = session.setup.lock();
    for _ in 0..ROUNDS {
        if *who == "race" {
            let guard = lock
                .acquire_within(PATIENCE)
                .expect("everybody gets a turn");
            visit_and_die();
            let error = guard.release().expect_err("another claim stands there");
            assert_eq!(error.kind(), ErrorKind::Lost);
        } else {
            break_naively(&path);
            visit_and_die();
        }
    }
    say("done");
    true
}

/// As it is often done: read, find dead, remove, make one's own.
fn break_naively(path: &Path) {
    let start = Instant::now();
    while symlink(std::process::id().to_string(), path).is_err() {
        assert!(start.elapsed() < PATIENCE, "everybody gets a turn");
        let number = fs::read_link(path).unwrap_or_default();
        if !Path::new("/proc").join(number).exists() {
            thread::sleep(Duration::from_micros(500));
            let _ = fs::remove_file(path);
        }
    }
}

/// All break the same dead claim, round by round; who was inside with whom.
fn race(command: &str, waiting: Waiting) -> (Setup, Journal) {
    let setup = setup_with("symlink", waiting);
    let dead = dead();
    claim_of("symlink", &setup.folder.join("lock"), dead);
    let path = setup.folder.join("journal");
    let mut racers: Vec<Child> = (0..RACERS).map(|_| setup.child()).collect();
    for racer in &mut racers {
        racer.tell(&format!("{command} {dead} {}", path.display()));
    }
    for racer in &mut racers {
        racer.hear("done");
    }
    (setup, Journal::open(&path))
}

#[test]
fn of_many_breakers_of_one_dead_claim_only_one_gets_in() {
    for waiting in [Waiting::Best, Waiting::Polling] {
        let (setup, journal) = race("race", waiting);
        assert_eq!(journal.overlaps(), "");
        let lines = fs::read_to_string(setup.folder.join("journal"));
        assert_eq!(
            lines.expect("it is there").lines().count(),
            RACERS * ROUNDS * 2
        );
    }
}

#[test]
fn a_naive_breaker_is_caught_by_this_very_check() {
    let start = Instant::now();
    while race("race-naively", Waiting::Best).1.overlaps().is_empty() {
        assert!(start.elapsed() < PATIENCE, "the check is blind");
    }
}

// 1. A polls, and finds a dead claim that B is about to remove. 2. B removes it and makes its own, which lives. 3. A goes on polling, and must do so in
// steps of polling: with those of the net below events it slept ten times as long each time.
#[test]
fn whoever_polls_and_meets_another_breaker_goes_on_polling() {
    let setup = setup_with("symlink", Waiting::Polling);
    let path = setup.folder.join("lock");
    claim_of("symlink", &path, dead());
    let folder = fs::File::open(setup.folder.path()).expect("our own folder");
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).expect("our own folder");
    let lock = setup.lock();
    let waiter = must_block(move || lock.acquire());
    let spare = setup.folder.join("spare");
    symlink("1", &spare).expect("our own folder");
    fs::rename(&spare, &path).expect("our own folder");
    drop(folder);
    let held = Duration::from_millis(1500);
    thread::sleep(held);
    fs::remove_file(&path).expect("our own folder");
    let start = Instant::now();
    drop(waiter.wait().expect("it is free"));
    assert!(start.elapsed() < held, "{:?}", start.elapsed());
}

#[test]
fn behind_somebody_who_keeps_a_dead_claim_from_being_removed_few_tries_are_made_and_it_is_told_once()
 {
    for waiting in [Waiting::Best, Waiting::Polling] {
        let setup = setup_with("symlink", waiting);
        claim_of("symlink", &setup.folder.join("lock"), dead());
        let folder = fs::File::open(setup.folder.path()).expect("our own folder");
        let lock = rustix::fs::FlockOperation::LockExclusive;
        rustix::fs::flock(&folder, lock).expect("our own folder");
        let mut waiter = sys::trace(|| {
            let told = Arc::new(AtomicI32::new(0));
            let count = told.clone();
            let lock = setup.lock_with(|b| {
                b.observer(move |event: &Event<'_>| {
                    let breaking = matches!(event, Event::Breaking { .. });
                    count.fetch_add(i32::from(breaking), Ordering::SeqCst);
                })
            });
            let refused = lock.acquire_within(Duration::from_millis(600)).is_err();
            let told = told.load(Ordering::SeqCst);
            if refused && told == 1 { 0 } else { 1 + told }
        });
        let mut tries = 0;
        while let Some(call) = waiter.step() {
            tries += usize::from(call.entering && call.name() == "symlinkat");
        }
        assert!(tries > 3, "{waiting:?}: it tries again: {tries}");
        assert!(tries < 60, "{waiting:?}: {tries} tries");
    }
}
