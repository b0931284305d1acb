//! `sneck run --max-hold`: the end of commands that hold a lock for too long, with real processes that ignore signals, go to the background or leave. What the
//! terminal has to do with it is in `hold_terminal.rs`.
//!
//! Order, codes and who is left are asserted, never how long something took.
#![allow(clippy::disallowed_methods)]

mod stage;

use rustix::process::{Signal, kill_process};
use sneck_testkit::postgres::PostgresServer;
use stage::{Place, Running, text, until};
use std::fs::{self, File};
use std::process::{Command, Output, Stdio};

/// Short, as the tests wait for it; the command may need longer to be there.
const SOON: &str = "1";
/// Only a failing test waits for it.
const NEVER: &str = "1h";
/// Says that it was told to end, and ends.
const OBEYS: &str = "trap 'echo term >> log; exit 0' TERM; while [ -d $PWD ]; do sleep 0.02; done";
/// Says that it was told to end, and goes on.
const REFUSES: &str = "trap 'echo term >> log' TERM; while [ -d $PWD ]; do sleep 0.02; done";

fn everywhere(name: &str) -> Vec<String> {
    let name = format!("hold-{}-{name}", std::process::id());
    // Where others might get in before the KILL, so long a time until then is refused.
    let server = PostgresServer::shared().place(&format!("{name}?lock-delay=2h"));
    let local = ["l", "fcntl:l", "symlink:l", "pidfile:l", "mkdir:l"];
    local
        .map(str::to_owned)
        .into_iter()
        .chain([server])
        .collect()
}

fn run(place: &Place, options: &[&str], lock: &str, script: &str) -> (Option<i32>, String) {
    run_words(
        place,
        &[&["run"], options, &[lock, "--", "sh", "-c", script]].concat(),
    )
}

fn run_words(place: &Place, words: &[&str]) -> (Option<i32>, String) {
    // Into a file: what goes on in the background would keep a pipe open.
    let errors = File::create(place.path().join("errors")).expect("made");
    let child = place
        .command(words)
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn();
    let running = Running {
        child: child.expect("sneck runs"),
    };
    let code = code(running);
    // A shell says there, too, that its `sleep` was ended.
    let said = place.text("errors");
    let own = said.lines().filter(|line| *line != "Terminated");
    let own: String = own.map(|line| format!("{line}\n")).collect();
    (code, own)
}

fn code(mut running: Running) -> Option<i32> {
    until("sneck to end", || running.has_ended());
    running.code()
}

/// The next one gets it, at once. A server needs a moment to see that a connection has ended.
fn is_free(place: &Place, lock: &str) -> bool {
    let wait: &[&str] = if lock.starts_with("postgres:") {
        &["-w", "60"]
    } else {
        &["-n"]
    };
    place.code(&[&["run"], wait, &[lock, "true"]].concat()) == 0
}

/// Whether a process of this number is there and has not ended.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
    !matches!(state, None | Some("Z" | "X"))
}

/// The group of a process.
fn group(pid: &str) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(") ").expect("a line of stat");
    fields.split(' ').nth(2).expect("its group").to_owned()
}

/// The numbers that processes wrote into this file.
fn numbers(place: &Place, name: &str) -> Vec<String> {
    place
        .text(name)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Ends what a test leaves behind on purpose.
struct LeftBehind(String);

impl Drop for LeftBehind {
    fn drop(&mut self) {
        if lives(&self.0) {
            let _ = Command::new("kill").args(["-KILL", &self.0]).status();
        }
    }
}

#[test]
fn a_command_that_holds_too_long_is_told_to_end_and_then_the_lock_is_free() {
    for lock in everywhere("told") {
        let place = Place::new();
        let options = ["--max-hold", SOON, "--kill-after", NEVER];
        let (code, said) = run(&place, &options, &lock, OBEYS);
        assert_eq!(code, Some(124), "{lock}: {said}");
        assert_eq!(place.text("log"), "term\n", "{lock}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(is_free(&place, &lock), "{lock}");
        let named = place.output(&["status", &lock]);
        let name = text(&named.stdout);
        let (name, state) = name.rsplit_once(": ").expect("a line of status");
        assert_eq!(state, "free\n", "{lock}");
        let begin = format!("sneck: {name}: held for 1s, as long as --max-hold allows: TERM to ");
        assert!(said.starts_with(&begin), "{lock}: {said}");
    }
}

#[test]
fn one_that_does_not_listen_is_killed_and_this_is_said() {
    for lock in everywhere("killed") {
        let place = Place::new();
        let options = ["--max-hold", SOON, "--kill-after", "0.3"];
        let (code, said) = run(&place, &options, &lock, REFUSES);
        assert_eq!(code, Some(124), "{lock}: {said}");
        assert_eq!(place.text("log"), "term\n", "{lock}: TERM comes first");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(
            lines[1].contains("not ended 300ms after TERM: KILL to "),
            "{said}"
        );
        assert!(is_free(&place, &lock), "{lock}");
    }
}

#[test]
fn of_several_locks_all_are_free_then() {
    let place = Place::new();
    let script = "sleep 100 & echo $! > other; wait";
    let locks = ["l", "pidfile:m", "--", "sh", "-c", script];
    let options = ["run", "--max-hold", SOON, "--kill-after", "0.3"];
    let (code, said) = run_words(&place, &[&options, &locks[..]].concat());
    assert_eq!(code, Some(124), "{said}");
    assert!(
        said.starts_with("sneck: l + pidfile:m: held for 1s"),
        "{said}"
    );
    assert!(!lives(place.text("other").trim()));
    for lock in ["l", "pidfile:m"] {
        assert!(is_free(&place, lock), "{lock}");
    }
}

#[test]
fn quiet_or_not_a_command_is_never_ended_in_silence() {
    let place = Place::new();
    let (code, said) = run(&place, &["-q", "--max-hold", SOON], "l", OBEYS);
    assert_eq!(code, Some(124));
    assert!(said.contains("TERM"), "{said}");
}

#[test]
fn one_that_ends_in_time_has_its_own_status_and_nothing_is_said() {
    for lock in everywhere("in-time") {
        let place = Place::new();
        for (script, code) in [("exit 0", 0), ("sleep 0.1; exit 7", 7), ("kill -9 $$", 137)] {
            let ended = run(&place, &["--max-hold", NEVER], &lock, script);
            assert_eq!(ended, (Some(code), String::new()), "{lock} {script}");
        }
        let missing = ["run", "--max-hold", NEVER, &lock, "no-such-command"];
        assert_eq!(place.code(&missing), 127, "{lock}");
    }
}

#[test]
fn the_next_one_in_the_line_gets_the_lock_when_all_of_the_group_has_gone() {
    for lock in ["l", "pidfile:l"] {
        let place = Place::new();
        let script = "trap 'sleep 0.3; echo first ends >> log; exit' TERM; echo > in; while [ -d $PWD ]; do sleep 0.02; done";
        let options = ["run", "--max-hold", SOON, lock, "--", "sh", "-c", script];
        let first = place.start(&options);
        until("the first is in", || place.has("in"));
        let second = ["run", lock, "--", "sh", "-c", "echo second begins >> log"];
        assert_eq!(place.code(&second), 0);
        assert_eq!(place.text("log"), "first ends\nsecond begins\n", "{lock}");
        assert_eq!(code(first), Some(124));
    }
}

#[test]
fn the_time_counts_from_the_lock_and_not_from_the_wait_for_it() {
    let place = Place::new();
    let holder = place.hold("l");
    let options = [
        "run",
        "--max-hold",
        SOON,
        "l",
        "--",
        "sh",
        "-c",
        "sleep 0.3; exit 3",
    ];
    let waiter = place.start(&options);
    until("the waiter has forked its command", || waiter.has_child());
    // Longer than it may hold.
    std::thread::sleep(std::time::Duration::from_millis(1300));
    place.leave();
    assert_eq!(code(waiter), Some(3));
    assert_eq!(code(holder), Some(0));
}

#[test]
fn all_of_the_group_is_ended_and_a_child_in_the_background_that_inherited_the_lock_too() {
    // The command itself ends at once; one of its children does not listen and has the lock.
    let script = "sh -c 'trap \"\" TERM; echo $$ >> deaf; exec sleep 100' & \
                  sleep 100 & echo $! >> numbers; \
                  (sleep 100; true) | cat & \
                  while [ -d $PWD ] && [ ! -s deaf ]; do sleep 0.02; done; cat deaf >> numbers; echo $$ >> numbers; wait";
    for options in [&[][..], &["-o"]] {
        for lock in ["l", "fcntl:l", "pidfile:l"] {
            let place = Place::new();
            let limit = ["--max-hold", "2", "--kill-after", "0.3"];
            let (code, said) = run(&place, &[&limit, options].concat(), lock, script);
            assert_eq!(code, Some(124), "{lock}: {said}");
            assert!(said.contains("KILL to "), "{lock}: {said}");
            assert!(is_free(&place, lock), "{lock}");
            let numbers = numbers(&place, "numbers");
            assert_eq!(numbers.len(), 3, "{numbers:?}");
            for pid in numbers {
                assert!(!lives(&pid), "{lock}: {pid}");
            }
        }
    }
}

#[test]
fn when_the_last_of_the_group_has_obeyed_nobody_is_killed() {
    // The command goes at once; the other one takes its time, and says when it goes.
    let slow = "trap 'sleep 0.4; echo slow >> log; exit' TERM; echo > in; while [ -d $PWD ]; do sleep 0.02; done";
    let script =
        format!("sh -c \"{slow}\" & while [ -d $PWD ] && [ ! -e in ]; do sleep 0.02; done; wait");
    let place = Place::new();
    let options = ["--max-hold", SOON, "--kill-after", NEVER];
    let (code, said) = run(&place, &options, "l", &script);
    assert_eq!(code, Some(124), "{said}");
    assert_eq!(place.text("log"), "slow\n", "sneck has waited for it");
    assert!(!said.contains("KILL to"), "{said}");
    assert!(is_free(&place, "l"));
}

#[test]
fn a_stopped_command_is_continued_so_that_it_can_end() {
    let place = Place::new();
    let script =
        "trap 'echo term >> log; exit' TERM; kill -STOP $$; while [ -d $PWD ]; do sleep 0.02; done";
    let options = ["--max-hold", SOON, "--kill-after", NEVER];
    assert_eq!(run(&place, &options, "l", script).0, Some(124));
    assert_eq!(place.text("log"), "term\n");
}

#[test]
fn what_left_the_group_goes_on_and_keeps_what_it_inherited() {
    let place = Place::new();
    let script = "setsid sh -c 'echo $$ > left.tmp; mv left.tmp left; exec sleep 100' & wait";
    let (code, said) = run(&place, &["--max-hold", SOON], "l", script);
    assert_eq!(code, Some(124), "{said}");
    let left = LeftBehind(place.text("left").trim().to_owned());
    assert!(lives(&left.0));
    assert_eq!(place.code(&["run", "-n", "l", "true"]), 75);
}

#[test]
fn what_a_command_that_ended_in_time_left_behind_is_let_be() {
    let place = Place::new();
    let script = "sleep 100 & echo $! > left";
    let ended = run(&place, &["--max-hold", SOON], "l", script);
    assert_eq!(ended, (Some(0), String::new()));
    let left = LeftBehind(place.text("left").trim().to_owned());
    assert!(lives(&left.0));
    assert_eq!(place.code(&["run", "-n", "l", "true"]), 75);
}

#[test]
fn the_command_leads_a_group_with_a_limit_and_shares_snecks_without_one() {
    let place = Place::new();
    let stay = "echo $$ > in.tmp; mv in.tmp in; while [ -d $PWD ] && [ ! -e leave ]; do sleep 0.02; done; rm in";
    for (options, leads) in [(&[][..], false), (&["--max-hold", NEVER], true)] {
        let words = [&["run"], options, &["l", "--", "sh", "-c", stay]].concat();
        let running = place.start(&words);
        until("the command is in", || place.has("in"));
        let command = place.text("in").trim().to_owned();
        let expected = match leads {
            true => command.clone(),
            false => group(&running.number()),
        };
        assert_eq!(group(&command), expected, "{options:?}");
        assert_ne!(group(&running.number()), command);
        place.leave();
        assert_eq!(code(running), Some(0));
        fs::remove_file(place.path().join("leave")).expect("removed");
    }
}

#[test]
fn a_script_around_sneck_outlives_the_end_of_the_command() {
    let place = Place::new();
    let script =
        place.script("sneck run --max-hold 0.3 --kill-after 0 l -- sleep 100; echo $? > after");
    assert_eq!(code(script), Some(0));
    assert_eq!(place.text("after"), "124\n");
}

/// A sneck whose command is in, with a limit that is not reached.
fn held(place: &Place, script: &str) -> Running {
    let running = place.start(&["run", "--max-hold", NEVER, "l", "--", "sh", "-c", script]);
    until("the command is in", || place.has("in"));
    running
}

#[test]
fn a_signal_sent_to_sneck_reaches_all_of_the_group() {
    let place = Place::new();
    let child =
        "trap 'echo child >> log; exit' USR1; echo > in; while [ -d $PWD ]; do sleep 0.02; done";
    let script = format!(
        "trap 'n=1' USR1; sh -c \"{child}\" & while [ -d $PWD ] && [ -z \"$n\" ]; do sleep 0.02; done; \
         wait; echo command >> log; exit 3"
    );
    let running = held(&place, &script);
    kill_process(running.pid(), Signal::USR1).expect("sent");
    assert_eq!(code(running), Some(3));
    assert_eq!(place.text("log"), "child\ncommand\n");
}

#[test]
fn what_the_group_sends_to_sneck_does_not_come_back() {
    let place = Place::new();
    // Not the command itself sends it, but a child of it, and stays to be looked at.
    let script =
        "trap 'echo back >> log' TERM; sneck=$PPID; sh -c \"kill -TERM $sneck; sleep 0.3\"; exit 3";
    let ended = run(&place, &["--max-hold", NEVER], "l", script);
    assert_eq!(ended, (Some(3), String::new()));
    assert_eq!(place.text("log"), "");
}

#[test]
fn sneck_that_is_stopped_and_continued_takes_the_command_along() {
    let is_stopped = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    let place = Place::new();
    // It forks nothing any more: who waits for a child that has not begun yet cannot be stopped.
    let job = "trap 'exit 6' TERM; sleep 100 & echo $$ > in.tmp; mv in.tmp in; wait";
    // In a session of its own a stop would be in vain; a shell with job control makes a group that can be stopped.
    // It waits for a line and not for the job: bash leaves a loop when a job of its is stopped.
    let script = format!(
        "set -m; \"$0\" run --max-hold {NEVER} l -- sh -c '{}' < /dev/null & \
         echo $! > job.tmp; mv job.tmp job; read line",
        job.replace('\'', "'\\''")
    );
    let mut shell = Command::new("bash")
        .args(["-c", &script, env!("CARGO_BIN_EXE_sneck")])
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash(1)");
    until("the command is in", || place.has("in") && place.has("job"));
    let sneck = LeftBehind(place.text("job").trim().to_owned());
    let command = LeftBehind(place.text("in").trim().to_owned());
    let send = |name: &str| {
        let sent = Command::new("kill").args([name, &sneck.0]).status();
        assert!(sent.expect("kill(1)").success());
    };
    send("-TSTP");
    until("both to stop", || {
        is_stopped(&sneck.0) && is_stopped(&command.0)
    });
    send("-CONT");
    until("both to run", || {
        !is_stopped(&sneck.0) && !is_stopped(&command.0)
    });
    send("-TERM");
    until("both to end", || !lives(&sneck.0) && !lives(&command.0));
    drop(shell.stdin.take());
    shell.wait().expect("reaped");
}

#[test]
fn a_limit_of_nothing_and_a_kill_without_a_limit_are_refused() {
    let place = Place::new();
    for (options, word) in [
        (&["--max-hold", "0"][..], "leave the option out"),
        (&["--max-hold", "-1"], "negative"),
        (&["--max-hold", "soon"], "soon"),
        (&["--kill-after", "1"], "--max-hold"),
        (&["--max-hold", "1", "--kill-after", "-1"], "negative"),
    ] {
        let (code, said) = run(&place, options, "l", "touch ran");
        assert_eq!(code, Some(64), "{options:?}: {said}");
        assert!(said.contains(word), "{options:?}: {said}");
    }
    assert!(!place.has("ran"));
}

#[test]
fn where_processes_cannot_be_listed_the_group_is_ended_all_the_same() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: no pid namespace");
        return;
    }
    // There /proc lists the processes of the namespace outside.
    let place = Place::new();
    let script = "sh -c 'trap \"\" TERM; exec sleep 100' & trap exit TERM; while [ -d $PWD ]; do sleep 0.02; done";
    let output: Output = Command::new("unshare")
        .args([
            "-pf",
            env!("CARGO_BIN_EXE_sneck"),
            "run",
            "--max-hold",
            SOON,
        ])
        .args(["--kill-after", "0.3", "l", "--", "sh", "-c", script])
        .current_dir(place.path())
        .output()
        .expect("unshare(1) of util-linux");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(124), "{said}");
    assert!(said.contains("KILL to "), "{said}");
    assert!(is_free(&place, "l"));
}
