//! Tokens checked where the data is: the transaction of PROTOCOLS.md, and the example program, which is stopped for longer than its lease.

#![cfg(unix)]
#![allow(clippy::disallowed_methods)]

mod stage;

use sneck_testkit::etcd::EtcdServer;
use sneck_testkit::example::{Example, example, snippets};
use stage::{lock, token};
use std::process::Command;

/// Around the server's own, and the caller's, endpoints.
fn at(server: &EtcdServer, mut command: Command) -> Command {
    command.env("ETCDCTL_API", "3");
    command.env("ETCDCTL_ENDPOINTS", format!("127.0.0.1:{}", server.port(0)));
    command
}

/// What the documented commands print, for the lock `nightly` and the key `report`.
fn write(server: &EtcdServer, token: u64, body: &str) -> String {
    let scripts = snippets("Checking tokens at the resource", "sh");
    let mut shell = at(server, Command::new("sh"));
    shell.args(["-ec", &scripts[0]]);
    shell
        .env("SNECK_TOKEN", token.to_string())
        .env("BODY", body);
    let output = shell.output().expect("sh");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let said = String::from_utf8_lossy(&output.stdout);
    said.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn value(server: &EtcdServer, key: &str) -> String {
    server.etcdctl(&["get", "--print-value-only", key])
}

#[test]
fn the_documented_transaction_refuses_whoever_holds_no_more() {
    let server = EtcdServer::start();
    let nightly = lock(&server.place("nightly"));
    let first = nightly.acquire().expect("it is free");
    let gone = token(&first);
    assert_eq!(write(&server, gone, "one"), "SUCCESS");
    assert_eq!(write(&server, gone, "one again"), "SUCCESS");
    first.release().expect("it is held");
    // Lost to nobody.
    assert_eq!(write(&server, gone, "late"), "FAILURE");
    let second = nightly.acquire().expect("it is free");
    assert!(token(&second) > gone);
    assert_eq!(write(&server, gone, "late"), "FAILURE");
    assert_eq!(write(&server, token(&second), "two"), "SUCCESS");
    assert_eq!(value(&server, "report"), "two");
}

fn start(server: &EtcdServer, name: &str, key: &str, seconds: &str) -> Example {
    let program = at(server, example(env!("CARGO_PKG_NAME"), "fenced_key"));
    Example::start(program, &[name, "1.5", key, seconds])
}

#[test]
fn the_example_does_its_steps() {
    let server = EtcdServer::shared();
    let mut program = start(server, "steps", "steps-data", "0.01");
    let said: Vec<String> = std::iter::from_fn(|| program.line()).collect();
    assert_eq!(program.end(), (0, String::new()));
    assert_eq!(said[1..], ["step 1", "step 2", "step 3"]);
    assert_eq!(value(server, "steps-data"), "step 3");
    assert_eq!(server.keys("steps/"), [""; 0]);
}

#[test]
fn the_example_that_was_stopped_for_too_long_writes_nothing_after_the_next_one() {
    let server = EtcdServer::shared();
    let mut program = start(server, "stopped", "stopped-data", "1");
    let holds = program.line().expect("it says that it holds");
    assert!(holds.starts_with("holds it with the token"), "{holds}");
    assert_eq!(program.line().as_deref(), Some("step 1"));
    program.stop();
    let next = lock(&server.place("stopped"))
        .acquire()
        .expect("its lease ends");
    let _ = server.etcdctl(&["put", "stopped-data", "the next one"]);
    program.go_on();
    let (code, told) = program.end();
    assert_eq!(code, 76, "{told}");
    assert!(told.starts_with("lost: "), "{told}");
    assert_eq!(value(server, "stopped-data"), "the next one");
    next.release().expect("it was held all the time");
}
