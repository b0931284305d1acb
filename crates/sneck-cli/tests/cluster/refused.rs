//! Who is kept out (wrong password, wrong authority, a server that has no room, or no server at all) is told so soon and plainly, by the command and its exit code; and who is in stays in.
//!
//! etcd has no table that is full. Not for: all that can go wrong in a login (each engine's own tests).

use crate::server::{Engine, lock};
use sneck::Standing;
use sneck_testkit::PATIENCE;
use sneck_testkit::authority::Authority;
use sneck_testkit::etcd::{EtcdServer, Security};
use sneck_testkit::postgres::{self, PostgresServer};
use sneck_testkit::redis::RedisServer;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const OK: i32 = 0;
const UNREACHABLE: i32 = 69;
const NO_PERMISSION: i32 = 77;

/// `sneck run PLACE -- true` ends with this code, and says this. It would wait for ever for the lock: for a server it must not.
#[track_caller]
fn ends(place: &str, code: i32, word: &str) {
    let mut sneck = Command::new(env!("CARGO_BIN_EXE_sneck"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            sneck.env_remove(name);
        }
    }
    let mut sneck = sneck
        .args(["run", place, "--", "true"])
        .env("HOME", "/nowhere")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sneck");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = sneck.try_wait().expect("our own child") {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            sneck.kill().expect("our own child");
            panic!("{place}: it hangs");
        }
        sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    let words = sneck
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut said);
    words.expect("it ended");
    assert_eq!(status.code(), Some(code), "{place}: {said}");
    assert!(said.contains(word), "{place}: {said}");
    assert!(!said.contains("amiss"), "a password is shown: {said}");
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its number").port()
}

#[test]
fn nobody_there_is_said_soon_by_every_engine() {
    for engine in [Engine::Etcd, Engine::Postgres, Engine::Redis] {
        let port = free_port();
        ends(&engine.place(&[port]), UNREACHABLE, &port.to_string());
    }
}

#[test]
fn redis_says_so_to_a_wrong_password_a_wrong_authority_and_when_it_has_no_room() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let certificate = ours.server(&["localhost"]);
    let (own, key, root) = (
        shown(&certificate.certificate),
        shown(&certificate.key),
        shown(ours.root()),
    );
    let tls = free_port().to_string();
    let server = RedisServer::start_with(&[
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &own,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &root,
        "--tls-auth-clients",
        "no",
        "--user",
        "ann",
        "on",
        ">right",
        "~*",
        "&*",
        "+@all",
    ]);
    let login = |login: &str| format!("redis://{login}@127.0.0.1:{}/n", server.port());
    ends(&login("ann:right"), OK, "");
    ends(&login("ann:amiss"), NO_PERMISSION, "WRONGPASS");
    let trusting = |root: &str| format!("rediss://localhost:{tls}/n?cacert={root}");
    ends(&trusting(&root), OK, "");
    ends(
        &trusting(&shown(theirs.root())),
        NO_PERMISSION,
        "certificate",
    );

    let guard = lock(&server.place("held?ttl=1s"))
        .acquire()
        .expect("it is free");
    let expires = guard.expires().expect("a lease");
    let room = Room::taken(server.port(), 20);
    assert_eq!(server.cli(&["CONFIG", "SET", "maxclients", "10"]), "OK");
    ends(&server.place("n"), UNREACHABLE, "max number of clients");
    // Who has a connection keeps it, and what it holds.
    sneck_testkit::block::until("it is renewed", || guard.expires() > Some(expires));
    assert_eq!(guard.standing(), Standing::Held);
    drop(room);
    guard.release().expect("it is held");
}

/// Connections of somebody who says nothing.
struct Room(#[allow(dead_code, reason = "they are open as long as this lives")] Vec<TcpStream>);

impl Room {
    fn taken(port: u16, count: usize) -> Room {
        let connection = |_| TcpStream::connect(("127.0.0.1", port)).expect("there is room");
        Room((0..count).map(connection).collect())
    }
}

#[test]
fn postgresql_says_so_to_a_wrong_password_a_wrong_authority_and_when_it_has_no_room() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let certificate = ours.server(&["localhost"]);
    let server = PostgresServer::start_as(&postgres::Setup {
        hba: "host all keyed all scram-sha-256",
        settings: "max_connections = 3\nsuperuser_reserved_connections = 0\nmax_wal_senders = 0\n",
        certificate: Some((&certificate.certificate, &certificate.key)),
        clients: None,
    });
    let _ = server.psql("CREATE ROLE keyed LOGIN PASSWORD 'right'");
    let place = |login: &str, name: &str, root: &Path| {
        let (port, root) = (server.port(), shown(root));
        format!("postgres://{login}@localhost:{port}/postgres/{name}sslrootcert={root}")
    };
    ends(&place("keyed:right", "n?", ours.root()), OK, "");
    ends(
        &place("keyed:amiss", "n?", ours.root()),
        NO_PERMISSION,
        "28P01",
    );
    ends(
        &place("postgres", "n?", theirs.root()),
        NO_PERMISSION,
        "is not trusted",
    );

    let held: Vec<_> = (0..3)
        .map(|n| {
            let lock = lock(&place("postgres", &format!("held{n}?ttl=1s&"), ours.root()));
            lock.acquire().expect("it is free")
        })
        .collect();
    let expires: Vec<_> = held.iter().map(sneck::Guard::expires).collect();
    ends(
        &place("postgres", "n?", ours.root()),
        UNREACHABLE,
        "max_connections",
    );
    for (guard, expires) in held.into_iter().zip(expires) {
        sneck_testkit::block::until("it is renewed", || guard.expires() > expires);
        guard.release().expect("it is held");
    }
}

#[test]
fn etcd_says_so_to_a_wrong_password_and_a_wrong_authority() {
    let server = EtcdServer::start();
    for words in [
        &["user", "add", "root:right"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        let _ = server.etcdctl(words);
    }
    let login = |login: &str| server.place("n").replace("//", &format!("//{login}@"));
    ends(&login("root:right"), OK, "");
    ends(&login("root:amiss"), NO_PERMISSION, "password");

    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let certificate = ours.server(&["127.0.0.1"]);
    let option = |name: &str, path: &Path| format!("--{name}={}", shown(path));
    let server = EtcdServer::start_with(
        1,
        Security {
            member: vec![
                option("cert-file", &certificate.certificate),
                option("key-file", &certificate.key),
            ],
            client: vec![option("cacert", ours.root())],
        },
    );
    let trusting = |root: &Path| {
        let place = server.place("n").replace("etcd:", "etcds:");
        format!("{place}?cacert={}", shown(root))
    };
    ends(&trusting(ours.root()), OK, "");
    ends(&trusting(theirs.root()), NO_PERMISSION, "certificate");
}
