//! `sneck run` and `sneck status` as people use them: real processes, real signals, a real server.
//!
//! Order, blocking and codes are asserted, never how long something took.
#![allow(clippy::disallowed_methods)]

mod stage;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sneck_testkit::postgres::PostgresServer;
use stage::{NOBODY, Place, STAY, text, until};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// One place of each kind.
fn everywhere() -> [String; 3] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "run-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    [
        "l".into(),
        "symlink:l".into(),
        PostgresServer::shared().place(&name),
    ]
}

#[test]
fn the_commands_status_is_returned() {
    for lock in everywhere() {
        let place = Place::new();
        assert_eq!(place.code(&["run", &lock, "true"]), 0, "{lock}");
        assert_eq!(
            place.code(&["run", &lock, "--", "sh", "-c", "exit 7"]),
            7,
            "{lock}"
        );
        assert_eq!(
            place.code(&["run", &lock, "--", "sh", "-c", "kill -9 $$"]),
            128 + 9,
            "{lock}"
        );
        assert_eq!(
            place.code(&["run", &lock, "no-such-command"]),
            127,
            "{lock}"
        );
        assert_eq!(place.code(&["run", &lock, "/etc/passwd"]), 126, "{lock}");
        assert_eq!(
            place.code(&["run", "-w", "10", &lock, "true"]),
            0,
            "{lock}: free again"
        );
        assert!(
            !place.path().join("l").is_symlink(),
            "{lock}: nothing stays"
        );
    }
}

#[test]
fn a_held_lock_refuses_with_75_or_what_e_says_and_names_the_holder() {
    for lock in everywhere() {
        let place = Place::new();
        let holder = place.hold(&lock);
        for (words, code) in [
            (&["-n"][..], 75),
            (&["-w", "0"], 75),
            (&["-w", "0.05"], 75),
            (&["-n", "-E", "9"], 9),
            (&["-w", "20ms", "-E", "0"], 0),
        ] {
            let output = place.output(&[&["run"], words, &[&lock, "touch", "ran"]].concat());
            assert_eq!(output.status.code(), Some(code), "{lock} {words:?}");
            let said = text(&output.stderr);
            assert!(
                said.contains("held by") && said.contains("pid "),
                "{lock}: {said}"
            );
        }
        let quiet = place.output(&["run", "-q", "-n", &lock, "true"]);
        assert_eq!(
            (quiet.status.code(), text(&quiet.stderr)),
            (Some(75), String::new())
        );
        assert!(!place.has("ran"));
        place.leave();
        assert_eq!(holder.code(), Some(0));
    }
}

#[test]
fn no_second_command_starts_while_the_first_runs_even_if_sneck_is_killed() {
    // At servers the first one is ended: `leased/lost.rs`.
    let local = |lock: &String| !lock.contains("://");
    for lock in everywhere().into_iter().filter(local) {
        let place = Place::new();
        place.hold(&lock).kill();
        assert_eq!(
            place.code(&["run", "-w", "0.2", &lock, "true"]),
            75,
            "{lock}"
        );
        let second = place.start(&["run", &lock, "--", "sh", "-c", "echo second >> log"]);
        until("the second has forked its command", || second.has_child());
        place.leave();
        assert_eq!(second.code(), Some(0), "{lock}");
        assert_eq!(place.text("log"), "left\nsecond\n", "{lock}");
    }
}

#[test]
fn a_command_that_waits_for_its_lock_never_runs_once_sneck_is_killed() {
    for lock in everywhere() {
        let place = Place::new();
        let holder = place.hold(&lock);
        let waiter = place.start(&["run", &lock, "touch", "ran"]);
        until("the waiter has forked its command", || waiter.has_child());
        waiter.kill();
        place.leave();
        assert_eq!(holder.code(), Some(0));
        assert_eq!(place.code(&["run", &lock, "true"]), 0, "{lock}");
        assert!(!place.has("ran"), "{lock}");
    }
}

#[test]
fn background_children_keep_a_kernel_lock_and_o_gives_that_up() {
    for (lock, other) in [("l", "other"), ("fcntl:l", "fcntl:other")] {
        let place = Place::new();
        let script = "sh -c 'n=0; while [ ! -e leave ] && [ $n -lt 9000 ]; do sleep 0.02; n=$((n + 1)); done' > /dev/null 2>&1 &";
        assert_eq!(place.code(&["run", lock, "--", "sh", "-c", script]), 0);
        assert_eq!(place.code(&["run", "-n", lock, "true"]), 75);
        assert_eq!(
            place.code(&["run", "-o", other, "--", "sh", "-c", script]),
            0
        );
        assert_eq!(place.code(&["run", "-n", other, "true"]), 0);
        place.leave();
        assert_eq!(place.code(&["run", lock, "true"]), 0);
    }
}

#[test]
fn a_signal_sent_to_sneck_reaches_the_command() {
    let place = Place::new();
    let script = "trap 'echo term >> log; exit 3' TERM; echo > in; while :; do sleep 0.02; done";
    let running = place.start(&["run", "l", "--", "sh", "-c", script]);
    until("the command is in", || place.has("in"));
    kill_process(running.pid(), Signal::TERM).expect("sent");
    assert_eq!(running.code(), Some(3));
    assert_eq!(place.text("log"), "term\n");
}

#[test]
fn sneck_that_is_told_to_end_while_it_waits_ends() {
    let place = Place::new();
    let _holder = place.hold("l");
    let mut waiter = place.start(&["run", "l", "touch", "ran"]);
    until("the waiter has forked its command", || waiter.has_child());
    kill_process(waiter.pid(), Signal::TERM).expect("sent");
    assert_eq!(waiter.child.wait().expect("reaped").signal(), Some(15));
    place.leave();
    assert!(!place.has("ran"));
}

#[test]
fn the_terminals_signal_to_the_whole_group_is_not_passed_on_a_second_time() {
    // A terminal of its own: script(1) makes one and types what it reads.
    let place = Place::new();
    let trap = "trap 'echo int >> log' INT; echo > in; n=0; while [ ! -e leave ] && [ \\$n -lt 3600 ]; do sleep 0.05; n=\\$((n + 1)); done";
    let line = format!("{} run l -- sh -c \"{trap}\"", env!("CARGO_BIN_EXE_sneck"));
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("script(1) of Debian's bsdutils");
    until("the command is in", || place.has("in"));
    let mut keyboard = terminal.stdin.take().expect("piped");
    keyboard.write_all(b"\x03").expect("typed");
    until("the interrupt arrived", || !place.text("log").is_empty());
    // Time for a second one to arrive, if there is one.
    sleep(Duration::from_millis(200));
    place.leave();
    terminal.wait().expect("reaped");
    assert_eq!(place.text("log"), "int\n");
}

#[test]
fn the_command_gets_the_original_mask_and_sigpipe() {
    let place = Place::new();
    let wanted = |status: &[u8]| {
        let status = text(status);
        let lines = status
            .lines()
            .filter(|l| l.starts_with("SigBlk") || l.starts_with("SigIgn"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let bare = Command::new("cat")
        .arg("/proc/self/status")
        .output()
        .expect("cat");
    let under = place.output(&["run", "-w", "5", "l", "cat", "/proc/self/status"]);
    assert_eq!(wanted(&bare.stdout), wanted(&under.stdout));
}

#[test]
fn a_lock_file_removed_while_it_is_held_ends_with_76() {
    for lock in ["l", "symlink:l"] {
        let place = Place::new();
        let output = place.output(&["run", lock, "rm", "l"]);
        assert_eq!(output.status.code(), Some(76), "{lock}");
        assert!(
            text(&output.stderr).contains("lost"),
            "{}",
            text(&output.stderr)
        );
        let failed = place.output(&["run", lock, "--", "sh", "-c", "rm l; exit 4"]);
        assert_eq!(
            failed.status.code(),
            Some(4),
            "the command's own failure comes first"
        );
    }
    let place = Place::new();
    let other = place.output(&["run", "symlink:l", "--", "sh", "-c", "rm l; ln -s 1 l"]);
    assert_eq!(other.status.code(), Some(76));
    assert!(
        place.path().join("l").is_symlink(),
        "another's claim is left alone"
    );
}

#[test]
fn what_is_wrong_has_its_code_and_its_place_in_the_message() {
    let place = Place::new();
    fs::create_dir(place.path().join("folder")).expect("made");
    symlink("/etc/passwd", place.path().join("link")).expect("made");
    fs::write(place.path().join("file"), "mine").expect("written");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let refused = format!(
        "postgres://127.0.0.1:{}/x",
        port.local_addr().expect("bound").port()
    );
    drop(port);
    for (words, code, said) in [
        (&["run", "folder", "true"][..], 66, "folder"),
        (&["run", "link", "true"], 66, "link"),
        (&["run", "symlink:file", "true"], 66, "file"),
        (&["run", "symlink:link", "true"], 66, "/etc/passwd"),
        (&["run", "none/l", "true"], 73, "none/l"),
        (&["run", "memory:l", "true"], 64, "cannot protect a command"),
        (&["run", "memory:", "true"], 64, "cannot protect a command"),
        (&["run", "--protocol", "memory", "l", "true"], 64, "memory"),
        (&["status", "memory:l"], 64, "memory"),
        (&["run", "flokc:l", "true"], 64, "flokc"),
        (&["run", "-s", "symlink:l", "true"], 64, "shared"),
        (&["run", &refused, "true"], 69, "127.0.0.1"),
        (&["run", "l"], 64, "COMMAND"),
        (&["run", "-w", "soon", "l", "true"], 64, "soon"),
        (&["nonsense"], 64, "nonsense"),
        (&["status", "folder"], 66, "folder"),
    ] {
        let output = place.output(words);
        let all = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {all}");
        assert!(all.contains(said), "{words:?}: {all}");
    }
    assert_eq!(place.text("file"), "mine");
    assert_eq!(place.code(&["--help"]), 0);
}

#[test]
fn after_a_second_of_waiting_one_line_says_for_what_and_for_whom() {
    let place = Place::new();
    let holder = place.hold("l");
    let waiter = place
        .command(&["run", "l", "true"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("sneck runs");
    sleep(Duration::from_millis(2500));
    place.leave();
    let said = text(&waiter.wait_with_output().expect("reaped").stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("waiting for l, held by pid"), "{said}");
    assert_eq!(holder.code(), Some(0));
    assert_eq!(text(&place.output(&["run", "l", "true"]).stderr), "");
}

#[test]
fn status_tells_free_held_stale_and_damaged_and_touches_nothing() {
    for lock in everywhere() {
        let place = Place::new();
        assert_eq!(place.code(&["status", &lock]), 0, "{lock}");
        assert_eq!(
            fs::read_dir(place.path()).expect("a folder").count(),
            0,
            "{lock}: looking made a file"
        );
        let holder = place.hold(&lock);
        let held = place.output(&["status", &lock]);
        assert_eq!(held.status.code(), Some(1), "{lock}");
        assert!(
            text(&held.stdout).contains("held by"),
            "{}",
            text(&held.stdout)
        );
        let json = place.output(&["status", "--json", &lock]);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
        assert_eq!(json[0]["state"], "held", "{lock}");
        assert!(
            json[0]["holders"].as_array().is_some_and(|h| !h.is_empty()),
            "{lock}"
        );
        if lock == "symlink:l" {
            let pid: u64 = place.text("in").trim().parse().expect("a pid");
            assert_eq!(
                json[0]["holders"][0]["pid"], pid,
                "the claim names the command"
            );
        }
        place.leave();
        assert_eq!(holder.code(), Some(0));
    }
    let place = Place::new();
    symlink(NOBODY, place.path().join("stale")).expect("made");
    symlink("0", place.path().join("damaged")).expect("made");
    for name in ["stale", "damaged"] {
        let output = place.output(&["status", &format!("symlink:{name}")]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(
            text(&output.stdout).contains(&format!(": {name}: ")),
            "{}",
            text(&output.stdout)
        );
        assert!(place.path().join(name).is_symlink());
    }
    assert_eq!(
        place.code(&["status", "free", "symlink:stale"]),
        2,
        "the worst counts"
    );
}

#[test]
fn a_stale_claim_is_broken_only_as_the_policy_allows_and_this_is_said() {
    let place = Place::new();
    symlink(NOBODY, place.path().join("l")).expect("made");
    let refused = place.output(&["run", "-n", "--stale", "never", "symlink:l", "true"]);
    assert_eq!(refused.status.code(), Some(75));
    assert!(
        text(&refused.stderr).contains("stale"),
        "{}",
        text(&refused.stderr)
    );
    let broken = place.output(&["run", "-n", "symlink:l", "true"]);
    assert_eq!(broken.status.code(), Some(0));
    assert!(
        text(&broken.stderr).contains(NOBODY),
        "{}",
        text(&broken.stderr)
    );
    // A living process: force by age takes its claim, and nothing less.
    symlink("1", place.path().join("l")).expect("made");
    assert_eq!(place.code(&["run", "-n", "symlink:l", "true"]), 75);
    assert_eq!(
        place.code(&["run", "-n", "--stale", "1h", "symlink:l", "true"]),
        75
    );
    sleep(Duration::from_millis(60));
    assert_eq!(
        place.code(&["run", "-n", "--stale", "50ms", "symlink:l", "true"]),
        0
    );
}

#[test]
fn a_group_that_is_killed_leaves_no_lock_behind() {
    for lock in everywhere() {
        let place = Place::new();
        let words = ["run", &lock, "--", "sh", "-c", STAY];
        let mut group = place
            .command(&words)
            .process_group(0)
            .spawn()
            .expect("sneck runs");
        until("the holder is in", || place.has("in"));
        kill_process_group(Pid::from_child(&group), Signal::KILL).expect("sent");
        group.wait().expect("reaped");
        assert_eq!(place.code(&["run", &lock, "true"]), 0, "{lock}");
    }
}

#[test]
fn it_runs_where_its_session_and_its_group_began_outside_its_pid_namespace() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: no pid namespace");
        return;
    }
    for lock in ["l", "symlink:l", "pidfile:l", "mkdir:l"] {
        let place = Place::new();
        // There getsid(2) and getpgrp(2) answer 0.
        let output = Command::new("unshare")
            .args(["-pf", env!("CARGO_BIN_EXE_sneck"), "run", lock, "--"])
            .args(["sh", "-c", "exit 3"])
            .current_dir(place.path())
            .output()
            .expect("unshare(1) of util-linux");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{lock}: {said}");
        assert_eq!(said, "", "{lock}");
    }
}
