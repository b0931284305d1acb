//! `sneck status` of claims: what is known of their holders, whose they are, what to do, and the JSON that programs rely on.
#![allow(clippy::disallowed_methods)]

mod stage;

use serde_json::Value;
use stage::{NOBODY, Place, files, text};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

fn json(place: &Place, lock: &str) -> Value {
    let output = place.output(&["status", "--json", lock]);
    let mut all: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    all.pop().expect("one lock")
}

fn state_and_verdict(seen: &Value) -> (&str, Option<&str>) {
    (
        seen["state"].as_str().expect("always there"),
        seen["verdict"].as_str(),
    )
}

#[test]
fn a_stale_claim_is_named_with_its_grounds_and_the_command_that_removes_it() {
    for lock in files() {
        let place = Place::new();
        let pid = place.stale_claim(&lock);
        let before = place.print_of("l");
        let (code, said) = place.said(&["status", &lock]);
        assert_eq!(code, 2, "{lock}: {said}");
        let stale = format!("stale: claimed by pid {pid}");
        assert!(said.contains(&stale), "{said}");
        assert!(said.contains("gone: no such process"), "{said}");
        let advice = format!("sneck break {lock}");
        assert!(said.contains(&format!("`{advice}`")), "{said}");
        let seen = json(&place, &lock);
        assert_eq!(state_and_verdict(&seen), ("stale", Some("gone")));
        let told = seen["advice"].as_str().unwrap_or_default();
        assert!(told.contains(&advice), "{seen}");
        assert_eq!(place.print_of("l"), before, "{lock}: looking harms nothing");
        // What is advised does it.
        let words: Vec<&str> = advice.split(' ').skip(1).collect();
        assert_eq!(place.code(&words), 0);
        assert_eq!(place.code(&["status", &lock]), 0);
    }
}

#[test]
fn the_claim_of_another_protocol_is_held_and_its_protocol_is_named() {
    let place = Place::new();
    symlink(NOBODY, place.path().join("link")).expect("made");
    let record = format!("{NOBODY}\n");
    fs::write(place.path().join("file"), record).expect("written");
    for (lock, protocol, there) in [
        ("pidfile:link", "symlink", "symlink:link"),
        ("mkdir:link", "symlink", "symlink:link"),
        ("symlink:file", "pidfile", "pidfile:file"),
        ("mkdir:file", "pidfile", "pidfile:file"),
    ] {
        let (code, said) = place.said(&["status", lock]);
        assert_eq!(code, 1, "{lock}: {said}");
        let by = format!("by protocol {protocol}");
        assert!(said.contains(&by), "{said}");
        let advice = format!("`sneck status {there}`");
        assert!(said.contains(&advice), "{said}");
        let seen = json(&place, lock);
        assert_eq!(seen["holders"][0]["protocol"], protocol, "{lock}");
        assert_eq!(state_and_verdict(&seen), ("held", None));
        let there = json(&place, there);
        assert_eq!(there["holders"][0]["protocol"], Value::Null);
    }
}

#[test]
fn of_a_claim_that_says_too_little_only_force_is_advised() {
    let place = Place::new();
    fs::create_dir(place.path().join("folder")).expect("made");
    let record = format!("{NOBODY}\nelsewhere.example\n");
    fs::write(place.path().join("far"), record).expect("written");
    fs::write(place.path().join("my lock"), "").expect("written");
    for (lock, state, typed) in [
        ("mkdir:folder", "held", "mkdir:folder"),
        ("pidfile:far", "held", "pidfile:far"),
        ("pidfile:my lock", "damaged", "'pidfile:my lock'"),
    ] {
        let (_, said) = place.said(&["status", lock]);
        let advice = format!("`sneck break --force {typed}`");
        assert!(said.contains(&advice), "{said}");
        let seen = json(&place, lock);
        assert_eq!(seen["state"], state, "{lock}");
        assert_ne!(seen["verdict"], "gone", "{lock}");
        assert_ne!(place.code(&["break", lock]), 0, "{lock}");
    }
    let far = json(&place, "pidfile:far");
    assert_eq!(far["holders"][0]["host"], "elsewhere.example");
}

#[test]
fn a_record_that_another_start_of_the_process_wrote_is_stale() {
    let place = Place::new();
    let holder = place.somebody();
    place.claim("labm8:l", &holder);
    assert_eq!(json(&place, "labm8:l")["verdict"], "alive");
    let record = place.text("l");
    let ticks = record.split(' ').find(|word| word.starts_with("ticks="));
    let other = record.replace(ticks.expect("sneck writes them"), "ticks=1");
    fs::write(place.path().join("l"), other).expect("written");
    let seen = json(&place, "labm8:l");
    assert_eq!(state_and_verdict(&seen), ("stale", Some("gone")));
    let (code, said) = place.said(&["break", "labm8:l"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("the process that made the claim is no more"),
        "{said}"
    );
}

#[test]
fn a_number_that_a_younger_process_bears_is_evidence_and_its_policy_is_advised() {
    if !sneck_testkit::sys::is_root() {
        eprintln!("not root: no pid namespace");
        return;
    }
    let place = Place::new();
    fs::write(place.path().join("l"), "1\n").expect("written");
    // Clearly younger.
    sleep(Duration::from_millis(2500));
    let inside = |words: &str| {
        let script = format!("{} {words} 2>&1; echo $?", env!("CARGO_BIN_EXE_sneck"));
        let output = Command::new("unshare")
            .args(["-pf", "--mount-proc", "sh", "-c", &script])
            .current_dir(place.path())
            .output();
        text(&output.expect("unshare(1) of util-linux").stdout)
    };
    let said = inside("status pidfile:l");
    assert!(said.contains("likely gone"), "{said}");
    assert!(said.ends_with("\n1\n"), "{said}");
    let advice = "`sneck break --stale likely pidfile:l`";
    assert!(said.contains(advice), "{said}");
    let said = inside("status --json pidfile:l");
    assert!(said.contains("\"younger\""), "{said}");
    let said = inside("break pidfile:l");
    assert!(said.contains("likely gone"), "{said}");
    assert!(said.ends_with("\n75\n"), "{said}");
    let said = inside("break --stale likely pidfile:l");
    assert!(said.contains("removed the stale claim of pid 1"), "{said}");
    assert!(said.ends_with("\n0\n"), "{said}");
}

#[test]
fn the_fields_of_the_json_are_these_and_the_help_has_them_all() {
    let place = Place::new();
    let holder = place.somebody();
    place.claim("pidfile:l", &holder);
    let seen = json(&place, "pidfile:l");
    let keys = |value: &Value| {
        let object = value.as_object().expect("an object");
        object.keys().cloned().collect::<Vec<_>>()
    };
    let of_lock = "advice holders inspection lock protocol state text unseen verdict waiters";
    assert_eq!(keys(&seen).join(" "), of_lock);
    let of_holder = "command host label mode pid protocol since source started token user";
    assert_eq!(keys(&seen["holders"][0]).join(" "), of_holder);
    let help = text(&place.output(&["status", "--help"]).stdout);
    let (_, documented) = help.split_once("JSON:").expect("it is documented");
    for key in [of_lock, of_holder].iter().flat_map(|keys| keys.split(' ')) {
        assert!(documented.contains(key), "{key}");
    }
    assert_eq!(seen["holders"][0]["pid"], holder.child.id());
    assert_eq!(seen["advice"], Value::Null);
}

/// Locks the file by this call of Python, says so, and stays until its input ends. `lckdo` and `with-lock-ex` say it through their command.
fn locked_by(place: &Place, how: &str) -> Child {
    let python = std::env::var("SNECK_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let lock = |call: &str| {
        let script = format!(
            "import fcntl, os, struct, sys\nfile = open('l', 'a+')\n{call}\nprint('in', flush=True)\nsys.stdin.readline()"
        );
        let mut command = Command::new(&python);
        command.args(["-c", &script]);
        command
    };
    let wrapped = |name: &str, words: &[&str]| {
        let mut command = Command::new(name);
        command
            .args(words)
            .args(["l", "sh", "-c", "echo in; read -r line; exit 0"]);
        command
    };
    let mut command = match how {
        "flock" => wrapped("flock", &["--no-fork"]),
        "setlock" => wrapped("setlock", &[]),
        "lckdo" => wrapped("lckdo", &["-w"]),
        "with-lock-ex" => wrapped("with-lock-ex", &["-w"]),
        "posix" => lock("fcntl.lockf(file, fcntl.LOCK_EX)"),
        "reader" => lock("fcntl.lockf(file, fcntl.LOCK_SH)"),
        "ofd" => lock(
            "fcntl.fcntl(file, getattr(fcntl, 'F_OFD_SETLK', 37), struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))",
        ),
        "both" => lock("fcntl.lockf(file, fcntl.LOCK_EX); fcntl.flock(file, fcntl.LOCK_EX)"),
        // As a command that runs under both: it has inherited what holds the lock, and the kernel names it by one family only.
        "heir" => lock(
            "fcntl.fcntl(file, getattr(fcntl, 'F_OFD_SETLK', 37), struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0)); fcntl.flock(file, fcntl.LOCK_EX)\nif os.fork():\n    os.wait()\n    os._exit(0)",
        ),
        _ => panic!("{how}"),
    };
    let mut child = command
        .current_dir(place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{how} is missing ({e}): run scripts/test, which installs it"));
    let mut line = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("it says that it is in");
    assert_eq!(line, "in\n", "{how}");
    child
}

fn leave(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().expect("reaped").success());
}

#[test]
fn a_holder_of_the_other_family_is_named_beside_the_state_of_the_lock() {
    for (how, own, other) in [
        ("flock", "flock:l", "fcntl:l"),
        ("setlock", "flock:l", "fcntl:l"),
        ("lckdo", "fcntl:l", "l"),
        ("with-lock-ex", "fcntl:l", "l"),
        ("posix", "fcntl:l", "l"),
        ("reader", "fcntl:l", "flock:l"),
        ("ofd", "fcntl:l", "l"),
    ] {
        let place = Place::new();
        let holder = locked_by(&place, how);
        // By its own family: held, and nothing more to say.
        let (code, said) = place.said(&["status", own]);
        assert_eq!(code, 1, "{how}: {said}");
        assert!(!said.contains("do not see each other"), "{how}: {said}");
        let seen = json(&place, own);
        assert_eq!(seen["unseen"], serde_json::json!([]), "{how}");
        // By the other one: free, and yet.
        let (code, said) = place.said(&["status", other]);
        assert_eq!(code, 0, "{how}: {said}");
        let named = format!("pid {}", holder.id());
        let words = [
            "free\n  the same file is locked by",
            &named,
            "do not see each other",
            "`flock+fcntl:l` excludes both",
        ];
        for word in words {
            assert!(said.contains(word), "{how}: {word}: {said}");
        }
        assert_eq!(said.lines().count(), 3, "{how}: {said}");
        let seen = json(&place, other);
        assert_eq!(seen["state"], "free", "{how}");
        assert_eq!(seen["holders"], serde_json::json!([]), "{how}");
        assert_eq!(seen["unseen"][0]["pid"], holder.id(), "{how}");
        let family = own.split(':').next();
        assert_eq!(seen["unseen"][0]["protocol"].as_str(), family, "{how}");
        let mode = if how == "reader" {
            "shared"
        } else {
            "exclusive"
        };
        assert_eq!(seen["unseen"][0]["mode"], mode, "{how}");
        assert_eq!(seen["advice"], "`flock+fcntl:l` excludes both", "{how}");
        leave(holder);
        assert_eq!(
            place.said(&["status", other]),
            (0, format!("{}: free\n", other.trim_start_matches("flock:")))
        );
    }
}

#[test]
fn each_of_two_families_that_both_let_somebody_in_names_the_other_one() {
    let place = Place::new();
    let (ours, theirs) = (place.hold("l"), locked_by(&place, "lckdo"));
    for (lock, other) in [("l", "fcntl"), ("fcntl:l", "flock")] {
        let (code, said) = place.said(&["status", lock]);
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("held by") && said.contains("do not see each other"),
            "{said}"
        );
        assert!(said.contains(&format!("by protocol {other}")), "{said}");
        let seen = json(&place, lock);
        assert_eq!(seen["state"], "held", "{lock}");
        assert_ne!(
            seen["holders"][0]["pid"], seen["unseen"][0]["pid"],
            "{lock}"
        );
    }
    leave(theirs);
    place.leave();
    ours.code();
    // Whoever holds both excludes both: nothing to warn of.
    for how in ["both", "heir"] {
        let both = locked_by(&place, how);
        for lock in ["l", "fcntl:l"] {
            let (code, said) = place.said(&["status", lock]);
            assert_eq!(code, 1, "{said}");
            assert!(!said.contains("do not see each other"), "{how}: {said}");
        }
        leave(both);
    }
    // And what is advised does so.
    let place = Place::new();
    let both = place.hold("flock+fcntl:l");
    for lock in ["l", "fcntl:l"] {
        let (code, said) = place.said(&["status", lock]);
        assert_eq!(code, 1, "{said}");
        assert!(!said.contains("do not see each other"), "{lock}: {said}");
    }
    place.leave();
    assert_eq!(both.code(), Some(0));
}
