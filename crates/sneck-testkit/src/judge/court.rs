//! The judge's process: a thread a connection, and one mutex over register, counter, clock and log, so that the log has them in the order in which they were judged.
//!
//! Not for: judging afterwards (`verdict.rs`).

use super::log::{Entry, Ruling, What};
use crate::child::{Session, say};
use crate::{Child, Folder, Setup, sys};
use sneck::fence::Register;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Whether the judge looks at tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// Stale ones are refused.
    On,
    /// Everybody may do everything.
    Off,
}

/// A judge, started. It ends with this.
#[derive(Debug)]
pub struct Court {
    child: Child,
    port: u16,
    folder: Folder,
}

impl Court {
    /// Opens a session. `entry` is the test of this program that child processes enter by; it knows the command `judge` ([`obey`]).
    ///
    /// # Panics
    /// If the process cannot be started.
    #[must_use]
    pub fn open(entry: &'static str, checks: Checks) -> Court {
        let folder = Folder::new();
        let place = |folder: &Path| folder.join("none").display().to_string();
        let setup = Setup::new(sneck::Registry::local, place, sneck::Waiting::Best, entry);
        let mut child = setup.child();
        let checks = match checks {
            Checks::On => "on",
            Checks::Off => "off",
        };
        child.tell(&format!("judge {checks} {}", folder.join("log").display()));
        let port = child.hear("judges").parse().expect("a port");
        Court {
            child,
            port,
            folder,
        }
    }

    /// Where parties find it, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All that has happened, in its order.
    ///
    /// # Panics
    /// If the log cannot be read.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        Entry::read_all(&self.text())
    }

    /// The same as it is written.
    ///
    /// # Panics
    /// If the log cannot be read.
    #[must_use]
    pub fn text(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).expect("the judge's log");
        // The last line may be on its way.
        text.rfind('\n')
            .map_or(String::new(), |end| text[..=end].to_owned())
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }
}

/// The command `judge on|off LOG`, for the child that becomes the judge. Does not return.
pub fn obey(_: &mut Session, words: &[&str]) -> bool {
    let ["judge", checks, path] = words else {
        return false;
    };
    let checks = match *checks {
        "on" => Checks::On,
        _ => Checks::Off,
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let bench = Arc::new(Bench {
        checks,
        state: Mutex::new(State {
            register: Register::default(),
            counter: 0,
            entries: 0,
            inside: Vec::new(),
            log: sys::Lines::open(Path::new(path)),
            closes: false,
            catch: Catch::Nobody,
        }),
    });
    let port = listener.local_addr().expect("its number").port();
    say(&format!("judges {port}"));
    let streams = listener.incoming().map_while(Result::ok);
    for (number, stream) in (1..).zip(streams) {
        let bench = bench.clone();
        thread::spawn(move || {
            let mut party = Party {
                name: "nobody".to_owned(),
                connection: number,
            };
            let _ = bench.hear(&stream, &mut party);
            bench.state().ends(&party);
        });
    }
    true
}

#[derive(Debug)]
struct Bench {
    checks: Checks,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    register: Register,
    counter: u64,
    /// How often somebody was let in.
    entries: u64,
    /// Who is inside: the connection and the name.
    inside: Vec<(u64, String)>,
    log: sys::Lines,
    closes: bool,
    catch: Catch,
}

/// Whom the test keeps inside, to bring a fault to a holder.
#[derive(Debug, PartialEq, Eq)]
enum Catch {
    Nobody,
    /// The next one who comes in under a name that begins so.
    Next(String),
    /// The one of this connection.
    Of(u64),
}

#[derive(Debug)]
struct Party {
    name: String,
    connection: u64,
}

impl Bench {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, stream: &TcpStream, party: &mut Party) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut answers = stream;
        for line in BufReader::new(stream).lines() {
            let answer = self.answer(&line?, party);
            answers.write_all(format!("{answer}\n").as_bytes())?;
        }
        Ok(())
    }

    fn answer(&self, line: &str, party: &mut Party) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let mut state = self.state();
        let number = |word: &str| word.parse::<u64>().expect("a number");
        match &words[..] {
            ["hello", name] => {
                party.name = (*name).to_owned();
                state.goes_on()
            }
            ["asks"] => {
                state.note(party, What::Asks);
                state.goes_on()
            }
            ["enter", token] => {
                let token = number(token);
                let ruling = self.rule(&state, token);
                if ruling == Ruling::Admitted {
                    state.entries += 1;
                    let who = (party.connection, party.name.clone());
                    state.inside.push(who);
                    if matches!(&state.catch, Catch::Next(begins) if party.name.starts_with(begins))
                    {
                        state.catch = Catch::Of(party.connection);
                    }
                }
                state.note(party, What::Enter(token, ruling));
                ruling.to_string()
            }
            ["read"] | ["counter"] => state.counter.to_string(),
            ["write", token, value] => {
                let (token, value) = (number(token), number(value));
                let ruling = self.rule(&state, token);
                if ruling == Ruling::Admitted {
                    state.counter = value;
                }
                state.note(party, What::Write(token, value, ruling));
                ruling.to_string()
            }
            ["leave", token] => {
                let token = number(token);
                let ruling = self.rule(&state, token);
                state.inside.retain(|(who, _)| *who != party.connection);
                state.note(party, What::Leave(token, ruling));
                ruling.to_string()
            }
            ["stays"] => match state.catch == Catch::Of(party.connection) {
                true => "yes".to_owned(),
                false => "no".to_owned(),
            },
            ["gave-up"] => state.note(party, What::GaveUp),
            ["trouble", ..] => {
                let text = line.split_once(' ').map_or("", |(_, text)| text);
                state.note(party, What::Trouble(text.to_owned()))
            }
            ["note", name, what @ ..] => {
                let about = Party {
                    name: (*name).to_owned(),
                    connection: 0,
                };
                let what = What::read(&what.join(" ")).expect("a note that makes sense");
                if what == What::Epoch {
                    state.register = Register::default();
                    state.closes = false;
                }
                state.note(&about, what)
            }
            ["inside"] => {
                let names = state.inside.iter().map(|(_, name)| name.as_str());
                names.collect::<Vec<_>>().join(" ")
            }
            ["catch", begins @ ..] => {
                state.catch = Catch::Next(begins.concat());
                "ok".to_owned()
            }
            ["caught"] => {
                let mut inside = state.inside.iter();
                let caught = inside.find(|(who, _)| state.catch == Catch::Of(*who));
                caught.map_or("", |(_, name)| name).to_owned()
            }
            ["let-go"] => {
                state.catch = Catch::Nobody;
                "ok".to_owned()
            }
            ["entries"] => state.entries.to_string(),
            ["close"] => {
                state.closes = true;
                "ok".to_owned()
            }
            _ => "what?".to_owned(),
        }
    }

    fn rule(&self, state: &State, token: u64) -> Ruling {
        match (state.register.admit(token), self.checks) {
            (Err(_), Checks::On) => Ruling::Stale,
            _ => Ruling::Admitted,
        }
    }
}

impl State {
    fn goes_on(&self) -> String {
        if self.closes { "no" } else { "yes" }.to_owned()
    }

    /// Under the mutex, so that the times rise from line to line.
    fn note(&mut self, party: &Party, what: What) -> String {
        let mut line = String::new();
        let entry = Entry {
            at: sys::now(),
            name: party.name.clone(),
            connection: party.connection,
            what,
        };
        let _ = writeln!(line, "{entry}");
        self.log.add(&line);
        "ok".to_owned()
    }

    fn ends(&mut self, party: &Party) {
        self.inside.retain(|(who, _)| *who != party.connection);
        self.note(party, What::Gone);
    }
}
