//! Claims and processes that are older or younger than they look: touched files, records of another clock.
//!
//! A claim's own time is the later of what it says and of its status change, which no program can set back. Not for: numbers that are given away anew,
//! which takes a pid namespace (`namespaces.rs`). The machine's clock is never stepped: what a step leaves behind is planted instead.

use crate::{claimed, dead, is_broken, is_left_alone, setup, verdict};
use sneck::{Stale, Verdict};
use sneck_testkit::planted::protocols_with_numbers;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const TIMES: [&str; 4] = ["@0", "1 hour ago", "1 hour", "2100-01-01"];

fn touch(path: &Path, when: &str) {
    let mut touch = Command::new("touch");
    let done = touch.args(["-h", "-d", when]).arg(path).status();
    assert!(done.expect("`touch` is there").success());
}

#[test]
fn touching_the_claim_of_a_live_process_speaks_neither_for_nor_against_it() {
    for scheme in protocols_with_numbers() {
        let child = setup(scheme).child();
        let (setup, path) = claimed(scheme, child.pid());
        for when in TIMES {
            touch(&path, when);
            assert_eq!(verdict(&setup), Verdict::Alive, "{scheme} {when}");
            is_left_alone(&setup, Stale::Likely);
            // Nor is it too old, or still young, for having been touched.
            is_left_alone(&setup, Stale::After(Duration::from_secs(1800)));
        }
    }
}

#[test]
fn touching_the_claim_of_a_dead_process_does_not_bring_it_back() {
    for scheme in protocols_with_numbers() {
        for when in TIMES {
            let dead = dead();
            let (setup, path) = claimed(scheme, dead);
            touch(&path, when);
            is_broken(&setup, dead, "no such process");
        }
    }
}

/// The clock was set forward after the claim, or its writer's clock was wrong.
#[test]
fn a_time_in_the_record_that_is_long_past_is_no_evidence() {
    let child = setup("labm8").child();
    for time in ["0.0", "1.5", "-1.0", "1000000000.25"] {
        let setup = setup("labm8");
        let path = setup.folder.join("lock");
        fs::write(&path, format!("{} {time}\n", child.pid())).expect("our own folder");
        assert_eq!(verdict(&setup), Verdict::Alive, "{time}");
        is_left_alone(&setup, Stale::Likely);
        is_left_alone(&setup, Stale::After(Duration::from_secs(1800)));
    }
}

/// The clock was set back after the claim.
#[test]
fn a_time_in_the_record_that_is_yet_to_come_keeps_nobody_alive_and_kills_nobody() {
    for time in ["4102444800.0", "1e300", "inf", "nan"] {
        let child = setup("labm8").child();
        for (pid, alive) in [(child.pid(), true), (dead(), false)] {
            let setup = setup("labm8");
            let path = setup.folder.join("lock");
            fs::write(&path, format!("{pid} {time}\n")).expect("our own folder");
            if alive {
                assert_eq!(verdict(&setup), Verdict::Alive, "{time}");
                is_left_alone(&setup, Stale::Likely);
            } else {
                is_broken(&setup, pid, "no such process");
            }
        }
    }
}

/// What our own records say of the process tells it from a later one of the same number, at once.
#[test]
fn a_record_of_another_start_is_another_processs_and_one_of_another_boot_too() {
    let child = setup("labm8").child();
    for (fact, grounds) in [
        ("ticks=1", "is no more, whoever"),
        (
            "boot=0123456789abcdef0123456789abcdef",
            "is no more, whoever",
        ),
    ] {
        let setup = setup("labm8");
        let path = setup.folder.join("lock");
        let record = format!("{} 4102444800.0 {fact}\n", child.pid());
        fs::write(&path, record).expect("our own folder");
        is_broken(&setup, child.pid(), grounds);
    }
    // Of another host nothing is known.
    let setup = setup("labm8");
    let record = format!("{} 1.0 ticks=1 host=elsewhere.example\n", dead());
    fs::write(setup.folder.join("lock"), record).expect("our own folder");
    is_left_alone(&setup, Stale::Likely);
}
