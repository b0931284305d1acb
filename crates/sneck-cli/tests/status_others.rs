//! `sneck status`: those whom it names besides the holder, and what it finds out by asking.
#![allow(clippy::disallowed_methods)]

mod stage;

use serde_json::Value;
use stage::{Place, Running, text, until};
use std::fs;
use std::path::Path;
use std::process::Command;

fn json(place: &Place, words: &[&str]) -> Value {
    let output = place.output(&[&["status", "--json"], words].concat());
    let mut all: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    all.pop().expect("one lock")
}

/// The kernel has this process in a queue.
fn waits(pid: &str) -> bool {
    let list = fs::read_to_string("/proc/locks").expect("mounted");
    let mut lines = list.lines().filter(|line| line.contains("->"));
    lines.any(|line| line.split_ascii_whitespace().any(|word| word == pid))
}

fn flock(place: &Place, words: &str) -> Running {
    place.script(&format!("exec flock {words}"))
}

/// Says its number here, and stays as long as the test's folder does.
fn staying(mark: &str) -> String {
    format!("echo $$ > {mark}; while [ -e {mark} ]; do sleep 0.02; done")
}

/// A process that waits in the kernel's queue for the lock.
fn queued(place: &Place, words: &str) -> Running {
    let waiter = flock(place, words);
    let number = waiter.number();
    until("it waits", || waits(&number));
    waiter
}

#[test]
fn who_inherited_a_lock_is_named_when_its_taker_was_killed() {
    let place = Place::new();
    let taker = flock(&place, &format!("l sh -c '{}'", staying("in")));
    until("the command runs", || !place.text("in").is_empty());
    let (took, heir) = (taker.number(), place.text("in").trim().to_owned());
    let (_, said) = place.said(&["status", "l"]);
    assert!(said.contains(&format!("held by pid {took} ")), "{said}");
    assert!(
        said.contains(&format!("inherited by pid {heir} ")),
        "{said}"
    );
    taker.kill();
    let (code, said) = place.said(&["status", "l"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("held by pid {heir} ")), "{said}");
    assert!(
        said.contains(&format!("pid {took}, which took it, has ended")),
        "{said}"
    );
    assert!(said.lines().count() <= 3, "{said}");
    let seen = json(&place, &["l"]);
    assert_eq!(seen["holders"][0]["pid"].to_string(), heir);
    let keeper = &seen["inspection"]["holdings"][0]["keepers"][0];
    assert_eq!(keeper["how"], "inherited", "{seen}");
    assert_eq!(keeper["pid"].to_string(), heir);
    let ended = Command::new("kill").arg(&heir).status().expect("kill(1)");
    assert!(ended.success());
    until("it is free", || place.code(&["status", "l"]) == 0);
}

#[test]
fn whoever_holds_a_file_that_had_this_name_and_was_deleted_is_named() {
    let place = Place::new();
    let hold = |mark: &str| {
        let holder = flock(&place, &format!("l sh -c '{}'", staying(mark)));
        until("it holds", || place.has(mark));
        holder
    };
    let old = hold("old");
    fs::remove_file(place.path().join("l")).expect("removed");
    let (code, said) = place.said(&["status", "l"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("l: free\n"), "{said}");
    let odd = "holds a file that had this path and was deleted";
    assert!(said.contains(odd), "{said}");
    assert_eq!(
        said.lines().count(),
        2,
        "of heirs one stands for all: {said}"
    );
    let new = hold("new");
    let (code, said) = place.said(&["status", "l"]);
    assert_eq!(code, 1, "{said}");
    let named = format!("held by pid {} ", new.number());
    assert!(said.contains(&named) && said.contains(odd), "{said}");
    let seen = json(&place, &["l"]);
    assert_eq!(seen["inspection"]["oddities"][0]["what"], "former");
    // Another name in the same folder has nothing to do with it.
    let (_, said) = place.said(&["status", "other"]);
    assert_eq!(said, "other: free\n");
    for holder in [old, new] {
        let number = holder.number();
        let heirs = Command::new("pkill").args(["-P", &number]).status();
        assert!(heirs.expect("pkill(1)").success());
        assert_eq!(holder.code(), Some(143));
    }
    until("they are gone", || {
        place.said(&["status", "l"]).1 == "l: free\n"
    });
}

#[test]
fn those_who_wait_are_named_first_the_one_who_is_next() {
    for lock in ["l", "fcntl:l"] {
        let place = Place::new();
        let holder = place.hold(lock);
        let (first, second) = match lock {
            "l" => (queued(&place, "l true"), queued(&place, "l true")),
            _ => {
                // The kernel does not tell who waits for an OFD lock: POSIX ones it does.
                let script = "import fcntl; fcntl.lockf(open('l', 'r+'), fcntl.LOCK_EX)";
                let wait = || {
                    let waiter = place.script(&format!("exec python3 -c \"{script}\""));
                    let number = waiter.number();
                    until("it waits", || waits(&number));
                    waiter
                };
                (wait(), wait())
            }
        };
        let (code, said) = place.said(&["status", lock]);
        assert_eq!(code, 1, "{said}");
        let waiting = said.lines().find(|line| line.contains("waited for by"));
        let waiting = waiting.unwrap_or_else(|| panic!("{said}"));
        let at = |waiter: &Running| waiting.find(&format!("pid {} ", waiter.number()));
        assert!(at(&first).is_some() && at(&first) < at(&second), "{said}");
        let seen = json(&place, &[lock]);
        let pids = seen["waiters"].as_array().expect("a list").iter();
        let pids: Vec<String> = pids.map(|waiter| waiter["pid"].to_string()).collect();
        assert_eq!(pids, [first.number(), second.number()], "{lock}");
        place.leave();
        assert_eq!(holder.code(), Some(0));
        assert_eq!((first.code(), second.code()), (Some(0), Some(0)));
        let seen = json(&place, &[lock]);
        assert_eq!(seen["waiters"], serde_json::json!([]));
    }
}

#[test]
fn sneck_that_waits_for_a_claim_is_named() {
    for lock in ["pidfile:l", "mkdir:l", "symlink:l"] {
        let place = Place::new();
        let holder = place.somebody();
        place.claim(lock, &holder);
        let waiter = place.start(&["run", lock, "true"]);
        let named = format!("waited for by pid {} ", waiter.number());
        until("it is seen", || {
            place.said(&["status", lock]).1.contains(&named)
        });
        let seen = json(&place, &[lock]);
        assert_eq!(seen["inspection"]["waiters"][0]["waits"], "watches");
        holder.kill();
        assert_eq!(waiter.code(), Some(0), "{lock}");
    }
}

#[test]
fn a_claim_of_one_process_beside_a_lock_of_another_is_odd() {
    let place = Place::new();
    let somebody = place.somebody();
    let locks = place.hold("l");
    place.claim("pidfile:l.lock", &somebody);
    let (code, said) = place.said(&["status", "l"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("neither keeps the other out"), "{said}");
    let seen = json(&place, &["l"]);
    let holdings = seen["inspection"]["holdings"].as_array().expect("a list");
    let beside = holdings
        .iter()
        .find_map(|holding| holding["beside"].as_str());
    assert!(
        beside.is_some_and(|path| path.ends_with("l.lock")),
        "{seen}"
    );
    let released = ["release", "--pid", &somebody.number(), "pidfile:l.lock"];
    assert_eq!(place.code(&released), 0);
    let (_, said) = place.said(&["status", "l"]);
    assert!(!said.contains("neither"), "{said}");
    place.leave();
    assert_eq!(locks.code(), Some(0));
}

#[test]
fn a_waiter_with_a_hostile_command_line_moves_no_cursor_and_breaks_no_json() {
    let place = Place::new();
    let holder = place.hold("l");
    let script = "exec -a $'fl\\e[31m\\nock\\xff\\u202e' flock l true";
    let mut command = Command::new("bash");
    let mut waiter = command
        .args(["-c", script])
        .current_dir(place.path())
        .spawn()
        .expect("bash");
    let number = waiter.id().to_string();
    until("it waits", || waits(&number));
    let (_, said) = place.said(&["status", "l"]);
    assert!(
        said.contains(&format!("waited for by pid {number} ")),
        "{said}"
    );
    assert!(said.contains("fl\\u{1b}[31m\\nock"), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    assert_eq!(said.lines().count(), 3, "{said}");
    // Whoever reads JSON gets what it wrote.
    let seen = json(&place, &["l"]);
    let command = seen["waiters"][0]["command"].as_str().expect("text");
    assert!(command.starts_with("fl\u{1b}[31m\nock"), "{command:?}");
    place.leave();
    assert_eq!(holder.code(), Some(0));
    assert!(waiter.wait().expect("reaped").success());
}

/// What sneck says in a pid namespace of its own, where the kernel hides what was locked outside.
fn inside(place: &Place, words: &[&str]) -> (i32, String) {
    assert!(
        sneck_testkit::sys::is_root(),
        "this needs root, to make a pid namespace"
    );
    let output = Command::new("unshare")
        .args(["-pf", "--mount-proc", env!("CARGO_BIN_EXE_sneck")])
        .args(words)
        .current_dir(place.path())
        .output()
        .expect("unshare(1) of util-linux");
    let code = output.status.code().expect("it ended");
    (code, text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn what_a_namespace_hides_is_unknown_until_it_is_probed() {
    for (lock, hold) in [
        ("l", "l"),
        ("fcntl:l", "fcntl:l"),
        ("l", "flock+fcntl:l"),
        ("fcntl:l", "flock+fcntl:l"),
        ("flock+fcntl:l", "l"),
        ("flock+fcntl:l", "fcntl:l"),
        ("flock+fcntl:l", "flock+fcntl:l"),
    ] {
        let place = Place::new();
        let holder = place.hold(hold);
        let (code, said) = inside(&place, &["status", lock]);
        // An OFD lock is in everybody's list, and has no holder there.
        if hold == "l" || lock == "l" {
            assert_eq!(code, 1, "{said}");
            assert!(said.contains("unknown"), "{said}");
            let advice = format!("`sneck status --probe {lock}`");
            assert!(said.contains(&advice), "{said}");
        }
        let (code, said) = inside(&place, &["status", "--probe", lock]);
        assert_eq!(code, 1, "{lock}: {said}");
        assert!(said.contains(&format!("{lock}: held by")), "{said}");
        // It is still held by who held it, and the probe left nothing.
        assert_eq!(place.code(&["run", "-n", lock, "true"]), 75);
        place.leave();
        assert_eq!(holder.code(), Some(0));
        let (code, said) = inside(&place, &["status", "--probe", lock]);
        assert_eq!((code, said), (0, format!("{lock}: free\n")));
        assert_eq!(place.code(&["run", "-n", lock, "true"]), 0);
    }
}

#[test]
fn of_readers_a_probe_says_that_it_is_held() {
    let place = Place::new();
    let reader = place.start(&["run", "-s", "l", "--", "sh", "-c", stage::STAY]);
    until("the reader is in", || place.has("in"));
    let script = "status --probe --json l";
    let words: Vec<&str> = script.split(' ').collect();
    let (code, said) = inside(&place, &words);
    assert_eq!(code, 1, "{said}");
    let all: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(all[0]["holders"][0]["mode"], "shared", "{said}");
    assert_eq!(all[0]["holders"][0]["pid"], Value::Null, "{said}");
    let (code, said) = inside(&place, &["status", "--probe", "fcntl:l"]);
    assert_eq!(code, 0, "nobody holds it by fcntl: {said}");
    place.leave();
    assert_eq!(reader.code(), Some(0));
}

#[test]
fn looking_and_probing_change_nothing_of_the_file() {
    let place = Place::new();
    fs::write(place.path().join("l"), "content\n").expect("written");
    let before = place.print_of("l");
    let accessed = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        let look = fs::symlink_metadata(path).expect("there");
        (look.atime(), look.atime_nsec())
    };
    let then = accessed(&place.path().join("l"));
    assert_eq!(place.code(&["status", "l"]), 0);
    assert_eq!(inside(&place, &["status", "--probe", "l"]).0, 0);
    assert_eq!(place.print_of("l"), before);
    assert_eq!(accessed(&place.path().join("l")), then);
    // And nothing is made where nothing is.
    assert_eq!(place.code(&["status", "--probe", "nothing"]), 0);
    assert!(!place.stands("nothing"));
}

#[test]
fn what_is_no_plain_file_is_not_probed_and_stays_unknown() {
    let place = Place::new();
    fs::write(place.path().join("l"), "").expect("written");
    std::os::unix::fs::symlink("l", place.path().join("link")).expect("made");
    let holder = place.hold("l");
    // flock(1) follows the link; sneck does not, and says so.
    let (_, said) = inside(&place, &["status", "--probe", "--json", "link"]);
    let all: Value = serde_json::from_str(&said).expect("JSON");
    let limits = all[0]["inspection"]["limits"].as_array().expect("a list");
    let whats: Vec<_> = limits
        .iter()
        .filter_map(|limit| limit["what"].as_str())
        .collect();
    assert_eq!(whats, ["pid-namespace", "not-probed"], "{said}");
    assert_ne!(all[0]["inspection"]["state"], "free", "{said}");
    place.leave();
    assert_eq!(holder.code(), Some(0));
}

#[test]
fn where_proc_hides_other_users_a_free_lock_is_free_and_a_holder_is_known_by_number() {
    let place = Place::new();
    // Makes a copy that this user may run.
    drop(stage::as_nobody(&place, 0o777, &[]));
    let hidden = |words: &str| {
        let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
        let script =
            format!("mount -t proc -o hidepid=2 none /proc && exec {user} ./sneck {words}");
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .current_dir(place.path())
            .output()
            .expect("unshare(1) of util-linux");
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
        let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        all[0].clone()
    };
    fs::write(place.path().join("l"), "").expect("written");
    let free = hidden("status --json l");
    assert_eq!(
        (&free["state"], &free["inspection"]["state"]),
        (&"free".into(), &"free".into()),
        "{free}"
    );
    let holder = place.hold("l");
    let held = hidden("status --json l");
    assert_eq!(
        held["holders"][0]["pid"].to_string(),
        holder.number(),
        "{held}"
    );
    assert_eq!(held["inspection"]["limits"][0]["what"], "hidden-processes");
    place.leave();
    assert_eq!(holder.code(), Some(0));
}
