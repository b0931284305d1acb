//! A cluster of three: members that are killed, paused, restarted, robbed of their data, or left out of the place.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests sleep")]

mod stage;

use sneck::lease::Outcome;
use sneck::{ErrorKind, Standing};
use sneck_testkit::PATIENCE;
use sneck_testkit::block::{self, until};
use sneck_testkit::etcd::EtcdServer;
use stage::{elsewhere, lock, through, token};
use std::time::Duration;

fn queue_is(server: &EtcdServer, name: &str, count: usize) {
    until("the queue is as long", || {
        // One member may be down, or slow to say so.
        let keys = server
            .command(&["get", "--prefix", "--keys-only", &format!("{name}/")])
            .output();
        let keys = String::from_utf8(keys.expect("etcdctl").stdout).expect("keys");
        keys.lines().filter(|line| !line.is_empty()).count() == count
    });
}

/// All members, this one first.
fn first(server: &EtcdServer, member: usize, name: &str) -> String {
    let ports = [member, (member + 1) % 3, (member + 2) % 3].map(|m| server.port(m));
    through(&ports, name)
}

#[test]
fn a_leader_that_is_killed_costs_nobody_lock_or_place() {
    let mut server = EtcdServer::cluster(3);
    let leader = server.leader();
    let guard = lock(&first(&server, leader, "led?ttl=9s"))
        .acquire()
        .expect("it is free");
    let waiter = lock(&elsewhere(&first(&server, leader, "led?ttl=9s")));
    let waiter = block::start(move || waiter.acquire());
    queue_is(&server, "led", 2);
    server.kill9(leader);
    let before = guard.expires();
    until("it is renewed at another member", || {
        guard.expires() > before
    });
    waiter.still();
    let held = token(&guard);
    guard.release().expect("it is held");
    let next = waiter.wait().expect("it came free");
    assert!(token(&next) > held);

    // What two of three know the third learns.
    server.restart();
    let third = lock(&first(&server, leader, "led"));
    assert!(third.try_acquire().expect_err("it is held").is_held());
    next.release().expect("it is held");
    drop(third.acquire_within(PATIENCE).expect("it is free"));
}

#[test]
fn whoever_hangs_on_a_follower_that_stands_still_moves_to_another_one() {
    let server = EtcdServer::cluster(3);
    let follower = (server.leader() + 1) % 3;
    let place = first(&server, follower, "hung?ttl=3s&lock-delay=2s");
    let guard = lock(&place).acquire().expect("it is free");
    let waiter = lock(&elsewhere(&place));
    let waiter = block::start(move || waiter.acquire());
    queue_is(&server, "hung", 2);
    server.pause(follower);
    let before = guard.expires();
    until("it is renewed at another member", || {
        guard.expires() > before
    });
    assert_eq!(guard.standing(), Standing::Held);
    guard.release().expect("it is held");
    let next = waiter.wait().expect("it came free, and others could tell");
    server.go_on(follower);
    next.release().expect("it is held");
    queue_is(&server, "hung", 0);
}

#[test]
fn without_a_majority_nobody_gets_in_and_the_holder_knows_when_to_stop() {
    let mut server = EtcdServer::cluster(3);
    let (one, two) = (server.leader(), (server.leader() + 1) % 3);
    let place = first(&server, (one + 2) % 3, "few?ttl=3s&lock-delay=1s");
    let guard = lock(&place).acquire().expect("it is free");
    server.kill9(one);
    server.kill9(two);
    let outcome = guard.until_lost(PATIENCE);
    assert!(matches!(outcome, Some(Outcome::Lost(_))), "{outcome:?}");
    let error = lock(&elsewhere(&place))
        .try_acquire()
        .expect_err("no majority");
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    server.restart();
    let next = lock(&elsewhere(&place)).acquire_within(PATIENCE);
    let next = next.expect("the old lease ends");
    assert!(token(&next) > token(&guard));
}

#[test]
fn all_members_restarted_keep_it() {
    let mut server = EtcdServer::cluster(3);
    let place = first(&server, 0, "all?ttl=20s");
    let guard = lock(&place).acquire().expect("it is free");
    let waiter = lock(&elsewhere(&place));
    let waiter = block::start(move || waiter.acquire());
    queue_is(&server, "all", 2);
    (0..3).for_each(|member| server.kill9(member));
    server.restart();
    let before = guard.expires();
    until("it is renewed", || guard.expires() > before);
    waiter.still();
    guard.release().expect("it is held");
    waiter
        .wait()
        .expect("it came free")
        .release()
        .expect("it is held");
}

#[test]
fn one_member_without_its_data_is_no_loss() {
    let mut server = EtcdServer::cluster(3);
    let robbed = (server.leader() + 1) % 3;
    let place = first(&server, robbed, "robbed?ttl=9s");
    let guard = lock(&place).acquire().expect("it is free");
    // As an operator does it: out, and in again, empty.
    server.kill9(robbed);
    server.replace(robbed);
    let before = guard.expires();
    until("it is renewed", || guard.expires() > before);
    let there = through(&[server.port(robbed)], "robbed");
    until("the new one knows it", || {
        let seen = lock(&there).holder();
        seen.is_ok_and(|seen| {
            seen.holders()
                .first()
                .is_some_and(|h| h.token == guard.token())
        })
    });
    guard.release().expect("it is held");
    drop(lock(&there).acquire_within(PATIENCE).expect("it is free"));
}

#[test]
fn a_member_that_is_not_there_is_passed_over() {
    let mut server = EtcdServer::cluster(3);
    server.kill9((server.leader() + 1) % 3);
    for member in 0..3 {
        let guard = lock(&first(&server, member, "passed")).acquire_within(Duration::from_secs(30));
        guard.expect("two are there").release().expect("it is held");
    }
}
