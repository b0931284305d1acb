//! Waits in a hostile process: every signal blocked, no timers, no inotify. Timeouts still fire, locks still work, and the
//! program's own signals are as they were. That a handler interrupts every wait is for each protocol to keep (`conformance`), and `interrupts.rs` has the rest.

#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep as they like"
)]

use sneck::{Registry, Waiting};
use sneck_testkit::child::Start;
use sneck_testkit::{Child, Setup, block, sys};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(Registry::local);

/// Every way there is to wait for another process.
const WAYS: [(&str, Waiting); 6] = [
    ("flock", Waiting::Best),
    ("flock", Waiting::Events),
    ("flock", Waiting::Polling),
    ("fcntl", Waiting::Best),
    ("symlink", Waiting::Events),
    ("symlink", Waiting::Polling),
];

fn setup((scheme, waiting): (&str, Waiting)) -> Setup {
    let place = |folder: &std::path::Path| format!("{scheme}:{}/lock", folder.display());
    Setup::new(Registry::local, place, waiting, CHILD_ENTRY)
}

/// A wait with a time ends, and one without is woken.
#[track_caller]
fn timeouts_fire_and_locks_work(setup: &Setup, child: &mut Child) {
    let guard = setup.lock().try_acquire().expect("it is free");
    child.tell("acquire it 60");
    let refusal = child.hear("refused");
    assert!(refusal.starts_with("TimedOut"), "{refusal}");
    // With an end far away, so that what ends a wait is there, and must go.
    child.tell("acquire it 600000");
    child.hear("waiting");
    thread::sleep(Duration::from_millis(20));
    guard.release().expect("it is held");
    child.hear("held");
    assert!(setup.lock().try_acquire().is_err());
    child.release();
    drop(setup.lock().try_acquire().expect("it was released"));
}

fn times_said(child: &mut Child, word: &str) -> usize {
    let said = child.said().iter();
    said.filter(|l| l.split(' ').next() == Some(word)).count()
}

#[test]
fn a_timeout_fires_although_the_parent_blocked_every_signal() {
    for way in WAYS {
        let setup = setup(way);
        let mut child = Start::of(&setup).with_signals_blocked().child();
        let before = child.ask("signals");
        assert!(before.contains("SigBlk:ffff"), "{before}");
        timeouts_fire_and_locks_work(&setup, &mut child);
        assert_eq!(child.ask("signals"), before, "{way:?}");
        assert_eq!(times_said(&mut child, "polling"), 0, "{way:?}");
    }
}

#[test]
fn without_timers_a_wait_with_a_time_polls_and_says_so_once() {
    for way in WAYS {
        let setup = setup(way);
        let mut child = setup.child();
        child.order("no-timers");
        let guard = setup.lock().try_acquire().expect("it is free");
        child.tell("acquire it 120");
        let refusal = child.hear("refused");
        assert!(refusal.starts_with("TimedOut"), "{refusal}");
        let needs_timers = way.1 == Waiting::Best;
        let told = times_said(&mut child, "polling");
        assert_eq!(told, usize::from(needs_timers), "{way:?}");
        drop(guard);
        timeouts_fire_and_locks_work(&setup, &mut child);
        // With a time, and it comes free before: the poll finds it.
        let guard = setup.lock().try_acquire().expect("it is free");
        child.tell("acquire it 600000");
        child.hear("waiting");
        drop(guard);
        child.hear("held");
    }
}

#[test]
fn a_user_without_inotify_instances_polls_and_is_told_once() {
    if !sys::is_root() {
        // Taking all instances of this very user would harm other programs; the refusals by strace below do not.
        eprintln!("left out: only root can become another user");
        return;
    }
    // A user whom nobody else is.
    let user = 1_000_000 + std::process::id() % 1_000_000;
    for scheme in ["flock", "symlink"] {
        let setup = setup((scheme, Waiting::Events));
        let everybody = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(setup.folder.path(), everybody).expect("our own folder");
        let mut child = setup.child();
        child.order(&format!("user {user}"));
        assert_ne!(child.order("exhaust-inotify"), "0");
        timeouts_fire_without_events(&setup, child);
    }
}

#[test]
fn where_inotify_is_refused_a_wait_polls_and_says_so_once() {
    for error in ["EMFILE", "ENOSYS"] {
        for scheme in ["flock", "symlink"] {
            let setup = setup((scheme, Waiting::Events));
            let inject = format!("inject=inotify_init1:error={error}");
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
            let child = start_with_strace(&setup, &strace);
            timeouts_fire_without_events(&setup, child);
        }
    }
}

/// Between the try and the watch the holder may release and acquire again: then nothing was watched, and nothing looks different.
#[test]
fn a_watch_that_found_nothing_to_watch_is_set_again() {
    for scheme in ["flock", "symlink"] {
        let setup = setup((scheme, Waiting::Events));
        let log = setup.folder.join("log").display().to_string();
        let inject = "inject=inotify_add_watch:error=ENOENT:when=1";
        let strace = ["strace", "-f", "-qq", "-o", &log, "-e", inject];
        let mut child = start_with_strace(&setup, &strace);
        let guard = setup.lock().try_acquire().expect("it is free");
        child.begin_to_wait();
        block::until("the watch is set again", || {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            let set = log
                .lines()
                .filter(|l| l.contains("inotify_add_watch(") && l.contains(") = "));
            set.filter(|l| !l.contains("ENOENT")).count() > 0
        });
        drop(guard);
        child.hear("held");
    }
}

#[test]
fn a_release_and_a_death_wake_by_an_event_and_not_by_the_clock() {
    for (scheme, dies) in [
        ("flock", false),
        ("fcntl", false),
        ("symlink", false),
        ("symlink", true),
    ] {
        // Once is enough: on a busy machine the holder may be gone between two sleeps, and then nothing wakes anybody.
        let mut polls = String::new();
        let woken = (0..5).any(|_| {
            polls = polls_of_a_wait(scheme, dies);
            let early = |l: &str| l.contains("= 1 (") && l.contains("left {tv_sec=");
            polls.lines().any(early)
        });
        assert!(woken, "{polls}");
    }
}

/// The sleeps of a child that waits until its holder releases or dies, as strace shows them.
fn polls_of_a_wait(scheme: &str, dies: bool) -> String {
    let setup = setup((scheme, Waiting::Events));
    let log = setup.folder.join("log").display().to_string();
    let strace = ["strace", "-f", "-qq", "-o", &log, "-e", "trace=poll,ppoll"];
    let mut holder = setup.child();
    holder.acquire();
    let mut child = start_with_strace(&setup, &strace);
    child.begin_to_wait();
    // The net below the events grows to ten seconds: wait until it has, then any early end is an event's.
    let polls = || std::fs::read_to_string(&log).unwrap_or_default();
    let over = |l: &str| l.contains("tv_sec=1,") && l.contains("(Timeout)");
    block::until("the sleep of a second is over", || {
        polls().lines().any(over)
    });
    if dies {
        holder.kill();
    } else {
        holder.release();
    }
    child.hear("held");
    polls()
}

fn start_with_strace(setup: &Setup, strace: &[&str]) -> Child {
    let started = std::panic::catch_unwind(|| Start::wrapped(setup, strace).child());
    started.expect("strace is here, or run scripts/test, which installs it")
}

fn timeouts_fire_without_events(setup: &Setup, mut child: Child) {
    let guard = setup.lock().try_acquire().expect("it is free");
    child.tell("acquire it 120");
    let refusal = child.hear("refused");
    assert!(refusal.starts_with("TimedOut"), "{refusal}");
    assert_eq!(times_said(&mut child, "polling"), 1, "{:?}", child.said());
    drop(guard);
    if setup.place.starts_with("symlink") {
        // Another holder, and another: each is to be watched anew, but that it cannot be is said once.
        let path = setup.folder.join("lock");
        let holders = [setup.child(), setup.child(), setup.child()];
        let put = |holder: &Child, path| symlink(holder.pid().to_string(), path);
        put(&holders[0], &path).expect("our own folder");
        child.tell("acquire it forever");
        let spare = setup.folder.join("spare");
        for holder in &holders[1..] {
            child.hear("waiting");
            put(holder, &spare).expect("our own folder");
            std::fs::rename(&spare, &path).expect("our own folder");
        }
        child.hear("waiting");
        std::fs::remove_file(&path).expect("our own folder");
        child.hear("held");
        assert_eq!(times_said(&mut child, "polling"), 2, "{:?}", child.said());
        child.release();
    }
    timeouts_fire_and_locks_work(setup, &mut child);
}

#[test]
fn the_programs_mask_and_pending_signals_are_as_before_a_wait() {
    for way in WAYS {
        let setup = setup(way);
        let mut child = setup.child();
        child.order("handle-signal");
        child.order("block-and-raise");
        let before = child.ask("signals");
        // SIGUSR1 is number 10.
        assert!(before.contains("SigPnd:0000000000000200"), "{before}");
        timeouts_fire_and_locks_work(&setup, &mut child);
        let guard = setup.lock().try_acquire().expect("it is free");
        for wait in [1, 2, 5, 10] {
            child.tell(&format!("acquire it {wait}"));
            child.hear("refused");
        }
        assert_eq!(child.ask("signals"), before, "{way:?}");
        drop(guard);
    }
}
