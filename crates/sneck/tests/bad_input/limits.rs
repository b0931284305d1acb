//! No descriptors are left: whoever cannot open says so, and whoever holds can still release.
//!
//! Not for: limits on events and timers, which only change how one waits (conformance, `signals`).

use crate::{refusal_says, setup};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sneck::{ErrorKind, Sighting};
use sneck_testkit::child::Start;
use sneck_testkit::planted::protocols;
use sneck_testkit::{Child, block};
use std::fs::File;
use std::path::Path;

/// From now on this process can open so many more files and no others.
pub(crate) fn leave_descriptors(number: usize) {
    let limit = Rlimit {
        current: Some(100),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).expect("a limit can be lowered");
    let open = || File::open("/dev/null").ok();
    let mut taken: Vec<File> = std::iter::from_fn(open).collect();
    assert!(taken.len() >= number, "there are so many");
    taken.truncate(taken.len() - number);
    std::mem::forget(taken);
}

#[track_caller]
fn was_refused_for_want(child: &mut Child, path: &Path) {
    let said = child.said().last().expect("it said something");
    let refusal = said.strip_prefix("refused ").expect("a refusal");
    refusal_says(refusal, ErrorKind::CannotCreate, path);
}

/// More than any of them needs at once.
const ENOUGH: usize = 12;

#[test]
fn whoever_can_open_too_little_is_refused_with_the_reason_and_leaves_nothing_behind() {
    for scheme in protocols() {
        let mut refused = 0;
        for left in 0..=ENOUGH {
            let (setup, path) = setup(scheme);
            let mut child = setup.child();
            child.order(&format!("leave-descriptors {left}"));
            child.tell("acquire it once");
            block::until("it is held or refused", || {
                child.has_said("held") || child.has_said("refused")
            });
            if child.has_said("held") {
                setup.lock().try_acquire().expect_err("it is held");
                // As it could be taken, it can be given back, with what is left then.
                child.release();
            } else {
                refused += 1;
                was_refused_for_want(&mut child, &path);
            }
            let litter = crate::litter(scheme, path.parent());
            assert!(litter.is_empty(), "{scheme} with {left}: {litter:?}");
            let guard = setup.lock().try_acquire();
            let guard = guard.unwrap_or_else(|e| panic!("{scheme} with {left}: {e}"));
            guard.release().expect("it is held");
        }
        assert!(refused > 0, "{scheme} opens nothing at all?");
        assert!(refused <= ENOUGH, "{scheme} needs more than {ENOUGH}");
    }
}

#[test]
fn whoever_waits_with_few_descriptors_gets_it_or_says_why_not() {
    for scheme in protocols() {
        for left in 0..=ENOUGH {
            let (setup, path) = setup(scheme);
            let guard = setup.lock().try_acquire().expect("it is free");
            let mut child = setup.child();
            child.order(&format!("leave-descriptors {left}"));
            child.tell("acquire it forever");
            block::until("it waits or is refused", || {
                child.has_said("waiting") || child.has_said("refused")
            });
            guard.release().expect("it is held");
            block::until("it is held or refused", || {
                child.has_said("held") || child.has_said("refused")
            });
            if child.has_said("held") {
                child.release();
            } else {
                was_refused_for_want(&mut child, &path);
            }
        }
    }
}

#[test]
fn whoever_holds_can_release_when_no_descriptors_are_left() {
    for scheme in protocols() {
        let (setup, _) = setup(scheme);
        let mut child = setup.child();
        child.acquire();
        child.order("leave-descriptors 0");
        assert_eq!(child.ask("standing it"), "Held", "{scheme}");
        child.release();
        setup.child().acquire();
    }
}

#[test]
fn what_cannot_be_looked_at_is_never_called_free() {
    for scheme in protocols() {
        for left in 0..=4 {
            let (setup, path) = setup(scheme);
            let _guard = setup.lock().try_acquire().expect("it is free");
            let mut child = setup.child();
            child.order(&format!("leave-descriptors {left}"));
            let seen = child.order("look");
            assert_ne!(
                seen,
                format!("{:?}", Sighting::Free),
                "{scheme}, {left} left"
            );
            assert!(
                seen.starts_with("Held")
                    || seen.starts_with("Unknown")
                    || seen.contains(&path.display().to_string()),
                "{scheme}, {left} left: {seen}"
            );
        }
    }
}

/// RLIMIT_FSIZE, as `ulimit -f 0` sets it: the claim would be cut off at its first byte.
#[test]
fn a_claim_that_may_not_be_written_in_full_is_never_seen() {
    for scheme in protocols() {
        let (setup, path) = setup(scheme);
        let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
        let mut child = Start::wrapped(&setup, &["sh", "-c", script, "sh"]).child();
        child.tell("acquire it once");
        block::until("it is held or refused", || {
            child.has_said("held") || child.has_said("refused")
        });
        if child.has_said("held") {
            // Nothing is written into it.
            setup.child().must_be_refused();
            child.release();
        } else {
            let said = child.said().last().expect("it said something");
            assert!(said.contains(&path.display().to_string()), "{said}");
            assert!(said.contains("too large"), "{said}");
        }
        assert_eq!(crate::litter(scheme, path.parent()), [""; 0], "{scheme}");
        setup.child().acquire();
    }
}
