//! What became of the process that a claim names: gone, ended, or alive.
//!
//! Not for: what only Unix makes of processes, and numbers that were given to younger ones (`stale`).

use crate::{claimed, dead, is_broken, is_left_alone, setup, verdict};
use sneck::{ErrorKind, Guard, Stale, Verdict};
use sneck_testkit::planted::{protocols_with_numbers, state};
use sneck_testkit::{must_block, sys};
use std::time::Duration;

const NO_PROOF: [Stale; 3] = [Stale::Never, Stale::Dead, Stale::Likely];

#[test]
fn the_claim_of_a_process_that_is_no_more_is_broken() {
    for scheme in protocols_with_numbers() {
        for pid in [dead(), sys::NO_PROCESS, i32::MAX.unsigned_abs()] {
            let (setup, _) = claimed(scheme, pid);
            is_broken(&setup, pid);
        }
    }
}

#[test]
fn the_claim_of_a_process_that_has_ended_is_broken_though_somebody_still_refers_to_it() {
    for scheme in protocols_with_numbers() {
        let mut ended = setup("memory").child();
        ended.kill_without_reaping();
        let (setup, _) = claimed(scheme, ended.pid());
        is_broken(&setup, ended.pid());
    }
}

#[test]
fn the_claim_of_a_living_process_is_left_alone_until_it_dies() {
    for scheme in protocols_with_numbers() {
        let mut child = setup("memory").child();
        for pid in [child.pid(), sys::somebody()] {
            let (setup, _) = claimed(scheme, pid);
            assert_eq!(verdict(&setup), Verdict::Alive, "{scheme}");
            for policy in NO_PROOF {
                let error = is_left_alone(&setup, policy);
                assert_eq!(error.holders()[0].pid, Some(pid), "{error}");
            }
        }
        let (setup, _) = claimed(scheme, child.pid());
        let lock = setup.lock();
        let waiter = must_block(move || lock.acquire());
        child.kill();
        let guard: Guard = waiter.wait().expect("its holder is gone");
        assert_eq!(guard.broken()[0].pid, Some(child.pid()));
    }
}

#[test]
fn what_is_no_number_of_a_process_is_never_broken() {
    for scheme in protocols_with_numbers() {
        for number in ["0", "-1", "-5", "2147483648", "99999999999999999999"] {
            let (setup, path) = claimed(scheme, number);
            let before = state(&path);
            for policy in NO_PROOF {
                let lock = setup.lock_with(|b| b.stale(policy));
                for wait in [0, 20] {
                    let error = lock.acquire_within(Duration::from_millis(wait));
                    let error = error.expect_err("nobody is proved gone");
                    // Somebody unknown, nonsense, or a folder with something in it: each protocol has its own view.
                    let kind = error.kind();
                    assert!(
                        error.is_held() || matches!(kind, ErrorKind::Damaged | ErrorKind::Foreign),
                        "{error}"
                    );
                }
            }
            assert_eq!(state(&path), before);
        }
    }
}
