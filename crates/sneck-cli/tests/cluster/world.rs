//! A server, a judge, parties with a link each, and the test's hand in it: [`World`].
//!
//! Not for: the faults one by one (`faults.rs`).

use crate::CHILD_ENTRY;
use crate::faults::Kind;
use crate::party::{Party, Style};
use crate::server::{DELAY, Engine, Server, TTL};
use sneck_testkit::PATIENCE;
use sneck_testkit::block::until;
use sneck_testkit::dice::Dice;
use sneck_testkit::judge::{self, Checks, Court, Note, Verdict, What};
use sneck_testkit::proxy::Proxy;
use std::thread::{panicking, sleep};
use std::time::{Duration, Instant};

/// After a fault somebody gets in within ttl, delay, and this. Generous: it is for machines that do other things too; what is measured stands in the table.
pub(crate) const SLACK: Duration = Duration::from_secs(15);

/// These take turns.
const PARTIES: [Style; 5] = [
    Style::Library,
    Style::Library,
    Style::Library,
    Style::Command,
    Style::Command,
];

/// So many lines of the log are shown where a world ends badly.
const LAST: usize = 60;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) server: Server,
    pub(crate) parties: Vec<Party>,
    pub(crate) dice: Dice,
    pub(crate) note: Note,
    court: Court,
}

impl World {
    pub(crate) fn start(engine: Engine, checks: Checks, dice: Dice) -> World {
        let server = Server::start(engine);
        let court = Court::open(CHILD_ENTRY, checks);
        let party = |(number, style): (usize, Style)| {
            let ports = server.ports();
            let links: Vec<Proxy> = ports.into_iter().map(Proxy::to_port).collect();
            let ports: Vec<u16> = links.iter().map(Proxy::port).collect();
            Party::new(style, number, links, &engine.place(&ports))
        };
        World {
            engine,
            parties: (1..).zip(PARTIES).map(party).collect(),
            server,
            dice,
            note: Note::to(court.port()),
            court,
        }
    }

    /// All come, and somebody gets in.
    pub(crate) fn begin(&mut self) {
        for party in 0..self.parties.len() {
            self.come(party, &[]);
        }
        self.until_somebody_enters(0);
    }

    /// This one comes, by way of another program if one is named.
    pub(crate) fn come(&mut self, party: usize, program: &[&str]) {
        let seed = self.dice.below(u64::MAX);
        self.parties[party].come(self.court.port(), seed, program);
    }

    /// Keep a holder inside, of this style if one is named: which one.
    pub(crate) fn holder(&mut self, style: Option<Style>) -> usize {
        self.note.catch(style.map_or("", Style::letter));
        let mut caught = None;
        until("somebody holds it", || {
            caught = self.note.caught();
            caught.is_some()
        });
        let name = caught.unwrap_or_default();
        let found = self.parties.iter().position(|p| p.name == name);
        found.expect("one of ours")
    }

    /// One who is not inside, and holds by the library.
    pub(crate) fn waiter(&mut self) -> usize {
        let inside = self.note.inside();
        let all: Vec<usize> = (0..self.parties.len()).collect();
        let outside: Vec<usize> = all
            .into_iter()
            .filter(|party| !inside.contains(&self.parties[*party].name))
            .filter(|party| self.parties[*party].style() == Style::Library)
            .collect();
        *self.dice.one_of(&outside)
    }

    pub(crate) fn about(&mut self, party: usize, what: &What) {
        let name = self.parties[party].name.clone();
        self.note.note(&name, what);
    }

    /// From now on somebody has to get in soon. How often somebody did before.
    pub(crate) fn due(&mut self, kind: Kind) -> u64 {
        self.note.note("-", &What::Due(kind.to_string()));
        // Only now: an entry between the two would not count.
        self.note.entries()
    }

    pub(crate) fn until_somebody_enters(&mut self, before: u64) {
        until("somebody gets in", || self.note.entries() > before);
    }

    /// Until this party does.
    pub(crate) fn until_enters(&mut self, party: usize) {
        let name = self.parties[party].name.clone();
        let entries = |world: &World| {
            let log = world.court.log();
            let entered = |e: &&judge::Entry| e.name == name && matches!(e.what, What::Enter(..));
            log.iter().filter(entered).count()
        };
        let before = entries(self);
        until("this one gets in", || entries(self) > before);
    }

    /// The server forgets who holds: now, or meanwhile.
    pub(crate) fn forgets(&mut self) {
        self.note.note("-", &What::Forgot);
    }

    /// All go, this is done, and they come again, to a resource that somebody has put in order: for servers whose tokens begin anew.
    pub(crate) fn begins_anew(&mut self, work: impl FnOnce(&mut Server)) {
        self.note.close();
        self.parties.iter_mut().for_each(Party::goes);
        work(&mut self.server);
        self.note.note("-", &What::Epoch);
        (0..self.parties.len()).for_each(|party| self.come(party, &[]));
    }

    /// All go, nothing is left, and the judge judges. With what it wrote down.
    pub(crate) fn end(mut self) -> (Verdict, String) {
        self.note.close();
        self.parties.iter_mut().for_each(Party::goes);
        // Who died in the queue, or could not say that it gave up, stands there for a lease.
        let mut left = self.server.left();
        let begun = Instant::now();
        while !left.is_empty() && begun.elapsed() < PATIENCE {
            sleep(Duration::from_millis(50));
            left = self.server.left();
        }
        assert!(
            left.is_empty(),
            "{}: left at the server: {left:?}",
            self.engine
        );
        let counter = self.note.counter();
        let verdict = judge::judge(&self.court.log(), Some(counter), TTL + DELAY + SLACK);
        (verdict, self.court.text())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !panicking() {
            return;
        }
        let text = self.court.text();
        let lines: Vec<&str> = text.lines().collect();
        println!("{}: the last of what the judge wrote down:", self.engine);
        for line in &lines[lines.len().saturating_sub(LAST)..] {
            println!("{line}");
        }
    }
}
