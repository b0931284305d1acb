//! `sneck break`, `--force` and `--stale`, and what `sneck status` advises: real processes, one place by each protocol.
#![allow(clippy::disallowed_methods)]

mod stage;

use sneck_testkit::postgres::PostgresServer;
use stage::{NOBODY, Place, Running, STAY, as_nobody, files, text, until};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

/// `sneck run` of a command that stays; what sneck says is kept.
fn robbed_later(place: &Place, lock: &str, script: &str) -> Running {
    let words = ["run", lock, "--", "sh", "-c", script];
    let mut command = place.command(&words);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.expect("sneck runs");
    until("the holder is in", || place.has("in"));
    Running { child }
}

#[test]
fn a_dead_holders_claim_is_removed_and_whose_and_on_what_grounds_is_said() {
    for lock in files() {
        let place = Place::new();
        let pid = place.stale_claim(&lock);
        let output = place.output(&["break", &lock]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{lock}");
        assert!(
            said.starts_with(&format!("{lock}: removed the stale claim of pid {pid}")),
            "{said}"
        );
        assert!(said.contains("gone: no such process"), "{said}");
        assert_eq!(
            (said.lines().count(), text(&output.stderr).as_str()),
            (1, "")
        );
        assert_eq!(place.names().len(), 0, "{lock}: nothing stays");
        assert_eq!(
            place.said(&["break", &lock]),
            (0, format!("{lock}: is free\n"))
        );
        assert_eq!(place.names().len(), 0, "{lock}: nothing is made");
    }
}

#[test]
fn a_live_claim_is_left_untouched_whatever_short_of_force_is_asked_for() {
    for lock in files() {
        let place = Place::new();
        let holder = place.somebody();
        place.claim(&lock, &holder);
        let before = place.print_of("l");
        for policy in ["never", "dead", "likely", "1h"] {
            let (code, said) = place.said(&["break", "--stale", policy, &lock]);
            assert_eq!(code, 75, "{lock} {policy}");
            let who = format!("held by pid {}", holder.number());
            assert!(said.contains(&who) && said.contains("alive"), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        assert_eq!(place.said(&["break", "-q", &lock]), (75, String::new()));
        assert_eq!(place.print_of("l"), before, "{lock}");
        let running = Place::new();
        let _holder = running.hold(&lock);
        let before = running.print_of("l");
        assert_eq!(running.code(&["break", &lock]), 75, "{lock}");
        assert_eq!(running.print_of("l"), before, "{lock}");
    }
}

#[test]
fn never_and_an_age_do_what_they_say() {
    for lock in files() {
        let place = Place::new();
        let pid = place.stale_claim(&lock);
        let (code, said) = place.said(&["break", "--stale", "never", &lock]);
        assert_eq!(code, 75, "{lock}");
        assert!(
            said.contains(&format!("stale claim of pid {pid}")),
            "{said}"
        );
        assert!(said.contains("gone") && said.contains("never"), "{said}");
        assert_eq!(place.code(&["break", &lock]), 0, "{lock}");
        let holder = place.somebody();
        place.claim(&lock, &holder);
        until("it is older than a millisecond", || {
            place.code(&["break", "--stale", "1ms", &lock]) == 0
        });
        assert_eq!(place.names().len(), 0, "{lock}");
    }
}

#[test]
fn force_removes_a_live_claim_and_says_that_it_was_one() {
    for lock in files() {
        let place = Place::new();
        let holder = place.somebody();
        place.claim(&lock, &holder);
        let (code, said) = place.said(&["break", "--force", &lock]);
        assert_eq!(code, 0, "{lock}: {said}");
        let who = format!("removed by force the claim of pid {}", holder.number());
        assert!(said.contains(&who) && said.contains("alive"), "{said}");
        assert_eq!(place.names().len(), 0, "{lock}");
    }
}

#[test]
fn what_is_damaged_goes_by_force_only_and_what_is_no_claim_never_goes() {
    let place = Place::new();
    fs::write(place.path().join("empty"), "").expect("written");
    fs::write(place.path().join("zero"), "0\n").expect("written");
    fs::write(place.path().join("letter"), "Dear Ada").expect("written");
    fs::create_dir(place.path().join("folder")).expect("made");
    fs::write(place.path().join("folder/letter"), "").expect("written");
    symlink("letter", place.path().join("link")).expect("made");
    for (lock, name) in [
        ("pidfile:letter", "letter"),
        ("mkdir:folder", "folder"),
        ("symlink:link", "link"),
        ("shlock:folder", "folder"),
    ] {
        let before = place.print_of(name);
        for words in [&["break", lock][..], &["break", "--force", lock]] {
            let (code, said) = place.said(words);
            assert_eq!(code, 66, "{words:?}: {said}");
            assert!(said.starts_with(&format!("sneck: {lock}: ")), "{said}");
        }
        assert_eq!(place.print_of(name), before, "{lock}");
    }
    for (lock, name) in [("pidfile:empty", "empty"), ("shlock:zero", "zero")] {
        let before = place.print_of(name);
        let (code, said) = place.said(&["break", lock]);
        assert_eq!(code, 66, "{said}");
        assert!(
            said.contains(&format!("`sneck break --force {lock}`")),
            "{said}"
        );
        assert_eq!(place.print_of(name), before, "{lock}");
        assert_eq!(place.code(&["break", "--force", lock]), 0, "{lock}");
        assert!(!place.has(name));
    }
}

#[test]
fn another_protocols_claim_is_left_and_named() {
    let place = Place::new();
    symlink(NOBODY, place.path().join("l")).expect("made");
    let before = place.print_of("l");
    for words in [
        &["break", "pidfile:l"][..],
        &["break", "--force", "pidfile:l"],
    ] {
        let (code, said) = place.said(words);
        assert_eq!(code, 75, "{said}");
        assert!(said.contains("by protocol symlink"), "{said}");
        assert!(said.contains("`sneck status symlink:l`"), "{said}");
    }
    assert_eq!(place.print_of("l"), before);
}

#[test]
fn a_claim_that_a_running_program_keeps_locked_goes_by_force_only() {
    let place = Place::new();
    fs::write(place.path().join("l"), format!("{NOBODY}\n")).expect("written");
    let locker = place.script("exec flock --no-fork l sh -c 'echo > in; exec sleep 1000'");
    until("the locker is in", || place.has("in"));
    let before = place.print_of("l");
    let (code, said) = place.said(&["break", "pidfile:l"]);
    assert_eq!(code, 75, "{said}");
    assert!(said.contains("keeps the claim itself locked"), "{said}");
    let (code, said) = place.said(&["release", "--pid", NOBODY, "pidfile:l"]);
    assert_eq!(code, 75, "{said}");
    let status = place.output(&["status", "--json", "pidfile:l"]);
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(
        (&json[0]["state"], &json[0]["verdict"]),
        (&"held".into(), &"marked".into())
    );
    assert_eq!(place.print_of("l"), before);
    assert_eq!(place.code(&["break", "--force", "pidfile:l"]), 0);
    assert!(!place.has("l"));
    drop(locker);
}

#[test]
fn where_somebody_keeps_the_folder_locked_a_stale_claim_is_left_for_now() {
    for lock in files() {
        let place = Place::new();
        let pid = place.stale_claim(&lock);
        let before = place.print_of("l");
        let locker = place.script("exec flock --no-fork . sh -c 'echo > in; exec sleep 1000'");
        until("the locker is in", || place.has("in"));
        let (code, said) = place.said(&["break", &lock]);
        assert_eq!(code, 75, "{lock}: {said}");
        assert!(said.contains(&pid) && said.contains("try again"), "{said}");
        assert_eq!(place.print_of("l"), before, "{lock}");
        drop(locker);
    }
}

#[test]
fn a_lock_that_leaves_no_claim_is_free_or_its_holder_has_to_end() {
    for lock in ["l", "fcntl:l"] {
        let place = Place::new();
        assert_eq!(
            place.said(&["break", lock]),
            (0, format!("{lock}: is free\n"))
        );
        assert_eq!(place.names().len(), 0, "{lock}: nothing is made");
        let _holder = place.hold(lock);
        for words in [&["break", lock][..], &["break", "--force", lock]] {
            let (code, said) = place.said(words);
            assert_eq!(code, 64, "{lock}: {said}");
            assert!(
                said.contains("held by ") && said.contains("end that process"),
                "{said}"
            );
        }
        let (code, said) = place.said(&["run", "-n", "--force", lock, "true"]);
        assert_eq!(code, 64, "{said}");
    }
}

#[test]
fn a_servers_lock_is_nobodys_to_break_but_by_force() {
    let lock = PostgresServer::shared().place("breaking");
    let place = Place::new();
    assert_eq!(
        place.said(&["break", &lock]),
        (0, format!("{lock}: is free\n"))
    );
    let _holder = place.hold(&lock);
    let (code, said) = place.said(&["break", &lock]);
    assert_eq!(code, 75, "{said}");
    assert!(said.contains("held by pid"), "{said}");
    let (code, said) = place.said(&["break", "--force", &lock]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("removed by force the claim of pid"), "{said}");
    assert_eq!(place.code(&["run", "-n", &lock, "true"]), 0);
}

#[test]
fn without_the_right_to_remove_it_a_stale_claim_is_left_with_77() {
    for lock in files() {
        let place = Place::new();
        let pid = place.stale_claim(&lock);
        let before = place.print_of("l");
        for words in [&["break", &lock][..], &["break", "--force", "-q", &lock]] {
            let output = as_nobody(&place, 0o755, words).output().expect("runs");
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(77), "{lock}: {said}");
            assert!(said.contains(&pid) && said.contains("no right"), "{said}");
        }
        // Where one may make claims but remove only one's own, the one who waits is told once, not at each try.
        let waits = as_nobody(&place, 0o1777, &["run", "-w", "0.5", &lock, "true"])
            .output()
            .expect("runs");
        let said = text(&waits.stderr);
        assert_eq!(waits.status.code(), Some(75), "{lock}: {said}");
        assert_eq!(
            said.lines().filter(|l| l.contains("not removed")).count(),
            1,
            "{said}"
        );
        assert_eq!(place.print_of("l"), before, "{lock}");
    }
}

#[test]
fn of_several_locks_all_are_done_and_the_worst_code_wins() {
    let place = Place::new();
    let holder = place.somebody();
    place.claim("pidfile:live", &holder);
    place.stale_claim("shlock:stale");
    fs::write(place.path().join("letter"), "Dear Ada").expect("written");
    let _flock = place.hold("kernel");
    let (code, said) = place.said(&["break", "pidfile:live", "none", "shlock:stale"]);
    assert_eq!((code, said.lines().count()), (75, 3), "{said}");
    assert!(!place.has("stale"));
    place.stale_claim("shlock:stale");
    let (code, said) = place.said(&["break", "pidfile:letter", "pidfile:live", "shlock:stale"]);
    assert_eq!((code, said.lines().count()), (66, 3), "{said}");
    assert!(!place.has("stale"));
    assert_eq!(
        place.code(&["break", "kernel", "pidfile:letter", "pidfile:live"]),
        64
    );
    // What makes no sense is said before anything is done.
    place.stale_claim("shlock:stale");
    assert_eq!(place.code(&["break", "shlock:stale", "flokc:l"]), 64);
    assert!(place.has("stale") && place.has("live"));
}

#[test]
fn a_live_run_that_is_robbed_says_so_and_so_does_the_robber() {
    for lock in files() {
        for (end, code) in [("", 76), ("; exit 4", 4)] {
            let place = Place::new();
            let holder = robbed_later(&place, &lock, &format!("{STAY}{end}"));
            let pid = place.text("in").trim().to_owned();
            // The robber holds it, and still does when the robbed one has ended.
            let inside = "echo > robber; while [ -e robber ] && [ ! -e away ]; do sleep 0.02; done";
            let words = ["run", "-n", "--force", &lock, "--", "sh", "-c", inside];
            let mut robber = place.command(&words);
            let robber = robber.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
            let robber = Running {
                child: robber.expect("sneck runs"),
            };
            until("the robber is in", || place.has("robber"));
            let before = place.print_of("l");
            place.leave();
            let (robbed, said) = holder.end();
            assert_eq!(robbed, Some(code), "{lock}: {said}");
            assert!(
                said.contains("the lock was lost while it was held"),
                "{lock}: {said}"
            );
            assert_eq!(
                place.print_of("l"),
                before,
                "{lock}: the robber's claim is left alone"
            );
            fs::write(place.path().join("away"), "").expect("written");
            let (robber, said) = robber.end();
            assert_eq!(robber, Some(0), "{lock}: {said}");
            let claim = format!("claim of pid {pid}");
            assert!(said.contains(&claim) && said.contains("alive"), "{said}");
            assert!(said.contains("removed by force"), "{said}");
            assert!(!place.has("l"), "{lock}");
        }
    }
}

#[test]
fn a_run_whose_claim_is_broken_by_force_ends_with_76() {
    for lock in files() {
        let place = Place::new();
        let holder = robbed_later(&place, &lock, STAY);
        assert_eq!(place.code(&["break", "--force", &lock]), 0, "{lock}");
        assert_eq!(place.code(&["status", &lock]), 0, "{lock}");
        place.leave();
        let (code, said) = holder.end();
        assert_eq!(code, Some(76), "{lock}: {said}");
        assert!(said.contains("lost"), "{said}");
    }
}

#[test]
fn nothing_that_a_file_or_a_name_says_moves_the_cursor() {
    let place = Place::new();
    let escape = "\u{1b}[2J\u{202e}";
    fs::write(place.path().join("letter"), escape).expect("written");
    // The host that pylockfile's file names, and the command line of a holder.
    fs::create_dir(place.path().join("host")).expect("made");
    let inner = format!("host/ev{escape}il.{NOBODY}");
    fs::write(place.path().join(inner), "").expect("written");
    let child = Command::new("sh")
        .args(["-c", "while :; do sleep 0.02; done", escape])
        .spawn();
    let holder = Running {
        child: child.expect("sh runs"),
    };
    place.claim("pidfile:command", &holder);
    fs::write(place.path().join(escape), format!("{NOBODY}\n")).expect("written");
    let odd = format!("pidfile:{escape}");
    let own = std::process::id().to_string();
    for lock in [
        "pidfile:letter",
        "mkdir:host",
        "pidfile:command",
        "labm8:host",
        &odd,
    ] {
        for verb in [
            &["status"][..],
            &["break", "--stale", "never"],
            &["acquire", "-n", "--stale", "never", "--pid", &own],
            &["release", "--pid", &own],
            &["run", "-n", "--stale", "never"],
        ] {
            let mut words = [verb, &[lock]].concat();
            if verb[0] == "run" {
                words.push("true");
            }
            let (code, said) = place.said(&words);
            assert_ne!(code, 0, "{words:?}: {said}");
            assert!(
                !said.contains(['\u{1b}', '\u{202e}']),
                "{words:?}: {said:?}"
            );
            // What to do stands on a line of its own.
            let most = if verb[0] == "status" { 2 } else { 1 };
            assert!(said.lines().count() <= most, "{words:?}: {said:?}");
        }
    }
    for lock in ["pidfile:letter", "mkdir:host", "pidfile:command"] {
        let (_, said) = place.said(&["status", lock]);
        assert!(said.contains("\\u{1b}"), "{lock}: it is shown: {said}");
    }
}
