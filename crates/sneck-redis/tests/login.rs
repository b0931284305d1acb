//! Users, passwords, certificates, replicas, and servers that will not do: each is refused at once, by the right kind of error that names the place without its password.
//!
//! Not for: faults of servers that do (`faults.rs`).

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "the library's own rules: tests sleep and look at the clock"
)]

mod stage;

use sneck::{Error, ErrorKind, Lock, Sighting};
use sneck_testkit::authority::Authority;
use sneck_testkit::block::{start, until};
use sneck_testkit::redis::RedisServer;
use stage::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

fn at(place: &str) -> Lock {
    lock_at(place, |builder| builder)
}

#[track_caller]
fn refused(place: &str, kind: ErrorKind, words: &str) -> Error {
    let error = at(place).try_acquire().expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error}");
    let said = format!("{error} {error:?}");
    assert!(said.contains(words), "{error}");
    assert!(!said.contains("amiss"), "a password is shown: {error}");
    error
}

fn takes(place: &str) {
    at(place).try_acquire().unwrap().release().unwrap();
}

#[test]
fn passwords_and_users_are_taken_from_the_place() {
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    let port = server.port();
    takes(&format!("redis://:right@127.0.0.1:{port}/n"));
    takes(&format!("redis://default:right@127.0.0.1:{port}/2/n"));
    refused(&server.place("n"), ErrorKind::NoPermission, "REDISCLI_AUTH");
    refused(
        &format!("redis://:amiss@127.0.0.1:{port}/n"),
        ErrorKind::NoPermission,
        "WRONGPASS",
    );
    refused(
        &format!("redis://ann:amiss@127.0.0.1:{port}/n"),
        ErrorKind::NoPermission,
        "redis://ann:***@",
    );
}

#[test]
fn a_user_needs_no_more_rights_than_are_documented_and_is_told_what_is_missing() {
    let server = RedisServer::start();
    let port = server.port();
    let user = |name: &str, rights: &[&str]| {
        let mut words = vec!["ACL", "SETUSER", name, "on", ">right", "resetchannels"];
        words.extend(rights);
        assert_eq!(server.cli(&words), "OK");
        format!("redis://{name}:right@127.0.0.1:{port}/jobs")
    };
    // As in PROTOCOLS.md.
    let rights = "~jobs ~sneck:{jobs}:* &sneck:{jobs}:* -@all +hello +select +subscribe +publish +pubsub|numsub +evalsha +eval +time +type +get \
        +set +del +exists +pttl +pexpire +zadd +zrem +zrange +zrangebyscore +zremrangebyscore +zscore +zcard";
    let words: Vec<&str> = rights.split_whitespace().collect();
    let place = user("enough", &words);
    let guard = at(&place).acquire().unwrap();
    let waiter = start({
        let other = lock_at(&place.replace("127.0.0.1", "127.0.1.1"), |b| {
            b.mode(sneck::Mode::Shared)
        });
        move || other.acquire().unwrap().release()
    });
    until("it waits", || queued(&server, "jobs") == 1);
    assert_eq!(at(&place).waiters().unwrap().len(), 1);
    guard.release().unwrap();
    waiter.wait().unwrap();
    let _taken = at(&place).acquire().unwrap();
    at(&place).force_release().unwrap();

    for (name, missing) in [
        ("no-keys", "~jobs"),
        ("no-channel", "&sneck:{jobs}:*"),
        ("no-script", "+evalsha"),
        ("no-set", "+set"),
    ] {
        let fewer: Vec<&str> = words
            .iter()
            .copied()
            .filter(|word| *word != missing)
            .collect();
        refused(&user(name, &fewer), ErrorKind::NoPermission, "PROTOCOLS.md");
    }
}

#[test]
fn encrypted_connections_are_verified_and_show_our_certificate() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (server, client) = (ours.server(&["localhost"]), ours.client("ann"));
    let shown = |path: &std::path::Path| path.display().to_string();
    let (cert, key, root) = (
        shown(&server.certificate),
        shown(&server.key),
        shown(ours.root()),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let number = port.to_string();
    let _server = RedisServer::start_with(&[
        "--tls-port",
        &number,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &root,
        "--tls-auth-clients",
        "yes",
    ]);
    let with = |options: &str| format!("rediss://localhost:{port}/n?{options}");
    let mine = format!(
        "cert={}&key={}",
        shown(&client.certificate),
        shown(&client.key)
    );
    takes(&with(&format!("cacert={root}&{mine}")));
    takes(&with(&format!("verify=none&{mine}")));
    takes(&format!(
        "rediss://127.0.0.1:{port}/n?cacert={root}&verify=ca&{mine}"
    ));
    takes(&format!(
        "rediss://127.0.0.1:{port}/n?cacert={root}&sni=localhost&{mine}"
    ));
    let other = shown(theirs.root());
    refused(
        &with(&format!("cacert={other}&{mine}")),
        ErrorKind::NoPermission,
        "localhost",
    );
    refused(
        &format!("rediss://127.0.0.1:{port}/n?cacert={root}&{mine}"),
        ErrorKind::NoPermission,
        "127.0.0.1",
    );
    refused(
        &with(&format!("cacert={root}")),
        ErrorKind::NoPermission,
        "certificate",
    );
    // Not encrypted where all is.
    let error = at(&format!("redis://127.0.0.1:{port}/n"))
        .try_acquire()
        .unwrap_err();
    assert!(
        [ErrorKind::Foreign, ErrorKind::Unreachable].contains(&error.kind()),
        "{error}"
    );
    // An encrypted lock is waited for as any other.
    let place = with(&format!("cacert={root}&{mine}"));
    let guard = at(&place).acquire().unwrap();
    let elsewhere = at(&place
        .replace("localhost:", "127.0.0.1:")
        .replace("/n?", "/n?sni=localhost&"));
    let waiter = start(move || elsewhere.acquire().unwrap().release());
    until("it waits", || at(&place).waiters().unwrap().len() == 1);
    guard.release().unwrap();
    waiter.wait().unwrap();
}

#[test]
fn a_grant_counts_only_if_as_many_replicas_know_of_it_as_were_asked_for() {
    let primary = RedisServer::start();
    let port = primary.port().to_string();
    let place = format!("{}?wait=1&ttl=3s", primary.place("n"));
    refused(&place, ErrorKind::Unreachable, "0 of 1");
    assert_eq!(keys(&primary, "n"), "");
    let replica = RedisServer::start_with(&[
        "--replicaof",
        "127.0.0.1",
        &port,
        "--repl-diskless-sync-delay",
        "0",
    ]);
    // What is written goes to it only once it has said for the first time how far it is (Redis 7.0), up to a second after both call it online.
    until("it follows", || {
        let told = primary.cli(&["INFO", "replication"]);
        told.contains("state=online") && !told.contains(",offset=0,")
    });
    takes(&place);
    // Itself it is no place for a lock.
    let there = replica.place("n");
    refused(&there, ErrorKind::Unsupported, "replica");
    assert!(matches!(
        at(&there).holder().unwrap(),
        Sighting::Unknown { .. }
    ));
}

#[test]
fn a_server_that_will_not_do_is_told_apart() {
    let cluster = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    refused(&cluster.place("n"), ErrorKind::Unsupported, "cluster");

    let full = RedisServer::start_with(&["--maxmemory", "1"]);
    refused(&full.place("n"), ErrorKind::CannotCreate, "maxmemory");

    let crowded = RedisServer::start_with(&["--maxclients", "1"]);
    let _one = std::net::TcpStream::connect(("127.0.0.1", crowded.port())).unwrap();
    until("no room is left", || {
        at(&crowded.place("n")).try_acquire().is_err()
    });
    refused(&crowded.place("n"), ErrorKind::Unreachable, "maxclients");

    let busy = RedisServer::start_with(&["--lua-time-limit", "10"]);
    let place = busy.place("n");
    thread::scope(|scope| {
        scope.spawn(|| busy.cli(&["EVAL", "while true do end", "0"]));
        until("it is busy", || {
            let error = at(&place).try_acquire().err();
            error.is_some_and(|error| error.to_string().contains("SCRIPT KILL"))
        });
        refused(&place, ErrorKind::Unreachable, "SCRIPT KILL");
        assert_eq!(busy.cli(&["SCRIPT", "KILL"]), "OK");
    });
    // One that was taken before could not be released then.
    drop(at(&place).acquire().unwrap());
    // A key of ours that is of another kind.
    let _ = busy.cli(&["HSET", "sneck:{n}:queue", "a", "1"]);
    refused(&place, ErrorKind::Foreign, "another kind");
}

#[test]
fn what_is_no_redis_is_foreign_and_what_says_nothing_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    refused(
        &format!("redis://127.0.0.1:{port}/n"),
        ErrorKind::Foreign,
        "Redis",
    );
    let old = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = old.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in old.incoming().flatten() {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream
                .write_all(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n");
        }
    });
    refused(
        &format!("redis://127.0.0.1:{port}/n"),
        ErrorKind::Unsupported,
        "6 or newer",
    );
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    let silent = start(move || {
        at(&format!("redis://127.0.0.1:{port}/n"))
            .acquire()
            .map(drop)
    });
    let error = silent.wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    drop(nobody);
    refused(
        &format!("redis://127.0.0.1:{port}/n"),
        ErrorKind::Unreachable,
        &port.to_string(),
    );
}
