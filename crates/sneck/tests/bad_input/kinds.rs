//! Something else stands at the path: every protocol meets every thing of the table in `sneck_testkit::planted`.
//!
//! Not for: content that is nearly right for one protocol alone (`records.rs`).

use crate::{says, setup};
use sneck::{ErrorKind, Sighting, Stale, Standing};
use sneck_testkit::planted::{Met, Thing, protocols, state, things};
use sneck_testkit::{Setup, block, must_block};
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

const A_WHILE: Duration = Duration::from_millis(40);

/// Each protocol with each thing that it is to meet in this way.
fn all_that_are(wanted: fn(Met) -> bool, check: impl Fn(&str, &Thing, &Setup, &Path)) {
    let mut met = 0;
    for scheme in protocols() {
        for thing in things() {
            if wanted(thing.met_by(scheme)) {
                let (setup, path) = setup(scheme);
                thing.plant(&path);
                println!("{scheme} meets {}", thing.name);
                check(scheme, thing, &setup, &path);
                met += 1;
            }
        }
    }
    assert!(met > 0, "nothing was tried");
}

/// Refused, however long one is ready to wait.
#[track_caller]
fn is_refused(setup: &Setup, path: &Path) -> String {
    let once = setup.lock().try_acquire().map(drop);
    let ready_to_wait = setup.lock();
    let waited = block::start(move || ready_to_wait.acquire().map(drop)).wait();
    for result in [once, waited] {
        let error = result.expect_err("this is no lock");
        says(&error, ErrorKind::Foreign, path);
    }
    match setup.lock().holder().expect("one can look") {
        Sighting::Foreign { what } => what,
        seen => panic!("this is no lock: {seen:?}"),
    }
}

#[test]
fn what_is_no_lock_is_refused_at_once_and_left_as_it_was() {
    all_that_are(
        |met| met == Met::Foreign,
        |_, _, setup, path| {
            let before = state(path);
            is_refused(setup, path);
            assert_eq!(state(path), before);
            assert_eq!(crate::names(setup.folder.path()), ["lock"]);
        },
    );
}

#[test]
fn what_may_become_a_claim_is_waited_for_and_damage_at_the_deadline() {
    all_that_are(
        |met| met == Met::Damaged,
        |_, _, setup, path| {
            let before = state(path);
            let seen = setup.lock().holder().expect("one can look");
            assert!(matches!(seen, Sighting::Damaged { .. }), "{seen:?}");
            for stale in [Stale::Never, Stale::Dead, Stale::Likely] {
                for wait in [Duration::ZERO, A_WHILE] {
                    let lock = setup.lock_with(|b| b.stale(stale));
                    let error = lock.acquire_within(wait).expect_err("this makes no sense");
                    says(&error, ErrorKind::Damaged, path);
                }
            }
            is_waited_for(setup, path, &before);
        },
    );
}

/// Whoever waits goes on waiting; and gets the lock when somebody cleans up.
#[track_caller]
fn is_waited_for(setup: &Setup, path: &Path, before: &str) {
    let lock = setup.lock();
    let waiter = must_block(move || lock.acquire());
    assert_eq!(state(path), before);
    assert_eq!(crate::names(setup.folder.path()), ["lock"]);
    // In one step: a folder half emptied would be another thing.
    let away = sneck_testkit::Folder::new();
    fs::rename(path, away.join("lock")).expect("one file system");
    let guard = waiter.wait().expect("nothing is in the way");
    assert_eq!(guard.standing(), Standing::Held);
    assert!(guard.broken().is_empty(), "nothing was broken");
}

#[test]
fn a_claim_of_any_protocol_is_busy_and_never_taken() {
    all_that_are(
        |met| matches!(met, Met::Busy(_)),
        |scheme, thing, setup, path| {
            let Met::Busy(claim_of) = thing.met_by(scheme) else {
                return;
            };
            let before = state(path);
            let seen = setup.lock().holder().expect("one can look");
            let [holder] = seen.holders() else {
                panic!("one holds it: {seen:?}");
            };
            let of_another = !claim_of.contains(&scheme);
            assert_eq!(holder.protocol.is_some(), of_another, "{seen:?}");
            assert!(holder.protocol.is_none_or(|p| p == claim_of[0]), "{seen:?}");
            let mut policies = vec![Stale::Never, Stale::Dead, Stale::Likely];
            if of_another {
                // What is not ours to break is not ours by force either.
                policies.push(Stale::After(Duration::from_millis(1)));
            }
            for stale in policies {
                let lock = setup.lock_with(|b| b.stale(stale));
                for (wait, kind) in [
                    (Duration::ZERO, ErrorKind::Busy),
                    (A_WHILE, ErrorKind::TimedOut),
                ] {
                    let error = lock.acquire_within(wait).expect_err("it is held");
                    says(&error, kind, path);
                    if of_another {
                        let named = format!("protocol {}", claim_of[0]);
                        assert!(error.to_string().contains(&named), "{error}");
                    }
                }
            }
            is_waited_for(setup, path, &before);
        },
    );
}

#[test]
fn the_content_of_a_kernel_locks_file_is_never_touched() {
    all_that_are(
        |met| met == Met::Lockable,
        |_, _, setup, path| {
            let before = state(path);
            let guard = setup.lock().try_acquire().expect("a file can be locked");
            setup.child().must_be_refused();
            assert_eq!(state(path), before);
            guard.release().expect("it is held");
            assert_eq!(state(path), before);
        },
    );
}

#[test]
fn a_gigabyte_is_not_read_to_find_that_it_is_no_lock() {
    for scheme in protocols() {
        let (setup, path) = setup(scheme);
        let huge = things().find(|t| t.name.starts_with("a gigabyte"));
        huge.expect("it is in the table").plant(&path);
        let mut child = setup.child();
        let read = |pid: u32| {
            let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("/proc is there");
            let line = io.lines().find_map(|l| l.strip_prefix("rchar: "));
            line.and_then(|n| n.parse::<u64>().ok()).expect("a number")
        };
        let before = read(child.pid());
        child.tell("acquire it once");
        block::until("it is held or refused", || {
            child.has_said("held") || child.has_said("refused")
        });
        let more = read(child.pid()) - before;
        assert!(more < 1 << 20, "{scheme} read {more} bytes");
    }
}

/// Writes to a FIFO as soon as somebody reads it. Killed and reaped when dropped.
struct Writer(Child);

impl Writer {
    fn start(path: &Path) -> Writer {
        let mut shell = Command::new("sh");
        shell.args(["-c", ": >\"$1\"", "sh"]).arg(path);
        let writer = Writer(shell.spawn().expect("`sh` is there"));
        thread::sleep(Duration::from_millis(50));
        writer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whoever opens one end of a FIFO lets the other one go on; a device may do anything.
#[test]
fn nothing_but_a_regular_file_or_a_folder_is_opened() {
    for scheme in protocols() {
        let (fifo, path) = setup(scheme);
        let planted = things().find(|t| t.name == "a FIFO");
        planted.expect("it is in the table").plant(&path);
        let mut writer = Writer::start(&path);
        assert!(is_refused(&fifo, &path).contains("FIFO"));
        thread::sleep(Duration::from_millis(20));
        let ended = writer.0.try_wait().expect("our own child");
        assert!(ended.is_none(), "{scheme}: it was let go on");
    }
}

#[test]
fn nothing_is_made_or_changed_behind_a_link() {
    for scheme in protocols() {
        for target in ["nowhere", "there", "away"] {
            let (setup, path) = setup(scheme);
            let there = setup.folder.join("there");
            fs::write(&there, "content").expect("our own folder");
            fs::create_dir(setup.folder.join("away")).expect("our own folder");
            let before = state(&there);
            std::os::unix::fs::symlink(target, &path).expect("our own folder");
            assert!(is_refused(&setup, &path).contains("link"));
            assert_eq!(state(&there), before);
            assert_eq!(crate::names(&setup.folder.join("away")), [""; 0]);
            assert_eq!(
                crate::names(setup.folder.path()),
                ["away", "lock", "there"],
                "{scheme}: nothing was made"
            );
        }
    }
}

#[test]
fn every_protocol_of_files_is_in_the_table() {
    let registry = sneck::Registry::local();
    let mut known: Vec<&str> = registry.schemes().filter(|s| *s != "memory").collect();
    let mut tried = protocols();
    known.sort_unstable();
    tried.sort_unstable();
    assert_eq!(known, tried);
}
