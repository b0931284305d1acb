//! `sneck wait`: until locks are free, without taking them.
#![allow(clippy::disallowed_methods)]

mod stage;

use rustix::process::{Signal, kill_process};
use sneck_testkit::postgres::PostgresServer;
use stage::{NOBODY, Place, Running, files, text, until};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// One place of each kind.
fn everywhere() -> Vec<String> {
    let name = format!("wait-{}", std::process::id());
    let server = PostgresServer::shared().place(&name);
    let others = ["l".into(), "fcntl:l".into(), "flock+fcntl:l".into(), server];
    files().chain(others).collect()
}

/// It has not ended, though it had time to.
#[track_caller]
fn still_waits(waiter: &mut Running) {
    sleep(Duration::from_millis(60));
    let ended = waiter.child.try_wait().expect("one's own child");
    assert_eq!(ended, None, "it must still wait");
}

/// A command that holds the lock until the file of this name is made.
fn hold(place: &Place, lock: &str, name: &str) -> Running {
    let stay = format!("touch {name}-in; while [ ! -e {name} ]; do sleep 0.02; done");
    let holder = place.start(&["run", lock, "--", "sh", "-c", &stay]);
    let inside = format!("{name}-in");
    until("the holder is in", || place.has(&inside));
    holder
}

fn end(place: &Place, holder: Running, name: &str) {
    fs::write(place.path().join(name), "").expect("written");
    assert_eq!(holder.code(), Some(0));
}

#[test]
fn it_ends_with_0_when_the_holder_has_left_and_with_75_when_the_time_is_over() {
    for lock in everywhere() {
        let place = Place::new();
        assert_eq!(place.said(&["wait", &lock]), (0, String::new()), "{lock}");
        assert!(place.names().is_empty(), "{lock}: looking made a file");
        let holder = place.hold(&lock);
        for words in [&["-n"][..], &["-w", "0"], &["-w", "0.05"], &["--nb"]] {
            let (code, said) = place.said(&[&["wait"], words, &[&lock]].concat());
            assert_eq!(code, 75, "{lock} {words:?}: {said}");
            let names = said.contains("held by") && said.contains("pid ");
            assert!(names && said.contains("not free"), "{lock}: {said}");
        }
        let quiet = place.said(&["wait", "-q", "-n", &lock]);
        assert_eq!(quiet, (75, String::new()), "{lock}");
        let mut waiter = place.start(&["wait", &lock]);
        still_waits(&mut waiter);
        place.leave();
        assert_eq!(waiter.code(), Some(0), "{lock}");
        assert_eq!(holder.code(), Some(0), "{lock}");
        assert_eq!(place.code(&["wait", "-n", &lock]), 0, "{lock}");
    }
}

#[test]
fn of_several_locks_all_must_be_free_at_once() {
    let place = Place::new();
    let a = hold(&place, "a", "a-end");
    let b = hold(&place, "pidfile:b", "b-end");
    let (code, said) = place.said(&["wait", "-n", "a", "c", "pidfile:b"]);
    assert_eq!(code, 75, "{said}");
    assert!(
        said.contains("a: not free") && said.contains("pidfile:b: not free"),
        "{said}"
    );
    let mut waiter = place.start(&["wait", "a", "c", "pidfile:b"]);
    still_waits(&mut waiter);
    let (_, said) = place.said(&["wait", "-w", "0.05", "a", "pidfile:b"]);
    assert_eq!(said.lines().count(), 2, "both are named: {said}");
    end(&place, a, "a-end");
    still_waits(&mut waiter);
    // The one that came free first is held again when the other one comes free.
    let again = hold(&place, "a", "again-end");
    end(&place, b, "b-end");
    still_waits(&mut waiter);
    let (code, said) = place.said(&["wait", "-w", "0.05", "c", "pidfile:b", "a"]);
    assert_eq!((code, said.lines().count()), (75, 1), "{said}");
    assert!(said.contains("a: still not free"), "{said}");
    end(&place, again, "again-end");
    assert_eq!(waiter.code(), Some(0));
}

/// Nor for an instant: nobody who tries meanwhile is ever refused because of it.
#[test]
fn it_locks_makes_and_removes_nothing() {
    let calls = "trace=flock,fcntl,open,openat,link,linkat,symlink,symlinkat,mkdir,mkdirat,unlink,unlinkat,rmdir,rename,renameat,renameat2,utimensat,write";
    for lock in files().chain(["l".into(), "fcntl:l".into()]) {
        let place = Place::new();
        let log = tempfile::NamedTempFile::new().expect("a file elsewhere");
        let traced = || {
            let status = Command::new("strace")
                .args(["-f", "-qq", "-e", calls, "-o"])
                .arg(log.path())
                .args([
                    env!("CARGO_BIN_EXE_sneck"),
                    "wait",
                    "-q",
                    "-w",
                    "0.1",
                    &lock,
                ])
                .current_dir(place.path())
                .status();
            let calls = fs::read_to_string(log.path()).expect("strace writes it");
            assert!(calls.contains("open"), "{calls}");
            for act in [
                "flock(", "SETLK", "O_CREAT", "TMPFILE", "link", "dir(", "dirat(", "rename",
                "utimens", "write(",
            ] {
                let acted = calls.lines().find(|l| l.contains(act));
                assert_eq!(acted, None, "{lock}");
            }
            status.expect("strace is here, or run scripts/test").code()
        };
        assert_eq!(traced(), Some(0), "{lock}");
        let holder = place.hold(&lock);
        assert_eq!(traced(), Some(75), "{lock}");
        place.leave();
        assert_eq!(holder.code(), Some(0));
    }
}

#[test]
fn with_s_other_shared_holders_are_in_nobodys_way() {
    for lock in ["l", "fcntl:l"] {
        let place = Place::new();
        let stay = "echo > in; while [ ! -e leave ]; do sleep 0.02; done";
        let holder = place.start(&["run", "-s", lock, "--", "sh", "-c", stay]);
        until("the holder is in", || place.has("in"));
        assert_eq!(place.code(&["wait", "-n", lock]), 75, "{lock}");
        assert_eq!(place.code(&["wait", "-n", "-s", lock]), 0, "{lock}");
        place.leave();
        assert_eq!(holder.code(), Some(0));
    }
}

#[test]
fn a_stale_claim_counts_as_free_and_is_left_where_it_is() {
    for lock in files() {
        let place = Place::new();
        place.stale_claim(&lock);
        let before = place.print_of("l");
        assert_eq!(place.said(&["wait", "-n", &lock]), (0, String::new()));
        assert_eq!(place.print_of("l"), before, "{lock}: it was touched");
    }
}

#[test]
fn what_no_waiting_helps_is_said_at_once_though_another_lock_is_held() {
    let place = Place::new();
    fs::create_dir(place.path().join("folder")).expect("made");
    symlink("/etc/passwd", place.path().join("link")).expect("made");
    fs::write(place.path().join("empty"), "").expect("written");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("bound");
    let refused = format!("postgres://127.0.0.1:{}/x", address.port());
    drop(port);
    let holder = place.hold("l");
    for (words, code, said) in [
        (&["wait", "l", "folder"][..], 66, "folder"),
        (&["wait", "l", "symlink:link"], 66, "/etc/passwd"),
        (&["wait", "l", &refused], 69, "127.0.0.1"),
        (&["wait", "-s", "symlink:x", "l"], 64, "shared"),
        (&["wait", "l", "memory:x"], 64, "memory"),
        (&["wait", "l", "flokc:x"], 64, "flokc"),
        (&["wait"], 64, "LOCK"),
        (&["wait", "-w", "soon", "l"], 64, "soon"),
        (&["wait", "-n", "-w", "1", "l"], 64, "nonblock"),
        (&["wait", "-w", "0.05", "pidfile:empty"], 66, "damaged"),
    ] {
        let (ended, all) = place.said(words);
        assert_eq!(ended, code, "{words:?}: {all}");
        assert!(all.contains(said), "{words:?}: {all}");
    }
    // What makes no sense may just be being written.
    let mut waiter = place.start(&["wait", "pidfile:empty"]);
    still_waits(&mut waiter);
    fs::write(place.path().join("empty"), format!("{NOBODY}\n")).expect("written");
    assert_eq!(waiter.code(), Some(0));
    place.leave();
    assert_eq!(holder.code(), Some(0));
}

#[test]
fn of_several_that_are_one_place_each_must_be_free() {
    for held in ["l", "fcntl:l"] {
        let place = Place::new();
        let holder = place.hold(held);
        let (code, said) = place.said(&["wait", "-n", "flock+fcntl:l"]);
        assert_eq!(code, 75, "{held}: {said}");
        let mut waiter = place.start(&["wait", "flock+fcntl:l"]);
        still_waits(&mut waiter);
        place.leave();
        assert_eq!(waiter.code(), Some(0), "{held}");
        assert_eq!(holder.code(), Some(0), "{held}");
    }
}

#[test]
fn after_a_second_one_line_says_for_what_and_for_whom() {
    let place = Place::new();
    let holder = place.hold("l");
    let started = |words: &[&str]| {
        let waiter = place.command(words).stderr(Stdio::piped()).spawn();
        waiter.expect("sneck runs")
    };
    let (usual, quiet) = (started(&["wait", "l"]), started(&["wait", "-q", "l"]));
    let verbose = started(&["wait", "-v", "l"]);
    sleep(Duration::from_millis(2500));
    place.leave();
    let said = |waiter: std::process::Child| {
        let output = waiter.wait_with_output().expect("reaped");
        assert_eq!(output.status.code(), Some(0));
        text(&output.stderr)
    };
    let usual = said(usual);
    assert_eq!(usual.lines().count(), 1, "{usual}");
    assert!(usual.contains("waiting for l, held by pid"), "{usual}");
    assert_eq!(said(quiet), "");
    let verbose = said(verbose);
    assert!(verbose.ends_with("sneck: l: free\n"), "{verbose}");
    assert_eq!(holder.code(), Some(0));
}

#[test]
fn a_signal_ends_it() {
    let place = Place::new();
    let _holder = place.hold("l");
    let mut waiter = place.start(&["wait", "l"]);
    still_waits(&mut waiter);
    kill_process(waiter.pid(), Signal::TERM).expect("sent");
    assert_eq!(waiter.child.wait().expect("reaped").signal(), Some(15));
    place.leave();
}

#[test]
fn the_help_says_that_it_promises_nothing_about_what_comes_after() {
    let place = Place::new();
    let (code, help) = place.said(&["wait", "--help"]);
    assert_eq!(code, 0);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "sneck wait deploy.lock &&",
        "somebody else may hold",
        "`sneck run`",
    ] {
        assert!(help.contains(said), "{said}: {help}");
    }
}
