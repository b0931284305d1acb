//! What a network, a machine and etcd itself do to a holder and a waiter. One member; several are in `members.rs`.
//!
//! Holder and waiter come by different ports or names, so that they stand in no line of the process with each other. Order is asserted on one clock; no absolute time is.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests sleep")]

mod stage;

use sneck::lease::Outcome;
use sneck::{ErrorKind, Moment, Standing, Timeout, Waiting};
use sneck_testkit::block::{self, until};
use sneck_testkit::etcd::EtcdServer;
use sneck_testkit::proxy::{Direction, Proxy, Way};
use sneck_testkit::{PATIENCE, Setup, sys};
use stage::{before, elsewhere, lock, registry, through, token};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

sneck_testkit::entry!(registry);

const SHORT: &str = "?ttl=2s&lock-delay=1s";

fn server() -> &'static EtcdServer {
    EtcdServer::shared()
}

fn queue_is(server: &EtcdServer, name: &str, count: usize) {
    until("the queue is as long", || {
        server.keys(&format!("{name}/")).len() == count
    });
}

fn named(name: &str) -> String {
    format!("{name}{SHORT}")
}

#[test]
fn a_holder_whose_link_goes_silent_knows_it_before_the_next_one_gets_in() {
    let proxy = Proxy::to_port(server().port(0));
    let holder = lock(&through(&[proxy.port()], &named("silent")));
    let guard = holder.acquire().expect("it is free");
    let (sender, lost) = channel();
    guard.on_lost(move |outcome| {
        let _ = sender.send((outcome.clone(), Moment::now()));
    });
    let waiter = block::start(|| {
        let guard = lock(&server().place(&named("silent"))).acquire();
        (guard, Moment::now())
    });
    queue_is(server(), "silent", 2);
    proxy.blackhole();
    let (outcome, noticed) = lost.recv_timeout(PATIENCE).expect("it is told");
    assert!(matches!(outcome, Outcome::Lost(_)), "{outcome:?}");
    let (next, entered) = waiter.wait();
    let next = next.expect("it came free");
    before(noticed, entered);
    assert!(token(&next) > token(&guard));
    // What was lost stays lost when the network is back, and giving it up harms nobody.
    proxy.heal();
    let error = guard.release().expect_err("it was lost");
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    assert_eq!(next.standing(), Standing::Held);
    next.release().expect("it is held");
    queue_is(server(), "silent", 0);
}

#[test]
fn a_waiter_whose_link_goes_silent_keeps_its_time_and_leaves_no_ghost() {
    let proxy = Proxy::to_port(server().port(0));
    let guard = lock(&server().place("ghost"))
        .acquire()
        .expect("it is free");
    let waiter = lock(&through(&[proxy.port()], &named("ghost")));
    let waiter = block::start(move || waiter.acquire_within(Duration::from_secs(3)).map(drop));
    queue_is(server(), "ghost", 2);
    proxy.blackhole();
    let error = waiter.wait().expect_err("it is held");
    let kinds = [ErrorKind::TimedOut, ErrorKind::Unreachable];
    assert!(kinds.contains(&error.kind()), "{error}");
    guard.release().expect("it is held");
    // Its claim may stand for a while, as a dead holder's would; then it is gone, and the lock with it is free.
    let next = lock(&elsewhere(&server().place("ghost")));
    let next = next.acquire_within(PATIENCE).expect("nobody holds it");
    queue_is(server(), "ghost", 1);
    next.release().expect("it is held");
    proxy.heal();
    thread::sleep(stage::MOMENT);
    queue_is(server(), "ghost", 0);
}

#[test]
fn a_waiter_whose_link_is_silent_for_a_while_gets_it_all_the_same() {
    let proxy = Proxy::to_port(server().port(0));
    let guard = lock(&server().place("while"))
        .acquire()
        .expect("it is free");
    let waiter = lock(&through(&[proxy.port()], "while?ttl=6s&lock-delay=1s"));
    let waiter = block::start(move || waiter.acquire());
    queue_is(server(), "while", 2);
    proxy.blackhole();
    thread::sleep(Duration::from_secs(1));
    guard.release().expect("it is held");
    waiter.still();
    proxy.heal();
    waiter
        .wait()
        .expect("it is free")
        .release()
        .expect("it is held");
    // The same with a link that is cut: it is made anew, and the place in the queue is kept.
    let guard = lock(&server().place("while"))
        .acquire()
        .expect("it is free");
    let waiter = lock(&through(&[proxy.port()], "while"));
    let waiter = block::start(move || waiter.acquire());
    queue_is(server(), "while", 2);
    let keys = server().keys("while/");
    proxy.cut();
    waiter.still();
    assert_eq!(server().keys("while/"), keys);
    guard.release().expect("it is held");
    drop(waiter.wait().expect("it is free"));
}

#[test]
fn a_holder_that_is_stopped_beyond_its_lease_has_lost_it_when_it_goes_on() {
    let setup = Setup::new(
        registry,
        |_| server().place(&named("stopped")),
        Waiting::Best,
        CHILD_ENTRY,
    );
    let mut holder = setup.child();
    holder.acquire();
    sys::stop(holder.pid());
    let next = lock(&setup.place)
        .acquire_within(PATIENCE)
        .expect("its lease ends");
    sys::go_on(holder.pid());
    assert!(holder.ask("standing it").starts_with("Lost"));
    holder.tell("release it");
    let error = holder.hear("lost");
    assert!(error.starts_with("Lost"), "{error}");
    assert_eq!(next.standing(), Standing::Held);
    next.ensure_held().expect("the other one touched nothing");
    next.release().expect("it is held");
    queue_is(server(), "stopped", 0);
}

#[test]
fn an_answer_that_is_lost_grants_nothing_twice_and_forgets_nothing() {
    let server = EtcdServer::start();
    // Two ways to the one member: what is lost on the first is asked for on the second.
    for lost in 0..2 {
        let name = format!("lost{lost}");
        let proxy = Proxy::to_port(server.port(0));
        let place = through(&[proxy.port(), server.port(0)], &name);
        proxy.drop_answers_after(lost);
        let guard = lock(&place).acquire().expect("the second way is open");
        let keys = server.keys(&format!("{name}/"));
        assert_eq!(keys.len(), 1, "one claim: {keys:?}");
        assert_eq!(guard.standing(), Standing::Held);
        let seen = lock(&server.place(&name)).holder().expect("one can look");
        assert_eq!(seen.holders()[0].token, guard.token());
        guard.release().expect("it is held");
        assert!(server.keys(&format!("{name}/")).is_empty());
    }
}

#[test]
fn an_answer_to_joining_the_queue_or_to_a_look_that_is_lost_costs_no_place() {
    let server = EtcdServer::start();
    // Grant, try, join, look.
    for lost in 2..4 {
        let name = format!("lost{lost}");
        let guard = lock(&server.place(&name)).acquire().expect("it is free");
        let proxy = Proxy::to_port(server.port(0));
        let waiter = lock(&through(&[proxy.port(), server.port(0)], &name));
        proxy.drop_answers_after(lost);
        let waiter = block::start(move || waiter.acquire());
        until("it is queued", || {
            server.keys(&format!("{name}/")).len() == 2
        });
        waiter.still();
        guard.release().expect("it is held");
        let next = waiter.wait().expect("it came free");
        assert_eq!(server.keys(&format!("{name}/")).len(), 1);
        next.release().expect("it is held");
        assert!(server.keys(&format!("{name}/")).is_empty());
    }
}

#[test]
fn an_answer_to_a_release_or_a_renewal_that_is_lost_does_no_harm() {
    let server = EtcdServer::start();
    let proxy = Proxy::to_port(server.port(0));
    let place = through(&[proxy.port(), server.port(0)], "released");
    let guard = lock(&place).acquire().expect("it is free");
    proxy.drop_answers_after(0);
    guard.release().expect("it was heard");
    assert_eq!((server.keys("released/").len(), server.leases()), (0, 0));

    let proxy = Proxy::to_port(server.port(0));
    let place = through(&[proxy.port(), server.port(0)], &named("renewed"));
    let guard = lock(&place).acquire().expect("it is free");
    let first = guard.expires().expect("a lease");
    proxy.drop_answers_after(0);
    until("it is renewed", || guard.expires() > Some(first));
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().expect("it is held");
}

#[test]
fn a_server_that_stands_still_is_no_longer_believed_and_gives_it_to_one_only() {
    let server = EtcdServer::start();
    let guard = lock(&server.place(&named("still")))
        .acquire()
        .expect("it is free");
    let waiter = lock(&elsewhere(&server.place(&named("still"))));
    let waiter = block::start(move || {
        // Both may lose their leases: whoever comes anew gets it.
        let deadline = Moment::now().after(PATIENCE).expect("soon");
        loop {
            match waiter.acquire_until(deadline) {
                Err(error) if error.kind() == ErrorKind::Unreachable => {}
                other => return (other, Moment::now()),
            }
        }
    });
    queue_is(&server, "still", 2);
    server.pause(0);
    let outcome = guard.until_lost(PATIENCE);
    let noticed = Moment::now();
    assert!(matches!(outcome, Some(Outcome::Lost(_))), "{outcome:?}");
    server.go_on(0);
    let (next, entered) = waiter.wait();
    let next = next.expect("it came free");
    before(noticed, entered);
    assert!(token(&next) > token(&guard));
    assert_eq!(next.standing(), Standing::Held);
}

#[test]
fn a_server_that_is_killed_and_starts_again_finds_holder_and_waiter_where_they_were() {
    let mut server = EtcdServer::start();
    let guard = lock(&server.place("again")).acquire().expect("it is free");
    let waiter = lock(&elsewhere(&server.place("again")));
    let waiter = block::start(move || waiter.acquire());
    queue_is(&server, "again", 2);
    let keys = server.keys("again/");
    server.kill9(0);
    waiter.still();
    server.restart();
    let before = guard.expires();
    until("it is renewed", || guard.expires() > before);
    assert_eq!(server.keys("again/"), keys, "both are where they were");
    guard.release().expect("it is held");
    let next = waiter.wait().expect("it came free");
    next.release().expect("it is held");
    assert!(server.keys("again/").is_empty());
}

#[test]
fn a_server_that_lost_its_data_is_noticed_by_the_holder() {
    let mut server = EtcdServer::start();
    let guard = lock(&server.place(&named("forgotten")))
        .acquire()
        .expect("it is free");
    server.kill9(0);
    server.wipe(0);
    server.restart();
    let outcome = guard.until_lost(PATIENCE);
    assert!(matches!(outcome, Some(Outcome::Lost(_))), "{outcome:?}");
    let next = lock(&elsewhere(&server.place("forgotten")));
    next.acquire_within(PATIENCE)
        .expect("nobody holds it")
        .release()
        .expect("it is held");
    let error = guard.release().expect_err("it was lost");
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
}

#[test]
fn where_nobody_listens_one_is_told_so_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its number").port();
    drop(listener);
    for timeout in [Timeout::Once, Timeout::Forever] {
        let error = lock(&through(&[port], "x")).acquire_until(timeout);
        let error = error.expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
    assert!(lock(&through(&[port], "x")).holder().is_err());
}

#[test]
fn a_server_that_is_silent_ends_a_try_all_the_same() {
    let proxy = Proxy::to_port(server().port(0));
    proxy.set(Direction::ToClient, Way::Held);
    let error = lock(&through(&[proxy.port()], &named("mute"))).try_acquire();
    let error = error.expect_err("it says nothing");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    proxy.heal();
    until("nothing is left", || server().keys("mute/").is_empty());
}

/// A server that is no etcd: says this to everybody.
fn babbler(says: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its number").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut request = [0; 4096];
                while stream.read(&mut request).is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(says.as_bytes());
                }
            });
        }
    });
    port
}

#[test]
fn a_server_of_another_kind_is_named_as_such() {
    let table = [
        ("-ERR unknown command 'POST'\r\n", ErrorKind::Foreign),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            ErrorKind::Foreign,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<p>",
            ErrorKind::Foreign,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            ErrorKind::Foreign,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 44\r\n\r\n{\"etcdserver\":\"3.3.8\",\"etcdcluster\":\"3.3.0\"}",
            ErrorKind::Unsupported,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            ErrorKind::Foreign,
        ),
    ];
    for (says, kind) in table {
        let error = lock(&through(&[babbler(says)], "x")).try_acquire();
        let error = error.expect_err("that is no etcd");
        assert_eq!(error.kind(), kind, "{says}: {error}");
        assert!(error.advice().is_some(), "{error}");
    }
}

#[test]
fn two_clusters_are_never_taken_for_one() {
    let (mut first, second) = (EtcdServer::start(), EtcdServer::start());
    let both = lock(&through(&[first.port(0), second.port(0)], "x"));
    let guard = both.acquire().expect("the first one answers");
    guard.release().expect("it is held");
    first.kill9(0);
    let error = both
        .acquire()
        .expect_err("the other one knows nothing of it");
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error}");
    assert!(error.to_string().contains("another cluster"), "{error}");
    assert!(second.keys("").is_empty());
}
