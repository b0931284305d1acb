//! No server, or one that does not answer or lets nobody in: a clear end in bounded time, for each verb.

use crate::stage::Place;
use sneck_testkit::proxy::Proxy;
use sneck_testkit::redis::RedisServer;
use std::net::TcpListener;

/// Far more than any verb takes at a server that is not there.
const BOUND: &str = "30";

fn said(place: &Place, words: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new("timeout");
    command.args(["-s", "KILL", BOUND, env!("CARGO_BIN_EXE_sneck")]);
    let output = command
        .args(words)
        .current_dir(place.path())
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().expect("in bounded time");
    (code, text(&output.stdout) + &text(&output.stderr))
}

fn each_verb_says_so(authority: &str) {
    for scheme in ["redis", "etcd", "postgres"] {
        let name = if scheme == "postgres" { "sneck@" } else { "" };
        let lock = format!("{scheme}://{name}{authority}/n");
        let verbs: [&[&str]; 5] = [
            &["run", &lock, "--", "true"],
            &["run", "-n", &lock, "--", "true"],
            &["wait", &lock],
            &["status", &lock],
            &["break", "--force", &lock],
        ];
        std::thread::scope(|scope| {
            for words in verbs {
                scope.spawn(move || {
                    let (code, said) = said(&Place::new(), words);
                    assert_eq!(code, 69, "{words:?}: {said}");
                    assert!(!said.is_empty(), "{words:?}");
                });
            }
        });
    }
}

#[test]
fn where_nothing_listens() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("its number").port();
    drop(free);
    each_verb_says_so(&format!("127.0.0.1:{port}"));
}

#[test]
fn where_somebody_listens_and_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("its number").port();
    each_verb_says_so(&format!("127.0.0.1:{port}"));
}

#[test]
fn where_the_network_is_silent() {
    let proxy = Proxy::to_port(RedisServer::shared().port());
    proxy.blackhole();
    each_verb_says_so(&format!("127.0.0.1:{}", proxy.port()));
}

#[test]
fn whoever_is_not_let_in_ends_with_77() {
    let server = RedisServer::start_with(&["--requirepass", "secret"]);
    for lock in [
        format!("redis://:amiss@127.0.0.1:{}/n", server.port()),
        server.place("n"),
    ] {
        for words in [
            &["run", &lock, "true"][..],
            &["status", &lock],
            &["wait", &lock],
            &["break", &lock],
        ] {
            let (code, said) = said(&Place::new(), words);
            assert_eq!(code, 77, "{words:?}: {said}");
            assert!(!said.contains("amiss"), "{said}");
        }
    }
}
