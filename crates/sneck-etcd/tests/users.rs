//! Who may: users and their rights, certificates of both sides.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests sleep")]

mod stage;

use sneck::{ErrorKind, Lock, Standing};
use sneck_testkit::authority::{Authority, Issued, Use, Valid};
use sneck_testkit::block::{self, until};
use sneck_testkit::etcd::{EtcdServer, Security};
use sneck_testkit::proxy::Proxy;
use stage::{elsewhere, lock};
use std::path::Path;

/// A server on which ada may do what she likes below `app/`, and nobody may be nobody.
fn guarded() -> EtcdServer {
    let server = EtcdServer::start();
    for words in [
        &["user", "add", "root:toor"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "app"],
        &[
            "role",
            "grant-permission",
            "--prefix",
            "app",
            "readwrite",
            "app/",
        ],
        &["user", "add", "ada:enigma"],
        &["user", "grant-role", "ada", "app"],
        &["auth", "enable"],
    ] {
        let _ = server.etcdctl(words);
    }
    server
}

fn place_of(server: &EtcdServer, login: &str, name: &str) -> String {
    server.place(name).replace("//", &format!("//{login}@"))
}

fn as_user(server: &EtcdServer, login: &str, name: &str) -> Lock {
    lock(&place_of(server, login, name))
}

/// The same, as if another process asked.
fn as_another(server: &EtcdServer, login: &str, name: &str) -> Lock {
    lock(&elsewhere(&place_of(server, login, name)))
}

#[track_caller]
fn refused(lock: &Lock) -> String {
    let error = lock.try_acquire().expect_err("no right");
    assert_eq!(error.kind(), ErrorKind::NoPermission, "{error}");
    assert!(error.advice().is_some(), "{error}");
    let text = format!("{error} {error:?} {lock:?}");
    for secret in ["enigma", "engima"] {
        assert!(!text.contains(secret), "{text}");
    }
    let look = lock.holder().expect_err("no right");
    assert_eq!(look.kind(), ErrorKind::NoPermission, "{look}");
    text
}

#[test]
fn a_user_needs_name_password_and_rights() {
    let mut server = guarded();
    let ada = as_user(&server, "ada:enigma", "app/deploy");
    let guard = ada.acquire().expect("she may");
    refused(&as_another(&server, "ada:engima", "app/deploy"));
    refused(&as_another(&server, "eve:enigma", "app/deploy"));
    refused(&as_another(&server, "ada", "app/deploy"));
    let nobody = refused(&lock(&elsewhere(&server.place("app/deploy"))));
    assert!(nobody.contains("user"), "{nobody}");
    refused(&as_another(&server, "ada:enigma", "other/deploy"));
    let root = ["--user=root:toor", "get", "--prefix", "--keys-only", ""];
    let left: Vec<String> = server.etcdctl(&root).lines().map(str::to_owned).collect();
    assert_eq!(
        left.iter().filter(|key| !key.is_empty()).count(),
        1,
        "{left:?}"
    );

    // The token that showed who she is is known to a member until it is restarted; then she says it again.
    let place = elsewhere(&place_of(&server, "ada:enigma", "app/deploy"));
    let waiter = block::start(move || lock(&place).acquire());
    let queued = || {
        server
            .etcdctl(&root)
            .lines()
            .filter(|l| !l.is_empty())
            .count()
    };
    until("it is queued", || queued() == 2);
    server.kill9(0);
    server.restart();
    let before = guard.expires();
    until("it is renewed", || guard.expires() > before);
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().expect("it is held");
    waiter
        .wait()
        .expect("it came free")
        .release()
        .expect("it is held");
}

#[test]
fn where_nobody_is_asked_who_he_is_anybody_may_say_it() {
    let server = EtcdServer::start();
    let guard = as_user(&server, "ada:enigma", "x")
        .acquire()
        .expect("it is free");
    guard.release().expect("it is held");
}

fn encrypted(authority: &Authority, own: &Issued, extra: &[String]) -> EtcdServer {
    let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let mut member = vec![
        option("cert-file", &own.certificate),
        option("key-file", &own.key),
    ];
    member.extend_from_slice(extra);
    let client = authority.client("etcdctl");
    EtcdServer::start_with(
        1,
        Security {
            member,
            client: vec![
                option("cacert", authority.root()),
                option("cert", &client.certificate),
                option("key", &client.key),
            ],
        },
    )
}

fn with(server: &EtcdServer, name: &str, options: &[(&str, &Path)]) -> Lock {
    let options: Vec<String> = options
        .iter()
        .map(|(option, path)| format!("{option}={}", path.display()))
        .collect();
    let place = format!("{}?{}", server.place(name), options.join("&"));
    lock(&place.replace("etcd:", "etcds:"))
}

#[test]
fn a_server_must_show_a_certificate_that_is_trusted_and_is_its_own() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let server = encrypted(&authority, &authority.server(&["127.0.0.1"]), &[]);
    let trusting = |root| with(&server, "x", &[("cacert", root)]);
    let guard = trusting(authority.root()).acquire().expect("it is free");
    let proxy = Proxy::to_port(server.port(0));
    let place = trusting(authority.root()).place().to_string();
    let place = place.replace(&server.port(0).to_string(), &proxy.port().to_string());
    let waiter = block::start(move || lock(&place).acquire());
    until("it is queued", || server.keys("x/").len() == 2);
    waiter.still();
    guard.release().expect("it is held");
    drop(waiter.wait().expect("it came free"));

    let error = trusting(other.root())
        .try_acquire()
        .expect_err("not trusted");
    assert_eq!(error.kind(), ErrorKind::NoPermission, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    // Its certificate is for the number, and not for the name.
    let named = with(&server, "x", &[("cacert", authority.root())]);
    let named = lock(&named.place().to_string().replace("127.0.0.1", "localhost"));
    let error = named.try_acquire().expect_err("another name");
    assert_eq!(error.kind(), ErrorKind::NoPermission, "{error}");
    let anybody = format!("{}?insecure-skip-tls-verify", server.place("x"));
    drop(lock(&anybody).acquire().expect("whoever it is"));

    let missing = with(&server, "x", &[("cacert", Path::new("/nowhere"))]);
    let error = missing.try_acquire().expect_err("no such file");
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    let error = lock(&server.place("x"))
        .try_acquire()
        .expect_err("not encrypted");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("etcds://"), "{error}");
}

#[test]
fn a_server_may_want_a_certificate_of_ours() {
    let authority = Authority::new("ours");
    // The gateway speaks to its own server as a client, and shows this one.
    let own = authority.issue("member", &["127.0.0.1"], Use::Both, Valid::Now);
    let wants = [
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={}", authority.root().display()),
    ];
    let server = encrypted(&authority, &own, &wants);
    let other = Authority::new("theirs");
    let (client, stranger) = (authority.client("ada"), other.client("eve"));
    let showing = |own: &Issued| {
        let options = [
            ("cacert", authority.root()),
            ("cert", &*own.certificate),
            ("key", &*own.key),
        ];
        with(&server, "x", &options)
    };
    showing(&client)
        .acquire()
        .expect("it is free")
        .release()
        .expect("it is held");
    let none = with(&server, "x", &[("cacert", authority.root())]);
    for lock in [none, showing(&stranger)] {
        let error = lock.try_acquire().expect_err("no certificate, no lock");
        assert_eq!(error.kind(), ErrorKind::NoPermission, "{error}");
    }
    assert!(server.keys("").is_empty());
}

#[test]
fn many_who_say_who_they_are_need_not_do_so_each_time() {
    // A password is made slow to check: each time costs the server some 70 ms of a processor.
    let server = guarded();
    let proxy = Proxy::to_port(server.port(0));
    let place = place_of(&server, "ada:enigma", "app/x");
    let place = place.replace(&server.port(0).to_string(), &proxy.port().to_string());
    let ada = lock(&place);
    drop(ada.acquire().expect("she may"));
    let before = proxy.requests();
    for _ in 0..4 {
        drop(ada.acquire().expect("she may"));
    }
    // A lease; a key; both away.
    assert_eq!(proxy.requests() - before, 4 * 3);
}
