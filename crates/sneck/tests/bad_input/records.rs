//! Content that is nearly right for one protocol: what `flock` with a record finds in its file, and the links that are no process numbers.
//!
//! Not for: things that no protocol of its own takes for a claim (`kinds.rs`).

use crate::{says, setup};
use sneck::{Clean, ErrorKind, Record, Sighting, Stale};
use sneck_testkit::planted::state;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

#[test]
fn a_number_that_is_no_process_number_is_damage_and_left_alone() {
    for target in ["0", "-5", "-1", "2147483648", "99999999999999999999"] {
        let (setup, path) = setup("symlink");
        symlink(target, &path).expect("our own folder");
        let before = state(&path);
        let seen = setup.lock().holder().expect("one can look");
        assert!(
            matches!(seen, Sighting::Damaged { .. }),
            "{target}: {seen:?}"
        );
        for policy in [Stale::Dead, Stale::Likely] {
            for wait in [0, 40] {
                let lock = setup.lock_with(|b| b.stale(policy));
                let error = lock.acquire_within(Duration::from_millis(wait));
                let error = error.expect_err("this makes no sense");
                says(&error, ErrorKind::Damaged, &path);
                assert!(error.to_string().contains(target), "{error}");
            }
        }
        assert_eq!(state(&path), before);
    }
}

#[test]
fn what_an_ordinary_link_points_to_is_said() {
    for target in ["/etc/passwd", "nowhere", "12a", "1 2", "host:12", "+"] {
        let (setup, path) = setup("symlink");
        symlink(target, &path).expect("our own folder");
        let error = setup.lock().try_acquire().expect_err("this is no lock");
        says(&error, ErrorKind::Foreign, &path);
        let seen = setup.lock().holder().expect("one can look");
        let what = format!("a symbolic link to `{target}`");
        assert_eq!(seen, Sighting::Foreign { what });
    }
}

#[test]
fn a_record_is_not_written_over_other_content() {
    for content in [
        "precious",
        "12 34\n",
        "\n",
        "123456789012345678901234567890\n",
        "-1\n",
    ] {
        let (setup, path) = setup("flock");
        fs::write(&path, content).expect("our own folder");
        let before = state(&path);
        let lock = setup.lock_with(|b| b.record(Record::Pid));
        let error = lock.try_acquire().expect_err("this is no record");
        says(&error, ErrorKind::Foreign, &path);
        assert_eq!(state(&path), before);
        // And it was not kept.
        setup.child().acquire();
    }
}

#[test]
fn a_record_is_there_while_it_is_held_and_what_is_left_tells_of_a_death() {
    let (setup, path) = setup("flock");
    let lock = setup.lock_with(|b| b.record(Record::Pid));
    let guard = lock.try_acquire().expect("it is free");
    let content = || fs::read_to_string(&path).expect("it is there");
    assert_eq!(content(), format!("{}\n", std::process::id()));
    guard.release().expect("it is held");
    assert_eq!(content(), "");
    let mut child = setup.child();
    child.tell("acquire it forever record");
    assert!(child.hear("held").starts_with("Yes"));
    child.kill();
    assert_eq!(content(), format!("{}\n", child.pid()));
    let guard = lock.acquire().expect("its holder is dead");
    assert_eq!(guard.was_clean(), Clean::No);
}
