//! Who takes turns by the library: processes that acquire, change what the judge keeps, and release.
//!
//! Not for: those that run a command under the lock (`command.rs`), what is done to them (`faults.rs`).

use crate::CHILD_ENTRY;
use crate::command::Runs;
use crate::registry;
use crate::server::lock;
use rustix::process::Signal;
use sneck::{ErrorKind, Waiting};
use sneck_testkit::child::{Start, say};
use sneck_testkit::dice::Dice;
use sneck_testkit::judge::visitor::{Session as Sitting, Visitor};
use sneck_testkit::proxy::Proxy;
use sneck_testkit::{Child, Session, Setup, sys};
use std::thread;
use std::time::Duration;

/// One of them, with a link of its own to each member.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) name: String,
    pub(crate) links: Vec<Proxy>,
    style: Style,
    place: String,
    setup: Setup,
    life: Option<Life>,
}

/// How it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Library,
    Command,
}

impl Style {
    /// How the names of those begin.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Style::Library => "p",
            Style::Command => "c",
        }
    }
}

#[derive(Debug)]
enum Life {
    Library(Child),
    Command(Runs),
}

impl Party {
    pub(crate) fn new(style: Style, number: usize, links: Vec<Proxy>, place: &str) -> Party {
        let setup = Setup::new(registry, |_| place.to_owned(), Waiting::Best, CHILD_ENTRY);
        Party {
            name: format!("{}{number}", style.letter()),
            links,
            style,
            place: place.to_owned(),
            setup,
            life: None,
        }
    }

    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// It comes, and takes turns from now on; by way of another program, if one is named.
    pub(crate) fn come(&mut self, judge: u16, seed: u64, program: &[&str]) {
        self.life = Some(match self.style {
            Style::Library => {
                let mut child = Start::wrapped(&self.setup, program).child();
                child.tell(&format!("come-and-go {judge} {} {seed}", self.name));
                Life::Library(child)
            }
            Style::Command => Life::Command(Runs::begin(&self.name, &self.place, judge, seed)),
        });
    }

    /// To its process.
    pub(crate) fn signal(&self, signal: Signal) {
        match self.life.as_ref().expect("it lives") {
            Life::Library(child) => sys::signal_process(child.pid(), signal),
            Life::Command(_) => panic!("which of its processes?"),
        }
    }

    /// What it runs.
    pub(crate) fn runs(&self) -> &Runs {
        match self.life.as_ref().expect("it lives") {
            Life::Library(_) => panic!("it runs nothing"),
            Life::Command(runs) => runs,
        }
    }

    /// At one blow.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(Life::Library(mut child)) = self.life.take() {
            // It may run under another program.
            child.kill();
        }
    }

    /// Until it has had enough, after the judge has closed.
    pub(crate) fn goes(&mut self) {
        match self.life.take().expect("it lives") {
            Life::Library(mut child) => drop(child.hear("done")),
            Life::Command(mut runs) => runs.goes(),
        }
    }

    pub(crate) fn silent(&self) {
        self.links.iter().for_each(Proxy::blackhole);
    }

    pub(crate) fn heal(&self) {
        self.links.iter().for_each(Proxy::heal);
    }

    pub(crate) fn cut(&self) {
        self.links.iter().for_each(Proxy::cut);
    }
}

/// The commands of these processes: `come-and-go JUDGE NAME SEED` answers `done` when the judge closes.
pub(crate) fn obey(session: &mut Session, words: &[&str]) -> bool {
    match words {
        ["come-and-go", judge, name, seed] => {
            let dice = Dice::new(seed.parse().expect("a number"));
            let judge = judge.parse().expect("a port");
            // Without a judge the test is over.
            let _ = come_and_go(&session.setup.place, judge, name, dice);
            say("done");
        }
        _ => return false,
    }
    true
}

fn come_and_go(place: &str, judge: u16, name: &str, mut dice: Dice) -> std::io::Result<()> {
    let (mut judge, _) = Visitor::come(judge, name)?;
    let lock = lock(place);
    while judge.asks()? == Sitting::GoesOn {
        let wait = match dice.below(4) {
            0 => dice.micros(200_000),
            _ => Duration::from_secs(30),
        };
        match lock.acquire_within(wait) {
            Ok(guard) => {
                let token = guard.token().expect("servers give tokens");
                let think = dice.micros(20_000);
                let holds = || guard.ensure_held().is_ok();
                judge.stay(token, 1 + dice.below(3), think, holds)?;
                match guard.release() {
                    Err(error) if error.kind() != ErrorKind::Lost => {
                        judge.trouble(&format!("release: {:?}", error.kind()))?;
                    }
                    _ => {}
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::TimedOut | ErrorKind::Busy => judge.gave_up()?,
                kind => {
                    judge.trouble(&format!("{kind:?}"))?;
                    thread::sleep(Duration::from_millis(20));
                }
            },
        }
        thread::sleep(dice.micros(20_000));
    }
    Ok(())
}
