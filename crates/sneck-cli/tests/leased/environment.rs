//! What a command finds: variables, standard input, and what may be asked for.

use crate::stage::{Place, text, until};
use sneck_testkit::etcd::EtcdServer;
use sneck_testkit::redis::RedisServer;
use std::io::Write;
use std::process::{Command, Stdio};

const SHOW: &str = "env | grep ^SNECK_ | grep -v ^SNECK_TEST | sort";

/// How it ended, and what `sh -c script` under these locks wrote.
fn shown(place: &Place, locks: &[&str], script: &str, around: &[(&str, &str)]) -> String {
    let words = [&["run"], locks, &["--", "sh", "-c", script]].concat();
    let output = place
        .command(&words)
        .envs(around.iter().copied())
        .output()
        .expect("sneck runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_command_learns_its_lock_and_its_token() {
    let redis = RedisServer::shared();
    let (place, lock) = (Place::new(), redis.place("tokens"));
    let token = |shown: &str| -> u64 {
        let line = shown
            .lines()
            .find_map(|line| line.strip_prefix("SNECK_TOKEN="));
        line.expect("there is one").parse().expect("a number")
    };
    let first = shown(&place, &[&lock], SHOW, &[]);
    assert!(
        first.starts_with(&format!("SNECK_LOCK={lock}\n")),
        "{first}"
    );
    assert!(token(&first) < token(&shown(&place, &[&lock], SHOW, &[])));
    // A local lock has none, and another lock's would be wrong.
    let around = [
        ("SNECK_TOKEN", "7"),
        ("SNECK_LOCK_2", "x"),
        ("SNECK_TOKEN_12", "8"),
    ];
    assert_eq!(shown(&place, &["l"], SHOW, &around), "SNECK_LOCK=l\n");
    // Of several: each by its place on the command line, and the only one by its short name, too.
    let both = shown(&place, &["flock+fcntl:l", &lock], SHOW, &around);
    let token = token(&both);
    let expected = format!(
        "SNECK_LOCK=flock+fcntl:l + {lock}\nSNECK_LOCK_1=flock+fcntl:l\nSNECK_LOCK_2={lock}\nSNECK_TOKEN={token}\nSNECK_TOKEN_2={token}\n"
    );
    assert_eq!(both, expected);
    let two = shown(&place, &[&redis.place("tokens-2"), &lock], SHOW, &[]);
    assert!(
        two.contains("SNECK_TOKEN_1=") && two.contains("SNECK_TOKEN_2="),
        "{two}"
    );
    assert!(!two.contains("SNECK_TOKEN="), "{two}");
}

#[test]
fn a_password_stays_out_of_the_environment_and_out_of_the_keepers_words() {
    let server = RedisServer::start_with(&["--requirepass", "secret"]);
    let lock = format!("redis://:secret@127.0.0.1:{}/n", server.port());
    let script = "env; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -A3 '^keeper'";
    let all = shown(&Place::new(), &[&lock], script, &[]);
    assert!(
        all.contains(&format!(
            "SNECK_LOCK=redis://127.0.0.1:{}/n\n",
            server.port()
        )),
        "{all}"
    );
    assert!(!all.contains("secret"), "{all}");
}

#[test]
fn status_names_who_holds_and_who_waits_and_wait_and_break_leave_them_alone() {
    for lock in [
        RedisServer::shared().place("named"),
        EtcdServer::shared().place("named"),
    ] {
        let (place, other) = (Place::new(), Place::new());
        let held = place.hold(&lock);
        let waits = other.start(&["run", "-q", &lock, "--", "true"]);
        let status = || place.said(&["status", &lock]);
        until("somebody waits", || status().1.contains("waited for by"));
        let (code, said) = status();
        assert_eq!(code, 1, "{said}");
        let (holder, waiter) = said.split_once("waited for by").expect("both");
        assert!(holder.contains("since "), "{said}");
        for party in [holder, waiter] {
            for fact in ["pid ", "host ", "user ", "run "] {
                assert!(party.contains(fact), "{fact}: {said}");
            }
        }
        assert_eq!(place.code(&["break", &lock]), 75);
        assert_eq!(place.code(&["wait", "-n", &lock]), 75);
        place.leave();
        assert_eq!((held.code(), waits.code()), (Some(0), Some(0)));
        assert_eq!(place.code(&["wait", "-w", "10s", &lock]), 0);
    }
}

#[test]
fn standard_input_is_the_commands() {
    let redis = RedisServer::shared();
    let place = Place::new();
    let mut command: Command = place.command(&["run", &redis.place("stdin"), "--", "cat"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sneck runs");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"some words\n")
        .expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(text(&output.stdout), "some words\n");
}

#[test]
fn what_a_place_cannot_do_is_a_usage_error_that_says_what() {
    let redis = RedisServer::shared();
    let (place, lock) = (Place::new(), redis.place("wishes"));
    let refused = |words: &[&str], why: &str| {
        let (code, said) = place.said(words);
        assert_eq!(code, 64, "{words:?}: {said}");
        assert!(said.contains(why), "{words:?}: {said}");
        assert!(!place.stands("l"), "nothing is made");
    };
    refused(&["run", "--ttl", "5s", "l", "true"], "has no lease");
    refused(
        &["run", "--lock-delay", "5s", "pidfile:l", "true"],
        "has no lease",
    );
    refused(&["run", "--kill-after", "1s", "l", "true"], "--max-hold");
    refused(
        &[
            "run",
            "--lock-delay",
            "2s",
            "--kill-after",
            "2s",
            &lock,
            "true",
        ],
        "is too long",
    );
    refused(&["run", "--lock-delay", "0", &lock, "true"], "lock delay");
    refused(&["run", "--ttl", "1ms", &lock, "true"], "too short");
    refused(
        &["run", "--require", "fencing,lease", "l", "true"],
        "fencing, lease",
    );
    refused(
        &["run", "--require", "durable-fencing", &lock, "true"],
        "durable-fencing",
    );
    refused(
        &["run", "--require", "fencing", &lock, "l", "--", "true"],
        "l: ",
    );
    refused(&["wait", "--require", "fencing", "l"], "fencing");
    refused(
        &["acquire", "--require", "fencing", "--pid", "1", "pidfile:l"],
        "fencing",
    );
    refused(
        &["run", "--require", "fencig", &lock, "true"],
        "no such requirement",
    );
    let wishes = [
        "run",
        "--require",
        "fencing,lease",
        "--require",
        "shared",
        &lock,
        "true",
    ];
    assert_eq!(place.said(&wishes), (0, String::new()));
}
