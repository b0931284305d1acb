//! The faults, and how each is brought to a [`World`].
//!
//! Where the lock passes on *while* the fault lasts (a holder that falls silent), somebody has to get in soon after it began; where nobody can get in meanwhile (a server that stands still), soon after it ended.
//!
//! Not for: what must hold (`sneck_testkit::judge::verdict`).

use crate::party::Style;
use crate::server::{DELAY, Engine, Server, TTL};
use crate::world::World;
use rustix::process::Signal;
use sneck_testkit::Folder;
use sneck_testkit::judge::What;
use sneck_testkit::proxy::Proxy;
use std::fmt;
use std::fs;
use std::thread;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A holder stands still until somebody else was in, and goes on.
    HolderStopped,
    /// A sneck whose command is inside stands still, and the command does not.
    SneckStopped,
    /// The command stands still, and sneck does not: nothing is lost.
    CommandStopped,
    /// Both stand still.
    BothStopped,
    /// And so does whatever sneck has set to end the command: the whole machine, say.
    AllStopped,
    SneckKilled,
    CommandKilled,
    /// A waiter stands still for a while.
    WaiterStopped,
    HolderKilled,
    WaiterKilled,
    /// Nothing is heard of the holder, nor does it hear anything, until somebody else was in.
    HolderSilent,
    /// The same for a waiter, for a while.
    WaiterSilent,
    /// Connections end.
    Cut,
    /// Everything takes longer for a while.
    Slow,
    /// Answers are lost, of what the server has done.
    AnswersLost,
    ServerStopped,
    /// Killed and started again.
    ServerKilled,
    /// One of several.
    LeaderKilled,
    /// Without the tokens' growing less: Redis goes by its clock, one of several members is told by the others.
    DataLost,
    /// The tokens with it.
    AllLost,
    /// The server's wall clock goes an hour ahead, and back.
    ServerClock,
    /// A party's wall clock steps by an hour while it takes turns.
    ClientClock,
    /// A party whose clocks since boot are an hour and some days away from the others'.
    ClientNamespace,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::HolderStopped => "holder-stopped",
            Kind::SneckStopped => "sneck-stopped",
            Kind::CommandStopped => "command-stopped",
            Kind::BothStopped => "both-stopped",
            Kind::AllStopped => "all-stopped",
            Kind::SneckKilled => "sneck-killed",
            Kind::CommandKilled => "command-killed",
            Kind::WaiterStopped => "waiter-stopped",
            Kind::HolderKilled => "holder-killed",
            Kind::WaiterKilled => "waiter-killed",
            Kind::HolderSilent => "holder-silent",
            Kind::WaiterSilent => "waiter-silent",
            Kind::Cut => "links-cut",
            Kind::Slow => "links-slow",
            Kind::AnswersLost => "answers-lost",
            Kind::ServerStopped => "server-stopped",
            Kind::ServerKilled => "server-killed",
            Kind::LeaderKilled => "leader-killed",
            Kind::DataLost => "data-lost",
            Kind::AllLost => "all-lost",
            Kind::ServerClock => "server-clock",
            Kind::ClientClock => "client-clock",
            Kind::ClientNamespace => "client-namespace",
        })
    }
}

/// Whether there is time for what takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    Short,
    Ample,
}

/// Those that can befall this engine.
pub(crate) fn of(engine: Engine, time: Time) -> Vec<Kind> {
    let mut all = vec![
        Kind::HolderStopped,
        Kind::SneckStopped,
        Kind::CommandStopped,
        Kind::BothStopped,
        Kind::AllStopped,
        Kind::SneckKilled,
        Kind::CommandKilled,
        Kind::WaiterStopped,
        Kind::HolderKilled,
        Kind::WaiterKilled,
        Kind::HolderSilent,
        Kind::WaiterSilent,
        Kind::Cut,
        Kind::Slow,
        Kind::AnswersLost,
        Kind::ServerStopped,
        Kind::ServerKilled,
        Kind::ClientClock,
        Kind::ClientNamespace,
    ];
    match engine {
        Engine::Redis => all.extend([Kind::DataLost, Kind::ServerClock]),
        Engine::Etcd3 => all.extend([Kind::DataLost, Kind::LeaderKilled]),
        Engine::Etcd | Engine::Postgres if time == Time::Ample => all.push(Kind::AllLost),
        Engine::Etcd | Engine::Postgres => {}
    }
    all
}

/// As long as a lease lasts at the server.
const LEASE: Duration = Duration::from_millis((TTL.as_millis() + DELAY.as_millis()) as u64);

impl World {
    /// Brings one, and waits until somebody was in after it.
    pub(crate) fn bring(&mut self, kind: Kind) {
        self.note.note("-", &What::Fault(kind.to_string()));
        match kind {
            Kind::HolderStopped => {
                let holder = self.holder(Some(Style::Library));
                self.stop(kind, holder);
            }
            Kind::WaiterStopped => {
                let waiter = self.waiter();
                self.stop(kind, waiter);
            }
            Kind::SneckStopped
            | Kind::CommandStopped
            | Kind::BothStopped
            | Kind::AllStopped
            | Kind::SneckKilled
            | Kind::CommandKilled => self.befall_a_command(kind),
            Kind::HolderKilled => {
                let holder = self.holder(Some(Style::Library));
                self.kill(kind, holder);
            }
            Kind::WaiterKilled => {
                let waiter = self.waiter();
                self.kill(kind, waiter);
            }
            Kind::HolderSilent => {
                let holder = self.holder(None);
                self.silence(kind, holder);
            }
            Kind::WaiterSilent => {
                let waiter = self.waiter();
                self.silence(kind, waiter);
            }
            Kind::Cut => {
                self.may_forget(self.engine.ends_with_connections());
                for party in 0..self.parties.len() {
                    if self.dice.below(2) == 0 {
                        self.parties[party].cut();
                    }
                }
                self.may_forget(self.engine.ends_with_connections());
                self.soon(kind);
            }
            Kind::Slow => {
                let delay = Duration::from_millis(10) + self.dice.micros(50_000);
                let links = |world: &World, delay| {
                    let links = world.parties.iter().flat_map(|party| &party.links);
                    links.for_each(|link: &Proxy| link.delay(delay));
                };
                links(self, delay);
                self.sleep(Duration::from_millis(200), LEASE);
                links(self, Duration::ZERO);
                self.soon(kind);
            }
            Kind::AnswersLost => {
                let party = self.dice.below(self.parties.len() as u64) as usize;
                for link in &self.parties[party].links {
                    link.drop_answers_after(self.dice.below(5) as usize);
                }
                self.sleep(Duration::from_millis(200), LEASE);
                // What was lost stays lost: only new connections are of use.
                self.parties[party].heal();
                self.may_forget(self.engine.ends_with_connections());
                self.parties[party].cut();
                self.may_forget(self.engine.ends_with_connections());
                self.soon(kind);
            }
            Kind::ServerStopped => {
                self.server.stand_still();
                self.sleep(Duration::from_millis(200), LEASE * 3 / 2);
                self.server.go_on();
                self.soon(kind);
            }
            Kind::ServerKilled => {
                self.may_forget(self.engine.forgets());
                self.server.kill();
                self.sleep(Duration::ZERO, Duration::from_millis(300));
                self.server.restart();
                self.may_forget(self.engine.forgets());
                self.soon(kind);
            }
            Kind::LeaderKilled => self.kill_leader(kind),
            Kind::DataLost | Kind::AllLost => self.lose_data(kind),
            Kind::ServerClock => {
                for ahead in [3600, 0] {
                    self.may_forget(true);
                    if let Server::Redis(server) = &self.server {
                        server.set_clock(ahead);
                    }
                    self.may_forget(true);
                    self.soon(kind);
                }
            }
            Kind::ClientClock => self.step_the_clock_of_one(kind),
            Kind::ClientNamespace => {
                let offset = ["--boottime=3600", "--boottime=604800"];
                let offset = *self.dice.one_of(&offset);
                let monotonic = "--monotonic=86400";
                let program = [
                    "unshare",
                    "--time",
                    offset,
                    monotonic,
                    "--fork",
                    "--kill-child",
                ];
                let party = self.replace(&program);
                let before = self.due(kind);
                self.until_enters(party);
                self.until_somebody_enters(before);
            }
        }
        self.note.let_go();
    }

    fn sleep(&mut self, least: Duration, most: Duration) {
        thread::sleep(self.dice.between(least, most));
    }

    fn soon(&mut self, kind: Kind) {
        let before = self.due(kind);
        self.until_somebody_enters(before);
    }

    fn may_forget(&mut self, forgets: bool) {
        if forgets {
            self.forgets();
        }
    }

    fn stop(&mut self, kind: Kind, party: usize) {
        self.about(party, &What::Pause);
        self.parties[party].signal(Signal::STOP);
        self.soon(kind);
        self.sleep(Duration::ZERO, LEASE / 2);
        self.parties[party].signal(Signal::CONT);
        self.about(party, &What::GoesOn);
    }

    /// At one blow, which is not one moment: the kernel closes what the dead one had open one by one. On PostgreSQL that frees the lock, and the next one can be in before the judge's own connection ends. So from the
    /// blow on it stands still, as one who can do nothing.
    fn end_one(&mut self, party: usize) {
        self.about(party, &What::Pause);
        self.parties[party].kill();
        self.about(party, &What::GoesOn);
    }

    fn kill(&mut self, kind: Kind, party: usize) {
        self.end_one(party);
        self.soon(kind);
        self.come(party, &[]);
    }

    /// The command does not know of leases; so nobody's standing still is an excuse, unless there is nobody left to end it.
    fn befall_a_command(&mut self, kind: Kind) {
        let party = self.holder(Some(Style::Command));
        let send = |world: &World, signal: Signal| {
            let runs = world.parties[party].runs();
            match kind {
                Kind::CommandStopped | Kind::CommandKilled => runs.signal_command(signal),
                Kind::BothStopped => {
                    runs.signal_command(signal);
                    runs.signal_sneck(signal);
                }
                Kind::AllStopped => runs.signal_all(signal),
                _ => runs.signal_sneck(signal),
            }
        };
        match kind {
            Kind::SneckKilled | Kind::CommandKilled => {
                send(self, Signal::KILL);
                self.soon(kind);
            }
            Kind::CommandStopped => {
                send(self, Signal::STOP);
                self.sleep(Duration::ZERO, LEASE * 3 / 2);
                self.note.let_go();
                send(self, Signal::CONT);
                self.soon(kind);
            }
            _ => {
                if kind == Kind::AllStopped {
                    self.about(party, &What::Pause);
                }
                send(self, Signal::STOP);
                self.soon(kind);
                self.sleep(Duration::ZERO, LEASE / 2);
                send(self, Signal::CONT);
                if kind == Kind::AllStopped {
                    self.about(party, &What::GoesOn);
                }
            }
        }
    }

    fn silence(&mut self, kind: Kind, party: usize) {
        self.parties[party].silent();
        self.soon(kind);
        self.sleep(Duration::ZERO, LEASE);
        self.parties[party].heal();
        self.soon(kind);
    }

    fn kill_leader(&mut self, kind: Kind) {
        let Server::Etcd(server) = &mut self.server else {
            return;
        };
        let leader = server.leader();
        server.kill9(leader);
        self.soon(kind);
        self.server.restart();
        self.soon(kind);
    }

    fn lose_data(&mut self, kind: Kind) {
        let chance = self.dice.below(3) as usize;
        if kind == Kind::AllLost {
            // 1. A holds on token 725. 2. All is lost, and tokens begin anew. 3. By chance B is given 725: the register cannot tell them apart. So nobody is there meanwhile.
            self.begins_anew(|server| server.lose_data(chance));
        } else {
            let forgets = self.engine != Engine::Etcd3;
            self.may_forget(forgets);
            self.server.lose_data(chance);
            self.may_forget(forgets);
        }
        self.soon(kind);
    }

    /// Another one in the place of one who is not inside: by this program.
    fn replace(&mut self, program: &[&str]) -> usize {
        let party = self.waiter();
        self.end_one(party);
        self.come(party, program);
        party
    }

    fn step_the_clock_of_one(&mut self, kind: Kind) {
        let folder = Folder::new();
        let clock = folder.join("clock");
        let set = |offset: &str| {
            let draft = folder.join("draft");
            fs::write(&draft, offset).expect("our own folder");
            fs::rename(&draft, &clock).expect("our own folder");
        };
        set("+0s");
        let file = format!("FAKETIME_TIMESTAMP_FILE={}", clock.display());
        let library = format!("LD_PRELOAD={}", faketime());
        let party = self.replace(&[
            "env",
            &file,
            &library,
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        ]);
        for offset in ["+3600s", "-3600s", "+0s"] {
            set(offset);
            let before = self.due(kind);
            self.until_enters(party);
            self.until_somebody_enters(before);
        }
        // Its clock goes with the folder.
        self.end_one(party);
        self.come(party, &[]);
    }
}

/// Debian keeps it in a folder of the machine's kind.
fn faketime() -> String {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let library = libraries.into_iter().find(|path| path.exists());
    let library = library.expect("libfaketime: install the Debian package faketime");
    library.display().to_string()
}
