//! Tokens checked where the data is: the statements of PROTOCOLS.md, and the example program, which is stopped for longer than its lease.

#![cfg(unix)]
#![allow(clippy::disallowed_methods)]

use sneck::{Guard, Lock, Registry};
use sneck_testkit::PATIENCE;
use sneck_testkit::example::{Example, example, snippets};
use sneck_testkit::postgres::PostgresServer;
use std::io::Write;
use std::process::{Command, Stdio};

fn acquire(server: &PostgresServer, name: &str) -> Guard {
    let mut registry = Registry::local();
    sneck_postgres::register(&mut registry);
    let place = registry.place(server.place(name)).expect("it can be read");
    let lock = Lock::builder().registry(&registry).timeout(PATIENCE);
    let lock = lock.at(&place).expect("it makes sense");
    lock.acquire().expect("it comes free")
}

fn token(guard: &Guard) -> u64 {
    guard.token().expect("PostgreSQL gives tokens")
}

/// A program that reaches the server as libpq's programs do.
fn at(server: &PostgresServer, mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("PGHOST", "127.0.0.1").env("PGUSER", "postgres");
    command.env("PGPORT", server.port().to_string());
    command.env("PGDATABASE", "postgres");
    command
}

/// What `psql` says to these statements, line by line; `:token` and `:body` stand for these.
fn psql(server: &PostgresServer, sql: &str, token: u64, body: &str) -> Vec<String> {
    let mut psql = at(server, Command::new("psql"));
    psql.args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file=-"]);
    psql.arg(format!("--set=token={token}"));
    psql.arg(format!("--set=body={body}"));
    psql.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut psql = psql.spawn().expect("psql");
    let mut input = psql.stdin.take().expect("a pipe");
    input.write_all(sql.as_bytes()).expect("it listens");
    drop(input);
    let output = psql.wait_with_output().expect("our child");
    assert!(output.status.success(), "{sql}");
    let said = String::from_utf8(output.stdout).expect("text");
    said.lines().map(str::to_owned).collect()
}

#[test]
fn the_documented_statements_refuse_whoever_came_before() {
    let server = PostgresServer::start();
    let said = snippets("Checking tokens at the resource", "sql");
    let [table, write, many] = &said[..] else {
        panic!("other statements are documented: {said:?}");
    };
    let first = token(&acquire(&server, "nightly"));
    let second = token(&acquire(&server, "nightly"));
    let own = "INSERT INTO report VALUES (1, 'empty');";
    psql(&server, &format!("{table}{own}"), first, "");
    assert_eq!(psql(&server, write, first, "one"), ["UPDATE 1"]);
    assert_eq!(psql(&server, write, first, "one again"), ["UPDATE 1"]);
    assert_eq!(psql(&server, write, second, "two"), ["UPDATE 1"]);
    assert_eq!(psql(&server, write, first, "late"), ["UPDATE 0"]);
    assert_eq!(server.psql("SELECT body FROM report"), "two");
    let made = |said: Vec<String>| said.last().cloned().unwrap_or_default();
    assert_eq!(made(psql(&server, many, first, "")), "INSERT 0 1");
    assert_eq!(made(psql(&server, many, second, "")), "INSERT 0 1");
    assert_eq!(made(psql(&server, many, first, "")), "INSERT 0 0");
    assert_eq!(made(psql(&server, many, second, "")), "INSERT 0 1");
}

fn start(server: &PostgresServer, name: &str, seconds: &str) -> Example {
    let program = at(server, example(env!("CARGO_PKG_NAME"), "fenced_table"));
    let place = format!("postgres:///{name}?ttl=1500ms&lock-delay=500ms");
    Example::start(program, &[place.as_str(), seconds])
}

#[test]
fn the_example_does_its_steps() {
    let server = PostgresServer::start();
    let mut program = start(&server, "steps", "0.01");
    let said: Vec<String> = std::iter::from_fn(|| program.line()).collect();
    assert_eq!(program.end(), (0, String::new()));
    assert_eq!(said[1..], ["step 1", "step 2", "step 3"]);
    assert_eq!(server.psql("SELECT body FROM report"), "step 3");
}

#[test]
fn the_example_that_was_stopped_for_too_long_writes_nothing_after_the_next_one() {
    let server = PostgresServer::start();
    let mut program = start(&server, "stopped", "1");
    let holds = program.line().expect("it says that it holds");
    assert!(holds.starts_with("holds it with the token"), "{holds}");
    assert_eq!(program.line().as_deref(), Some("step 1"));
    program.stop();
    let next = acquire(&server, "stopped");
    let token = token(&next);
    let write = format!("UPDATE report SET body = 'the next one', fence = {token}");
    let _ = server.psql(&write);
    program.go_on();
    let (code, told) = program.end();
    assert_eq!(code, 76, "{told}");
    assert!(told.starts_with("lost: "), "{told}");
    assert_eq!(server.psql("SELECT body FROM report"), "the next one");
    next.release().expect("it was held all the time");
}
