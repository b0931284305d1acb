//! The judge can find fault: two schedules, brought to each engine. The first harms a resource which does not look at tokens, and does not harm one that does.
//! A holds the lock, reads the counter, asks its guard (it holds), and stands still. Its lease ends, B gets the lock, reads, writes, and goes. A goes on, and writes what it had read.
//! No engine can help that: A cannot know that it stood still.
//!
//! The second shows what the lock delay is for. A's link falls silent; its lease ends by its own clock, and A begins to wind up, which takes a while. Without a lock delay B is in before A is out.
//!
//! Not for: chance (`seeded.rs`).

use crate::CHILD_ENTRY;
use crate::registry;
use crate::server::{DELAY, Engine, Server, TTL, lock};
use sneck::Waiting;
use sneck_testkit::child::say;
use sneck_testkit::judge::visitor::Visitor;
use sneck_testkit::judge::{self, Checks, Court, Note, Verdict, Violation, What};
use sneck_testkit::proxy::Proxy;
use sneck_testkit::{Child, PATIENCE, Session, Setup, sys};
use std::fs;
use std::thread;
use std::time::Duration;

/// Whether the judge hears that A stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

/// Who looks, and then leaps when the file `go` stands in its folder.
struct Leaper {
    child: Child,
    setup: Setup,
}

impl Leaper {
    fn in_at(place: &str, judge: u16, name: &str) -> Leaper {
        Leaper::how("leap", place, judge, name)
    }

    fn how(how: &str, place: &str, judge: u16, name: &str) -> Leaper {
        let setup = Setup::new(registry, |_| place.to_owned(), Waiting::Best, CHILD_ENTRY);
        let mut child = setup.child();
        child.tell(&format!("{how} {judge} {name}"));
        child.hear("in");
        Leaper { child, setup }
    }

    fn may_leap(&self) {
        fs::write(self.setup.folder.join("go"), "").expect("our own folder");
    }

    fn leaps(mut self) {
        self.child.hear("done");
    }
}

/// The commands `leap JUDGE NAME` and `wind-up JUDGE NAME`: they answer `in`, then `done`.
pub(crate) fn obey(session: &mut Session, words: &[&str]) -> bool {
    let [how @ ("leap" | "wind-up"), judge, name] = words else {
        return false;
    };
    let port = judge.parse().expect("a port");
    let (mut judge, _) = Visitor::come(port, name).expect("the judge is there");
    judge.asks().expect("the judge is there");
    let guard = lock(&session.setup.place).acquire().expect("it comes free");
    let token = guard.token().expect("servers give tokens");
    judge.enter(token).expect("the judge is there");
    let value = judge.read().expect("the judge is there");
    let well = guard.ensure_held();
    say("in");
    if *how == "wind-up" {
        guard.until_lost(PATIENCE);
        thread::sleep(WINDING_UP);
    } else {
        let go = session.setup.folder.join("go");
        while !go.exists() {
            thread::sleep(Duration::from_millis(1));
        }
    }
    if well.is_ok() {
        let _ = judge.write(token, value + 1).expect("the judge is there");
    }
    let _ = judge.leave(token).expect("the judge is there");
    let _ = guard.release();
    say("done");
    true
}

fn schedule(server: &Server, engine: Engine, checks: Checks, told: Told) -> Verdict {
    let place = engine.place(&server.ports());
    let court = Court::open(CHILD_ENTRY, checks);
    let mut note = Note::to(court.port());
    let tell = |note: &mut Note, what: &What| {
        if told == Told::Yes {
            note.note("a", what);
        }
    };
    let a = Leaper::in_at(&place, court.port(), "a");
    tell(&mut note, &What::Pause);
    sys::stop(a.child.pid());
    let b = Leaper::in_at(&place, court.port(), "b");
    b.may_leap();
    b.leaps();
    a.may_leap();
    sys::go_on(a.child.pid());
    tell(&mut note, &What::GoesOn);
    a.leaps();
    judge::judge(&court.log(), Some(note.counter()), TTL + DELAY)
}

fn has(verdict: &Verdict, is_it: impl Fn(&Violation) -> bool) -> bool {
    verdict.violations.iter().any(is_it)
}

fn the_judge_finds_fault(engine: Engine) {
    let server = Server::start(engine);
    let off = schedule(&server, engine, Checks::Off, Told::Yes);
    let found = &off.violations;
    assert!(
        has(&off, |v| matches!(v, Violation::StaleAccepted { .. })),
        "{found:?}"
    );
    assert!(
        has(&off, |v| matches!(
            v,
            Violation::LostUpdate { values: (1, 1), .. }
        )),
        "{found:?}"
    );
    assert!(
        !has(&off, |v| matches!(v, Violation::TwoInside { .. })),
        "A stood still: {found:?}"
    );
    let untold = schedule(&server, engine, Checks::Off, Told::No);
    let found = &untold.violations;
    assert!(
        has(&untold, |v| matches!(v, Violation::TwoInside { .. })),
        "{found:?}"
    );
    let on = schedule(&server, engine, Checks::On, Told::Yes);
    assert_eq!(on.violations, []);
    // The write, and the leaving.
    assert_eq!((on.refused, on.writes, on.excused), (2, 1, 1));
}

/// How long A takes to be out once it knows.
const WINDING_UP: Duration = Duration::from_secs(2);

fn winds_up(server: &Server, engine: Engine, delay: Duration) -> Verdict {
    let ttl = Duration::from_secs(2);
    let court = Court::open(CHILD_ENTRY, Checks::Off);
    let links: Vec<Proxy> = server.ports().into_iter().map(Proxy::to_port).collect();
    let ports: Vec<u16> = links.iter().map(Proxy::port).collect();
    let place = engine.place_for(&ports, ttl, delay);
    let a = Leaper::how("wind-up", &place, court.port(), "a");
    links.iter().for_each(Proxy::blackhole);
    let place = engine.place_for(&server.ports(), ttl, delay);
    let b = Leaper::in_at(&place, court.port(), "b");
    b.may_leap();
    b.leaps();
    // What was on its way arrives, and harms nobody.
    links.iter().for_each(Proxy::heal);
    a.leaps();
    judge::judge(&court.log(), None, PATIENCE)
}

fn the_delay_is_for_something(engine: Engine) {
    let server = Server::start(engine);
    let without = winds_up(&server, engine, Duration::ZERO);
    let found = &without.violations;
    assert!(
        has(&without, |v| matches!(v, Violation::TwoInside { .. })),
        "{found:?}"
    );
    let with = winds_up(&server, engine, WINDING_UP * 2);
    assert_eq!(with.violations, []);
}

macro_rules! engines {
    ($($name:ident $what:ident $engine:ident)*) => {$(
        #[test]
        fn $name() {
            $what(Engine::$engine);
        }
    )*};
}

engines! {
    without_checks_a_paused_holder_destroys_an_update_under_etcd_and_with_them_it_is_refused the_judge_finds_fault Etcd
    without_checks_a_paused_holder_destroys_an_update_under_postgresql_and_with_them_it_is_refused the_judge_finds_fault Postgres
    without_checks_a_paused_holder_destroys_an_update_under_redis_and_with_them_it_is_refused the_judge_finds_fault Redis
    without_a_lock_delay_two_are_inside_under_etcd_while_one_winds_up the_delay_is_for_something Etcd
    without_a_lock_delay_two_are_inside_under_postgresql_while_one_winds_up the_delay_is_for_something Postgres
    without_a_lock_delay_two_are_inside_under_redis_while_one_winds_up the_delay_is_for_something Redis
}
