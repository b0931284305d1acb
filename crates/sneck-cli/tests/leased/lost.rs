//! Whoever loses the lock is dead before the next one is let in.

use super::{
    BEATS, MOMENT, beats, keepers_of, last_beat, members, next_turn, nothing_is_left, now, run,
};
use crate::stage::{Place, until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sneck_testkit::authority::Authority;
use sneck_testkit::etcd::EtcdServer;
use sneck_testkit::postgres::{PostgresServer, Setup};
use sneck_testkit::proxy::Proxy;
use sneck_testkit::redis::RedisServer;
use std::thread::sleep;
use std::time::Duration;

/// /proc/uptime is cut after two digits: a later moment can seem up to so much earlier.
const CUT: f64 = 0.01;

fn number(text: &str) -> Pid {
    let number = text.trim().parse().ok();
    number.and_then(Pid::from_raw).expect("a process number")
}

/// The same for each engine: where the holder goes through a proxy, and others do not.
fn at_each_engine(test: impl Fn(&Proxy, &str, &str)) {
    let redis = RedisServer::shared();
    let proxy = Proxy::to_port(redis.port());
    let name = format!("lost-{}", proxy.port());
    test(
        &proxy,
        &format!("redis://127.0.0.1:{}/{name}", proxy.port()),
        &redis.place(&name),
    );
    let etcd = EtcdServer::shared();
    let proxy = Proxy::to_port(etcd.port(0));
    let name = format!("lost-{}", proxy.port());
    test(
        &proxy,
        &format!("etcd://127.0.0.1:{}/{name}", proxy.port()),
        &etcd.place(&name),
    );
    // Where the lock goes with the connection: a plain one, and an encrypted one.
    let postgres = encrypting();
    for option in ["sslmode=disable", "sslmode=require"] {
        let proxy = Proxy::to_port(postgres.port());
        let name = format!("postgres/lost-{}?{option}", proxy.port());
        let at = |port| format!("postgres://postgres@127.0.0.1:{port}/{name}");
        test(&proxy, &at(proxy.port()), &at(postgres.port()));
    }
}

fn encrypting() -> PostgresServer {
    let authority = Authority::new("Test CA");
    let certificate = authority.server(&["localhost"]);
    PostgresServer::start_as(&Setup {
        certificate: Some((&certificate.certificate, &certificate.key)),
        ..Setup::default()
    })
}

#[test]
fn one_whose_link_is_silent_is_dead_before_the_next_one_is_let_in() {
    at_each_engine(|proxy, through, lock| {
        let place = Place::new();
        let sneck = run(&place, through, BEATS);
        beats(&place);
        let (pid, group) = (sneck.number(), place.text("group").trim().to_owned());
        proxy.blackhole();
        let let_in = next_turn(lock);
        let last = last_beat(&place);
        println!("{lock}: last sign of life {last}, next one let in {let_in}");
        assert!(last <= let_in + CUT, "{last} is after {let_in}");
        assert_eq!(members(&group), Vec::<String>::new());
        proxy.heal();
        assert_eq!(sneck.code(), Some(76));
        assert_eq!(place.text("log"), "term\nterm\n", "one TERM each");
        let said = place.text("said");
        assert!(
            said.contains("was lost at") && said.contains("TERM to pid"),
            "{said}"
        );
        assert!(said.contains("KILL to process group"), "{said}");
        nothing_is_left(&pid, &group);
    });
}

#[test]
fn when_sneck_is_killed_its_keeper_ends_the_group_before_the_next_one_is_let_in() {
    at_each_engine(|_, _, lock| {
        let place = Place::new();
        let sneck = run(&place, lock, BEATS);
        beats(&place);
        let (pid, group) = (sneck.number(), place.text("group").trim().to_owned());
        assert_eq!(keepers_of(&pid).len(), 2, "a keeper and its anchor");
        sneck.kill();
        let let_in = next_turn(lock);
        let last = last_beat(&place);
        println!("{lock}: last sign of life {last}, next one let in {let_in}");
        assert!(last <= let_in + CUT, "{last} is after {let_in}");
        assert_eq!(place.text("log"), "term\nterm\n", "one TERM each");
        let said = place.text("said");
        assert!(
            said.contains("sneck was killed: TERM to process group"),
            "{said}"
        );
        nothing_is_left(&pid, &group);
    });
}

#[test]
fn when_sneck_is_stopped_its_keeper_ends_the_group_and_sneck_says_so_once_it_goes_on() {
    at_each_engine(|_, _, lock| {
        let place = Place::new();
        let sneck = run(&place, lock, BEATS);
        beats(&place);
        let (pid, group) = (sneck.number(), place.text("group").trim().to_owned());
        kill_process(sneck.pid(), Signal::STOP).expect("alive");
        let let_in = next_turn(lock);
        let last = last_beat(&place);
        println!("{lock}: last sign of life {last}, next one let in {let_in}");
        assert!(last <= let_in + CUT, "{last} is after {let_in}");
        kill_process(sneck.pid(), Signal::CONT).expect("alive");
        assert_eq!(sneck.code(), Some(76));
        let said = place.text("said");
        assert!(said.contains("sneck does not run"), "{said}");
        // By its own clock, or because PostgreSQL has told it: whichever it looks at first.
        let why = ["this process was stopped", "idle-session timeout"];
        assert!(why.iter().any(|why| said.contains(why)), "{said}");
        nothing_is_left(&pid, &group);
    });
}

#[test]
fn a_command_that_is_stopped_keeps_its_lock() {
    let redis = RedisServer::shared();
    let (place, lock) = (Place::new(), redis.place("only-the-command-is-stopped"));
    let _sneck = run(&place, &lock, BEATS);
    beats(&place);
    let group = place.text("group");
    // All of it, the anchor too, which is nobody's business.
    let stopped = |signal| kill_process_group(number(&group), signal).expect("alive");
    stopped(Signal::STOP);
    let (code, said) = Place::new().said(&["run", "-w", "3s", &lock, "--", "true"]);
    assert_eq!(code, 75, "{said}");
    stopped(Signal::CONT);
    let before = place.text("beats").lines().count();
    until("it goes on", || {
        place.text("beats").lines().count() > before
    });
    assert_eq!(place.text("log"), "");
}

#[test]
fn a_keeper_that_is_killed_is_replaced() {
    let redis = RedisServer::shared();
    let (place, lock) = (Place::new(), redis.place("the-keeper-is-killed"));
    let sneck = run(&place, &lock, BEATS);
    beats(&place);
    let (pid, group) = (sneck.number(), place.text("group").trim().to_owned());
    let first = keepers_of(&pid);
    let keeper = first.iter().find(|one| !members(&group).contains(one));
    kill_process(
        number(keeper.expect("it is in a group of its own")),
        Signal::KILL,
    )
    .expect("alive");
    until("there is another one", || {
        let now = keepers_of(&pid);
        now.len() == 2 && now.iter().all(|one| !first.contains(one))
    });
    sneck.kill();
    let let_in = next_turn(&lock);
    assert!(last_beat(&place) <= let_in + CUT);
    nothing_is_left(&pid, &group);
}

#[test]
fn what_the_server_says_ends_the_command_at_once_and_what_it_left_goes_on_under_the_lock() {
    let redis = RedisServer::shared();
    let (place, lock) = (Place::new(), redis.place("removed-by-force"));
    // The command has ended; what it started has not.
    let sneck = run(
        &place,
        &lock,
        "trap '' TERM; (while [ -d $PWD ]; do read up rest < /proc/uptime; echo $up >> beats; sleep 0.02; done) & echo $$ > group",
    );
    beats(&place);
    sleep(Duration::from_millis(1500));
    let words = ["run", "-n", &lock, "--", "true"];
    assert_eq!(Place::new().said(&words).0, 75, "{}", place.text("said"));
    assert!(
        place.text("said").contains("what it started has not"),
        "{}",
        place.text("said")
    );
    let group = place.text("group").trim().to_owned();
    let forced = now();
    let (code, said) = Place::new().said(&["break", "--force", &lock]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(sneck.code(), Some(76));
    // Long before the lease would have ended, give or take a busy machine: at the next renewal.
    println!("removed {forced}, dead {}", last_beat(&place));
    assert_eq!(members(&group), Vec::<String>::new());
}

#[test]
fn without_inheritance_the_lock_goes_when_the_command_ends() {
    let redis = RedisServer::shared();
    let (place, lock) = (Place::new(), redis.place("not-inherited"));
    let sneck = super::run_with(&place, &["-o"], &lock, "sleep 1000 & echo $! > left");
    let pid = sneck.number();
    assert_eq!(sneck.code(), Some(0));
    assert_eq!(Place::new().code(&["run", "-n", &lock, "--", "true"]), 0);
    let left = place.text("left");
    assert!(std::fs::metadata(format!("/proc/{}", left.trim())).is_ok());
    kill_process(number(&left), Signal::KILL).expect("it runs on");
    until("the keeper has gone", || keepers_of(&pid).is_empty());
    sleep(MOMENT);
}
