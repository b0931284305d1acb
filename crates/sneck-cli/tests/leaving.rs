//! `sneck acquire` and `sneck release`, as scripts use them: claims in another process's name.
#![allow(clippy::disallowed_methods)]

mod stage;

use rustix::process::{Signal, kill_process};
use stage::{NOBODY, Place, Running, as_nobody, files, text, until};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::{self, sleep};
use std::time::Duration;

/// Long enough for a wait to have begun.
const A_MOMENT: Duration = Duration::from_millis(50);
/// Places whose locks end with whoever took them. Nobody listens at the port.
const KERNEL_AND_SERVERS: [&str; 4] = ["l", "flock:l", "fcntl:l", "postgres://127.0.0.1:1/l"];

fn own() -> String {
    std::process::id().to_string()
}

/// A sneck whose messages are kept.
fn heard(place: &Place, words: &[&str]) -> Running {
    let child = place.command(words).stderr(Stdio::piped()).spawn();
    Running {
        child: child.expect("sneck runs"),
    }
}

/// The holder's command was told to leave, and nobody took the lock from it before it was released.
#[track_caller]
fn ends_well(lock: &str, holder: Running) {
    assert_eq!(holder.code(), Some(0), "{lock}");
}

#[test]
fn a_claim_in_the_name_of_a_process_stays_until_it_is_released() {
    for lock in files() {
        let place = Place::new();
        let holder = place.somebody();
        place.claim(&lock, &holder);
        let (code, said) = place.said(&["status", &lock]);
        assert_eq!(code, 1, "{lock}");
        let who = format!("held by pid {}", holder.number());
        assert!(said.contains(&who), "{said}");
        let (code, said) = place.said(&["run", "-n", &lock, "true"]);
        assert_eq!(code, 75, "{lock}: {said}");
        let words = ["release", "--pid", &holder.number(), &lock];
        assert_eq!(place.said(&words), (0, String::new()), "{lock}");
        assert_eq!(place.names().len(), 0, "{lock}: nothing stays");
        assert_eq!(place.code(&["run", "-n", &lock, "true"]), 0, "{lock}");
    }
}

#[test]
fn a_script_holds_from_acquire_to_release_and_others_are_kept_out() {
    for lock in files() {
        let place = Place::new();
        let job = |name: &str| {
            place.script(&format!(
                "sneck acquire --pid $$ {lock} || exit 1
                 echo {name} in >> log; sleep 0.1; echo {name} out >> log
                 sneck release --pid $$ {lock}"
            ))
        };
        for job in ["a", "b", "c"].map(job) {
            assert_eq!(job.code(), Some(0), "{lock}");
        }
        let log = place.text("log");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 6, "{lock}: {log}");
        for pair in lines.chunks(2) {
            let (came, went) = (pair[0].strip_suffix(" in"), pair[1].strip_suffix(" out"));
            assert!(came.is_some() && came == went, "{lock}: {log}");
        }
    }
}

#[test]
fn the_claim_of_a_script_that_was_killed_is_stale_and_the_next_one_breaks_it() {
    for lock in files() {
        let place = Place::new();
        let stay = "while [ -e in ]; do sleep 0.02; done";
        let script = place.script(&format!(
            "sneck acquire --pid $$ {lock} && echo > in; {stay}"
        ));
        until("the script is in", || place.has("in"));
        let pid = script.number();
        let refused = place.code(&["run", "-n", &lock, "true"]);
        assert_eq!(refused, 75, "{lock}: it lives");
        let waiter = heard(&place, &["run", &lock, "--", "touch", "ran"]);
        until("the waiter has forked its command", || waiter.has_child());
        script.kill();
        let (code, said) = waiter.end();
        assert_eq!(code, Some(0), "{lock}: {said}");
        assert!(place.has("ran"), "{lock}");
        let broken = format!("stale claim of pid {pid}");
        assert!(said.contains(&broken) && said.contains("gone"), "{said}");
        assert!(!place.stands("l"), "{lock}");
    }
}

#[test]
fn a_claim_outlives_the_exec_of_its_shell() {
    for lock in files() {
        let place = Place::new();
        let held = place.script(&format!(
            "sneck acquire --pid $$ {lock} && echo > in; exec sleep 1000"
        ));
        let name = format!("/proc/{}/comm", held.number());
        until("the shell is a sleep now", || {
            place.has("in") && fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n")
        });
        for words in [
            &["run", "-n", &lock, "true"][..],
            &["break", &lock],
            &["acquire", "-n", "--pid", &own(), &lock],
        ] {
            assert_eq!(place.code(words), 75, "{words:?}");
        }
        held.kill();
        assert_eq!(place.code(&["break", &lock]), 0, "{lock}");
    }
}

#[test]
fn a_number_that_no_process_has_is_refused_and_nothing_is_made() {
    let place = Place::new();
    // A thread of this very process, and a child that has ended and was not reaped.
    let (tell, told) = channel();
    let (_end, wait) = channel::<()>();
    thread::spawn(move || {
        let number = sneck_testkit::sys::thread_number();
        tell.send(number.to_string()).expect("it listens");
        let _ = wait.recv();
    });
    let thread = told.recv().expect("it speaks");
    let ended = place.script("exit 0");
    let stat = format!("/proc/{}/stat", ended.number());
    until("it has ended", || {
        fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "))
    });
    for lock in files() {
        for (pid, why) in [
            (NOBODY, "no process"),
            (&thread, "thread"),
            (&ended.number(), "no process"),
            ("0", "0"),
            ("-1", "-1"),
            ("me", "me"),
        ] {
            let (code, said) = place.said(&["acquire", "--pid", pid, &lock]);
            assert_eq!(code, 64, "{lock} {pid}: {said}");
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(place.code(&["acquire", &lock]), 64, "{lock}: whose?");
    }
    assert_eq!(place.names().len(), 0);
}

#[test]
fn what_ends_with_its_taker_cannot_be_left_and_is_not_even_taken() {
    let place = Place::new();
    for lock in KERNEL_AND_SERVERS {
        for verb in ["acquire", "release"] {
            let (code, said) = place.said(&[verb, "--pid", &own(), lock]);
            assert_eq!(code, 64, "{verb} {lock}: {said}");
            assert!(said.contains("`sneck run`"), "{said}");
        }
    }
    assert_eq!(place.names().len(), 0);
}

#[test]
fn only_the_claim_of_that_process_is_released() {
    for lock in files() {
        let place = Place::new();
        let (holder, other) = (place.somebody(), place.somebody());
        let (code, said) = place.said(&["release", "--pid", &holder.number(), &lock]);
        assert_eq!(code, 76, "{lock}, free: {said}");
        place.claim(&lock, &holder);
        let before = place.print_of("l");
        let (code, said) = place.said(&["release", "--pid", &other.number(), &lock]);
        assert_eq!(code, 76, "{lock}: {said}");
        let who = format!("held by pid {}", holder.number());
        assert!(said.contains(&who), "{said}");
        assert_eq!(place.print_of("l"), before, "{lock}");
        // Whoever ended without releasing can be released by another.
        let number = holder.number();
        holder.kill();
        let words = ["release", "--pid", &number, &lock];
        assert_eq!(place.code(&words), 0, "{lock}");
        assert_eq!(place.code(&words), 76, "{lock}");
    }
}

#[test]
fn what_a_running_sneck_holds_is_not_released_from_outside() {
    // A link cannot be locked, and bears no live mark.
    for lock in files().filter(|lock| lock != "symlink:l") {
        let place = Place::new();
        let _holder = place.hold(&lock);
        let before = place.print_of("l");
        let (code, said) = place.said(&["release", "--pid", place.text("in").trim(), &lock]);
        assert_eq!(code, 75, "{lock}: {said}");
        assert!(said.contains("keeps it locked"), "{said}");
        assert_eq!(place.print_of("l"), before, "{lock}");
    }
}

#[test]
fn without_permission_both_end_with_77() {
    for lock in files() {
        let place = Place::new();
        let holder = place.somebody();
        place.claim(&lock, &holder);
        let before = place.print_of("l");
        let words = ["release", "--pid", &holder.number(), &lock];
        let release = as_nobody(&place, 0o755, &words).output().expect("runs");
        let said = text(&release.stderr);
        assert_eq!(release.status.code(), Some(77), "{lock}: {said}");
        assert_eq!(place.print_of("l"), before, "{lock}");
        let new = lock.replace(":l", ":new");
        let words = ["acquire", "-n", "--pid", &own(), &new];
        let acquire = as_nobody(&place, 0o555, &words).output().expect("runs");
        let said = text(&acquire.stderr);
        assert_eq!(acquire.status.code(), Some(77), "{lock}: {said}");
    }
}

#[test]
fn acquire_waits_as_run_does() {
    for lock in files() {
        let place = Place::new();
        let holder = place.hold(&lock);
        for wait in [&["-n"][..], &["-w", "0"], &["-w", "0.05"]] {
            let own = own();
            let words = [&["acquire", "--pid", &own], wait, &[&lock]].concat();
            let (code, said) = place.said(&words);
            assert_eq!(code, 75, "{lock} {wait:?}: {said}");
            assert!(said.contains("held by pid"), "{said}");
        }
        let quiet = ["acquire", "-n", "-q", "--pid", &own(), &lock];
        assert_eq!(place.said(&quiet), (75, String::new()));
        let mut waiter = place.start(&["acquire", "--pid", &own(), &lock]);
        sleep(A_MOMENT);
        let ended = waiter.child.try_wait().expect("ours");
        assert!(ended.is_none(), "{lock}: it waits");
        place.leave();
        ends_well(&lock, holder);
        assert_eq!(waiter.code(), Some(0), "{lock}");
        let words = ["release", "--pid", &own(), &lock];
        assert_eq!(place.code(&words), 0, "{lock}");
    }
}

#[test]
fn the_waiting_line_of_acquire_is_that_of_run() {
    let place = Place::new();
    let holder = place.hold("pidfile:l");
    let waiter = heard(&place, &["acquire", "--pid", &own(), "pidfile:l"]);
    sleep(Duration::from_millis(2500));
    place.leave();
    let (code, said) = waiter.end();
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    let line = "waiting for pidfile:l, held by pid";
    assert!(said.contains(line), "{said}");
    assert_eq!(holder.code(), Some(0));
}

#[test]
fn a_script_that_acquires_twice_is_told_instead_of_waiting_for_itself() {
    for lock in files() {
        let place = Place::new();
        let holder = place.somebody();
        place.claim(&lock, &holder);
        let before = place.print_of("l");
        let (code, said) = place.said(&["acquire", "--pid", &holder.number(), &lock]);
        assert_eq!(code, 75, "{lock}: {said}");
        assert!(said.contains("holds it already"), "{said}");
        let advice = format!("`sneck release --pid {} {lock}`", holder.number());
        assert!(said.contains(&advice), "{said}");
        assert_eq!(place.print_of("l"), before, "{lock}");
    }
}

#[test]
fn whoever_ends_while_it_waits_gets_nothing() {
    for lock in files() {
        let place = Place::new();
        let holder = place.hold(&lock);
        let ended = place.somebody();
        let mut waiter = heard(&place, &["acquire", "--pid", &ended.number(), &lock]);
        sleep(A_MOMENT);
        let over = waiter.child.try_wait().expect("ours");
        assert!(over.is_none(), "{lock}: it waits");
        ended.kill();
        place.leave();
        ends_well(&lock, holder);
        let (code, said) = waiter.end();
        assert_eq!(code, Some(64), "{lock}: {said}");
        assert!(!place.stands("l"), "{lock}: it is free");
    }
}

#[test]
fn force_takes_a_claim_over_and_the_robbed_one_learns_it() {
    for lock in files() {
        let place = Place::new();
        let (holder, robber) = (place.somebody(), place.somebody());
        place.claim(&lock, &holder);
        let words = ["acquire", "-n", "--force", "--pid", &robber.number(), &lock];
        let (code, said) = place.said(&words);
        assert_eq!(code, 0, "{lock}: {said}");
        let who = format!("claim of pid {}", holder.number());
        assert!(said.contains(&who) && said.contains("by force"), "{said}");
        let (code, said) = place.said(&["release", "--pid", &holder.number(), &lock]);
        assert_eq!(code, 76, "{lock}: {said}");
        let who = format!("held by pid {}", robber.number());
        assert!(said.contains(&who), "{said}");
        let words = ["release", "--pid", &robber.number(), &lock];
        assert_eq!(place.code(&words), 0, "{lock}");
    }
}

#[test]
fn an_acquire_that_is_killed_while_it_waits_leaves_nothing() {
    for lock in files() {
        let place = Place::new();
        let holder = place.hold(&lock);
        for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
            let waiter = place.start(&["acquire", "--pid", &own(), &lock]);
            sleep(A_MOMENT);
            kill_process(waiter.pid(), signal).expect("it waits");
            assert_eq!(waiter.code(), None, "{lock}");
        }
        place.leave();
        ends_well(&lock, holder);
        assert_eq!(
            place.names(),
            [Path::new("leave"), Path::new("log")],
            "{lock}"
        );
    }
}

#[test]
fn in_a_container_started_again_nobody_waits_for_a_predecessor_of_the_same_number() {
    if !sneck_testkit::sys::is_root() {
        eprintln!("not root: no pid namespace");
        return;
    }
    for lock in ["pidfile:l", "shlock:l"] {
        let place = Place::new();
        // In a pid namespace of its own sneck is 1 and its command 2; in the other one the script is 1.
        fs::write(place.path().join("l"), "2\n").expect("written");
        fs::write(place.path().join("script"), "1\n").expect("written");
        sleep(Duration::from_millis(2500));
        let inside = |words: &[&str]| {
            let output = Command::new("unshare")
                .args(["-pf", "--mount-proc"])
                .args(words)
                .current_dir(place.path())
                .output();
            let output = output.expect("unshare(1) of util-linux");
            (output.status.code(), text(&output.stderr))
        };
        let sneck = env!("CARGO_BIN_EXE_sneck");
        let (code, said) = inside(&[sneck, "run", "-n", lock, "true"]);
        assert_eq!(code, Some(0), "{lock}: {said}");
        assert!(said.contains("stale claim of pid 2"), "{said}");
        let there = lock.replace(":l", ":script");
        let script = format!("{sneck} acquire -n --pid $$ {there}; exit $?");
        let (code, said) = inside(&["sh", "-c", &script]);
        assert_eq!(code, Some(0), "{lock}: {said}");
        assert!(said.contains("stale claim of pid 1"), "{said}");
    }
}

#[test]
fn those_who_wait_do_not_keep_a_claim_from_being_released() {
    for lock in files() {
        let place = Place::new();
        let holder = place.somebody();
        let waiters = [(); 3].map(|()| {
            let turns = "for turn in $(seq 200); do sneck run -n";
            place.script(&format!("{turns} {lock} true; done"))
        });
        for turn in 0..12 {
            let words = ["acquire", "--pid", &holder.number(), &lock];
            let (code, said) = place.said(&words);
            assert_eq!(code, 0, "{lock} {turn}: {said}");
            let words = ["release", "--pid", &holder.number(), &lock];
            let (code, said) = place.said(&words);
            assert_eq!(code, 0, "{lock} {turn}: {said}");
        }
        drop(waiters);
    }
}

// 1. The command ends, and whoever waits sees that at once. 2. It breaks the claim in the command's name before sneck, which is about to release it, gets to
// do so. 3. sneck says that the lock was lost, though nothing was wrong.
#[test]
fn commands_that_take_turns_end_as_they_should_and_nobody_is_told_of_a_loss() {
    for lock in files() {
        let place = Place::new();
        let runs: Vec<Running> = (0..24)
            .map(|_| heard(&place, &["run", &lock, "true"]))
            .collect();
        for run in runs {
            ends_well(&lock, run);
        }
    }
}
