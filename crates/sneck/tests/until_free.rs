//! Waiting until nobody holds a lock, without taking it: `Lock::until_free`.
//!
//! Not for: that a signal handler ends it (`signals.rs`), what only Linux has (`until_free_linux.rs`).

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests lock, make and remove what they like"
)]

use sneck::protocol::{Protocol, Stack};
use sneck::{
    ErrorKind, Event, Lock, LockBuilder, Mode, Moment, Place, Reentry, Registry, Result, Stale,
    Timeout, Waiting,
};
use sneck_testkit::child::{Session, say};
use sneck_testkit::planted::{claim_of, of_these, protocols, state};
use sneck_testkit::sys::{Strange, WAYS_TO_LOCK};
use sneck_testkit::{Blocked, Counts, PATIENCE, Setup, Through, block, claims, must_block, sys};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// `until-free MS` answers `free` or `kept KIND`; `look-on` looks without end.
fn more(session: &mut Session, words: &[&str]) -> bool {
    let lock = session.setup.lock_with(|b| {
        b.observer(|event: &Event<'_>| {
            if matches!(event, Event::Polling { .. }) {
                say("polling");
            }
        })
    });
    match words {
        ["until-free", wait] => {
            let wait = Duration::from_millis(wait.parse().expect("a number"));
            match lock.until_free(Timeout::from(wait)) {
                Ok(()) => say("free"),
                Err(error) => say(&format!("kept {:?} {error}", error.kind())),
            }
        }
        ["look-on"] => {
            thread::spawn(move || {
                loop {
                    let _ = lock.until_free(Timeout::Once);
                    let _ = lock.until_free(Timeout::After(Duration::from_millis(20)));
                }
            });
            say("done");
        }
        _ => return false,
    }
    true
}

sneck_testkit::entry!(Registry::local, more);

const WAYS: [Waiting; 3] = [Waiting::Best, Waiting::Events, Waiting::Polling];
const BRIEF: Timeout = Timeout::After(Duration::from_millis(40));

fn setup(scheme: &'static str, waiting: Waiting) -> Setup {
    let place = |folder: &Path| claims::alone(scheme, folder);
    Setup::new(Registry::local, place, waiting, CHILD_ENTRY)
}

/// Waits in another thread, and is seen to.
#[track_caller]
fn must_wait(lock: Lock) -> Blocked<Result<()>> {
    must_block(move || lock.until_free(Timeout::Forever))
}

/// Where the lock is.
fn path(setup: &Setup) -> std::path::PathBuf {
    setup.folder.join("locks/lock")
}

fn names(setup: &Setup) -> Vec<String> {
    claims::names(&setup.folder.join("locks"))
}

#[test]
fn it_waits_as_long_as_another_process_holds_it_and_makes_nothing() {
    for scheme in protocols() {
        for way in WAYS {
            let setup = setup(scheme, way);
            let lock = setup.lock();
            for timeout in [Timeout::Once, BRIEF, Timeout::Forever] {
                let free = lock.until_free(timeout);
                free.unwrap_or_else(|e| panic!("{scheme}: nobody holds it: {e}"));
            }
            assert!(names(&setup).is_empty(), "{scheme}: looking made a file");
            let mut child = setup.child();
            child.acquire();
            let waiters = [must_wait(setup.lock()), must_wait(setup.lock())];
            let error = lock.until_free(Timeout::Once).expect_err("it is held");
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
            assert_eq!(error.holders()[0].pid, Some(child.pid()), "{error}");
            let (start, wait) = (Moment::now(), Duration::from_millis(40));
            let error = lock.until_free(BRIEF).expect_err("it is held");
            assert!(start.elapsed() >= wait, "gave up too early");
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            assert_eq!(error.holders()[0].pid, Some(child.pid()), "{error}");
            assert_eq!(error.place(), Some(lock.place()), "{error}");
            waiters.iter().for_each(Blocked::still);
            assert_eq!(child.ask("standing it"), "Held", "{scheme}");
            child.release();
            for waiter in waiters {
                waiter.wait().expect("it came free");
            }
            assert_eq!(names(&setup), claims::rest(scheme), "{scheme}: left behind");
        }
    }
}

#[test]
fn a_holder_that_is_killed_ends_the_wait_and_its_claim_is_left_where_it_is() {
    for scheme in protocols() {
        for way in WAYS {
            let setup = setup(scheme, way);
            let mut child = setup.child();
            child.acquire();
            let waiter = must_wait(setup.lock());
            let before = state(&path(&setup));
            child.kill();
            waiter.wait().expect("its holder is gone");
            assert_eq!(state(&path(&setup)), before, "{scheme}: it was touched");
            let guard = setup.lock().try_acquire();
            drop(guard.unwrap_or_else(|e| panic!("{scheme}: it was free: {e}")));
        }
    }
}

#[test]
fn nobody_who_tries_is_ever_refused_because_others_wait() {
    for scheme in protocols() {
        let setup = setup(scheme, Waiting::Best);
        let mut watchers = [setup.child(), setup.child()];
        watchers.iter_mut().for_each(|w| drop(w.order("look-on")));
        let lock = setup.lock();
        let refused: Vec<_> = (0..400)
            .filter_map(|_| match lock.try_acquire() {
                Ok(guard) => {
                    guard.release().expect("it is held");
                    None
                }
                Err(error) => Some(error.to_string()),
            })
            .collect();
        let first = refused.first();
        assert_eq!(refused.len(), 0, "{scheme}: {first:?}");
    }
}

#[test]
fn a_holder_that_unlocks_and_keeps_the_file_open_ends_the_wait_though_no_event_says_so() {
    for way in WAYS {
        let setup = setup("flock", way);
        let at = path(&setup);
        let held = Strange::try_lock(WAYS_TO_LOCK[0], &at, Mode::Exclusive);
        let held = held.expect("it is free");
        let waiter = must_wait(setup.lock());
        let _open = held.unlock();
        waiter.wait().expect("it came free");
    }
}

/// The net below the events is cast every half second by then: of five ends the middle one is found sooner than a tenth of that time only by an event.
#[test]
fn a_release_wakes_by_an_event_and_not_by_the_clock() {
    thread::scope(|scope| {
        for scheme in of_these(&["flock", "fcntl", "pidfile", "mkdir", "symlink", "memory"]) {
            scope.spawn(move || {
                let setup = Setup::new(
                    Registry::local,
                    |folder| format!("{scheme}:{}/lock", folder.display()),
                    Waiting::Best,
                    CHILD_ENTRY,
                );
                let middle = || {
                    let mut ratios = [(); 5].map(|()| waited_after_the_end(&setup));
                    ratios.sort_by(f64::total_cmp);
                    ratios[2]
                };
                // Once is enough: on a busy machine a look takes long, and so does waking up.
                let woken = (0..3).any(|_| middle() < 0.1);
                assert!(woken, "{scheme}: found by the clock");
            });
        }
    });
}

/// How long the end of a wait came after the release, as a part of the time for which it was held.
fn waited_after_the_end(setup: &Setup) -> f64 {
    let guard = setup.lock().try_acquire().expect("it is free");
    let held = Moment::now();
    let lock = setup.lock();
    let waiter = block::start(move || lock.until_free(Timeout::Forever));
    thread::sleep(Duration::from_millis(900));
    let (held, end) = (held.elapsed(), Moment::now());
    guard.release().expect("it is held");
    waiter.wait().expect("it came free");
    end.elapsed().as_secs_f64() / held.as_secs_f64()
}

#[test]
fn a_claim_counts_as_free_if_the_policy_lets_the_next_one_remove_it() {
    for scheme in ["pidfile", "mkdir", "symlink"] {
        let setup = setup(scheme, Waiting::Best);
        claim_of(scheme, &path(&setup), sys::NO_PROCESS);
        let before = state(&path(&setup));
        let by = |policy| setup.lock_with(|b| b.stale(policy));
        for policy in [Stale::Dead, Stale::Likely, Stale::Force] {
            let free = by(policy).until_free(Timeout::Once);
            free.unwrap_or_else(|e| panic!("{scheme} {policy:?}: {e}"));
        }
        let error = by(Stale::Never).until_free(BRIEF).expect_err("not to be");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains("looks stale"), "{error}");
        assert_eq!(state(&path(&setup)), before, "{scheme}: it was touched");
        // Of somebody who lives: only by age, and not by force, by which every lock is free at any time.
        claims::remove(scheme, &path(&setup)).expect("our own folder");
        claim_of(scheme, &path(&setup), sys::somebody());
        thread::sleep(Duration::from_millis(30));
        for policy in [Stale::Dead, Stale::Force] {
            by(policy).until_free(Timeout::Once).expect_err("it lives");
        }
        let old = Stale::After(Duration::from_millis(10));
        by(old).until_free(Timeout::Once).expect("it is old");
    }
}

#[test]
fn what_makes_no_sense_is_waited_for_and_what_is_no_claim_is_an_error_at_once() {
    for way in WAYS {
        let setup = setup("pidfile", way);
        fs::write(path(&setup), "").expect("our own folder");
        let error = setup.lock().until_free(BRIEF).expect_err("not free");
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        let waiter = must_wait(setup.lock());
        // Now it does: a dead process's, then nobody's.
        fs::write(path(&setup), format!("{}\n", sys::somebody())).expect("our own folder");
        waiter.still();
        fs::remove_file(path(&setup)).expect("our own folder");
        waiter.wait().expect("it came free");

        for scheme in protocols() {
            let setup = self::setup(scheme, way);
            fs::create_dir_all(path(&setup).join("inside")).expect("our own folder");
            for timeout in [Timeout::Once, Timeout::Forever] {
                let error = setup.lock().until_free(timeout).expect_err("no lock");
                assert_eq!(error.kind(), ErrorKind::Foreign, "{scheme}: {error}");
            }
        }
    }
}

#[test]
fn for_a_reader_other_readers_are_in_nobodys_way() {
    for scheme in of_these(&["flock", "fcntl"]) {
        let setup = setup(scheme, Waiting::Best);
        let reader = || setup.lock_with(|b| b.mode(Mode::Shared));
        let mut readers = [setup.child(), setup.child()];
        for child in &mut readers {
            child.tell("acquire it once shared");
            child.hear("held");
        }
        reader().until_free(Timeout::Once).expect("readers share");
        let error = setup.lock().until_free(BRIEF).expect_err("it is held");
        assert_eq!(error.holders().len(), 2, "{error}");
        let writer = must_wait(setup.lock());
        readers[0].release();
        writer.still();
        readers[1].release();
        writer.wait().expect("it came free");
        readers[0].acquire();
        let waiter = must_wait(reader());
        readers[0].release();
        waiter.wait().expect("it came free");
    }
    for scheme in ["symlink", "pidfile"] {
        let shared = setup(scheme, Waiting::Best).lock_with(|b| b.mode(Mode::Shared));
        let error = shared.until_free(Timeout::Once).expect_err("no such mode");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn whoever_holds_it_itself_is_told_so_and_others_of_the_process_wait() {
    for scheme in of_these(&["flock", "fcntl", "pidfile", "symlink", "memory"]) {
        let place = |folder: &Path| format!("{scheme}:{}/lock", folder.display());
        let setup = Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY);
        let guard = setup.lock().try_acquire().expect("it is free");
        let error = setup.lock().until_free(Timeout::After(PATIENCE));
        let error = error.expect_err("this thread holds it");
        assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
        let error = setup.lock().until_free(Timeout::Once);
        assert_eq!(error.expect_err("held").kind(), ErrorKind::Busy);
        let other = must_wait(setup.lock());
        let waits = setup.lock_with(|b| b.reentry(Reentry::Wait));
        let error = waits.until_free(BRIEF).expect_err("this thread holds it");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        guard.release().expect("it is held");
        other.wait().expect("it came free");
        // Nor is anybody in the line for it: whoever waits is in nobody's way.
        drop(setup.lock().try_acquire().expect("it is free"));
    }
}

#[test]
fn the_observer_is_told_whom_it_waits_for_and_that_it_polls_where_there_are_no_events() {
    for scheme in ["flock", "symlink"] {
        let setup = setup(scheme, Waiting::Best);
        let mut child = setup.child();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let observed = |told: Arc<Mutex<Vec<String>>>| {
            setup.lock_with(|b| {
                b.observer(move |event: &Event<'_>| {
                    let line = match event {
                        Event::Waiting { place, seen } => {
                            format!("waiting {place} {:?}", seen.holders()[0].pid)
                        }
                        other => format!("{other:?}"),
                    };
                    told.lock().expect("no panic").push(line);
                })
            })
        };
        observed(told.clone())
            .until_free(Timeout::Forever)
            .expect("it is free");
        child.acquire();
        observed(told.clone())
            .until_free(Timeout::Once)
            .expect_err("it is held");
        assert!(
            told.lock().expect("no panic").is_empty(),
            "no wait: {told:?}"
        );
        let waiter = must_wait(observed(told.clone()));
        thread::sleep(Duration::from_millis(100));
        child.release();
        waiter.wait().expect("it came free");
        let line = format!("waiting {} {:?}", setup.lock().place(), Some(child.pid()));
        // Once: nothing has changed meanwhile.
        assert_eq!(*told.lock().expect("no panic"), [line]);
    }
}

/// Two locks that are one place, whose looks are counted.
fn both(
    setup: &Setup,
    schemes: [&'static str; 2],
    change: impl FnOnce(LockBuilder) -> LockBuilder,
) -> (Lock, [Lock; 2], Arc<Counts>) {
    let looks = Arc::new(Counts::default());
    let place = |scheme| Place::file(scheme, setup.folder.join(format!("part-{scheme}")));
    let at = |scheme| Lock::builder().at(&place(scheme)).expect("a lock");
    let (mut registry, counted) = (Registry::empty(), looks.clone());
    let places = schemes.map(place);
    registry.register("both", move |place| {
        let part = |part: &Place| {
            let inner = Registry::local().protocol(part)?;
            Ok(Arc::new(Through::new(inner, &counted)) as Arc<dyn Protocol>)
        };
        let parts: Vec<_> = places.iter().map(part).collect::<Result<_>>()?;
        Ok(Arc::new(Stack::new(place.clone(), parts)?))
    });
    let lock = change(Lock::builder().registry(&registry)).at(&Place::file("both", "x"));
    (lock.expect("a lock"), schemes.map(at), looks)
}

#[test]
fn a_place_with_parts_is_free_when_one_look_found_all_of_them_free() {
    let setup = setup("flock", Waiting::Best);
    let (lock, parts, _) = both(&setup, ["flock", "symlink"], |b| b);
    lock.until_free(Timeout::Once).expect("nobody holds it");
    let hold = |part: &Lock| part.try_acquire().expect("it is free");
    let first = hold(&parts[0]);
    let error = lock.until_free(Timeout::Once).expect_err("a part is held");
    assert_eq!(error.place(), Some(parts[0].place()), "{error}");
    let waiter = must_wait(lock.clone());
    // The other one is taken before the first is left: never were both free.
    let second = hold(&parts[1]);
    first.release().expect("it is held");
    waiter.still();
    let error = lock.until_free(Timeout::Once).expect_err("a part is held");
    assert_eq!(error.place(), Some(parts[1].place()), "{error}");
    let first = hold(&parts[0]);
    second.release().expect("it is held");
    waiter.still();
    first.release().expect("it is held");
    waiter.wait().expect("both are free");
}

#[test]
fn the_looks_become_rarer_while_nothing_happens() {
    for scheme in of_these(&["flock", "fcntl", "pidfile", "symlink"]) {
        for waiting in [Waiting::Best, Waiting::Polling] {
            let place = |folder: &Path| format!("{scheme}:{}/part-{scheme}", folder.display());
            let setup = Setup::new(Registry::local, place, waiting, CHILD_ENTRY);
            let other = if scheme == "symlink" {
                "mkdir"
            } else {
                "symlink"
            };
            let (lock, _, looks) = both(&setup, [scheme, other], |b| b.waiting(waiting));
            let mut child = setup.child();
            child.acquire();
            let waiter = must_wait(lock);
            let looked_in = |time| {
                let before = looks.looks();
                thread::sleep(Duration::from_millis(time));
                looks.looks() - before
            };
            // In the end steps of at least a quarter of a second, or of at least 25 ms.
            let most = if waiting == Waiting::Best { 8 } else { 60 };
            let rarer = (0..5).any(|_| looked_in(1200) <= most);
            assert!(rarer, "{scheme} {waiting:?}: looks do not become rarer");
            child.release();
            waiter.wait().expect("it came free");
        }
    }
}

#[test]
fn readers_that_come_and_go_without_a_gap_are_slept_on_and_not_looked_at_without_end() {
    let setup = setup("flock", Waiting::Best);
    let (lock, parts, looks) = both(&setup, ["flock", "symlink"], |b| b);
    let reader = Lock::builder().mode(Mode::Shared).at(parts[0].place());
    let reader = reader.expect("a lock");
    let mut held = Some(reader.try_acquire().expect("it is free"));
    let waiter = must_wait(lock);
    let mut turns = 0;
    while turns < 200 {
        let next = reader.clone();
        let next = thread::spawn(move || next.try_acquire().expect("readers share"));
        held = Some(next.join().expect("no panic"));
        turns += 1;
        thread::sleep(Duration::from_millis(1));
    }
    waiter.still();
    let looks = looks.looks();
    assert!(looks < turns * 3, "{looks} looks in {turns} turns");
    drop(held.take());
    waiter.wait().expect("it came free");
}
