//! `sneck run` with several LOCKs, and with one that is of several protocols: real processes.
//!
//! Order, blocking and codes are asserted, never how long something took.
#![allow(clippy::disallowed_methods)]

mod stage;

use sneck_testkit::postgres::PostgresServer;
use stage::{NOBODY, Place, STAY, text, until};
use std::fs;
use std::process::Stdio;

#[test]
fn all_of_them_are_held_while_the_command_runs_or_none() {
    let server = PostgresServer::shared().place(&format!("several-{}", std::process::id()));
    let place = Place::new();
    let locks = ["a", "fcntl:b", "pidfile:c", server.as_str()];
    let all = [&["run"], &locks[..], &["--", "sh", "-c", STAY]].concat();
    let holder = place.start(&all);
    until("the holder is in", || place.has("in"));
    for lock in locks {
        assert_eq!(place.code(&["run", "-n", lock, "true"]), 75, "{lock}");
    }
    place.leave();
    assert_eq!(holder.code(), Some(0));
    for lock in locks {
        assert_eq!(place.code(&["run", "-n", lock, "true"]), 0, "{lock}");
    }
}

#[test]
fn while_one_of_them_is_held_the_others_are_free() {
    let place = Place::new();
    let holder = place.hold("pidfile:c");
    let waiter = place.start(&["run", "a", "fcntl:b", "pidfile:c", "--", "touch", "ran"]);
    until("it has forked its command", || waiter.has_child());
    for lock in ["a", "fcntl:b"] {
        assert_eq!(place.code(&["run", "-w", "10", lock, "true"]), 0, "{lock}");
    }
    assert!(!place.has("ran"));
    place.leave();
    assert_eq!((holder.code(), waiter.code()), (Some(0), Some(0)));
    assert!(place.has("ran"));
}

#[test]
fn opposite_orders_do_not_wait_for_each_other() {
    let place = Place::new();
    let count = "read n < n; echo $((n + 1)) > n";
    fs::write(place.path().join("n"), "0\n").expect("our own folder");
    let loops = ["a b", "b a", "a pidfile:c b"].map(|locks| {
        place.script(&format!(
            "i=0; while [ $i -lt 50 ]; do sneck run {locks} -- sh -c '{count}' || exit 1; i=$((i + 1)); done"
        ))
    });
    assert_eq!(loops.map(|running| running.code()), [Some(0); 3]);
    assert_eq!(place.text("n"), "150\n");
}

#[test]
fn the_one_in_the_way_is_named_with_its_holder() {
    let place = Place::new();
    let holder = place.hold("pidfile:b");
    for (words, code) in [(&["-n"][..], 75), (&["-w", "0.05", "-E", "9"], 9)] {
        let (ended, said) =
            place.said(&[&["run"], words, &["a", "pidfile:b", "--", "true"]].concat());
        assert_eq!(ended, code, "{said}");
        assert!(
            said.contains("sneck: pidfile:b: ") && said.contains("held by pid"),
            "{said}"
        );
        assert!(!said.contains("a + "), "{said}");
    }
    place.leave();
    assert_eq!(holder.code(), Some(0));
}

#[test]
fn the_line_that_is_shown_while_it_waits_names_the_one_in_the_way() {
    let place = Place::new();
    let holder = place.hold("pidfile:b");
    let mut waiter = place.command(&["run", "a", "pidfile:b", "--", "true"]);
    let waiter = waiter.stdout(Stdio::null()).stderr(Stdio::piped());
    let waiter = waiter.spawn().expect("sneck runs");
    // It speaks after a second.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    place.leave();
    let output = waiter.wait_with_output().expect("it ends");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.starts_with("sneck: waiting for pidfile:b, held by pid"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(holder.code(), Some(0));
}

#[test]
fn a_command_of_flock_style_with_dashes_of_its_own_is_not_taken_for_locks() {
    let place = Place::new();
    let (code, said) = place.said(&["run", "l", "sh", "-c", "true", "--", "file"]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("sneck run l -- sh -c true -- file"), "{said}");
    assert!(said.contains("`./sh` for a lock"), "{said}");
    assert!(!place.has("l") && !place.has("sh"), "nothing was made");
    // Both ways that it names.
    let script = "echo \"$0 $*\" > said";
    let words = ["run", "l", "--", "sh", "-c", script, "--", "file"];
    assert_eq!(place.code(&words), 0);
    assert_eq!(place.text("said"), "-- file\n");
    assert_eq!(place.code(&["run", "l", "./sh", "--", "true"]), 0);
    assert!(place.has("sh"), "it was locked");
    assert_eq!(place.code(&["run", "l", "b", "--"]), 64);
    assert!(!place.has("b"));
    // As ever.
    assert_eq!(place.code(&["run", "l", "sh", "-c", "exit 3"]), 3);
    assert_eq!(place.code(&["run", "l", "sh", "-c", "exit 3", "-n"]), 3);
}

#[test]
fn what_cannot_be_taken_together_is_refused_before_anything_is_started() {
    let place = Place::new();
    let two = |locks: &[&str]| place.said(&[&["run"], locks, &["--", "touch", "ran"]].concat());
    for locks in [
        &["a", "./a"][..],
        &["pidfile:a", "dotlock:a"],
        &["a", "flock+fcntl:a"],
        &["flock+flock:a"],
        &["pidfile+dotlock:a"],
        &["a", "memory:b"],
    ] {
        let (code, said) = two(locks);
        assert_eq!(code, 64, "{locks:?}: {said}");
    }
    let (code, said) = two(&["-s", "a", "pidfile:b"]);
    assert_eq!(code, 64, "{said}");
    assert!(
        said.contains("pidfile:b: protocol pidfile has no shared mode"),
        "{said}"
    );
    assert!(!place.has("ran"));
}

#[test]
fn options_count_for_all_of_them() {
    let place = Place::new();
    let run = [
        "run",
        "-s",
        "--protocol",
        "fcntl",
        "a",
        "b:c",
        "--",
        "sh",
        "-c",
        STAY,
    ];
    let reader = place.start(&run);
    until("it is in", || place.has("in"));
    for lock in ["fcntl:a", "fcntl:b:c"] {
        assert_eq!(place.code(&["run", "-s", "-n", lock, "true"]), 0, "{lock}");
        assert_eq!(place.code(&["run", "-n", lock, "true"]), 75, "{lock}");
    }
    place.leave();
    assert_eq!(reader.code(), Some(0));
    // Stale claims of all of them.
    for name in ["x", "y"] {
        fs::write(place.path().join(name), format!("{NOBODY}\n")).expect("our own folder");
    }
    let (code, said) = place.said(&["run", "pidfile:x", "pidfile:y", "--", "true"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("stale claim of pid").count(), 2, "{said}");
}

#[test]
fn background_processes_of_the_command_keep_all_of_them() {
    let place = Place::new();
    let stay = format!("({STAY}) > /dev/null 2>&1 &");
    assert_eq!(
        place.code(&["run", "a", "fcntl:b", "--", "sh", "-c", &stay]),
        0
    );
    until("it is in", || place.has("in"));
    for lock in ["a", "fcntl:b", "flock+fcntl:a"] {
        assert_eq!(place.code(&["run", "-n", lock, "true"]), 75, "{lock}");
    }
    place.leave();
    for lock in ["a", "fcntl:b", "flock+fcntl:a"] {
        assert_eq!(place.code(&["run", "-w", "20", lock, "true"]), 0, "{lock}");
    }
}

#[test]
fn status_says_what_is_at_each_part() {
    let place = Place::new();
    let both = "flock+pidfile:x";
    assert_eq!(
        place.said(&["status", both]),
        (0, format!("{both}: free\n"))
    );
    let holder = place.hold(both);
    let (code, said) = place.said(&["status", both]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("held by pid") && said.contains("(x held, pidfile:x.lock held)"),
        "{said}"
    );
    place.leave();
    assert_eq!(holder.code(), Some(0));
    fs::write(place.path().join("x.lock"), format!("{NOBODY}\n")).expect("our own folder");
    let (code, said) = place.said(&["status", both]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("(x free, pidfile:x.lock stale)"), "{said}");
    assert!(said.contains("`sneck break pidfile:x.lock`"), "{said}");
    let (code, said) = place.said(&["break", both]);
    assert_eq!(code, 0, "{said}");
    assert!(!place.has("x.lock"));
    let (code, said) = place.said(&["acquire", "--pid", "1", both]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("protocol flock ends with"), "{said}");
}
