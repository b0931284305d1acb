//! Breaking and forcing on request: what is removed, who is told, and what the robbed holder learns.
//!
//! Not for: which claims are stale (the other files), the command's own words for it.

use crate::{claimed, dead, setup};
use sneck::{Cleared, Error, ErrorKind, Event, Observer, Sighting, Stale, Standing, Verdict};
use sneck_testkit::planted::{Met, protocols, protocols_with_numbers, state, things};
use sneck_testkit::{PATIENCE, Setup, sys};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Writes down every removal.
#[derive(Debug, Default, Clone)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Observer for Log {
    fn notice(&self, event: &Event<'_>) {
        if let Event::Breaking {
            place,
            holder,
            mark,
            verdict,
            removal,
        } = event
        {
            let content = String::from_utf8_lossy(&mark.content);
            let line = format!(
                "{place} {:?} inode={} `{content}` {verdict}: {removal}",
                holder.pid, mark.inode.1
            );
            self.0.lock().expect("no panic").push(line);
        }
    }
}

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

fn number(path: &Path) -> u64 {
    sys::file_number(path).expect("something stands there")
}

pub(crate) fn watched(setup: &Setup, policy: Stale) -> (sneck::Lock, Log) {
    let log = Log::default();
    let lock = setup.lock_with(|b| b.stale(policy).observer(log.clone()));
    (lock, log)
}

#[test]
fn breaking_on_request_removes_what_is_stale_and_tells_whose_it_was() {
    for scheme in protocols_with_numbers() {
        let dead = dead();
        let (setup, path) = claimed(scheme, dead);
        let (lock, log) = watched(&setup, Stale::Dead);
        let inode = number(&path);
        let cleared = lock.break_stale().expect("it can be broken");
        let Cleared::Removed { holder, verdict } = cleared else {
            panic!("{scheme}: {cleared:?}");
        };
        assert_eq!(holder.pid, Some(dead));
        assert!(verdict.is_gone());
        assert!(path.symlink_metadata().is_err());
        let [line] = &log.lines()[..] else {
            panic!("{scheme}: {:?}", log.lines());
        };
        for part in [
            path.display().to_string(),
            format!("Some({dead})"),
            format!("inode={inode}"),
            "gone: ".into(),
            ": removed".into(),
        ] {
            assert!(line.contains(&part), "{line} says nothing of {part}");
        }
        let again = lock.break_stale().expect("one can look");
        assert_eq!(again, Cleared::Free);
        // Nothing was taken by it.
        setup.child().acquire();
    }
}

#[test]
fn breaking_on_request_leaves_what_is_not_stale_and_says_why() {
    for scheme in protocols_with_numbers() {
        let (live, path) = claimed(scheme, sys::somebody());
        let (never, _) = claimed(scheme, dead());
        let before = state(&path);
        for (setup, policy) in [
            (&live, Stale::Dead),
            (&live, Stale::Likely),
            (&never, Stale::Never),
        ] {
            let (lock, log) = watched(setup, policy);
            let cleared = lock.break_stale().expect("one can look");
            let Cleared::Left {
                seen: Sighting::Held { .. },
                verdict: Some(verdict),
                removal: None,
            } = &cleared
            else {
                panic!("{scheme}: {cleared:?}");
            };
            assert_eq!(verdict.is_gone(), policy == Stale::Never);
            assert!(log.lines().is_empty(), "nothing was tried");
        }
        assert_eq!(state(&path), before);
    }
}

/// Force takes the claim of the living, and those who are robbed learn it where they look.
#[test]
fn whoever_is_robbed_learns_it_and_touches_nothing_of_the_robbers() {
    for scheme in protocols_with_numbers() {
        let setup = setup(scheme);
        let path = setup.folder.join("lock");
        let mut robbed = setup.child();
        robbed.acquire();
        let (lock, log) = watched(&setup, Stale::Force);
        let guard = lock.try_acquire();
        let guard = guard.unwrap_or_else(|e| panic!("{scheme}: {e}"));
        assert_eq!(guard.broken()[0].pid, Some(robbed.pid()));
        assert_eq!(guard.was_clean(), sneck::Clean::No);
        let [line] = &log.lines()[..] else {
            panic!("{scheme}: {:?}", log.lines());
        };
        assert!(line.ends_with(": removed"), "{line}");
        assert!(line.contains("alive"), "{line}");
        assert!(robbed.ask("standing it").starts_with("Lost"), "{scheme}");
        let ours = state(&path);
        robbed.tell("release it");
        let said = robbed.hear("lost");
        assert!(said.starts_with("Lost"), "{scheme}: {said}");
        assert_eq!(state(&path), ours);
        assert_eq!(guard.standing(), Standing::Held);
        robbed.must_be_refused();
        guard.release().expect("it is held");
        robbed.acquire();
    }
}

#[test]
fn a_forced_release_frees_it_and_takes_nothing() {
    for scheme in protocols_with_numbers() {
        let setup = setup(scheme);
        let mut robbed = setup.child();
        robbed.acquire();
        let (lock, log) = watched(&setup, Stale::Dead);
        let cleared = lock.force_release().expect("it can be forced");
        let Cleared::Removed { holder, verdict } = cleared else {
            panic!("{scheme}: {cleared:?}");
        };
        assert_eq!(holder.pid, Some(robbed.pid()));
        assert!(matches!(verdict, Verdict::Alive | Verdict::Marked));
        assert_eq!(log.lines().len(), 1);
        assert!(robbed.ask("standing it").starts_with("Lost"), "{scheme}");
        let mut newcomer = setup.child();
        newcomer.acquire();
        robbed.tell("drop it");
        robbed.hear("dropped");
        setup.child().must_be_refused();
        assert_eq!(newcomer.ask("standing it"), "Held");
        newcomer.release();
        assert_eq!(lock.force_release().expect("one can look"), Cleared::Free);
    }
}

/// Also one of this very process.
#[test]
fn a_guard_of_this_process_that_is_forced_away_is_lost() {
    for scheme in protocols_with_numbers() {
        let setup = setup(scheme);
        let guard = setup.lock().try_acquire().expect("it is free");
        let cleared = setup.lock().force_release().expect("it can be forced");
        assert!(matches!(cleared, Cleared::Removed { .. }), "{cleared:?}");
        assert!(matches!(guard.standing(), Standing::Lost(_)), "{scheme}");
        let new = setup.lock().try_acquire().expect("it is free");
        assert_eq!(
            guard.release().map_err(|e| e.kind()),
            Err(ErrorKind::Lost),
            "{scheme}"
        );
        assert_eq!(new.standing(), Standing::Held);
        setup.child().must_be_refused();
    }
}

#[test]
fn force_robs_the_one_that_is_in_the_way_and_not_the_next_one() {
    for scheme in protocols_with_numbers() {
        let setup = setup(scheme);
        let mut first = setup.child();
        first.acquire();
        let robber = setup.lock_with(|b| b.stale(Stale::Force));
        let guard = robber.try_acquire().expect("by force");
        let waits = setup.lock();
        drop(guard);
        let next = waits.try_acquire().expect("it is free");
        assert_eq!(next.standing(), Standing::Held);
        assert!(first.ask("standing it").starts_with("Lost"));
    }
}

#[test]
fn what_the_kernel_keeps_cannot_be_forced_and_this_is_said() {
    for scheme in protocols() {
        if protocols_with_numbers().contains(&scheme) {
            continue;
        }
        let setup = setup(scheme);
        let mut child = setup.child();
        child.acquire();
        let is_unsupported = |error: Error| {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.advice().is_some(), "{error}");
        };
        is_unsupported(
            setup
                .lock()
                .force_release()
                .expect_err("it is the kernel's"),
        );
        is_unsupported(setup.lock().break_stale().expect_err("it is the kernel's"));
        let force = setup.lock_with(|b| b.stale(Stale::Force));
        is_unsupported(force.try_acquire().expect_err("it is the kernel's"));
        assert_eq!(child.ask("standing it"), "Held");
        child.release();
    }
}

/// Not by force either is anything removed that is no claim of this protocol.
#[test]
fn force_removes_claims_of_its_own_protocol_and_nothing_else() {
    for scheme in protocols_with_numbers() {
        for thing in things() {
            let setup = setup(scheme);
            let path = setup.folder.join("lock");
            thing.plant(&path);
            let before = state(&path);
            let met = thing.met_by(scheme);
            if met == Met::Remains {
                continue;
            }
            let its_own = match met {
                Met::Busy(claim_of) => claim_of.contains(&scheme),
                Met::Damaged => true,
                Met::Foreign | Met::Lockable | Met::Remains => false,
            };
            let (lock, log) = watched(&setup, Stale::Force);
            let cleared = lock.force_release();
            let removed = matches!(cleared, Ok(Cleared::Removed { .. }));
            assert_eq!(removed, its_own, "{scheme}, {}: {cleared:?}", thing.name);
            assert_eq!(log.lines().len(), usize::from(its_own));
            if its_own {
                assert!(path.symlink_metadata().is_err());
                let guard = lock.try_acquire().expect("it is free");
                guard.release().expect("it is held");
            } else {
                assert_eq!(state(&path), before, "{scheme}, {}", thing.name);
                lock.try_acquire().expect_err("it is not ours");
                assert_eq!(state(&path), before, "{scheme}, {}", thing.name);
            }
            if met == Met::Foreign {
                assert_eq!(cleared.map_err(|e| e.kind()), Err(ErrorKind::Foreign));
            }
        }
    }
}

/// Force by age is the one way on for claims that name nobody, or nonsense, short of removing them by hand.
#[test]
fn by_age_claims_that_name_nobody_go_too_and_nothing_that_is_no_claim() {
    for scheme in protocols_with_numbers() {
        let mut planted = Vec::new();
        for thing in things().filter(|t| t.met_by(scheme) != Met::Remains) {
            let setup = setup(scheme);
            let path = setup.folder.join("lock");
            thing.plant(&path);
            planted.push((thing, setup, path));
        }
        thread::sleep(Duration::from_millis(60));
        for (thing, setup, path) in planted {
            let its_own = match thing.met_by(scheme) {
                Met::Busy(claim_of) => claim_of.contains(&scheme),
                Met::Damaged => true,
                Met::Foreign | Met::Lockable | Met::Remains => false,
            };
            let before = state(&path);
            let young = setup.lock_with(|b| b.stale(Stale::After(PATIENCE * 60)));
            young.try_acquire().expect_err("it is not so old");
            assert_eq!(state(&path), before, "{scheme}, {}", thing.name);
            let old = setup.lock_with(|b| b.stale(Stale::After(Duration::from_millis(50))));
            let taken = old.try_acquire();
            assert_eq!(
                taken.is_ok(),
                its_own,
                "{scheme}, {}: {taken:?}",
                thing.name
            );
            if !its_own {
                assert_eq!(state(&path), before, "{scheme}, {}", thing.name);
            }
        }
    }
}
