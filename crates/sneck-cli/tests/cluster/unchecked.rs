//! The judge can find fault: one schedule, brought to each engine, that harms a resource which does not look at tokens, and does not harm one that does.
//!
//! 1. A holds the lock, reads the counter, and asks its guard: it holds. 2. A stands still. 3. A's lease ends, B gets the lock, reads, writes, and goes. 4. A goes on, and writes what it had read.
//! No engine can help that: A cannot know that it stood still.
//!
//! Not for: chance (`seeded.rs`).

use crate::CHILD_ENTRY;
use crate::registry;
use crate::server::{DELAY, Engine, Server, TTL, lock};
use sneck::Waiting;
use sneck_testkit::child::say;
use sneck_testkit::judge::visitor::Visitor;
use sneck_testkit::judge::{self, Checks, Court, Note, Verdict, Violation, What};
use sneck_testkit::{Child, Session, Setup, sys};
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
        let setup = Setup::new(registry, |_| place.to_owned(), Waiting::Best, CHILD_ENTRY);
        let mut child = setup.child();
        child.tell(&format!("leap {judge} {name}"));
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

/// The command `leap JUDGE NAME`: answers `in`, then `done`.
pub(crate) fn obey(session: &mut Session, words: &[&str]) -> bool {
    let ["leap", judge, name] = words else {
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
    let go = session.setup.folder.join("go");
    while !go.exists() {
        thread::sleep(Duration::from_millis(1));
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

macro_rules! engines {
    ($($name:ident $engine:ident)*) => {$(
        #[test]
        fn $name() {
            the_judge_finds_fault(Engine::$engine);
        }
    )*};
}

engines! {
    without_checks_a_paused_holder_destroys_an_update_under_etcd_and_with_them_it_is_refused Etcd
    without_checks_a_paused_holder_destroys_an_update_under_postgresql_and_with_them_it_is_refused Postgres
    without_checks_a_paused_holder_destroys_an_update_under_redis_and_with_them_it_is_refused Redis
}
