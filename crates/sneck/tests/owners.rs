//! Whose a holding is. Three questions with three answers: held by this handle, held in this process, and who holds it at all. And what happens when an owner
//! acquires what it holds: each policy of re-entry, for each kind of owner.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests lock as they like"
)]

use sneck::{
    ErrorKind, Guard, Lock, Mode, Owner, Reentry, Registry, Sighting, Standing, Timeout, Waiting,
};
use sneck_testkit::child::{Session, say};
use sneck_testkit::planted::of_these;
use sneck_testkit::{PATIENCE, Setup, must_block};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// `questions` answers all three of them, for a handle of its own.
fn more(session: &mut Session, words: &[&str]) -> bool {
    if words != ["questions"] {
        return false;
    }
    say(&format!("questions {:?}", answers(&session.setup.lock())));
    true
}

sneck_testkit::entry!(Registry::local, more);

fn schemes() -> Vec<&'static str> {
    of_these(&["flock", "fcntl", "pidfile", "symlink", "memory"])
}

const BRIEF: Timeout = Timeout::After(Duration::from_millis(20));

fn setup(scheme: &str) -> Setup {
    let place = |folder: &Path| format!("{scheme}:{}/lock", folder.display());
    Setup::new(Registry::local, place, Waiting::Best, CHILD_ENTRY)
}

/// Held by this handle, held in this process, and by whom.
fn answers(lock: &Lock) -> (bool, bool, Option<u32>) {
    let seen = lock.holder().expect("one can look");
    let holder = seen.holders().first().and_then(|h| h.pid);
    assert_eq!(seen == Sighting::Free, holder.is_none(), "{seen:?}");
    (
        lock.is_held_by_this_handle(),
        lock.is_held_in_this_process(),
        holder,
    )
}

#[test]
fn the_three_questions_have_three_answers() {
    for scheme in schemes() {
        let setup = setup(scheme);
        let (lock, other) = (setup.lock(), setup.lock());
        let (clone, own) = (lock.clone(), Some(std::process::id()));
        let mut child = setup.child();
        let all = || [answers(&lock), answers(&clone), answers(&other)];
        let nobody = (false, false, None);
        assert_eq!(all(), [nobody; 3], "{scheme}");
        let guard = lock.try_acquire().expect("it is free");
        let (by_handle, in_process) = ((true, true, own), (false, true, own));
        assert_eq!(all(), [by_handle, by_handle, in_process], "{scheme}");
        // Not a question about threads: one may acquire, another ask, a third release.
        let elsewhere = thread::scope(|scope| scope.spawn(all).join());
        let elsewhere = elsewhere.expect("no panic");
        assert_eq!(elsewhere, [by_handle, by_handle, in_process], "{scheme}");
        let from_outside = (false, false, own.filter(|_| scheme != "memory"));
        let asked = child.ask("questions");
        assert_eq!(asked, format!("{from_outside:?}"), "{scheme}");
        // All these questions have harmed nothing.
        assert_eq!(guard.standing(), Standing::Held);
        guard.release().expect("it is held");
        assert_eq!(all(), [nobody; 3], "{scheme}");
        if scheme != "memory" {
            child.acquire();
            let from_outside = (false, false, Some(child.pid()));
            assert_eq!(all(), [from_outside; 3], "{scheme}");
            child.release();
        }
    }
}

#[test]
fn asking_makes_nothing_and_waiting_is_not_holding() {
    for scheme in schemes() {
        let setup = setup(scheme);
        let lock = setup.lock();
        assert_eq!(answers(&lock), (false, false, None), "{scheme}");
        let made = fs::read_dir(setup.folder.path()).expect("our own folder");
        assert_eq!(made.count(), 0, "{scheme}");
        let guard = setup.lock().try_acquire().expect("it is free");
        let waits = lock.clone();
        let waiter = must_block(move || waits.acquire());
        let own = Some(std::process::id());
        assert_eq!(
            answers(&lock),
            (false, true, own),
            "{scheme}: it only waits"
        );
        drop(guard);
        let guard = waiter.wait().expect("it came free");
        assert_eq!(answers(&lock), (true, true, own), "{scheme}");
        drop(guard);
        // The same where another process holds it: whoever has the turn in the line still only waits.
        if scheme != "memory" {
            let mut child = setup.child();
            child.acquire();
            let waits = lock.clone();
            let waiter = must_block(move || waits.acquire());
            let theirs = (false, false, Some(child.pid()));
            assert_eq!(answers(&lock), theirs, "{scheme}: it only waits");
            child.release();
            drop(waiter.wait().expect("it came free"));
        }
        // Shared holdings are each their handle's.
        let reader = || setup.lock_with(|b| b.mode(Mode::Shared));
        let (first, second) = (reader(), reader());
        let Ok(one) = first.try_acquire() else {
            continue;
        };
        assert!(first.is_held_by_this_handle() && !second.is_held_by_this_handle());
        let two = second.try_acquire().expect("readers share");
        drop(one);
        assert!(!first.is_held_by_this_handle() && second.is_held_by_this_handle());
        drop(two);
    }
}

/// Try from another thread.
fn elsewhere(lock: &Lock, timeout: Timeout) -> sneck::Result<Guard> {
    thread::scope(|scope| {
        let tried = scope.spawn(|| lock.acquire_until(timeout));
        tried.join().expect("no panic")
    })
}

/// One that is the same owner as whoever holds it, and some that are not.
struct Parties {
    holds: Lock,
    same: Box<dyn Fn(Timeout) -> sneck::Result<Guard>>,
    others: Vec<Box<dyn Fn(Timeout) -> sneck::Result<Guard>>>,
    /// The same owner waits until it is free.
    looks: Box<dyn Fn(Timeout) -> sneck::Result<()>>,
}

fn parties(setup: &Setup, owner: Owner, reentry: Reentry) -> Parties {
    let handle = |owner| setup.lock_with(|b| b.owner(owner).reentry(reentry));
    let holds = handle(owner);
    let (own, strange, eight) = (holds.clone(), handle(owner), handle(Owner::Named(8)));
    let (third, plain) = (handle(owner), handle(Owner::Thread));
    match owner {
        // Any handle in this thread, and no other thread, though it uses the very same handle.
        Owner::Thread => Parties {
            holds,
            same: Box::new(move |t| strange.acquire_until(t)),
            others: vec![
                Box::new(move |t| elsewhere(&own, t)),
                Box::new(move |t| eight.acquire_until(t)),
            ],
            looks: Box::new(move |t| third.until_free(t)),
        },
        // This handle in any thread, and no other handle, though in the very same thread.
        Owner::Handle => Parties {
            holds: holds.clone(),
            same: Box::new(move |t| elsewhere(&own, t)),
            others: vec![
                Box::new(move |t| strange.acquire_until(t)),
                Box::new(move |t| plain.acquire_until(t)),
            ],
            looks: Box::new(move |t| holds.until_free(t)),
        },
        // Whoever bears the number.
        Owner::Named(_) => Parties {
            holds,
            same: Box::new(move |t| elsewhere(&strange, t)),
            others: vec![
                Box::new(move |t| eight.acquire_until(t)),
                Box::new(move |t| plain.acquire_until(t)),
            ],
            looks: Box::new(move |t| third.until_free(t)),
        },
    }
}

#[test]
fn each_policy_of_re_entry_is_about_the_owner_and_nobody_else() {
    let owners = [Owner::Thread, Owner::Handle, Owner::Named(7)];
    let policies = [Reentry::Refuse, Reentry::Wait, Reentry::Idempotent];
    for scheme in schemes() {
        for (owner, reentry) in owners.iter().flat_map(|o| policies.map(|p| (*o, p))) {
            let case = format!("{scheme} {owner:?} {reentry:?}");
            let setup = setup(scheme);
            let Parties {
                holds,
                same,
                others,
                looks,
            } = parties(&setup, owner, reentry);
            let guard = holds.try_acquire().expect("it is free");
            let kind = |tried: sneck::Result<Guard>| tried.map(drop).map_err(|e| e.kind());
            let (at_once, waited) = match reentry {
                // Without waiting there is nothing to be refused for.
                Reentry::Refuse => (Err(ErrorKind::Busy), Err(ErrorKind::Reentrant)),
                Reentry::Wait => (Err(ErrorKind::Busy), Err(ErrorKind::TimedOut)),
                Reentry::Idempotent => (Ok(()), Ok(())),
            };
            assert_eq!(kind(same(Timeout::Once)), at_once, "{case}");
            // Whoever is refused is so at the first try, however long that takes.
            let patient = Timeout::After(PATIENCE);
            let wait = if reentry == Reentry::Wait {
                BRIEF
            } else {
                patient
            };
            assert_eq!(kind(same(wait)), waited, "{case}");
            for other in &others {
                assert_eq!(kind(other(Timeout::Once)), Err(ErrorKind::Busy), "{case}");
                assert_eq!(kind(other(BRIEF)), Err(ErrorKind::TimedOut), "{case}");
            }
            // Waiting until it is free is nothing that an owner could do again.
            let free = match reentry {
                Reentry::Wait => ErrorKind::TimedOut,
                Reentry::Refuse | Reentry::Idempotent => ErrorKind::Reentrant,
            };
            assert_eq!(looks(wait).map_err(|e| e.kind()), Err(free), "{case}");
            if reentry == Reentry::Idempotent {
                // One holding, counted: the last guard releases.
                let again = same(Timeout::Once).expect("it is the owner's");
                drop(guard);
                assert_eq!(again.standing(), Standing::Held, "{case}");
                assert!(holds.is_held_in_this_process(), "{case}");
                for other in &others {
                    assert_eq!(kind(other(Timeout::Once)), Err(ErrorKind::Busy), "{case}");
                }
                drop(again);
            } else {
                assert_eq!(guard.standing(), Standing::Held, "{case}");
                drop(guard);
            }
            assert!(!holds.is_held_in_this_process(), "{case}");
            for party in std::iter::once(&same).chain(&others) {
                assert_eq!(kind(party(Timeout::After(PATIENCE))), Ok(()), "{case}");
            }
        }
    }
}

#[test]
fn who_waits_for_another_owner_gets_it_when_that_one_leaves() {
    for scheme in schemes() {
        for owner in [Owner::Thread, Owner::Handle, Owner::Named(7)] {
            let setup = setup(scheme);
            let holds = setup.lock_with(|b| b.owner(owner));
            let guard = holds.try_acquire().expect("it is free");
            let other = setup.lock_with(|b| b.owner(Owner::Named(8)));
            let waiter = must_block(move || other.acquire().map(Guard::release));
            guard.release().expect("it is held");
            let released = waiter.wait().expect("it came free");
            released.expect("it was held");
        }
    }
}

#[test]
fn an_owner_that_reads_cannot_come_again_to_write() {
    for owner in [Owner::Thread, Owner::Handle, Owner::Named(7)] {
        let setup = setup("flock");
        let with =
            |mode| setup.lock_with(|b| b.mode(mode).owner(owner).reentry(Reentry::Idempotent));
        let (reader, writer) = (with(Mode::Shared), with(Mode::Exclusive));
        let guard = reader.try_acquire().expect("it is free");
        let again = reader.try_acquire().expect("it is the owner's");
        let error = writer.try_acquire().expect_err("it holds it shared");
        // Of a handle of its own nobody knows that it is the same one's.
        let expected = match owner {
            Owner::Handle => ErrorKind::Busy,
            Owner::Thread | Owner::Named(_) => ErrorKind::Reentrant,
        };
        assert_eq!(error.kind(), expected, "{owner:?}: {error}");
        drop((guard, again));
        let guard = writer.try_acquire().expect("it is free");
        // The other way round it is held as it is.
        if owner != Owner::Handle {
            let reads = reader.try_acquire().expect("it is the owner's");
            assert_eq!(reads.mode(), Mode::Exclusive);
        }
        drop(guard);
    }
}
