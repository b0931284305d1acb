//! What is seen of holders, and what becomes of claims whose holder has gone.

use crate::stage::{LOCKS, Place, Running, until};
use serde_json::Value;

/// The protocols whose claims name a holder that another process can be.
const CLAIMS: [&str; 4] = ["pidfile:l", "labm8:l", "mkdir:l", "symlink:l"];

fn status(place: &Place, lock: &str) -> (i32, Value) {
    let (code, said) = place.said(&["status", "--json", lock]);
    let list: Value = serde_json::from_str(&said).expect("JSON");
    (code, list[0].clone())
}

#[test]
fn the_holder_is_named() {
    for lock in LOCKS {
        let place = Place::new();
        assert_eq!(status(&place, lock).0, 0, "{lock}");
        let holder = Running::start(&mut place.run(&[], lock, "stay"));
        until("it is in", || place.has("in"));
        let (code, seen) = status(&place, lock);
        assert_eq!(code, 1, "{lock}: {seen}");
        assert_eq!(seen["holders"][0]["pid"], holder.pid(), "{lock}: {seen}");
        place.put("leave");
        assert_eq!(holder.code(), 3);
        assert_eq!(status(&place, lock).0, 0, "{lock}");
    }
}

#[test]
fn a_script_holds_a_lock_until_it_releases_it_or_ends() {
    for lock in CLAIMS {
        let place = Place::new();
        let script = Running::start(&mut place.job("stay"));
        let pid = script.pid().to_string();
        assert_eq!(
            place.said(&["acquire", "-n", "--pid", &pid, lock]),
            (0, String::new()),
            "{lock}"
        );
        assert!(!place.is_free(lock), "{lock}");
        assert_eq!(place.code(&["release", "--pid", &pid, lock]), 0, "{lock}");
        assert!(place.is_free(lock), "{lock}");

        assert_eq!(
            place.code(&["acquire", "-n", "--pid", &pid, lock]),
            0,
            "{lock}"
        );
        assert_eq!(place.code(&["break", lock]), 75, "{lock}");
        script.kill();
        let (code, seen) = status(&place, lock);
        assert_eq!(
            (code, &seen["state"]),
            (2, &Value::from("stale")),
            "{lock}: {seen}"
        );
        let (code, said) = place.said(&["break", lock]);
        assert_eq!(code, 0, "{lock}: {said}");
        assert!(said.contains("removed the stale claim"), "{said}");
        assert_eq!(status(&place, lock).0, 0, "{lock}");
    }
}

#[test]
fn there_is_no_acquiring_for_nobody_and_none_that_could_not_be_left() {
    let place = Place::new();
    let mut gone = place.job("come").spawn().expect("it runs");
    gone.wait().expect("reaped");
    let pid = gone.id().to_string();
    // `gone` still has it open, so the number is nobody else's.
    assert_eq!(place.code(&["acquire", "--pid", &pid, "pidfile:l"]), 64);
    let me = std::process::id().to_string();
    assert_eq!(place.code(&["acquire", "--pid", &me, "l"]), 64);
    assert!(!place.has("l"));
}
