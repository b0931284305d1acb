//! Tokens checked where the data is: the script of PROTOCOLS.md, and the example program, which is stopped for longer than its lease.

#![cfg(unix)]
#![allow(clippy::disallowed_methods)]

mod stage;

use sneck_testkit::example::{Example, example, snippets};
use sneck_testkit::redis::RedisServer;
use stage::lock;

/// What the documented script answers.
fn write(server: &RedisServer, key: &str, token: u64, body: &str) -> String {
    let scripts = snippets("Checking tokens at the resource", "lua");
    let (fence, token) = (format!("{key}:fence"), token.to_string());
    server.cli(&["EVAL", &scripts[0], "2", key, &fence, &token, body])
}

#[test]
fn the_documented_script_refuses_whoever_came_before() {
    let server = RedisServer::shared();
    let token = || {
        let guard = lock(server, "script").acquire().expect("it is free");
        guard.token().expect("Redis gives tokens")
    };
    let (first, second) = (token(), token());
    assert_eq!(write(server, "data", first, "one"), "OK");
    assert_eq!(write(server, "data", first, "one again"), "OK");
    assert_eq!(write(server, "data", second, "two"), "OK");
    let late = write(server, "data", first, "late");
    assert!(late.contains("STALE"), "{late}");
    assert_eq!(server.cli(&["GET", "data"]), "two");
}

fn start(server: &RedisServer, name: &str, key: &str, seconds: &str) -> Example {
    let place = format!("{}?ttl=1500ms&lock-delay=500ms", server.place(name));
    let port = server.port().to_string();
    let words = [
        place.as_str(),
        key,
        seconds,
        "redis-cli",
        "-p",
        port.as_str(),
    ];
    Example::start(example(env!("CARGO_PKG_NAME"), "fenced_value"), &words)
}

#[test]
fn the_example_does_its_steps() {
    let server = RedisServer::shared();
    let mut program = start(server, "steps", "steps-data", "0.01");
    let said: Vec<String> = std::iter::from_fn(|| program.line()).collect();
    assert_eq!(program.end(), (0, String::new()));
    assert_eq!(said[1..], ["step 1", "step 2", "step 3"]);
    assert_eq!(server.cli(&["GET", "steps-data"]), "step 3");
    assert_eq!(stage::keys(server, "steps"), "");
}

#[test]
fn the_example_that_was_stopped_for_too_long_writes_nothing_after_the_next_one() {
    let server = RedisServer::shared();
    let mut program = start(server, "stopped", "stopped-data", "1");
    let holds = program.line().expect("it says that it holds");
    assert!(holds.starts_with("holds it with the token"), "{holds}");
    assert_eq!(program.line().as_deref(), Some("step 1"));
    program.stop();
    let next = lock(server, "stopped").acquire().expect("its lease ends");
    let token = next.token().expect("Redis gives tokens");
    assert_eq!(write(server, "stopped-data", token, "the next one"), "OK");
    program.go_on();
    let (code, told) = program.end();
    assert_eq!(code, 76, "{told}");
    assert!(told.starts_with("lost: "), "{told}");
    assert_eq!(server.cli(&["GET", "stopped-data"]), "the next one");
    next.release().expect("it was held all the time");
}
