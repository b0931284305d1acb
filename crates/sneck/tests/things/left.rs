//! Claims that are left behind in a party's name, and released for it by somebody else.
//!
//! Not for: the command's own words for it, nor breaking and forcing (`force.rs`).

use crate::force::watched;
use crate::{is_left_alone, setup, verdict};
use sneck::{ErrorKind, Party, Sighting, Stale, Verdict};
use sneck_testkit::planted::{of_these, protocols_with_numbers};

#[test]
fn a_claim_that_is_left_lasts_until_it_is_released_for_its_party_and_the_removal_is_told() {
    for scheme in protocols_with_numbers() {
        let setup = setup(scheme);
        let child = setup.child();
        let (party, other) = (
            Party::process(child.pid()),
            Party::process(sneck_testkit::sys::somebody()),
        );
        let guard = setup.lock_with(|b| b.party(party)).try_acquire();
        guard.expect("it is free").leave().expect("it can be left");
        assert_eq!(verdict(&setup), Verdict::Alive, "{scheme}");
        is_left_alone(&setup, Stale::Likely);
        let (lock, log) = watched(&setup, Stale::Never);
        let error = lock.release_for(other).expect_err("it is another's");
        assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
        assert!(log.lines().is_empty(), "{:?}", log.lines());
        lock.release_for(party).expect("it is theirs");
        let [line] = &log.lines()[..] else {
            panic!("{scheme}: {:?}", log.lines());
        };
        assert!(line.contains("alive: removed"), "{line}");
        assert_eq!(lock.holder().expect("one can look"), Sighting::Free);
        let error = lock.release_for(party).expect_err("it is free");
        assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    }
}

#[test]
fn a_claim_that_is_left_in_our_own_name_keeps_its_mark() {
    for scheme in protocols_with_numbers()
        .into_iter()
        .filter(|s| *s != "symlink")
    {
        let setup = setup(scheme);
        let guard = setup.lock().try_acquire().expect("it is free");
        guard.leave().expect("it can be left");
        let error = setup.lock().release_for(Party::this_process());
        let error = error.expect_err("it is marked");
        assert_eq!(error.kind(), ErrorKind::Busy, "{scheme}: {error}");
        setup.child().must_be_refused();
        setup.lock().force_release().expect("by force");
        drop(setup.lock().try_acquire().expect("it is free"));
    }
}

#[test]
fn a_lock_of_which_nothing_would_stay_is_released_and_says_that_it_cannot_be_left() {
    for scheme in of_these(&["flock", "fcntl"]) {
        let setup = setup(scheme);
        let guard = setup.lock().try_acquire().expect("it is free");
        let error = guard.leave().expect_err("nothing would stay");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        drop(setup.lock().try_acquire().expect("it was released"));
    }
}
